"""The stereo tap: each side on its channel, aligned, whatever the clocks and routes do."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.media.frame import Voice
from gateway.media.hub import Hub
from gateway.media.stereo import LEAD_S, MAX_KEPT_S, StereoTap
from gateway.media.tone import level_dbfs, tone_level_dbfs
from tests.media.parties import START, Talker
from tests.media.sound import Pcm, tone

ANN_HZ, BOB_HZ = 500, 1300
SECONDS = 900
"Long enough for two clocks 300 ppm apart to differ by 270 ms."
CLICK_S = 1.0
"Both click at the same time, once in so long."


class Clicker:
    """Speaks on a clock of its own, and clicks whenever ours says so."""

    def __init__(self, name: str, hub: Hub, ppm: float = 0.0) -> None:
        self.next_at = START
        self._name = name
        self._hub = hub
        self._voice = Voice()
        self._period_s = 0.02 * (1 - ppm / 1e6)

    def speak(self) -> None:
        """Its next 20 ms, of which the last sample is said now."""
        pcm = np.zeros(160, np.int16)
        until_click_s = -(self.next_at - self._period_s) % CLICK_S
        if until_click_s < self._period_s:
            pcm[int(until_click_s / self._period_s * 160) :] = 16_000
        self._hub.push(self._name, self._voice.frame_of_pcm(pcm, 8000, self.next_at))
        self.next_at += self._period_s


def tapped(*, rate: int = 8000) -> tuple[Hub, StereoTap]:
    """A call of two, and a tap of both."""
    hub, tap = Hub(), StereoTap(rate, START)
    for name in ("ann", "bob"):
        hub.join(name)
    hub.join("tap.left", listener=tap.left, counts=False)
    hub.join("tap.right", listener=tap.right, counts=False)
    hub.route({"tap.left": {"ann": 1.0}, "tap.right": {"bob": 1.0}})
    return hub, tap


def clicks(pcm: Pcm) -> list[int]:
    """Where clicks begin, in samples."""
    loud = np.flatnonzero(np.abs(pcm.astype(int)) > 4000)
    return [] if not len(loud) else [int(loud[0]), *loud[1:][np.diff(loud) > 800].tolist()]


def run(hub: Hub, tap: StereoTap, seconds: float, *clickers: Clicker) -> list[Pcm]:
    """Each speaks when its own clock says; the tap is emptied once a second."""
    taken, now = [], START
    for number in range(1, round(seconds / 0.02) + 1):
        now = START + number * 0.02
        for clicker in clickers:
            while clicker.next_at <= now:
                clicker.speak()
        hub.tick(now)
        if number % 50 == 0:
            taken.append(tap.take(now))
    return taken


@pytest.mark.parametrize("rate", [8000, 16_000])
def test_each_side_is_on_its_own_channel(rate: int) -> None:
    hub, tap = tapped(rate=rate)
    ann, bob = Talker(tone(ANN_HZ, 0.2, 8000, -20)), Talker(tone(BOB_HZ, 0.2, 8000, -26))

    for number in range(100):
        for name, talker in (("ann", ann), ("bob", bob)):
            frame = talker.next()
            frame.heard_at = START + number * 0.02
            hub.push(name, frame)
        hub.tick(START + number * 0.02)
    left, right = tap.take(START + 2).T

    settled = slice(rate // 5, None)
    assert tone_level_dbfs(left[settled], rate, ANN_HZ) == pytest.approx(-20, abs=0.3)
    assert tone_level_dbfs(right[settled], rate, BOB_HZ) == pytest.approx(-26, abs=0.3)
    assert tone_level_dbfs(left[settled], rate, BOB_HZ) < -60
    assert tone_level_dbfs(right[settled], rate, ANN_HZ) < -60


@pytest.mark.parametrize("ppm", [300, -300])
def test_f13_channels_stay_aligned_however_long_two_clocks_differ(ppm: int) -> None:
    hub, tap = tapped()
    ann, bob = Clicker("ann", hub), Clicker("bob", hub, ppm)

    pcm = np.concatenate(run(hub, tap, SECONDS, ann, bob))

    left, right = clicks(pcm[:, 0])[-20:], clicks(pcm[:, 1])[-20:]
    assert len(left) == len(right) == 20
    assert max(abs(a - b) for a, b in zip(left, right, strict=True)) <= 0.02 * 8000
    assert len(pcm) / 8000 == pytest.approx(SECONDS, abs=1)
    assert tap.left.corrected_s == pytest.approx(0, abs=0.05)
    assert tap.right.corrected_s == pytest.approx(-ppm * SECONDS / 1e6, abs=0.05)


def test_side_that_speaks_late_or_not_at_all_for_a_while_stays_aligned() -> None:
    hub, tap = tapped()
    ann, bob = Clicker("ann", hub), Clicker("bob", hub)
    bob.next_at = START + 3

    first = np.concatenate(run(hub, tap, 6, ann, bob))
    hub.route({"tap.left": {"ann": 1.0}})  # nobody for the right ear, not even silence
    run_on = START + 6
    ann.next_at = bob.next_at = run_on
    pieces = [first]
    for number in range(1, 501):
        now = run_on + number * 0.02
        if number == 150:
            hub.route({"tap.left": {"ann": 1.0}, "tap.right": {"bob": 1.0}})
        ann.speak()
        bob.speak()
        hub.tick(now)
        if number % 50 == 0:
            pieces.append(tap.take(now))

    pcm = np.concatenate(pieces)
    left, right = clicks(pcm[:, 0]), clicks(pcm[:, 1])
    assert len(left) - len(right) == pytest.approx(6, abs=1)
    assert all(min(abs(a - b) for a in left) <= 0.02 * 8000 for b in right)


def test_jitter_is_not_taken_for_another_clock() -> None:
    hub, tap = tapped()
    talker = Talker(tone(ANN_HZ, 0.2, 8000, -20))
    random = np.random.default_rng(3)

    for number in range(500):
        frame = talker.next()
        frame.heard_at = START + number * 0.02 + float(random.uniform(0, 0.06))
        hub.push("ann", frame)

    assert tap.left.corrected_s == pytest.approx(0, abs=0.03)


def test_side_nobody_hears_is_silence_of_the_same_length() -> None:
    hub, tap = tapped()
    hub.route({})

    pcm = tap.take(START + 2)

    assert len(pcm) == round((2 + LEAD_S - 0.5) * 8000)
    assert level_dbfs(pcm[:, 0]) == level_dbfs(pcm[:, 1]) == -120


def test_what_nobody_takes_does_not_pile_up() -> None:
    hub, tap = tapped()
    ann = Clicker("ann", hub)

    for _ in range(100 * 50):
        ann.speak()

    assert tap.left.size == MAX_KEPT_S * 8000
    assert tap.left.dropped_s > 60


def test_rate_that_no_voice_has_is_refused() -> None:
    with pytest.raises(ValueError, match="11025"):
        StereoTap(11_025, START)

"""A bad line, the same one for the same seed, and the echo of a caller's phone."""

from __future__ import annotations

import random

import numpy as np
import pytest

from gateway.media.tone import level_dbfs, sine, tone_level_dbfs
from gateway.trial.line import OVERTAKEN_S, Impairment, Phone
from gateway.trial.script import Line
from tests.trial.sounds import Pcm, silence

RATE = 16_000
FRAME = RATE // 50


def fates(line: Line, count: int = 5000, seed: int = 3) -> list[float | None]:
    """By how much each packet of 20 ms is late; None: it is lost."""
    way = Impairment(line, random.Random(seed).random)
    return [
        None if (due := way.pass_on(n * 0.02)) is None else due - n * 0.02 for n in range(count)
    ]


def test_good_line_passes_everything_at_once() -> None:
    assert set(fates(Line())) == {0.0}


@pytest.mark.parametrize("burst", [1.0, 3.0])
def test_losses_are_as_many_and_as_long_as_asked_for(burst: float) -> None:
    lost = [fate is None for fate in fates(Line(loss=0.1, burst=burst), count=20_000)]

    runs = sum(now and not before for before, now in zip([False, *lost], lost, strict=False))
    assert np.mean(lost) == pytest.approx(0.1, rel=0.15)
    assert sum(lost) / runs == pytest.approx(burst, rel=0.15)


def test_jitter_delays_and_keeps_the_order() -> None:
    late = [fate for fate in fates(Line(jitter_ms=60)) if fate is not None]
    due = [n * 0.02 + each for n, each in enumerate(late)]

    assert max(late) <= 0.06
    assert np.mean(late) > 0.02
    assert due == sorted(due)


def test_reordered_packets_are_overtaken_by_the_next() -> None:
    late = [fate for fate in fates(Line(reorder=0.1)) if fate is not None]

    assert sum(each == pytest.approx(OVERTAKEN_S) for each in late) == pytest.approx(500, rel=0.2)
    assert 0.02 < OVERTAKEN_S < 0.04


def test_same_seed_loses_the_same_packets() -> None:
    line = Line(loss=0.05, jitter_ms=20, reorder=0.02)

    assert fates(line, seed=7) == fates(line, seed=7)
    assert fates(line, seed=7) != fates(line, seed=8)


def spoken(line: Line, heard: Pcm, voice: Pcm) -> Pcm:
    """What goes into the line while the agent is heard and the caller speaks, frame by frame."""
    phone, out = Phone(line, RATE, random.Random(1).random), []
    for start in range(0, len(heard), FRAME):
        phone.hear(heard[start : start + FRAME])
        out.append(phone.says(voice[start : start + FRAME]))
    return np.concatenate(out)


def test_agent_comes_back_as_soft_and_as_late_as_asked_for() -> None:
    heard = np.concatenate([sine(440, 1.0, RATE, -10), silence(1.0, RATE)])

    out = spoken(Line(echo_db=-20, echo_delay_ms=200), heard, silence(2.0, RATE))

    assert level_dbfs(out[: RATE // 5]) < -100
    assert tone_level_dbfs(out[RATE // 4 : RATE], RATE, 440) == pytest.approx(-30, abs=0.5)
    assert level_dbfs(out[RATE * 5 // 4 :]) < -100


def test_caller_is_heard_over_the_echo() -> None:
    heard, voice = sine(440, 1.0, RATE, -10), sine(1000, 1.0, RATE, -10)

    out = spoken(Line(echo_db=-20), heard, voice)

    assert tone_level_dbfs(out[FRAME * 5 :], RATE, 1000) == pytest.approx(-10, abs=0.5)
    assert tone_level_dbfs(out[FRAME * 5 :], RATE, 440) == pytest.approx(-30, abs=0.5)


def test_room_is_as_noisy_as_asked_for() -> None:
    out = spoken(Line(noise_dbfs=-40), silence(1.0, RATE), silence(1.0, RATE))

    assert level_dbfs(out) == pytest.approx(-40, abs=0.5)


def test_phone_in_a_quiet_room_adds_nothing() -> None:
    voice = sine(1000, 0.5, RATE, -10)

    assert np.array_equal(spoken(Line(), sine(440, 0.5, RATE, -10), voice), voice)


def test_echo_keeps_no_more_than_its_delay_when_the_caller_falls_silent() -> None:
    phone = Phone(Line(echo_db=-20, echo_delay_ms=100), RATE, random.Random(1).random)
    for _ in range(500):
        phone.hear(sine(440, 0.02, RATE, -10))

    phone.hear(silence(0.02, RATE))
    out = [phone.says(silence(0.02, RATE)) for _ in range(50)]

    assert level_dbfs(np.concatenate(out[25:])) < -100

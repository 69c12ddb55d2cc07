"""Stores: in order, whole, as short as the jitter allows, and without a click where cut."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from gateway.media.frame import AudioFrame
from gateway.media.jitter import MAX_STORED, PULLS_TO_SKIP, Store
from gateway.media.mix import MixedFrame, Part
from tests.media.parties import START, Talker
from tests.media.sound import Pcm, speechlike, steepest_step, tone
from tests.support.impair import Impairer

MS = 48
PIECE = 20 * MS


def played(parts: list[Part]) -> Pcm:
    return MixedFrame(0, 960, START, parts).pcm(8000)


def direct(talker: Talker, count: int) -> Pcm:
    return np.concatenate([talker.next().pcm(8000) for _ in range(count)])


def test_frames_come_out_as_they_went_in() -> None:
    sent = speechlike(0.2, 8000)
    store, talker = Store(1.0, level=1.0), Talker(sent)

    pieces = []
    for _ in range(10):
        store.append(talker.next())
        pieces.append(played(store.pull(960)))

    assert (np.concatenate(pieces) == direct(Talker(sent), 10)).all()


def test_frames_of_30_ms_are_cut_to_20() -> None:
    sent = speechlike(0.6, 8000)
    store, talker = Store(1.0, level=1.0), Talker(sent, ptime_ms=30)

    pieces = []
    for _ in range(9):
        store.append(talker.next())
        store.append(talker.next())
        pieces += [played(store.pull(960)) for _ in range(3)]

    assert (np.concatenate(pieces) == direct(Talker(sent, ptime_ms=30), 18)).all()


def test_frames_of_10_ms_wait_for_20() -> None:
    store, talker = Store(1.0, level=1.0), Talker(speechlike(0.2, 8000), ptime_ms=10)

    store.append(talker.next())
    first = store.pull(960)
    store.append(talker.next())
    second = store.pull(960)

    assert first == []
    assert sum(part.duration for part in second) == 960


def test_what_came_too_late_is_played_next_and_the_cushion_grows() -> None:
    store, talker = Store(1.0), Talker(speechlike(0.2, 8000))
    assert store.pull(960) == []

    for _ in range(2):
        store.append(talker.next())
    for _ in range(3):
        assert store.pull(960)
        store.append(talker.next())

    assert store.pull(960)
    assert store.dropped == 0


def test_after_a_gap_it_rises_instead_of_clicking() -> None:
    store = Store(1.0)
    store.append(Talker(tone(100, 0.1, 8000, -3) // 8 + 20_000).next())

    pcm = played(store.pull(960))

    assert pcm[0] == 0
    assert pcm[60] > 15_000
    assert steepest_step(pcm) < 1200


def test_a_burst_loses_its_oldest_frames() -> None:
    store, talker = Store(1.0), Talker(speechlike(0.4, 8000))

    for _ in range(20):
        store.append(talker.next())

    waiting = sum(frame.duration for frame in store.take_rest())
    assert waiting == MAX_STORED
    assert store.dropped == 20 * 960 - MAX_STORED


def test_spare_delay_is_skipped_once_and_without_a_click() -> None:
    sent = tone(200, 1.0, 8000, -6)
    store, talker = Store(1.0, level=1.0), Talker(sent)
    store.append(talker.next())

    pieces = []
    for _ in range(2 * PULLS_TO_SKIP):
        store.append(talker.next())
        pieces.append(played(store.pull(960)))

    assert store.dropped == 960
    assert steepest_step(np.concatenate(pieces)) < 1.6 * steepest_step(sent)


def test_a_cushion_that_is_needed_is_kept() -> None:
    store, talker = Store(1.0, level=1.0), Talker(speechlike(0.2, 8000))
    store.append(talker.next())

    for number in range(3 * PULLS_TO_SKIP):
        # Every fiftieth frame is late for its tick; the next tick finds two.
        for _ in range({0: 0, 1: 2}.get(number % 50, 1)):
            store.append(talker.next())
        assert store.pull(960)

    assert store.dropped == 0


def test_the_rest_is_whole_frames_and_the_begun_one_cut() -> None:
    sent = speechlike(0.3, 8000)
    store, talker = Store(1.0, level=1.0), Talker(sent, ptime_ms=30)
    frames = [talker.next() for _ in range(3)]
    for frame in frames:
        store.append(frame)
    first = played(store.pull(960))

    rest = store.take_rest()

    heard = np.concatenate([first, *(frame.pcm(8000) for frame in rest)])
    assert rest[1:] == frames[1:]
    assert (heard == direct(Talker(sent, ptime_ms=30), 3)).all()


# ---- paths and clocks


class Listening:
    """What a listener that mixes gets of one speaker, beat by beat."""

    def __init__(self, seconds: int, *, jitter_ms: float = 0, ppm: float = 0) -> None:
        """`ppm` is by how much the speaker's clock runs fast."""
        self.delays_ms: list[float] = []
        "From when each piece was said to when it is heard, by the listener's clock."
        self.gaps: list[int] = []
        "Beats at which there was nothing."
        self.skips: list[int] = []
        "Beats at which something was left out."
        store, path = Store(1.0), Impairer(2, jitter_ms=jitter_ms, rate_ppm=ppm)
        coming = (
            (due, number)
            for number in range(seconds * 51)
            for due, _ in path.send(b"", number / 50)
        )
        due, number = next(coming)
        for beat in range(seconds * 50):
            now, dropped = beat / 50, store.dropped
            while due + 0.007 <= now:
                said_at = number / 50 / (1 + ppm / 1e6) + 0.007
                store.append(AudioFrame(number * PIECE, PIECE, said_at))
                due, number = next(coming)
            parts = store.pull(PIECE)
            if parts:
                self.delays_ms.append((now - parts[-1].frame.heard_at) * 1000)
            else:
                self.gaps.append(beat)
            if store.dropped > dropped:
                self.skips.append(beat)


@pytest.mark.parametrize("jitter_ms", [0, 20, 40, 60, 80, 100])
def test_f12_playout_delay_follows_the_jitter(jitter_ms: int) -> None:
    heard = Listening(60, jitter_ms=jitter_ms)

    assert max(heard.delays_ms) <= min(0.95 * jitter_ms + 20, 200)
    # It has grown with the first that came late, and nothing is lost after that.
    assert len(heard.gaps) <= jitter_ms // 20 + 2
    assert max(heard.gaps) < 500
    assert heard.skips == []


@pytest.mark.parametrize("ppm", [-300, 300])
def test_f13_an_hour_of_two_clocks_does_not_add_up(ppm: int) -> None:
    heard = Listening(3600, ppm=ppm)

    assert max(heard.delays_ms) - min(heard.delays_ms) <= 40
    # A correction of 20 ms for each 20 ms of drift, 67 s apart, and none beside.
    corrections = heard.gaps[1:] + heard.skips
    assert len(corrections) == pytest.approx(3600 * 300e-6 / 0.02, abs=2)
    assert min(b - a for a, b in pairwise(sorted(corrections))) >= 50 * 60

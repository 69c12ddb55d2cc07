"""Late and missing frames, and delays, from arrival times and RTP timestamps."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.timing import FRAME_NS, added_delay_ms, lateness_ms, punctuality, unwrap


def stream(frames: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Arrivals and timestamps (8 kHz) of a perfect stream."""
    numbers = np.arange(frames, dtype=np.int64)
    return numbers * FRAME_NS + 1_700_000_000_000_000_000, numbers * 160 + 4_000


def test_perfect_stream_is_punctual() -> None:
    arrived, stamps = stream(500)

    result = punctuality(arrived, stamps, 8000, window_s=10.0)

    assert (result.expected, result.late, result.missing) == (500, 0, 0)


def test_a_frame_more_than_20_ms_behind_the_earliest_is_late() -> None:
    arrived, stamps = stream(500)
    arrived[100] += 19_000_000
    arrived[200] += 21_000_000

    result = punctuality(arrived, stamps, 8000, window_s=10.0)

    assert (result.late, result.missing) == (1, 0)


def test_a_standing_delay_is_not_lateness() -> None:
    arrived, stamps = stream(500)
    arrived += 300_000_000

    assert lateness_ms(arrived, stamps, 8000).max() == pytest.approx(0.0, abs=1e-6)


def test_lateness_is_measured_from_the_recent_minimum() -> None:
    arrived, stamps = stream(1500)
    arrived[700:] += 30_000_000

    late = lateness_ms(arrived, stamps, 8000)

    assert late[701] == pytest.approx(30.0)
    assert late[1400] == pytest.approx(0.0, abs=1e-6)


def test_holes_in_the_timestamps_are_missing_frames() -> None:
    arrived, stamps = stream(500)
    kept = np.ones(500, bool)
    kept[[50, 51, 300]] = False

    result = punctuality(arrived[kept], stamps[kept], 8000, window_s=10.0)

    assert (result.expected, result.missing) == (500, 3)


def test_a_stream_that_stops_misses_the_rest_of_the_window() -> None:
    arrived, stamps = stream(100)

    result = punctuality(arrived, stamps, 8000, window_s=10.0)

    assert (result.expected, result.missing) == (499, 399)


def test_a_stream_that_never_comes_is_all_missing() -> None:
    none = np.zeros(0, np.int64)

    result = punctuality(none, none, 8000, window_s=2.0)

    assert result.bad_percent == 100.0


def test_a_frame_sent_twice_counts_once() -> None:
    arrived, stamps = stream(500)
    stamps[10] = stamps[9]

    result = punctuality(arrived, stamps, 8000, window_s=10.0)

    assert result.missing == 1


def test_timestamps_go_on_over_the_wrap() -> None:
    stamps = np.array([2**32 - 960, 0, 960, 2**32 - 960], np.uint32)

    assert list(np.diff(unwrap(stamps))) == [960, 960, -1920]


def test_delay_is_from_going_in_to_coming_out_of_the_same_frame() -> None:
    sent = np.arange(10, dtype=np.int64) * FRAME_NS
    arrived = sent[3:6] + 1_500_000

    delay = added_delay_ms(arrived, np.array([3.0, 4.0, 5.0]), sent)

    assert list(delay) == [1.5, 1.5, 1.5]


def test_a_reframed_packet_counts_from_where_its_sound_begins() -> None:
    sent = np.arange(10, dtype=np.int64) * FRAME_NS
    arrived = np.array([int(sent[4]) + 1_000_000])

    delay = added_delay_ms(arrived, np.array([3.25]), sent)

    assert list(delay) == [16.0]


def test_frames_that_never_went_in_have_no_delay() -> None:
    sent = np.arange(3, dtype=np.int64) * FRAME_NS
    arrived = sent + 1_000_000

    assert len(added_delay_ms(arrived, np.array([-1.0, 0.0, 7.0]), sent)) == 1

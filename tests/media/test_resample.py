"""Resampling, measured: length, delay, flatness, images and aliases."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from gateway.media.resample import Resampler, resample
from gateway.media.tone import level_dbfs
from tests.media.sound import Pcm, delay_of, frames_of, frequency_of, sine_fit, speechlike, tone

LIVE = list(permutations((8000, 16_000, 24_000, 48_000), 2))


def run(pcm: Pcm, from_rate: int, to_rate: int, size: int | None = None) -> Pcm:
    resampler = Resampler(from_rate, to_rate)
    return np.concatenate(
        [resampler.process(frame) for frame in frames_of(pcm, size or from_rate // 50)]
    )


@pytest.mark.parametrize(("from_rate", "to_rate"), LIVE)
def test_each_frame_becomes_exactly_as_long_at_the_other_rate(from_rate: int, to_rate: int) -> None:
    resampler = Resampler(from_rate, to_rate)

    lengths = {len(resampler.process(np.zeros(from_rate // 50, np.int16))) for _ in range(5)}

    assert lengths == {to_rate // 50}


@pytest.mark.parametrize(("from_rate", "to_rate"), LIVE)
def test_delay_is_2_ms_at_8_khz_and_less_above(from_rate: int, to_rate: int) -> None:
    sent = speechlike(0.5, from_rate)
    expected = speechlike(0.5, to_rate)

    delay_ms = delay_of(run(sent, from_rate, to_rate), expected, to_rate)

    assert delay_ms == pytest.approx(Resampler(from_rate, to_rate).delay_ms, abs=0.1)
    assert delay_ms <= 2.0


@pytest.mark.parametrize(("from_rate", "to_rate"), LIVE)
@pytest.mark.parametrize("share", [0.04, 0.2, 0.35, 0.425])
def test_a_tone_in_the_band_passes_whole_and_leaves_60_db_of_quiet(
    from_rate: int, to_rate: int, share: float
) -> None:
    frequency = share * min(from_rate, to_rate)

    heard = run(tone(frequency, 0.5, from_rate, -6), from_rate, to_rate)[to_rate // 10 :]

    level, below = sine_fit(heard, frequency, to_rate)
    assert level == pytest.approx(-6, abs=0.1)
    assert below > 60


@pytest.mark.parametrize(("from_rate", "to_rate"), [pair for pair in LIVE if pair[0] > pair[1]])
def test_a_tone_beyond_the_band_is_gone(from_rate: int, to_rate: int) -> None:
    heard = run(tone(0.6 * to_rate, 0.5, from_rate, -6), from_rate, to_rate)

    assert level_dbfs(heard[to_rate // 10 :]) < -66


def test_frames_of_any_size_make_the_same_audio() -> None:
    sent = speechlike(0.3, 24_000)
    resampler = Resampler(24_000, 8000)
    cuts = np.cumsum([1, 2, 3, 50, 479, 480, 481, 7, 1000, 13])

    pieces = [resampler.process(piece) for piece in np.split(sent, cuts)]

    heard = np.concatenate(pieces)
    assert len(heard) == len(sent) // 3
    assert (heard == run(sent, 24_000, 8000)[: len(heard)]).all()


def test_nothing_in_is_nothing_out() -> None:
    assert len(Resampler(24_000, 8000).process(np.zeros(0, np.int16))) == 0


def test_full_scale_saturates_instead_of_turning_over() -> None:
    square = np.where(np.arange(2400) // 40 % 2, 32767, -32768).astype(np.int16)

    heard = run(square, 24_000, 8000).astype(np.int32)

    middle = heard[100:].reshape(-1)
    assert middle.max() == 32767
    assert middle.min() == -32768
    assert (np.abs(np.diff(middle)) < 65_535).all()


@pytest.mark.parametrize(
    ("from_rate", "to_rate"), [(44_100, 48_000), (22_050, 24_000), (11_025, 12_000), (48_000, 8000)]
)
def test_a_clip_keeps_its_length_and_its_time(from_rate: int, to_rate: int) -> None:
    clip = speechlike(1.3, from_rate)
    expected = speechlike(1.3, to_rate)

    heard = resample(clip, from_rate, to_rate)

    assert len(heard) == -(-len(clip) * to_rate // from_rate)
    assert delay_of(heard, expected, to_rate) == 0
    assert frequency_of(resample(tone(440, 1, from_rate), from_rate, to_rate), to_rate) == (
        pytest.approx(440, rel=0.001)
    )


def test_a_clip_at_the_right_rate_is_left_alone() -> None:
    clip = speechlike(0.1, 8000)

    assert resample(clip, 8000, 8000) is clip


@pytest.mark.parametrize(("from_rate", "to_rate"), [(0, 8000), (8000, -1), (48_000, 7999)])
def test_rates_without_a_simple_ratio_are_refused(from_rate: int, to_rate: int) -> None:
    with pytest.raises(ValueError, match="cannot resample"):
        Resampler(from_rate, to_rate)


@pytest.mark.parametrize(
    ("from_rate", "to_rate"),
    [(11_025, 12_000), (22_050, 24_000), (44_100, 48_000), (12_000, 11_025)],
)
@pytest.mark.parametrize("size", [1, 100, 147, 221, 1000])
def test_drained_stream_is_the_same_and_waits_for_nothing(
    from_rate: int, to_rate: int, size: int
) -> None:
    pcm = speechlike(0.2, from_rate)
    drained = Resampler(from_rate, to_rate)

    pieces: list[Pcm] = []
    fed = 0
    for frame in frames_of(pcm, size):
        pieces += [drained.process(frame), drained.drain()]
        fed += len(frame)
        assert sum(map(len, pieces)) == -(-fed * to_rate // from_rate)

    heard = np.concatenate(pieces)
    expected = run(pcm, from_rate, to_rate)
    shared = min(len(heard), len(expected))
    assert shared > 0.1 * to_rate
    assert np.abs(heard[:shared].astype(int) - expected[:shared]).max() <= 1

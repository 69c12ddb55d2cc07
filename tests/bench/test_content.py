"""Packets are known again by what they sound like."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.clip import (
    LOOP_FRAMES,
    PCMU_LEVELS,
    decode_opus,
    decode_pcmu,
    encode_opus,
    encode_pcmu,
    opus_clip,
    opus_delay,
    pcmu_clip,
)
from bench.content import FRAME_SAMPLES, Match, find_in_loop, frames_carried

Floats = NDArray[np.float64]


def cut(loop: Floats, start: int, frames: int) -> Floats:
    """`frames` frames of a cyclic loop from the sample `start`."""
    return np.take(loop, range(start, start + frames * FRAME_SAMPLES), mode="wrap")


def test_speech_is_found_where_it_is() -> None:
    loop = pcmu_clip().sound

    match = find_in_loop(cut(loop, 150 * FRAME_SAMPLES, 110), loop)

    assert match is not None
    assert match.position == 150.0


def test_half_a_frame_off_is_found_half_a_frame_off() -> None:
    loop = pcmu_clip().sound

    match = find_in_loop(cut(loop, 37 * FRAME_SAMPLES + 80, 110), loop)

    assert match is not None
    assert match.position == 37.5


def test_a_decoders_own_shift_does_not_move_a_frame() -> None:
    loop = pcmu_clip().sound

    match = find_in_loop(cut(loop, 37 * FRAME_SAMPLES - 12, 110), loop)

    assert match is not None
    assert match.position == 37.0


def test_lost_frames_do_not_hide_the_rest() -> None:
    loop = pcmu_clip().sound
    heard = cut(loop, 20 * FRAME_SAMPLES, 110)
    heard[30 * FRAME_SAMPLES : 60 * FRAME_SAMPLES] = 0.0

    match = find_in_loop(heard, loop)

    assert match is not None
    assert match.position == 20.0


@pytest.mark.parametrize("heard", [np.zeros(1600), np.random.default_rng(1).normal(size=16000)])
def test_silence_and_noise_are_not_found(heard: Floats) -> None:
    assert find_in_loop(heard, pcmu_clip().sound) is None


def test_g711_through_opus_is_found_once_the_look_ahead_is_taken_off() -> None:
    loop = pcmu_clip().sound
    pcm = np.tile(loop, 2).astype(np.int16)
    heard = decode_opus(encode_opus(pcm, 8000, 32000)[LOOP_FRAMES + 37 : LOOP_FRAMES + 147])

    match = find_in_loop(heard, loop, opus_delay(rate=8000, bit_rate=32000))

    assert match is not None
    assert match.position == 37.0


def test_opus_looks_6_5_ms_ahead_and_2_5_without_silk() -> None:
    low = opus_delay(rate=8000, bit_rate=48000, application="lowdelay")

    assert opus_delay(rate=8000, bit_rate=32000) / 8 == pytest.approx(6.5, abs=0.5)
    assert low / 8 == pytest.approx(2.5, abs=0.5)


def test_opus_through_g711_is_found() -> None:
    clip = opus_clip(narrowband=True, payload_type=111)
    pcm = decode_opus(list(clip.packets[50:160])).astype(np.int16)

    match = find_in_loop(decode_pcmu(encode_pcmu(pcm)), clip.sound)

    assert match is not None
    assert match.position == 50.0


def test_the_newest_frame_that_had_gone_in_is_meant() -> None:
    numbers = np.array([0, 1, 2], np.int64)

    carried = frames_carried(Match(150.0, 1.0), numbers, numbers + 554, loop_frames=200)

    assert list(carried) == [550.0, 551.0, 552.0]


def test_one_concealed_frame_ahead_of_the_real_one_misleads_nobody() -> None:
    numbers = np.array([0, 1, 2, 3, 4], np.int64)
    newest = np.array([549, 551, 552, 553, 554], np.int64)

    carried = frames_carried(Match(150.0, 1.0), numbers, newest, loop_frames=200)

    assert list(carried) == [550.0, 551.0, 552.0, 553.0, 554.0]


def test_a_frame_that_is_still_to_go_in_is_not_meant() -> None:
    numbers = np.array([0], np.int64)

    carried = frames_carried(Match(155.5, 1.0), numbers, numbers + 554, loop_frames=200)

    assert list(carried) == [355.5]


def test_mu_law_levels_survive_a_round_trip() -> None:
    levels = PCMU_LEVELS.astype(np.int16)

    codes = np.frombuffer(encode_pcmu(levels), np.uint8)

    assert list(PCMU_LEVELS[codes]) == list(levels)


def test_mu_law_is_that_of_g711() -> None:
    assert (PCMU_LEVELS[0x00], PCMU_LEVELS[0x80], PCMU_LEVELS[0xFF]) == (-32124, 32124, 0)

"""Tones as they are made and as they are measured."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.media.g711 import MU_LAW
from gateway.media.tone import (
    DTMF_HZ,
    SILENCE_DBFS,
    beep,
    dtmf,
    dtmf_of,
    level_dbfs,
    ringback,
    sine,
    tone_level_dbfs,
)
from tests.media.sound import frequency_of, speechlike, steepest_step


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
@pytest.mark.parametrize("frequency", [100, 440, 3400])
def test_a_sine_has_its_frequency_level_and_length(frequency: float, rate: int) -> None:
    pcm = sine(frequency, 1.5, rate, -12)

    assert len(pcm) == 1.5 * rate
    assert frequency_of(pcm, rate) == pytest.approx(frequency, rel=0.002)
    assert level_dbfs(pcm[rate // 10 : -rate // 10]) == pytest.approx(-12, abs=0.05)


def test_a_sine_begins_and_ends_without_a_click() -> None:
    pcm = sine(1000, 0.1, 8000, 0)

    assert abs(int(pcm[0])) < 10
    assert abs(int(pcm[-1])) < 500
    assert steepest_step(pcm) < 25_500


def test_full_scale_is_0_dbfs_and_does_not_turn_over() -> None:
    pcm = sine(500, 0.5, 8000, 0)

    assert pcm.max() == 32_767
    assert level_dbfs(pcm[800:-800]) == pytest.approx(0, abs=0.01)


def test_a_tone_of_no_length_is_empty() -> None:
    assert len(sine(440, 0, 8000, -10)) == 0


def test_the_beep_is_short_and_at_1_khz() -> None:
    pcm = beep(8000)

    assert len(pcm) == 1600
    assert frequency_of(pcm, 8000) == pytest.approx(1000, rel=0.01)


def test_ringing_is_one_second_in_five() -> None:
    pcm = ringback(8000)

    assert len(pcm) == 40_000
    assert frequency_of(pcm[:8000], 8000) == pytest.approx(425, rel=0.01)
    assert not pcm[8000:].any()


@pytest.mark.parametrize("digit", DTMF_HZ)
def test_a_key_sounds_as_its_two_tones_and_is_told_by_them(digit: str) -> None:
    pcm = dtmf(digit, 0.1, 8000)

    low, high = DTMF_HZ[digit]
    assert tone_level_dbfs(pcm[80:-80], 8000, low) == pytest.approx(-9, abs=1)
    assert tone_level_dbfs(pcm[80:-80], 8000, high) == pytest.approx(-9, abs=1)
    assert dtmf_of(MU_LAW.decode(MU_LAW.encode(pcm)), 8000) == digit


def test_keys_are_told_from_tones_speech_and_silence() -> None:
    sounds = [sine(697, 0.1, 8000, -9), sine(1209, 0.1, 8000, -9), np.zeros(800, np.int16)]
    sounds += [speechlike(1.0, 8000)[start : start + 800] for start in range(0, 7000, 800)]

    assert [dtmf_of(pcm, 8000) for pcm in sounds] == [None] * len(sounds)


def test_there_is_no_such_key() -> None:
    with pytest.raises(KeyError):
        dtmf("x", 0.1, 8000)


def test_one_frequency_is_measured_beside_another() -> None:
    pcm = sine(500, 1.0, 8000, -10) + sine(1500, 1.0, 8000, -40)

    assert tone_level_dbfs(pcm, 8000, 1500) == pytest.approx(-40, abs=0.2)
    assert tone_level_dbfs(pcm, 8000, 1000) < -75


def test_silence_and_nothing_measure_as_silence() -> None:
    for pcm in (np.zeros(160, np.int16), np.zeros(0, np.int16)):
        assert level_dbfs(pcm) == SILENCE_DBFS
        assert tone_level_dbfs(pcm, 8000, 440) == SILENCE_DBFS

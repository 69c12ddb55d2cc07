"""What is loud and is no voice: tones, which are pure and steady, and clicks, which are short."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.media.touchtone import WINDOW as KEY_WINDOW
from gateway.media.touchtone import key_in

RATE = 8000
"Hz: what is heard is looked at at it."

TONE_SHARE = 0.9
"Of the energy, in one or two frequencies: a sung vowel has less, or does not stay."

STEADY_DB = 1.0
"By how much the loudness of a tone changes within 20 ms; that of a voice does by more."

MIN_POWER = 100.0
"Mean square of what is looked at at all: less is silence."

LOWEST_HZ, HIGHEST_HZ = 350.0, 2200.0
"Of tones that machines make: below are voices and hum."

MIN_FILLED = 9
"Of the last 24 pieces of 5 ms, how many speech fills that has lasted 60 ms; three clicks fill six."

_PIECE = 160
_GRAIN = 40
_AROUND = 2  # bins on each side that a Hann window smears a sine over


@dataclass(frozen=True, slots=True)
class Tone:
    """One frequency that sounds alone."""

    hz: float

    def is_near(self, hz: float, off_hz: float) -> bool:
        """Whether it is this frequency."""
        return abs(self.hz - hz) <= off_hz

    def is_like(self, other: Tone) -> bool:
        """Whether both are one tone that goes on: no voice stays so."""
        return self.is_near(other.hz, 12.0)


def tone_in(heard: NDArray[np.float32]) -> Tone | None:
    """The tone that the last 40 ms are; None where they are none, or one of two frequencies."""
    if len(heard) < 2 * _PIECE or not _is_steady(heard):
        return None
    (hz,), (share,) = peaks(heard[-2 * _PIECE :], 1)
    return Tone(hz) if share >= TONE_SHARE and LOWEST_HZ <= hz <= HIGHEST_HZ else None


def is_tone(heard: NDArray[np.float32]) -> bool:
    """Whether the last 40 ms are a tone of one or two frequencies, or a key's."""
    if len(heard) < 2 * _PIECE:
        return False
    last = heard[-2 * _PIECE :]
    if _is_steady(last) and sum(peaks(last)[1]) >= TONE_SHARE:
        return True
    return key_in(last[-KEY_WINDOW:].astype(np.int16)) is not None


def _is_steady(heard: NDArray[np.float32]) -> bool:
    """Whether the last two pieces of 20 ms are as loud as each other, and no silence."""
    before, last = heard[-2 * _PIECE : -_PIECE], heard[-_PIECE:]
    first, second = float(before @ before) / _PIECE, float(last @ last) / _PIECE
    if min(first, second) < MIN_POWER:
        return False
    return bool(abs(10 * np.log10(first / second)) <= STEADY_DB)


def is_clicks(heard: NDArray[np.float32]) -> bool:
    """Whether what was loud in the last 120 ms was short each time."""
    grains = heard[-24 * _GRAIN :]
    if len(grains) < 24 * _GRAIN:
        return False
    powers = (grains * grains).reshape(24, _GRAIN).mean(axis=1)
    return int(np.count_nonzero(powers > powers.mean() / 8)) < MIN_FILLED


def peaks(samples: NDArray[np.float32], count: int = 2) -> tuple[list[float], list[float]]:
    """The strongest frequencies in Hz, and what share of the energy each has."""
    size = len(samples)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(size))) ** 2
    total = float(spectrum.sum()) or 1.0
    frequencies, shares = [], []
    for _ in range(count):
        at = int(np.argmax(spectrum))
        first = max(0, at - _AROUND)
        around = spectrum[first : at + _AROUND + 1]
        energy = float(around.sum())
        centre = float(around @ np.arange(first, first + len(around))) / (energy or 1.0)
        frequencies.append(centre * RATE / size)
        shares.append(energy / total)
        around[:] = 0
    return frequencies, shares

"""Tones, made and measured. Levels are dBFS after AES17: a full-scale sine is 0 dBFS."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

SILENCE_DBFS = -120.0
"What measures less is said to be this."

DTMF_HZ = {
    digit: (low, high)
    for low, row in zip((697, 770, 852, 941), ("123A", "456B", "789C", "*0#D"), strict=True)
    for high, digit in zip((1209, 1336, 1477, 1633), row, strict=True)
}
"Both frequencies of each key (ITU-T Q.23)."

RINGBACK_ON_S, RINGBACK_OFF_S = 1.0, 4.0
RINGBACK_HZ = 425
"Ringing tone of most of the world (ITU-T E.180 §5)."

BEEP_HZ = 1000

MELODY_HZ = (262, 330, 392, 523, 392, 330)
"C E G C G E: up a chord and down again."

MELODY_NOTE_S, MELODY_REST_S = 0.6, 2.4

_EDGE_S = 0.005


def sine(frequency: float, seconds: float, rate: int, level_dbfs: float) -> NDArray[np.int16]:
    """A sine of `frequency` Hz at `rate` Hz, its edges rounded over 5 ms so as not to click."""
    return _to_pcm(_edged(_wave(frequency, seconds, rate), rate), level_dbfs)


def beep(rate: int, seconds: float = 0.2, level_dbfs: float = -12.0) -> NDArray[np.int16]:
    """A short 1 kHz tone."""
    return sine(BEEP_HZ, seconds, rate, level_dbfs)


def ringback(rate: int, level_dbfs: float = -18.0) -> NDArray[np.int16]:
    """One period of the ringing tone: 1 s of it, 4 s of silence. To be repeated."""
    tone = sine(RINGBACK_HZ, RINGBACK_ON_S, rate, level_dbfs)
    return np.concatenate([tone, np.zeros(int(RINGBACK_OFF_S * rate), np.int16)])


def melody(rate: int, level_dbfs: float = -26.0) -> NDArray[np.int16]:
    """A few soft notes that fade, then a rest: who waits hears that the line is up. To be repeated.

    All notes lie below the tones of keys (ITU-T Q.23).
    """
    at = np.arange(round(MELODY_NOTE_S * rate))
    fading = np.exp(-3.0 * at / len(at))
    notes = [_edged(_wave(hz, MELODY_NOTE_S, rate) * fading, rate) for hz in MELODY_HZ]
    rest = np.zeros(int(MELODY_REST_S * rate))
    return _to_pcm(np.concatenate([*notes, rest]), level_dbfs)


def dtmf(digit: str, seconds: float, rate: int, level_dbfs: float = -9.0) -> NDArray[np.int16]:
    """A key press as sound (ITU-T Q.23), each of its two tones at `level_dbfs`.

    Raises:
        KeyError: `digit` is none of 0-9 * # A-D.
    """
    low, high = DTMF_HZ[digit]
    both = _wave(low, seconds, rate) + _wave(high, seconds, rate)
    return _to_pcm(_edged(both, rate), level_dbfs)


def level_dbfs(pcm: NDArray[np.int16]) -> float:
    """The level of everything in it, from its RMS."""
    if not len(pcm):
        return SILENCE_DBFS
    samples = pcm.astype(np.float64)
    return _dbfs(math.sqrt(2 * float(np.mean(samples * samples))))


def tone_level_dbfs(pcm: NDArray[np.int16], rate: int, frequency: float) -> float:
    """The level of one frequency in it, by Goertzel's measure; best over whole periods."""
    if not len(pcm):
        return SILENCE_DBFS
    turn = np.exp(-2j * np.pi * frequency / rate * np.arange(len(pcm)))
    return _dbfs(2 * abs(complex(np.dot(pcm.astype(np.float64), turn))) / len(pcm))


def dtmf_of(pcm: NDArray[np.int16], rate: int) -> str | None:
    """The key whose two tones make up what is heard; None where they do not (ITU-T Q.24).

    Both must be above -40 dBFS, within 8 dB of each other, and hold most of the energy.
    """
    low, low_dbfs = _loudest(pcm, rate, (697, 770, 852, 941))
    high, high_dbfs = _loudest(pcm, rate, (1209, 1336, 1477, 1633))
    both_dbfs = 10 * math.log10(10 ** (low_dbfs / 10) + 10 ** (high_dbfs / 10))
    if min(low_dbfs, high_dbfs) < -40 or abs(low_dbfs - high_dbfs) > 8:
        return None
    if level_dbfs(pcm) - both_dbfs > 3:
        return None
    return next(digit for digit, pair in DTMF_HZ.items() if pair == (low, high))


def _loudest(pcm: NDArray[np.int16], rate: int, frequencies: tuple[int, ...]) -> tuple[int, float]:
    levels = [(tone_level_dbfs(pcm, rate, frequency), frequency) for frequency in frequencies]
    level, frequency = max(levels)
    return frequency, level


def _wave(frequency: float, seconds: float, rate: int) -> NDArray[np.float64]:
    at = np.arange(round(seconds * rate))
    wave: NDArray[np.float64] = np.sin(2 * np.pi * frequency / rate * at)
    return wave


def _edged(wave: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    size = min(int(_EDGE_S * rate), len(wave) // 2)
    if size:
        rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(size) / size)
        wave[:size] *= rise
        wave[-size:] *= rise[::-1]
    return wave


def _to_pcm(wave: NDArray[np.float64], level_dbfs: float) -> NDArray[np.int16]:
    scaled = np.rint(wave * (32767 * 10 ** (level_dbfs / 20)))
    return np.clip(scaled, -32768, 32767).astype(np.int16)


def _dbfs(amplitude: float) -> float:
    return 20 * math.log10(amplitude / 32768) if amplitude > 0.04 else SILENCE_DBFS

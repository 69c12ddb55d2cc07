"""Making and measuring PCM: Hz, dBFS (a full-scale sine is 0 dBFS), ms."""

from __future__ import annotations

import wave
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.lab import lab

Pcm = NDArray[np.int16]


def tone(frequency: float, seconds: float, rate: int, level_dbfs: float = -10.0) -> Pcm:
    """A plain sine without rounded edges, to be measured."""
    at = np.arange(round(seconds * rate))
    amplitude = 32767 * 10 ** (level_dbfs / 20)
    wave: Pcm = np.rint(amplitude * np.sin(2 * np.pi * frequency / rate * at)).astype(np.int16)
    return wave


def speechlike(seconds: float, rate: int, level_dbfs: float = -14.0) -> Pcm:
    """A voiced sound: harmonics of 125 Hz up to 2 kHz, swelling four times a second."""
    at = np.arange(round(seconds * rate)) / rate
    wave: NDArray[np.float64] = np.zeros(len(at))
    for harmonic in range(1, 17):
        wave += np.sin(2 * np.pi * 125 * harmonic * at + harmonic**2) / harmonic
    wave *= 0.6 + 0.4 * np.sin(2 * np.pi * 4 * at)
    wave *= 32767 * 10 ** (level_dbfs / 20) / np.abs(wave).max()
    speech: Pcm = np.rint(wave).astype(np.int16)
    return speech


def chirp(low: float, high: float, seconds: float, rate: int, level_dbfs: float = -10.0) -> Pcm:
    """A tone that climbs evenly."""
    at = np.arange(round(seconds * rate)) / rate
    turns = low * at + (high - low) / seconds * at**2 / 2
    wave = 32767 * 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * turns)
    glide: Pcm = np.rint(wave).astype(np.int16)
    return glide


@cache
def recorded_speech(rate: int) -> Pcm:
    """15 s of a voice, at 8 or 16 kHz."""
    with wave.open(str(Path(lab.__file__).with_name("prompts") / "speech.wav")) as file:
        recorded = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        size = len(recorded) * rate // file.getframerate()
    spectrum = np.fft.rfft(recorded)[: size // 2 + 1]
    resampled = np.fft.irfft(spectrum, size) * (size / len(recorded))
    speech: Pcm = np.clip(np.rint(resampled), -32768, 32767).astype(np.int16)
    return speech


def frames_of(pcm: Pcm, size: int) -> list[Pcm]:
    """Whole pieces of `size` samples; what is left over is dropped."""
    return [pcm[start : start + size] for start in range(0, len(pcm) - size + 1, size)]


def frequency_of(pcm: Pcm, rate: int) -> float:
    """The strongest frequency, in Hz; exact to a few thousandths where it stands out."""
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(len(pcm)), 8 * len(pcm)))
    spectrum[: len(spectrum) // 400] = 0
    return float(np.argmax(spectrum)) * rate / (8 * len(pcm))


def sine_fit(pcm: Pcm, frequency: float, rate: int) -> tuple[float, float]:
    """Level of the sine in it, in dBFS, and how far below that sine the rest is, in dB."""
    turns = 2 * np.pi * frequency / rate * np.arange(len(pcm))
    basis = np.stack([np.sin(turns), np.cos(turns)], axis=1)
    samples = pcm.astype(np.float64)
    weights, *_ = np.linalg.lstsq(basis, samples, rcond=None)
    amplitude = float(np.hypot(*weights))
    rest = float(np.sqrt(2 * np.mean((samples - basis @ weights) ** 2)))
    return _db(amplitude / 32768), _db(amplitude / max(rest, 1e-9))


def snr_db(heard: Pcm, sent: Pcm) -> float:
    """How far the difference lies below what was sent."""
    reference = sent.astype(np.float64)
    noise = heard.astype(np.float64) - reference
    return _db(float(np.sqrt(np.mean(reference**2) / max(float(np.mean(noise**2)), 1e-9))))


def delay_of(heard: Pcm, sent: Pcm, rate: int) -> float:
    """How many ms later it is heard, to a sample."""
    size = 1 << (len(heard) + len(sent)).bit_length()
    likeness = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sent, size)))
    lag = int(np.argmax(likeness))
    return (lag if lag < size // 2 else lag - size) * 1000 / rate


def steepest_step(pcm: Pcm) -> int:
    """The largest difference between neighbours: a click stands out."""
    return int(np.abs(np.diff(pcm.astype(np.int32))).max())


def _db(factor: float) -> float:
    return 20 * float(np.log10(max(factor, 1e-12)))

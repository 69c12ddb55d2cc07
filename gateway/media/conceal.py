"""What to play where audio is missing: the last pitch periods again, then comfort noise.

Opus conceals by itself; this serves codecs that do not (G.711, and speakers born as PCM). After
ITU-T G.711 Appendix I, but for its delay of 3.75 ms: the seam is smoothed on our side of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HISTORY_MS = 40
"What is looked back on: the template and the longest pitch before it, and more."

PLC_MS = 60
"Concealed speech has faded to nothing after this long (G.711 Appendix I §I.2.7)."

QUIETEST_RMS, LOUDEST_RMS = 3.0, 60.0
"Bounds of comfort noise, about -78 and -52 dBFS: it must neither vanish nor be taken for speech."

LOUDEST_TOLD_RMS = 1000.0
"About -30 dBFS: a peer's word for its noise is believed so far."

QUIETEST_LEVEL = 78
"dB below overload. Silence itself is told as this: a line without any noise sounds dead."

_SHORTEST_PITCH_MS, _LONGEST_PITCH_MS = 5, 15
_TEMPLATE_MS = 5
_FULL_MS = 10
_SEAM_MS = 5


class Concealment:
    """One gap in one speaker's audio, at one rate."""

    __slots__ = ("_at", "_rate", "_region", "_step")

    def __init__(self, history: NDArray[np.int16], rate: int) -> None:
        """`history` is the audio before the gap; less than `HISTORY_MS` of it is filled up."""
        wanted = HISTORY_MS * rate // 1000
        past = np.zeros(wanted, np.float32)
        if len(history):
            past[-len(history) :] = history[-wanted:]
        self._rate = rate
        self._at = 0
        pitch = _pitch_of(past, rate)
        self._region = _loop(past, pitch, seam=pitch // 4)
        # What lies between the last sample heard and the one that came before the region.
        self._step = float(past[-1] - past[-pitch - 1])

    def fill(self, samples: int) -> NDArray[np.int16]:
        """The next `samples` of the gap."""
        return self._next(samples).astype(np.int16)

    def fill_toward(self, samples: int, following: NDArray[np.int16]) -> NDArray[np.int16]:
        """The last `samples` of the gap, where it is known what follows it.

        They go over from what came before to what comes after, continued backward: over eight
        voices at 5 % loss that is worth 0.2 in PESQ. Nothing need be joined after it.
        """
        backward = Concealment(following[::-1], self._rate)
        share = np.linspace(0, 1, samples, dtype=np.float32)
        before, after = self._next(samples), backward._next(samples)[::-1]
        return (before * (1 - share) + after * share).astype(np.int16)

    def join(self, pcm: NDArray[np.int16]) -> NDArray[np.int16]:
        """The gap is over: the same audio, grown out of the concealed."""
        size = min(_SEAM_MS * self._rate // 1000, len(pcm))
        rise = np.arange(1, size + 1, dtype=np.float32) / (size + 1)
        joined = pcm.copy()
        joined[:size] = pcm[:size] * rise + self._next(size) * (1 - rise)
        return joined

    def _next(self, samples: int) -> NDArray[np.float32]:
        at = np.arange(self._at, self._at + samples)
        self._at += samples
        gain = 1 - (at * (1000 / self._rate) - _FULL_MS) / (PLC_MS - _FULL_MS)
        repeated = self._region[at % len(self._region)]
        seam = _SEAM_MS * self._rate // 1000
        repeated += self._step * np.maximum(1 - at / seam, 0)
        return np.clip(repeated * np.clip(gain, 0, 1), -32768, 32767).astype(np.float32)


def _loop(past: NDArray[np.float32], length: int, seam: int) -> NDArray[np.float32]:
    """The last `length` samples, their end made to lead over to their beginning."""
    loop = past[-length:].copy()
    rise = np.arange(1, seam + 1, dtype=np.float32) / (seam + 1)
    loop[-seam:] = loop[-seam:] * (1 - rise) + past[-length - seam : -length] * rise
    return loop


def _pitch_of(past: NDArray[np.float32], rate: int) -> int:
    """The lag in samples at which the last 5 ms are most like what came before.

    A longer template would say more of a vowel, and less of what comes next: 20 ms are worth 0.1
    less in PESQ.
    """
    shortest = _SHORTEST_PITCH_MS * rate // 1000
    longest = _LONGEST_PITCH_MS * rate // 1000
    size = _TEMPLATE_MS * rate // 1000
    template = past[-size:]
    before = past[-size - longest : len(past) - shortest]
    likeness = np.correlate(before, template, "valid")
    power = np.cumsum(np.concatenate(([0.0], before.astype(np.float64) ** 2)))
    energy = power[size:] - power[:-size]
    return longest - int(np.argmax(likeness / np.sqrt(energy + 1.0)))


class ComfortNoise:
    """Endless quiet noise: low-passed a little, as rooms sound."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at = 0

    def fill(self, samples: int, rms: float) -> NDArray[np.int16]:
        """The next `samples`, at a level in int16 units."""
        at = np.arange(self._at, self._at + samples) % len(_NOISE)
        self._at += samples
        noise: NDArray[np.int16] = np.rint(_NOISE[at] * rms).astype(np.int16)
        return noise


def read_noise(payload: bytes) -> float:
    """The RMS, in int16 units, that a payload of CN asks for (RFC 3389 §3).

    The spectrum that may follow is not looked at: rooms are much alike, and it is quiet.
    """
    level = payload[0] & 0x7F if payload else QUIETEST_LEVEL
    return min(32768 * 10 ** (-level / 20), LOUDEST_TOLD_RMS)


def write_noise(pcm: NDArray[np.int16]) -> bytes:
    """The payload of CN for a background like this: its level below overload, in dB."""
    samples = pcm.astype(np.float32)
    rms = float(np.sqrt(samples.dot(samples) / max(len(samples), 1)))
    level = round(-20 * np.log10(max(rms, 1.0) / 32768))
    return bytes((min(max(level, 0), QUIETEST_LEVEL),))


def background_rms(history: NDArray[np.int16], rate: int) -> float:
    """The level of the quietest 10 ms, within what comfort noise may be."""
    block = rate // 100
    whole = len(history) // block * block
    if not whole:
        return QUIETEST_RMS
    blocks = history[-whole:].astype(np.float32).reshape(-1, block)
    quietest = float(np.sqrt((blocks * blocks).mean(axis=1).min()))
    return min(max(quietest, QUIETEST_RMS), LOUDEST_RMS)


def _make_noise() -> NDArray[np.float32]:
    """One second at 16 kHz, of unit RMS. The same noise each time: nobody remembers it."""
    bits: NDArray[np.uint32] = np.arange(1, 16_001, dtype=np.uint32) * np.uint32(2654435761)
    for shift, factor in ((16, 2246822519), (13, 3266489917)):
        bits = (bits ^ (bits >> np.uint32(shift))) * np.uint32(factor)
    white = (bits ^ (bits >> np.uint32(16))).astype(np.float64) - 2.0**31
    coloured = white + 0.7 * np.roll(white, 1) + 0.3 * np.roll(white, 2)
    coloured -= coloured.mean()
    noise: NDArray[np.float32] = (coloured / coloured.std()).astype(np.float32)
    return noise


_NOISE = _make_noise()

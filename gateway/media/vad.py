"""Whether somebody speaks, by energy over a noise floor that follows the room. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """When sound is taken for speech."""

    above_floor_db: float = 10.0
    "Speech is at least this much louder than the noise around it."
    quietest_dbfs: float = -50.0
    "Nothing below this is speech, however quiet the room (0 dBFS is a full-scale sine)."
    onset_ms: float = 60.0
    "How much of it within `onset_window_ms` begins speech: a click does not."
    onset_window_ms: float = 120.0
    hangover_ms: float = 400.0
    "How long it must be quiet before speech is over: pauses between words are shorter."
    floor_window_ms: float = 1000.0
    """The noise is as loud as the quietest frame of the last one to two of these: speech pauses in
    that time, and noise that begins is taken for speech no longer."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Somebody began to speak."""

    at_ms: float
    "On the detector's clock: what was pushed before the first loud frame."


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """Nobody speaks any more."""

    at_ms: float
    "On the detector's clock: the end of the last loud frame."


class EnergyDetector:
    """Follows one speaker, frame by frame."""

    __slots__ = (
        "_clock_ms",
        "_last_loud_ms",
        "_loud_ms",
        "_lowest",
        "_lowest_before",
        "_options",
        "_quietest",
        "_ratio",
        "_started_ms",
        "_window_ends_ms",
        "is_speech",
    )

    def __init__(self, options: DetectorOptions | None = None) -> None:
        self.is_speech = False
        self._options = options or DetectorOptions()
        # Powers instead of decibels: no logarithm per frame.
        self._quietest = (32768.0**2 / 2) * 10 ** (self._options.quietest_dbfs / 10)
        self._ratio = 10 ** (self._options.above_floor_db / 10)
        # Whoever speaks from the first frame on is louder than this; much noise is not.
        self._lowest = self._lowest_before = 4 * self._quietest
        self._window_ends_ms = self._options.floor_window_ms
        self._clock_ms = 0.0
        self._loud_ms = 0.0
        self._started_ms = 0.0
        self._last_loud_ms = 0.0

    def push(
        self, pcm: NDArray[np.int16], duration_ms: float = 20.0
    ) -> SpeechStarted | SpeechStopped | None:
        """Look at the next frame: mono PCM at any rate (8000 Hz is enough), `duration_ms` of it."""
        begin = self._clock_ms
        self._clock_ms = end = begin + duration_ms
        samples = pcm.astype(np.float32)
        power = float(samples.dot(samples)) / (len(samples) or 1)
        is_loud = power > self._quietest and power > self._floor(power, end) * self._ratio
        if is_loud:
            return self._on_loud(begin, end)
        if self.is_speech and end - self._last_loud_ms >= self._options.hangover_ms:
            self.is_speech = False
            self._loud_ms = 0.0
            return SpeechStopped(self._last_loud_ms)
        return None

    def _on_loud(self, begin: float, end: float) -> SpeechStarted | None:
        if self.is_speech:
            self._last_loud_ms = end
            return None
        if not self._loud_ms or begin - self._started_ms >= self._options.onset_window_ms:
            self._started_ms = begin
            self._loud_ms = 0.0
        self._loud_ms += end - begin
        self._last_loud_ms = end
        if self._loud_ms < self._options.onset_ms:
            return None
        self.is_speech = True
        return SpeechStarted(self._started_ms)

    def _floor(self, power: float, now_ms: float) -> float:
        """The power of the noise, this frame considered."""
        if now_ms > self._window_ends_ms:
            self._window_ends_ms = now_ms + self._options.floor_window_ms
            self._lowest_before = self._lowest
            self._lowest = power
        elif power < self._lowest:
            self._lowest = power
        return min(self._lowest, self._lowest_before)

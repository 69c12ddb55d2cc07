"""Whether somebody speaks, by energy over a noise floor that follows the room. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FULL_SCALE = 32768.0**2 / 2
"Mean square of a full-scale sine: 0 dBFS."


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
    first_floor_dbfs: float = -44.0
    "How loud the noise is thought to be before any was heard: whoever speaks at once is louder."


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


class Gate:
    """From loud frames to speech: a click begins none, a pause between words ends none."""

    __slots__ = ("_clock_ms", "_last_loud_ms", "_loud_ms", "_options", "_started_ms", "is_speech")

    def __init__(self, options: DetectorOptions | None = None) -> None:
        self.is_speech = False
        self._options = options or DetectorOptions()
        self._clock_ms = 0.0
        self._loud_ms = 0.0
        self._started_ms = 0.0
        self._last_loud_ms = 0.0

    @property
    def speech_ms(self) -> float:
        """How long the speech that goes on has lasted, to the end of its last loud frame."""
        return self._last_loud_ms - self._started_ms if self.is_speech else 0.0

    def push(self, duration_ms: float, *, is_loud: bool) -> SpeechStarted | SpeechStopped | None:
        """The next frame."""
        begin = self._clock_ms
        self._clock_ms = end = begin + duration_ms
        if is_loud:
            return self._on_loud(begin, end)
        if self.is_speech and end - self._last_loud_ms >= self._options.hangover_ms:
            return self.stop()
        return None

    def cancel(self) -> None:
        """What has just begun was no speech."""
        self.is_speech = False
        self._loud_ms = 0.0

    def stop(self) -> SpeechStopped:
        """End the speech that goes on."""
        self.cancel()
        return SpeechStopped(self._last_loud_ms)

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


class Loudness:
    """Whether a frame is louder than the noise around it, frame by frame of one speaker."""

    __slots__ = (
        "_clock_ms",
        "_lowest",
        "_lowest_before",
        "_options",
        "_quietest",
        "_ratio",
        "_until",
    )

    def __init__(self, options: DetectorOptions | None = None) -> None:
        self._options = options or DetectorOptions()
        # Powers instead of decibels: no logarithm per frame.
        self._quietest = FULL_SCALE * 10 ** (self._options.quietest_dbfs / 10)
        self._ratio = 10 ** (self._options.above_floor_db / 10)
        self._lowest = FULL_SCALE * 10 ** (self._options.first_floor_dbfs / 10)
        self._lowest_before = self._lowest
        self._until = self._options.floor_window_ms
        self._clock_ms = 0.0

    def push(self, power: float, duration_ms: float) -> bool:
        """Whether the next frame, of this mean square, stands out."""
        self._clock_ms = now_ms = self._clock_ms + duration_ms
        if now_ms > self._until:
            self._until = now_ms + self._options.floor_window_ms
            self._lowest_before = self._lowest
            self._lowest = power
        elif power < self._lowest:
            self._lowest = power
        if power <= self._quietest:
            return False
        return power > min(self._lowest, self._lowest_before) * self._ratio


class EnergyDetector:
    """Follows one speaker, frame by frame."""

    __slots__ = ("_gate", "_loudness")

    def __init__(self, options: DetectorOptions | None = None) -> None:
        self._gate = Gate(options)
        self._loudness = Loudness(options)

    @property
    def is_speech(self) -> bool:
        """Whether somebody speaks."""
        return self._gate.is_speech

    def push(
        self, pcm: NDArray[np.int16], duration_ms: float = 20.0
    ) -> SpeechStarted | SpeechStopped | None:
        """Look at the next frame: mono PCM at any rate (8000 Hz is enough), `duration_ms` of it."""
        is_loud = self._loudness.push(power_of(pcm), duration_ms)
        return self._gate.push(duration_ms, is_loud=is_loud)


def power_of(pcm: NDArray[np.int16]) -> float:
    """The mean square of its samples; 0 where there are none."""
    samples = pcm.astype(np.float32)
    return float(samples.dot(samples)) / (len(samples) or 1)

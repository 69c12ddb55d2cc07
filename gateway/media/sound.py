"""A sound held in memory at the rates it is heard at: resampled once for all who hear it."""

from __future__ import annotations

import numpy as np

from gateway.codec import TICK_RATE
from gateway.media.frame import AudioFrame, Pcm
from gateway.media.opus import RATES
from gateway.media.resample import resample

TICKS_PER_MS = TICK_RATE // 1000

MAX_RATE = 24_000
"Hz. What is played to people on the phone needs no more, and is held in memory."


class Sound:
    """Mono PCM of whole milliseconds, and the same at other rates once they were asked for."""

    __slots__ = ("_pcm", "duration", "rate")

    def __init__(self, pcm: Pcm, rate: int) -> None:
        """
        Args:
            pcm: shape (samples,); what is left over of a millisecond is cut off. Not copied where
                it need not be: do not write to it any more.
            rate: 8, 12, 16, 24 or 48 kHz; 48 is taken down to 24.

        Raises:
            ValueError: another rate, or not a millisecond of sound.
        """
        if rate not in RATES:
            raise ValueError(f"a sound is at one of {RATES} Hz, not {rate}")
        pcm = pcm[: len(pcm) - len(pcm) % (rate // 1000)]
        if not len(pcm):
            raise ValueError("a sound of nothing")
        self.rate = min(rate, MAX_RATE)
        self.duration = len(pcm) * (TICK_RATE // rate)
        "48 kHz ticks."
        self._pcm = {self.rate: _shared(resample(pcm, rate, self.rate))}

    def pcm(self, rate: int) -> Pcm:
        """All of it at `rate` Hz. Shared: it cannot be written to."""
        pcm = self._pcm.get(rate)
        if pcm is None:
            pcm = self._pcm[rate] = _shared(resample(self._pcm[self.rate], self.rate, rate))
        return pcm

    def frame(self, start: int, duration: int, heard_at: float) -> AudioFrame:
        """A stretch of it, in ticks; it must be within the sound."""
        return SoundFrame(self, start, duration, heard_at)


class SoundFrame(AudioFrame):
    """A stretch of a sound. Nothing is decoded or resampled for it, whoever listens."""

    __slots__ = ("_sound",)

    def __init__(self, sound: Sound, start: int, duration: int, heard_at: float) -> None:
        super().__init__(start, duration, heard_at)
        self._sound = sound

    @property
    def is_noise(self) -> bool:
        return False

    @property
    def origin(self) -> int:
        return self._sound.rate

    def _render(self, rate: int) -> Pcm:
        start = self.position * rate // TICK_RATE
        return self._sound.pcm(rate)[start : start + self.samples(rate)]


def _shared(pcm: Pcm) -> Pcm:
    pcm = np.ascontiguousarray(pcm)
    pcm.setflags(write=False)
    return pcm

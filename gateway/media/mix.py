"""Frames made of others: cut, joined, summed, faded. As lazy as what they are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.codec import TICK_RATE
from gateway.media.frame import AudioFrame, Pcm

RAMP_TICKS = TICK_RATE * 5 // 1000
"A change of gain takes 5 ms: at once, it clicks."


class Part:
    """A stretch of a frame, somewhere in a mix, at some gain."""

    __slots__ = ("at", "duration", "frame", "from_gain", "gain", "start")

    def __init__(
        self,
        frame: AudioFrame,
        *,
        start: int = 0,
        at: int = 0,
        duration: int | None = None,
        gain: float = 1.0,
        from_gain: float | None = None,
    ) -> None:
        """
        Args:
            start: ticks into the frame.
            at: ticks into the mix.
            duration: ticks; all of the frame if None.
            gain: factor.
            from_gain: factor at the beginning, where it differs; `gain` is reached in 5 ms.
        """
        self.frame = frame
        self.start = start
        self.at = at
        self.duration = frame.duration - start if duration is None else duration
        self.gain = gain
        self.from_gain = gain if from_gain is None else from_gain


class MixedFrame(AudioFrame):
    """The sum of parts, with saturation; silence where there is none."""

    __slots__ = ("_parts",)

    def __init__(
        self, position: int, duration: int, heard_at: float, parts: Sequence[Part]
    ) -> None:
        super().__init__(position, duration, heard_at)
        self._parts = parts

    @property
    def is_noise(self) -> bool:
        return not self._parts

    @property
    def natural_rate(self) -> int:
        return max((part.frame.natural_rate for part in self._parts), default=8000)

    def _render(self, rate: int) -> Pcm:
        total = np.zeros(self.samples(rate), np.int32)
        for part in self._parts:
            pcm = part.frame.pcm(rate)
            start = part.start * rate // TICK_RATE
            at = part.at * rate // TICK_RATE
            end = (part.at + part.duration) * rate // TICK_RATE
            size = min(end, len(total), at + len(pcm) - start) - at
            if size > 0:
                piece = pcm[start : start + size]
                plain = part.gain == part.from_gain == 1.0
                total[at : at + size] += piece if plain else _scale(piece, part, rate)
        np.minimum(total, 32767, out=total)
        np.maximum(total, -32768, out=total)
        return total.astype(np.int16)


def _scale(pcm: Pcm, part: Part, rate: int) -> NDArray[np.int32]:
    scaled = pcm * np.float32(part.gain)
    if part.from_gain != part.gain:
        ramp = min(RAMP_TICKS * rate // TICK_RATE, len(pcm))
        gains = np.linspace(part.from_gain, part.gain, ramp, endpoint=False, dtype=np.float32)
        scaled[:ramp] = pcm[:ramp] * gains
    rounded: NDArray[np.int32] = np.rint(scaled).astype(np.int32)
    return rounded

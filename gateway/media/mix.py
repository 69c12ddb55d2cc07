"""Frames made of others: cut, joined, summed, faded. As lazy as what they are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.codec import TICK_RATE
from gateway.media.frame import AudioFrame, Pcm

RAMP_TICKS = TICK_RATE * 5 // 1000
"A change of gain takes 5 ms: at once, it clicks."


_HIGHEST, _LOWEST = np.array(32_767, np.int32), np.array(-32_768, np.int32)
# As arrays: numpy takes half as long to compare with them as with numbers.


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

    @property
    def is_plain(self) -> bool:
        """Whether it is as loud as it came."""
        return self.gain == self.from_gain == 1.0


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
        size = self.samples(rate)
        total: NDArray[np.int32] | None = None
        for part in self._parts:
            pcm = part.frame.pcm(rate)
            if part.is_plain and part.duration == self.duration and len(pcm) == size:
                # All of a frame, as it is: nearly every part of nearly every mix.
                if total is None:
                    total = pcm.astype(np.int32)
                else:
                    np.add(total, pcm, out=total)
                continue
            if total is None:
                total = np.zeros(size, np.int32)
            _add_cut(total, part, pcm, rate)
        if total is None:
            return np.zeros(size, np.int16)
        np.minimum(total, _HIGHEST, out=total)
        np.maximum(total, _LOWEST, out=total)
        return total.astype(np.int16)


def _add_cut(total: NDArray[np.int32], part: Part, pcm: Pcm, rate: int) -> None:
    start = part.start * rate // TICK_RATE
    at = part.at * rate // TICK_RATE
    end = (part.at + part.duration) * rate // TICK_RATE
    size = min(end, len(total), at + len(pcm) - start) - at
    if size > 0:
        piece = pcm[start : start + size]
        total[at : at + size] += piece if part.is_plain else _scale(piece, part, rate)


def _scale(pcm: Pcm, part: Part, rate: int) -> NDArray[np.int32]:
    scaled = pcm * np.float32(part.gain)
    if part.from_gain != part.gain:
        ramp = min(RAMP_TICKS * rate // TICK_RATE, len(pcm))
        gains = np.linspace(part.from_gain, part.gain, ramp, endpoint=False, dtype=np.float32)
        scaled[:ramp] = pcm[:ramp] * gains
    rounded: NDArray[np.int32] = np.rint(scaled).astype(np.int32)
    return rounded

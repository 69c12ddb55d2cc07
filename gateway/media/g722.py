"""G.722 at 64 kb/s, wideband in the bandwidth of G.711 (ITU-T G.722; RFC 3551 §4.5.2).

FFmpeg's, by way of PyAV. Measured, a frame of 20 ms: 25 µs to encode, 12 to decode; its filters
delay by 22 samples, 1.4 ms. Where a computing thread runs beside the loop, PyAV gives it the GIL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import av

G722_RATE = 16_000
"Hz of the audio; its RTP clock says 8000."

G722_GRAIN = 160
"Samples of 10 ms: what an encoder takes is a multiple of it."

_FRAME = 320
"Samples of 20 ms, the ptime we send: one call of FFmpeg's."


class G722Decoder:
    """One speaker's state. Every byte is valid G.722; nothing is raised."""

    __slots__ = ("_context", "_packet")

    def __init__(self) -> None:
        import av

        self._packet = av.Packet
        self._context = _create("r")
        self._context.open()

    def decode(self, payload: bytes) -> NDArray[np.int16]:
        """Two samples for each byte."""
        if not payload:  # to FFmpeg it would be the end
            return np.zeros(0, np.int16)
        (frame,) = self._context.decode(self._packet(payload))
        return np.frombuffer(bytes(frame.planes[0]), np.int16, 2 * len(payload))


class G722Encoder:
    """One listener's state, for frames of 10 ms or a multiple."""

    __slots__ = ("_context", "_frame", "_plane", "_size", "frame_samples", "sample_rate")

    def __init__(self) -> None:
        self.sample_rate = G722_RATE
        self.frame_samples = _FRAME
        self._open(_FRAME)

    def encode(self, pcm: NDArray[np.int16]) -> bytes:
        """One byte for every two samples.

        Raises:
            ValueError: a length that is no multiple of `G722_GRAIN`.
        """
        size = self._size
        if len(pcm) == size:
            self._plane.update(pcm.tobytes())
            return bytes(self._context.encode(self._frame)[0])
        if len(pcm) % G722_GRAIN or not len(pcm):
            raise ValueError(f"G.722 is made of {G722_GRAIN} samples at a time, not {len(pcm)}")
        if len(pcm) % size:
            # A ptime of 10 or 30 ms. The first frame tells it, and it hardly ever changes.
            self._open(size := G722_GRAIN)
        return b"".join(self.encode(pcm[at : at + size]) for at in range(0, len(pcm), size))

    def take_over(self) -> None:
        """Nothing of another encoder is missed: its rate never changes within a call."""

    def close(self) -> None:
        """Nothing to free before the object goes."""

    def _open(self, size: int) -> None:
        import av

        context = _create("w")
        context.options = {"frame_size": str(size)}
        context.open()
        self._context, self._size = context, size
        # The same frame again and again: FFmpeg is done with it when `encode` returns.
        self._frame = av.AudioFrame(format="s16", layout="mono", samples=size)
        self._frame.sample_rate = G722_RATE
        self._plane = self._frame.planes[0]


def _create(mode: Literal["r", "w"]) -> av.AudioCodecContext:
    # Only here and above: FFmpeg takes 0.1 s and 20 MB, and not everybody speaks G.722.
    import av

    context = av.CodecContext.create("g722", mode)
    context.sample_rate = G722_RATE
    context.layout = "mono"
    if mode == "w":
        context.format = "s16"
    return context

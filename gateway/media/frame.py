"""A piece of one speaker's timeline, lazily decoded, and the decoding state of one speaker.

    payload ▸ Voice.frame ▸ AudioFrame ▸ relayed as it came, or pcm(rate): decoded once per rate
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.codec import Codec

Pcm = NDArray[np.int16]


class AudioFrame:
    """A piece of one speaker's timeline; consecutive frames of one Voice are contiguous."""

    __slots__ = ("codec", "duration", "heard_at", "payload", "position")

    position: int
    "48 kHz ticks of the speaker's clock (not of the listener's: never derive RTP time from it)."
    duration: int
    "48 kHz ticks."
    heard_at: float
    "Loop seconds."
    codec: Codec | None
    "None if concealed, silenced, mixed or born as PCM; then `payload` is None too."
    payload: bytes | None

    def pcm(self, rate: int) -> Pcm:
        """The audio at `rate` Hz: shape (duration * rate / 48000,). Shared: never write to it."""
        raise NotImplementedError


class Voice:
    """One speaker's decoding state. All durations are 48 kHz ticks."""

    junk: int
    "Payloads that could not be decoded, and were concealed instead."

    def frame(self, codec: Codec, payload: bytes, duration: int, heard_at: float) -> AudioFrame:
        """The next piece, as received."""
        raise NotImplementedError

    def conceal(
        self, duration: int, heard_at: float, following: bytes | None = None
    ) -> AudioFrame:
        """The next piece is missing: FEC from the `following` payload, PLC, or comfort noise."""
        raise NotImplementedError

    def frame_of_pcm(self, pcm: Pcm, rate: int, heard_at: float) -> AudioFrame:
        """The next piece, born as mono PCM at 8, 12, 16, 24 or 48 kHz."""
        raise NotImplementedError

    def close(self) -> None:
        """Free the decoders. Frames already decoded stay readable."""
        raise NotImplementedError

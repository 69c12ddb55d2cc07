"""Encoders by codec: what a listener sends through."""

from __future__ import annotations

from typing import Protocol

from gateway.codec import SPEECH, Codec
from gateway.errors import NegotiationError
from gateway.media.frame import Pcm
from gateway.media.g711 import LAWS, Law
from gateway.media.g722 import G722Encoder
from gateway.media.opus import FRAME_MS, OpusEncoder, OpusOptions, options_for


class Encoder(Protocol):
    """PCM to payloads of one codec."""

    sample_rate: int
    "Hz: what `encode` takes."
    frame_samples: int
    "Samples of 20 ms, the ptime we send."

    def encode(self, pcm: Pcm) -> bytes:
        """One payload; empty when nothing need be sent (DTX)."""

    def close(self) -> None:
        """Free it; it must not be used after."""


class G711Encoder:
    """Frames of any length."""

    __slots__ = ("encode", "frame_samples", "sample_rate")

    def __init__(self, law: Law) -> None:
        self.sample_rate = 8000
        self.frame_samples = 160
        self.encode = law.encode

    def close(self) -> None:
        """Nothing to free."""


class OpusFrameEncoder:
    """Frames of 2.5, 5, 10, 20, 40 or 60 ms."""

    __slots__ = ("close", "configure", "encode", "frame_samples", "sample_rate")

    def __init__(self, rate: int, options: OpusOptions) -> None:
        encoder = OpusEncoder(rate, options)
        self.sample_rate = rate
        self.frame_samples = rate * FRAME_MS // 1000
        self.encode = encoder.encode
        self.configure = encoder.configure
        self.close = encoder.close


def make_encoder(codec: Codec, *, rate: int = 8000, options: OpusOptions | None = None) -> Encoder:
    """The encoder that makes payloads of `codec`.

    Args:
        rate: for Opus, the rate in Hz of what will be encoded: 8000 where it came over G.711.
        options: for Opus; what suits the rate if None.

    Raises:
        NegotiationError: a codec that we do not encode.
        ConfigError: there is no libopus.
    """
    if codec.name in LAWS:
        return G711Encoder(LAWS[codec.name])
    if codec.name == "opus":
        return OpusFrameEncoder(rate, options or options_for(rate))
    if codec.name == "G722":
        return G722Encoder()
    raise NegotiationError(f"{codec.name} is not encoded; {', '.join(SPEECH)} are")

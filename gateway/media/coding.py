"""Encoders by codec: what a listener sends through."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from gateway.codec import SPEECH, Codec
from gateway.errors import NegotiationError
from gateway.media.effort import Effort, Workload, opus_options
from gateway.media.frame import Pcm
from gateway.media.g711 import LAWS, Law
from gateway.media.g722 import G722Encoder
from gateway.media.opus import FRAME_MS, Application, OpusEncoder, OpusOptions

SETTLING_FRAMES = 5
"Of silence, after which an encoder of CELT expects nothing of what it was given."


class Encoder(Protocol):
    """PCM to payloads of one codec."""

    sample_rate: int
    "Hz: what `encode` takes."
    frame_samples: int
    "Samples of 20 ms, the ptime we send."

    def encode(self, pcm: Pcm) -> bytes:
        """One payload; empty when nothing need be sent (DTX)."""

    def take_over(self) -> None:
        """Go on for another encoder, whose listener's decoder stays."""

    def close(self) -> None:
        """Free it; it must not be used after."""


class G711Encoder:
    """Frames of any length."""

    __slots__ = ("encode", "frame_samples", "sample_rate")

    def __init__(self, law: Law) -> None:
        self.sample_rate = 8000
        self.frame_samples = 160
        self.encode = law.encode

    def take_over(self) -> None:
        """Each sample stands alone."""

    def close(self) -> None:
        """Nothing to free."""


class OpusFrameEncoder:
    """Frames of 2.5, 5, 10, 20, 40 or 60 ms."""

    __slots__ = (
        "__weakref__",
        "_codec",
        "_effort",
        "_encoder",
        "_loss_percent",
        "_workload",
        "encode",
        "frame_samples",
        "sample_rate",
    )

    def __init__(self, rate: int, codec: Codec, workload: Workload, loss_percent: int) -> None:
        self.sample_rate = rate
        self.frame_samples = rate * FRAME_MS // 1000
        self._codec = codec
        self._effort = workload.effort
        self._loss_percent = loss_percent
        self._workload = workload
        self._encoder = OpusEncoder(rate, self._options())
        self.encode = self._encoder.encode
        workload.add(self)

    def take_over(self) -> None:
        """Go on for another encoder, whose listener's decoder stays.

        The first frame of CELT leans on what its encoder believes to have sent: from a cold one it
        comes out up to 10 dB too loud, after silence within 2 dB (measured in speech). That of
        SILK leans on nothing unless it is warmed.
        """
        if self._options().application is Application.LOW_DELAY:
            for _ in range(SETTLING_FRAMES):
                self.encode(np.zeros(self.frame_samples, np.int16))

    def spend(self, effort: Effort) -> None:
        """Go on with that effort, from the next frame on, without a click."""
        self._effort = effort
        self._encoder.configure(self._options())

    def close(self) -> None:
        """Free it; it must not be used after."""
        self._workload.discard(self)
        self._encoder.close()

    def _options(self) -> OpusOptions:
        return opus_options(
            self.sample_rate, self._codec, self._effort, loss_percent=self._loss_percent
        )


UNBURDENED = Workload()
"Of a process that is never told to spend less: tests, tools."


def make_encoder(
    codec: Codec, *, rate: int = 8000, workload: Workload = UNBURDENED, loss_percent: int = 0
) -> Encoder:
    """The encoder that makes payloads of `codec`.

    Args:
        codec: with the fmtp of who will receive them.
        rate: for Opus, the rate in Hz of what will be encoded: 8000 where it came over G.711.
        workload: says what it may spend, now and later.
        loss_percent: what the receiver loses; of Opus it is sent FEC then, if it wants any.

    Raises:
        NegotiationError: a codec that we do not encode.
        ConfigError: there is no libopus.
    """
    if codec.name in LAWS:
        return G711Encoder(LAWS[codec.name])
    if codec.name == "opus":
        return OpusFrameEncoder(rate, codec, workload, loss_percent)
    if codec.name == "G722":
        return G722Encoder()
    raise NegotiationError(f"{codec.name} is not encoded; {', '.join(SPEECH)} are")

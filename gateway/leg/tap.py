"""Taps on what goes out: they keep a few pieces, then are gone, so that all others cost nothing."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.media.coding import Encoder

SAMPLE_PIECES = 8
"Packets or frames that are kept: 160 ms at 20 ms."


class Sink(Protocol):
    """Takes packets."""

    def send(self, packet: bytes) -> None: ...


class Tapped(Protocol):
    """One whose packets all go to its `transport`, and what is coded through its `encoder`."""

    transport: Sink
    encoder: Encoder | None


class Tap:
    """Stands before the transport of a stream."""

    __slots__ = ("_of", "_packets", "_transport")

    def __init__(self, of: Tapped) -> None:
        self._of = of
        self._transport = of.transport
        self._packets: list[bytes] = []
        of.transport = self

    def send(self, packet: bytes) -> None:
        """Pass it on, and keep it."""
        self._packets.append(packet)
        if len(self._packets) >= SAMPLE_PIECES:
            self._remove()
        self._transport.send(packet)

    def take(self) -> list[bytes]:
        """What was kept; the tap is gone then."""
        self._remove()
        return self._packets

    def _remove(self) -> None:
        # Unless the stream goes on over another transport already.
        if self._of.transport is self:
            self._of.transport = self._transport


class EncoderTap:
    """Stands before the encoder of a stream."""

    __slots__ = ("_encoder", "_of", "_pieces", "frame_samples", "sample_rate")

    def __init__(self, of: Tapped, encoder: Encoder) -> None:
        self.sample_rate = encoder.sample_rate
        self.frame_samples = encoder.frame_samples
        self._of = of
        self._encoder = encoder
        self._pieces: list[NDArray[np.int16]] = []
        of.encoder = self

    def encode(self, pcm: NDArray[np.int16]) -> bytes:
        """Code it, and keep it."""
        self._pieces.append(pcm)
        if len(self._pieces) >= SAMPLE_PIECES:
            self._remove()
        return self._encoder.encode(pcm)

    def take_over(self) -> None:
        """As the encoder does."""
        self._encoder.take_over()

    def close(self) -> None:
        """The stream is done with its encoder."""
        self._encoder.close()

    def take(self) -> NDArray[np.int16]:
        """What was kept; the tap is gone then."""
        self._remove()
        return np.concatenate([np.zeros(0, np.int16), *self._pieces])

    def _remove(self) -> None:
        # Unless the stream has another encoder already.
        if self._of.encoder is self:
            self._of.encoder = self._encoder

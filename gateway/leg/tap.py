"""A tap on what goes out: keeps a few packets, then is gone, so that all others cost nothing."""

from __future__ import annotations

from typing import Protocol

SAMPLE_PACKETS = 8
"Packets that are kept: 160 ms at 20 ms."


class Sink(Protocol):
    """Takes packets."""

    def send(self, packet: bytes) -> None: ...


class Tapped(Protocol):
    """One whose packets all go to its `transport`."""

    transport: Sink


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
        if len(self._packets) >= SAMPLE_PACKETS:
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

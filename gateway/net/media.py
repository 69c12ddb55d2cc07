"""What carries RTP: the contract of media transports."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Protocol

from gateway.sdp.description import MediaDescription


class TransportState(Enum):
    """How a media path fares."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    "Nothing comes through, but it may again."
    FAILED = "failed"
    CLOSED = "closed"


class MediaTransport(Protocol):
    """Carries RTP and RTCP of one stream, in the clear on this side."""

    on_packet: Callable[[bytes, float], None]
    "Takes RTP and RTCP, mixed, with its arrival in loop seconds, inside the reader's callback."
    on_state: Callable[[TransportState], None]
    "Is told each change, never from inside a command."

    def describe(self, media: MediaDescription, *, restart: bool = False) -> MediaDescription:
        """`media` with this end of the path filled in: address, ports, protocol, keys."""

    def accept(self, remote: MediaDescription) -> None:
        """Take the peer's end from its offer or answer, also anew.

        Raises:
            RemoteProtocolError: it cannot be used.
        """

    def add_candidate(self, candidate: str, ufrag: str | None) -> None:
        """Take one trickled ICE candidate."""

    def send(self, packet: bytes) -> None:
        """Send RTP or RTCP now; dropped and counted where there is no path. Never raises."""

    def close(self) -> None:
        """Give everything back. No callback follows."""

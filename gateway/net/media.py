"""RTP over UDP: the transport's contract, a pool of port pairs, and plain RTP sockets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

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


@dataclass(frozen=True, slots=True)
class RtpPortOptions:
    """The ports of plain RTP."""

    address: str = "127.0.0.1"
    "Bound by every socket."
    advertise: str | None = None
    "Told to peers instead of `address`, e.g. the public one of a 1:1 NAT."
    first_port: int = 20_000
    last_port: int = 29_999
    "Inclusive. RTP takes an even port and RTCP the odd one above (RFC 3550 §11)."
    quarantine_s: float = 30.0
    "How long a port rests after a call, so that the old call's packets never enter a new one."


class PortPool:
    """Pairs of UDP ports: bound when allocated, rested when released."""

    def __init__(self, options: RtpPortOptions | None = None) -> None: ...


class UdpMediaTransport:
    """A `MediaTransport` of plain RTP and RTCP over a pair of UDP ports."""

    on_packet: Callable[[bytes, float], None]
    on_state: Callable[[TransportState], None]

    def __init__(self, pool: PortPool, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Bind a pair of ports and start reading.

        Raises:
            CapacityError: no ports are left.
        """

    def describe(self, media: MediaDescription, *, restart: bool = False) -> MediaDescription:
        """`media` with our address and ports."""
        raise NotImplementedError

    def accept(self, remote: MediaDescription) -> None:
        """Send to, and hear only, the address and port of `remote`."""
        raise NotImplementedError

    def add_candidate(self, candidate: str, ufrag: str | None) -> None:
        """Plain RTP knows no ICE: ignored."""

    def send(self, packet: bytes) -> None:
        """Send RTP or RTCP now."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop reading and let the ports rest."""

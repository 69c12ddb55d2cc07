"""The UDP ports of plain RTP: pairs of sockets in either family, and what peers are told."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.errors import CapacityError
from gateway.net.interface import Reachable, listening_addresses
from gateway.net.udp import DSCP_VOICE, mark_traffic

MAX_USE = 0.9
"Of the port pairs: beyond it new calls are refused, so that live ones can still change (F24)."

MAX_PORT_TRIES = 256
"Ports tried when others on this machine have taken some of ours."


class RtpSocket(Protocol):
    """What is needed of a UDP socket, so that tests can bring their own network."""

    def fileno(self) -> int:
        """What the loop watches."""

    def recvfrom(self, size: int, /) -> tuple[bytes, Any]:
        """The next datagram and its source; BlockingIOError if there is none."""

    def sendto(self, data: bytes, address: Any, /) -> int:
        """Send one datagram."""

    def close(self) -> None:
        """Free the address."""


@dataclass(frozen=True, slots=True)
class RtpPortOptions:
    """The ports of plain RTP."""

    address: str = "127.0.0.1"
    "Bound by every socket; for `0.0.0.0` or `::` this machine's first, of `::` in each family."
    other_address: str | None = None
    "Of the other family, for peers of that; None: they are spoken to from `address`, if at all."
    reachable: Reachable = field(default_factory=Reachable)
    "What peers are told instead, e.g. the public address of a 1:1 NAT."
    first_port: int = 20_000
    last_port: int = 29_999
    "Inclusive. RTP takes an even port and RTCP the odd one above (RFC 3550 §11)."
    quarantine_s: float = 30.0
    "How long a port rests after a call, so that the old call's packets never enter a new one."


@dataclass(frozen=True, slots=True)
class PortPair:
    """Two bound sockets: RTP on an even port, RTCP on the next."""

    host: str
    port: int
    rtp: RtpSocket
    rtcp: RtpSocket


def open_rtp_socket(host: str, port: int) -> socket.socket:
    """Bind a non-blocking UDP socket marked as voice, never to be connected.

    Raises:
        OSError: the address is not ours, or in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    rtp_socket = socket.socket(family, socket.SOCK_DGRAM)
    try:
        rtp_socket.setblocking(False)
        if family == socket.AF_INET6:
            rtp_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        mark_traffic(rtp_socket, DSCP_VOICE)
        rtp_socket.bind((host, port))
    except OSError:
        rtp_socket.close()
        raise
    return rtp_socket


class PortPool:
    """Pairs of UDP ports: bound when allocated, rested when released, the longest rested first."""

    def __init__(
        self,
        options: RtpPortOptions | None = None,
        *,
        open_socket: Callable[[str, int], RtpSocket] = open_rtp_socket,
    ) -> None:
        """`open_socket` binds a host and a port, or raises OSError."""
        self._options = options = options or RtpPortOptions()
        self._open_socket = open_socket
        first = options.first_port + options.first_port % 2
        self._free = deque(range(first, options.last_port, 2))
        self._resting: deque[tuple[float, int]] = deque()  # until when, which
        self.capacity = len(self._free)
        "Pairs in the range."
        self.in_use = 0
        "Pairs that are allocated now."
        # Not the wildcard itself: what we send has to come from the address that peers are told.
        given = [each for each in (options.address, options.other_address) if each]
        found = [host for each in given for host in listening_addresses(each, loopback=False)]
        self._hosts = {":" in host: host for host in reversed(found)}  # the first of each family
        self.host = found[0]
        "What the sockets are bound to, where a peer's family is not known or not had."

    def host_for(self, peer: str | None) -> str:
        """The address of ours that a peer is to be spoken to from: of its family, if we have it."""
        return self.host if peer is None else self._hosts.get(":" in peer, self.host)

    def address_for(self, peer: str | None) -> str:
        """The address that a peer is told to send to; None: one that is not known."""
        return self._options.reachable.address_for(peer or "", self.host_for(peer))

    def allocate(self, now: float, host: str | None = None) -> PortPair:
        """Bind the pair that has rested longest, on one of our addresses.

        Raises:
            CapacityError: 90 % are in use, or none that is free can be bound.
        """
        if self.in_use >= max(1, int(self.capacity * MAX_USE)):
            raise CapacityError(f"{self.in_use} of {self.capacity} RTP port pairs are in use")
        while self._resting and self._resting[0][0] <= now:
            self._free.append(self._resting.popleft()[1])
        for _ in range(min(MAX_PORT_TRIES, len(self._free))):
            port = self._free.popleft()
            try:
                pair = self._bind(host or self.host, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    self._free.appendleft(port)
                    raise CapacityError(f"no RTP socket at port {port}: {error}") from error
                self._rest(port, now)
                continue
            self.in_use += 1
            return pair
        raise CapacityError(
            f"no RTP port is free: {self.in_use} of {self.capacity} pairs are in use, "
            f"{len(self._resting)} rest"
        )

    def release(self, pair: PortPair, now: float) -> None:
        """Close both sockets, which nobody may still be reading, and let their ports rest."""
        pair.rtp.close()
        pair.rtcp.close()
        self.in_use -= 1
        self._rest(pair.port, now)

    def _rest(self, port: int, now: float) -> None:
        self._resting.append((now + self._options.quarantine_s, port))

    def _bind(self, host: str, port: int) -> PortPair:
        rtp = self._open_socket(host, port)
        try:
            return PortPair(host, port, rtp, self._open_socket(host, port + 1))
        except OSError:
            rtp.close()
            raise

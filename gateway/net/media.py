"""RTP over UDP: the transport's contract, a pool of port pairs, and plain RTP sockets."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import ip_address
from typing import Any, Protocol

from gateway.errors import CapacityError, RemoteProtocolError
from gateway.net.interface import Reachable, listening_addresses
from gateway.net.latch import Latch
from gateway.net.udp import DSCP_VOICE, mark_traffic
from gateway.sdp.description import NULL_ADDRESSES, MediaDescription

log = logging.getLogger(__name__)

MAX_PACKETS_PER_TURN = 16
"Read per call of the loop in a burst: other calls are waiting."

BURST_S = 0.005
"""A second packet within this is a burst, which is drained. Else one is read for each call of the
loop, and the 0.75 µs that it takes to hear that there is no other are saved."""

MAX_PACKET_BYTES = 2048
"No audio packet is longer than an Ethernet frame; the rest of one that is would be cut off."

MAX_USE = 0.9
"Of the port pairs: beyond it new calls are refused, so that live ones can still change (F24)."

MAX_PORT_TRIES = 256
"Ports tried when others on this machine have taken some of ours."


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


class UdpMediaTransport:
    """A `MediaTransport` of plain RTP and RTCP over a pair of UDP ports.

    It hears only the address and port that the peer's description names, and is never misled by
    a packet from elsewhere (behaviour A1, A2); or, where the peer is symmetric, the one source
    that proves to be it (RFC 7362). The sockets stay unconnected: under uvloop one ICMP error
    leaves a connected one deaf for good.
    """

    def __init__(
        self,
        pool: PortPool,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        peer: str | None = None,
        symmetric: str | None = None,
    ) -> None:
        """Bind a pair of ports and start reading; until `accept`, nobody is heard.

        Args:
            peer: the address that the SIP of the peer comes from or goes to: its family is used,
                and it is told that address of ours which it can reach. None: as `symmetric`.
            symmetric: the address that the SIP of a peer comes from which may be behind NAT: it
                is sent to where it sends from. None: only what its description says counts.

        Raises:
            CapacityError: no ports are left.
        """
        self.on_packet: Callable[[bytes, float], None] = _drop
        self.on_state: Callable[[TransportState], None] = _ignore
        self._loop = loop or asyncio.get_running_loop()
        self._pool = pool
        peer = peer or symmetric
        self._host, self._address = pool.host_for(peer), pool.address_for(peer)
        self._ports = ports = pool.allocate(self._loop.time(), self._host)
        self._rtp_sendto, self._rtcp_sendto = ports.rtp.sendto, ports.rtcp.sendto
        self._rtp_recvfrom = ports.rtp.recvfrom
        # As `recvfrom` tells them: two items, or four for IPv6. None hears and reaches nobody.
        self._remote: tuple[Any, ...] | None = None
        self._remote_rtcp: tuple[Any, ...] | None = None
        # Whose RTP is heard without another look; like `_remote` but where that has to be proved.
        self._source: tuple[Any, ...] | None = None
        self._symmetric = None if symmetric is None else _literal(symmetric, self._host)
        self._described: tuple[Any, ...] | None = None
        self._latch: Latch | None = None
        self._rtcp_ssrc: bytes | None = None  # of a peer whose RTCP may come from another port
        self._is_muxed = False
        self._offers_mux: bool | None = None
        self._read_at = 0.0
        self._is_closed = self._is_connected = False
        self.strangers = 0
        "Packets from elsewhere than the peer's address; dropped."
        self.unsent = 0
        "Packets that had nowhere to go, or that the system refused to send."
        self.receive_errors = 0
        "Reads that failed."
        self.consumer_errors = 0
        "Exceptions of `on_packet`: bugs of ours, of which the first is logged."
        self._loop.add_reader(ports.rtp.fileno(), self._read_rtp)
        self._loop.add_reader(ports.rtcp.fileno(), self._read_rtcp)

    def describe(self, media: MediaDescription, *, restart: bool = False) -> MediaDescription:
        """`media` with our address and ports.

        With `rtcp_mux` set in `media` it is offered; once a peer was accepted, the description
        says what holds with it.
        """
        if self._described is None:
            self._offers_mux = media.rtcp_mux
        return replace(
            media,
            protocol="RTP/AVP",
            address=self._address,
            port=self._ports.port,
            rtcp_port=None,  # the next one (RFC 3605 §2.1)
            rtcp_mux=media.rtcp_mux if self._described is None else self._is_muxed,
        )

    def accept(self, remote: MediaDescription) -> None:
        """Send to, and hear only, the address and ports of `remote`; port 0 or c=0.0.0.0: nobody.

        Whether packets may be sent there at all is for the caller to have checked (A8).

        Raises:
            RemoteProtocolError: its address is no IP address of our sockets' family (488).
        """
        if remote.address is None or not remote.port or remote.address in NULL_ADDRESSES:
            self._remote = self._remote_rtcp = self._source = self._described = None
            self._latch = self._rtcp_ssrc = None
            return
        host = _literal(remote.address, self._host)
        self._is_muxed = remote.rtcp_mux and self._offers_mux is not False
        rtcp_port = remote.port if self._is_muxed else remote.rtcp_port or remote.port + 1
        tail = (0, 0) if ":" in host else ()
        described = (host, remote.port, *tail)
        if self._symmetric is not None and described == self._described:
            return  # it was found out where that is, or will be
        self._described = self._remote = self._source = described
        self._remote_rtcp = (host, min(rtcp_port, 65_535), *tail)
        if self._symmetric is not None:
            self._begin_latch(host, self._symmetric)
        self._connect()

    def _begin_latch(self, host: str, symmetric: str) -> None:
        """Let the peer prove where it sends from, also when it is where it says."""
        self._latch = Latch(frozenset((host, symmetric)))
        self._source = self._rtcp_ssrc = None
        if host != symmetric and ip_address(host).is_private:
            # A8: an address of the peer's own network means somebody else here.
            self._remote = self._remote_rtcp = None

    def _connect(self) -> None:
        """There is somebody to send to: say so, once."""
        if self._remote is not None and not self._is_connected:
            self._is_connected = True
            self._loop.call_soon(self._tell_connected)

    def add_candidate(self, candidate: str, ufrag: str | None) -> None:
        """Plain RTP knows no ICE: ignored."""

    def send(self, packet: bytes) -> None:
        """Send RTP or RTCP now; dropped and counted where there is no path."""
        remote = self._remote
        if remote is None:
            self.unsent += 1
            return
        try:
            # RFC 5761 §4: the second byte tells RTCP from RTP.
            if self._is_muxed or not 192 <= packet[1] <= 223:
                self._rtp_sendto(packet, remote)
            else:
                self._rtcp_sendto(packet, self._remote_rtcp)
        except OSError:
            # A dead path refuses 50 packets a second; the peer hears that it is dead.
            self.unsent += 1

    def close(self) -> None:
        """Stop reading and let the ports rest. No callback follows."""
        if self._is_closed:
            return
        self._is_closed = True
        self.on_packet, self.on_state = _drop, _ignore
        self._remote = self._remote_rtcp = self._source = self._latch = None
        try:
            # Before the sockets are closed: a loop that watches a closed descriptor is deaf to
            # whoever gets its number next.
            self._loop.remove_reader(self._ports.rtp.fileno())
            self._loop.remove_reader(self._ports.rtcp.fileno())
        finally:
            self._pool.release(self._ports, self._loop.time())

    def _read_rtp(self) -> None:
        now = self._loop.time()
        packets = MAX_PACKETS_PER_TURN if now - self._read_at < BURST_S else 1
        self._read_at = now
        recvfrom = self._rtp_recvfrom
        for _ in range(packets):
            try:
                data, source = recvfrom(MAX_PACKET_BYTES)
            except OSError as error:
                self._count_failed_read(error)
                return
            if source != self._source and not self._is_peer(data, source):
                self.strangers += 1
                continue
            try:
                self.on_packet(data, now)
            except Exception:
                self._contain()

    def _read_rtcp(self) -> None:
        try:
            data, source = self._ports.rtcp.recvfrom(MAX_PACKET_BYTES)
        except OSError as error:
            self._count_failed_read(error)
            return
        if len(data) < 2 or not 192 <= data[1] <= 223 or not self._is_peers_rtcp(data, source):
            self.strangers += 1
            return
        try:
            self.on_packet(data, self._loop.time())
        except Exception:
            self._contain()

    def _is_peer(self, data: bytes, source: tuple[Any, ...]) -> bool:
        """Whether a packet from another source than the one that is known is of the peer."""
        latch = self._latch
        if latch is None:
            return False
        if not latch.look(data, source):
            return source == self._described
        self._latch, self._rtcp_ssrc = None, latch.ssrc
        if source != self._remote:
            log.info("rtp port=%s: the peer sends from elsewhere than it says", self._ports.port)
        host, port, *tail = source
        self._remote = self._source = source
        if source != self._described:
            rtcp_port = port if self._is_muxed else min(port + 1, 65_535)
            self._remote_rtcp = (host, rtcp_port, *tail)
        self._connect()
        return True

    def _is_peers_rtcp(self, data: bytes, source: tuple[Any, ...]) -> bool:
        """Whether RTCP is of the peer. Through NAT its port may be any: its SSRC tells, once."""
        if source == self._remote_rtcp:
            return True
        if self._rtcp_ssrc is None or self._remote is None or source[0] != self._remote[0]:
            return False
        if data[4:8] != self._rtcp_ssrc:
            return False
        self._rtcp_ssrc, self._remote_rtcp = None, source
        return True

    def _count_failed_read(self, error: OSError) -> None:
        if not self._is_closed and not isinstance(error, BlockingIOError):
            self.receive_errors += 1

    def _contain(self) -> None:
        """A bug of ours drops one packet, not the call; it would be logged 50 times a second."""
        self.consumer_errors += 1
        if self.consumer_errors == 1:
            log.exception("rtp port=%s: a packet was dropped by a bug", self._ports.port)

    def _tell_connected(self) -> None:
        self.on_state(TransportState.CONNECTED)


def _literal(address: str, ours: str) -> str:
    """The address as `recvfrom` would write it."""
    try:
        host = ip_address(address)
    except ValueError:
        raise RemoteProtocolError(
            f"media address {address!r} is no IP address", status=488
        ) from None
    if (host.version == 6) != (":" in ours):
        raise RemoteProtocolError(f"media address {host} cannot be reached from {ours}", status=488)
    return str(host)


def _drop(data: bytes, now: float) -> None:
    """Nobody listens."""


def _ignore(state: TransportState) -> None:
    """Nobody is told."""

"""Plain RTP over a pair of UDP sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from gateway.errors import RemoteProtocolError
from gateway.net.icmp import ErrorQueue
from gateway.net.latch import Latch, Probation
from gateway.net.media import TransportState
from gateway.net.ports import PortPool
from gateway.sdp.description import NULL_ADDRESSES, MediaDescription
from gateway.sdp.target import Network, is_private

log = logging.getLogger(__name__)

MAX_PACKETS_PER_TURN = 16
"Read per call of the loop in a burst: other calls are waiting."

BURST_S = 0.005
"""A second packet within this is a burst, which is drained. Else one is read for each call of the
loop, and the 0.75 µs that it takes to hear that there is no other are saved."""

MAX_PACKET_BYTES = 2048
"No audio packet is longer than an Ethernet frame; the rest of one that is would be cut off."


class UdpMediaTransport:
    """A `MediaTransport` of plain RTP and RTCP over a pair of UDP ports.

    It hears only the address and port that the peer's description names, and is never misled by
    a packet from elsewhere (behaviour A1, A2); or, where the peer is symmetric, the one source
    that proves to be it (RFC 7362). To whom nothing has come from it sends for a while only (A8).
    The sockets stay unconnected: under uvloop one ICMP error leaves a connected one deaf for good.
    """

    # More attributes than the thirty that CPython's instances of one class share a layout for.
    __slots__ = (
        "_address",
        "_deliver",
        "_described",
        "_errors",
        "_host",
        "_is_closed",
        "_is_connected",
        "_is_muxed",
        "_latch",
        "_loop",
        "_media_allow",
        "_offers_mux",
        "_peer",
        "_pool",
        "_ports",
        "_probation",
        "_read_at",
        "_remote",
        "_remote_rtcp",
        "_rtcp_sendto",
        "_rtcp_ssrc",
        "_rtp_recvfrom",
        "_rtp_sendto",
        "_source",
        "_symmetric",
        "_target",
        "consumer_errors",
        "on_state",
        "receive_errors",
        "strangers",
        "unreachable",
        "unsent",
    )

    def __init__(
        self,
        pool: PortPool,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        peer: str | None = None,
        symmetric: str | None = None,
        media_allow: Sequence[Network] = (),
    ) -> None:
        """Bind a pair of ports and start reading; until `accept`, nobody is heard.

        Args:
            peer: the address that the SIP of the peer comes from or goes to: its family is used,
                and it is told that address of ours which it can reach. None: as `symmetric`.
            symmetric: the address that the SIP of a peer comes from which may be behind NAT: it
                is sent to where it sends from. None: only what its description says counts.
            media_allow: networks of the peer's media: it is there without a proof.

        Raises:
            CapacityError: no ports are left.
        """
        self._deliver: Callable[[bytes, float], None] = _drop
        self.on_state: Callable[[TransportState], None] = _ignore
        self._loop = loop or asyncio.get_running_loop()
        self._pool = pool
        self._peer = peer = peer or symmetric
        self._media_allow = media_allow
        self._host, self._address = pool.host_for(peer), pool.address_for(peer)
        self._ports = ports = pool.allocate(self._loop.time(), self._host)
        self._rtp_sendto, self._rtcp_sendto = ports.rtp.sendto, ports.rtcp.sendto
        self._rtp_recvfrom = ports.rtp.recvfrom
        # Addresses are as `recvfrom` tells them: two items, or four for IPv6.
        self._described: tuple[Any, ...] | None = None
        "Where the peer says to be. None hears and reaches nobody."
        self._target: tuple[Any, ...] | None = None
        "Where it is, as far as that is known."
        self._remote: tuple[Any, ...] | None = None
        "Where packets go now: there, once one has gone, and until that is given up."
        self._remote_rtcp: tuple[Any, ...] | None = None
        self._source: tuple[Any, ...] | None = None
        "Whose RTP is heard without another look; of others it is seen whether they are the peer."
        self._probation = Probation(self._loop, self._give_up)
        self._errors: ErrorQueue | None = None
        self._symmetric = None if symmetric is None else _literal(symmetric, self._host)
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
        self.unreachable = 0
        "Times that ICMP said, while nothing came of the peer, that nobody is there."
        self.receive_errors = 0
        "Reads that failed."
        self.consumer_errors = 0
        "Exceptions of `on_packet`: bugs of ours, of which the first is logged."
        self._loop.add_reader(ports.rtp.fileno(), self._read_rtp)
        self._loop.add_reader(ports.rtcp.fileno(), self._read_rtcp)

    @property
    def on_packet(self) -> Callable[[bytes, float], None]:
        """Takes RTP and RTCP; see `MediaTransport`."""
        return self._deliver

    @on_packet.setter
    def on_packet(self, take: Callable[[bytes, float], None]) -> None:
        self._deliver = take

    def describe(self, media: MediaDescription, *, restart: bool = False) -> MediaDescription:
        """`media` with our address and ports.

        With `rtcp_mux` set in `media` it is offered; once a peer was accepted, the description
        says what holds with it.
        """
        if self._described is None and self._offers_mux is None:
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

        Whether packets may be sent there at all is for the caller to have checked (A8). Where the
        direction of `remote` says that it sends, it has to, or is not sent to for long.

        Raises:
            RemoteProtocolError: its address is no IP address of our sockets' family (488).
        """
        if remote.address is None or not remote.port or remote.address in NULL_ADDRESSES:
            self._remote = self._remote_rtcp = self._source = self._described = None
            self._latch = self._rtcp_ssrc = self._target = None
            self._probation.end()
            return
        host = _literal(remote.address, self._host)
        self._is_muxed = remote.rtcp_mux and self._offers_mux is not False
        rtcp_port = remote.port if self._is_muxed else remote.rtcp_port or remote.port + 1
        tail = (0, 0) if ":" in host else ()
        described = (host, remote.port, *tail)
        is_new = described != self._described
        # Of a symmetric peer it was found out where that is, or will be.
        if is_new or self._symmetric is None:
            self._remote_rtcp = (host, min(rtcp_port, 65_535), *tail)
        if is_new:
            self._described = self._target = described
            self._source = self._remote = None
            if self._symmetric is not None:
                self._begin_latch(host, self._symmetric)
        is_proven = self._source is not None or self._is_vouched_for(host)
        if self._probation.limit(remote.direction.sends and not is_proven, anew=is_new):
            self._remote = None
        self._connect()

    def _begin_latch(self, host: str, symmetric: str) -> None:
        """Let the peer prove where it sends from, also when it is where it says."""
        self._latch = Latch(frozenset((host, symmetric)), self._media_allow)
        self._rtcp_ssrc = None
        if host != symmetric and is_private(ip_address(host)) and not self._is_allowed(host):
            # A8: an address of the peer's own network means somebody else here.
            self._target = self._remote_rtcp = None

    def _connect(self) -> None:
        """There is somebody to send to: say so, once."""
        if self._target is not None and not self._is_connected:
            self._is_connected = True
            self._loop.call_soon(self._tell_connected)

    def add_candidate(self, candidate: str, ufrag: str | None) -> None:
        """Plain RTP knows no ICE: ignored."""

    def send(self, packet: bytes) -> None:
        """Send RTP or RTCP now; dropped and counted where there is no path."""
        remote = self._remote or self._begin()
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
        if self.unreachable:
            log.info("rtp port=%s: %d times nobody was there", self._ports.port, self.unreachable)
        self.on_packet, self.on_state = _drop, _ignore
        self._remote = self._source = self._described = self._target = self._latch = None
        self._probation.close()
        try:
            # Before the sockets are closed: a loop that watches a closed descriptor is deaf to
            # whoever gets its number next.
            self._loop.remove_reader((self._errors or self._ports.rtp).fileno())
            self._loop.remove_reader(self._ports.rtcp.fileno())
            if self._errors is not None:
                self._errors.close()
        finally:
            self._pool.release(self._ports, self._loop.time())

    def doubt(self) -> None:
        """Nothing has come for a while: hear what ICMP says, until something comes."""
        if self._target is not None and not self._is_closed:
            self._source = None
            self._watch_errors()

    # ---- before the peer has shown that it is there

    def _begin(self) -> tuple[Any, ...] | None:
        """Where the first packet goes; from now on it is counted how long."""
        if self._target is None or self._probation.is_over:
            return None
        self._probation.begin()
        self._remote = self._target
        if self._source is None:
            self._watch_errors()
        return self._remote

    def _give_up(self) -> None:
        """A8: whoever is there has not asked for it, and is sent nothing more until it speaks."""
        self._remote = None
        log.info("rtp port=%s: nobody speaks where the peer says to be", self._ports.port)

    def _prove(self, source: tuple[Any, ...]) -> None:
        """The peer has spoken from there."""
        self._source = self._target = self._remote = source
        self._lift()

    def _lift(self) -> None:
        """Something has come from where it was sent to."""
        self._probation.end()
        if self._errors is not None:
            self._loop.remove_reader(self._errors.fileno())
            self._errors.stop()
            self._errors = None
            self._loop.add_reader(self._ports.rtp.fileno(), self._read_rtp)

    def _watch_errors(self) -> None:
        """Hear what ICMP says of the target."""
        rtp = self._ports.rtp
        if self._errors is None and isinstance(rtp, socket.socket):
            self._errors = ErrorQueue.open(rtp)
            if self._errors is not None:
                self._loop.remove_reader(rtp.fileno())
                self._loop.add_reader(self._errors.fileno(), self._read_errors)

    def _read_errors(self) -> None:
        assert self._errors is not None
        for host, port in self._errors.take():
            if self._target is not None and (host, port) == self._target[:2]:
                self.unreachable += 1
                self._probation.note_unreachable()
        self._read_rtp()

    def _is_vouched_for(self, host: str) -> bool:
        """Whether media may be there although none has come: SIP has, or the operator says so."""
        return host == self._peer or self._is_allowed(host)

    def _is_allowed(self, host: str) -> bool:
        return any(ip_address(host) in network for network in self._media_allow)

    # ---- what comes in

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
                self._deliver(data, now)
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
            self._deliver(data, self._loop.time())
        except Exception:
            self._contain()

    def _is_peer(self, data: bytes, source: tuple[Any, ...]) -> bool:
        """Whether a packet from another source than the one that is known is of the peer."""
        latch = self._latch
        if latch is None:
            if source != self._target:
                return False
            self._prove(source)
            return True
        if not latch.look(data, source):
            if source == self._described:
                self._lift()
                return True
            return False
        assert latch.ssrc is not None
        self._learn(source, latch.ssrc)
        return True

    def _learn(self, source: tuple[Any, ...], ssrc: bytes) -> None:
        """The peer has proved to be at a source, for good."""
        self._latch, self._rtcp_ssrc = None, ssrc
        if source != self._target:
            log.info("rtp port=%s: the peer sends from elsewhere than it says", self._ports.port)
        host, port, *tail = source
        if source != self._described:
            rtcp_port = port if self._is_muxed else min(port + 1, 65_535)
            self._remote_rtcp = (host, rtcp_port, *tail)
        self._prove(source)
        self._connect()

    def _is_peers_rtcp(self, data: bytes, source: tuple[Any, ...]) -> bool:
        """Whether RTCP is of the peer. Through NAT its port may be any: its SSRC tells, once."""
        if source == self._remote_rtcp:
            if self._source is None:
                self._lift()
            return True
        if self._rtcp_ssrc is None or self._target is None or source[0] != self._target[0]:
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

"""Plain RTP over UDP: the port pool, whom a transport hears, and what it survives."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import closing
from ipaddress import ip_network
from logging.handlers import BufferingHandler
from typing import TYPE_CHECKING, Any

import ifaddr
import pytest
import uvloop

from gateway.codec import PCMU
from gateway.errors import CapacityError, RemoteProtocolError
from gateway.net.interface import Reachable
from gateway.net.media import MediaTransport, TransportState
from gateway.net.ports import PortPool, RtpPortOptions, open_rtp_socket
from gateway.net.udp_media import MAX_PACKETS_PER_TURN, UdpMediaTransport
from gateway.rtp.packet import RtpPacket, build_rtp
from gateway.rtp.rtcp import ReceiverReport, build_rtcp
from gateway.sdp.description import MediaDescription
from tests.support.loop import VirtualLoop, VirtualSocket, elapse, in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

HOST, PEER = "192.0.2.1", "198.51.100.7"

RTP = build_rtp(RtpPacket(0, False, 1, 160, 7, bytes(160)))
RTCP = build_rtcp([ReceiverReport(7)])


class FreeSockets:
    """Opens what pretends to be sockets, except on ports that others have."""

    def __init__(self, *taken: int, refuses: int = 0) -> None:
        self.taken = set(taken)
        self.refuses = refuses
        self.opened: list[Port] = []

    def open(self, host: str, port: int) -> Port:
        if self.refuses:
            raise OSError(self.refuses, "refused")
        if port in self.taken:
            raise OSError(errno.EADDRINUSE, f"{host}:{port} is in use")
        self.opened.append(Port(self, port))
        self.taken.add(port)
        return self.opened[-1]


class Port:
    """Holds a port, and does nothing with it."""

    def __init__(self, sockets: FreeSockets, port: int) -> None:
        self.sockets, self.port = sockets, port

    def fileno(self) -> int:
        return self.port

    def recvfrom(self, _size: int) -> tuple[bytes, Any]:
        raise BlockingIOError

    def sendto(self, data: bytes, _address: Any) -> int:
        return len(data)

    def close(self) -> None:
        self.sockets.taken.discard(self.port)


def pool(sockets: FreeSockets, first: int = 20_000, last: int = 20_019) -> PortPool:
    options = RtpPortOptions(address=HOST, first_port=first, last_port=last)
    return PortPool(options, open_socket=sockets.open)


# ---- the pool


@pytest.mark.rfc(3550, "11")
@pytest.mark.parametrize(("first", "last"), [(20_000, 20_003), (19_999, 20_004), (20_000, 20_004)])
def test_rtp_takes_even_ports_and_rtcp_the_next(first: int, last: int) -> None:
    sockets = FreeSockets()
    ports = pool(sockets, first, last)

    pair = ports.allocate(0.0)

    assert pair.port == 20_000
    assert [each.port for each in sockets.opened] == [20_000, 20_001]
    assert ports.capacity == 2


def test_a_released_port_rests_for_30_s() -> None:
    ports = pool(FreeSockets(), 20_000, 20_001)
    ports.release(ports.allocate(0.0), 10.0)

    with pytest.raises(CapacityError, match="1 rest"):
        ports.allocate(39.9)

    assert ports.allocate(40.0).port == 20_000


def test_the_port_that_rested_longest_is_taken_first() -> None:
    ports = pool(FreeSockets(), 20_000, 20_007)
    first, second = ports.allocate(0.0), ports.allocate(0.0)
    ports.release(second, 1.0)
    ports.release(first, 2.0)

    taken = [ports.allocate(100.0).port for _ in range(3)]

    assert taken == [20_004, 20_006, 20_002]


def test_beyond_nine_tenths_new_calls_are_refused() -> None:
    ports = pool(FreeSockets())
    pairs = [ports.allocate(0.0) for _ in range(9)]

    with pytest.raises(CapacityError, match="9 of 10 RTP port pairs are in use") as refusal:
        ports.allocate(0.0)
    ports.release(pairs[0], 0.0)

    assert refusal.value.status == 503
    assert ports.allocate(0.0).port == 20_018


def test_ports_that_others_have_are_passed_over() -> None:
    sockets = FreeSockets(20_000, 20_003)  # an even one; an odd one
    ports = pool(sockets)

    pair = ports.allocate(0.0)

    assert pair.port == 20_004
    assert sockets.taken == {20_000, 20_003, 20_004, 20_005}  # 20 002 was given back
    assert ports.in_use == 1


def test_a_port_that_another_had_is_tried_again_later() -> None:
    sockets = FreeSockets(20_000)
    ports = pool(sockets, 20_000, 20_001)
    with pytest.raises(CapacityError):
        ports.allocate(0.0)

    sockets.taken.clear()

    assert ports.allocate(30.0).port == 20_000


def test_without_descriptors_new_calls_are_refused_and_no_port_is_lost() -> None:
    sockets = FreeSockets(refuses=errno.EMFILE)
    ports = pool(sockets)
    with pytest.raises(CapacityError, match="refused"):
        ports.allocate(0.0)

    sockets.refuses = 0

    assert ports.allocate(0.0).port == 20_000


# ---- the transport, in virtual time


class Peer:
    """Somebody with sockets on the virtual network."""

    def __init__(self, loop: VirtualLoop, host: str = PEER, port: int = 4000) -> None:
        self.rtp = loop.network.open_socket(host, port)
        self.rtcp = loop.network.open_socket(host, port + 1)

    def description(self, **changes: Any) -> MediaDescription:
        host, port = self.rtp.getsockname()
        return MediaDescription(address=host, port=port, codecs=(PCMU,), **changes)

    def heard(self, at: VirtualSocket | None = None) -> list[bytes]:
        sock = at or self.rtp
        return [sock.recvfrom(2000)[0] for _ in range(len(sock._queue))]

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()


class Line:
    """A transport on the virtual network, and what it told."""

    def __init__(self, loop: VirtualLoop, **options: Any) -> None:
        self.loop = loop
        self.pool = PortPool(
            RtpPortOptions(address=HOST, **options), open_socket=loop.network.open_socket
        )
        self.transport = UdpMediaTransport(self.pool, loop=loop)
        self.packets: list[tuple[bytes, float]] = []
        self.states: list[TransportState] = []
        self.transport.on_packet = lambda data, now: self.packets.append((data, now))
        self.transport.on_state = self.states.append
        self.address = (HOST, 20_000)
        self.rtcp_address = (HOST, 20_001)

    @property
    def heard(self) -> list[bytes]:
        return [data for data, _ in self.packets]


def virtual(
    test: Callable[[Line, Peer], Coroutine[Any, Any, None]],
) -> Callable[[], None]:
    """Run a test with a line and a peer, and see that nothing is left open."""

    async def run(loop: VirtualLoop) -> None:
        line, peer = Line(loop), Peer(loop)
        await test(line, peer)
        line.transport.close()
        peer.close()
        assert loop.network.open_addresses == set()
        assert line.pool.in_use == 0

    wrapped: Callable[[], None] = in_virtual_time(run)
    wrapped.__name__, wrapped.__doc__ = test.__name__, test.__doc__
    return wrapped


@virtual
async def test_packets_go_both_ways(line: Line, peer: Peer) -> None:
    line.transport.accept(peer.description())
    sent_at = line.loop.time()

    line.transport.send(RTP)
    peer.rtp.sendto(RTP, line.address)
    await elapse(0.02)

    assert peer.heard() == [RTP]
    ((data, heard_at),) = line.packets
    assert (data, heard_at) == (RTP, sent_at)
    assert line.states == [TransportState.CONNECTED]


@virtual
async def test_states_are_told_once_and_never_from_inside_a_command(line: Line, peer: Peer) -> None:
    line.transport.accept(peer.description())
    during = list(line.states)
    await elapse(0.01)
    line.transport.accept(peer.description())
    await elapse(0.01)

    assert (during, line.states) == ([], [TransportState.CONNECTED])


@virtual
async def test_only_the_address_of_the_description_is_heard(line: Line, peer: Peer) -> None:
    thief = Peer(line.loop, "203.0.113.66", 4000)
    neighbour = Peer(line.loop, PEER, 5000)
    line.transport.accept(peer.description())

    for stranger in (thief.rtp, neighbour.rtp, peer.rtcp):
        stranger.sendto(RTP, line.address)
    for stranger in (thief.rtcp, peer.rtp):
        stranger.sendto(RTCP, line.rtcp_address)
    line.transport.send(RTP)
    await elapse(0.02)

    assert (line.packets, line.transport.strangers) == ([], 5)
    assert line.loop.network.sent_to("203.0.113.66") == []
    thief.close()
    neighbour.close()


@virtual
async def test_nobody_is_heard_or_told_anything_before_the_peer_is_known(
    line: Line, peer: Peer
) -> None:
    peer.rtp.sendto(RTP, line.address)
    line.transport.send(RTP)
    await elapse(0.02)

    assert (line.packets, line.transport.strangers, line.transport.unsent) == ([], 1, 1)
    assert line.loop.network.sent_to(PEER) == []


@pytest.mark.rfc(3605, "2.1")
@pytest.mark.parametrize(
    ("changes", "port"),
    [({}, 4001), ({"rtcp_port": 4444}, 4444), ({"rtcp_mux": True}, 4000)],
)
def test_rtcp_goes_where_the_peer_says(changes: dict[str, Any], port: int) -> None:
    async def run(loop: VirtualLoop) -> None:
        line, peer = Line(loop), Peer(loop)
        line.transport.accept(peer.description(**changes))

        line.transport.send(RTP)
        line.transport.send(RTCP)
        await elapse(0.01)

        sent = [(each.data, each.source[1], each.destination[1]) for each in loop.network.sent]
        source = 20_000 if port == 4000 else 20_001
        assert sent == [(RTP, 20_000, 4000), (RTCP, source, port)]
        line.transport.close()
        peer.close()

    in_virtual_time(run)()


@virtual
async def test_rtcp_comes_in_on_its_own_port(line: Line, peer: Peer) -> None:
    line.transport.accept(peer.description())

    peer.rtcp.sendto(RTCP, line.rtcp_address)
    peer.rtcp.sendto(RTP, line.rtcp_address)  # no place for audio
    await elapse(0.01)

    assert (line.heard, line.transport.strangers) == ([RTCP], 1)


@virtual
async def test_rtcp_comes_in_on_the_port_of_rtp_where_it_is_shared(line: Line, peer: Peer) -> None:
    line.transport.accept(peer.description(rtcp_mux=True))

    peer.rtp.sendto(RTCP, line.address)
    await elapse(0.01)

    assert line.heard == [RTCP]


@virtual
async def test_a_description_has_our_address_and_ports(line: Line, peer: Peer) -> None:
    offer = line.transport.describe(MediaDescription(ptime_ms=20, protocol="?", rtcp_port=9))
    line.transport.accept(peer.description(rtcp_mux=True))  # not offered: not used

    assert offer == MediaDescription(address=HOST, port=20_000, ptime_ms=20)
    assert not line.transport.describe(MediaDescription()).rtcp_mux


@virtual
async def test_an_offered_shared_port_is_taken(line: Line, peer: Peer) -> None:
    line.transport.accept(peer.description(rtcp_mux=True))

    assert line.transport.describe(MediaDescription()).rtcp_mux


@in_virtual_time
async def test_another_address_is_advertised_where_the_options_say_so(loop: VirtualLoop) -> None:
    line = Line(loop, reachable=Reachable(("203.0.113.9",)))

    assert line.transport.describe(MediaDescription()).address == "203.0.113.9"
    line.transport.close()


@in_virtual_time
async def test_a_peer_on_our_side_of_the_nat_is_told_our_own_address(loop: VirtualLoop) -> None:
    reachable = Reachable(("203.0.113.9",), (ip_network("192.0.2.0/24"),))
    options = RtpPortOptions(address=HOST, reachable=reachable)
    ports = PortPool(options, open_socket=loop.network.open_socket)

    told = {
        peer: UdpMediaTransport(ports, loop=loop, peer=peer)
        for peer in ("192.0.2.77", "198.51.100.7", "127.0.0.1")
    }

    assert {peer: each.describe(MediaDescription()).address for peer, each in told.items()} == {
        "192.0.2.77": HOST,
        "198.51.100.7": "203.0.113.9",
        "127.0.0.1": HOST,
    }
    for each in told.values():
        each.close()


@in_virtual_time
async def test_an_address_of_each_family_may_be_given(loop: VirtualLoop) -> None:
    options = RtpPortOptions(address=HOST, other_address="2001:db8::1")
    ports = PortPool(options, open_socket=loop.network.open_socket)

    assert [ports.host_for(peer) for peer in (None, PEER, "2001:db8::7")] == [
        HOST,
        HOST,
        "2001:db8::1",
    ]
    assert ports.address_for("2001:db8::7") == "2001:db8::1"


@in_virtual_time
async def test_a_peer_is_spoken_to_in_its_own_family(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ips = [ifaddr.IP(HOST, 24, "eth0"), ifaddr.IP(("2001:db8::1", 0, 0), 64, "eth0")]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [ifaddr.Adapter("eth0", "eth0", ips)])
    options = RtpPortOptions(address="::", reachable=Reachable(("203.0.113.9", "2001:db8::9")))
    ports = PortPool(options, open_socket=loop.network.open_socket)

    four = UdpMediaTransport(ports, loop=loop, peer=PEER)
    six = UdpMediaTransport(ports, loop=loop, peer="2001:db8::77")

    assert four.describe(MediaDescription()).address == "203.0.113.9"
    assert six.describe(MediaDescription()).address == "2001:db8::9"
    assert {host for host, _ in loop.network.open_addresses} == {HOST, "2001:db8::1"}
    six.accept(MediaDescription(address="2001:db8::77", port=4000))
    with pytest.raises(RemoteProtocolError):
        six.accept(MediaDescription(address=PEER, port=4000))
    four.close()
    six.close()


@virtual
async def test_a_peer_that_moves_is_followed_by_its_new_description_only(
    line: Line, peer: Peer
) -> None:
    moved = Peer(line.loop, PEER, 6000)
    line.transport.accept(peer.description())

    line.transport.accept(moved.description())
    peer.rtp.sendto(RTP, line.address)
    moved.rtp.sendto(RTCP[:8] + b"new!", line.address)
    line.transport.send(RTP)
    await elapse(0.01)

    assert line.heard == [RTCP[:8] + b"new!"]
    assert (peer.heard(), moved.heard()) == ([], [RTP])
    moved.close()


@pytest.mark.rfc(3264, "8.4")
@virtual
async def test_a_peer_on_hold_by_null_address_is_sent_nothing(line: Line, peer: Peer) -> None:
    line.transport.accept(peer.description())

    line.transport.accept(MediaDescription(address="0.0.0.0", port=4000))
    line.transport.send(RTP)

    assert (line.loop.network.sent, line.transport.unsent) == ([], 1)


@pytest.mark.parametrize("address", ["media.example", "::1", "1.2.3", ""])
def test_an_address_that_cannot_be_used_is_refused(address: str) -> None:
    async def run(loop: VirtualLoop) -> None:
        line = Line(loop)
        with pytest.raises(RemoteProtocolError) as refusal:
            line.transport.accept(MediaDescription(address=address, port=4000))

        assert refusal.value.status == 488
        line.transport.close()

    in_virtual_time(run)()


@virtual
async def test_a_burst_is_drained_and_a_flood_leaves_others_their_turn(
    line: Line, peer: Peer
) -> None:
    line.transport.accept(peer.description())
    turns: list[int] = []
    read = line.transport._read_rtp

    def counted() -> None:
        before = len(line.packets)
        read()
        turns.append(len(line.packets) - before)

    line.loop.remove_reader(line.transport._ports.rtp.fileno())
    line.loop.add_reader(line.transport._ports.rtp.fileno(), counted)
    for _ in range(50):
        peer.rtp.sendto(RTP, line.address)
    await elapse(0.001)

    assert len(line.packets) == 50
    assert turns[0] == 1
    assert max(turns) == MAX_PACKETS_PER_TURN


@virtual
async def test_a_bug_of_the_consumer_costs_one_packet_and_one_log_line(
    line: Line, peer: Peer
) -> None:
    line.transport.accept(peer.description())
    kept: list[bytes] = []

    def consume(data: bytes, _now: float) -> None:
        if len(kept) % 2 == 0:
            kept.append(b"")
            raise ZeroDivisionError
        kept.append(data)

    line.transport.on_packet = consume
    logger, handler = logging.getLogger("gateway.net.udp_media"), BufferingHandler(100)
    logger.addHandler(handler)
    for _ in range(6):
        peer.rtp.sendto(RTP, line.address)
        await elapse(0.02)
    logger.removeHandler(handler)

    assert kept == [b"", RTP] * 3
    assert (line.transport.consumer_errors, len(handler.buffer)) == (3, 1)


@virtual
async def test_no_callback_follows_close_even_amid_a_burst(line: Line, peer: Peer) -> None:
    line.transport.accept(peer.description())
    heard: list[bytes] = []

    def consume(data: bytes, _now: float) -> None:
        heard.append(data)
        line.transport.close()

    line.transport.on_packet = consume
    for _ in range(5):
        peer.rtp.sendto(RTP, line.address)
    await elapse(0.02)
    line.transport.send(RTP)
    line.transport.close()

    assert (heard, line.states) == ([RTP], [TransportState.CONNECTED])
    assert peer.heard() == []


@virtual
async def test_close_before_the_state_was_told_tells_nothing(line: Line, peer: Peer) -> None:
    line.transport.accept(peer.description())
    line.transport.close()
    await elapse(0.01)

    assert line.states == []


@in_virtual_time
async def test_a_refused_send_is_counted_not_raised(loop: VirtualLoop) -> None:
    class Refusing(VirtualSocket):
        def sendto(self, _data: bytes, _address: tuple[str, int]) -> int:
            raise OSError(errno.ENETUNREACH, "unreachable")

    pool = PortPool(
        RtpPortOptions(address=HOST),
        open_socket=lambda host, port: Refusing(loop.network, (host, port)),
    )
    transport = UdpMediaTransport(pool, loop=loop)
    transport.accept(MediaDescription(address=PEER, port=4000))

    for packet in (RTP, RTCP):
        transport.send(packet)

    assert transport.unsent == 2
    transport.close()
    await elapse(0.01)


# ---- real sockets


def free_pool(**options: Any) -> PortPool:
    """A pool on loopback, in a range that the tests have for themselves."""
    return PortPool(RtpPortOptions(first_port=32_000, last_port=32_099, **options))


def on_uvloop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test())


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not claim():
            await asyncio.sleep(0.001)


def as_media_transport(transport: UdpMediaTransport) -> MediaTransport:
    return transport


@pytest.mark.real
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_two_transports_hear_each_other_on_loopback(address: str) -> None:
    async def run() -> None:
        pool = free_pool(address=address)
        one, other = UdpMediaTransport(pool), as_media_transport(UdpMediaTransport(pool))
        heard: list[bytes] = []
        other.on_packet = lambda data, _now: heard.append(data)
        one.accept(other.describe(MediaDescription()))
        other.accept(one.describe(MediaDescription()))

        for packet in (RTP, RTCP):
            one.send(packet)
        await until(lambda: len(heard) == 2)

        assert sorted(heard) == sorted([RTP, RTCP])
        one.close()
        other.close()
        assert pool.in_use == 0

    on_uvloop(run)


@pytest.mark.real
def test_a_port_that_is_not_open_yet_does_not_deafen_us() -> None:
    async def run() -> None:
        pool = free_pool()
        transport = UdpMediaTransport(pool)
        heard: list[bytes] = []
        transport.on_packet = lambda data, _now: heard.append(data)
        ours = transport.describe(MediaDescription())
        with closing(open_rtp_socket("127.0.0.1", 32_090)) as peer:
            transport.accept(MediaDescription(address="127.0.0.1", port=32_090))
            peer.sendto(RTP, (ours.address, ours.port))
            await until(lambda: len(heard) == 1)
        for _ in range(5):  # each is answered by ICMP port unreachable
            transport.send(RTP)
            await asyncio.sleep(0.005)

        with closing(open_rtp_socket("127.0.0.1", 32_090)) as peer:
            peer.sendto(RTP, (ours.address, ours.port))
            await until(lambda: len(heard) == 2)

        transport.close()

    on_uvloop(run)


@pytest.mark.real
def test_a_descriptor_that_is_used_again_is_heard() -> None:
    async def run() -> None:
        pool = free_pool(quarantine_s=0.0)
        for _ in range(3):
            one, other = UdpMediaTransport(pool), UdpMediaTransport(pool)
            heard: list[bytes] = []
            other.on_packet = lambda data, _now, heard=heard: heard.append(data)  # type: ignore[misc]
            one.accept(other.describe(MediaDescription()))
            other.accept(one.describe(MediaDescription()))
            one.send(RTP)
            await until(lambda heard=heard: bool(heard))  # type: ignore[misc]
            one.close()
            other.close()

    on_uvloop(run)


@pytest.mark.real
def test_an_rtp_socket_is_marked_as_voice() -> None:
    with closing(open_rtp_socket("127.0.0.1", 0)) as rtp_socket:
        assert rtp_socket.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 46 << 2


@pytest.mark.real
def test_a_port_in_use_is_passed_over() -> None:
    with closing(open_rtp_socket("127.0.0.1", 32_001)):
        pair = free_pool().allocate(0.0)

        assert pair.port == 32_002
        pair.rtp.close()
        pair.rtcp.close()

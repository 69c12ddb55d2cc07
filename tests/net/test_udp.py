"""SIP's UDP sockets: who is heard, where answers leave from, and what errors do not break."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import cast

import ifaddr
import pytest
import uvloop

from gateway.net.interface import is_ip_address
from gateway.net.udp import (
    DSCP_SIGNALLING,
    DSCP_VOICE,
    MAX_DATAGRAMS_PER_TURN,
    UdpSocket,
    UdpTransport,
    mark_traffic,
    open_udp_socket,
    open_udp_sockets,
    source_address,
)
from gateway.sip.flow import Flow
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

GATEWAY = ("192.0.2.1", 5060)
TRUNK = ("198.51.100.1", 5060)
STRANGER = ("203.0.113.9", 5060)


class Inbox:
    """What a socket handed over."""

    def __init__(self) -> None:
        self.datagrams: list[tuple[bytes, Flow]] = []

    def __call__(self, data: bytes, flow: Flow) -> None:
        self.datagrams.append((data, flow))


def listen(loop: VirtualLoop, inbox: Callable[[bytes, Flow], object]) -> UdpSocket:
    """A gateway's socket that admits the trunk only."""
    return UdpSocket(
        cast(socket.socket, loop.network.open_socket(*GATEWAY)),
        loop=loop,
        receive=inbox,
        admit=lambda source: source[0] == TRUNK[0],
    )


@in_virtual_time
async def test_a_datagram_comes_with_its_flow(loop: VirtualLoop) -> None:
    network, inbox = loop.network, Inbox()
    gateway = listen(loop, inbox)

    network.carry(b"hello", TRUNK, GATEWAY)
    await elapse(0.01)

    assert inbox.datagrams == [(b"hello", Flow("udp", GATEWAY, TRUNK))]
    assert gateway.received == 1
    gateway.close()


@in_virtual_time
async def test_a_stranger_gets_silence_and_is_counted(loop: VirtualLoop) -> None:
    network, inbox = loop.network, Inbox()
    gateway = listen(loop, inbox)

    network.carry(b"REGISTER", STRANGER, GATEWAY)
    network.carry(b"hello", TRUNK, GATEWAY)
    await elapse(0.01)

    assert [data for data, _ in inbox.datagrams] == [b"hello"]
    assert gateway.refused == 1
    assert network.sent_to(STRANGER[0]) == []
    gateway.close()


@in_virtual_time
async def test_a_flood_leaves_the_loop_its_turn(loop: VirtualLoop) -> None:
    network, inbox = loop.network, Inbox()
    gateway = listen(loop, inbox)
    for _ in range(MAX_DATAGRAMS_PER_TURN + 10):
        network.carry(b"flood", STRANGER, GATEWAY)
    in_between: list[int] = []

    # Turn by turn: the reader's callback, then this one.
    for _ in range(4):
        await asyncio.sleep(0)
        in_between.append(gateway.refused)

    assert MAX_DATAGRAMS_PER_TURN in in_between
    assert gateway.refused == MAX_DATAGRAMS_PER_TURN + 10
    gateway.close()


@in_virtual_time
async def test_closing_from_inside_stops_the_reading(loop: VirtualLoop) -> None:
    network = loop.network
    seen: list[bytes] = []

    def take(data: bytes, _flow: Flow) -> None:
        seen.append(data)
        gateway.close()

    udp_socket = network.open_socket(*GATEWAY)
    gateway = UdpSocket(
        cast(socket.socket, udp_socket), loop=loop, receive=take, admit=lambda source: True
    )
    network.carry(b"1", TRUNK, GATEWAY)
    network.carry(b"2", TRUNK, GATEWAY)
    await elapse(0.01)

    assert seen == [b"1"]
    assert not loop.remove_reader(udp_socket.fileno())  # it was taken out
    assert not network.open_addresses
    assert not gateway.send(b"late", TRUNK)
    gateway.close()  # twice is once


@in_virtual_time
async def test_an_answer_leaves_from_where_the_request_came_to(loop: VirtualLoop) -> None:
    network, inbox = loop.network, Inbox()
    second = ("192.0.2.2", 5060)
    transport = UdpTransport(
        [cast(socket.socket, network.open_socket(*local)) for local in (GATEWAY, second)],
        loop=loop,
        receive=inbox,
        admit=lambda source: True,
    )

    network.carry(b"hello", TRUNK, second)
    await elapse(0.01)
    sent = transport.send(b"answer", inbox.datagrams[0][1])

    assert sent
    assert transport.locals == (GATEWAY, second)
    assert [each.source for each in network.sent_to(TRUNK[0])] == [second]
    transport.close()
    assert not network.open_addresses


@in_virtual_time
async def test_a_flow_of_nobody_is_not_sent_on(loop: VirtualLoop) -> None:
    network = loop.network
    transport = UdpTransport([], loop=loop, receive=Inbox(), admit=lambda source: True)

    assert not transport.send(b"x", Flow("udp", GATEWAY, TRUNK))
    with pytest.raises(OSError, match="no UDP socket"):
        transport.flow_to(TRUNK)
    assert network.sent == []


@in_virtual_time
async def test_a_name_is_never_looked_up(loop: VirtualLoop) -> None:
    network = loop.network
    gateway = listen(loop, Inbox())

    assert not gateway.send(b"x", ("evil.example", 5060))
    assert network.sent == []
    gateway.close()


@pytest.mark.parametrize(
    ("host", "is_address"),
    [
        ("192.0.2.1", True),
        ("2001:db8::1", True),
        ("localhost", False),
        ("0x7f.1", False),
        ("", False),
    ],
)
def test_what_an_address_is(host: str, is_address: bool) -> None:
    assert is_ip_address(host) is is_address


class BrokenSocket:
    """A socket that fails in a way of its own."""

    family = socket.AF_INET

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        """A number that no real descriptor has."""
        return 1 << 24

    def getsockname(self) -> tuple[str, int]:
        """An address."""
        return GATEWAY

    def sendto(self, _data: bytes, _address: tuple[str, int]) -> int:
        """Fail."""
        raise OSError(self.number, "broken")

    recvfrom = sendto

    def setsockopt(self, *_arguments: int) -> None:
        """Fail."""
        raise OSError(self.number, "broken")

    def close(self) -> None:
        """Nothing to free."""


@in_virtual_time
async def test_a_refused_send_is_counted_and_logged_once(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    broken = cast(socket.socket, BrokenSocket(errno.ENETUNREACH))
    gateway = UdpSocket(broken, loop=loop, receive=Inbox(), admit=lambda source: True)

    with caplog.at_level(logging.WARNING, "gateway.net.udp"):
        results = [gateway.send(b"x", TRUNK) for _ in range(3)]

    assert results == [False] * 3
    assert gateway.send_errors == 3
    assert [record.getMessage() for record in caplog.records] == [
        "udp 192.0.2.1:5060: ENETUNREACH, counted from now on"
    ]
    gateway.close()


@in_virtual_time
async def test_a_full_buffer_is_a_loss_like_any_other(loop: VirtualLoop) -> None:
    broken = cast(socket.socket, BrokenSocket(errno.EAGAIN))
    gateway = UdpSocket(broken, loop=loop, receive=Inbox(), admit=lambda source: True)

    assert gateway.send(b"x", TRUNK)
    assert gateway.send_errors == 1
    gateway.close()


def test_a_system_without_dscp_is_let_alone() -> None:
    mark_traffic(cast(socket.socket, BrokenSocket(errno.EPERM)), DSCP_VOICE)


# From here on with sockets of the system.


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Awaitable[None]], None]]:
    """Run a coroutine on either loop."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run  # type: ignore[misc]


class Peer:
    """A plain socket on the other side."""

    def __init__(self, host: str) -> None:
        self.socket = open_udp_socket(host, 0)
        self.address: tuple[str, int] = self.socket.getsockname()[:2]

    async def receive(self) -> tuple[bytes, tuple[str, int]]:
        """The next datagram and its source."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self.socket.fileno(), ready.set)
        async with asyncio.timeout(5):
            await ready.wait()
        loop.remove_reader(self.socket.fileno())
        data, source = self.socket.recvfrom(65535)
        return data, (source[0], source[1])


@pytest.mark.real
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_hello_and_answer(run: Callable[[Awaitable[None]], None], host: str) -> None:
    async def converse() -> None:
        peer = Peer(host)
        transport = UdpTransport(
            open_udp_sockets(host, 0),
            loop=asyncio.get_running_loop(),
            receive=lambda data, flow: transport.send(data.upper(), flow),
            admit=lambda source: source == peer.address,
        )

        peer.socket.sendto(b"hello", transport.locals[0])
        data, source = await peer.receive()

        assert (data, source) == (b"HELLO", transport.locals[0])
        assert transport.flow_to(peer.address) == Flow("udp", transport.locals[0], peer.address)
        transport.close()
        peer.socket.close()

    run(converse())


@pytest.mark.real
def test_an_unreachable_peer_leaves_the_socket_hearing(
    run: Callable[[Awaitable[None]], None],
) -> None:
    async def converse() -> None:
        peer, gone = Peer("127.0.0.1"), Peer("127.0.0.1")
        gone.socket.close()
        transport = UdpTransport(
            open_udp_sockets("127.0.0.1", 0),
            loop=asyncio.get_running_loop(),
            receive=lambda data, flow: transport.send(data, flow),
            admit=lambda source: True,
        )

        for _ in range(3):  # each comes back as ICMP: port unreachable
            transport.send(b"anybody?", Flow("udp", transport.locals[0], gone.address))
            await asyncio.sleep(0)
        peer.socket.sendto(b"hello", transport.locals[0])

        assert (await peer.receive())[0] == b"hello"
        transport.close()
        peer.socket.close()

    run(converse())


@pytest.mark.real
def test_signalling_is_marked_for_the_network() -> None:
    with open_udp_socket("127.0.0.1", 0) as four, open_udp_socket("::1", 0) as six:
        assert four.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == DSCP_SIGNALLING << 2
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == DSCP_SIGNALLING << 2
        assert not four.getblocking()


@pytest.mark.real
def test_a_wildcard_is_one_socket_for_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    ips = [ifaddr.IP(host, 8, "lo") for host in ("127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [ifaddr.Adapter("lo", "lo", ips)])

    opened = open_udp_sockets("0.0.0.0", 0)

    hosts, ports = zip(*(each.getsockname() for each in opened), strict=True)
    assert hosts == ("127.0.0.1", "127.0.0.2")
    assert len(set(ports)) == 1
    for each in opened:
        each.close()


@pytest.mark.real
def test_a_port_in_use_names_itself_and_frees_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    ips = [ifaddr.IP(host, 8, "lo") for host in ("127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: [ifaddr.Adapter("lo", "lo", ips)])
    with open_udp_socket("127.0.0.2", 0) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(OSError, match=rf"udp:127\.0\.0\.2:{port}") as caught:
            open_udp_sockets("0.0.0.0", port)

        assert caught.value.errno == errno.EADDRINUSE
        open_udp_socket("127.0.0.1", port).close()


@pytest.mark.real
def test_routing_tells_our_address() -> None:
    assert source_address(("127.0.0.1", 9)) == "127.0.0.1"

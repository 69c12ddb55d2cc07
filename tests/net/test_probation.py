"""To whom nothing comes from is sent to for a while only, wherever its SDP points (A8)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

import pytest
import uvloop

from gateway.codec import PCMU
from gateway.net.latch import MAX_UNREACHABLE
from gateway.net.ports import PortPool, RtpPortOptions
from gateway.net.udp_media import UdpMediaTransport
from gateway.rtp.packet import RtpPacket, build_rtp
from gateway.rtp.rtcp import ReceiverReport, build_rtcp
from gateway.sdp.description import Direction, MediaDescription
from tests.support.gateway import free_port
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

HOST, SIP, MEDIA = "192.0.2.1", "198.51.100.7", "203.0.113.66"
"Ours; where the peer's SIP comes from; where its SDP says that its media is."

RTP = build_rtp(RtpPacket(0, False, 1, 160, 7, bytes(160)))
RTCP = build_rtcp([ReceiverReport(7)])


class Line:
    """A transport that speaks 50 times a second."""

    def __init__(self, loop: VirtualLoop, **options: Any) -> None:
        self.loop = loop
        pool = PortPool(RtpPortOptions(address=HOST), open_socket=loop.network.open_socket)
        self.transport = UdpMediaTransport(pool, loop=loop, peer=SIP, **options)

    async def speak(self, seconds: float) -> int:
        """How many packets left."""
        before = len(self.loop.network.sent)
        for _ in range(round(50 * seconds)):
            self.transport.send(RTP)
            await elapse(0.02)
        return len(self.loop.network.sent) - before

    def point(self, host: str = MEDIA, **more: Any) -> None:
        self.transport.accept(MediaDescription(address=host, port=4000, codecs=(PCMU,), **more))


@contextmanager
def line(loop: VirtualLoop, **options: Any) -> Iterator[Line]:
    made = Line(loop, **options)
    try:
        yield made
    finally:
        made.transport.close()
    assert not loop.network.open_addresses


@in_virtual_time
async def test_a8_who_never_speaks_is_sent_to_for_5_s(loop: VirtualLoop) -> None:
    with line(loop) as at:
        at.point()

        assert await at.speak(20) <= 250
        assert at.transport.unsent >= 750


@in_virtual_time
async def test_a8_the_time_begins_with_the_first_packet(loop: VirtualLoop) -> None:
    with line(loop) as at:
        at.point()
        await elapse(20)

        assert await at.speak(4) == 200


@in_virtual_time
async def test_a8_offering_the_same_again_gives_no_more_time(loop: VirtualLoop) -> None:
    with line(loop) as at:
        sent = 0
        for _ in range(5):
            at.point()
            sent += await at.speak(4)

        assert sent <= 250


@pytest.mark.parametrize("data", [RTP, RTCP])
def test_who_speaks_at_last_is_sent_to_at_once(data: bytes) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        with line(loop) as at:
            rtp = loop.network.open_socket(MEDIA, 4000)
            rtcp = loop.network.open_socket(MEDIA, 4001)
            at.point()
            await at.speak(8)

            (rtp if data is RTP else rtcp).sendto(data, (HOST, 20_000 + (data is RTCP)))
            await elapse(0.01)

            assert await at.speak(10) == 500
            rtp.close()
            rtcp.close()

    run()


@in_virtual_time
async def test_who_spoke_once_is_sent_to_for_good(loop: VirtualLoop) -> None:
    with line(loop) as at:
        at.point()
        loop.network.carry(RTP, (MEDIA, 4000), (HOST, 20_000))
        await elapse(0.01)
        await at.speak(1)
        at.point()

        assert await at.speak(10) == 500


@in_virtual_time
async def test_a8_somebody_else_who_speaks_is_no_proof(loop: VirtualLoop) -> None:
    with line(loop) as at:
        at.point()
        for source in ((MEDIA, 4002), ("203.0.113.9", 4000)):
            loop.network.carry(RTP, source, (HOST, 20_000))
        await elapse(0.01)

        assert await at.speak(20) <= 250
        assert at.transport.strangers == 2


@pytest.mark.parametrize(
    ("host", "options"),
    [(SIP, {}), (MEDIA, {"media_allow": (ip_network("203.0.113.0/24"),)})],
    ids=["where the SIP is", "media_allow"],
)
def test_who_is_where_it_is_known_to_be_may_be_silent(host: str, options: dict[str, Any]) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        with line(loop, **options) as at:
            at.point(host)

            assert await at.speak(10) == 500

    run()


@in_virtual_time
async def test_who_is_not_to_speak_may_be_silent_and_then_has_to(loop: VirtualLoop) -> None:
    with line(loop) as at:
        at.point(direction=Direction.RECVONLY)
        held = await at.speak(10)
        at.point()
        resumed = await at.speak(10)

        assert held == 500
        assert resumed <= 250


@in_virtual_time
async def test_a8_another_place_has_a_time_of_its_own(loop: VirtualLoop) -> None:
    with line(loop) as at:
        at.point()
        await at.speak(8)
        at.point("203.0.113.77")

        assert await at.speak(4) == 200


@pytest.mark.parametrize("policy", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a8_icmp_stops_the_stream_and_the_loop_still_hears(policy: Any) -> None:
    """Real sockets: the kernel tells that nobody has the port, and later somebody has."""
    port = free_port()

    async def run() -> None:
        pool = PortPool(RtpPortOptions(address="127.0.0.1"))
        transport = UdpMediaTransport(pool, peer="127.0.0.2")
        heard: list[bytes] = []
        transport.on_packet = lambda data, _now: heard.append(data)
        transport.accept(MediaDescription(address="127.0.0.1", port=port, codecs=(PCMU,)))
        async with asyncio.timeout(10):
            while transport._remote is not None or not transport.unreachable:
                transport.send(RTP)
                await asyncio.sleep(0.002)
            stopped_at = transport.unreachable
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
                phone.bind(("127.0.0.1", port))
                phone.setblocking(False)
                for count in range(1, 4):
                    phone.sendto(RTP, ("127.0.0.1", transport._ports.port))
                    while len(heard) < count:
                        await asyncio.sleep(0.002)
                transport.send(RTP)
                assert phone.recv(2000) == RTP
        assert stopped_at == MAX_UNREACHABLE
        transport.close()

    with asyncio.Runner(loop_factory=policy) as runner:
        runner.run(run())


@pytest.mark.parametrize("policy", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_icmp_is_counted_while_a_peer_is_silent(policy: Any) -> None:
    async def run() -> None:
        transport = UdpMediaTransport(PortPool(RtpPortOptions(address="127.0.0.1")))
        ours = ("127.0.0.1", transport._ports.port)
        heard: list[bytes] = []
        transport.on_packet = lambda data, _now: heard.append(data)
        async with asyncio.timeout(10):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
                phone.bind(("127.0.0.1", 0))
                port = phone.getsockname()[1]
                transport.accept(MediaDescription(address="127.0.0.1", port=port, codecs=(PCMU,)))
                phone.sendto(RTP, ours)
                while not heard:
                    await asyncio.sleep(0.002)
            transport.doubt()
            while transport.unreachable < 2 * MAX_UNREACHABLE:
                transport.send(RTP)
                await asyncio.sleep(0.002)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
                phone.bind(("127.0.0.1", port))
                phone.setblocking(False)
                for count in range(2, 5):
                    phone.sendto(RTP, ours)
                    while len(heard) < count:
                        await asyncio.sleep(0.002)
                transport.send(RTP)
                assert phone.recv(2000) == RTP
        transport.close()

    with asyncio.Runner(loop_factory=policy) as runner:
        runner.run(run())


@in_virtual_time
async def test_doubt_does_not_unsettle_who_a_peer_is(loop: VirtualLoop) -> None:
    with line(loop, symmetric=SIP) as at:
        at.point("192.168.1.20")
        heard: list[bytes] = []
        at.transport.on_packet = lambda data, _now: heard.append(data)
        packets = [build_rtp(RtpPacket(0, False, n, n, 7, bytes(160))) for n in range(8)]
        for packet in packets[:4]:
            loop.network.carry(packet, (SIP, 61_000), (HOST, 20_000))
        await elapse(0.5)
        at.transport.doubt()
        for packet in packets[4:]:
            loop.network.carry(packet, (MEDIA, 61_000), (HOST, 20_000))
            loop.network.carry(packet, (SIP, 62_000), (HOST, 20_000))
            loop.network.carry(packet, (SIP, 61_000), (HOST, 20_000))
        await elapse(0.5)
        at.transport.send(RTP)

        assert heard == packets[3:]
        assert loop.network.sent[-1].destination == (SIP, 61_000)

"""A phone behind NAT is sent to where it sends from, and nobody else ever is (RFC 7362, A1, A8)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

import pytest

from gateway.codec import PCMU
from gateway.net.latch import IN_A_ROW, Latch
from gateway.net.media import TransportState
from gateway.net.ports import PortPool, RtpPortOptions
from gateway.net.udp_media import UdpMediaTransport
from gateway.rtp.packet import RtpPacket, build_rtp
from gateway.rtp.rtcp import ReceiverReport, build_rtcp
from gateway.sdp.description import MediaDescription
from tests.support.loop import VirtualLoop, VirtualSocket, elapse, in_virtual_time

HOST = "192.0.2.1"
NAT = "198.51.100.7"
"Where the phone's SIP comes from, and its media: the outside of its NAT."
INSIDE = "192.168.1.20"
"Where the phone believes to be."
THIEF = "203.0.113.66"
OURS = RtpPacket(0, False, 1, 160, 99, bytes(160))


def rtp(number: int, *, ssrc: int = 7, payload_type: int = 0) -> bytes:
    return build_rtp(RtpPacket(payload_type, False, number, number * 160, ssrc, bytes(160)))


class Line:
    """A transport for a phone whose SIP comes from `NAT`."""

    def __init__(self, loop: VirtualLoop, **options: Any) -> None:
        self.loop = loop
        self._pool = PortPool(RtpPortOptions(address=HOST), open_socket=loop.network.open_socket)
        options = {"symmetric": NAT} | options
        self.transport = UdpMediaTransport(self._pool, loop=loop, **options)
        self.heard: list[bytes] = []
        self.states: list[TransportState] = []
        self.transport.on_packet = lambda data, _now: self.heard.append(data)
        self.transport.on_state = self.states.append
        self.sockets: list[VirtualSocket] = []

    def open(self, host: str, port: int) -> VirtualSocket:
        self.sockets.append(self.loop.network.open_socket(host, port))
        return self.sockets[-1]

    async def send(self, sender: VirtualSocket, *packets: bytes, port: int = 20_000) -> None:
        for packet in packets:
            sender.sendto(packet, (HOST, port))
        await elapse(0.02)

    def speak(self) -> None:
        self.transport.send(build_rtp(OURS))

    def audio_to(self, host: str) -> list[int]:
        """Ports of a host that were sent audio."""
        sent = self.loop.network.sent_to(host)
        return [each.destination[1] for each in sent if each.data == build_rtp(OURS)]


@contextmanager
def line(loop: VirtualLoop, **options: Any) -> Iterator[Line]:
    made = Line(loop, **options)
    try:
        yield made
    finally:
        made.transport.close()
        for each in made.sockets:
            each.close()


def described(host: str, port: int = 4000, **more: Any) -> MediaDescription:
    return MediaDescription(address=host, port=port, codecs=(PCMU,), **more)


@in_virtual_time
async def test_phone_is_sent_to_where_it_sends_from(loop: VirtualLoop) -> None:
    with line(loop) as at:
        at.transport.accept(described(INSIDE))
        phone = at.open(NAT, 61_000)
        await at.send(phone, *(rtp(number) for number in range(1, 6)))

        at.speak()

        assert at.audio_to(NAT) == [61_000]
        assert at.audio_to(INSIDE) == []
        assert at.heard == [rtp(4), rtp(5)]
        assert at.states == [TransportState.CONNECTED]


@in_virtual_time
async def test_a8_nothing_is_sent_inside_before_the_phone_has_spoken(loop: VirtualLoop) -> None:
    with line(loop) as at:
        at.transport.accept(described(INSIDE))
        at.speak()
        await elapse(1)

        assert at.loop.network.sent == []
        assert at.states == []
        assert at.transport.unsent == 1


@in_virtual_time
async def test_phone_that_is_where_it_says_is_sent_to_and_heard_at_once(loop: VirtualLoop) -> None:
    with line(loop) as at:
        phone = at.open(NAT, 4000)
        at.transport.accept(described(NAT))
        at.speak()
        await at.send(phone, rtp(1))

        assert at.audio_to(NAT) == [4000]
        assert at.heard == [rtp(1)]


@in_virtual_time
async def test_a1_stranger_is_never_heard_nor_sent_to(loop: VirtualLoop) -> None:
    with line(loop) as at:
        thief = at.open(THIEF, 4000)
        await at.send(thief, *(rtp(number) for number in range(100)))
        at.transport.accept(described(INSIDE))
        await at.send(thief, *(rtp(number) for number in range(100, 300)))
        at.speak()

        assert at.heard == []
        assert at.audio_to(THIEF) == []
        assert at.transport.strangers == 300


@in_virtual_time
async def test_first_that_proves_it_is_it_for_good(loop: VirtualLoop) -> None:
    with line(loop) as at:
        at.transport.accept(described(INSIDE))
        phone, other = at.open(NAT, 61_000), at.open(NAT, 61_999)
        await at.send(phone, *(rtp(number) for number in range(1, 5)))

        await at.send(other, *(rtp(number, ssrc=8) for number in range(50)))
        at.speak()

        assert at.audio_to(NAT) == [61_000]
        assert at.heard == [rtp(4)]


@pytest.mark.parametrize(
    "packets",
    [
        [rtp(1), rtp(2), rtp(3)],
        [rtp(1), rtp(2), rtp(3), rtp(5)],
        [rtp(1), rtp(2), rtp(3), rtp(4, ssrc=8)],
        [rtp(1), rtp(2), rtp(3), rtp(4, payload_type=8)],
        [rtp(1)] * 9,
        [b"\x80" * 4] * 9,
        [b"\x00" + rtp(n)[1:] for n in range(9)],
        [build_rtcp([ReceiverReport(7)])] * 9,
    ],
    ids=["few", "gap", "ssrc", "payload type", "same", "short", "version", "rtcp"],
)
def test_what_is_no_run_of_one_stream_proves_nothing(packets: list[bytes]) -> None:
    latch = Latch(frozenset((NAT,)))

    assert not any(latch.look(packet, (NAT, 61_000)) for packet in packets)


def test_run_may_begin_anew_and_sequence_numbers_wrap() -> None:
    latch = Latch(frozenset((NAT,)))
    numbers = [1, 2, 65_534, 65_535, 0, 1]

    verdicts = [latch.look(rtp(number), (NAT, 61_000)) for number in numbers]

    assert verdicts == [False] * (len(numbers) - 1) + [True]
    assert IN_A_ROW == 4


@in_virtual_time
async def test_one_who_has_spoken_from_where_it_says_is_not_taken_over(loop: VirtualLoop) -> None:
    with line(loop) as at:
        phone, other = at.open(NAT, 4000), at.open(NAT, 61_999)
        at.transport.accept(described(NAT))
        await at.send(phone, *(rtp(number) for number in range(1, 6)))

        await at.send(other, *(rtp(number, ssrc=8) for number in range(50)))
        at.speak()

        assert at.audio_to(NAT) == [4000]
        assert len(at.heard) == 5


@in_virtual_time
async def test_same_description_again_changes_nothing_and_a_new_one_looks_again(
    loop: VirtualLoop,
) -> None:
    with line(loop) as at:
        at.transport.accept(described(INSIDE))
        phone = at.open(NAT, 61_000)
        await at.send(phone, *(rtp(number) for number in range(1, 5)))
        at.transport.accept(described(INSIDE))
        at.speak()
        assert at.audio_to(NAT) == [61_000]

        at.transport.accept(described(INSIDE, 4002))
        moved = at.open(NAT, 62_000)
        await at.send(moved, *(rtp(number, ssrc=9) for number in range(1, 5)))
        at.speak()

        assert at.audio_to(NAT) == [61_000, 62_000]
        assert at.states == [TransportState.CONNECTED]


@in_virtual_time
async def test_rtcp_is_taken_from_the_port_that_speaks_for_the_same_source(
    loop: VirtualLoop,
) -> None:
    report, forged = build_rtcp([ReceiverReport(7)]), build_rtcp([ReceiverReport(8)])
    with line(loop) as at:
        at.transport.accept(described(INSIDE))
        phone, control, other = at.open(NAT, 61_000), at.open(NAT, 7777), at.open(NAT, 8888)
        await at.send(phone, *(rtp(number) for number in range(1, 5)))
        at.heard.clear()

        await at.send(other, forged, port=20_001)
        await at.send(control, report, report, port=20_001)
        await at.send(other, report, port=20_001)
        at.transport.send(report)

        assert at.heard == [report, report]
        ports = [each.destination[1] for each in at.loop.network.sent_to(NAT)]
        assert ports == [7777]


@in_virtual_time
async def test_hold_by_null_address_lets_nobody_be_heard(loop: VirtualLoop) -> None:
    with line(loop) as at:
        at.transport.accept(described(INSIDE))
        phone = at.open(NAT, 61_000)
        await at.send(phone, *(rtp(number) for number in range(1, 5)))
        at.transport.accept(described("0.0.0.0"))
        await at.send(phone, *(rtp(number) for number in range(5, 20)))
        at.speak()

        assert at.heard == [rtp(4)]
        assert at.audio_to(NAT) == []


# ---- who sprays


def sprayed(number: int) -> bytes:
    """What an attacker sends to a port: RTP of a run, RTCP, and RTCP of 4 bytes (ES2017-04)."""
    return (rtp(number, ssrc=66), build_rtcp([ReceiverReport(66)]), b"\x80\xc9\x00\x00")[number % 3]


@pytest.mark.parametrize("symmetric", [NAT, None])
@pytest.mark.parametrize("thief", [THIEF, "198.51.100.8"])
def test_a1_who_sprays_all_ports_gets_no_byte(symmetric: str | None, thief: str) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        networks = (ip_network("203.0.113.0/28"),)
        with line(loop, symmetric=symmetric, media_allow=networks) as at:
            phone = at.open(NAT, 4000)
            for tick in range(600):  # 12 s at 200 packets a second, the call from 2 s on
                for number in range(4):
                    port = 20_000 + (tick + number) % 2
                    loop.network.carry(sprayed(4 * tick + number), (thief, 5004), (HOST, port))
                if tick == 100:
                    at.transport.accept(described(NAT))
                if tick > 102:
                    phone.sendto(rtp(tick), (HOST, 20_000))
                    at.speak()
                await elapse(0.02)

            assert loop.network.sent_to(thief) == []
            assert len(at.heard) == 497
            assert len(at.audio_to(NAT)) == 497
            assert at.transport.strangers > 1500

    run()


@in_virtual_time
async def test_a2_nothing_of_another_source_gets_into_a_plain_stream(loop: VirtualLoop) -> None:
    with line(loop, symmetric=None, peer=NAT) as at:
        phone = at.open(NAT, 4000)
        at.transport.accept(described(NAT))
        for number in range(500):
            phone.sendto(rtp(number), (HOST, 20_000))
            # The same stream as far as its header tells, from another host and another port.
            for source in ((THIEF, 4000), (NAT, 4002)):
                loop.network.carry(rtp(number + 1), source, (HOST, 20_000))
            await elapse(0.02)

        assert at.heard == [rtp(number) for number in range(500)]
        assert at.transport.strangers == 1000


@in_virtual_time
async def test_a1_media_may_come_from_a_network_that_is_allowed(loop: VirtualLoop) -> None:
    with line(loop, media_allow=(ip_network("203.0.113.64/28"),)) as at:
        at.transport.accept(described(INSIDE))
        relay, outside = at.open("203.0.113.70", 9000), at.open("203.0.113.80", 9000)
        await at.send(outside, *(rtp(number) for number in range(1, 9)))
        await at.send(relay, *(rtp(number) for number in range(1, 5)))
        at.speak()

        assert at.audio_to("203.0.113.70") == [9000]
        assert at.heard == [rtp(4)]
        assert at.loop.network.sent_to("203.0.113.80") == []


@in_virtual_time
async def test_private_address_in_a_network_that_is_allowed_is_sent_to_at_once(
    loop: VirtualLoop,
) -> None:
    with line(loop, media_allow=(ip_network("192.168.1.0/24"),)) as at:
        at.transport.accept(described(INSIDE))
        at.speak()

        assert at.audio_to(INSIDE) == [4000]

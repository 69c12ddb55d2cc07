"""Two of our transports, one playing the browser, in virtual time: set-up, media, the end."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import weakref
from typing import TYPE_CHECKING

import pytest

from gateway.errors import NegotiationError
from gateway.net.media import TransportState
from gateway.sdp.description import Fingerprint, MediaDescription
from gateway.webrtc.options import DtlsRole, WebRtcOptions
from tests.support.loop import VirtualLoop, elapse, in_virtual_time, until
from tests.webrtc.peers import (
    BROWSER,
    CERTIFICATE,
    GATEWAY,
    connect,
    hang_up,
    negotiate,
    new_end,
    open_browser,
    open_gateway,
    rtp,
    until_connected,
)

if TYPE_CHECKING:
    from gateway.webrtc.mux import Route
    from gateway.webrtc.transport import WebRtcTransport

RECEIVER_REPORT = b"\x80\xc9\x00\x01\x00\x00\x12\x34"


def is_dtls(data: bytes) -> bool:
    return 19 < data[0] < 64


def binding_errors(loop: VirtualLoop) -> list[bytes]:
    return [d.data for d in loop.network.sent if d.data[:2] == b"\x01\x11"]


@in_virtual_time
async def test_rtp_and_rtcp_go_both_ways(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)

    browser.transport.send(rtp(1))
    gateway.transport.send(rtp(2))
    gateway.transport.send(RECEIVER_REPORT)
    await elapse(0.01)

    assert gateway.packets == [rtp(1)]
    assert browser.packets == [rtp(2), RECEIVER_REPORT]
    assert gateway.states == browser.states == [TransportState.CONNECTED]
    await hang_up(gateway, browser)


@in_virtual_time
async def test_media_is_encrypted_on_the_wire(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    secret = b"four five six seven " * 4

    gateway.transport.send(rtp(1, secret))
    await elapse(0.01)

    assert browser.packets == [rtp(1, secret)]
    assert not any(b"four" in datagram.data for datagram in loop.network.sent)
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_packet_arrives_with_its_time(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    arrivals: list[float] = []
    gateway.transport.on_packet = lambda _packet, now: arrivals.append(now)
    loop.network.delay_s = 0.03
    sent_at = loop.time()

    browser.transport.send(rtp(1))
    await elapse(0.1)

    assert arrivals == [pytest.approx(sent_at + 0.03)]
    await hang_up(gateway, browser)


@in_virtual_time
async def test_set_up_takes_seven_one_way_trips(loop: VirtualLoop) -> None:
    gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
    loop.network.delay_s = 0.05

    negotiate(browser, gateway)
    took = await until_connected(gateway, browser)

    # A check and its answer, the nominating check, then DTLS's four flights; the ClientHello
    # leaves when the nominating check arrives.
    assert took == pytest.approx(7 * 0.05, abs=0.03)
    await hang_up(gateway, browser)


@in_virtual_time
async def test_nothing_is_sent_before_there_is_a_path(loop: VirtualLoop) -> None:
    gateway = new_end(open_gateway(loop))

    gateway.transport.send(rtp(1))

    assert gateway.transport.unsent == 1
    assert loop.network.sent == []
    await hang_up(gateway)


@pytest.mark.rfc(8842, "5.3")
@pytest.mark.parametrize("role", DtlsRole)
def test_either_end_can_begin_the_handshake(role: DtlsRole) -> None:
    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        options = WebRtcOptions(listen=f"{GATEWAY}:10000", dtls_role=role)
        gateway, browser = new_end(open_gateway(loop, options)), new_end(open_browser(loop))

        offer = browser.offer()
        gateway.transport.accept(offer)
        answer = gateway.offer()
        browser.transport.accept(answer)
        await until_connected(gateway, browser)

        assert (offer.setup, answer.setup) == ("actpass", role.value)
        client_hello = next(d for d in loop.network.sent if is_dtls(d.data))
        client = GATEWAY if role is DtlsRole.ACTIVE else BROWSER
        assert client_hello.source[0] == client
        await hang_up(gateway, browser)

    scenario()


@pytest.mark.rfc(8842, "5.3")
@in_virtual_time
async def test_the_dtls_role_stays_whatever_is_configured(loop: VirtualLoop) -> None:
    active = WebRtcOptions(listen=f"{GATEWAY}:10000", dtls_role=DtlsRole.ACTIVE)
    also_active = WebRtcOptions(listen=f"{BROWSER}:0", dtls_role=DtlsRole.ACTIVE, controlling=False)
    gateway, browser = (
        new_end(open_gateway(loop, active)),
        new_end(open_browser(loop, also_active)),
    )
    browser.transport.accept(gateway.offer())
    gateway.transport.accept(browser.offer())
    await until_connected(gateway, browser)

    gateway.transport.accept(browser.offer())

    assert gateway.offer().setup == "passive"
    await hang_up(gateway, browser)


@in_virtual_time
async def test_the_gateway_can_offer(loop: VirtualLoop) -> None:
    gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))

    browser.transport.accept(gateway.offer())
    answer = browser.offer()
    # The browser's checks and its ClientHello come before its answer does.
    await elapse(0.3)
    assert gateway.state is TransportState.CONNECTING
    gateway.transport.accept(answer)
    await until_connected(gateway, browser)

    gateway.transport.send(rtp(1))
    await elapse(0.01)
    assert browser.packets == [rtp(1)]
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_browser_that_also_wants_control_connects(loop: VirtualLoop) -> None:
    stubborn = WebRtcOptions(listen=f"{BROWSER}:0", controlling=True)
    gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop, stubborn))

    negotiate(browser, gateway)
    await until_connected(gateway, browser)

    assert binding_errors(loop) == []
    await hang_up(gateway, browser)


@in_virtual_time
async def test_the_controlled_role_can_be_chosen(loop: VirtualLoop) -> None:
    controlled = WebRtcOptions(listen=f"{GATEWAY}:10000", controlling=False)
    controlling = WebRtcOptions(listen=f"{BROWSER}:0", controlling=True)
    gateway, browser = (
        new_end(open_gateway(loop, controlled)),
        new_end(open_browser(loop, controlling)),
    )

    negotiate(browser, gateway)

    await until_connected(gateway, browser)
    await hang_up(gateway, browser)


@pytest.mark.rfc(8445, "6.1.1")
@in_virtual_time
async def test_whoever_meets_an_ice_lite_peer_controls(loop: VirtualLoop) -> None:
    controlled = WebRtcOptions(listen=f"{GATEWAY}:10000", controlling=False)
    gateway, browser = new_end(open_gateway(loop, controlled)), new_end(open_browser(loop))

    gateway.transport.accept(dataclasses.replace(browser.offer(), ice_lite=True))
    browser.transport.accept(gateway.offer())
    await until_connected(gateway, browser)

    assert binding_errors(loop) == []  # no role conflict had to be repaired
    await hang_up(gateway, browser)


@in_virtual_time
async def test_an_offer_without_candidates_connects(loop: VirtualLoop) -> None:
    gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))

    gateway.transport.accept(dataclasses.replace(browser.offer(), candidates=()))
    browser.transport.accept(gateway.offer())

    await until_connected(gateway, browser)
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_trickled_candidate_connects(loop: VirtualLoop) -> None:
    gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
    offer = browser.offer()
    gateway.transport.accept(dataclasses.replace(offer, candidates=()))
    # This browser knows no candidate of ours, so that only our checks can connect.
    browser.transport.accept(dataclasses.replace(gateway.offer(), candidates=()))
    await elapse(1.0)
    assert loop.network.sent == []

    gateway.transport.add_candidate(offer.candidates[0], "someone-elses-ufrag")
    gateway.transport.add_candidate("", offer.ice_ufrag)
    await elapse(1.0)
    assert loop.network.sent == []

    gateway.transport.add_candidate(offer.candidates[0], offer.ice_ufrag)

    await until_connected(gateway, browser)
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_lost_check_is_sent_again(loop: VirtualLoop) -> None:
    gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
    started_at = loop.time()
    loop.network.passes = lambda datagram: datagram.sent_at > started_at + 0.3

    negotiate(browser, gateway)
    took = await until_connected(gateway, browser)

    assert took == pytest.approx(0.5, abs=0.1)
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_browser_that_never_answers_fails_after_twelve_seconds(loop: VirtualLoop) -> None:
    gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
    loop.network.passes = lambda _datagram: False

    negotiate(browser, gateway)
    took = await until(lambda: bool(gateway.states), within=20)

    assert gateway.states == [TransportState.FAILED]
    assert took == pytest.approx(12.0, abs=0.2)
    await elapse(0.05)
    assert not gateway.port.mux.transactions
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_handshake_that_never_ends_fails_after_twelve_seconds(loop: VirtualLoop) -> None:
    gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
    loop.network.passes = lambda datagram: not is_dtls(datagram.data)

    negotiate(browser, gateway)
    took = await until(lambda: bool(gateway.states), within=20)

    assert gateway.states == [TransportState.FAILED]
    assert took == pytest.approx(12.0, abs=0.2)
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_certificate_that_was_not_announced_fails(loop: VirtualLoop) -> None:
    gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
    forged = (Fingerprint("sha-256", CERTIFICATE.fingerprint),)

    gateway.transport.accept(dataclasses.replace(browser.offer(), fingerprints=forged))
    browser.transport.accept(gateway.offer())
    await until(lambda: bool(gateway.states), within=5)
    browser.transport.send(rtp(1))
    await elapse(0.1)

    assert gateway.states == [TransportState.FAILED]
    assert gateway.packets == []
    await hang_up(gateway, browser)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ice_ufrag", None, "ice-ufrag"),
        ("ice_ufrag", "a b\r\n", "ice-ufrag"),
        ("ice_pwd", "short", "ice-pwd"),
        ("fingerprints", (), "fingerprints are none"),
        ("fingerprints", (Fingerprint("sha-1", "AA"),), "fingerprints are sha-1"),
        ("setup", "holdconn", "a=setup:holdconn"),
    ],
)
def test_an_offer_that_cannot_become_dtls_srtp_is_refused(
    name: str, value: object, message: str
) -> None:
    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
        offer = browser.offer()
        broken = dataclasses.replace(offer)
        setattr(broken, name, value)

        with pytest.raises(NegotiationError, match=message):
            gateway.transport.accept(broken)

        # Nothing has changed: a better offer is taken.
        gateway.transport.accept(offer)
        browser.transport.accept(gateway.offer())
        await until_connected(gateway, browser)
        await hang_up(gateway, browser)

    scenario()


@in_virtual_time
async def test_the_description_names_address_keys_and_candidates(loop: VirtualLoop) -> None:
    gateway = new_end(open_gateway(loop))

    described = gateway.transport.describe(MediaDescription(mid="0", rtcp_port=9))

    assert (described.mid, described.protocol) == ("0", "UDP/TLS/RTP/SAVPF")
    assert (described.address, described.port) == (GATEWAY, 10000)
    assert described.rtcp_mux
    assert described.rtcp_port is None
    assert described.candidates == (f"candidate:1 1 udp 2130706431 {GATEWAY} 10000 typ host",)
    assert described.end_of_candidates
    assert described.fingerprints == (Fingerprint("sha-256", CERTIFICATE.fingerprint),)
    assert len(described.ice_ufrag or "") >= 8
    assert len(described.ice_pwd or "") >= 22
    await hang_up(gateway)


@in_virtual_time
async def test_a_browser_that_leaves_says_so(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)

    browser.transport.close()
    await elapse(0.05)

    assert gateway.states == [TransportState.CONNECTED, TransportState.CLOSED]
    gateway.transport.send(rtp(1))
    assert gateway.transport.unsent == 1
    await hang_up(gateway, browser)


@in_virtual_time
async def test_closing_leaves_nothing_behind(loop: VirtualLoop) -> None:
    gateway_port, browser_port = open_gateway(loop), open_browser(loop)

    async def call() -> list[weakref.ref[object]]:
        gateway, browser = new_end(gateway_port), new_end(browser_port)
        negotiate(browser, gateway)
        await until_connected(gateway, browser)
        browser.transport.send(rtp(1))
        negotiate(browser, gateway, restart=True)
        await elapse(5)
        transport = gateway.transport
        paths = transport._ice.paths
        kept = [transport, transport._ice, transport._dtls, paths, paths.active]
        gateway.transport.close()
        gateway.transport.close()
        browser.transport.close()
        return [weakref.ref(each) for each in kept if each is not None]

    gc.collect()
    gc.disable()
    try:
        traces = await call()
        await elapse(0.5)
        left = [trace() for trace in traces if trace() is not None]
    finally:
        gc.enable()

    assert len(traces) == 5
    assert left == []
    for port in (gateway_port, browser_port):
        assert port.transports == 0
        assert port.mux.by_ufrag == {}
        assert port.mux.transactions == {}
        assert all(socket.routes == {} for socket in port.mux.sockets)
        assert port.counters.faults == 0
        await port.close()
    assert loop.network.open_addresses == set()


@in_virtual_time
async def test_closing_at_any_moment_leaves_nothing_behind(loop: VirtualLoop) -> None:
    gateway_port, browser_port = open_gateway(loop), open_browser(loop)
    loop.network.delay_s = 0.05

    for moment in range(10):
        gateway, browser = new_end(gateway_port), new_end(browser_port)
        negotiate(browser, gateway)
        await elapse(moment * 0.05)
        gateway.transport.close()
        browser.transport.close()
        states = list(gateway.states)
        await elapse(1.0)

        assert gateway.states == states  # no callback follows
        for port in (gateway_port, browser_port):
            assert port.mux.by_ufrag == {}
            assert port.mux.transactions == {}
            assert all(socket.routes == {} for socket in port.mux.sockets)
            assert port.counters.faults == 0

    await gateway_port.close()
    await browser_port.close()


@pytest.mark.parametrize("role", DtlsRole)
def test_closing_in_the_turn_in_which_a_record_comes_ends_the_handshake(role: DtlsRole) -> None:
    """The cancellation of who waits for that record may get lost."""

    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        options = WebRtcOptions(listen=f"{GATEWAY}:10000", dtls_role=role)
        gateway_port, browser_port = open_gateway(loop, options), open_browser(loop)
        loop.network.delay_s = 0.05

        for number in range(1, 4):
            gateway, browser = new_end(gateway_port), new_end(browser_port)
            negotiate(browser, gateway)
            for end in (gateway, browser):
                close_at_record(end.transport, number)
            await elapse(1.0)
            gateway.transport.close()
            browser.transport.close()

            for port in (gateway_port, browser_port):
                closes_at = loop.time()
                await port.close()
                assert loop.time() - closes_at < 0.5
            gateway_port, browser_port = open_gateway(loop, options), open_browser(loop)
        await hang_up(new_end(gateway_port), new_end(browser_port))

    scenario()


def close_at_record(transport: WebRtcTransport, number: int) -> None:
    """Close it as soon as so many datagrams of DTLS have come."""
    receive, left = transport.receive_dtls, itertools.count(number - 1, -1)

    def take(data: bytes, route: Route, _now: float) -> None:
        receive(data, route, _now)
        if next(left) == 0:
            transport.close()

    transport.receive_dtls = take  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "moment", [TransportState.CONNECTED, TransportState.FAILED, TransportState.CLOSED]
)
def test_the_owner_may_close_in_the_callback(moment: TransportState) -> None:
    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))

        def leave(state: TransportState) -> None:
            gateway.states.append(state)
            if state is moment:
                gateway.transport.close()

        gateway.transport.on_state = leave
        negotiate(browser, gateway)
        await elapse(1)
        if moment is TransportState.FAILED:
            loop.network.passes = lambda _datagram: False
        browser.transport.close()
        await elapse(40)

        assert gateway.states[-1] is moment
        assert gateway.port.transports == 0
        assert gateway.port.mux.by_ufrag == {}
        assert gateway.port.counters.faults == 0
        await hang_up(gateway, browser)

    scenario()


@in_virtual_time
async def test_the_owner_may_close_on_a_packet(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    gateway.transport.on_packet = lambda _packet, _now: gateway.transport.close()

    for sequence in range(10):
        browser.transport.send(rtp(sequence))
    await elapse(1)

    assert browser.states[-1] is TransportState.CLOSED
    assert gateway.port.counters.faults == 0
    await hang_up(gateway, browser)


@in_virtual_time
async def test_closing_the_port_says_goodbye_to_every_browser(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)

    await gateway.port.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    await elapse(0.05)

    assert len(left) == 1  # the browser's
    assert browser.states[-1] is TransportState.CLOSED
    assert (GATEWAY, 10000) not in loop.network.open_addresses
    await browser.port.close()


@in_virtual_time
async def test_a_bug_of_the_consumer_costs_one_line_a_second(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    gateway, browser = await connect(loop)
    taken: list[bytes] = []

    def broken(packet: bytes, _now: float) -> None:
        taken.append(packet)
        raise ZeroDivisionError

    gateway.transport.on_packet = broken

    for sequence in range(100):
        browser.transport.send(rtp(sequence))
        await elapse(0.02)

    assert len(taken) == 100
    assert gateway.port.counters.faults == 100
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert all("ZeroDivisionError" in line and "test_transport.py" in line for line in lines)
    assert not any(
        "\n" in line or record.exc_info for line, record in zip(lines, caplog.records, strict=True)
    )
    assert gateway.state is TransportState.CONNECTED
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_kernel_that_refuses_to_send_is_counted(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)

    def refuse(_data: bytes, _address: tuple[str, int]) -> int:
        raise OSError(101, "Network is unreachable")

    socket = gateway.port.mux.sockets[0]._socket
    socket.sendto = refuse  # type: ignore[method-assign]
    gateway.transport._retarget()
    gateway.transport.send(rtp(1))
    await elapse(8)  # a consent check falls into it, too

    assert gateway.transport.unsent == 1
    assert gateway.port.counters.send_errors >= 2
    assert gateway.state is TransportState.CONNECTED
    await hang_up(gateway, browser)

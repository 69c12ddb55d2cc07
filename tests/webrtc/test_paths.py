"""Which of several paths carries media: one that is lost, one that is left, one that NAT moves."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

import pytest

from gateway.net.media import TransportState
from gateway.webrtc.options import WebRtcOptions
from gateway.webrtc.paths import Paths
from tests.support.loop import Address, Datagram, VirtualLoop, elapse, in_virtual_time, until
from tests.webrtc.peers import (
    ATTACKER,
    BROWSER,
    GATEWAY,
    End,
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
    from collections.abc import Callable

    from gateway.webrtc.mux import MuxSocket, Route

CONNECTED, DISCONNECTED = TransportState.CONNECTED, TransportState.DISCONNECTED
OTHER_LINK = "198.51.100.2"
PORT = (GATEWAY, 10000)
BUDGET_S = 0.25
"What a lost path may cost where another is up."

_sequence = itertools.count()


def is_media(datagram: Datagram) -> bool:
    return 127 < datagram.data[0] < 192


def is_check(datagram: Datagram) -> bool:
    return datagram.data[:2] == b"\x00\x01"


def uses(datagram: Datagram, host: str) -> bool:
    return host in (datagram.source[0], datagram.destination[0])


class Line:
    """A connected gateway and browser, and when each heard what the other said."""

    def __init__(self, loop: VirtualLoop, gateway: End, browser: End) -> None:
        self.loop = loop
        self.gateway = gateway
        self.browser = browser
        self.up: list[float] = []
        self.down: list[float] = []
        gateway.transport.on_packet = lambda _packet, now: self.up.append(now)
        browser.transport.on_packet = lambda _packet, now: self.down.append(now)

    @property
    def address(self) -> Address:
        """Where the gateway sends."""
        return self.gateway.transport._address

    async def talk(self, seconds: float, *, up: bool = True, down: bool = True) -> None:
        """Fifty packets a second, both ways or one."""
        for _ in range(round(seconds * 50)):
            packet = rtp(next(_sequence) & 0xFFFF)
            if up:
                self.browser.transport.send(packet)
            if down:
                self.gateway.transport.send(packet)
            await elapse(0.02)

    def lose(self, host: str) -> None:
        """A black hole: nothing comes from there or gets there, and nobody is told."""
        self.loop.network.passes = lambda datagram: not uses(datagram, host)

    def checks(self, since: float) -> list[Datagram]:
        """What the gateway has asked."""
        sent = self.loop.network.sent
        return [d for d in sent if d.sent_at >= since and d.source == PORT and is_check(d)]

    async def close(self) -> None:
        assert self.gateway.port.counters.faults == 0
        await hang_up(self.gateway, self.browser)


def longest_gap(arrivals: list[float], since: float) -> float:
    """The longest silence from `since` on, until now or the last arrival."""
    times = [since, *(each for each in arrivals if each >= since)]
    return max(later - earlier for earlier, later in itertools.pairwise(times))


async def two_links(loop: VirtualLoop) -> Line:
    """A browser with two links up, talking for a second."""
    gateway = new_end(open_gateway(loop))
    options = WebRtcOptions(listen="0.0.0.0:0", controlling=False)
    browser = new_end(open_browser(loop, options, hosts=[BROWSER, OTHER_LINK]))
    negotiate(browser, gateway)
    await until_connected(gateway, browser)
    line = Line(loop, gateway, browser)
    await line.talk(1)
    return line


async def one_link(loop: VirtualLoop) -> Line:
    line = Line(loop, *await connect(loop))
    await line.talk(1)
    return line


def put_nat_before(line: Line, port: int = 50_000) -> list[Address]:
    """Have a NAT carry the browser's datagrams; its outer address is the last of what returns."""
    inner = (BROWSER, line.browser.port.port)
    outside = [("203.0.113.77", port)]

    def translate(datagram: Datagram) -> Datagram:
        if datagram.source == inner:
            return dataclasses.replace(datagram, source=outside[-1])
        if datagram.destination == outside[-1]:
            return dataclasses.replace(datagram, destination=inner)
        return datagram  # to a port that the NAT has forgotten: nobody is there

    line.loop.network.translate = translate
    return outside


# A path is lost while another is up.


@pytest.mark.parametrize("way", ["both", "up"])
def test_lost_link_is_replaced_within_a_quarter_of_a_second(way: str) -> None:
    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        line = await two_links(loop)
        first = line.address[0]
        cut_at = loop.time()

        loop.network.passes = lambda d: (
            first not in ((d.source[0], d.destination[0]) if way == "both" else (d.source[0],))
        )
        await line.talk(2)

        assert line.address[0] == ({BROWSER, OTHER_LINK} - {first}).pop()
        assert longest_gap(line.up, cut_at) <= BUDGET_S
        assert longest_gap(line.down, cut_at) <= BUDGET_S
        assert line.gateway.states == line.browser.states == [CONNECTED]
        await line.close()

    scenario()


@in_virtual_time
async def test_links_may_be_lost_in_turn(loop: VirtualLoop) -> None:
    line = await two_links(loop)
    began_at = loop.time()

    for _ in range(4):
        line.lose(line.address[0])
        await line.talk(1.5)

    assert longest_gap(line.up, began_at) <= BUDGET_S
    assert longest_gap(line.down, began_at) <= BUDGET_S
    assert line.gateway.states == [CONNECTED]
    await line.close()


@in_virtual_time
async def test_link_whose_downlink_alone_is_lost_is_left_when_it_answers_no_more(
    loop: VirtualLoop,
) -> None:
    line = await two_links(loop)
    first = line.address[0]
    cut_at = loop.time()

    loop.network.passes = lambda datagram: datagram.destination[0] != first
    await line.talk(9)

    assert line.address[0] != first
    assert longest_gap(line.up, cut_at) < 0.03
    assert longest_gap(line.down, cut_at) < 7.0
    await line.close()


@in_virtual_time
async def test_kernel_that_refuses_to_send_starts_the_search_at_once(loop: VirtualLoop) -> None:
    line = await two_links(loop)
    first = line.address[0]
    line.lose(first)
    cut_at = loop.time()
    transport, sendto = line.gateway.transport, line.gateway.transport._sendto

    def refuse(data: bytes, address: Address) -> int:
        if address[0] == first:
            raise OSError(101, "Network is unreachable")
        return sendto(data, address)

    transport._sendto = refuse
    await line.talk(1)

    assert longest_gap(line.down, cut_at) < 0.12
    await line.close()


@in_virtual_time
async def test_lost_path_without_another_is_waited_for(loop: VirtualLoop) -> None:
    line = await one_link(loop)
    line.lose(BROWSER)
    await line.talk(5)
    loop.network.passes = lambda _datagram: True
    mended_at = loop.time()

    await line.talk(1)

    assert line.gateway.states == [CONNECTED, DISCONNECTED, CONNECTED]
    assert longest_gap(line.up, mended_at) < 0.03
    await line.close()


# A path is not lost: the sender is quiet.


@in_virtual_time
async def test_browser_that_stops_sending_stays_where_it_is(loop: VirtualLoop) -> None:
    line = await two_links(loop)
    before = line.address
    since = loop.time()

    await line.talk(20, up=False)

    assert line.address == before
    media = [d for d in loop.network.sent if is_media(d) and d.sent_at >= since]
    assert {datagram.destination for datagram in media} == {before}
    await line.close()


@in_virtual_time
async def test_pauses_of_dtx_are_not_searched(loop: VirtualLoop) -> None:
    line = await two_links(loop)
    await elapse(1)
    since = loop.time()

    for _ in range(50):  # one packet in 400 ms (RFC 6716 §2.1.9)
        await line.talk(0.02, down=False)
        await elapse(0.38)

    assert {datagram.destination for datagram in line.checks(since)} == {line.address}
    assert len(line.checks(since)) < 8
    await line.close()


@in_virtual_time
async def test_one_lost_packet_costs_no_check(loop: VirtualLoop) -> None:
    line = await two_links(loop)
    since = loop.time()

    for _ in range(20):
        loop.network.passes = lambda _datagram: False
        await line.talk(0.1)
        loop.network.passes = lambda _datagram: True
        await line.talk(0.1)

    assert len(line.checks(since)) <= 1
    await line.close()


# The browser moves by itself.


@in_virtual_time
async def test_media_that_comes_over_the_other_link_is_followed(loop: VirtualLoop) -> None:
    line = await two_links(loop)
    other = ({BROWSER, OTHER_LINK} - {line.address[0]}).pop()
    socket = next(each for each in line.browser.port.mux.sockets if each.host == other)
    loop.network.delay_s = 0.03
    browser = line.browser.transport
    moved_at = loop.time()

    browser._sendto = socket.sendto
    took = await until_talked(line, lambda: line.address[0] == other)

    assert took < 0.12  # media, a check, its answer: three trips
    assert line.gateway.transport._target is not None
    assert longest_gap(line.up, moved_at) < 0.06
    await line.close()


@in_virtual_time
async def test_late_packets_of_the_old_path_do_not_lead_back(loop: VirtualLoop) -> None:
    line = await two_links(loop)
    first = line.address
    old = next(each for each in line.browser.port.mux.sockets if each.host == first[0])
    sender = line.browser.transport._srtp_sender
    assert sender is not None
    line.lose(first[0])
    await until_talked(line, lambda: line.address != first)
    loop.network.passes = lambda _datagram: True
    await line.talk(0.02)

    for _ in range(8):
        late = sender.protect(rtp(next(_sequence) & 0xFFFF))
        assert late is not None
        await line.talk(0.02)
        loop.network.carry(late, (old.host, old.port), PORT)
        await elapse(0)
        assert line.address != first

    await line.close()


async def until_talked(line: Line, claim: Callable[[], bool]) -> float:
    """Talk until `claim()` holds, a second at most; the seconds that took."""
    started_at = line.loop.time()
    while not claim():
        assert line.loop.time() - started_at < 1
        await line.talk(0.02)
    return line.loop.time() - started_at


# NAT gives the browser another port.


@in_virtual_time
async def test_rebinding_of_a_nat_costs_nothing_up_and_one_packet_down(loop: VirtualLoop) -> None:
    line = await one_link(loop)
    outside = put_nat_before(line)
    await line.talk(1)
    assert line.address == outside[-1]
    heard = len(line.up)
    since = loop.time()

    outside.append(("203.0.113.77", 50_001))
    await line.talk(1)

    assert line.address == outside[-1]
    assert len(line.up) == heard + 50
    assert longest_gap(line.down, since) <= 0.041
    assert line.gateway.port.counters.unknown_source == 0
    await line.close()


@in_virtual_time
async def test_nat_may_rebind_again_and_again(loop: VirtualLoop) -> None:
    line = await one_link(loop)
    outside = put_nat_before(line)
    await line.talk(1)
    began_at = loop.time()

    for port in range(50_001, 50_040):
        outside.append(("203.0.113.77", port))
        await line.talk(0.5)

    assert longest_gap(line.up, began_at) < 0.03
    assert longest_gap(line.down, began_at) <= BUDGET_S
    assert len(line.gateway.port.mux.sockets[0].routes) <= 16
    await line.close()


@in_virtual_time
async def test_rebinding_without_media_is_found_by_the_browsers_checks(loop: VirtualLoop) -> None:
    line = await one_link(loop)
    outside = put_nat_before(line)
    await elapse(20)
    outside.append(("203.0.113.77", 50_001))

    took = await until(lambda: line.address == outside[-1], within=10)

    assert took < 6.2  # the browser asks every 4 to 6 s
    assert line.gateway.states == [CONNECTED]
    await line.close()


@in_virtual_time
async def test_replayed_media_gets_no_answer(loop: VirtualLoop) -> None:
    line = await one_link(loop)
    recorded = [d.data for d in loop.network.sent if is_media(d) and d.destination == PORT]

    for data in recorded:
        loop.network.carry(data, ATTACKER, PORT)
    await elapse(1)

    assert loop.network.sent_to(ATTACKER[0]) == []
    assert line.gateway.port.counters.unknown_source == len(recorded)
    await line.close()


@in_virtual_time
async def test_media_that_overtakes_the_browsers_own_is_answered_by_checks_alone(
    loop: VirtualLoop,
) -> None:
    line = await one_link(loop)
    before = line.address
    began_at = loop.time()
    loop.network.passes = lambda datagram: (
        not (is_media(datagram) and datagram.source[0] == BROWSER)
    )

    for _ in range(50):  # somebody on the path sends the browser's packets on as its own
        sent = len(loop.network.sent)
        await line.talk(0.02)
        for datagram in loop.network.sent[sent:]:
            if is_media(datagram) and datagram.source[0] == BROWSER:
                loop.network.carry(datagram.data, ATTACKER, PORT)

    attracted = loop.network.sent_to(ATTACKER[0])
    assert all(is_check(datagram) for datagram in attracted)
    assert 0 < len(attracted) <= 11
    assert line.address == before
    assert loop.time() - began_at > 0.9
    await line.close()


@in_virtual_time
async def test_ssrc_of_another_caller_takes_nothing_from_it(loop: VirtualLoop) -> None:
    line = await one_link(loop)
    thief = Line(loop, *await same_port(loop, line))
    await thief.talk(1)  # with the same SSRC as everybody in these tests
    outside = put_nat_before(line)

    outside.append(("203.0.113.77", 50_001))
    await line.talk(1)
    await thief.talk(1)

    assert line.address == outside[-1]
    assert thief.address[1] == thief.browser.port.port
    assert len(line.up) == 100
    assert len(thief.up) == 100
    thief.gateway.transport.close()
    await thief.browser.port.close()
    await line.close()


async def same_port(loop: VirtualLoop, line: Line) -> tuple[End, End]:
    """One more browser at the same gateway."""
    gateway, browser = new_end(line.gateway.port), new_end(open_browser(loop))
    negotiate(browser, gateway)
    await until_connected(gateway, browser)
    return gateway, browser


# Restarts beside all that.


@in_virtual_time
async def test_restart_on_an_unchanged_path_loses_nothing(loop: VirtualLoop) -> None:
    line = await two_links(loop)
    loop.network.delay_s = 0.02
    await line.talk(1)
    began_at = loop.time()

    for _ in range(4):
        negotiate(line.browser, line.gateway, restart=True)
        await line.talk(1)

    assert longest_gap(line.up, began_at) < 0.03
    assert longest_gap(line.down, began_at) < 0.03
    await line.close()


@in_virtual_time
async def test_four_restarts_at_once_lose_nothing(loop: VirtualLoop) -> None:
    line = await two_links(loop)
    loop.network.delay_s = 0.02
    await line.talk(1)
    began_at = loop.time()

    for _ in range(4):
        negotiate(line.browser, line.gateway, restart=True)
        await line.talk(0.02)
    await line.talk(6)

    assert longest_gap(line.up, began_at) < 0.03
    assert longest_gap(line.down, began_at) < 0.03
    assert len(line.gateway.port.mux.by_ufrag) == 1
    await line.close()


@in_virtual_time
async def test_link_that_is_lost_right_after_a_restart_is_replaced(loop: VirtualLoop) -> None:
    line = await two_links(loop)
    negotiate(line.browser, line.gateway, restart=True)
    await line.talk(1)
    newest = line.gateway.offer().ice_ufrag
    cut_at = loop.time()

    line.lose(line.address[0])
    await line.talk(6)

    assert longest_gap(line.up, cut_at) <= BUDGET_S
    assert longest_gap(line.down, cut_at) <= BUDGET_S
    # Both generations answered the search; what is left is the newest.
    assert [ufrag.decode() for ufrag in line.gateway.port.mux.by_ufrag] == [newest]
    await line.close()


class Generation:
    """An ICE generation that keeps whom it asked."""

    is_over = False

    def __init__(self, number: int) -> None:
        self.number = number
        self.asked: list[Route] = []

    def ask(self, route: Route, *, nominate: bool) -> None:
        self.asked.append(route)

    def told_paths(self) -> list[tuple[MuxSocket, Address]]:
        return []

    def receive_request(self, socket: MuxSocket, data: bytes, address: Address, now: float) -> None:
        """Nobody calls."""


@pytest.mark.parametrize("first", ["older", "newer"])
def test_newer_generation_is_taken_where_both_answer_a_search(first: str) -> None:
    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        gateway = new_end(open_gateway(loop))
        paths = Paths(gateway.port.mux, gateway.transport, on_target=lambda: None)
        socket = gateway.port.mux.sockets[0]
        older, newer = Generation(1), Generation(2)
        used = paths.validate(newer, socket, (BROWSER, 1), loop.time())
        routes = [
            paths.validate(older, socket, (BROWSER, 2), loop.time()),
            paths.validate(newer, socket, (BROWSER, 3), loop.time()),
        ]
        assert used is not None
        paths.use(used, newer, loop.time())

        paths.suspect(loop.time())
        await elapse(0.06)
        for route in routes if first == "older" else reversed(routes):
            assert route is not None
            assert route in route.server.asked  # type: ignore[attr-defined]
            paths.consent(route, loop.time())

        assert paths.target is routes[1]
        paths.close()
        await hang_up(gateway)

    scenario()


@pytest.mark.parametrize(("after_s", "goes_back"), [(0.3, False), (1.1, True)])
def test_path_that_was_just_taken_has_a_second_to_bring_media(
    after_s: float, goes_back: bool
) -> None:
    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        gateway = new_end(open_gateway(loop))
        paths = Paths(gateway.port.mux, gateway.transport, on_target=lambda: None)
        socket, generation = gateway.port.mux.sockets[0], Generation(1)
        old = paths.validate(generation, socket, (BROWSER, 1), loop.time())
        new = paths.validate(generation, socket, (BROWSER, 2), loop.time())
        assert old is not None
        assert new is not None
        paths.use(new, generation, loop.time())

        await elapse(after_s)
        old.media_at = loop.time()
        paths.follow(old, loop.time())
        paths.consent(old, loop.time())

        assert generation.asked[0] is old
        assert paths.target is (old if goes_back else new)
        paths.close()
        await hang_up(gateway)

    scenario()


@in_virtual_time
async def test_nothing_is_asked_any_more_after_the_end(loop: VirtualLoop) -> None:
    line = await two_links(loop)
    loop.network.passes = lambda _datagram: False
    await elapse(0.1)

    line.gateway.transport.close()
    await elapse(0.01)
    closed_at = loop.time()
    await elapse(5)

    assert line.checks(closed_at) == []
    assert line.gateway.port.mux.by_ssrc == {}
    await line.close()

"""Where a gateway may stand: behind a 1:1 NAT, with several addresses, with IPv6."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.net.media import TransportState
from gateway.sdp.description import MediaDescription
from gateway.webrtc.options import WebRtcOptions
from gateway.webrtc.port import WebRtcPort
from tests.support.loop import Datagram, VirtualLoop, elapse, in_virtual_time
from tests.webrtc.peers import (
    BROWSER,
    End,
    hang_up,
    negotiate,
    new_end,
    open_browser,
    open_gateway,
    rtp,
    until_connected,
)
from tests.webrtc.test_real import are_connected, has_heard, on_uvloop, open_port, until

INSIDE, OTHER_INSIDE = "10.0.0.5", "10.0.1.5"
OUTSIDE, OTHER_OUTSIDE = "203.0.113.7", "198.51.100.7"
SIX, BROWSER_SIX = "2001:db8::7", "2001:db8:1::2"


def translate_one_to_one(loop: VirtualLoop, pairs: dict[str, str]) -> None:
    """Public addresses that stand for private ones; nobody reaches these by themselves."""
    private = {inside: outside for outside, inside in pairs.items()}

    def translate(datagram: Datagram) -> Datagram:
        source, destination = datagram.source, datagram.destination
        if source[0] in private:
            source = (private[source[0]], source[1])
        if destination[0] in pairs:
            destination = (pairs[destination[0]], destination[1])
        return dataclasses.replace(datagram, source=source, destination=destination)

    loop.network.translate = translate
    loop.network.passes = lambda datagram: datagram.destination[0] not in private


async def talk_both_ways(gateway: End, browser: End) -> None:
    gateway.transport.send(rtp(1))
    browser.transport.send(rtp(1))
    await elapse(0.1)
    assert (gateway.packets, browser.packets) == ([rtp(1)], [rtp(1)])


def told(port: WebRtcPort) -> list[str]:
    described = port.new_transport().describe(MediaDescription())
    return [candidate.split()[4] for candidate in described.candidates]


@in_virtual_time
async def test_browser_reaches_a_gateway_behind_a_one_to_one_nat(loop: VirtualLoop) -> None:
    translate_one_to_one(loop, {OUTSIDE: INSIDE})
    options = WebRtcOptions(advertise=(OUTSIDE,))
    gateway = new_end(open_gateway(loop, options, hosts=[INSIDE]))
    browser = new_end(open_browser(loop))

    negotiate(browser, gateway)
    await until_connected(gateway, browser)

    await talk_both_ways(gateway, browser)
    assert INSIDE not in {datagram.destination[0] for datagram in loop.network.sent}
    await hang_up(gateway, browser)


@in_virtual_time
async def test_browser_reaches_whichever_of_several_addresses_it_can(loop: VirtualLoop) -> None:
    translate_one_to_one(loop, {OUTSIDE: INSIDE, OTHER_OUTSIDE: OTHER_INSIDE})
    is_private = loop.network.passes
    loop.network.passes = lambda each: (
        is_private(each) and (each.destination[0] != OUTSIDE and each.source[0] != INSIDE)
    )
    options = WebRtcOptions(advertise=(OUTSIDE, OTHER_OUTSIDE))
    gateway = new_end(open_gateway(loop, options, hosts=[INSIDE, OTHER_INSIDE]))
    browser = new_end(open_browser(loop))

    negotiate(browser, gateway)
    await until_connected(gateway, browser)

    await talk_both_ways(gateway, browser)
    await hang_up(gateway, browser)


@in_virtual_time
async def test_addresses_are_told_in_the_order_of_the_configuration(loop: VirtualLoop) -> None:
    options = WebRtcOptions(advertise=(OUTSIDE, SIX, OTHER_OUTSIDE))

    port = open_gateway(loop, options, hosts=[INSIDE, OTHER_INSIDE, SIX])

    described = port.new_transport().describe(MediaDescription())
    assert told(port) == [OUTSIDE, SIX, OTHER_OUTSIDE]
    assert described.address == OUTSIDE
    await port.close()


@pytest.mark.parametrize("browser_host", [BROWSER, BROWSER_SIX])
def test_gateway_of_both_families_is_reached_by_a_browser_of_either(browser_host: str) -> None:
    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        is_six = ":" in browser_host
        loop.network.passes = lambda each: (":" in each.source[0]) == (":" in each.destination[0])
        options = WebRtcOptions(listen="[::]:10000")
        gateway = new_end(open_gateway(loop, options, hosts=[INSIDE, SIX]))
        listen = f"[{browser_host}]:0" if is_six else f"{browser_host}:0"
        own = WebRtcOptions(listen=listen, controlling=False)
        browser = new_end(open_browser(loop, own, hosts=[browser_host]))

        negotiate(browser, gateway)
        await until_connected(gateway, browser)

        await talk_both_ways(gateway, browser)
        used = {each.destination[0] for each in loop.network.sent if each.source[0] == browser_host}
        assert (SIX if is_six else INSIDE) in used
        await hang_up(gateway, browser)

    scenario()


@pytest.mark.real
@on_uvloop
async def test_media_flows_over_ipv6() -> None:
    gateway = new_end(open_port(WebRtcOptions(listen="[::1]:0")))
    browser = new_end(open_port(WebRtcOptions(listen="[::1]:0", controlling=False)))

    negotiate(browser, gateway)
    await until(lambda: are_connected((gateway, browser)), within=10)
    for end in (gateway, browser):
        end.transport.send(rtp(1))
    await until(lambda: has_heard(gateway) and has_heard(browser), within=5)

    assert {gateway.state, browser.state} == {TransportState.CONNECTED}
    await hang_up(gateway, browser)

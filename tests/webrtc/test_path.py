"""Paths that break, come back, and are replaced by ICE restarts, in virtual time."""

from __future__ import annotations

import dataclasses
import random

import pytest

from gateway.net.media import TransportState
from gateway.webrtc.generation import MAX_CHECKS_OPEN
from gateway.webrtc.ice import MAX_GENERATIONS
from gateway.webrtc.options import WebRtcOptions
from tests.support.loop import VirtualLoop, elapse, in_virtual_time, until
from tests.webrtc.peers import (
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

CONNECTED, DISCONNECTED, FAILED = (
    TransportState.CONNECTED,
    TransportState.DISCONNECTED,
    TransportState.FAILED,
)


async def talk(*ends: End, seconds: float, first: int = 0) -> int:
    """Each end sends 50 packets a second; the next sequence number."""
    sequence = first
    for sequence in range(first, first + round(seconds * 50)):
        for end in ends:
            end.transport.send(rtp(sequence & 0xFFFF))
        await elapse(0.02)
    return sequence + 1


def cut(loop: VirtualLoop) -> None:
    loop.network.passes = lambda _datagram: False


def mend(loop: VirtualLoop) -> None:
    loop.network.passes = lambda _datagram: True


@in_virtual_time
async def test_a_path_that_carried_media_is_lost_after_two_seconds(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    await talk(gateway, browser, seconds=3)

    cut(loop)
    took = await until(lambda: gateway.state is DISCONNECTED, within=5)

    assert took == pytest.approx(2.0, abs=0.15)
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_path_without_media_is_lost_after_twelve_seconds(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    await elapse(20)
    assert gateway.state is CONNECTED

    cut(loop)
    took = await until(lambda: gateway.state is DISCONNECTED, within=20)

    # Counted from the last check, which was up to six seconds before the cut.
    assert 5.5 < took < 12.2
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_browser_that_stops_sending_is_still_there(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    await talk(browser, seconds=2)

    await elapse(60)

    assert gateway.states == [CONNECTED]
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_path_that_comes_back_is_connected_again(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    sequence = await talk(gateway, browser, seconds=2)
    cut(loop)
    await elapse(26)
    assert len(gateway.port.mux.transactions) == MAX_CHECKS_OPEN
    mend(loop)

    await talk(gateway, browser, seconds=1, first=sequence)

    assert gateway.states == [CONNECTED, DISCONNECTED, CONNECTED]
    assert len(gateway.packets) >= 149
    await hang_up(gateway, browser)


@in_virtual_time
async def test_media_is_sent_while_disconnected(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    await talk(browser, seconds=2)
    loop.network.passes = lambda datagram: datagram.source[0] != BROWSER  # uplink only

    await until(lambda: gateway.state is DISCONNECTED, within=5)
    gateway.transport.send(rtp(1))
    await elapse(0.1)

    assert browser.packets == [rtp(1)]
    await hang_up(gateway, browser)


@pytest.mark.rfc(7675, "5.1")
@in_virtual_time
async def test_consent_expires_thirty_seconds_after_the_last_response(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    await elapse(20)
    responses = [
        d.sent_at for d in loop.network.sent if d.source[0] == BROWSER and d.data[:2] == b"\x01\x01"
    ]

    cut(loop)
    await until(lambda: gateway.state is FAILED, within=60)

    assert loop.time() == pytest.approx(responses[-1] + 30, abs=0.2)
    assert gateway.states == [CONNECTED, DISCONNECTED, FAILED]
    sent = len(loop.network.sent_to(BROWSER))
    gateway.transport.send(rtp(1))
    await elapse(10)
    assert len(loop.network.sent_to(BROWSER)) == sent  # nothing more, not even checks
    await hang_up(gateway, browser)


@in_virtual_time
async def test_consent_expires_though_media_still_comes(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    loop.network.passes = lambda datagram: (
        not (datagram.source[0] == BROWSER and datagram.data[:2] == b"\x01\x01")
    )

    await talk(browser, seconds=31)

    assert gateway.states == [CONNECTED, FAILED]
    await hang_up(gateway, browser)


@in_virtual_time
async def test_responses_that_take_two_seconds_count(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    loop.network.delay_s = 1.0

    await talk(browser, seconds=90)

    assert gateway.states == [CONNECTED]
    await hang_up(gateway, browser)


@in_virtual_time
async def test_half_of_all_packets_may_be_lost(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    chance = random.Random(7)
    loop.network.passes = lambda _datagram: chance.random() < 0.5

    await talk(browser, seconds=120)

    assert gateway.states == [CONNECTED]
    await hang_up(gateway, browser)


# Restarts.


@pytest.mark.rfc(8839, "4.4.1.1.1")
@in_virtual_time
async def test_a_restart_changes_the_path_and_keeps_the_keys(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    sequence = await talk(gateway, browser, seconds=1)
    before = gateway.offer().ice_ufrag
    loop.network.sent.clear()

    negotiate(browser, gateway, restart=True)
    sequence = await talk(gateway, browser, seconds=6, first=sequence)

    assert gateway.offer().ice_ufrag != before
    assert not any(19 < d.data[0] < 64 for d in loop.network.sent)  # no DTLS
    assert gateway.packets == browser.packets == [rtp(n) for n in range(sequence)]
    assert gateway.states == browser.states == [CONNECTED]
    assert len(gateway.port.mux.by_ufrag) == 1  # the old generation has retired
    await hang_up(gateway, browser)


@in_virtual_time
async def test_the_gateway_can_offer_a_restart(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    before = browser.offer().ice_ufrag
    offer = gateway.offer(restart=True)

    browser.transport.accept(offer)
    answer = browser.offer()
    gateway.transport.accept(answer)
    await talk(gateway, browser, seconds=1)

    assert offer.setup == "actpass"
    assert answer.setup in ("active", "passive")
    assert answer.ice_ufrag != before
    assert len(gateway.packets) == len(browser.packets) == 50
    await hang_up(gateway, browser)


@in_virtual_time
async def test_an_offer_without_a_restart_changes_nothing(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    before = gateway.offer().ice_ufrag, gateway.offer().ice_pwd
    sent = len(loop.network.sent)

    negotiate(browser, gateway)
    await elapse(1)

    assert (gateway.offer().ice_ufrag, gateway.offer().ice_pwd) == before
    assert len(loop.network.sent) == sent
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_new_ufrag_with_the_old_pwd_is_no_restart(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    before = gateway.offer().ice_ufrag

    gateway.transport.accept(dataclasses.replace(browser.offer(), ice_ufrag="changed1"))

    assert gateway.offer().ice_ufrag == before
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_restart_that_gets_nowhere_leaves_the_old_path(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    before = gateway.offer().ice_ufrag

    # The answer never reaches the browser, which rolls back.
    gateway.transport.accept(
        dataclasses.replace(browser.offer(), ice_ufrag="unheard1", ice_pwd="x" * 24, candidates=())
    )
    await talk(gateway, browser, seconds=20)

    assert gateway.states == [CONNECTED]
    assert len(gateway.packets) == 1000
    assert gateway.offer().ice_ufrag == before
    assert len(gateway.port.mux.by_ufrag) == 1
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_restart_that_we_offered_in_vain_is_withdrawn(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    before = gateway.offer().ice_ufrag
    gateway.offer(restart=True)

    negotiate(browser, gateway)  # the browser offers instead, without a restart

    assert gateway.offer().ice_ufrag == before
    assert len(gateway.port.mux.by_ufrag) == 1
    await hang_up(gateway, browser)


@in_virtual_time
async def test_restarts_faster_than_they_complete_settle(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    loop.network.delay_s = 0.1
    sequence = 0

    for _ in range(10):
        negotiate(browser, gateway, restart=True)
        sequence = await talk(gateway, browser, seconds=0.04, first=sequence)
    await talk(gateway, browser, seconds=5, first=sequence)
    await elapse(0.2)

    assert gateway.packets == browser.packets == [rtp(n) for n in range(270)]
    assert gateway.states == [CONNECTED]
    assert len(gateway.port.mux.by_ufrag) == 1
    await hang_up(gateway, browser)


@in_virtual_time
async def test_restarts_that_lead_nowhere_do_not_pile_up(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    offer = browser.offer()

    for n in range(20):
        gateway.transport.accept(
            dataclasses.replace(offer, ice_ufrag=f"restart{n}", ice_pwd=f"{n:024}")
        )
        await elapse(0.01)

    assert len(gateway.port.mux.by_ufrag) == MAX_GENERATIONS
    await talk(gateway, browser, seconds=15)
    assert len(gateway.packets) == len(browser.packets) == 750
    assert len(gateway.port.mux.by_ufrag) == 1
    await hang_up(gateway, browser)


@in_virtual_time
async def test_an_old_generation_that_comes_late_does_not_take_over(loop: VirtualLoop) -> None:
    gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
    started_at = loop.time()
    negotiate(browser, gateway)
    held_up = (gateway.offer().ice_ufrag or "").encode()
    # Checks of the first generation get through half a second late.
    loop.network.passes = lambda d: held_up not in d.data or d.sent_at > started_at + 0.3
    gateway.transport.accept(browser.offer(restart=True))
    browser.transport.accept(gateway.offer())
    newest = gateway.offer().ice_ufrag

    await until_connected(gateway, browser)
    await elapse(2)

    assert [ufrag.decode() for ufrag in gateway.port.mux.by_ufrag][-1] == newest
    await elapse(10)
    checks = [d.data for d in loop.network.sent_to(BROWSER) if d.data[:2] == b"\x00\x01"]
    assert newest is not None
    assert newest.encode() in checks[-1]
    await hang_up(gateway, browser)


@in_virtual_time
async def test_media_from_the_old_path_is_taken_as_long_as_it_comes(loop: VirtualLoop) -> None:
    gateway = new_end(open_gateway(loop))
    two_links = WebRtcOptions(listen="0.0.0.0:0", controlling=False)
    browser = new_end(open_browser(loop, two_links, hosts=[BROWSER, "198.51.100.2"]))
    offer = browser.offer()
    gateway.transport.accept(dataclasses.replace(offer, candidates=offer.candidates[:1]))
    browser.transport.accept(gateway.offer())
    await until_connected(gateway, browser)
    offer = browser.offer(restart=True)
    gateway.transport.accept(dataclasses.replace(offer, candidates=offer.candidates[1:]))
    # The new generation is told of the second link only, and sees only that.
    loop.network.passes = lambda d: (
        BROWSER not in (d.source[0], d.destination[0]) or d.data[0] > 127
    )
    browser.transport.accept(gateway.offer())
    old_link = browser.port.mux.sockets[0]
    sender = browser.transport._srtp_sender
    assert sender is not None

    for sequence in range(500):
        packet = sender.protect(rtp(sequence))
        assert packet is not None
        loop.network.carry(packet, (BROWSER, old_link.port), (GATEWAY, 10000))
        await elapse(0.02)
    moved_to = gateway.transport._address[0]
    await elapse(2)
    loop.network.carry(b"\x80" * 100, (BROWSER, old_link.port), (GATEWAY, 10000))
    await elapse(0.1)

    assert moved_to == "198.51.100.2"
    assert len(gateway.packets) == 500
    assert gateway.port.counters.unknown_source == 1
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_restart_mends_a_lost_path(loop: VirtualLoop) -> None:
    gateway = new_end(open_gateway(loop))
    other_link = "198.51.100.2"
    hosts = [BROWSER, other_link]
    two_links = WebRtcOptions(listen="0.0.0.0:0", controlling=False)
    browser = new_end(open_browser(loop, two_links, hosts=hosts))
    offer = browser.offer()
    offer.candidates = offer.candidates[:1]
    loop.network.passes = lambda d: other_link not in (d.source[0], d.destination[0])
    gateway.transport.accept(offer)
    browser.transport.accept(gateway.offer())
    await until_connected(gateway, browser)
    sequence = await talk(gateway, browser, seconds=1)

    cut(loop)
    await until(lambda: gateway.state is DISCONNECTED, within=3)
    heard = len(gateway.packets)
    loop.network.passes = lambda d: BROWSER not in (d.source[0], d.destination[0])
    negotiate(browser, gateway, restart=True)
    await talk(gateway, browser, seconds=1, first=sequence)

    assert gateway.states == [CONNECTED, DISCONNECTED, CONNECTED]
    assert len(gateway.packets) > heard + 45
    assert gateway.transport._address[0] == "198.51.100.2"
    await hang_up(gateway, browser)


@in_virtual_time
async def test_an_answer_leaves_from_the_address_that_was_asked(loop: VirtualLoop) -> None:
    homes = [GATEWAY, "198.51.100.1"]
    everywhere = WebRtcOptions(listen="0.0.0.0:10000")
    gateway = new_end(open_gateway(loop, everywhere, hosts=homes))
    browser = new_end(open_browser(loop))
    # The first of our addresses cannot be reached from there, nor reach it.
    loop.network.passes = lambda d: GATEWAY not in (d.source[0], d.destination[0])

    negotiate(browser, gateway)
    await until_connected(gateway, browser)
    await talk(gateway, browser, seconds=1)

    assert len(gateway.packets) == len(browser.packets) == 50
    assert gateway.transport._address[0] == BROWSER
    arrived = [d for d in loop.network.sent if loop.network.passes(d)]
    assert {d.source[0] for d in arrived} == {BROWSER, "198.51.100.1"}
    await hang_up(gateway, browser)


@in_virtual_time
async def test_one_pair_is_nominated_though_several_work(loop: VirtualLoop) -> None:
    everywhere = WebRtcOptions(listen="0.0.0.0:10000")
    gateway = new_end(open_gateway(loop, everywhere, hosts=[GATEWAY, "198.51.100.1"]))
    two_links = WebRtcOptions(listen="0.0.0.0:0", controlling=False)
    browser = new_end(open_browser(loop, two_links, hosts=[BROWSER, "198.51.100.2"]))

    negotiate(browser, gateway)
    await until_connected(gateway, browser)
    await talk(gateway, browser, seconds=2)

    media = {(d.source, d.destination) for d in loop.network.sent if 127 < d.data[0] < 192}
    assert len(media) == 2  # one pair, both ways
    await hang_up(gateway, browser)


@pytest.mark.rfc(8842, "4")
@in_virtual_time
async def test_a_new_fingerprint_is_a_new_association(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    other = new_end(open_gateway(loop, WebRtcOptions(listen="198.51.100.7:0", controlling=False)))
    browser.transport.close()
    await elapse(0)

    gateway.transport.accept(other.offer())
    other.transport.accept(gateway.offer())
    await until_connected(other)
    other.transport.send(rtp(7))
    await elapse(0.1)

    assert gateway.packets == [rtp(7)]
    await hang_up(gateway, browser, other)

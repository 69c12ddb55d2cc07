"""What strangers and dishonest peers send, in virtual time: nothing of it may matter."""

from __future__ import annotations

import dataclasses
import random
import socket
import struct
import time

import pytest
from aioice import stun

from gateway.net.media import TransportState
from gateway.webrtc.generation import MAX_EARLY_CHECKS, MAX_REMOTE_CANDIDATES
from gateway.webrtc.mux import MAX_ERROR_REPLIES, MAX_ERROR_SOURCES
from gateway.webrtc.options import WebRtcOptions
from gateway.webrtc.paths import MAX_ASKS_UNPROVEN, MAX_ROUTES, MAX_UNPROVEN
from tests.support.loop import Datagram, VirtualLoop, elapse, in_virtual_time
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

PORT = (GATEWAY, 10000)
COOKIE = b"\x21\x12\xa4\x42"

CLIENT_HELLO = bytes.fromhex("16feff0000000000000000003c010000300000000000000030fefd") + bytes(46)
FATAL_ALERT = bytes.fromhex("15fefd00000000000000000002022f")
SPRAY = (
    CLIENT_HELLO,
    FATAL_ALERT,
    b"",
    b"\x80" * 2000,
    b"\x16" * 2000,
    b"\x80\x6f" + bytes(60),
    b"\xff" * 40,
    b"\x40\x00" + bytes(40),
)


def binding_request(username: str, key: bytes, **attributes: object) -> bytes:
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["USERNAME"] = username
    request.attributes["PRIORITY"] = 1
    request.attributes["ICE-CONTROLLED"] = 1
    request.attributes.update(attributes)
    request.add_message_integrity(key)
    return bytes(request)


def username(browser: End, gateway: End) -> str:
    return f"{gateway.offer().ice_ufrag}:{browser.offer().ice_ufrag}"


@pytest.mark.parametrize("is_trickled", [False, True])
def test_a4_stranger_cannot_disturb_a_set_up(is_trickled: bool) -> None:
    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
        loop.network.delay_s = 0.02
        offer = browser.offer()
        gateway.transport.accept(
            dataclasses.replace(offer, candidates=()) if is_trickled else offer
        )
        browser.transport.accept(gateway.offer())

        for turn in range(100):
            for datagram in SPRAY:
                loop.network.carry(datagram, ATTACKER, PORT)
                loop.network.carry(datagram, ATTACKER, (BROWSER, 40000))
            if is_trickled and turn == 5:
                gateway.transport.add_candidate(offer.candidates[0], offer.ice_ufrag)
            await elapse(0.005)
        await elapse(0.1)

        assert gateway.states == browser.states == [TransportState.CONNECTED]
        assert loop.network.sent_to(ATTACKER[0]) == []
        counters = gateway.port.counters
        assert (counters.oversize, counters.unknown_source) == (300, 300)
        assert (counters.malformed, counters.faults) == (200, 0)
        await hang_up(gateway, browser)

    scenario()


@in_virtual_time
async def test_forged_packets_from_the_peers_address_do_no_harm(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    source = browser.port.mux.sockets[0]
    chance = random.Random(1)
    noise = [bytes([chance.randrange(256)]) + chance.randbytes(80) for _ in range(2000)]

    for datagram in (*SPRAY, *noise):
        loop.network.carry(datagram, (source.host, source.port), PORT)
    await elapse(1)
    browser.transport.send(rtp(1))
    await elapse(0.1)

    assert gateway.packets == [rtp(1)]
    assert gateway.states == [TransportState.CONNECTED]
    assert gateway.port.counters.faults == 0
    await hang_up(gateway, browser)


@in_virtual_time
async def test_media_from_elsewhere_is_not_taken(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    browser.transport.send(rtp(1))
    await elapse(0.1)
    recorded = loop.network.sent[-1].data

    loop.network.carry(recorded, ATTACKER, PORT)
    loop.network.carry(recorded, (BROWSER, 40000), PORT)
    await elapse(0.1)

    assert gateway.packets == [rtp(1)]  # once: not from elsewhere, and no replay
    assert gateway.port.counters.unknown_source == 1
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a5_request_for_an_unknown_ufrag_gets_silence(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)

    for data in (
        binding_request("nobody12:x", b"k"),
        binding_request("nocolon", b"k"),
        b"\x00\x01\x00\x00" + COOKIE + bytes(12),
        b"\x00\x01\x00\x00" + bytes(16),
        b"\x00",
    ):
        loop.network.carry(data, ATTACKER, PORT)
    await elapse(0.1)

    assert loop.network.sent_to(ATTACKER[0]) == []
    assert gateway.port.counters.unknown_ufrag == 3
    assert gateway.port.counters.malformed == 2
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a5_errors_are_ten_a_second_for_each_source(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    wrong_key = binding_request(username(browser, gateway), b"wrong")
    other = ("203.0.113.10", 7777)

    for _ in range(2000):
        loop.network.carry(wrong_key, ATTACKER, PORT)
    loop.network.carry(wrong_key, other, PORT)
    await elapse(1.5)

    replies = loop.network.sent_to(ATTACKER[0])
    # The port reads 64 a turn, in no virtual time at all.
    assert len(replies) == MAX_ERROR_REPLIES
    assert all(len(reply.data) <= 2.5 * len(wrong_key) for reply in replies)
    assert len(loop.network.sent_to(other[0])) <= 1
    loop.network.carry(wrong_key, ATTACKER, PORT)
    await elapse(0.1)
    assert len(loop.network.sent_to(ATTACKER[0])) == MAX_ERROR_REPLIES + 1
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a5_flood_of_forged_sources_is_not_reflected_nor_kept(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    header = b"\x00\x01\x00\x00" + COOKIE
    wrong_key = binding_request(username(browser, gateway), b"wrong")
    tables = (gateway.port.mux.by_ufrag, gateway.port.mux.sockets[0].routes)
    kept = [dict(table) for table in tables]
    taken = 0
    started = time.process_time()

    for n in range(4000):
        source = (f"198.51.{n % 251}.{n % 241}", 1024 + n)
        data = wrong_key if n % 2 else header + n.to_bytes(12, "big")
        taken += len(data)
        loop.network.carry(data, source, PORT)
        if n % 64 == 63:
            await elapse(0.032)
    spent = time.process_time() - started
    await elapse(1)

    given = sum(len(d.data) for d in loop.network.sent if d.destination[0].startswith("198.51."))
    assert 0 < given <= 2.5 * taken
    assert [dict(table) for table in tables] == kept
    assert not gateway.port.mux.transactions
    assert len(gateway.port.mux._errors._spent) <= MAX_ERROR_SOURCES
    # Two seconds of a flood of 2000 a second, the test's own part included.
    assert spent < 0.4
    assert gateway.state is TransportState.CONNECTED
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a5_checks_that_come_before_the_answer_are_kept_within_bounds(
    loop: VirtualLoop,
) -> None:
    gateway = new_end(open_gateway(loop))
    described = gateway.offer()
    name, key = f"{described.ice_ufrag}:peer", (described.ice_pwd or "").encode()

    for n in range(500):
        loop.network.carry(binding_request(name, key), ("198.51.100.9", 5000 + n), PORT)
        await elapse(0)
    await elapse(0.1)

    assert len(gateway.transport._ice._current._early_checks) == MAX_EARLY_CHECKS
    assert len(gateway.port.mux.sockets[0].routes) <= MAX_ROUTES
    await hang_up(gateway)


@in_virtual_time
async def test_a5_source_needs_the_password_to_be_heard(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    loop.network.carry(binding_request(username(browser, gateway), b"wrong"), ATTACKER, PORT)

    loop.network.carry(FATAL_ALERT, ATTACKER, PORT)
    loop.network.carry(b"\x80" * 100, ATTACKER, PORT)
    await elapse(0.1)

    assert gateway.port.counters.unknown_source == 2
    await hang_up(gateway, browser)


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "127.0.0.1", "0.0.0.0", "224.0.0.5", "255.255.255.255"]
)
def test_a7_no_check_goes_to_a_forbidden_candidate(host: str) -> None:
    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
        target = f"candidate:1 1 udp 2130706431 {host} 80 typ host"
        offer = dataclasses.replace(browser.offer(), candidates=(target,))

        gateway.transport.accept(offer)
        gateway.transport.add_candidate(target, offer.ice_ufrag)
        gateway.transport.add_candidate(f"{target} ufrag {offer.ice_ufrag}", None)
        await elapse(13)

        assert loop.network.sent == []
        await hang_up(gateway, browser)

    scenario()


@pytest.mark.parametrize(
    "host",
    [
        "metadata.google.internal",
        "localhost",
        "4f1c1a2e-55b2-4d7c-9d52-0b9c0f8e3f1d.local",
        "127.1",
    ],
)
def test_a7_name_of_a_candidate_is_not_looked_up(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        monkeypatch.setattr(loop, "getaddrinfo", lambda *query, **_: asked.append(query))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *query, **_: asked.append(query))
        gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
        target = f"candidate:1 1 udp 2130706431 {host} 80 typ host"
        offer = dataclasses.replace(browser.offer(), candidates=(target,))

        gateway.transport.accept(offer)
        gateway.transport.add_candidate(target, offer.ice_ufrag)
        await elapse(13)

        assert loop.network.sent == []
        await hang_up(gateway, browser)

    scenario()
    assert asked == []


@in_virtual_time
async def test_a7_no_check_goes_to_a_network_that_is_denied(loop: VirtualLoop) -> None:
    options = WebRtcOptions(listen=f"{GATEWAY}:10000", ice_deny=("10.0.0.0/8",))
    gateway, browser = new_end(open_gateway(loop, options)), new_end(open_browser(loop))
    redis = "candidate:1 1 udp 2130706431 10.0.0.1 6379 typ host"

    gateway.transport.accept(dataclasses.replace(browser.offer(), candidates=(redis,)))
    key = (gateway.offer().ice_pwd or "").encode()
    loop.network.carry(binding_request(username(browser, gateway), key), ("10.0.0.1", 6379), PORT)
    await elapse(13)

    assert loop.network.sent_to("10.0.0.1") == []
    assert gateway.port.counters.denied_source == 1
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a7_fifty_candidates_are_checked_at_most(loop: VirtualLoop) -> None:
    gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
    offer = browser.offer()
    many = tuple(
        f"candidate:1 1 udp {n} 198.51.100.{n % 250 + 1} {5000 + n} typ host"
        for n in range(1, 1000)
    )

    gateway.transport.accept(dataclasses.replace(offer, candidates=many[:500]))
    for candidate in many[500:]:
        gateway.transport.add_candidate(candidate, offer.ice_ufrag)
    await elapse(11)

    checked = {datagram.destination for datagram in loop.network.sent}
    assert len(checked) == MAX_REMOTE_CANDIDATES
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_peer_cannot_have_itself_checked_at_every_address(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    key = (gateway.offer().ice_pwd or "").encode()
    name = username(browser, gateway)
    loop.network.sent.clear()

    for n in range(500):
        loop.network.carry(binding_request(name, key), ("198.51.100.9", 5000 + n), PORT)
    await elapse(5)

    checks = [d for d in loop.network.sent_to("198.51.100.9") if d.data[:2] == b"\x00\x01"]
    assert len({d.destination for d in checks}) < MAX_REMOTE_CANDIDATES
    assert len(gateway.port.mux.sockets[0].routes) <= MAX_ROUTES
    # Those that it has proven are its own; media still goes where it was nominated.
    gateway.transport.send(rtp(1))
    await elapse(0.1)
    assert browser.packets == [rtp(1)]
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a5_search_asks_addresses_of_others_a_few_times_only(loop: VirtualLoop) -> None:
    gateway, browser = new_end(open_gateway(loop)), new_end(open_browser(loop))
    offer = browser.offer()
    victims = tuple(f"candidate:1 1 udp {n} 198.51.100.1 {n} typ host" for n in range(1, 200))
    gateway.transport.accept(dataclasses.replace(offer, candidates=offer.candidates))
    browser.transport.accept(gateway.offer())
    await until_connected(gateway, browser)
    for candidate in victims:
        gateway.transport.add_candidate(candidate, offer.ice_ufrag)

    for _ in range(4):  # speaks, and falls silent without an answer
        loop.network.passes = lambda _datagram: True
        for sequence in range(50):
            browser.transport.send(rtp(sequence))
            await elapse(0.02)
        loop.network.passes = lambda _datagram: False
        await elapse(7)

    asked = loop.network.sent_to("198.51.100.1")
    assert 0 < len(asked) <= MAX_UNPROVEN * MAX_ASKS_UNPROVEN
    await hang_up(gateway, browser)


@in_virtual_time
async def test_one_caller_cannot_take_anothers_address(loop: VirtualLoop) -> None:
    port = open_gateway(loop)
    victim, gateway = new_end(open_browser(loop)), new_end(port)
    negotiate(victim, gateway)
    await until_connected(gateway, victim)
    thief = new_end(port)
    thief.transport.accept(
        dataclasses.replace(victim.offer(), ice_ufrag="thief123", ice_pwd="t" * 22)
    )
    described = thief.offer()
    forged = binding_request(f"{described.ice_ufrag}:thief123", (described.ice_pwd or "").encode())
    source = victim.port.mux.sockets[0]

    for sequence in range(10):
        victim.transport.send(rtp(sequence))
        await elapse(0.01)
        loop.network.carry(forged, (source.host, source.port), PORT)
        await elapse(0.01)

    assert gateway.packets == [rtp(sequence) for sequence in range(10)]
    await hang_up(gateway, victim)


@in_virtual_time
async def test_truncated_and_mutated_stun_is_harmless(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    key = (gateway.offer().ice_pwd or "").encode()
    whole = binding_request(username(browser, gateway), key)
    chance = random.Random(3)
    mutants = [whole[:size] for size in range(len(whole))]
    for _ in range(3000):
        mutated = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        mutants.append(bytes(mutated))

    for mutant in mutants:
        loop.network.carry(mutant, ATTACKER, PORT)
        await elapse(0)
    await elapse(1)

    assert gateway.state is TransportState.CONNECTED
    assert gateway.port.counters.faults == 0
    assert loop.unhandled == []
    await hang_up(gateway, browser)


@in_virtual_time
async def test_an_attribute_of_the_wrong_length_is_malformed(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    name = username(browser, gateway).encode()
    name += bytes(-len(name) % 4)
    short = struct.pack("!HH", 0x0024, 2) + b"\x00\x01\x00\x00"
    body = struct.pack("!HH", 0x0006, len(username(browser, gateway))) + name + short
    request = struct.pack("!HH", 0x0001, len(body)) + COOKIE + bytes(12) + body

    loop.network.carry(request, ATTACKER, PORT)
    await elapse(0.1)

    assert gateway.port.counters.malformed == 1
    assert gateway.port.counters.faults == 0
    assert gateway.state is TransportState.CONNECTED
    await hang_up(gateway, browser)


@in_virtual_time
async def test_a_response_to_nothing_is_ignored(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE)
    response.attributes["XOR-MAPPED-ADDRESS"] = ATTACKER
    response.add_message_integrity(b"guess")

    loop.network.carry(bytes(response), ATTACKER, PORT)
    await elapse(0.1)

    assert gateway.port.counters.stray_responses == 1
    await hang_up(gateway, browser)


@pytest.mark.parametrize("knows_password", [False, True])
def test_consent_cannot_be_given_by_somebody_else(knows_password: bool) -> None:
    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        gateway, browser = await connect(loop)
        password = (browser.offer().ice_pwd or "").encode() if knows_password else b"a guess"
        source = ATTACKER if knows_password else (BROWSER, browser.port.port)
        loop.network.passes = lambda datagram: datagram.source[0] != BROWSER

        for _ in range(40):
            asked = loop.network.sent_to(BROWSER)[-1]
            forged = stun.Message(
                stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=asked.data[8:20]
            )
            forged.add_message_integrity(password)
            loop.network.deliver(Datagram(loop.time(), source, PORT, bytes(forged)))
            await elapse(1)

        assert gateway.state is TransportState.FAILED
        await hang_up(gateway, browser)

    scenario()


@in_virtual_time
async def test_a_response_counts_only_where_the_request_left(loop: VirtualLoop) -> None:
    other_home = "198.51.100.1"
    everywhere = WebRtcOptions(listen="0.0.0.0:10000")
    gateway = new_end(open_gateway(loop, everywhere, hosts=[GATEWAY, other_home]))
    browser = new_end(open_browser(loop))
    loop.network.passes = lambda d: other_home not in (d.source[0], d.destination[0])
    negotiate(browser, gateway)
    await until_connected(gateway, browser)
    password = (browser.offer().ice_pwd or "").encode()
    loop.network.passes = lambda _datagram: False

    for _ in range(40):
        asked = [d for d in loop.network.sent_to(BROWSER) if d.source[0] == GATEWAY][-1]
        misled = stun.Message(
            stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=asked.data[8:20]
        )
        misled.add_message_integrity(password)
        loop.network.deliver(
            Datagram(loop.time(), asked.destination, (other_home, 10000), bytes(misled))
        )
        await elapse(1)

    assert gateway.state is TransportState.FAILED
    await hang_up(gateway, browser)


@pytest.mark.rfc(8445, "7.1.1")
@in_virtual_time
async def test_a_check_without_priority_is_not_followed(loop: VirtualLoop) -> None:
    gateway, browser = await connect(loop)
    key = (gateway.offer().ice_pwd or "").encode()
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["USERNAME"] = username(browser, gateway)
    request.add_message_integrity(key)

    loop.network.carry(bytes(request), ATTACKER, PORT)
    await elapse(5)

    checks = [d for d in loop.network.sent_to(ATTACKER[0]) if d.data[:2] == b"\x00\x01"]
    assert checks == []
    assert gateway.port.counters.faults == 0
    await hang_up(gateway, browser)

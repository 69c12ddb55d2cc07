"""SRTP with keys from the SDP: both ways, through changes of keys, and against forgers (A3)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from gateway.codec import PCMU
from gateway.net.media import TransportState
from gateway.net.ports import PortPool, RtpPortOptions
from gateway.net.sdes import OVERLAP_S, SdesMediaTransport
from gateway.rtp.packet import RtpPacket, build_rtp
from gateway.rtp.rtcp import ReceiverReport, build_rtcp
from gateway.rtp.srtp import SUITES, SrtpSender
from gateway.sdp.crypto import KEY_BYTES, SrtpPolicy, parse_crypto, settle_keys
from gateway.sdp.description import MediaDescription
from tests.support.garbage import left_to_the_collector
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

OURS, THEIRS, THIEF = "192.0.2.1", "198.51.100.7", "203.0.113.66"
RTCP = build_rtcp([ReceiverReport(7)])


def rtp(number: int, ssrc: int = 7) -> bytes:
    return build_rtp(RtpPacket(0, False, number & 0xFFFF, number * 160, ssrc, b"\x7e" * 160))


class Side:
    """One end of a call."""

    def __init__(
        self, loop: VirtualLoop, host: str, policy: SrtpPolicy = SrtpPolicy.REQUIRED, **options: Any
    ) -> None:
        pool = PortPool(RtpPortOptions(address=host), open_socket=loop.network.open_socket)
        numbers = count(1)
        self.policy = policy
        self.transport = SdesMediaTransport(
            pool,
            loop=loop,
            policy=policy,
            new_key=lambda size: (f"{host} {next(numbers)} " * 9)[:size].encode(),
            **options,
        )
        self.heard: list[bytes] = []
        self.states: list[TransportState] = []
        self.transport.on_packet = lambda data, _now: self.heard.append(data)
        self.transport.on_state = self.states.append

    def offer(self) -> MediaDescription:
        return self.transport.describe(MediaDescription(codecs=(PCMU,)))

    def answer(self, offer: MediaDescription, *, restart: bool = False) -> MediaDescription:
        self.transport.accept(settle_keys(offer, self.policy))
        media = MediaDescription(codecs=(PCMU,))
        return self.transport.describe(media, restart=restart)

    def take(self, answer: MediaDescription, offer: MediaDescription) -> None:
        self.transport.accept(settle_keys(answer, self.policy, offered=offer))

    def news(self) -> list[bytes]:
        heard, self.heard[:] = self.heard[:], []
        return heard


class Call:
    """Two of them, the second at another address."""

    def __init__(self, loop: VirtualLoop, **options: Any) -> None:
        self.loop = loop
        self.caller, self.callee = Side(loop, OURS), Side(loop, THEIRS, **options)

    def settle(self, only: str | None = None) -> None:
        """Offer and answer, of one suite if it is named."""
        offer = self.caller.offer()
        if only is not None:
            lines = tuple(line for line in offer.crypto if f" {only} " in line)
            offer = replace(offer, crypto=lines)
        self.caller.take(self.callee.answer(offer), offer)

    async def say(self, number: int) -> None:
        """A packet each way."""
        self.caller.transport.send(rtp(number))
        self.callee.transport.send(rtp(number, ssrc=8))
        await elapse(0.02)

    def reoffered(self, suite: str, fill: int) -> MediaDescription:
        """The caller's offer, by somebody who takes another key."""
        key = bytes([fill]) * KEY_BYTES[suite]
        theirs = parse_crypto(self.caller.offer().crypto[0])
        assert theirs is not None
        return replace(self.caller.offer(), crypto=(str(replace(theirs, suite=suite, key=key)),))


@contextmanager
def call(loop: VirtualLoop, **options: Any) -> Iterator[Call]:
    made = Call(loop, **options)
    try:
        yield made
    finally:
        made.caller.transport.close()
        made.callee.transport.close()
    assert not loop.network.open_addresses


@pytest.mark.parametrize("suite", KEY_BYTES)
def test_packets_are_protected_both_ways(suite: str) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        with call(loop) as at:
            at.settle(suite)
            for number in range(1, 4):
                await at.say(number)
            at.caller.transport.send(RTCP)
            await elapse(0.02)

            assert at.callee.heard == [rtp(1), rtp(2), rtp(3), RTCP]
            assert at.caller.heard == [rtp(n, 8) for n in (1, 2, 3)]
            assert not any(b"\x7e" * 8 in each.data for each in loop.network.sent)
            assert not any(each.data == RTCP for each in loop.network.sent)
            assert at.caller.states == [TransportState.CONNECTED]

    run()


@in_virtual_time
async def test_answer_repeats_tag_and_suite_and_has_a_key_of_its_own(loop: VirtualLoop) -> None:
    with call(loop) as at:
        offer = at.caller.offer()
        answer = at.callee.answer(offer)
        (answered,) = map(parse_crypto, answer.crypto)
        offered = [parse_crypto(line) for line in offer.crypto]

        assert [each.suite for each in offered if each] == list(KEY_BYTES)
        assert answered is not None
        assert answered.tag == 1
        assert answered.key not in [each.key for each in offered if each]
        assert (offer.protocol, answer.protocol) == ("RTP/SAVP", "RTP/SAVP")


@in_virtual_time
async def test_keys_are_of_no_avail_before_the_answer_and_after_the_end(loop: VirtualLoop) -> None:
    with call(loop) as at:
        offer = at.caller.offer()
        answer = at.callee.answer(offer)
        at.callee.transport.send(rtp(1, ssrc=8))
        await elapse(0.02)
        before = at.caller.news()
        at.caller.take(answer, offer)
        await at.say(2)

        assert before == []
        assert at.caller.heard == [rtp(2, 8)]


@pytest.mark.parametrize("crypto", [True, False])
def test_where_it_is_optional_the_answer_decides(crypto: bool) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        with call(loop, policy=SrtpPolicy.OPTIONAL) as at:
            at.caller, other = Side(loop, "192.0.2.9", SrtpPolicy.OPTIONAL), at.caller
            offer = at.caller.offer()
            answer = at.callee.answer(offer if crypto else replace(offer, crypto=()))
            at.caller.take(answer, offer)
            await at.say(1)

            assert offer.protocol == answer.protocol == "RTP/AVP"
            assert bool(answer.crypto) is crypto
            assert at.callee.heard == [rtp(1)]
            assert (rtp(1) in [each.data for each in loop.network.sent]) is not crypto
            other.transport.close()

    run()


# ---- changes


@pytest.mark.rfc(4568, "7.1.4")
@in_virtual_time
async def test_new_key_of_the_peer_leaves_no_gap(loop: VirtualLoop) -> None:
    with call(loop) as at:
        at.settle("AES_CM_128_HMAC_SHA1_80")
        await at.say(1)
        before = at.callee.transport.describe(MediaDescription())
        suite = SUITES["AES_CM_128_HMAC_SHA1_80"]

        answer = at.callee.answer(at.reoffered(suite.name, fill=77))
        await at.say(2)  # the caller has not read our answer yet
        peer = SrtpSender.of_key(suite, bytes([77]) * suite.key_bytes)
        for number in (3, 4):
            loop.network.carry(peer.protect(rtp(number)) or b"", (OURS, 20_000), (THEIRS, 20_000))
        await elapse(0.02)
        at.caller.transport.send(rtp(5))  # a late one under the old key
        await elapse(0.02)

        assert at.callee.heard == [rtp(n) for n in (1, 2, 3, 4, 5)]
        assert at.caller.heard == [rtp(1, 8), rtp(2, 8)]
        assert answer.crypto == before.crypto, "ours goes on"

        await elapse(OVERLAP_S)
        for number in (6, 7):
            loop.network.carry(peer.protect(rtp(number)) or b"", (OURS, 20_000), (THEIRS, 20_000))
        await elapse(0.02)
        at.caller.transport.send(rtp(8))
        await elapse(0.02)
        assert at.callee.heard[5:] == [rtp(6), rtp(7)], "the old key is over"


@in_virtual_time
async def test_we_send_by_another_suite_when_the_peer_has_shown_to_know_it(
    loop: VirtualLoop,
) -> None:
    with call(loop) as at:
        at.settle("AES_CM_128_HMAC_SHA1_80")
        await at.say(1)
        gcm = SUITES["AEAD_AES_128_GCM"]

        at.callee.answer(at.reoffered(gcm.name, fill=77))
        await at.say(2)
        in_between = at.caller.news()
        peer = SrtpSender.of_key(gcm, bytes([77]) * gcm.key_bytes)
        loop.network.carry(peer.protect(rtp(3)) or b"", (OURS, 20_000), (THEIRS, 20_000))
        await elapse(0.02)
        await at.say(4)

        assert in_between == [rtp(1, 8), rtp(2, 8)]
        assert at.callee.heard == [rtp(n) for n in (1, 2, 3, 4)]
        assert at.caller.heard == []
        assert len(loop.network.sent[-1].data) == len(rtp(4)) + 16


@in_virtual_time
async def test_we_send_by_another_suite_soon_in_any_case(loop: VirtualLoop) -> None:
    with call(loop) as at:
        at.settle("AES_CM_128_HMAC_SHA1_80")
        await at.say(1)

        at.callee.answer(at.reoffered("AEAD_AES_256_GCM", fill=77))
        await elapse(OVERLAP_S + 0.1)
        await at.say(2)

        assert at.caller.heard == [rtp(1, 8)]


@in_virtual_time
async def test_same_keys_again_change_nothing_past_the_end_of_sequence_numbers(
    loop: VirtualLoop,
) -> None:
    with call(loop) as at:
        at.settle()
        for number in range(65_530, 65_540):
            await at.say(number)
        offer = at.caller.offer()
        at.caller.take(at.callee.answer(offer), offer)
        for number in range(65_540, 65_545):
            await at.say(number)

        assert len(at.callee.heard) == len(at.caller.heard) == 15
        assert at.caller.transport.refused == at.callee.transport.refused == 0


@pytest.mark.rfc(4568, "7.1.4")
@in_virtual_time
async def test_peer_that_moves_is_given_another_key_of_ours(loop: VirtualLoop) -> None:
    with call(loop) as at:
        at.settle()
        for number in range(65_530, 65_540):
            await at.say(number)
        moved = Side(loop, "198.51.100.99")

        offer = moved.offer()
        answer = at.callee.answer(replace(offer, crypto=offer.crypto[:1]), restart=True)
        moved.take(answer, offer)
        at.callee.transport.send(rtp(65_540, ssrc=8))
        moved.transport.send(rtp(1))
        await elapse(0.02)

        assert moved.heard == [rtp(65_540, ssrc=8)]
        assert at.callee.heard[-1] == rtp(1)
        moved.transport.close()


@in_virtual_time
async def test_stream_that_rests_keeps_its_keys(loop: VirtualLoop) -> None:
    with call(loop) as at:
        at.settle()
        await at.say(1)
        at.callee.transport.accept(MediaDescription(port=0))
        offer = at.caller.offer()
        at.caller.take(at.callee.answer(offer), offer)
        await at.say(2)

        assert at.callee.heard == [rtp(1), rtp(2)]


@in_virtual_time
async def test_nothing_is_left_to_the_collector(loop: VirtualLoop) -> None:
    with left_to_the_collector() as left:
        with call(loop, symmetric=OURS) as at:
            at.settle("AES_CM_128_HMAC_SHA1_80")
            await at.say(1)
            at.callee.answer(at.reoffered("AEAD_AES_128_GCM", fill=77))
            await at.say(2)
        del at

    assert not left.kinds


# ---- who has no key


@in_virtual_time
async def test_a3_ten_thousand_forged_packets_do_no_harm(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(3)
    with call(loop, symmetric=OURS) as at:
        at.settle()
        await at.say(1)
        for number in range(10_000):
            noise = rtp(number)[:12] + chance.randbytes(chance.randrange(0, 180))
            port = 20_000 + number % 2
            if port % 2:
                noise = RTCP + noise
            source = (OURS, 20_000 + number % 3)
            at.loop.network.carry(noise, source, (THEIRS, port))
            at.loop.network.carry(noise, (THEIRS, port), (OURS, 20_000))
            if not number % 100:
                await elapse(0.1)
        caplog.clear()
        await at.say(20_000)
        at.caller.transport.send(RTCP)
        await elapse(0.5)

        assert at.callee.heard == [rtp(1), rtp(20_000), RTCP]
        assert at.caller.heard == [rtp(1, 8), rtp(20_000, 8)]
        assert at.callee.transport.refused > 5000
        assert {each.destination for each in loop.network.sent[-3:]} <= {
            (THEIRS, 20_000),
            (THEIRS, 20_001),
            (OURS, 20_000),
        }
        assert not caplog.records


@in_virtual_time
async def test_a3_packets_in_the_clear_are_not_taken(loop: VirtualLoop) -> None:
    with call(loop) as at:
        at.settle()
        for number in range(1, 10):
            loop.network.carry(rtp(number), (OURS, 20_000), (THEIRS, 20_000))
            loop.network.carry(RTCP, (OURS, 20_001), (THEIRS, 20_001))
        await elapse(0.5)

        assert at.callee.heard == []
        assert at.callee.transport.refused == 18


@in_virtual_time
async def test_a3_a_phone_is_where_its_authentic_packets_come_from(loop: VirtualLoop) -> None:
    nat = "198.51.100.200"
    with call(loop, symmetric=nat) as at:
        at.settle()
        wire = loop.network
        for number in range(1, 10):  # a run of what is not authentic moves nothing
            wire.carry(rtp(number), (nat, 40_000), (THEIRS, 20_000))
            wire.carry(rtp(number), (THIEF, 40_000), (THEIRS, 20_000))
            await elapse(0.01)
        at.callee.transport.send(rtp(1, 8))
        first = wire.sent[-1].destination

        wire.passes = lambda datagram: datagram.source[0] != OURS
        at.caller.transport.send(rtp(1))
        authentic = wire.sent[-1].data
        wire.carry(authentic, (THIEF, 40_000), (THEIRS, 20_000))
        wire.carry(authentic, (nat, 41_000), (THEIRS, 20_000))
        await elapse(0.02)
        at.callee.transport.send(rtp(2, 8))

        assert first == (OURS, 20_000)
        assert wire.sent[-1].destination == (nat, 41_000)
        assert at.callee.heard == [rtp(1)]
        assert not wire.sent_to(THIEF)


@in_virtual_time
async def test_a8_only_what_is_authentic_shows_that_somebody_is_there(loop: VirtualLoop) -> None:
    with call(loop) as at:
        at.settle()
        for number in range(400):
            at.callee.transport.send(rtp(number, 8))
            loop.network.carry(rtp(number), (OURS, 20_000), (THEIRS, 20_000))
            await elapse(0.02)
        given_up = len(loop.network.sent_to(OURS))
        at.caller.transport.send(rtp(1))
        await elapse(0.02)
        at.callee.transport.send(rtp(401, 8))

        assert given_up == 250
        assert len(loop.network.sent_to(OURS)) == 251

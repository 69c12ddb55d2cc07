"""SRTP by SDES in offers and answers of a SIP leg: settled, changed, and never lost (A34)."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest

from gateway.codec import PCMU, TELEPHONE_EVENT
from gateway.errors import NegotiationError
from gateway.leg.negotiator import MediaRules, Negotiator
from gateway.leg.stream import AudioStream
from gateway.net.pacer import Pacer
from gateway.net.ports import PortPool, RtpPortOptions
from gateway.net.sdes import SdesMediaTransport
from gateway.net.udp_media import UdpMediaTransport
from gateway.rtp.session import RtpSession
from gateway.rtp.srtp import SUITES, SrtpReceiver
from gateway.sdp.crypto import KEY_BYTES, SrtpPolicy, parse_crypto
from gateway.sdp.description import Direction, parse_sdp
from tests.media.parties import Talker
from tests.media.sound import tone
from tests.support.loop import VirtualLoop, elapse, in_virtual_time
from tests.support.sip_legs import sdp

OFF, OPTIONAL, REQUIRED = SrtpPolicy.OFF, SrtpPolicy.OPTIONAL, SrtpPolicy.REQUIRED
OURS, THEIRS = "192.0.2.1", "192.0.2.2"
SUITE = "AES_CM_128_HMAC_SHA1_80"


def key(fill: int, suite: str = SUITE) -> bytes:
    return bytes([fill]) * KEY_BYTES[suite]


def keyed(fill: int = 1, tag: int = 1, suite: str = SUITE, more: str = "") -> str:
    return f"a=crypto:{tag} {suite} inline:{b64encode(key(fill, suite)).decode()}{more}\r\n"


def savp(more: str = "", port: int = 30_000) -> bytes:
    return sdp(port, more=more).replace(b"RTP/AVP", b"RTP/SAVP")


class Party:
    """Our side of a call: what it says and hears of SDP, and its media on the virtual network."""

    def __init__(self, loop: VirtualLoop, policy: SrtpPolicy, host: str = OURS) -> None:
        self.loop = loop
        numbers = count(100 if host == OURS else 200)
        pool = PortPool(RtpPortOptions(address=host), open_socket=loop.network.open_socket)
        peer = THEIRS if host == OURS else OURS
        self.transport: UdpMediaTransport
        if policy is OFF:
            self.transport = UdpMediaTransport(pool, loop=loop, peer=peer)
        else:
            self.transport = SdesMediaTransport(
                pool,
                loop=loop,
                policy=policy,
                peer=peer,
                new_key=lambda size: bytes([next(numbers)]) * size,
            )
        session = RtpSession(ssrc=7, sequence=1, timestamp=1, cname="x", now=loop.time())
        self.pacer = Pacer(loop)
        self.stream = AudioStream(self.transport, session, pacer=self.pacer, clock=loop.time)
        self.stream.on_frame = lambda _frame: self.frames.append(1)
        self.transport.on_state = self.stream.on_state
        self.frames: list[int] = []
        self.negotiator = Negotiator(
            self.stream,
            codecs=(PCMU, TELEPHONE_EVENT),
            session_id="1",
            rules=MediaRules(srtp=policy),
            peer=lambda: peer,
        )
        self._talker = Talker(tone(500, 5, 8000))

    def offer(self) -> bytes:
        return self.negotiator.make_offer()

    def answer(self, offer: bytes) -> bytes:
        return self.negotiator.answer(offer)

    def take(self, answer: bytes) -> None:
        self.negotiator.take_answer(answer)

    async def say(self, packets: int = 1) -> bytes:
        """The last packet that left."""
        for _ in range(packets):
            self.stream.hear(self._talker.next())
            await elapse(0.02)
        return [each.data for each in self.loop.network.sent if len(each.data) > 160][-1]

    def close(self) -> None:
        self.stream.close()


@contextmanager
def party(loop: VirtualLoop, policy: SrtpPolicy, host: str = OURS) -> Iterator[Party]:
    made = Party(loop, policy, host)
    try:
        yield made
    finally:
        made.close()


def is_protected_by(packet: bytes, fill: int, suite: str = SUITE) -> bool:
    return SrtpReceiver.of_key(SUITES[suite], key(fill, suite)).unprotect(packet) is not None


# ---- between two of us


@pytest.mark.parametrize(
    ("caller", "callee", "protocol", "is_protected"),
    [
        (REQUIRED, REQUIRED, "RTP/SAVP", True),
        (REQUIRED, OPTIONAL, "RTP/SAVP", True),
        (OPTIONAL, OPTIONAL, "RTP/AVP", True),
        (OPTIONAL, OFF, "RTP/AVP", False),
        (OFF, OPTIONAL, "RTP/AVP", False),
    ],
)
def test_both_hear_each_other(
    caller: SrtpPolicy, callee: SrtpPolicy, protocol: str, is_protected: bool
) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        with party(loop, caller) as one, party(loop, callee, THEIRS) as two:
            answer = two.answer(one.offer())
            one.take(answer)
            packet = await one.say(10)
            await two.say(10)
            await elapse(0.1)

            assert len(two.frames) >= 9
            assert len(one.frames) >= 9
            assert (len(packet) > 172) is is_protected
            assert parse_sdp(answer).media[0].protocol == protocol
            assert bool(parse_sdp(answer).media[0].crypto) is is_protected

    run()


@in_virtual_time
async def test_hold_and_back_keep_the_keys(loop: VirtualLoop) -> None:
    with party(loop, REQUIRED) as one, party(loop, REQUIRED, THEIRS) as two:
        one.take(two.answer(one.offer()))
        await one.say(3)
        before = parse_sdp(str(two.negotiator.local)).media[0].crypto
        for direction in (Direction.SENDONLY, Direction.SENDRECV):
            one.negotiator.direction = direction
            one.take(two.answer(one.offer()))
        await one.say(3)
        await elapse(0.1)

        assert parse_sdp(str(two.negotiator.local)).media[0].crypto == before
        assert parse_sdp(str(two.negotiator.local)).origin.version == 3
        assert two.transport.strangers == 0
        assert len(two.frames) >= 6


# ---- what is offered to us


@pytest.mark.parametrize(
    ("policy", "offer"),
    [
        (REQUIRED, sdp()),
        (REQUIRED, sdp(more=keyed())),
        (REQUIRED, savp()),
        (OPTIONAL, savp()),
        (OFF, savp(keyed())),
        (OPTIONAL, savp(keyed(more=" UNENCRYPTED_SRTP"))),
        (OPTIONAL, savp(keyed(more=" UNAUTHENTICATED_SRTP"))),
        (REQUIRED, savp("a=crypto:1 NULL_HMAC_SHA1_80 inline:AAAA\r\n")),
        (REQUIRED, savp(keyed() + keyed(2))),  # one tag for two
        (REQUIRED, savp(keyed(more="|1:4"))),
    ],
)
def test_a34_offer_that_would_leave_media_unprotected_is_refused(
    policy: SrtpPolicy, offer: bytes
) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        with party(loop, policy) as leg:
            with pytest.raises(NegotiationError) as refused:
                leg.answer(offer)
            await elapse(1)

            assert refused.value.status == 488
            assert not loop.network.sent

    run()


@pytest.mark.parametrize(
    ("offer", "protocol", "is_protected"),
    [
        (savp(keyed()), "RTP/SAVP", True),
        (savp(keyed()).replace(b"SAVP", b"SAVPF"), "RTP/SAVPF", True),
        (sdp(more=keyed()), "RTP/AVP", True),
        (sdp(), "RTP/AVP", False),
        (sdp(more=keyed(more=" UNENCRYPTED_SRTP")), "RTP/AVP", False),
    ],
)
def test_optional_takes_keys_where_they_come(
    offer: bytes, protocol: str, is_protected: bool
) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        with party(loop, OPTIONAL) as leg:
            section = parse_sdp(leg.answer(offer)).media[0]
            packet = await leg.say()

            assert section.protocol == protocol
            assert len(section.crypto) == is_protected
            assert is_protected_by(packet, 100) is is_protected

    run()


@pytest.mark.parametrize("plain_first", [True, False])
def test_of_two_streams_the_protected_one_is_taken(plain_first: bool) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        lines = ["m=audio 30000 RTP/AVP 0\r\n", f"m=audio 30002 RTP/SAVP 0\r\n{keyed()}"]
        head = sdp().decode().partition("m=")[0]
        offer = head + "".join(lines if plain_first else lines[::-1])
        with party(loop, OPTIONAL) as leg:
            answer = parse_sdp(leg.answer(offer.encode()))

            ports = [section.port for section in answer.media]
            assert ports == ([0, 20_000] if plain_first else [20_000, 0])
            assert answer.media[int(plain_first)].crypto

    run()


# ---- what is answered to us


@pytest.mark.parametrize(
    ("policy", "answer"),
    [
        (REQUIRED, sdp()),
        (REQUIRED, sdp(more=keyed(tag=3))),
        (REQUIRED, savp()),
        (REQUIRED, savp(keyed(tag=9))),
        (REQUIRED, savp(keyed(tag=1))),  # our first is GCM
        (REQUIRED, savp(keyed(tag=3, more=" UNENCRYPTED_SRTCP"))),
        (REQUIRED, savp(keyed(102, tag=3))),  # our own key
        (OPTIONAL, savp()),
        (OPTIONAL, sdp(more=keyed(tag=9))),
    ],
)
def test_a34_answer_that_would_leave_media_unprotected_is_refused(
    policy: SrtpPolicy, answer: bytes
) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        with party(loop, policy) as leg:
            leg.offer()
            with pytest.raises(NegotiationError):
                leg.take(answer)
            await elapse(1)

            assert not loop.network.sent

    run()


@in_virtual_time
async def test_answer_may_call_by_its_name_what_was_offered_as_plain(loop: VirtualLoop) -> None:
    with party(loop, OPTIONAL) as leg:
        leg.offer()
        leg.take(savp(keyed(tag=3)))
        packet = await leg.say()
        again = parse_sdp(leg.offer()).media[0]

        assert is_protected_by(packet, 102)
        assert (again.protocol, len(again.crypto)) == ("RTP/SAVP", 1)


@in_virtual_time
async def test_each_answer_of_a_forked_call_brings_its_own_key(loop: VirtualLoop) -> None:
    with party(loop, REQUIRED) as leg:
        offer = parse_sdp(leg.offer()).media[0]
        ours = {line.split()[0]: parse_crypto(line) for line in offer.crypto}
        leg.take(savp(keyed(1, tag=3)))
        early = await leg.say()
        leg.take(savp(keyed(2, tag=4, suite="AES_CM_128_HMAC_SHA1_32"), port=31_000))
        await elapse(2.1)
        late = await leg.say()

        third, fourth = ours["3"], ours["4"]
        assert third is not None
        assert fourth is not None
        assert is_protected_by(early, third.key[0])
        assert is_protected_by(late, fourth.key[0], "AES_CM_128_HMAC_SHA1_32")
        assert loop.network.sent[-1].destination == (THEIRS, 31_000)


@in_virtual_time
async def test_callee_that_was_heard_early_may_answer_after_another_was_heard(
    loop: VirtualLoop,
) -> None:
    with party(loop, REQUIRED) as leg:
        leg.offer()
        leg.take(savp(keyed(1, tag=3)))
        first = await leg.say()
        leg.take(savp(keyed(2, tag=4, suite="AES_CM_128_HMAC_SHA1_32"), port=31_000))
        await elapse(2.1)
        await leg.say()
        leg.take(savp(keyed(1, tag=3)))
        await elapse(2.1)
        last = await leg.say()

        receiver = SrtpReceiver.of_key(SUITES[SUITE], key(102))
        assert receiver.unprotect(first)
        assert receiver.unprotect(last)


# ---- later


@pytest.mark.parametrize("offer", [sdp(), savp(), savp(keyed(more=" UNENCRYPTED_SRTP"))])
@pytest.mark.parametrize("policy", [OPTIONAL, REQUIRED])
def test_a34_later_offer_does_not_make_the_stream_plain(policy: SrtpPolicy, offer: bytes) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        with party(loop, policy) as leg:
            leg.answer(savp(keyed()))
            await leg.say()
            with pytest.raises(NegotiationError) as refused:
                leg.answer(offer)
            packet = await leg.say()

            assert refused.value.status == 488
            assert SrtpReceiver.of_key(SUITES[SUITE], key(100)).unprotect(packet)

    run()


@in_virtual_time
async def test_a34_later_answer_does_not_make_the_stream_plain(loop: VirtualLoop) -> None:
    with party(loop, OPTIONAL) as leg:
        leg.answer(sdp(more=keyed()))
        leg.offer()
        with pytest.raises(NegotiationError):
            leg.take(sdp())

        assert is_protected_by(await leg.say(), 100)


@pytest.mark.rfc(4568, "7.1.4")
@in_virtual_time
async def test_later_offer_brings_another_key_and_ours_goes_on(loop: VirtualLoop) -> None:
    with party(loop, REQUIRED) as leg:
        first = parse_sdp(leg.answer(savp(keyed(1))))
        second = parse_sdp(leg.answer(savp(keyed(2))))

        assert first.media[0].crypto == second.media[0].crypto
        assert second.origin.version == first.origin.version


@pytest.mark.rfc(4568, "7.1.4")
@in_virtual_time
async def test_peer_that_goes_on_elsewhere_gets_another_key_of_ours(loop: VirtualLoop) -> None:
    with party(loop, REQUIRED) as leg:
        first = parse_sdp(leg.answer(savp(keyed(1))))
        leg.answer(savp(keyed(1)).replace(b"c=IN IP4 192.0.2.2", b"c=IN IP4 0.0.0.0"))
        same = parse_sdp(leg.answer(savp(keyed(1))))
        moved = parse_sdp(leg.answer(savp(keyed(2), port=32_000)))
        packet = await leg.say()

        assert same.media[0].crypto == first.media[0].crypto
        assert moved.media[0].crypto != first.media[0].crypto
        assert is_protected_by(packet, 101)


@in_virtual_time
async def test_stream_at_port_0_is_protected_when_it_is_back(loop: VirtualLoop) -> None:
    with party(loop, REQUIRED) as leg:
        leg.answer(savp(keyed(1)))
        rested = parse_sdp(leg.answer(savp(keyed(1), port=0)))
        with pytest.raises(NegotiationError):
            leg.answer(sdp())
        leg.answer(savp(keyed(1)))

        assert rested.media[0].port == 0
        assert is_protected_by(await leg.say(), 100)

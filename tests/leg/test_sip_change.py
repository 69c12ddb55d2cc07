"""Changes of a SIP session that is up: hold in every spelling, codec, address, T.38, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from gateway.leg.leg import (
    Answered,
    Ended,
    EndReason,
    Established,
    Held,
    LegEvent,
    MediaChanged,
    Resumed,
)
from gateway.leg.negotiator import MediaRules
from gateway.leg.sip import SipLegOptions
from gateway.leg.watch import WatchOptions
from gateway.rtp.packet import RtpPacket, build_rtp
from gateway.rtp.rtcp import ReceiverReport, build_rtcp
from gateway.sdp.description import Direction, SessionDescription, parse_sdp
from gateway.sip import event as sip
from tests.media.parties import Talker
from tests.media.sound import tone
from tests.support.sip_legs import LegBox, SipBench, sdp

T38 = b"m=image 5004 udptl t38\r\n"
VIDEO = b"m=video 5006 RTP/AVP 99\r\na=rtpmap:99 VP8/90000\r\n"


def spelled(direction: str) -> bytes:
    """An offer or answer with the hold that is meant."""
    match direction:
        case "0.0.0.0":
            return sdp(address="0.0.0.0")
        case "port 0":
            return sdp(port=0)
    return sdp(more=f"a={direction}\r\n")


class Talk:
    """A phone that has called, and is in a call with a leg of ours."""

    def __init__(self, **options: object) -> None:
        self._talker = Talker(tone(500, 0.5, 8000))
        self.bench = bench = SipBench()
        bench.given["options"] = SipLegOptions(**options)  # type: ignore[arg-type]
        self.box: LegBox = bench.called(sdp())
        self.box.leg.answer()
        bench.run(0.1)
        assert self.box.news() == [Established()]
        self.box.told.clear()

    def reoffer(self, body: bytes | None) -> SessionDescription | None:
        """The phone offers anew; our answer, or None where it was refused."""
        before = len(self.bench.phone.all(sip.ReofferAnswered))
        self.bench.calling.reoffer(body, self.bench.wire.now)
        self.bench.run(0.1)
        answers = self.bench.phone.all(sip.ReofferAnswered)[before:]
        return parse_sdp(answers[0].sdp or b"") if answers else None

    def hold(self, direction: Direction) -> SessionDescription:
        """We hold the phone, or no longer: our offer."""
        self.box.leg.hold(direction)
        self.bench.run(0.05)
        return parse_sdp(self.bench.phone.all(sip.Reoffered)[-1].sdp or b"")

    def answer(self, body: bytes) -> None:
        """The phone answers our offer."""
        self.bench.phone_session.accept_reoffer(body, self.bench.wire.now)
        self.bench.run(0.1)

    def news(self) -> list[LegEvent]:
        told, self.box.told[:] = self.box.news(), []
        return told

    def hear(self, seconds: float = 0.1) -> None:
        """Somebody speaks to the phone."""
        for _ in range(round(seconds / 0.02)):
            self.box.leg.listener.hear(self._talker.next())

    def speak(self, number: int, payload_type: int = 0) -> None:
        """One packet of the phone arrives."""
        packet = RtpPacket(payload_type, False, number, number * 160, 7, bytes(160))
        self.box.transport.on_packet(build_rtp(packet), self.bench.loop.time())


@pytest.fixture
def talk() -> Iterator[Talk]:
    made = Talk(signals_hold=True)
    yield made
    made.bench.close()


# ---- the peer holds us


@pytest.mark.parametrize(
    ("spelling", "ours", "held"),
    [
        ("sendonly", Direction.RECVONLY, Direction.SENDONLY),
        ("inactive", Direction.INACTIVE, Direction.INACTIVE),
        ("recvonly", Direction.SENDONLY, Direction.RECVONLY),
        ("0.0.0.0", Direction.SENDRECV, Direction.INACTIVE),
    ],
)
def test_s19_hold_is_reflected_and_told_once(
    talk: Talk, spelling: str, ours: Direction, held: Direction
) -> None:
    first = talk.reoffer(spelled(spelling))
    again = talk.reoffer(spelled(spelling))
    resumed = talk.reoffer(sdp())

    assert first is not None
    assert again is not None
    assert resumed is not None
    assert first.media[0].direction is ours
    assert talk.news() == [Held(held), Resumed()]
    assert resumed.media[0].direction is Direction.SENDRECV


def test_phone_that_holds_has_no_music_of_its_own() -> None:
    talk = Talk(plays_on_hold=False)

    answer = talk.reoffer(spelled("sendonly"))

    assert answer is not None
    assert answer.media[0].direction is Direction.RECVONLY
    assert talk.news() == [Held(Direction.INACTIVE)]
    talk.bench.close()


@pytest.mark.parametrize("spelling", ["sendonly", "inactive", "recvonly"])
def test_s19_version_counts_changes_and_nothing_else(talk: Talk, spelling: str) -> None:
    offers = [sdp(), spelled(spelling), spelled(spelling), sdp()]

    answers = [talk.reoffer(body) for body in offers]

    assert [a.origin.version for a in answers if a is not None] == [1, 2, 2, 3]


def test_hold_by_port_0_rests_the_stream_until_it_is_offered_again(talk: Talk) -> None:
    resting = talk.reoffer(spelled("port 0"))
    talk.hear()
    sent = list(talk.box.transport.packets)
    resumed = talk.reoffer(sdp(port=31_000))
    talk.hear()

    assert resting is not None
    assert resumed is not None
    assert resting.media[0].port == 0
    assert not sent
    assert resumed.media[0].port == 20_000
    assert talk.box.transport.accepted[-1].port == 31_000
    assert talk.box.transport.packets
    assert talk.news() == [Held(Direction.INACTIVE), Resumed()]


def test_nothing_is_sent_to_who_does_not_listen_and_numbering_goes_on(talk: Talk) -> None:
    talk.hear()
    before = talk.box.transport.packets[-1]
    talk.reoffer(spelled("inactive"))
    talk.hear()
    count = len(talk.box.transport.packets)
    talk.reoffer(sdp())
    talk.hear()

    after = talk.box.transport.packets[count]
    assert talk.box.transport.packets[count - 1] == before
    assert after.sequence == before.sequence + 1
    assert after.timestamp == before.timestamp + 160 * 6
    assert after.ssrc == before.ssrc


def test_offer_on_hold_from_the_start_is_told_after_the_answer() -> None:
    bench = SipBench()
    box = bench.called(spelled("inactive"))

    box.leg.answer()
    bench.run(0.1)

    assert box.news() == [Held(Direction.INACTIVE), Established()]
    bench.close()


def test_early_media_that_goes_one_way_is_no_hold() -> None:
    bench = SipBench()
    box = bench.dial()

    bench.answer(183, body=spelled("sendonly"))
    bench.answer(200, body=sdp())

    assert box.news()[1:] == [Answered()]
    bench.close()


# ---- we hold the peer


def test_our_hold_is_signalled_and_the_media_goes_on_one_way(talk: Talk) -> None:
    offer = talk.hold(Direction.SENDONLY)
    talk.answer(spelled("recvonly"))
    talk.hear()

    assert offer.media[0].direction is Direction.SENDONLY
    assert offer.origin.version == 2
    assert talk.box.transport.packets
    assert talk.news() == []

    resumed = talk.hold(Direction.SENDRECV)
    talk.answer(sdp())

    assert resumed.media[0].direction is Direction.SENDRECV
    assert resumed.origin.version == 3
    assert talk.news() == []


def test_our_hold_is_kept_to_ourselves_where_the_peer_is_not_to_be_told() -> None:
    talk = Talk()

    talk.box.leg.hold(Direction.SENDONLY)
    talk.bench.run(0.1)
    answer = talk.reoffer(sdp())

    assert not talk.bench.phone.all(sip.Reoffered)
    assert answer is not None
    assert answer.media[0].direction is Direction.SENDRECV
    talk.bench.close()


def test_both_may_hold_and_each_resumes_for_itself(talk: Talk) -> None:
    talk.hold(Direction.SENDONLY)
    talk.answer(spelled("recvonly"))
    both = talk.reoffer(spelled("sendonly"))
    ours = talk.reoffer(spelled("recvonly"))

    assert both is not None
    assert ours is not None
    assert both.media[0].direction is Direction.INACTIVE
    assert ours.media[0].direction is Direction.SENDONLY
    assert talk.news() == [Held(Direction.SENDONLY), Resumed()]


def test_resume_that_comes_while_the_hold_is_under_way_follows_it(talk: Talk) -> None:
    talk.hold(Direction.SENDONLY)
    talk.box.leg.hold(Direction.SENDRECV)
    talk.bench.run(0.1)
    assert len(talk.bench.phone.all(sip.Reoffered)) == 1

    talk.answer(spelled("recvonly"))

    offers = [parse_sdp(e.sdp or b"") for e in talk.bench.phone.all(sip.Reoffered)]
    assert [o.media[0].direction.value for o in offers] == ["sendonly", "sendrecv"]
    talk.answer(sdp())


def test_s13_hold_that_is_refused_leaves_all_as_it_was(talk: Talk) -> None:
    talk.hold(Direction.SENDONLY)

    talk.bench.phone_session.refuse_reoffer(488, talk.bench.wire.now)
    talk.bench.run(0.1)
    talk.hear()

    assert talk.news() == []
    assert talk.box.transport.packets
    again = talk.reoffer(sdp())
    assert again is not None
    assert again.media[0].direction is Direction.SENDONLY


# ---- other changes


def test_codec_and_address_change(talk: Talk) -> None:
    answer = talk.reoffer(sdp(port=32_000, codecs="8 101", address="192.0.2.77"))
    talk.hear()

    assert answer is not None
    assert [codec.name for codec in answer.media[0].codecs] == ["PCMA", "telephone-event"]
    assert talk.box.transport.accepted[-1].port == 32_000
    assert talk.box.transport.packets[-1].payload_type == 8
    assert talk.news() == [MediaChanged()]


def test_s15_late_offer_gets_ours_and_brings_its_answer_in_the_ack(talk: Talk) -> None:
    talk.bench.calling.reoffer(None, talk.bench.wire.now)
    talk.bench.run(0.05)
    (event,) = talk.bench.phone.all(sip.ReofferAnswered)
    offer = parse_sdp(event.sdp or b"")
    talk.bench.calling.ack(sdp(port=33_000, codecs="8 101"), talk.bench.wire.now)
    talk.bench.run(0.05)

    assert event.is_offer
    assert [c.name for c in offer.media[0].codecs] == ["PCMU", "PCMA", "telephone-event"]
    assert talk.box.transport.accepted[-1].port == 33_000
    assert talk.news() == [MediaChanged()]


@pytest.mark.parametrize(
    ("offer", "status"),
    [
        (sdp(codecs="18"), 488),
        (sdp(address="127.0.0.1"), 488),
        (b"v=0\r\no=- 1 2 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n" + T38, 488),
        (sdp(port=0) + T38, 488),
        (b"hello", 400),
    ],
)
def test_s13_offer_that_is_refused_changes_nothing(talk: Talk, offer: bytes, status: int) -> None:
    answer = talk.reoffer(offer)
    talk.hear()

    assert answer is None
    assert talk.bench.phone.one(sip.ReofferFailed).status == status
    assert talk.news() == []
    assert talk.box.transport.packets
    assert [media.port for media in talk.box.transport.accepted] == [30_000]


@pytest.mark.parametrize("more", [T38, VIDEO])
def test_picture_offered_later_is_refused_and_the_call_goes_on(talk: Talk, more: bytes) -> None:
    answer = talk.reoffer(sdp() + more)

    assert answer is not None
    assert [media.port for media in answer.media] == [20_000, 0]
    assert talk.news() == []


def test_answer_of_the_peer_that_cannot_be_used_ends_the_call(talk: Talk) -> None:
    talk.hold(Direction.SENDONLY)

    talk.answer(sdp(codecs="18"))

    assert [e.reason for e in talk.box.heard(Ended)] == [EndReason.NO_COMMON_CODEC]


# ---- the peer's media


def test_f10_party_of_which_nothing_comes_is_given_up_after_30_s(talk: Talk) -> None:
    talk.speak(1)
    talk.bench.run(20)
    talk.speak(2)

    talk.bench.run(29)
    before = talk.news()
    talk.bench.run(4)

    assert before == []
    assert talk.box.heard(Ended) == [Ended(EndReason.MEDIA_TIMEOUT)]
    assert talk.bench.phone.all(sip.Ended)


def test_f10_party_on_hold_may_be_silent_for_longer() -> None:
    talk = Talk(watch=WatchOptions(media_timeout_s=10, hold_timeout_s=40))
    talk.reoffer(spelled("inactive"))

    talk.bench.run(35)
    before = talk.box.heard(Ended)
    talk.bench.run(10)

    assert before == []
    assert talk.box.heard(Ended) == [Ended(EndReason.HOLD_TIMEOUT)]
    talk.bench.close()


def test_f10_party_that_hears_and_reports_on_nobody_is_there(talk: Talk) -> None:
    report = build_rtcp([ReceiverReport(7)])

    for _ in range(10):
        talk.box.transport.on_packet(report, talk.bench.loop.time())
        talk.bench.run(5)

    assert talk.box.heard(Ended) == []


def test_f10_nobody_is_given_up_within_5_s_of_the_answer() -> None:
    talk = Talk(watch=WatchOptions(media_timeout_s=1))

    talk.bench.run(4.8)
    before = talk.box.heard(Ended)
    talk.bench.run(2)

    assert before == []
    assert talk.box.heard(Ended) == [Ended(EndReason.MEDIA_TIMEOUT)]
    talk.bench.close()


def test_f10_early_media_of_which_nothing_comes_is_given_up_after_60_s() -> None:
    bench = SipBench()
    box = bench.dial()
    bench.answer(183, body=sdp())

    bench.run(59)
    before = box.heard(Ended)
    bench.run(4)

    assert before == []
    assert box.heard(Ended) == [
        Ended(EndReason.EARLY_MEDIA_TIMEOUT, 408, "Request Timeout", fault=None)
    ]
    assert bench.peer.request("CANCEL")
    bench.answer(487)
    bench.close()


@pytest.mark.parametrize("speaks_until", [100, 0])
def test_f10_early_media_that_goes_on_and_an_answer_that_comes_are_waited_for(
    speaks_until: int,
) -> None:
    """One speaks for 100 s; another is silent for 50 s, answers, and is silent for 25 s more."""
    bench = SipBench()
    box = bench.dial()
    bench.answer(183, body=sdp())

    for number in range(speaks_until):
        packet = RtpPacket(0, False, number, number * 160, 7, bytes(160))
        box.transport.on_packet(build_rtp(packet), bench.loop.time())
        bench.run(1)
    if not speaks_until:
        bench.run(50)
        bench.answer(200, body=sdp())
        bench.run(25)

    assert box.heard(Ended) == []
    bench.close()


# ---- one who holds others, and lets them hear nothing


def test_holder_that_sends_nothing_for_2_s_leaves_the_others_to_our_music() -> None:
    talk = Talk()
    talk.speak(1)
    talk.reoffer(spelled("sendonly"))
    said = talk.news()
    talk.bench.run(1.8)
    early = talk.news()
    talk.bench.run(0.5)
    late = talk.news()
    talk.bench.run(10)

    assert said == [Held(Direction.SENDONLY)]
    assert early == []
    assert late == [Held(Direction.INACTIVE)]
    assert talk.news() == []
    talk.reoffer(sdp())
    assert talk.news() == [Resumed()]
    talk.bench.close()


def test_holder_that_plays_something_is_heard_and_again_when_it_begins_late() -> None:
    talk = Talk()
    talk.reoffer(spelled("sendonly"))
    told = []
    for number in range(250):
        if number < 100 or number >= 200:
            talk.speak(number)
        talk.bench.run(0.05)
        told += talk.news()

    assert told == [
        Held(Direction.SENDONLY),
        Held(Direction.INACTIVE),
        Held(Direction.SENDONLY),
    ]
    talk.bench.close()


def test_silence_may_be_allowed_for_ever() -> None:
    talk = Talk(watch=WatchOptions(media_timeout_s=0))

    talk.bench.run(60)

    assert talk.news() == []
    talk.bench.close()


# ---- where media may be


@pytest.mark.parametrize(
    "offer",
    [
        sdp(address="224.0.0.1"),
        sdp(address="255.255.255.255"),
        sdp(22, address="127.0.0.1"),
        sdp(address="127.0.0.1"),
        sdp(address="169.254.169.254"),
        sdp(address="10.0.0.1"),  # private, and not where its SIP comes from
        sdp(22),
    ],
)
def test_a8_offer_that_points_elsewhere_than_a_peer_can_be_is_refused(offer: bytes) -> None:
    bench = SipBench()
    box = bench.called(offer)
    bench.run(2)

    assert bench.refused == [488]
    assert box.transport.accepted == []
    assert box.transport.sent == []
    bench.close()


@pytest.mark.parametrize(
    ("rules", "is_taken"),
    [
        (MediaRules(), False),
        (MediaRules(is_symmetric=True), True),
        (MediaRules(allow=(ip_network("10.0.0.0/24"),)), True),
        (MediaRules(allow=(ip_network("10.0.1.0/24"),)), False),
    ],
    ids=["plain", "symmetric", "allowed", "another network"],
)
def test_a8_private_address_is_taken_of_who_may_have_one(rules: MediaRules, is_taken: bool) -> None:
    bench = SipBench()
    bench.given["options"] = SipLegOptions(media=rules)

    box = bench.called(sdp(address="10.0.0.1"))
    bench.run(0.1)

    assert bool(box.transport.accepted) is is_taken
    assert bench.refused == ([] if is_taken else [488])
    bench.close()


def test_who_is_not_let_speak_does_not_have_to() -> None:
    """A transport gives up who says that it speaks, and does not (A8)."""
    talk = Talk(signals_hold=True)
    talk.hold(Direction.SENDONLY)
    talk.answer(spelled("recvonly"))
    talk.reoffer(sdp(port=31_000))

    assert [each.direction for each in talk.box.transport.accepted] == [
        Direction.SENDRECV,
        Direction.RECVONLY,
        Direction.RECVONLY,
    ]
    talk.bench.close()


@pytest.mark.rfc(5761, "5.1.1")
@pytest.mark.parametrize("offers", [True, False])
def test_rtcp_on_the_port_of_rtp_is_offered_where_it_is_set(offers: bool) -> None:
    bench = SipBench()
    bench.given["options"] = SipLegOptions(media=MediaRules(offers_mux=offers))

    bench.dial()

    body = bench.peer.request("INVITE").body
    assert parse_sdp(body).media[0].rtcp_mux is offers
    bench.answer(486)
    bench.close()

"""A SIP peer as a party: offers, answers, early media, ends of every kind."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from gateway.errors import Fault
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Ended,
    EndReason,
    Established,
    Gone,
    Held,
    Phase,
    Progressed,
)
from gateway.sdp.description import Direction, parse_sdp
from gateway.sip import event as sip
from gateway.sip.endpoint import EndpointOptions
from gateway.sip.message import build_response
from tests.support.sip_legs import FAR, GATEWAY, SipBench, sdp

A, B = sdp(30_000), sdp(40_000)


@pytest.fixture
def bench() -> Iterator[SipBench]:
    bench = SipBench()
    yield bench
    bench.close()


# ---- we call


def test_invite_offers_our_codecs_and_digits(bench: SipBench) -> None:
    bench.dial()

    offer = parse_sdp(bench.peer.request("INVITE").body).media[0]

    assert [codec.name for codec in offer.codecs] == ["PCMU", "PCMA", "telephone-event"]
    assert (offer.port, offer.ptime_ms) == (20_000, 20)


def test_ringing_then_answer(bench: SipBench) -> None:
    box = bench.dial()

    bench.answer(180)
    bench.answer(200, body=A)

    assert box.news() == [Progressed(180, "Ringing"), Answered()]
    assert box.transport.accepted[-1].port == 30_000
    assert bench.peer.got("ACK")
    assert box.ladder == [">INVITE", "<180 Ringing", "<200 OK", ">ACK"]


def test_trying_is_no_progress(bench: SipBench) -> None:
    box = bench.dial()

    bench.answer(100, tag=None)

    assert box.news() == []


def test_183_with_sdp_is_early_media(bench: SipBench) -> None:
    box = bench.dial()

    bench.answer(183, body=A)

    assert box.news() == [Progressed(183, "Session Progress", early_media=True)]
    assert box.transport.accepted[-1].port == 30_000


def test_183_without_sdp_is_none(bench: SipBench) -> None:
    box = bench.dial()

    bench.answer(183)

    assert box.news() == [Progressed(183, "Session Progress")]
    assert not box.transport.accepted


def test_200_without_sdp_takes_the_answer_of_the_183(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(183, body=A)

    bench.answer(200)

    assert box.news()[-1] == Answered()
    assert [media.port for media in box.transport.accepted] == [30_000]


def test_same_answer_again_changes_nothing(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(183, body=A)

    bench.answer(200, body=A)

    assert box.news()[-1] == Answered()
    assert len(box.transport.accepted) == 1


def test_forked_183_and_200_of_another_with_its_own_sdp(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(183, "a", A)

    bench.answer(200, "b", B)

    assert box.news()[-1] == Answered()
    assert [media.port for media in box.transport.accepted] == [30_000, 40_000]


def test_several_early_dialogs_and_the_200_of_the_first_without_sdp(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(183, "a", A)
    bench.answer(183, "b", B)
    assert box.transport.accepted[-1].port == 40_000

    bench.answer(200, "a")

    assert box.news()[-1] == Answered()
    assert box.transport.accepted[-1].port == 30_000


def test_200_without_sdp_of_a_fork_that_never_gave_any_ends_the_call(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(183, "a", A)

    bench.answer(200, "b")

    assert [event.reason for event in box.heard(Ended)] == [EndReason.NO_COMMON_CODEC]
    assert bench.peer.got("BYE")


def test_answer_without_any_sdp_is_acknowledged_and_ended(bench: SipBench) -> None:
    box = bench.dial()

    bench.answer(200)

    assert box.news() == [Ended(EndReason.NO_COMMON_CODEC, 488, "Not Acceptable Here")]
    assert bench.peer.got("ACK")
    assert bench.peer.got("BYE")


@pytest.mark.parametrize(
    "body",
    [
        b"nonsense",
        sdp(codecs="18"),
        sdp(port=0),
        sdp(address="127.0.0.1"),
        sdp(address="169.254.169.254"),
        sdp(port=80),
    ],
)
def test_answer_that_cannot_be_used_ends_the_leg_and_tells_no_address(
    bench: SipBench, body: bytes
) -> None:
    box = bench.dial()

    bench.answer(200, body=body)

    (ended,) = box.heard(Ended)
    assert (ended.reason, ended.status) == (EndReason.NO_COMMON_CODEC, 488)
    assert not re.search(r"\d\.\d", ended.text)
    assert bench.peer.got("BYE")


def test_unusable_early_answer_cancels(bench: SipBench) -> None:
    box = bench.dial()

    bench.answer(183, body=sdp(codecs="18"))

    assert [event.reason for event in box.heard(Ended)] == [EndReason.NO_COMMON_CODEC]
    assert bench.peer.got("CANCEL")


def test_answer_on_hold_is_an_answer(bench: SipBench) -> None:
    box = bench.dial()

    bench.answer(200, body=sdp(address="0.0.0.0"))

    assert box.news() == [Answered(), Held(Direction.INACTIVE)]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, EndReason.NOT_FOUND),
        (408, EndReason.NO_ANSWER),
        (480, EndReason.UNAVAILABLE),
        (486, EndReason.BUSY),
        (488, EndReason.NO_COMMON_CODEC),
        (500, EndReason.UNREACHABLE),
        (503, EndReason.UNREACHABLE),
        (600, EndReason.BUSY),
        (603, EndReason.DECLINED),
        (302, EndReason.REJECTED),
        (407, EndReason.REJECTED),
    ],
)
def test_rejection_has_a_reason(bench: SipBench, status: int, reason: EndReason) -> None:
    box = bench.dial()

    bench.answer(status)

    (ended,) = box.heard(Ended)
    assert (ended.reason, ended.status) == (reason, status)


def test_words_of_the_far_end_are_made_fit_for_people(bench: SipBench) -> None:
    box = bench.dial()
    response = build_response(bench.peer.request("INVITE"), 403, "PHRASE", to_tag="a")
    rude = b"No\xff\x1b[2J\xe2\x80\xa8way " + b"a" * 999

    bench.station.receive(bytes(response).replace(b"PHRASE", rude), FAR, 0)
    bench.run(0.02)

    (ended,) = box.heard(Ended)
    assert ended.text.startswith("No\ufffd\ufffd[2J\ufffdway aaa")
    assert len(ended.text) == 256


def test_retry_after_is_passed_on(bench: SipBench) -> None:
    box = bench.dial()
    invite = bench.peer.request("INVITE")

    bench.peer.respond(bench.station, invite, 503, "a", headers=[("Retry-After", "30")])
    bench.run(0.05)

    assert box.heard(Ended)[0].retry_after_s == 30


def test_far_end_that_says_nothing_is_unreachable(bench: SipBench) -> None:
    box = bench.dial()

    bench.run(33)

    (ended,) = box.heard(Ended)
    assert (ended.reason, ended.status) == (EndReason.UNREACHABLE, 408)


def test_hang_up_while_it_rings_cancels(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(180)

    box.leg.end(EndReason.CANCELLED)
    bench.run(0.05)
    bench.answer(487)
    bench.run(40)

    assert bench.peer.got("CANCEL")
    assert not box.heard(Ended)


def test_hang_up_before_anything_came_back(bench: SipBench) -> None:
    box = bench.dial()

    box.leg.end(EndReason.CANCELLED)
    bench.answer(180)

    assert bench.peer.got("CANCEL")
    assert not box.heard(Progressed)


def test_answer_that_crosses_the_cancel_is_acknowledged_and_ended(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(180)
    box.leg.end(EndReason.CANCELLED)

    bench.answer(200, body=A)

    assert bench.peer.got("ACK")
    assert bench.peer.got("BYE")
    assert not box.heard(Answered)


def test_hang_up_of_ours_after_the_answer(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(200, body=A)

    box.leg.end(EndReason.HANGUP)
    bench.run(0.05)

    assert bench.peer.got("BYE")
    assert not box.heard(Ended)


def test_f20_party_is_told_that_the_gateway_stops(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(200, body=A)

    box.leg.end(EndReason.SHUTDOWN)
    bench.run(0.05)

    reason = bench.peer.request("BYE").headers.get("Reason")
    assert reason == 'SIP;cause=503;text="The gateway stops"'


def test_hang_up_of_theirs_after_the_answer(bench: SipBench) -> None:
    box = bench.called(A)
    box.leg.answer()
    bench.run(0.1)

    bench.calling.bye(bench.wire.now)
    bench.run(0.1)

    assert [(e.reason, e.fault) for e in box.heard(Ended)] == [(EndReason.HANGUP, None)]


def test_leg_that_ends_before_it_was_dialled_is_gone(bench: SipBench) -> None:
    box = bench.dial()
    box.leg.end(EndReason.CANCELLED)
    bench.answer(487)
    bench.run(40)

    assert box.heard(Gone) == [Gone()]


# ---- we are called


def test_ringing_then_answer_of_ours(bench: SipBench) -> None:
    box = bench.called(A)

    box.leg.progress(ringing=True, early_media=False)
    bench.run(0.05)
    box.leg.answer()
    bench.run(0.1)

    assert box.ladder == ["<INVITE", ">180 Ringing", ">200 OK", "<ACK"]
    assert box.heard(Established) == [Established()]
    answer = parse_sdp(bench.phone.one(sip.Answered).body or b"")
    assert [codec.name for codec in answer.media[0].codecs] == ["PCMU", "telephone-event"]


def test_early_media_of_ours_is_a_183_with_the_answer(bench: SipBench) -> None:
    box = bench.called(A)

    box.leg.progress(ringing=False, early_media=True)
    bench.run(0.05)

    progressed = bench.phone.all(sip.Progressed)[-1]
    assert progressed.status == 183
    assert parse_sdp(progressed.body or b"").media[0].port == 20_000


def test_late_offer_is_ours_in_the_200_and_its_answer_comes_in_the_ack(bench: SipBench) -> None:
    box = bench.called(None)
    box.leg.answer()
    bench.run(0.05)

    offer = parse_sdp(bench.phone.one(sip.Answered).body or b"")
    bench.calling.ack(A, bench.wire.now)
    bench.run(0.05)

    assert offer.media[0].port == 20_000
    assert box.heard(Established) == [Established()]
    assert box.transport.accepted[-1].port == 30_000


def test_late_offer_that_is_answered_with_nonsense_ends_the_call(bench: SipBench) -> None:
    box = bench.called(None)
    box.leg.answer()
    bench.run(0.05)

    bench.calling.ack(sdp(codecs="18"), bench.wire.now)
    bench.run(0.1)

    assert [event.reason for event in box.heard(Ended)] == [EndReason.NO_COMMON_CODEC]


def test_late_offer_that_is_never_answered_ends_the_call(bench: SipBench) -> None:
    box = bench.called(None)
    box.leg.answer()
    bench.run(0.05)

    bench.calling.ack(None, bench.wire.now)
    bench.run(0.1)

    assert [event.reason for event in box.heard(Ended)] == [EndReason.NO_COMMON_CODEC]


@pytest.mark.parametrize("offer", [sdp(codecs="18"), sdp(address="127.0.0.1"), sdp(port=0)])
def test_offer_without_a_use_is_rejected_with_488(bench: SipBench, offer: bytes) -> None:
    bench.called(offer)
    bench.run(0.1)

    assert bench.refused == [488]
    assert bench.phone.one(sip.Ended).status == 488


def test_offer_that_is_no_sdp_is_rejected_with_400(bench: SipBench) -> None:
    bench.called(b"hello")
    bench.run(0.1)

    assert bench.phone.one(sip.Ended).status == 400


def test_offer_on_hold_is_taken(bench: SipBench) -> None:
    bench.called(sdp(address="0.0.0.0"))

    assert not bench.refused


def test_cancel_of_the_caller(bench: SipBench) -> None:
    box = bench.called(A)
    box.leg.progress(ringing=True, early_media=False)
    bench.run(0.05)

    bench.calling.cancel(bench.wire.now)
    bench.run(0.1)

    assert [event.reason for event in box.heard(Ended)] == [EndReason.CANCELLED]
    box.leg.answer()
    box.leg.progress(ringing=True, early_media=False)
    assert not bench.phone.all(sip.Answered)


@pytest.mark.parametrize(
    ("reason", "status", "told"),
    [
        (EndReason.BUSY, 486, 486),
        (EndReason.NO_ANSWER, 0, 408),
        (EndReason.HANGUP, 0, 480),
        (EndReason.REJECTED, 302, 480),
        (EndReason.REJECTED, 401, 500),
        (EndReason.REJECTED, 407, 500),
        (EndReason.SHUTDOWN, 0, 503),
    ],
)
def test_caller_is_told_what_concerns_it(
    bench: SipBench, reason: EndReason, status: int, told: int
) -> None:
    box = bench.called(A)

    box.leg.end(reason, status, "Somebody's words")
    bench.run(0.1)

    assert bench.phone.one(sip.Ended).status == told
    assert not box.heard(Ended)


def test_caller_that_never_acknowledges_is_ended(bench: SipBench) -> None:
    box = bench.called(A)
    bench.wire.drop_next(100, "ACK")
    box.leg.answer()

    bench.run(33)

    assert [event.reason for event in box.heard(Ended)] == [EndReason.NO_ACK]


# ---- both


def test_end_twice_is_end_once(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(200, body=A)

    box.leg.end(EndReason.HANGUP)
    box.leg.end(EndReason.HANGUP)
    bench.run(0.05)

    assert len(bench.peer.got("BYE")) == 1


def test_key_is_played_to_the_peer_while_it_is_there(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(200, body=A)

    box.leg.digit("5", Phase.START)
    bench.run(0.1)
    box.leg.digit("5", Phase.END, 100)
    bench.run(0.2)
    sent = {packet.payload_type for packet in box.transport.packets}
    box.leg.end(EndReason.HANGUP)
    box.leg.digit("6", Phase.START)

    assert sent == {101}


def test_key_by_info_has_two_edges(bench: SipBench) -> None:
    box = bench.dial()
    bench.answer(200, body=A)
    ack = bench.peer.request("ACK")
    info = (
        f"INFO sip:{GATEWAY[0]}:{GATEWAY[1]} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 192.0.2.2:5060;branch=z9hG4bKinfo\r\n"
        f"From: {ack.headers.get('To')}\r\nTo: {ack.headers.get('From')}\r\n"
        f"Call-ID: {ack.call_id}\r\nCSeq: 7 INFO\r\nMax-Forwards: 70\r\n"
        "Content-Type: application/dtmf-relay\r\nContent-Length: 26\r\n\r\n"
        "Signal= 5\r\nDuration= 200\r\n"
    )

    bench.peer.send(bench.station, info)
    bench.run(0.1)
    assert box.heard(DigitPressed) == [DigitPressed("5", Phase.START)]
    bench.run(0.2)

    assert box.heard(DigitPressed)[1:] == [DigitPressed("5", Phase.END, 200)]


def test_invite_that_the_limits_refuse_fails_like_a_far_end_that_is_full() -> None:
    bench = SipBench(EndpointOptions(max_sessions=1))
    bench.dial()

    box = bench.dial()

    assert box.told == [Ended(EndReason.OVERLOADED, 503, fault=Fault.GATEWAY), Gone()]
    bench.close()


def test_ladder_names_nobody(bench: SipBench) -> None:
    box = bench.dial()
    invite = bench.peer.request("INVITE")
    response = build_response(invite, 486, "+15550100 is busy", to_tag="a")

    bench.peer.send(bench.station, response)
    bench.run(0.05)

    assert set(box.ladder) == {">INVITE", "<486 Busy Here", ">ACK"}

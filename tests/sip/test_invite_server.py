"""The called end of sessions: resent 200s, missing ACKs, CANCEL and BYE races."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import pytest

from gateway.sip.event import Acked, EndCause, Ended, Gone, Incoming, Informed
from gateway.sip.invite_server import InviteServer
from gateway.sip.message import Request
from tests.support.sip import ANSWER, OFFER, Line, Peer, Station, Wire

RESENT = [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
"When a 200 goes out that nobody acknowledges (RFC 3261 §13.3.1.4)."


@dataclass
class Desk:
    """A scripted caller, and our endpoint that it calls."""

    wire: Wire = field(default_factory=Wire)

    def __post_init__(self) -> None:
        self.us = Station(self.wire, ("192.0.2.1", 5060))
        self.peer = Peer(self.wire, ("192.0.2.9", 5060))
        self._branches = count()

    @property
    def session(self) -> InviteServer:
        return self.us.called

    def request(
        self,
        method: str,
        *,
        cseq: int = 1,
        branch: str | None = None,
        to_tag: str | None = None,
        body: bytes = b"",
        headers: tuple[str, ...] = (),
    ) -> bytes:
        """Send a request of the call, and let the answer come."""
        branch = branch or f"z9hG4bK{method}{next(self._branches)}"
        lines = [
            f"{method} sip:192.0.2.1 SIP/2.0",
            f"Via: SIP/2.0/UDP 192.0.2.9;branch={branch};rport",
            "From: <sip:alice@example.com>;tag=a",
            "To: <sip:bob@example.com>" + (f";tag={to_tag}" if to_tag else ""),
            "Call-ID: call",
            f"CSeq: {cseq} {method}",
            "Contact: <sip:alice@192.0.2.9>",
            "Max-Forwards: 70",
            *headers,
            *(["Content-Type: application/sdp"] if body and method != "INFO" else []),
            f"Content-Length: {len(body)}",
        ]
        data = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        self.peer.send(self.us, data)
        self.wire.run(0.1)
        return data

    def invite(self, offer: bytes = OFFER) -> bytes:
        return self.request("INVITE", branch="z9hG4bKinvite", body=offer)

    def answer(self, body: bytes = ANSWER) -> None:
        self.session.answer(body, self.wire.now)
        self.wire.run(0.1)

    def ack(self, body: bytes = b"", cseq: int = 1) -> None:
        self.request("ACK", to_tag=self.session.id, body=body, cseq=cseq)

    def bye(self, to_tag: str | None = None) -> None:
        self.request("BYE", cseq=2, to_tag=to_tag or self.session.id)

    def cancel(self, headers: tuple[str, ...] = ()) -> None:
        self.request("CANCEL", branch="z9hG4bKinvite", headers=headers)

    @property
    def cause(self) -> EndCause:
        return self.us.one(Ended).cause


@pytest.fixture
def desk() -> Desk:
    return Desk()


def settle(desk: Desk) -> None:
    """Let everything run out: nothing may be left."""
    desk.wire.run(100)
    assert desk.us.endpoint.is_idle
    assert len(desk.us.all(Ended)) == len(desk.us.all(Gone)) == 1
    assert isinstance(desk.us.events[-1][1], Gone)


def test_incoming_call_offers_what_the_invite_has(desk: Desk) -> None:
    desk.invite()

    assert desk.session.offer == OFFER
    assert desk.us.one(Incoming).request.max_forwards == 70
    assert str(desk.session.request.from_.uri) == "sip:alice@example.com"


@pytest.mark.rfc(3261, "13.3.1.4")
def test_s1_200_is_resent_until_the_ack(desk: Desk) -> None:
    desk.invite()
    desk.answer()
    desk.wire.run(4)

    desk.ack()
    desk.wire.run(30)

    assert desk.wire.times("200") == [0, 0.5, 1.5, 3.5]
    assert len({each.data for each in desk.wire.sent("200")}) == 1
    assert desk.us.one(Acked).body is None


@pytest.mark.rfc(6026, "7.1")
def test_s1_invite_resent_before_and_after_the_200_is_one_call(desk: Desk) -> None:
    invite = desk.invite()
    desk.session.progress(180, None, desk.wire.now)
    desk.wire.run(0.1)
    desk.peer.send(desk.us, invite)
    desk.wire.run(0.1)
    desk.answer()

    desk.peer.send(desk.us, invite)
    desk.wire.run(0.1)
    desk.ack()
    desk.peer.send(desk.us, invite)
    desk.wire.run(0.1)

    assert len(desk.us.all(Incoming)) == 1
    assert (len(desk.peer.got("180")), len(desk.peer.got("200"))) == (2, 1)


def test_s1_lost_200_is_resent() -> None:
    line = Line()
    line.wire.drop_next(2, "200")

    line.connect()
    line.run(2)

    assert line.wire.times("200") == [0, 0.5, 1.5]
    assert line.callee.all(Acked)


@pytest.mark.rfc(3261, "13.3.1.4")
def test_s2_200_never_acknowledged_ends_with_bye_after_32_s(desk: Desk) -> None:
    desk.invite()
    at = desk.wire.now
    desk.answer()

    desk.wire.run(31)
    assert desk.us.all(Ended) == []
    desk.wire.run(2)

    assert desk.wire.times("200") == RESENT
    assert (desk.cause, desk.us.at(Ended) - at) == (EndCause.NO_ACK, 32)
    assert desk.peer.request("BYE").to.tag == "a"
    desk.peer.respond(desk.us, desk.peer.request("BYE"), 200)
    settle(desk)


@pytest.mark.rfc(3261, "9.2")
def test_s3_cancel_after_200_changes_nothing(desk: Desk) -> None:
    desk.invite()
    desk.answer()

    desk.cancel()
    desk.ack()

    assert desk.peer.response("200 CANCEL").to.tag == desk.session.id
    assert desk.peer.got("487") == []
    assert desk.us.all(Acked)
    assert desk.us.all(Ended) == []


def test_s3_cancel_long_after_200_gets_481(desk: Desk) -> None:
    desk.invite()
    desk.answer()
    desk.ack()
    desk.wire.run(33)

    desk.cancel()

    assert desk.peer.response("481 CANCEL")
    assert desk.us.all(Ended) == []


@pytest.mark.rfc(3261, "9.2")
def test_cancel_after_183_gets_200_and_487(desk: Desk) -> None:
    desk.invite()
    desk.session.progress(183, ANSWER, desk.wire.now)
    desk.wire.run(0.1)

    desk.cancel(headers=('Reason: SIP;cause=200;text="Call completed elsewhere"',))

    tag = desk.session.id
    assert desk.peer.response("200 CANCEL").to.tag == tag
    assert desk.peer.response("487 INVITE").to.tag == tag
    ended = desk.us.one(Ended)
    assert (ended.cause, ended.status, ended.reason) == (
        EndCause.CANCELLED, 487, "Call completed elsewhere",
    )  # fmt: skip
    settle(desk)


def test_a18_cancel_from_elsewhere_gets_481_and_ends_nothing(desk: Desk) -> None:
    desk.invite()
    caller, desk.peer = desk.peer, Peer(desk.wire, ("203.0.113.9", 5060))

    desk.cancel()

    assert desk.peer.response("481 CANCEL")
    assert caller.got("487") == []
    assert desk.us.all(Ended) == []


@pytest.mark.parametrize(
    "other", [b"From: <sip:alice@example.com>;tag=b", b"Call-ID: other", b"CSeq: 2 CANCEL"]
)
def test_a18_cancel_of_another_call_with_the_same_branch_gets_481(desk: Desk, other: bytes) -> None:
    data = desk.invite().replace(b"INVITE sip", b"CANCEL sip").replace(b"1 INVITE", b"1 CANCEL")
    name = other.partition(b":")[0]
    lines = [other if each.startswith(name) else each for each in data.split(b"\r\n")]

    desk.peer.send(desk.us, b"\r\n".join(lines))
    desk.wire.run(0.1)

    assert desk.peer.response("481 CANCEL")
    assert desk.us.all(Ended) == []


def test_commands_after_cancel_do_nothing(desk: Desk) -> None:
    desk.invite()
    desk.cancel()
    before = len(desk.wire.log)

    now = desk.wire.now
    desk.session.progress(180, None, now)
    desk.session.answer(ANSWER, now)
    desk.session.reject(486, now)
    desk.session.bye(now)
    desk.session.drop(now)
    desk.wire.flush()

    assert len(desk.wire.log) == before
    settle(desk)


@pytest.mark.rfc(3261, "15")
def test_s9_bye_waits_for_the_ack(desk: Desk) -> None:
    desk.invite()
    desk.answer()

    desk.session.bye(desk.wire.now, "Q.850;cause=16")
    desk.wire.run(5)
    assert desk.peer.got("BYE") == []
    assert desk.cause is EndCause.LOCAL
    desk.ack()

    assert desk.peer.request("BYE").headers.get("Reason") == "Q.850;cause=16"
    assert desk.us.all(Acked) == []
    desk.peer.respond(desk.us, desk.peer.request("BYE"), 200)
    settle(desk)


def test_s9_bye_goes_out_when_no_ack_comes(desk: Desk) -> None:
    desk.invite()
    at = desk.wire.now
    desk.answer()

    desk.session.bye(desk.wire.now)
    desk.wire.run(33)

    assert desk.wire.times("200 INVITE") == RESENT
    assert desk.wire.sent("BYE")[0].at - at == 32
    desk.wire.run(0.5)
    desk.peer.respond(desk.us, desk.peer.request("BYE"), 481)
    settle(desk)


def test_s9_bye_of_the_caller_before_its_ack_is_answered(desk: Desk) -> None:
    desk.invite()
    desk.answer()

    desk.bye()
    desk.wire.run(40)

    assert desk.peer.response("200 BYE")
    assert desk.cause is EndCause.BYE
    assert len(desk.peer.got("200 INVITE")) == 1
    settle(desk)


def test_s9_both_hang_up_before_the_ack(desk: Desk) -> None:
    desk.invite()
    desk.answer()
    desk.session.bye(desk.wire.now)

    desk.bye()
    desk.ack()

    settle(desk)
    assert desk.peer.response("200 BYE")
    assert desk.peer.got("BYE") == []
    assert len(desk.peer.got("200 INVITE")) == 1


@pytest.mark.rfc(3261, "15.1.2")
def test_s10_bye_of_the_caller_in_an_early_dialog_ends_the_invite(desk: Desk) -> None:
    desk.invite()
    desk.session.progress(180, None, desk.wire.now)
    desk.wire.run(0.1)

    desk.bye()

    assert desk.peer.response("200 BYE")
    assert desk.peer.response("487 INVITE")
    assert desk.cause is EndCause.BYE
    settle(desk)


@pytest.mark.rfc(3261, "14.2")
def test_s12_second_invite_before_the_first_is_answered_gets_500(desk: Desk) -> None:
    desk.invite()

    desk.request("INVITE", cseq=2, to_tag=desk.session.id, body=OFFER)

    retry = desk.peer.response("500 INVITE").retry_after_s
    assert retry is not None
    assert 0 <= retry <= 10
    desk.answer()
    assert desk.peer.response("200 INVITE")


@pytest.mark.rfc(3261, "14.2")
def test_s13_refused_reinvite_leaves_the_session_up(desk: Desk) -> None:
    desk.invite()
    desk.answer()
    desk.ack()

    desk.request("INVITE", cseq=2, to_tag=desk.session.id, body=OFFER)
    desk.session.refuse_reoffer(488, desk.wire.now)
    desk.wire.run(0.1)
    desk.ack(cseq=2)
    desk.wire.run(60)

    assert desk.peer.response("488 INVITE")
    assert desk.us.all(Ended) == []
    desk.request("OPTIONS", cseq=3, to_tag=desk.session.id)
    assert desk.peer.response("200 OPTIONS")


@pytest.mark.rfc(3261, "13.2.1")
def test_s15_late_offer_is_made_in_the_200(desk: Desk) -> None:
    desk.invite(offer=b"")
    assert desk.session.offer is None

    desk.answer(OFFER)
    desk.ack(ANSWER)

    assert desk.peer.response("200 INVITE").body == OFFER
    assert desk.us.one(Acked).body == ANSWER


@pytest.mark.rfc(3261, "13.2.2.4")
def test_s15_ack_without_an_answer_ends_with_bye(desk: Desk) -> None:
    desk.invite(offer=b"")
    desk.answer(OFFER)

    desk.ack()

    assert desk.cause is EndCause.NO_ANSWER_SDP
    assert desk.us.all(Acked) == []
    desk.peer.respond(desk.us, desk.peer.request("BYE"), 200)
    settle(desk)


@pytest.mark.rfc(3261, "12.2.2")
def test_s18_lower_cseq_gets_500(desk: Desk) -> None:
    desk.invite()
    desk.answer()
    desk.ack()
    desk.request("OPTIONS", cseq=5, to_tag=desk.session.id)

    desk.request("OPTIONS", cseq=4, to_tag=desk.session.id)

    assert len(desk.peer.got("200 OPTIONS")) == 1
    assert desk.peer.response("500 OPTIONS")


@pytest.mark.rfc(3261, "8.2.2.2")
def test_s18_merged_invite_gets_482(desk: Desk) -> None:
    desk.invite()

    desk.request("INVITE", branch="z9hG4bKother-path", body=OFFER)

    assert desk.peer.response("482 INVITE").to.tag
    assert len(desk.us.all(Incoming)) == 1


def test_s18_second_ack_is_ignored(desk: Desk) -> None:
    desk.invite()
    desk.answer()

    desk.ack()
    desk.ack()
    desk.ack(cseq=7)

    assert len(desk.us.all(Acked)) == 1
    assert len(desk.peer.inbox) == 1


def test_ack_of_another_number_acknowledges_nothing(desk: Desk) -> None:
    desk.invite()
    desk.answer()

    desk.ack(cseq=2)

    assert desk.us.all(Acked) == []


def test_a18_bye_with_a_guessed_tag_gets_481_and_ends_nothing(desk: Desk) -> None:
    desk.invite()
    desk.answer()
    desk.ack()

    desk.bye(to_tag="guess")

    assert desk.peer.response("481 BYE")
    assert desk.us.all(Ended) == []


def test_answer_repeats_the_body_of_the_early_media(desk: Desk) -> None:
    desk.invite()
    desk.session.progress(183, ANSWER, desk.wire.now)
    desk.session.progress(180, None, desk.wire.now)

    desk.session.answer(None, desk.wire.now)
    desk.wire.run(0.1)

    assert desk.peer.response("183").body == ANSWER
    assert desk.peer.response("180").body == b""
    assert desk.peer.response("200").body == ANSWER


@pytest.mark.rfc(3261, "12.1.1")
def test_responses_that_form_the_dialog_have_a_contact_and_our_tag(desk: Desk) -> None:
    desk.invite()

    desk.session.progress(180, None, desk.wire.now)
    desk.answer()

    for what in ("180", "200"):
        response = desk.peer.response(what)
        assert str(response.contacts[0].uri) == "sip:192.0.2.1:5060"
        assert response.to.tag == desk.session.id
    assert "BYE" in desk.peer.response("200").allow


@pytest.mark.rfc(3261, "13.3.1.1")
def test_provisional_response_is_refreshed_each_minute(desk: Desk) -> None:
    desk.invite()
    desk.session.progress(183, ANSWER, desk.wire.now)
    desk.session.progress(180, None, desk.wire.now)

    desk.wire.run(150)
    desk.session.reject(486, desk.wire.now)
    desk.wire.run(120)

    assert desk.wire.times("180") == [0, 60, 120]
    settle(desk)


def test_rejection_carries_phrase_and_headers(desk: Desk) -> None:
    desk.invite()

    desk.session.reject(503, desk.wire.now, "Draining", (("Retry-After", "5"),))
    desk.wire.run(0.1)

    response = desk.peer.response("503")
    assert (response.reason, response.retry_after_s) == ("Draining", 5)
    ended = desk.us.one(Ended)
    assert (ended.cause, ended.status, ended.reason) == (EndCause.LOCAL, 503, "Draining")
    settle(desk)


def test_hanging_up_before_the_answer_rejects_with_480(desk: Desk) -> None:
    desk.invite()

    desk.session.bye(desk.wire.now)
    desk.wire.run(0.1)

    assert desk.peer.response("480 INVITE")
    assert desk.cause is EndCause.LOCAL
    settle(desk)


def test_dropped_call_is_silent_and_stays_one(desk: Desk) -> None:
    invite = desk.invite()

    desk.session.drop(desk.wire.now)
    desk.peer.send(desk.us, invite)
    desk.wire.run(1)
    desk.cancel()
    desk.wire.run(1)

    assert desk.peer.inbox == []
    assert len(desk.us.all(Incoming)) == 1
    settle(desk)


@pytest.mark.rfc(3261, "17.2.3")
def test_rfc_2543_caller_is_matched_without_the_cookie(desk: Desk) -> None:
    via = "SIP/2.0/UDP 192.0.2.9"
    text = (
        "{} sip:bob@192.0.2.1 SIP/2.0\r\n"
        f"Via: {via}\r\nFrom: <sip:alice@example.com>\r\nTo: <sip:bob@example.com>{{}}\r\n"
        "Call-ID: old\r\nCSeq: {} {}\r\nContact: <sip:alice@192.0.2.9>\r\n\r\n"
    )
    invite = text.format("INVITE", "", 1, "INVITE")
    desk.peer.send(desk.us, invite)
    desk.peer.send(desk.us, invite)
    desk.wire.run(0.1)
    desk.session.answer(OFFER, desk.wire.now)
    desk.wire.run(0.1)
    tag = f";tag={desk.session.id}"

    desk.peer.send(
        desk.us,
        text.format("ACK", tag, 1, "ACK").rstrip()
        + f"\r\nContent-Length: {len(ANSWER)}\r\n\r\n"
        + ANSWER.decode(),
    )
    desk.wire.run(0.1)
    assert desk.us.one(Acked).body == ANSWER
    desk.peer.send(desk.us, text.format("BYE", tag, 2, "BYE"))
    desk.wire.run(0.1)

    assert desk.cause is EndCause.BYE
    settle(desk)


@pytest.mark.rfc(4475, "3.1.2.19")
def test_branch_of_nothing_but_the_cookie_tells_no_calls_apart(desk: Desk) -> None:
    first = desk.request("INVITE", branch="z9hG4bK", body=OFFER)

    desk.peer.send(desk.us, first)
    desk.peer.send(desk.us, first.replace(b"Call-ID: call", b"Call-ID: other"))
    desk.wire.run(0.1)

    assert [event.session.call_id for event in desk.us.all(Incoming)] == ["call", "other"]


@pytest.mark.rfc(3261, "17.2.3")
def test_same_branch_of_another_sender_is_another_call(desk: Desk) -> None:
    first = desk.invite()

    other = first.replace(b"Call-ID: call", b"Call-ID: other")
    desk.peer.send(desk.us, other.replace(b"UDP 192.0.2.9;", b"UDP 192.0.2.10;"))
    desk.wire.run(0.1)

    assert [event.session.call_id for event in desk.us.all(Incoming)] == ["call", "other"]


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n", 200),
        ("Application/DTMF;x=y", b"5", 200),
        ("application/media_control+xml", b"<x/>", 415),
        ("junk", b"x", 400),
        (None, b"", 200),
    ],
)
def test_info_brings_digits(desk: Desk, kind: str | None, body: bytes, status: int) -> None:
    desk.invite()
    desk.answer()
    desk.ack()

    headers = (f"Content-Type: {kind}",) if kind else ()
    desk.request("INFO", cseq=2, to_tag=desk.session.id, body=body, headers=headers)

    assert desk.peer.response(f"{status} INFO")
    taken = [(event.content_type, event.body) for event in desk.us.all(Informed)]
    assert taken == ([(kind.partition(";")[0].lower(), body)] if kind and status == 200 else [])


def test_resent_info_is_one_digit(desk: Desk) -> None:
    desk.invite()
    desk.answer()
    desk.ack()

    for _ in range(2):
        desk.request(
            "INFO",
            cseq=2,
            branch="z9hG4bKinfo",
            to_tag=desk.session.id,
            body=b"5",
            headers=("Content-Type: application/dtmf",),
        )

    assert len(desk.us.all(Informed)) == 1
    assert len(desk.peer.got("200 INFO")) == 2


def test_a26_packed_digits_are_refused(desk: Desk) -> None:
    desk.invite()
    desk.answer()
    desk.ack()

    headers = ("Content-Type: application/dtmf", "Content-Encoding: gzip")
    desk.request("INFO", cseq=2, to_tag=desk.session.id, body=b"5", headers=headers)

    assert desk.peer.response("415 INFO").headers.get("Accept-Encoding") == "identity"
    assert desk.us.all(Informed) == []


@pytest.mark.parametrize(("method", "status"), [("SUBSCRIBE", 405), ("MESSAGE", 405), ("FLY", 501)])
def test_unsupported_methods_within_a_dialog_are_refused(
    desk: Desk, method: str, status: int
) -> None:
    desk.invite()
    desk.answer()
    desk.ack()

    desk.request(method, cseq=2, to_tag=desk.session.id)

    assert "BYE" in desk.peer.response(f"{status} {method}").allow
    assert desk.us.all(Ended) == []


def test_our_requests_within_the_dialog_follow_its_route_set(desk: Desk) -> None:
    desk.request(
        "INVITE",
        branch="z9hG4bKinvite",
        headers=("Record-Route: <sip:192.0.2.77:5070;lr>, <sip:p1.example;lr>",),
        body=OFFER,
    )
    desk.answer()
    desk.ack()

    desk.session.bye(desk.wire.now)
    desk.wire.run(0.1)

    (sent,) = desk.wire.sent("BYE")
    assert isinstance(sent.message, Request)
    assert sent.target == ("192.0.2.77", 5070)
    assert sent.message.uri == "sip:alice@192.0.2.9"
    assert len(sent.message.routes) == 2
    assert desk.peer.response("200").record_routes == sent.message.routes

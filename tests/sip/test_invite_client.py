"""The calling end of sessions: forks, CANCEL races, challenges, late offers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.sip.event import Answered, EndCause, Ended, Event, Gone, Progressed, Signalled
from gateway.sip.invite_client import MAX_FORKS, InviteClient
from gateway.sip.message import Request, Response
from tests.support.sip import ANSWER, OFFER, Line, Peer, Station, Wire

NONCE = 'Digest realm="trunk", nonce="n1", algorithm=SHA-256, qop="auth"'


@dataclass
class Desk:
    """Our endpoint, calling a scripted peer."""

    wire: Wire
    us: Station
    peer: Peer
    session: InviteClient

    @property
    def invite(self) -> Request:
        return self.peer.request("INVITE")

    def say(
        self,
        status: int,
        tag: str | None = None,
        *,
        body: bytes = b"",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Response:
        """Answer the last INVITE, and let that arrive."""
        response = self.peer.respond(self.us, self.invite, status, tag, body=body, headers=headers)
        self.wire.run(0.1)
        return response

    def answer_bye(self, status: int = 200) -> None:
        self.peer.respond(self.us, self.peer.request("BYE"), status)
        self.wire.run(0.1)

    def request(self, method: str, tag: str, *, cseq: int = 1, our_tag: str | None = None) -> None:
        """Send a request of the callee `tag` within its dialog, and let the answer come."""
        self.peer.send(
            self.us,
            f"{method} sip:192.0.2.1 SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK{method}{tag}{cseq};rport\r\n"
            f"From: <sip:bob@example.com>;tag={tag}\r\n"
            f"To: <sip:alice@example.com>;tag={our_tag or self.session.id}\r\n"
            f"Call-ID: {self.session.call_id}\r\nCSeq: {cseq} {method}\r\n"
            "Max-Forwards: 70\r\n\r\n",
        )
        self.wire.run(0.1)


def make_desk(
    offer: bytes | None = OFFER, password: str | None = None, realm: str | None = None
) -> Desk:
    wire = Wire()
    us = Station(wire, ("192.0.2.1", 5060))
    peer = Peer(wire, ("192.0.2.9", 5060))
    session = us.invite(peer.address, offer=offer, password=password, realm=realm)
    wire.run(0.1)
    return Desk(wire, us, peer, session)


@pytest.fixture
def desk() -> Desk:
    return make_desk()


def causes(station: Station) -> list[EndCause]:
    return [event.cause for event in station.all(Ended)]


def settle(desk: Desk) -> None:
    """Let everything run out: nothing may be left."""
    desk.wire.run(100)
    assert desk.us.endpoint.is_idle
    assert len(desk.us.all(Ended)) == len(desk.us.all(Gone)) == 1
    assert isinstance(desk.us.events[-1][1], Gone)


def test_call_is_answered_and_hung_up() -> None:
    line = Line()
    session = line.dial()
    line.callee.called.progress(183, ANSWER, line.wire.now)
    line.run(1)

    line.callee.called.answer(None, line.wire.now)
    line.run(5)
    session.bye(line.wire.now, "Q.850;cause=16;text=done")
    line.run(1)

    progressed, answered = line.caller.one(Progressed), line.caller.one(Answered)
    assert (progressed.status, progressed.body) == (183, ANSWER)
    assert (answered.body, answered.dialog_id) == (ANSWER, progressed.dialog_id)
    assert len(line.wire.sent("200 INVITE")) == len(line.wire.sent("ACK")) == 1
    assert line.callee.one(Ended).reason == "done"
    assert causes(line.caller) == [EndCause.LOCAL]


def test_final_response_is_reported_with_its_retry_after(desk: Desk) -> None:
    desk.say(503, "b", headers=(("Retry-After", "30 (busy);duration=60"), ("X-Node", "7")))

    ended = desk.us.one(Ended)
    assert (ended.cause, ended.status, ended.reason) == (
        EndCause.REJECTED, 503, "Service Unavailable",
    )  # fmt: skip
    assert ended.retry_after_s == 30
    assert ended.headers is not None
    assert ended.headers.get("X-Node") == "7"
    settle(desk)


def test_redirection_is_a_final_response(desk: Desk) -> None:
    desk.say(302, "b")

    assert desk.us.one(Ended).status == 302
    assert len(desk.peer.got("INVITE")) == 1
    settle(desk)


@pytest.mark.rfc(3261, "13.2.2.4")
def test_lost_ack_is_sent_again_for_each_resent_200() -> None:
    line = Line()
    line.wire.drop_next(3, "ACK")

    line.connect()
    line.run(10)

    assert line.wire.times("200") == [0, 0.5, 1.5, 3.5]
    acks = line.wire.sent("ACK")
    assert len(acks) == 4
    assert len({each.data for each in acks}) == 1
    assert len(line.caller.all(Answered)) == 1


def test_cancel_after_180_sends_cancel_and_takes_487() -> None:
    line = Line()
    session = line.dial()
    line.callee.called.progress(180, None, line.wire.now)
    line.run(1)

    session.cancel(line.wire.now, 'SIP;cause=200;text="Call completed elsewhere"')
    line.run(1)

    cancel, invite = line.wire.sent("CANCEL")[0].message, line.wire.sent("INVITE")[0].message
    assert isinstance(cancel, Request)
    assert cancel.vias == invite.vias
    assert (cancel.cseq.number, cancel.to, cancel.from_) == (
        invite.cseq.number, invite.to, invite.from_,
    )  # fmt: skip
    assert causes(line.caller) == [EndCause.LOCAL]
    ended = line.callee.one(Ended)
    assert (ended.cause, ended.reason) == (EndCause.CANCELLED, "Call completed elsewhere")
    assert len(line.wire.sent("200 CANCEL")) == len(line.wire.sent("487 INVITE")) == 1
    line.run(40)
    assert line.is_idle


@pytest.mark.rfc(3261, "9.1")
def test_s4_cancel_is_held_until_a_provisional_response(desk: Desk) -> None:
    desk.session.cancel(desk.wire.now)
    desk.wire.run(5)
    assert desk.peer.got("CANCEL") == []
    assert causes(desk.us) == [EndCause.LOCAL]

    desk.say(180, "b")

    assert len(desk.peer.got("CANCEL")) == 1
    desk.peer.respond(desk.us, desk.peer.request("CANCEL"), 200)
    desk.say(487, "b")
    assert desk.us.all(Progressed) == []
    settle(desk)


@pytest.mark.rfc(3261, "9.1")
def test_s4_200_before_the_held_cancel_gets_ack_and_bye(desk: Desk) -> None:
    desk.session.cancel(desk.wire.now)

    desk.say(200, "b", body=ANSWER)

    assert [m.method for m in desk.peer.inbox if isinstance(m, Request)] == ["INVITE", "ACK", "BYE"]
    desk.answer_bye()
    assert desk.us.all(Answered) == []
    settle(desk)


@pytest.mark.rfc(5407, "3.1.2")
def test_s3_cancel_crossing_200_gets_ack_and_bye() -> None:
    line = Line()
    session = line.dial()
    line.callee.called.progress(180, None, line.wire.now)
    line.run(1)

    session.cancel(line.wire.now)
    line.callee.called.answer(ANSWER, line.wire.now)
    line.run(1)

    assert line.wire.sent("487") == []
    sent = [m.message for m in line.wire.sent(by=line.caller)]
    assert [m.method for m in sent if isinstance(m, Request)] == [
        "INVITE", "CANCEL", "ACK", "BYE",
    ]  # fmt: skip
    assert line.caller.all(Answered) == []
    assert (causes(line.caller), causes(line.callee)) == ([EndCause.LOCAL], [EndCause.BYE])
    line.run(40)
    assert line.is_idle


@pytest.mark.rfc(3261, "9.1")
def test_s5_cancelled_invite_without_a_final_response_is_given_up(desk: Desk) -> None:
    desk.say(180, "b")
    at = desk.wire.now

    desk.session.cancel(at)
    desk.wire.run(0.1)
    desk.peer.respond(desk.us, desk.peer.request("CANCEL"), 200)
    desk.wire.run(31.8)
    assert desk.us.all(Gone) == []
    desk.wire.run(0.2)

    assert desk.us.at(Gone) - at == pytest.approx(32)
    assert desk.us.endpoint.is_idle
    desk.say(200, "b", body=ANSWER)
    assert desk.us.endpoint.strays == 1


def test_cancelled_call_over_a_reliable_transport_is_gone_at_once() -> None:
    line = Line(transport="tcp")
    session = line.dial()
    line.callee.called.progress(180, None, line.wire.now)
    line.run(1)

    session.cancel(line.wire.now)
    line.run(0.1)

    assert line.caller.one(Gone).session is session
    assert line.is_idle


def test_cancel_may_be_lost_and_refused(desk: Desk) -> None:
    desk.say(180, "b")
    desk.wire.drop_next(1, "CANCEL")

    desk.session.cancel(desk.wire.now)
    desk.wire.run(1)
    desk.peer.respond(desk.us, desk.peer.request("CANCEL"), 481)
    desk.say(486, "b")

    assert len(desk.wire.sent("CANCEL")) == 2
    settle(desk)


@pytest.mark.rfc(3261, "13.2.2.4")
def test_s6_second_forked_200_gets_ack_then_bye(desk: Desk) -> None:
    desk.say(180, "b")
    desk.say(180, "c")
    desk.say(200, "b", body=ANSWER)

    desk.say(200, "c", body=b"other")

    assert [m.to.tag for m in desk.peer.got("ACK")] == ["b", "c"]
    assert [(m.method, m.to.tag) for m in desk.peer.inbox if isinstance(m, Request)][1:] == [
        ("ACK", "b"), ("ACK", "c"), ("BYE", "c"),
    ]  # fmt: skip
    assert desk.peer.request("BYE").uri == "sip:c@192.0.2.9:5060"
    assert desk.us.one(Answered).dialog_id.remote_tag == "b"
    assert desk.us.all(Ended) == []
    desk.answer_bye()
    desk.session.bye(desk.wire.now)
    desk.wire.run(0.1)
    desk.answer_bye()
    settle(desk)


def test_s6_resent_200_of_each_fork_is_acknowledged_again(desk: Desk) -> None:
    desk.say(200, "b", body=ANSWER)
    desk.say(200, "c", body=ANSWER)
    desk.answer_bye()

    desk.say(200, "c", body=ANSWER)
    desk.say(200, "b", body=ANSWER)

    assert [m.to.tag for m in desk.peer.got("ACK")] == ["b", "c", "c", "b"]
    assert len(desk.peer.got("BYE")) == 1
    assert len(desk.us.all(Answered)) == 1


@pytest.mark.rfc(3261, "13.2.2.1")
def test_s7_each_tag_is_an_early_dialog_of_its_own(desk: Desk) -> None:
    desk.say(180, "b")
    desk.say(183, "c", body=b"early c")
    desk.say(180, "b")  # the same again: no news
    desk.say(183, "b", body=b"early b")

    desk.say(200, "d", body=ANSWER)

    assert [
        (e.status, e.body, e.dialog_id and e.dialog_id.remote_tag) for e in desk.us.all(Progressed)
    ] == [(180, None, "b"), (183, b"early c", "c"), (183, b"early b", "b")]
    assert desk.us.one(Answered).dialog_id.remote_tag == "d"


def test_s7_missing_to_tag_is_tolerated(desk: Desk) -> None:
    desk.say(180)
    desk.say(200, body=ANSWER)
    desk.session.bye(desk.wire.now)
    desk.wire.run(0.1)

    assert desk.us.one(Answered).dialog_id.remote_tag == ""
    assert desk.peer.request("BYE").to.tag is None
    desk.answer_bye()
    settle(desk)


def test_forks_are_bounded(desk: Desk) -> None:
    for number in range(MAX_FORKS + 5):
        desk.say(180, f"f{number}")

    assert len(desk.us.all(Progressed)) == MAX_FORKS
    desk.say(200, "f1", body=ANSWER)
    assert desk.us.one(Answered).dialog_id.remote_tag == "f1"


def test_early_dialogs_are_forgotten_after_timer_m(desk: Desk) -> None:
    desk.say(180, "b")
    desk.say(180, "c")
    desk.say(200, "b", body=ANSWER)

    desk.wire.run(33)
    desk.request("OPTIONS", "c")

    assert desk.peer.response("481 OPTIONS")
    desk.request("OPTIONS", "b")
    assert desk.peer.response("200 OPTIONS")


@pytest.mark.rfc(5407, "3.2.1")
def test_s8_byes_that_cross_are_both_answered() -> None:
    line = Line()
    session, called = line.connect()

    session.bye(line.wire.now)
    called.bye(line.wire.now)
    line.run(1)

    assert len(line.wire.sent("BYE")) == len(line.wire.sent("200 BYE")) == 2
    assert (causes(line.caller), causes(line.callee)) == ([EndCause.LOCAL], [EndCause.LOCAL])
    line.run(40)
    assert line.is_idle


@pytest.mark.rfc(3261, "15.1.2")
def test_s8_later_bye_gets_481(desk: Desk) -> None:
    desk.say(200, "b", body=ANSWER)
    desk.session.bye(desk.wire.now)
    desk.wire.run(0.1)
    desk.answer_bye()

    desk.request("BYE", "b")

    assert desk.peer.response("481 BYE")


@pytest.mark.rfc(5407, "3.2.1")
def test_s8_bye_that_crosses_a_provisional_response_to_ours_is_answered(desk: Desk) -> None:
    desk.say(200, "b", body=ANSWER)
    desk.session.bye(desk.wire.now)
    desk.wire.run(0.1)
    desk.answer_bye(100)

    desk.request("BYE", "b")

    assert desk.peer.response("200 BYE")
    settle(desk)


@pytest.mark.rfc(5407, "3.2.3")
def test_s14_reinvite_after_our_bye_gets_481(desk: Desk) -> None:
    desk.say(200, "b", body=ANSWER)
    desk.session.bye(desk.wire.now)
    desk.wire.run(0.1)

    desk.request("INVITE", "b")

    assert desk.peer.response("481 INVITE")


@pytest.mark.parametrize("status", [408, 481, 500])
def test_bye_is_final_whatever_is_answered(desk: Desk, status: int) -> None:
    desk.say(200, "b", body=ANSWER)
    desk.session.bye(desk.wire.now)
    desk.wire.run(0.1)

    desk.answer_bye(status)

    settle(desk)


@pytest.mark.rfc(3261, "15")
def test_s10_bye_of_a_callee_in_an_early_dialog_gets_481(desk: Desk) -> None:
    desk.say(180, "b")

    desk.request("BYE", "b")
    desk.say(200, "b", body=ANSWER)

    assert desk.peer.response("481 BYE")
    assert desk.us.one(Answered).body == ANSWER


@pytest.mark.rfc(3261, "14.2")
def test_s12_reinvite_while_ours_is_pending_gets_491(desk: Desk) -> None:
    desk.say(180, "b")

    desk.request("INVITE", "b")

    assert desk.peer.response("491 INVITE")


def test_bye_of_the_callee_ends_the_session(desk: Desk) -> None:
    desk.say(200, "b", body=ANSWER)

    desk.request("BYE", "b")
    desk.session.bye(desk.wire.now)
    desk.wire.run(0.1)

    assert desk.peer.response("200 BYE")
    assert causes(desk.us) == [EndCause.BYE]
    assert desk.peer.got("BYE") == []
    settle(desk)


def test_a18_bye_with_a_wrong_tag_gets_481_and_ends_nothing(desk: Desk) -> None:
    desk.say(200, "b", body=ANSWER)

    desk.request("BYE", "wrong")
    desk.request("BYE", "b", our_tag="wrong")

    assert len(desk.peer.got("481 BYE")) == 2
    assert desk.us.all(Ended) == []


@pytest.mark.rfc(3261, "13.2.1")
def test_s15_late_offer_is_answered_in_the_ack() -> None:
    desk = make_desk(offer=None)
    assert desk.invite.body == b""
    desk.say(200, "b", body=OFFER)
    assert desk.peer.got("ACK") == []
    desk.say(200, "b", body=OFFER)

    desk.session.ack(ANSWER, desk.wire.now)
    desk.wire.run(0.1)
    desk.say(200, "b", body=OFFER)

    assert desk.us.one(Answered).body == OFFER
    assert [m.body for m in desk.peer.got("ACK")] == [ANSWER, ANSWER]
    desk.session.ack(b"again", desk.wire.now)
    desk.wire.run(0.1)
    assert len(desk.peer.got("ACK")) == 2


def test_s15_late_offer_may_be_hung_up_on_unanswered() -> None:
    desk = make_desk(offer=None)
    desk.say(200, "b", body=OFFER)

    desk.session.bye(desk.wire.now)
    desk.wire.run(0.1)

    assert [(m.method, m.body) for m in desk.peer.inbox if isinstance(m, Request)][1:] == [
        ("ACK", b""), ("BYE", b""),
    ]  # fmt: skip
    desk.answer_bye()
    settle(desk)


def test_s15_bye_before_our_answer_ends_the_session() -> None:
    desk = make_desk(offer=None)
    desk.say(200, "b", body=OFFER)

    desk.request("BYE", "b")
    desk.session.ack(ANSWER, desk.wire.now)
    desk.wire.run(0.1)

    assert [m.body for m in desk.peer.got("ACK")] == [b""]
    assert causes(desk.us) == [EndCause.BYE]
    settle(desk)


@pytest.mark.rfc(3261, "22.2")
@pytest.mark.parametrize(
    ("status", "asked", "answered"),
    [
        (401, "WWW-Authenticate", "Authorization"),
        (407, "Proxy-Authenticate", "Proxy-Authorization"),
    ],
)
def test_s17_challenge_is_answered_in_a_new_transaction(
    status: int, asked: str, answered: str
) -> None:
    desk = make_desk(password="secret")
    first = desk.invite
    desk.say(180, "a")

    desk.say(status, "a", headers=((asked, NONCE),))
    second = desk.invite
    desk.say(200, "b", body=ANSWER)

    assert [m.to.tag for m in desk.peer.got("ACK")] == ["a", "b"]
    assert (first.cseq.number, second.cseq.number) == (1, 2)
    assert first.via.branch != second.via.branch
    assert (first.call_id, first.from_) == (second.call_id, second.from_)
    value = second.headers.get(answered)
    assert value is not None
    assert 'username="alice"' in value
    assert "nc=00000001" in value
    # §13.2.2.4: the ACK to a 2xx has the credentials of its INVITE.
    assert desk.peer.request("ACK").headers.get(answered) == value
    assert desk.us.one(Answered).dialog_id.remote_tag == "b"


def test_s17_wrong_password_is_tried_once() -> None:
    desk = make_desk(password="wrong")

    desk.say(401, "a", headers=(("WWW-Authenticate", NONCE),))
    desk.say(401, "b", headers=(("WWW-Authenticate", NONCE.replace("n1", "n2")),))

    assert len(desk.peer.got("INVITE")) == 2
    ended = desk.us.one(Ended)
    assert (ended.cause, ended.status) == (EndCause.REJECTED, 401)
    settle(desk)


def test_s17_stale_nonce_is_replaced_once() -> None:
    desk = make_desk(password="secret")

    for number in (1, 2, 3):
        challenge = f'Digest realm="trunk", nonce="n{number}", stale=true, qop="auth"'
        desk.say(401, "a", headers=(("WWW-Authenticate", challenge),))

    assert len(desk.peer.got("INVITE")) == 3
    assert desk.us.one(Ended).status == 401


def test_s17_proxy_and_callee_may_both_ask() -> None:
    desk = make_desk(password="secret")

    desk.say(407, "a", headers=(("Proxy-Authenticate", NONCE),))
    desk.say(401, "b", headers=(("WWW-Authenticate", NONCE.replace("n1", "n2")),))

    third = desk.invite
    assert "nc=00000002" in (third.headers.get("Proxy-Authorization") or "")
    assert 'nonce="n2"' in (third.headers.get("Authorization") or "")
    desk.say(200, "c", body=ANSWER)
    assert desk.us.all(Answered)


def test_s17_one_response_may_carry_both_challenges() -> None:
    desk = make_desk(password="secret")

    desk.say(
        401,
        "a",
        headers=(
            ("Proxy-Authenticate", NONCE),
            ("WWW-Authenticate", NONCE.replace("n1", "n2")),
        ),
    )

    second = desk.invite
    assert 'nonce="n1"' in (second.headers.get("Proxy-Authorization") or "")
    assert 'nonce="n2"' in (second.headers.get("Authorization") or "")


def test_s17_sha_256_is_preferred() -> None:
    desk = make_desk(password="secret")

    desk.say(
        401,
        "a",
        headers=(
            ("WWW-Authenticate", 'Digest realm="trunk", nonce="m", algorithm=MD5, qop="auth"'),
            ("WWW-Authenticate", NONCE),
        ),
    )

    assert "SHA-256" in (desk.invite.headers.get("Authorization") or "")


@pytest.mark.parametrize(
    "weaker",
    [
        'Digest realm="trunk", nonce="n2", algorithm=MD5, qop="auth", stale=true',
        'Digest realm="trunk", nonce="n2", algorithm=SHA-256, stale=true',
    ],
    ids=["md5", "no-qop"],
)
def test_a9_who_asked_for_sha_256_gets_nothing_weaker(weaker: str) -> None:
    desk = make_desk(password="secret")
    desk.say(401, "a", headers=(("WWW-Authenticate", NONCE),))

    desk.say(401, "b", headers=(("WWW-Authenticate", weaker),))

    assert len(desk.peer.got("INVITE")) == 2
    assert desk.us.one(Ended).status == 401


@pytest.mark.parametrize(
    ("password", "realm"), [(None, None), ("secret", "another realm")], ids=["none", "realm"]
)
def test_a9_challenge_stays_final_without_credentials_for_it(
    password: str | None, realm: str | None
) -> None:
    desk = make_desk(password=password, realm=realm)

    desk.say(401, "a", headers=(("WWW-Authenticate", NONCE),))

    assert len(desk.peer.got("INVITE")) == 1
    assert desk.us.one(Ended).status == 401


def test_a9_first_realm_is_pinned_for_the_bye() -> None:
    desk = make_desk(password="secret")
    desk.say(401, "a", headers=(("WWW-Authenticate", NONCE),))
    desk.say(200, "b", body=ANSWER)
    desk.session.bye(desk.wire.now)
    desk.wire.run(0.1)

    challenge = ("WWW-Authenticate", NONCE.replace("trunk", "evil"))
    desk.peer.respond(desk.us, desk.peer.request("BYE"), 401, headers=(challenge,))
    desk.wire.run(0.1)

    assert len(desk.peer.got("BYE")) == 1
    settle(desk)


def test_s17_challenged_bye_is_sent_again() -> None:
    desk = make_desk(password="secret")
    desk.say(401, "a", headers=(("WWW-Authenticate", NONCE),))
    desk.say(200, "b", body=ANSWER)
    desk.session.bye(desk.wire.now, "Q.850;cause=16")
    desk.wire.run(0.1)
    first = desk.peer.request("BYE")

    challenge = ("Proxy-Authenticate", NONCE)
    desk.peer.respond(desk.us, first, 407, headers=(challenge,))
    desk.wire.run(0.1)

    second = desk.peer.request("BYE")
    assert second.cseq.number == first.cseq.number + 1
    assert second.via.branch != first.via.branch
    assert "nc=00000002" in (second.headers.get("Proxy-Authorization") or "")
    assert second.headers.get("Reason") == "Q.850;cause=16"
    desk.answer_bye()
    settle(desk)


def test_challenge_after_cancel_is_not_answered() -> None:
    desk = make_desk(password="secret")
    desk.say(100)
    desk.session.cancel(desk.wire.now)

    desk.say(401, "a", headers=(("WWW-Authenticate", NONCE),))

    assert len(desk.peer.got("INVITE")) == 1
    desk.peer.respond(desk.us, desk.peer.request("CANCEL"), 200)
    settle(desk)


def test_each_message_is_signalled_once() -> None:
    line = Line()
    line.wire.drop_next(1, "INVITE")
    line.wire.duplicate_next(1, "180")
    line.wire.drop_next(1, "ACK")
    session = line.dial()
    line.run(1)

    line.callee.called.progress(180, None, line.wire.now)
    line.callee.called.answer(ANSWER, line.wire.now)
    line.run(2)
    session.bye(line.wire.now)
    line.run(2)

    ladder = ["INVITE", "100", "180", "200", "ACK", "BYE", "200"]
    assert [name(event) for event in line.caller.all(Signalled)] == ladder
    assert [name(event) for event in line.callee.all(Signalled)] == ladder
    sent = [event.sent for event in line.caller.all(Signalled)]
    assert sent == [not event.sent for event in line.callee.all(Signalled)]


def name(event: Signalled) -> str:
    message = event.message
    return message.method if isinstance(message, Request) else str(message.status)


@pytest.mark.parametrize("header", ["Via", "v", "ROUTE", "Contact", "m", "Content-Type"])
def test_a14_structural_headers_cannot_be_chosen(header: str) -> None:
    wire = Wire()
    us = Station(wire, ("192.0.2.1", 5060))

    with pytest.raises(ValueError, match="not a header to choose"):
        us.invite(("192.0.2.9", 5060), headers=((header, "x"),))

    assert us.endpoint.is_idle


@pytest.mark.parametrize("value", ["x\r\nX-Evil: 1", "x\n", "x\0"])
def test_a15_control_characters_are_refused(desk: Desk, value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        desk.us.invite(("192.0.2.9", 5060), headers=(("X-Name", value),))
    with pytest.raises(ValueError, match="line break"):
        desk.session.cancel(desk.wire.now, value)

    assert desk.us.all(Ended) == []


def test_nothing_but_signalled_comes_after_the_end(desk: Desk) -> None:
    desk.say(180, "b")
    desk.session.cancel(desk.wire.now)
    desk.say(183, "b", body=b"early")
    desk.say(200, "b", body=ANSWER)
    desk.answer_bye()
    desk.wire.run(60)

    kinds: list[type[Event]] = [type(event) for _, event in desk.us.events]
    assert set(kinds[kinds.index(Ended) + 1 :]) == {Signalled, Gone}
    assert kinds[-1] is Gone

"""Changes of a session that is up: re-INVITE and UPDATE, both ways, and their races."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.private import Secret
from gateway.sip.authenticator import Credentials
from gateway.sip.event import (
    Answered,
    EndCause,
    Ended,
    Gone,
    Incoming,
    ReofferAnswered,
    Reoffered,
    ReofferFailed,
)
from gateway.sip.message import Request
from gateway.sip.reoffer import MAX_GLARES, MAX_QUEUED, PATIENCE_S, PROMPT_S
from gateway.sip.session import Session
from tests.support.sip import ANSWER, OFFER, Line, Station
from tests.support.talk import Talk

HOLD = b"v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=hold\r\n"
HELD = b"v=0\r\no=- 2 3 IN IP4 192.0.2.2\r\ns=held\r\n"
RESUME = b"v=0\r\no=- 1 3 IN IP4 192.0.2.1\r\ns=resume\r\n"

either_role = pytest.mark.parametrize("we_call", [True, False], ids=["caller", "callee"])
either_method = pytest.mark.parametrize("update", [False, True], ids=["re-INVITE", "UPDATE"])


def hang_up(line: Line, session: Session) -> None:
    session.bye(line.wire.now)
    line.run(35)
    assert line.is_idle


@either_method
@either_role
@pytest.mark.rfc(3261, "14.1")
@pytest.mark.rfc(3311, "5.1")
def test_offer_is_answered_and_the_session_changed(we_call: bool, update: bool) -> None:
    line = Line()
    sessions = line.connect()
    ours, theirs = sessions if we_call else sessions[::-1]
    here, there = (line.caller, line.callee) if we_call else (line.callee, line.caller)

    ours.reoffer(HOLD, line.wire.now, update=update)
    line.run(0.1)
    reoffered = there.one(Reoffered)
    assert theirs.accept_reoffer(HELD, line.wire.now)
    line.run(5)

    assert (reoffered.session, reoffered.sdp, reoffered.by_update) == (theirs, HOLD, update)
    answered = here.one(ReofferAnswered)
    assert (answered.session, answered.sdp, answered.is_offer) == (ours, HELD, False)
    method = "UPDATE" if update else "INVITE"
    assert len(line.wire.sent(f"200 {method}")) == (1 if update else 2)
    assert len(line.wire.sent("ACK")) == (1 if update else 2)
    hang_up(line, theirs)


@either_role
def test_update_becomes_a_reinvite_for_a_peer_that_takes_none(we_call: bool) -> None:
    talk = Talk.up(we_call=we_call)
    talk.session.reoffer(HOLD, talk.now, update=True)
    talk.run()

    talk.say(405, to="UPDATE")
    talk.say(200, to="INVITE", body=HELD)

    assert talk.methods()[-3:] == ["UPDATE", "INVITE", "ACK"]
    assert talk.us.one(ReofferAnswered).sdp == HELD
    talk.session.reoffer(RESUME, talk.now, update=True)
    talk.run()
    assert talk.methods()[-1] == "INVITE"


def test_changes_wait_for_each_other() -> None:
    line = Line()
    session, called = line.connect()

    session.reoffer(HOLD, line.wire.now)
    session.reoffer(RESUME, line.wire.now)
    line.run(1)
    called.accept_reoffer(HELD, line.wire.now)
    line.run(1)
    called.accept_reoffer(ANSWER, line.wire.now)
    line.run(1)

    assert [event.sdp for event in line.callee.all(Reoffered)] == [HOLD, RESUME]
    assert [event.sdp for event in line.caller.all(ReofferAnswered)] == [HELD, ANSWER]
    hang_up(line, session)


def test_waiting_changes_are_bounded() -> None:
    talk = Talk.up(we_call=True)

    for _ in range(MAX_QUEUED + 3):
        talk.session.reoffer(HOLD, talk.now)
    talk.run()

    assert [event.status for event in talk.us.all(ReofferFailed)] == [491, 491]


def test_change_before_there_is_a_dialog_has_failed() -> None:
    talk = Talk()
    session = talk.call()

    session.reoffer(HOLD, talk.now)
    talk.run()

    assert talk.us.one(ReofferFailed).status == 491
    assert talk.methods() == ["INVITE"]


@pytest.mark.rfc(3311, "5.2")
def test_update_without_an_offer_is_answered_at_once() -> None:
    talk = Talk.up(we_call=False)

    talk.send("UPDATE", contact="sip:moved@192.0.2.9")

    assert talk.peer.response("200 UPDATE").body == b""
    assert talk.us.all(Reoffered) == []
    talk.session.bye(talk.now)
    talk.run()
    assert talk.peer.request("BYE").uri == "sip:moved@192.0.2.9"


# ---- S11: glare


@either_method
@pytest.mark.rfc(3261, "14.1")
@pytest.mark.rfc(5407, "3.3.1")
def test_s11_crossing_offers_are_both_refused_and_made_again(update: bool) -> None:
    line = Line()
    session, called = line.connect()

    session.reoffer(HOLD, line.wire.now, update=update)
    called.reoffer(RESUME, line.wire.now)
    for _ in range(60):
        line.run(0.1)
        session.accept_reoffer(ANSWER, line.wire.now)
        called.accept_reoffer(HELD, line.wire.now)

    refused = [each.at for each in line.wire.sent("491")]
    assert len(refused) == 2
    again = [
        each for each in line.wire.sent("UPDATE") + line.wire.sent("INVITE") if each.at > refused[0]
    ]
    waited = {each.source: each.at - refused[0] - 0.01 for each in again}
    assert 2.1 <= waited[line.caller.address] <= 4.1  # the owner of the Call-ID
    assert 0 <= waited[line.callee.address] <= 2.0
    assert line.caller.one(ReofferAnswered).sdp == HELD
    assert line.callee.one(ReofferAnswered).sdp == ANSWER
    hang_up(line, session)


@pytest.mark.rfc(3261, "14.1")
@pytest.mark.parametrize(
    ("we_call", "first", "last"), [(True, 2.1, 4.0), (False, 0.0, 2.0)], ids=["owner", "other"]
)
def test_s11_wait_is_random_in_steps_of_10_ms(we_call: bool, first: float, last: float) -> None:
    talk = Talk.up(we_call=we_call)
    waits = []
    for _ in range(5):
        talk.session.reoffer(HOLD, talk.now)
        talk.run()
        at = talk.now
        talk.say(491)  # heard 10 ms later
        talk.run(5)
        sent = next(each.at for each in talk.wire.sent("INVITE", by=talk.us) if each.at > at)
        waits.append(round(sent - at - 0.01, 6))
        talk.say(200, body=HELD)

    assert all(first <= wait <= last for wait in waits)
    assert all(round(wait * 100, 3).is_integer() for wait in waits)
    assert len(set(waits)) > 1


@pytest.mark.rfc(3311, "5.2")
@pytest.mark.parametrize("theirs", ["INVITE", "UPDATE"])
@either_method
def test_s11_offer_while_ours_is_open_gets_491(update: bool, theirs: str) -> None:
    talk = Talk.up(we_call=True)
    talk.session.reoffer(HOLD, talk.now, update=update)
    talk.run()

    talk.send(theirs, body=OFFER)

    assert talk.peer.response(f"491 {theirs}")
    assert talk.us.all(Reoffered) == []


def test_s11_offer_of_the_peer_is_taken_while_we_wait_after_a_491() -> None:
    talk = Talk.up(we_call=True)
    talk.session.reoffer(HOLD, talk.now)
    talk.run()
    talk.say(491)

    talk.send("INVITE", body=OFFER, cseq=7)
    talk.session.accept_reoffer(ANSWER, talk.now)
    talk.run(5)

    assert talk.peer.response("200 INVITE").body == ANSWER
    assert len(talk.peer.got("INVITE")) == 2  # ours waits for the ACK
    talk.ack(7)
    assert len(talk.peer.got("INVITE")) == 3
    assert talk.peer.request("INVITE").body == HOLD


def test_s11_offer_is_made_anew_after_that_of_the_peer() -> None:
    talk = Talk.up(we_call=True)
    offers = iter([b"v=0\r\nfirst\r\n", b"v=0\r\nsecond\r\n"])
    talk.session.reoffer(lambda: next(offers), talk.now)
    talk.run()
    talk.say(491)
    talk.send("INVITE", body=OFFER, cseq=7)
    talk.session.accept_reoffer(ANSWER, talk.now)
    talk.run()
    talk.ack(7)

    talk.run(5)

    bodies = [m.body for m in talk.peer.got("INVITE") if m.body != OFFER]
    assert bodies[0] == b"v=0\r\nfirst\r\n"
    assert bodies[-1] == b"v=0\r\nsecond\r\n"


def test_s11_peer_that_always_refuses_is_given_up_on() -> None:
    talk = Talk.up(we_call=False)
    talk.session.reoffer(HOLD, talk.now)

    for _ in range(MAX_GLARES + 1):
        talk.run(2.5)
        talk.say(491)

    assert talk.us.one(ReofferFailed).status == 491
    talk.run(5)
    tries = {m.via.branch for m in talk.peer.got("INVITE")}
    assert len(tries) == MAX_GLARES + 1
    talk.hang_up()


# ---- S12: more than one


@pytest.mark.rfc(3261, "14.2")
@pytest.mark.rfc(3311, "5.2")
@pytest.mark.parametrize("second", ["INVITE", "UPDATE"])
@pytest.mark.parametrize("first", ["INVITE", "UPDATE"])
def test_s12_second_offer_before_the_first_is_answered_gets_500(first: str, second: str) -> None:
    talk = Talk.up(we_call=True)
    talk.send(first, body=OFFER, cseq=7)

    talk.send(second, body=OFFER, cseq=8)

    retry = talk.peer.response(f"500 {second}").retry_after_s
    assert retry is not None
    assert 0 <= retry <= 10
    assert len(talk.us.all(Reoffered)) == 1
    assert talk.session.accept_reoffer(ANSWER, talk.now)
    talk.run()
    assert talk.peer.response(f"200 {first}").body == ANSWER


@pytest.mark.rfc(3311, "5.2")
def test_s12_update_without_an_offer_is_taken_meanwhile() -> None:
    talk = Talk.up(we_call=True)
    talk.send("INVITE", body=OFFER)

    talk.send("UPDATE")

    assert talk.peer.response("200 UPDATE")
    assert talk.session.accept_reoffer(ANSWER, talk.now)


@pytest.mark.rfc(6337, "4.3")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_s12_offer_before_the_answer_to_that_of_our_200_gets_500(method: str) -> None:
    talk = Talk.up(we_call=True)
    talk.send("INVITE", cseq=7)
    talk.session.accept_reoffer(OFFER, talk.now)
    talk.run()

    talk.send(method, body=OFFER, cseq=8)

    assert talk.peer.response(f"500 {method}").retry_after_s is not None


@pytest.mark.rfc(5407, "3.1.4")
def test_reinvite_before_the_ack_of_the_first_200_is_taken() -> None:
    talk = Talk()
    talk.ring().answer(ANSWER, talk.now)
    talk.run()

    talk.send("INVITE", body=HOLD, cseq=2)
    talk.session.accept_reoffer(HELD, talk.now)
    talk.run()
    talk.ack(1)
    talk.ack(2)
    talk.run(40)

    assert talk.peer.response("200 INVITE").body == HELD
    assert talk.us.all(Ended) == []
    talk.hang_up()


# ---- S13: refused


@either_method
@pytest.mark.parametrize("status", [400, 403, 480, 488, 500, 503, 603])
@pytest.mark.rfc(3261, "14.1")
def test_s13_refused_offer_leaves_the_session_as_it_was(status: int, update: bool) -> None:
    talk = Talk.up(we_call=True)
    method = "UPDATE" if update else "INVITE"
    talk.session.reoffer(HOLD, talk.now, update=update)
    talk.run()

    talk.say(status, to=method)

    assert talk.us.one(ReofferFailed).status == status
    assert talk.us.all(Ended) == []
    talk.session.reoffer(RESUME, talk.now, update=update)
    talk.run()
    talk.say(200, to=method, body=ANSWER)
    assert talk.us.one(ReofferAnswered).sdp == ANSWER
    talk.hang_up()


@either_method
@pytest.mark.parametrize("status", [408, 481])
@pytest.mark.rfc(3261, "12.2.1.2")
def test_s13_peer_that_knows_no_such_session_gets_a_bye(status: int, update: bool) -> None:
    talk = Talk.up(we_call=False)
    talk.session.reoffer(HOLD, talk.now, update=update)
    talk.run()

    talk.say(status, to="UPDATE" if update else "INVITE")

    assert talk.cause is EndCause.LOST
    assert talk.us.all(ReofferFailed) == []
    talk.say(481, to="BYE")
    talk.settle()


@either_method
def test_s13_silence_on_an_offer_ends_with_bye(update: bool) -> None:
    talk = Talk.up(we_call=True)
    talk.session.reoffer(HOLD, talk.now, update=update)

    talk.run(31)
    assert talk.us.all(Ended) == []
    talk.run(2)

    assert talk.cause is EndCause.LOST
    assert talk.methods()[-1] == "BYE"
    talk.settle()


def test_s13_our_refusal_leaves_the_session_and_its_target_as_they_were() -> None:
    talk = Talk.up(we_call=False)

    talk.send("INVITE", body=HOLD, contact="sip:elsewhere@192.0.2.9", cseq=7)
    talk.session.refuse_reoffer(488, talk.now)
    talk.run()
    talk.ack(7)

    assert talk.peer.response("488 INVITE")
    talk.session.bye(talk.now)
    talk.run()
    assert talk.peer.request("BYE").uri == "sip:peer@192.0.2.9"  # RFC 6141 §4.6


@pytest.mark.rfc(6141, "4.6")
def test_accepted_reinvite_refreshes_the_target() -> None:
    talk = Talk.up(we_call=False)

    talk.send("INVITE", body=HOLD, contact="sip:elsewhere@192.0.2.9", cseq=7)
    talk.session.accept_reoffer(HELD, talk.now)
    talk.run()
    talk.ack(7)
    talk.session.bye(talk.now)
    talk.run()

    assert talk.peer.request("BYE").uri == "sip:elsewhere@192.0.2.9"


@pytest.mark.rfc(6141, "4.7")
def test_answer_to_ours_refreshes_the_target() -> None:
    talk = Talk.up(we_call=True)
    talk.session.reoffer(HOLD, talk.now)
    talk.run()

    talk.say(200, body=HELD, tag=talk.peer.request("INVITE").to.tag or "")
    talk.peer.respond(
        talk.us,
        talk.peer.request("INVITE"),
        200,
        body=HELD,
        headers=[("Contact", "<sip:late@192.0.2.9>")],
    )
    talk.session.bye(talk.now)
    talk.run()

    assert talk.peer.request("BYE").uri == "sip:peer@192.0.2.9:5060"  # a resent 200 is no news


@pytest.mark.parametrize(
    ("method", "patience_s", "status"), [("INVITE", PATIENCE_S, 500), ("UPDATE", PROMPT_S, 504)]
)
def test_offer_that_our_user_does_not_answer_is_refused(
    method: str, patience_s: float, status: int
) -> None:
    talk = Talk.up(we_call=True)
    talk.send(method, body=HOLD)

    talk.run(patience_s - 1)
    assert talk.peer.got(f"{status} {method}") == []
    talk.run(1)

    assert talk.peer.response(f"{status} {method}")
    assert not talk.session.accept_reoffer(HELD, talk.now)
    talk.hang_up()


@pytest.mark.rfc(3261, "9.2")
def test_cancelled_reinvite_is_asked_no_more() -> None:
    talk = Talk.up(we_call=True)
    talk.send("INVITE", body=HOLD, branch="z9hG4bKhold", cseq=7)

    talk.send("CANCEL", branch="z9hG4bKhold", cseq=7)

    assert talk.peer.response("200 CANCEL")
    assert talk.peer.response("487 INVITE")
    assert not talk.session.accept_reoffer(HELD, talk.now)
    assert talk.us.all(Ended) == []
    talk.hang_up()


@pytest.mark.parametrize("is_called", [True, False])
def test_cancel_of_the_answered_invite_does_nothing_to_a_reinvite(is_called: bool) -> None:
    talk = Talk.up(we_call=not is_called)
    talk.send("INVITE", body=HOLD, branch="z9hG4bKhold")

    talk.send("CANCEL", branch="z9hG4bKother")

    assert talk.peer.response("481 CANCEL")
    assert talk.session.accept_reoffer(HELD, talk.now)


def test_reinvite_that_rings_for_ever_is_cancelled() -> None:
    talk = Talk.up(we_call=True)
    talk.session.reoffer(HOLD, talk.now)
    talk.run()
    talk.say(180)

    talk.run(PATIENCE_S)
    talk.say(200, to="CANCEL")
    talk.say(487)

    assert talk.us.one(ReofferFailed).status == 487
    assert talk.us.all(Ended) == []
    talk.hang_up()


def test_reinvite_that_not_even_cancel_ends_ends_the_session() -> None:
    talk = Talk.up(we_call=True)
    talk.session.reoffer(HOLD, talk.now)
    talk.run()
    talk.say(180)

    talk.run(PATIENCE_S + 33)

    assert talk.cause is EndCause.LOST
    talk.settle()


# ---- the 2xx and its ACK


def test_lost_200_to_a_reinvite_is_resent_until_its_ack() -> None:
    line = Line()
    session, called = line.connect()
    session.reoffer(HOLD, line.wire.now)
    line.run(0.1)
    line.wire.drop_next(3, "200 INVITE")

    called.accept_reoffer(HELD, line.wire.now)
    line.run(10)

    resent = line.wire.times("200 INVITE")[1:]
    assert [round(at - resent[0], 3) for at in resent] == [0, 0.5, 1.5, 3.5]
    assert len({each.data for each in line.wire.sent("200 INVITE")[1:]}) == 1
    assert line.caller.one(ReofferAnswered).sdp == HELD
    hang_up(line, session)


def test_lost_ack_to_a_reinvite_is_sent_again() -> None:
    line = Line()
    session, called = line.connect()
    session.reoffer(HOLD, line.wire.now)
    line.run(0.1)
    line.wire.drop_next(2, "ACK")

    called.accept_reoffer(HELD, line.wire.now)
    line.run(10)

    acks = line.wire.sent("ACK")[1:]
    assert len(acks) == 3
    assert len({each.data for each in acks}) == 1
    assert len(line.caller.all(ReofferAnswered)) == 1
    hang_up(line, called)


@pytest.mark.rfc(3261, "13.3.1.4")
def test_200_to_a_reinvite_never_acknowledged_ends_with_bye() -> None:
    talk = Talk.up(we_call=True)
    talk.send("INVITE", body=HOLD)
    talk.session.accept_reoffer(HELD, talk.now)

    talk.run(31.9)
    assert talk.us.all(Ended) == []
    talk.run(0.2)

    assert talk.cause is EndCause.NO_ACK
    assert talk.methods()[-1] == "BYE"
    talk.say(200, to="BYE")
    talk.settle()


# ---- S14: BYE crosses


@pytest.mark.rfc(5407, "3.2.3")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_s14_our_bye_answers_a_pending_offer_with_487(method: str) -> None:
    talk = Talk.up(we_call=True)
    talk.send(method, body=HOLD)

    talk.session.bye(talk.now)
    talk.run()

    assert talk.peer.response(f"487 {method}")
    assert talk.methods()[-1] == "BYE"
    assert not talk.session.accept_reoffer(HELD, talk.now)
    talk.say(200, to="BYE")
    talk.settle()


@pytest.mark.rfc(3261, "15.1.2")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "REFER"])
@either_role
def test_s14_bye_of_the_peer_answers_its_pending_request_with_487(
    we_call: bool, method: str
) -> None:
    talk = Talk.up(we_call=we_call)
    talk.send(method, "Refer-To: <sip:c@example.com>", body=b"" if method == "REFER" else HOLD)

    talk.send("BYE")

    assert talk.peer.response("200 BYE")
    assert talk.peer.response(f"487 {method}")
    assert talk.cause is EndCause.BYE
    talk.settle()


@pytest.mark.rfc(5407, "3.2.2")
@either_role
def test_s14_late_200_to_our_reinvite_is_acknowledged_after_their_bye(we_call: bool) -> None:
    talk = Talk.up(we_call=we_call)
    talk.session.reoffer(HOLD, talk.now)
    talk.run()

    talk.send("BYE")
    talk.say(200, body=HELD)

    assert talk.peer.response("200 BYE")
    assert talk.methods()[-1] == "ACK"
    assert talk.us.all(ReofferAnswered) == []
    talk.settle()


@either_role
def test_s14_our_bye_while_ours_is_pending_acknowledges_what_crosses(we_call: bool) -> None:
    talk = Talk.up(we_call=we_call)
    talk.session.reoffer(HOLD, talk.now)
    talk.run()

    talk.session.bye(talk.now)
    talk.run()
    talk.say(200, body=HELD)
    talk.say(200, to="BYE")

    assert talk.methods()[-3:] == ["INVITE", "BYE", "ACK"]
    talk.settle()


def test_s14_peer_that_never_answers_its_pending_reinvite_is_forgotten() -> None:
    talk = Talk.up(we_call=True)
    talk.session.reoffer(HOLD, talk.now)
    talk.run()
    talk.say(100)

    talk.session.bye(talk.now)
    talk.run()
    talk.say(200, to="BYE")
    if talk.peer.got("CANCEL"):
        talk.say(200, to="CANCEL")
    talk.run(35)

    assert talk.us.endpoint.is_idle


# ---- S15: late offers


@either_role
@pytest.mark.rfc(3261, "14.1")
def test_s15_late_offer_of_ours_is_answered_in_the_ack(we_call: bool) -> None:
    line = Line()
    sessions = line.connect()
    ours, theirs = sessions if we_call else sessions[::-1]
    here, there = (line.caller, line.callee) if we_call else (line.callee, line.caller)
    ours.reoffer(None, line.wire.now)
    line.run(0.1)
    assert there.one(Reoffered).sdp is None
    theirs.accept_reoffer(OFFER, line.wire.now)
    line.run(0.1)

    answered = here.one(ReofferAnswered)
    assert (answered.sdp, answered.is_offer) == (OFFER, True)
    ours.ack(ANSWER, line.wire.now)
    line.run(1)

    told = there.one(ReofferAnswered)
    assert (told.sdp, told.is_offer) == (ANSWER, False)
    hang_up(line, ours)


@pytest.mark.rfc(3261, "14.2")
def test_s15_ack_without_an_answer_to_our_offer_ends_with_bye() -> None:
    talk = Talk.up(we_call=True)
    talk.send("INVITE", cseq=7)
    talk.session.accept_reoffer(OFFER, talk.now)
    talk.run()

    talk.ack(7)

    assert talk.cause is EndCause.NO_ANSWER_SDP
    assert talk.methods()[-1] == "BYE"
    talk.say(200, to="BYE")
    talk.settle()


def test_s15_200_without_the_offer_that_we_asked_for_is_acknowledged_and_has_failed() -> None:
    talk = Talk.up(we_call=True)
    talk.session.reoffer(None, talk.now)
    talk.run()

    talk.say(200)

    assert talk.methods()[-1] == "ACK"
    assert talk.us.one(ReofferFailed).status == 488
    assert talk.us.all(Ended) == []
    talk.hang_up()


def test_s15_bye_before_our_answer_still_acknowledges() -> None:
    talk = Talk.up(we_call=True)
    talk.session.reoffer(None, talk.now)
    talk.run()
    talk.say(200, body=OFFER)

    talk.session.bye(talk.now)
    talk.run()

    assert talk.methods()[-2:] == ["ACK", "BYE"]
    talk.say(200, to="BYE")
    talk.settle()


# ---- S17, S18


def test_s17_challenged_reinvite_is_sent_again_with_a_new_number() -> None:
    talk = Talk()
    talk.call(credentials=Credentials("alice", Secret("secret")))
    talk.say(200, body=ANSWER)
    talk.session.reoffer(HOLD, talk.now)
    talk.run()
    first = talk.peer.request("INVITE")

    challenge = 'Digest realm="trunk", nonce="n1", algorithm=SHA-256, qop="auth"'
    talk.say(401, ("WWW-Authenticate", challenge))
    second = talk.peer.request("INVITE")
    talk.say(200, body=HELD)

    assert second.cseq.number == first.cseq.number + 1
    assert second.via.branch != first.via.branch
    value = second.headers.get("Authorization")
    assert value is not None
    assert talk.peer.request("ACK").headers.get("Authorization") == value
    assert talk.us.one(ReofferAnswered).sdp == HELD
    talk.hang_up()


@pytest.mark.rfc(3261, "12.2.2")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "REFER", "NOTIFY", "INFO", "PRACK"])
def test_s18_lower_number_gets_500(method: str) -> None:
    talk = Talk.up(we_call=True)
    talk.send("OPTIONS", cseq=9)

    talk.send(method, cseq=8)

    assert talk.peer.response(f"500 {method}")
    assert talk.us.all(Reoffered) == []


@pytest.mark.rfc(3261, "8.2.2.3")
@pytest.mark.parametrize("method", ["INVITE", "UPDATE"])
def test_s18_unknown_extension_within_the_dialog_gets_420(method: str) -> None:
    talk = Talk.up(we_call=True)

    talk.send(method, "Require: magic", body=HOLD)

    assert talk.peer.response(f"420 {method}").headers.get("Unsupported") == "magic"


def test_s18_stray_acks_are_ignored() -> None:
    talk = Talk.up(we_call=True)
    talk.send("INVITE", body=HOLD, cseq=7)
    talk.session.accept_reoffer(HELD, talk.now)
    talk.run()
    before = len(talk.peer.inbox)

    talk.ack(6)
    talk.ack(7)
    talk.ack(7)
    talk.run(5)

    assert len([m for m in talk.peer.inbox[before:] if m.cseq.method != "INVITE"]) == 0
    assert len(talk.peer.got("200 INVITE")) == 1


@pytest.mark.parametrize("kind", ["text/plain", "application/isup"])
def test_offer_of_another_type_gets_415(kind: str) -> None:
    talk = Talk.up(we_call=True)

    talk.send("UPDATE", f"Content-Type: {kind}", body=b"x")

    assert talk.peer.response("415 UPDATE")


# ---- all at once


def act(line: Line, session: Session, station: Station, dice: random.Random) -> None:
    """Do one thing at one end, and what a leg would do about what came."""
    now = line.wire.now
    choice = dice.randrange(8)
    if choice < 3:
        session.reoffer(dice.choice([HOLD, RESUME, None]), now, update=bool(dice.randrange(2)))
    elif choice == 3:
        session.refuse_reoffer(dice.choice([488, 500, 603]), now)
    elif choice < 7:
        session.accept_reoffer(dice.choice([HELD, ANSWER]), now)
    session.ack(ANSWER, now)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), loss=st.sampled_from([0.0, 0.1, 0.25]))
def test_bad_wire_settles_every_change(seed: int, loss: float) -> None:
    line, dice = Line(), random.Random(seed)
    session, called = line.connect()
    line.wire.impair(seed, loss=loss, duplication=0.2, jitter_s=1.0)

    for _ in range(15):
        line.run(dice.choice([0.0, 0.05, 0.4, 1.5]))
        act(line, session, line.caller, dice)
        act(line, called, line.callee, dice)
    for _ in range(200):  # answer what is asked, for as long as changes wait
        line.run(1)
        for each in (session, called):
            each.accept_reoffer(ANSWER, line.wire.now)
            each.ack(ANSWER, line.wire.now)
    is_up = [not station.all(Ended) for station in (line.caller, line.callee)]
    assert is_up[0] == is_up[1]
    session.bye(line.wire.now)
    called.bye(line.wire.now)
    line.run(70)

    assert line.is_idle
    assert len(line.caller.all(Gone)) == len(line.callee.all(Gone)) == 1
    if loss == 0.0:
        assert is_up[0]


def test_each_request_has_a_higher_number() -> None:
    talk = Talk.up(we_call=True)
    for sdp in (HOLD, RESUME):
        talk.session.reoffer(sdp, talk.now)
        talk.run()
        talk.say(200, body=ANSWER)
    talk.session.bye(talk.now)
    talk.run()

    numbers = [m.cseq.number for m in talk.peer.inbox if isinstance(m, Request)]
    assert numbers == [1, 1, 2, 2, 3, 3, 4]
    assert talk.us.one(Answered)
    assert talk.us.all(Incoming) == []


@either_method
@either_role
def test_s19_both_hold_and_resume_one_after_the_other(we_call: bool, update: bool) -> None:
    line = Line()
    sessions = line.connect()
    first, second = sessions if we_call else sessions[::-1]
    ends = {first: line.caller, second: line.callee}
    if not we_call:
        ends = {first: line.callee, second: line.caller}

    for ours, theirs, sdp in (
        (first, second, HOLD),
        (second, first, HOLD),
        (first, second, RESUME),
        (second, first, RESUME),
    ):
        ours.reoffer(sdp, line.wire.now, update=update)
        line.run(0.1)
        assert ends[theirs].all(Reoffered)[-1].sdp == sdp
        assert theirs.accept_reoffer(HELD, line.wire.now)
        line.run(0.1)
        assert ends[ours].all(ReofferAnswered)[-1].sdp == HELD

    assert line.caller.all(Ended) == line.callee.all(Ended) == []
    hang_up(line, first)

"""Provisional responses that arrive for sure: 100rel and PRACK, both roles (RFC 3262), S16."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.private import Secret
from gateway.sip.authenticator import Credentials
from gateway.sip.endpoint import EndpointOptions
from gateway.sip.event import (
    Acked,
    Answered,
    EndCause,
    Ended,
    Progressed,
    ReofferAnswered,
    Reoffered,
)
from gateway.sip.invite_server import InviteServer
from gateway.sip.message import Request, build_response
from gateway.sip.reliable import MAX_PRACKS, MAX_WAITING
from tests.support.sip import ANSWER, OFFER, Line
from tests.support.talk import TAG, Talk

HOLD = b"v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=hold\r\n"
HELD = b"v=0\r\no=- 2 3 IN IP4 192.0.2.2\r\ns=held\r\n"
RELIABLE = EndpointOptions(reliable=True)


def rseq(number: int) -> tuple[tuple[str, str], ...]:
    return (("Require", "100rel"), ("RSeq", str(number)))


def racks(talk: Talk) -> list[str | None]:
    return [message.headers.get("RAck") for message in talk.peer.got("PRACK")]


# ---- our INVITE


def test_invite_says_whether_it_may() -> None:
    talk = Talk()

    talk.call()
    may = talk.peer.request("INVITE").supported
    talk.call(reliable=False)
    may_not = talk.peer.request("INVITE").supported

    assert "100rel" in may
    assert "100rel" not in may_not


@pytest.mark.rfc(3262, "4")
def test_s16_reliable_responses_are_acknowledged_in_order() -> None:
    talk = Talk()
    talk.call()

    talk.say(183, *rseq(4_000_000_000), body=ANSWER)
    talk.say(200, to="PRACK")
    talk.say(180, *rseq(4_000_000_001))
    talk.say(200, to="PRACK")
    talk.say(200)

    assert racks(talk) == ["4000000000 1 INVITE", "4000000001 1 INVITE"]
    assert [m.cseq.number for m in talk.peer.got("PRACK")] == [2, 3]
    assert [(e.status, e.body) for e in talk.us.all(Progressed)] == [(183, ANSWER), (180, None)]
    assert talk.us.one(Answered).body is None
    assert talk.methods() == ["INVITE", "PRACK", "PRACK", "ACK"]
    talk.hang_up()


@pytest.mark.rfc(3262, "4")
def test_s16_resent_response_is_not_acknowledged_again() -> None:
    talk = Talk()
    talk.call()
    talk.say(183, *rseq(7), body=ANSWER)

    talk.say(183, *rseq(7), body=ANSWER)
    talk.say(183, *rseq(7), body=ANSWER)

    assert len({m.via.branch for m in talk.peer.got("PRACK")}) == 1
    assert len(talk.us.all(Progressed)) == 1


@pytest.mark.rfc(3262, "4")
def test_s16_response_out_of_order_is_as_if_it_had_not_come() -> None:
    talk = Talk()
    talk.call()
    talk.say(183, *rseq(7), body=ANSWER)

    talk.say(180, *rseq(9))
    talk.say(182, *rseq(6))
    talk.say(181, *rseq(8))

    assert racks(talk)[-1] == "8 1 INVITE"
    assert [e.status for e in talk.us.all(Progressed)] == [183, 181]


def test_s16_same_response_anew_is_acknowledged() -> None:
    talk = Talk()
    talk.call()
    talk.say(180, *rseq(7))
    talk.say(200, to="PRACK")

    talk.say(180, *rseq(8))  # the refresh of each minute (RFC 3261 §13.3.1.1)

    assert racks(talk) == ["7 1 INVITE", "8 1 INVITE"]


def test_s16_forks_are_counted_apart() -> None:
    talk = Talk()
    talk.call()

    talk.say(183, *rseq(7), body=ANSWER, tag="b")
    talk.say(183, *rseq(70), body=ANSWER, tag="c")
    talk.say(180, *rseq(8), tag="b")
    talk.say(200, body=ANSWER, tag="c")

    assert [(m.headers.get("RAck"), m.to.tag) for m in first_tries(talk)] == [
        ("7 1 INVITE", "b"), ("70 1 INVITE", "c"), ("8 1 INVITE", "b"),
    ]  # fmt: skip
    assert talk.peer.request("PRACK").uri == "sip:b@192.0.2.9:5060"
    assert talk.us.one(Answered).dialog_id.remote_tag == "c"


def test_s16_lost_prack_is_sent_again() -> None:
    talk = Talk()
    talk.call()
    talk.wire.drop_next(2, "PRACK")

    talk.say(183, *rseq(7), body=ANSWER, seconds=2)

    assert talk.wire.times("PRACK") == [0, 0.5, 1.5]


@pytest.mark.parametrize("status", [400, 481, 500])
def test_s16_refused_prack_leaves_the_invite_running(status: int) -> None:
    talk = Talk()
    talk.call()
    talk.say(183, *rseq(7), body=ANSWER)

    talk.say(status, to="PRACK")
    talk.say(200, body=ANSWER)

    assert talk.us.one(Answered).body == ANSWER
    talk.hang_up()


def test_s16_response_after_cancel_is_acknowledged() -> None:
    talk = Talk()
    session = talk.call()
    talk.say(100)
    session.cancel(talk.now)
    talk.run()

    talk.say(183, *rseq(7), body=ANSWER)
    talk.say(200, to="CANCEL")
    talk.say(487)
    talk.say(481, to="PRACK")

    assert racks(talk)[0] == "7 1 INVITE"
    assert [e.status for e in talk.us.all(Progressed)] == [100]
    talk.settle()


def test_s16_100_and_responses_without_a_number_are_not_acknowledged() -> None:
    talk = Talk()
    talk.call()

    talk.say(100, *rseq(7))
    talk.say(180, ("RSeq", "8"))
    talk.say(181, ("Require", "100rel"))
    talk.say(182, ("Require", "100rel"), ("RSeq", "many"))

    assert talk.peer.got("PRACK") == []
    assert [e.status for e in talk.us.all(Progressed)] == [100, 180, 181, 182]


def test_unanswered_pracks_are_bounded() -> None:
    talk = Talk()
    talk.call()

    for number in range(MAX_PRACKS + 5):
        talk.say(180, *rseq(number), seconds=0.05)

    assert len(first_tries(talk)) == MAX_PRACKS


@pytest.mark.rfc(3262, "5")
def test_s16_late_offer_in_a_reliable_response_is_answered_in_the_prack() -> None:
    talk = Talk()
    session = talk.call(offer=None)
    talk.say(183, *rseq(7), body=OFFER)
    progressed = talk.us.one(Progressed)
    assert talk.peer.got("PRACK") == []

    assert progressed.dialog_id is not None
    session.prack(ANSWER, progressed.dialog_id, talk.now)
    talk.run()
    talk.say(200, to="PRACK")
    talk.say(200)

    assert (progressed.body, progressed.is_offer) == (OFFER, True)
    assert talk.peer.request("PRACK").body == ANSWER
    assert talk.peer.request("ACK").body == b""  # by itself: it is answered already
    talk.hang_up()


@pytest.mark.rfc(6141, "4.7")
def test_only_a_reliable_response_refreshes_the_target_of_an_early_dialog() -> None:
    talk = Talk()
    talk.call()
    invite = talk.peer.request("INVITE")

    for contact, headers in (("b", rseq(7)), ("c", ()), ("", rseq(8))):
        named = [("Contact", f"<sip:{contact}@192.0.2.9>")] if contact else []
        response = build_response(invite, 183, to_tag=TAG, headers=[*named, *headers])
        talk.peer.send(talk.us, response)
        talk.run()

    assert [m.uri for m in first_tries(talk)] == ["sip:b@192.0.2.9", "sip:b@192.0.2.9"]
    talk.send("UPDATE", contact="sip:e@192.0.2.9")
    talk.peer.send(talk.us, build_response(invite, 180, to_tag=TAG, headers=rseq(9)))
    talk.run()
    assert talk.peer.request("PRACK").uri == "sip:e@192.0.2.9"


def test_s17_challenged_prack_is_sent_again() -> None:
    talk = Talk()
    talk.call(credentials=Credentials("alice", Secret("secret")))
    talk.say(183, *rseq(7), body=ANSWER)

    challenge = 'Digest realm="trunk", nonce="n1", algorithm=SHA-256, qop="auth"'
    talk.say(407, ("Proxy-Authenticate", challenge), to="PRACK")

    first, second = first_tries(talk)
    assert first.headers.get("RAck") == second.headers.get("RAck") == "7 1 INVITE"
    assert second.headers.get("Proxy-Authorization") is not None
    assert second.cseq.number == first.cseq.number + 1


@pytest.mark.rfc(3261, "22.2")
def test_s17_invite_challenged_after_a_prack_has_a_higher_number() -> None:
    talk = Talk()
    talk.call(credentials=Credentials("alice", Secret("secret")))
    talk.say(183, *rseq(7), body=ANSWER)
    talk.say(200, to="PRACK")

    challenge = 'Digest realm="trunk", nonce="n1", algorithm=SHA-256, qop="auth"'
    talk.say(401, ("WWW-Authenticate", challenge), tag="proxy")
    assert talk.peer.request("INVITE").cseq.number == 3
    talk.say(401, ("WWW-Authenticate", challenge.replace("n1", "n2")), tag="proxy")

    assert talk.us.one(Ended).status == 401


def first_tries(talk: Talk) -> list[Request]:
    """The PRACKs without retransmissions."""
    found: dict[str | None, Request] = {}
    for message in talk.peer.got("PRACK"):
        if isinstance(message, Request):
            found.setdefault(message.via.branch, message)
    return list(found.values())


# ---- the peer's INVITE


def ring(*headers: str, options: EndpointOptions = RELIABLE, offer: bytes = OFFER) -> Talk:
    talk = Talk(options)
    talk.ring(*(headers or ("Supported: 100rel",)), offer=offer)
    return talk


def server(talk: Talk) -> InviteServer:
    assert isinstance(talk.session, InviteServer)
    return talk.session


def progress(talk: Talk, status: int = 183, body: bytes | None = ANSWER) -> str:
    """Send a provisional response, and give what names it in a RAck."""
    server(talk).progress(status, body, talk.now)
    talk.run()
    return rack(talk, status)


@pytest.mark.parametrize(
    ("header", "reliable", "is_sent_so"),
    [
        ("Require: 100rel", False, True),
        ("Require: 100rel", True, True),
        ("Supported: 100rel", False, False),
        ("Supported: 100rel", True, True),
        ("Supported: timer", True, False),
        ("Supported: \x01", True, False),
    ],
)
@pytest.mark.rfc(3262, "3")
def test_s16_response_is_reliable_where_it_has_to_be_or_may_be(
    header: str, reliable: bool, is_sent_so: bool
) -> None:
    talk = ring(header, options=EndpointOptions(reliable=reliable))

    server(talk).progress(180, None, talk.now)
    talk.run()

    response = talk.peer.response("180")
    assert ("100rel" in response.require) is is_sent_so
    assert ("RSeq" in response.headers) is is_sent_so


@pytest.mark.rfc(3262, "3")
def test_s16_response_is_resent_until_its_prack_at_intervals_that_double() -> None:
    talk = ring()
    named = progress(talk)
    talk.run(16)

    talk.send("PRACK", f"RAck: {named}")
    talk.run(40)

    assert talk.wire.times("183") == [0, 0.5, 1.5, 3.5, 7.5, 15.5]
    assert len({each.data for each in talk.wire.sent("183")}) == 1
    assert talk.peer.response("200 PRACK")
    server(talk).answer(None, talk.now)
    talk.run()
    assert talk.peer.response("200 INVITE").body == b""  # it was answered before
    talk.ack(1)
    assert talk.us.one(Acked).body is None
    talk.hang_up()


@pytest.mark.rfc(3262, "3")
def test_s16_without_a_prack_the_invite_is_refused_after_32_s() -> None:
    talk = ring()
    at = talk.now

    progress(talk)
    talk.run(33)

    assert talk.wire.times("183")[-1] == 31.5
    assert talk.peer.response("504 INVITE")
    assert (talk.cause, talk.us.at(Ended) - at) == (EndCause.NO_PRACK, 32)
    talk.settle()


@pytest.mark.rfc(3262, "3")
@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda rseq, cseq, method: f"{rseq + 1} {cseq} {method}", 481),
        (lambda rseq, cseq, method: f"{rseq} {cseq + 1} {method}", 481),
        (lambda rseq, cseq, method: f"{rseq} {cseq} UPDATE", 481),
        (lambda rseq, cseq, method: f"{rseq} {cseq}", 400),
        (lambda rseq, cseq, method: f"x {cseq} {method}", 400),
        (lambda rseq, cseq, method: f"{2**64} {cseq} {method}", 400),
        (lambda rseq, cseq, method: f"{rseq} {cseq} {method}", 200),
    ],
)
def test_s16_prack_has_to_name_what_is_unacknowledged(
    change: Callable[[int, int, str], str], status: int
) -> None:
    talk = ring()
    rseq, cseq, method = progress(talk).split()

    talk.send("PRACK", f"RAck: {change(int(rseq), int(cseq), method)}")

    assert talk.peer.response(f"{status} PRACK")


def test_s16_prack_without_a_rack_or_response_is_refused() -> None:
    talk = ring()

    talk.send("PRACK", "RAck: 1 1 INVITE")
    progress(talk)
    talk.send("PRACK")

    assert talk.peer.response("481 PRACK")
    assert talk.peer.response("400 PRACK")


def test_s16_second_prack_for_the_same_gets_481_and_a_resent_one_the_same_200() -> None:
    talk = ring()
    named = progress(talk)
    first = talk.send("PRACK", f"RAck: {named}")

    talk.peer.send(talk.us, first)
    talk.run()
    talk.send("PRACK", f"RAck: {named}")

    assert len(talk.peer.got("200 PRACK")) == 2
    assert talk.peer.response("481 PRACK")


@pytest.mark.rfc(3262, "3")
def test_s16_responses_go_out_one_after_the_other() -> None:
    talk = ring()
    named = progress(talk)
    server(talk).progress(180, None, talk.now)
    server(talk).progress(180, None, talk.now)
    server(talk).progress(182, None, talk.now)
    talk.run()
    assert talk.peer.got("180") == []

    talk.send("PRACK", f"RAck: {named}")
    assert talk.peer.got("182") == []
    talk.send("PRACK", f"RAck: {rack(talk, 180)}")

    numbers = [int(talk.peer.response(what).headers.get("RSeq") or 0) for what in (
        "183", "180", "182",
    )]  # fmt: skip
    assert [number - numbers[0] for number in numbers] == [0, 1, 2]
    assert 1 <= numbers[0] < 2**31


def test_waiting_responses_are_bounded() -> None:
    talk = ring()
    progress(talk)
    for status in range(181, 199):
        server(talk).progress(status, None, talk.now)

    for _ in range(30):
        last = talk.wire.sent(by=talk.us)[-1].message
        talk.send("PRACK", f"RAck: {last.headers.get('RSeq')} 1 INVITE", seconds=0.05)

    sent = {int(each.message.headers.get("RSeq") or 0) for each in talk.wire.sent(by=talk.us)}
    assert len(sent - {0}) == 1 + MAX_WAITING


@pytest.mark.rfc(3262, "3")
def test_s16_200_waits_for_the_prack_of_an_answer() -> None:
    talk = ring()
    named = progress(talk)

    server(talk).answer(None, talk.now)
    server(talk).progress(180, None, talk.now)
    talk.run(1)
    assert talk.peer.got("200 INVITE") == []
    talk.send("PRACK", f"RAck: {named}")

    assert talk.peer.response("200 INVITE").body == b""
    assert talk.peer.got("180") == []
    talk.ack(1)
    talk.hang_up()


@pytest.mark.rfc(3262, "3")
def test_s16_200_does_not_wait_for_the_prack_of_a_mere_180() -> None:
    talk = ring()
    named = progress(talk, 180, None)

    server(talk).answer(ANSWER, talk.now)
    talk.run(2)
    talk.send("PRACK", f"RAck: {named}")

    assert talk.peer.response("200 INVITE").body == ANSWER
    assert len(talk.peer.got("180")) == 1
    assert talk.peer.response("200 PRACK")


def test_s16_cancel_while_the_200_waits_ends_the_invite() -> None:
    talk = Talk(RELIABLE)
    talk.send(
        "INVITE", "Supported: 100rel", cseq=1, body=OFFER, is_first=True, branch="z9hG4bKfirst"
    )
    talk.session = talk.us.called
    progress(talk)
    server(talk).answer(None, talk.now)

    talk.send("CANCEL", cseq=1, branch="z9hG4bKfirst")

    assert talk.peer.response("487 INVITE")
    assert talk.cause is EndCause.CANCELLED
    talk.settle()


@pytest.mark.rfc(3262, "3")
def test_s16_prack_that_crosses_our_refusal_is_answered() -> None:
    talk = ring()
    named = progress(talk)

    server(talk).reject(486, talk.now)
    talk.run(1)
    talk.send("PRACK", f"RAck: {named}")
    talk.send("OPTIONS")

    assert talk.peer.response("200 PRACK")
    assert talk.peer.response("481 OPTIONS")
    assert len(talk.peer.got("183")) == 1
    talk.settle()


def test_s16_prack_overtaken_by_an_update_is_taken() -> None:
    talk = ring()
    named = progress(talk)

    talk.send("UPDATE", body=HOLD, cseq=3)
    server(talk).accept_reoffer(HELD, talk.now)
    talk.run()
    talk.send("PRACK", f"RAck: {named}", cseq=2)

    assert talk.peer.response("200 UPDATE").body == HELD
    assert talk.peer.response("200 PRACK")
    talk.send("OPTIONS", cseq=2)
    assert talk.peer.response("500 OPTIONS")


@pytest.mark.rfc(3262, "5")
def test_s16_late_offer_goes_out_in_the_first_reliable_response() -> None:
    talk = ring(offer=b"")
    named = progress(talk, 183, OFFER)

    talk.send("PRACK", f"RAck: {named}", body=ANSWER)
    server(talk).answer(OFFER, talk.now)
    talk.run()
    talk.ack(1)

    assert talk.us.one(ReofferAnswered).sdp == ANSWER
    assert talk.peer.response("200 INVITE").body == b""
    assert talk.us.one(Acked).body is None
    talk.hang_up()


@pytest.mark.parametrize(("header", "sent"), [("Require", []), ("Supported", ["180"])])
def test_s16_response_without_our_offer_is_not_sent_reliably(header: str, sent: list[str]) -> None:
    talk = ring(f"{header}: 100rel", offer=b"")

    server(talk).progress(180, None, talk.now)
    talk.run()

    assert [what for what in ("180",) if talk.peer.got(what)] == sent
    assert not any("RSeq" in each.message.headers for each in talk.wire.sent("180"))


@pytest.mark.rfc(3262, "5")
def test_s16_prack_may_bring_a_new_offer() -> None:
    talk = ring()
    named = progress(talk)

    talk.send("PRACK", f"RAck: {named}", body=HOLD)
    reoffered = talk.us.one(Reoffered)
    server(talk).accept_reoffer(HELD, talk.now)
    talk.run()

    assert (reoffered.sdp, reoffered.by_update) == (HOLD, True)
    assert talk.peer.response("200 PRACK").body == HELD


def test_s16_response_is_refreshed_each_minute_with_a_new_number() -> None:
    talk = ring()
    talk.send("PRACK", f"RAck: {progress(talk)}")

    talk.run(60)

    first, second = (int(m.headers.get("RSeq") or 0) for m in talk.peer.got("183"))
    assert second == first + 1
    assert talk.peer.response("183").body == b""


def test_body_is_sent_reliably_only_once() -> None:
    talk = ring()
    talk.send("PRACK", f"RAck: {progress(talk)}")

    server(talk).progress(183, HELD, talk.now)
    talk.run()

    assert talk.peer.response("183").body == b""


def rack(talk: Talk, status: int) -> str:
    return f"{talk.peer.response(str(status)).headers.get('RSeq')} 1 INVITE"


# ---- UPDATE before the answer (RFC 3311 §5)


@pytest.mark.parametrize("by_caller", [True, False], ids=["caller", "callee"])
def test_session_is_changed_before_it_is_answered(by_caller: bool) -> None:
    line = Line(options=RELIABLE)
    session = line.dial()
    called = line.callee.called
    called.progress(183, ANSWER, line.wire.now)
    line.run(0.1)

    ours, theirs = (session, called) if by_caller else (called, session)
    there = line.callee if by_caller else line.caller
    ours.reoffer(HOLD, line.wire.now, update=True)
    line.run(0.1)
    assert theirs.accept_reoffer(HELD, line.wire.now)
    line.run(0.1)
    called.answer(None, line.wire.now)
    line.run(1)

    assert there.one(Reoffered).sdp == HOLD
    assert (line.caller if by_caller else line.callee).one(ReofferAnswered).sdp == HELD
    assert line.caller.one(Answered).body is None
    session.bye(line.wire.now)
    line.run(40)
    assert line.is_idle


@pytest.mark.rfc(3311, "5.1")
def test_offer_waits_until_the_first_one_is_answered_for_sure() -> None:
    talk = Talk()
    session = talk.call()
    talk.say(183, body=ANSWER)  # by chance
    session.reoffer(HOLD, talk.now, update=True)
    talk.run()
    assert talk.peer.got("UPDATE") == []

    talk.say(183, *rseq(7), body=ANSWER)
    assert talk.peer.got("UPDATE") == []
    talk.say(200, to="PRACK")

    assert talk.peer.request("UPDATE").body == HOLD


def test_offer_waits_for_the_answer_if_the_peer_takes_no_update() -> None:
    talk = Talk()
    session = talk.call()
    talk.say(183, *rseq(7), ("Allow", "INVITE"), body=ANSWER)
    invite = talk.peer.request("INVITE")
    talk.say(200, to="PRACK")
    session.reoffer(HOLD, talk.now)
    talk.run()
    assert talk.peer.request("INVITE") is invite

    talk.say(200)

    assert talk.peer.request("INVITE").body == HOLD


@pytest.mark.rfc(3311, "5.2")
def test_offer_before_the_answer_to_ours_gets_491() -> None:
    talk = Talk()
    talk.call()
    talk.say(183, *rseq(7))

    talk.send("UPDATE", body=HOLD)

    assert talk.peer.response("491 UPDATE")


@pytest.mark.rfc(3311, "5.2")
def test_offer_before_our_answer_to_theirs_gets_500() -> None:
    talk = Talk()
    talk.ring()

    talk.send("UPDATE", body=HOLD)

    assert talk.peer.response("500 UPDATE").retry_after_s is not None


def test_forks_are_changed_apart() -> None:
    talk = Talk()
    session = talk.call()
    for tag, number in (("b", 7), ("c", 70)):
        talk.say(183, *rseq(number), body=ANSWER, tag=tag)
        talk.say(200, to="PRACK", tag=tag)

    talk.send("UPDATE", body=HOLD, tag="b")
    talk.send("UPDATE", body=HOLD, tag="c")
    asked = [event.dialog_id for event in talk.us.all(Reoffered)]
    assert not session.accept_reoffer(HELD, talk.now)  # which?
    assert session.accept_reoffer(HELD, talk.now, dialog_id=asked[1])
    talk.run()

    assert [dialog_id.remote_tag for dialog_id in asked] == ["b", "c"]
    assert talk.peer.response("200 UPDATE").from_.tag == "c"
    talk.say(200, tag="c")
    talk.run(33)
    assert talk.peer.response("504 UPDATE").from_.tag == "b"


@pytest.mark.parametrize("status", [408, 481])
def test_refused_update_of_a_fork_leaves_the_invite_running(status: int) -> None:
    talk = Talk()
    session = talk.call()
    talk.say(183, *rseq(7), body=ANSWER)
    talk.say(200, to="PRACK")
    session.reoffer(HOLD, talk.now, update=True)
    talk.run()

    talk.say(status, to="UPDATE")

    assert talk.us.all(Ended) == []
    talk.say(200)
    assert talk.us.one(Answered)


def test_cancel_answers_a_pending_update() -> None:
    talk = Talk()
    session = talk.call()
    talk.say(183, *rseq(7), body=ANSWER)
    talk.say(200, to="PRACK")
    talk.send("UPDATE", body=HOLD)

    session.cancel(talk.now)
    talk.run()

    assert talk.peer.response("487 UPDATE")


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_bad_wire_brings_every_reliable_response(loss: float) -> None:
    for seed in range(20):
        line = Line(options=RELIABLE)
        session = line.dial()
        line.wire.impair(seed, loss=loss, duplication=0.2, jitter_s=0.3)
        called = line.callee.called
        for status, body in ((183, ANSWER), (180, None), (181, None)):
            called.progress(status, body, line.wire.now)
            line.run(1)
        called.answer(None, line.wire.now)
        line.run(40)

        told = [(e.status, e.body) for e in line.caller.all(Progressed) if e.status > 100]
        wanted = [(183, ANSWER), (180, None), (181, None)]
        if not line.callee.all(Ended):
            assert told == wanted[: len(told)]  # in order; the last may give way to the 200
            assert told
        session.bye(line.wire.now)
        called.bye(line.wire.now)
        line.run(70)
        assert line.is_idle

"""Transfers: REFER and NOTIFY both ways (RFC 3515, RFC 4488), and Replaces (RFC 3891), S20."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gateway.errors import RemoteProtocolError
from gateway.private import Secret
from gateway.sip.authenticator import Credentials
from gateway.sip.event import (
    EndCause,
    Ended,
    Incoming,
    ReferAsked,
    ReferDone,
    ReferProgress,
)
from gateway.sip.refer import AFTER_BYE_S, EXPIRES_S, PROMPT_S
from gateway.sip.replaces import Replaces, parse_replaces
from gateway.sip.uri import parse_uri
from tests.support.sip import ANSWER, Line
from tests.support.talk import TAG, Talk

CAROL = parse_uri("sip:carol@example.com")
ACTIVE = "Subscription-State: active;expires=60"
TERMINATED = "Subscription-State: terminated;reason=noresource"

either_role = pytest.mark.parametrize("we_call", [True, False], ids=["caller", "callee"])


def notify(talk: Talk, line: str, state: str = ACTIVE, event: str = "refer") -> None:
    talk.send(
        "NOTIFY",
        f"Event: {event}",
        state,
        "Content-Type: message/sipfrag;version=2.0",
        body=line.encode(),
    )


def told(talk: Talk) -> list[str]:
    """What the NOTIFYs to the peer said, without retransmissions."""
    bodies = {m.cseq.number: m.body.decode().rstrip() for m in talk.peer.got("NOTIFY")}
    return [body.removeprefix("SIP/2.0 ") for body in bodies.values()]


def states(talk: Talk) -> list[str]:
    found = {
        m.cseq.number: m.headers.get("Subscription-State") or "" for m in talk.peer.got("NOTIFY")
    }
    return list(found.values())


# ---- we ask


@either_role
@pytest.mark.rfc(3515, "2.4")
def test_peer_is_asked_to_call_somebody_and_tells_how_that_goes(we_call: bool) -> None:
    line = Line()
    sessions = line.connect()
    ours, theirs = sessions if we_call else sessions[::-1]
    here, there = (line.caller, line.callee) if we_call else (line.callee, line.caller)

    ours.refer(CAROL, line.wire.now, referred_by="<sip:alice@example.com>")
    line.run(0.1)
    asked = there.one(ReferAsked)
    theirs.accept_refer(line.wire.now)
    line.run(2)
    theirs.notify_refer(180, "Ringing", line.wire.now)
    line.run(2)
    theirs.notify_refer(200, "OK", line.wire.now)
    line.run(1)

    assert (asked.target, asked.replaces) == (CAROL, None)
    assert asked.referred_by == "<sip:alice@example.com>"
    assert [(e.status, e.reason) for e in here.all(ReferProgress)] == [
        (100, "Trying"), (180, "Ringing"),
    ]  # fmt: skip
    assert here.one(ReferDone).status == 200
    ours.bye(line.wire.now)
    line.run(35)
    assert line.is_idle


def test_attended_transfer_names_the_other_session() -> None:
    line = Line()
    session, called = line.connect()
    carol = Talk.up(we_call=True)

    session.refer(CAROL, line.wire.now, replaces=carol.session.replaces_id)
    line.run(0.1)

    name = f"{carol.session.call_id};to-tag={TAG};from-tag={carol.session.id}"
    asked = line.callee.one(ReferAsked)
    assert carol.session.replaces_id == name
    assert (asked.target, asked.replaces) == (CAROL, name)
    refer_to = line.wire.sent("REFER")[0].message.headers.get("Refer-To") or ""
    assert refer_to.startswith("<sip:carol@example.com?Replaces=")
    assert refer_to.count(";") == 0  # all of it is escaped
    assert called.replaces_id is not None


@pytest.mark.parametrize("status", [403, 405, 491, 603])
def test_refused_refer_leaves_the_session_up(status: int) -> None:
    talk = Talk.up(we_call=True)
    talk.session.refer(CAROL, talk.now)
    talk.run()

    talk.say(status, to="REFER")

    assert talk.us.one(ReferDone).status == status
    assert talk.us.all(Ended) == []
    talk.session.refer(CAROL, talk.now)
    talk.run()
    assert len({m.via.branch for m in talk.peer.got("REFER")}) == 2
    talk.say(202, to="REFER")
    notify(talk, "SIP/2.0 200 OK", TERMINATED)
    talk.hang_up()


def test_s13_refer_to_a_peer_that_knows_no_such_session_ends_it() -> None:
    talk = Talk.up(we_call=True)
    talk.session.refer(CAROL, talk.now)
    talk.run()

    talk.say(481, to="REFER")

    assert talk.us.one(ReferDone).status == 481
    assert talk.cause is EndCause.LOST


def test_second_refer_has_to_wait_for_the_first() -> None:
    talk = Talk.up(we_call=True)
    talk.session.refer(CAROL, talk.now)
    talk.session.refer(CAROL, talk.now)
    talk.run()

    assert talk.us.one(ReferDone).status == 491
    assert len(talk.peer.got("REFER")) == 1


def test_refer_before_the_answer_has_failed() -> None:
    talk = Talk()
    talk.call().refer(CAROL, talk.now)
    talk.run()

    assert talk.us.one(ReferDone).status == 491


@pytest.mark.parametrize("text", ["sip:x@y\r\nX: y", "x\n"])
def test_a15_refer_cannot_carry_line_breaks(text: str) -> None:
    talk = Talk.up(we_call=True)

    with pytest.raises(ValueError, match="line break"):
        talk.session.refer(CAROL, talk.now, referred_by=text)
    with pytest.raises(ValueError, match="line break"):
        talk.session.notify_refer(200, text, talk.now)


def test_notify_may_come_before_the_202() -> None:
    talk = Talk.up(we_call=True)
    talk.session.refer(CAROL, talk.now)
    talk.run()

    notify(talk, "SIP/2.0 100 Trying")
    notify(talk, "SIP/2.0 200 OK", TERMINATED)
    talk.say(202, to="REFER")

    assert talk.us.one(ReferDone).status == 200
    assert len(talk.peer.got("200 NOTIFY")) == 2


@pytest.mark.rfc(4488, "4")
def test_peer_may_tell_nothing() -> None:
    talk = Talk.up(we_call=True)
    talk.session.refer(CAROL, talk.now)
    talk.run()

    talk.say(202, ("Refer-Sub", "false"), to="REFER")

    assert talk.us.one(ReferDone).status == 202


@pytest.mark.parametrize(
    ("answered", "seconds"), [(False, 32), (True, 32)], ids=["no response", "no NOTIFY"]
)
def test_outcome_that_is_never_told_counts_as_408(answered: bool, seconds: float) -> None:
    talk = Talk.up(we_call=True)
    talk.session.refer(CAROL, talk.now)
    talk.run(0.01)
    if answered:
        talk.say(202, to="REFER")

    talk.run(seconds - 1)
    assert talk.us.all(ReferDone) == []
    talk.run(2)

    assert talk.us.one(ReferDone).status == 408
    assert talk.us.all(Ended) == []


def test_outcome_is_waited_for_as_long_as_a_phone_rings() -> None:
    talk = Talk.up(we_call=True)
    talk.session.refer(CAROL, talk.now)
    talk.run()
    talk.say(202, to="REFER")
    notify(talk, "SIP/2.0 180 Ringing")

    talk.run(EXPIRES_S - 1)
    assert talk.us.all(ReferDone) == []
    talk.run(2)

    assert talk.us.one(ReferDone).status == 408


@pytest.mark.parametrize(
    ("line", "state", "told"),
    [
        ("SIP/2.0 486 Busy Here", TERMINATED, [486]),
        ("SIP/2.0 486 Busy Here", ACTIVE, [486]),
        ("SIP/2.0 180 Ringing", TERMINATED, [408]),
        ("", TERMINATED, [408]),
        ("", ACTIVE, []),
        ("SIP/2.0 99 x", ACTIVE, []),
        ("SIP/2.0 xyz x", ACTIVE, []),
        ("HTTP/1.1 200 OK", ACTIVE, []),
        ("\r\nSIP/2.0 200 OK\r\nContact: <sip:x@y>\r\n", TERMINATED, [200]),
    ],
)
def test_notify_is_read(line: str, state: str, told: list[int]) -> None:
    talk = Talk.up(we_call=True)
    talk.session.refer(CAROL, talk.now)
    talk.run()
    talk.say(202, to="REFER")

    notify(talk, line, state)

    assert talk.peer.response("200 NOTIFY")
    assert [event.status for event in talk.us.all(ReferDone)] == told


@pytest.mark.rfc(6665, "4.1.3")
@pytest.mark.parametrize(
    ("event", "status"),
    [
        ("Event: refer", 481),
        ("Event: refer;id=9", 481),
        ("Event: dialog", 489),
        ("Event: ", 489),
        ("X-Event: refer", 489),
    ],
)
@either_role
def test_notify_of_what_nobody_asked_for_is_refused(we_call: bool, event: str, status: int) -> None:
    talk = Talk.up(we_call=we_call)

    talk.send("NOTIFY", event, ACTIVE)

    response = talk.peer.response(f"{status} NOTIFY")
    assert (response.headers.get("Allow-Events") == "refer") is (status == 489)


def test_notify_of_another_refer_is_refused() -> None:
    talk = Talk.up(we_call=True)
    talk.session.refer(CAROL, talk.now)
    talk.run()
    number = talk.peer.request("REFER").cseq.number

    notify(talk, "SIP/2.0 200 OK", TERMINATED, event=f"refer;id={number + 1}")
    assert talk.peer.response("481 NOTIFY")
    notify(talk, "SIP/2.0 200 OK", TERMINATED, event=f"refer;id={number}")
    assert talk.us.one(ReferDone).status == 200
    notify(talk, "SIP/2.0 200 OK", TERMINATED)

    assert len(talk.peer.got("481 NOTIFY")) == 2


@pytest.mark.rfc(5407, "3.3.3")
def test_s20_outcome_after_the_peer_has_hung_up_is_taken() -> None:
    talk = Talk.up(we_call=True)
    talk.session.refer(CAROL, talk.now)
    talk.run()
    talk.say(202, to="REFER")

    talk.send("BYE")
    notify(talk, "SIP/2.0 200 OK", TERMINATED)
    talk.send("BYE")
    talk.send("OPTIONS")

    assert talk.cause is EndCause.BYE
    assert talk.peer.response("200 NOTIFY")
    assert talk.us.one(ReferDone).status == 200
    assert talk.peer.response("481 BYE")
    assert talk.peer.response("481 OPTIONS")
    talk.settle()


@pytest.mark.parametrize("who", ["we", "peer"])
def test_s20_outcome_after_the_end_is_not_waited_for_long(who: str) -> None:
    talk = Talk.up(we_call=False)
    talk.session.refer(CAROL, talk.now)
    talk.run()
    talk.say(202, to="REFER")
    if who == "we":
        talk.session.bye(talk.now)
        talk.run()
        talk.say(200, to="BYE")
    else:
        talk.send("BYE")

    talk.run(AFTER_BYE_S + 1)

    assert talk.us.one(ReferDone).status == 408
    notify(talk, "SIP/2.0 200 OK", TERMINATED)
    assert talk.peer.response("481 NOTIFY")
    talk.settle()


def test_s17_challenged_refer_is_sent_again() -> None:
    talk = Talk()
    talk.call(credentials=Credentials("alice", Secret("secret")))
    talk.say(200, body=ANSWER)
    talk.session.refer(CAROL, talk.now)
    talk.run()
    first = talk.peer.request("REFER")

    challenge = 'Digest realm="trunk", nonce="n1", algorithm=SHA-256, qop="auth"'
    talk.say(401, ("WWW-Authenticate", challenge), to="REFER")
    second = talk.peer.request("REFER")
    talk.say(202, to="REFER")
    notify(talk, "SIP/2.0 200 OK", TERMINATED, event=f"refer;id={second.cseq.number}")

    assert second.headers.get("Refer-To") == first.headers.get("Refer-To")
    assert second.headers.get("Authorization") is not None
    assert talk.us.one(ReferDone).status == 200


# ---- we are asked


@either_role
@pytest.mark.rfc(3515, "2.4.4")
def test_accepted_refer_gets_202_and_100_trying_at_once(we_call: bool) -> None:
    talk = Talk.up(we_call=we_call)
    talk.send("REFER", "Refer-To: <sip:carol@example.com>")

    talk.session.accept_refer(talk.now)
    talk.run()

    assert talk.peer.response("202 REFER").contacts
    first = talk.peer.request("NOTIFY")
    assert first.headers.get("Event") == "refer"
    assert first.headers.get("Content-Type") == "message/sipfrag;version=2.0"
    assert first.contacts
    assert told(talk) == ["100 Trying"]
    assert states(talk) == [f"active;expires={EXPIRES_S:.0f}"]
    talk.say(200, to="NOTIFY")
    talk.session.notify_refer(200, "OK", talk.now)
    talk.run()
    talk.say(200, to="NOTIFY")
    assert told(talk) == ["100 Trying", "200 OK"]
    assert states(talk)[-1] == "terminated;reason=noresource"
    talk.session.notify_refer(486, "Busy Here", talk.now)
    talk.hang_up()
    assert len(told(talk)) == 2


@pytest.mark.parametrize(
    ("refer_to", "target", "replaces"),
    [
        ("<sip:carol@example.com>", "sip:carol@example.com", None),
        ("sip:carol@example.com", "sip:carol@example.com", None),
        ('"C" <sips:c@example.com;transport=tls>;x=y', "sips:c@example.com;transport=tls", None),
        ("<tel:+15550100>", "tel:+15550100", None),
        ("<sip:carol@example.com;method=INVITE>", "sip:carol@example.com", None),
        (
            "<sip:carol@example.com?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2&X=y>",
            "sip:carol@example.com",
            "a@b;to-tag=1;from-tag=2",
        ),
        ("<sip:c@d?Route=%3Csip:evil%3E>", "sip:c@d", None),
    ],
)
def test_refer_to_is_taken_apart(refer_to: str, target: str, replaces: str | None) -> None:
    talk = Talk.up(we_call=True)

    talk.send("REFER", f"Refer-To: {refer_to}", "Referred-By: <sip:ann@example.com>;x=y")

    asked = talk.us.one(ReferAsked)
    assert (str(asked.target), asked.replaces) == (target, replaces)
    assert asked.referred_by == "<sip:ann@example.com>;x=y"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 400),
        (("Refer-To: <sip:a@b>", "Refer-To: <sip:c@d>"), 400),
        (("Refer-To: <sip:a@b>, <sip:c@d>",), 400),
        (("r: rubbish",), 400),
        (("r: <sip:a@b?Replaces=x&Replaces=y>",), 400),
        (("Refer-To: <http://example.com>",), 416),
        (("Refer-To: <sip:a@b;method=BYE>",), 501),
        (("Refer-To: <sip:a@b>", "Require: magic"), 420),
    ],
)
@pytest.mark.rfc(3515, "2.4.2")
def test_malformed_refer_is_refused(headers: tuple[str, ...], status: int) -> None:
    talk = Talk.up(we_call=True)

    talk.send("REFER", *headers)

    assert talk.peer.response(f"{status} REFER")
    assert talk.us.all(ReferAsked) == []


def test_a37_refer_is_refused_as_our_user_says() -> None:
    talk = Talk.up(we_call=False)
    talk.send("REFER", "Refer-To: <sip:+19005550100@premium.example>")

    talk.session.refuse_refer(403, talk.now)
    talk.run()

    assert talk.peer.response("403 REFER")
    assert talk.peer.got("NOTIFY") == []
    assert talk.us.all(Ended) == []
    talk.hang_up()


def test_refer_that_our_user_does_not_answer_is_declined() -> None:
    talk = Talk.up(we_call=True)
    talk.send("REFER", "Refer-To: <sip:a@b>")

    talk.run(PROMPT_S)

    assert talk.peer.response("603 REFER")
    talk.session.accept_refer(talk.now)
    talk.run()
    assert talk.peer.got("NOTIFY") == []


def test_refer_before_the_answer_or_the_outcome_of_another_gets_491() -> None:
    early = Talk()
    early.ring()
    early.send("REFER", "Refer-To: <sip:a@b>")
    talk = Talk.up(we_call=True)
    talk.send("REFER", "Refer-To: <sip:a@b>")
    talk.send("REFER", "Refer-To: <sip:c@d>")
    talk.session.accept_refer(talk.now)
    talk.run()
    talk.send("REFER", "Refer-To: <sip:e@f>")

    assert early.peer.response("491 REFER")
    assert len(talk.peer.got("491 REFER")) == 2
    assert len(talk.us.all(ReferAsked)) == 1


@pytest.mark.rfc(3515, "2.4.6")
def test_second_refer_of_a_dialog_is_named_by_its_number() -> None:
    talk = Talk.up(we_call=True)
    for number in (7, 8):
        talk.send("REFER", "Refer-To: <sip:a@b>", cseq=number)
        talk.session.accept_refer(talk.now)
        talk.run()
        talk.say(200, to="NOTIFY")
        talk.session.notify_refer(486, "Busy Here", talk.now)
        talk.run()
        talk.say(200, to="NOTIFY")

    events = [m.headers.get("Event") for m in talk.peer.got("NOTIFY")]
    assert events == ["refer", "refer", "refer;id=8", "refer;id=8"]


@pytest.mark.rfc(4488, "4")
def test_peer_may_want_to_be_told_nothing() -> None:
    talk = Talk.up(we_call=True)
    talk.send("REFER", "Refer-To: <sip:a@b>", "Refer-Sub: false", "Require: norefersub")

    talk.session.accept_refer(talk.now)
    talk.session.notify_refer(200, "OK", talk.now)
    talk.run(40)

    assert talk.peer.response("202 REFER").headers.get("Refer-Sub") == "false"
    assert talk.peer.got("NOTIFY") == []
    talk.hang_up()


@pytest.mark.rfc(3515, "3.10")
def test_notifies_go_out_one_a_second_and_the_last_at_once() -> None:
    line = Line()
    session, called = line.connect()
    session.refer(CAROL, line.wire.now)
    line.run(0.1)
    called.accept_refer(line.wire.now)
    for _ in range(54):
        called.notify_refer(180, "Ringing", line.wire.now)
        line.run(0.1)
    called.notify_refer(200, "OK", line.wire.now)
    line.run(0.1)

    at = line.wire.times("NOTIFY")
    assert len(at) == 7
    assert all(second - first >= 1 for first, second in pairwise(at[:-1]))
    assert line.caller.one(ReferDone).status == 200


def test_final_status_waits_for_the_notify_before_it() -> None:
    talk = Talk.up(we_call=True)
    talk.send("REFER", "Refer-To: <sip:a@b>")
    talk.session.accept_refer(talk.now)
    talk.session.notify_refer(180, "Ringing", talk.now)
    talk.session.notify_refer(603, "Decline", talk.now)
    talk.run(2)
    assert told(talk) == ["100 Trying"]

    talk.say(200, to="NOTIFY")

    assert told(talk) == ["100 Trying", "603 Decline"]


@pytest.mark.parametrize("status", [481, 489, 603])
def test_peer_that_refuses_to_be_told_is_told_no_more(status: int) -> None:
    talk = Talk.up(we_call=True)
    talk.send("REFER", "Refer-To: <sip:a@b>")
    talk.session.accept_refer(talk.now)
    talk.run()

    talk.say(status, to="NOTIFY")
    talk.session.notify_refer(200, "OK", talk.now)
    talk.run()

    assert told(talk) == ["100 Trying"]
    assert talk.us.all(Ended) == []
    talk.hang_up()


def test_transfer_that_takes_too_long_is_told_to_have_timed_out() -> None:
    talk = Talk.up(we_call=True)
    talk.send("REFER", "Refer-To: <sip:a@b>")
    talk.session.accept_refer(talk.now)
    talk.run()
    talk.say(200, to="NOTIFY")

    talk.run(EXPIRES_S)
    talk.say(200, to="NOTIFY")
    talk.session.notify_refer(200, "OK", talk.now)
    talk.run()

    assert states(talk)[-1] == "terminated;reason=timeout"
    assert len(states(talk)) == 2
    talk.hang_up()


@pytest.mark.rfc(5589, "6.1")
def test_s20_transferor_that_hangs_up_at_once_is_still_told_the_outcome() -> None:
    talk = Talk.up(we_call=False)
    talk.send("REFER", "Refer-To: <sip:a@b>")
    talk.session.accept_refer(talk.now)
    talk.run()
    talk.say(200, to="NOTIFY")

    talk.send("BYE")
    talk.session.notify_refer(486, "Busy Here", talk.now)
    talk.run()

    assert talk.peer.response("200 BYE")
    assert told(talk)[-1] == "486 Busy Here"
    talk.say(481, to="NOTIFY")
    talk.settle()


def test_s20_bye_before_the_answer_to_its_notify_is_taken() -> None:
    talk = Talk.up(we_call=False)
    talk.send("REFER", "Refer-To: <sip:a@b>")
    talk.session.accept_refer(talk.now)
    talk.run()

    talk.send("BYE")
    talk.session.notify_refer(200, "OK", talk.now)
    talk.run()
    talk.say(200, to="NOTIFY")
    talk.say(200, to="NOTIFY")

    assert told(talk) == ["100 Trying", "200 OK"]
    talk.settle()


@pytest.mark.parametrize("is_answered", [True, False])
def test_s20_transfer_without_an_outcome_is_forgotten_after_the_bye(is_answered: bool) -> None:
    talk = Talk.up(we_call=False)
    talk.send("REFER", "Refer-To: <sip:a@b>")
    talk.session.accept_refer(talk.now)
    talk.run()
    if is_answered:
        talk.say(200, to="NOTIFY")
    talk.send("BYE")

    talk.run(35)

    assert talk.us.endpoint.is_idle
    talk.session.notify_refer(200, "OK", talk.now)
    talk.run()
    assert told(talk) == ["100 Trying"]


# ---- Replaces


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff",
         Replaces("98732@sip.example.com", "ff87ff", "r33th4x0r")),
        ("12adf2f34456gs5 ; to-tag=12345 ;From-Tag = 54321;EARLY-ONLY",
         Replaces("12adf2f34456gs5", "12345", "54321", True)),
        ("87134@171.161.34.23;to-tag=24796;from-tag=0;x=\"y\"",
         Replaces("87134@171.161.34.23", "24796", "0")),
        ("a(b)<c>[d]{e}\"f\"\\g/h:i?j@k;to-tag=1;from-tag=2",
         Replaces("a(b)<c>[d]{e}\"f\"\\g/h:i?j@k", "1", "2")),
    ],
)  # fmt: skip
@pytest.mark.rfc(3891, "6.1")
def test_replaces_is_read_and_written(text: str, value: Replaces) -> None:
    assert parse_replaces(text) == value
    assert parse_replaces(str(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";to-tag=1;from-tag=2",
        "x",
        "x;to-tag=1",
        "x;from-tag=1",
        "x;to-tag=1;to-tag=2;from-tag=3",
        "x;to-tag=;from-tag=2",
        "x;to-tag=\u00e4;from-tag=2",
        "x y;to-tag=1;from-tag=2",
        "x;to-tag=a b;from-tag=2",
    ],
)
def test_malformed_replaces_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_replaces(text)


def replacing(talk: Talk, value: str | None, *headers: str) -> int | None:
    """Status of the first answer to a new INVITE with a Replaces."""
    named = (f"Replaces: {value}",) if value is not None else ()
    data = [
        "INVITE sip:us@192.0.2.1 SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKnew;rport",
        "From: <sip:carol@example.com>;tag=c",
        "To: <sip:us@example.com>",
        "Call-ID: new",
        "CSeq: 1 INVITE",
        "Contact: <sip:carol@192.0.2.9>",
        "Max-Forwards: 70",
        *named,
        *headers,
    ]
    talk.peer.inbox.clear()
    talk.peer.send(talk.us, "\r\n".join(data) + "\r\n\r\n")
    talk.run()
    statuses = [getattr(m, "status", None) for m in talk.peer.inbox]
    return statuses[0] if statuses else None


def name(talk: Talk, extra: str = "") -> str:
    return f"{talk.session.call_id};to-tag={talk.session.id};from-tag={TAG}{extra}"


@either_role
@pytest.mark.rfc(3891, "3")
def test_invite_with_replaces_names_the_session_that_it_replaces(we_call: bool) -> None:
    talk = Talk.up(we_call=we_call)

    status = replacing(talk, name(talk), "Require: replaces")

    incoming = talk.us.all(Incoming)[-1]
    assert status is None
    assert incoming.replaced is talk.session
    assert incoming.replaces == parse_replaces(name(talk))
    incoming.session.answer(ANSWER, talk.now)
    incoming.replaced.bye(talk.now)
    talk.run()
    assert talk.peer.request("BYE").call_id == talk.session.call_id


@pytest.mark.rfc(3891, "3")
def test_replaces_that_names_nothing_gets_481() -> None:
    talk = Talk.up(we_call=True)
    session = talk.session

    for value in (
        f"other;to-tag={session.id};from-tag={TAG}",
        f"{session.call_id};to-tag={TAG};from-tag={session.id}",
        f"{session.call_id};to-tag={session.id};from-tag=x",
    ):
        assert replacing(talk, value) == 481
    assert talk.us.all(Incoming) == []


@pytest.mark.rfc(3891, "3")
def test_replaces_only_if_early_is_busy_for_an_answered_session() -> None:
    talk = Talk.up(we_call=True)

    assert replacing(talk, name(talk, ";early-only")) == 486


@pytest.mark.rfc(3891, "3")
def test_replaces_of_an_early_dialog_that_was_not_ours_gets_481() -> None:
    talk = Talk()
    talk.ring()

    assert replacing(talk, name(talk)) == 481


@pytest.mark.rfc(3891, "3")
def test_replaces_may_mean_an_early_dialog_of_ours() -> None:
    talk = Talk()
    talk.call()
    talk.say(180)

    assert replacing(talk, name(talk, ";early-only")) is None

    assert talk.us.one(Incoming).replaced is talk.session


@pytest.mark.rfc(3891, "3")
def test_replaces_of_what_has_just_ended_is_declined() -> None:
    talk = Talk.up(we_call=True)
    talk.session.bye(talk.now)
    talk.run()

    assert replacing(talk, name(talk)) == 603


@pytest.mark.parametrize("extra", [("Replaces: a;to-tag=b;from-tag=c",), ()])
def test_replaces_that_cannot_be_read_gets_400(extra: tuple[str, ...]) -> None:
    talk = Talk.up(we_call=True)
    value = name(talk) if extra else f"{name(talk)}, {name(talk)}"

    assert replacing(talk, value, *extra) == 400


def test_replaces_of_a_peer_without_a_tag_is_named_0() -> None:
    talk = Talk()
    talk.call()
    request = talk.peer.request("INVITE")
    talk.peer.respond(talk.us, request, 200, body=ANSWER)
    talk.run()

    assert talk.session.replaces_id == f"{talk.session.call_id};to-tag=0;from-tag={talk.session.id}"
    assert replacing(talk, f"{talk.session.call_id};to-tag={talk.session.id};from-tag=0") is None
    assert talk.us.one(Incoming).replaced is talk.session


def test_our_invite_that_replaces_requires_it() -> None:
    talk = Talk()

    talk.call(headers=(("Replaces", "a;to-tag=b;from-tag=c"),))

    assert talk.peer.request("INVITE").require == ("replaces",)
    assert talk.session.replaces_id is None


@pytest.mark.rfc(3891, "3")
def test_replaces_outside_an_invite_gets_400() -> None:
    talk = Talk.up(we_call=True)

    talk.send("OPTIONS", "Replaces: a;to-tag=b;from-tag=c")

    assert talk.peer.response("400 OPTIONS")

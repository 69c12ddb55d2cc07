"""Whatever comes within a dialog: damaged, out of place, or from nobody."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sip.endpoint import EndpointOptions
from gateway.sip.event import Answered, Ended, Gone
from gateway.sip.session_timer import SessionTimerOptions
from gateway.sip.uri import parse_uri
from tests.support.sip import ANSWER, OFFER, Line
from tests.support.talk import Talk

OPTIONS = EndpointOptions(reliable=True, session_timer=SessionTimerOptions(expires_s=90))
CAROL = parse_uri("sip:carol@example.com")

Step = Callable[[Line], None]


def steps(line: Line) -> list[Step]:
    """A call with everything that there is within a dialog."""
    session = line.caller.invite(line.callee.address)
    line.run(0.05)
    called = line.callee.called
    wire = line.wire
    return [
        lambda line: called.progress(183, ANSWER, wire.now),
        lambda line: session.reoffer(OFFER, wire.now, update=True),
        lambda line: called.accept_reoffer(ANSWER, wire.now) and None,
        lambda line: called.answer(None, wire.now),
        lambda line: called.reoffer(None, wire.now),
        lambda line: session.accept_reoffer(OFFER, wire.now) and None,
        lambda line: called.ack(ANSWER, wire.now),
        lambda line: session.refer(CAROL, wire.now, replaces="a;to-tag=b;from-tag=c"),
        lambda line: called.accept_refer(wire.now),
        lambda line: session.info("application/dtmf", b"1", wire.now),
        lambda line: called.notify_refer(200, "OK", wire.now),
        lambda line: line.run(46),
    ]


def damage(original: bytes, dice: random.Random) -> bytes:
    start = dice.randrange(len(original))
    end = min(len(original), start + dice.choice([0, 0, 1, 4, 20]))
    junk = dice.choice([b"", b"\r\n", b";", b"=", b"0", b"99999999999", b"<", b'"', b"\x01", b","])
    return original[:start] + junk + original[end:]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_damaged_messages_within_a_dialog_never_raise(seed: int) -> None:
    line, dice = Line(options=OPTIONS), random.Random(seed)
    for step in steps(line):
        step(line)
        line.run(0.05)
        for sent in dice.choices(line.wire.log, k=4):
            target = line.caller if sent.target == line.caller.address else line.callee
            target.receive(damage(sent.data, dice), sent.source, line.wire.now)
        line.run(0.05)
    for station in (line.caller, line.callee):
        for session in {event.session for event in station.all_of_sessions()}:
            session.bye(line.wire.now)
    line.run(150)

    assert line.is_idle
    for station in (line.caller, line.callee):
        assert len(station.all(Gone)) == len(station.all(Ended))


def test_everything_within_a_dialog_goes_well_undamaged() -> None:
    line = Line(options=OPTIONS)

    for step in steps(line):
        step(line)
        line.run(0.5)

    methods = {each.message.cseq.method for each in line.wire.log}
    assert methods == {"INVITE", "PRACK", "UPDATE", "ACK", "REFER", "NOTIFY", "INFO"}
    assert line.caller.one(Answered).body is None
    assert line.caller.all(Ended) == []


METHODS = [
    "INVITE",
    "ACK",
    "CANCEL",
    "BYE",
    "OPTIONS",
    "INFO",
    "PRACK",
    "UPDATE",
    "REFER",
    "NOTIFY",
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("we_call", [True, False], ids=["caller", "callee"])
def test_s18_request_with_wrong_tags_gets_481_and_does_nothing(we_call: bool, method: str) -> None:
    talk = Talk.up(we_call=we_call)

    talk.send(method, "RAck: 1 1 INVITE", "Refer-To: <sip:a@b>", "Event: refer", tag="wrong")

    assert len(talk.peer.got(f"481 {method}")) == (method != "ACK")
    assert talk.us.all(Ended) == []


@pytest.mark.parametrize("method", [each for each in METHODS if each not in ("ACK", "CANCEL")])
def test_s14_request_after_our_bye_gets_481_but_for_a_bye(method: str) -> None:
    talk = Talk.up(we_call=True)
    talk.session.bye(talk.now)
    talk.run()

    talk.send(method, "RAck: 1 1 INVITE", "Refer-To: <sip:a@b>", "Event: refer", body=b"")

    assert talk.peer.response(f"{200 if method == 'BYE' else 481} {method}")


@pytest.mark.parametrize("seed", range(5))
def test_requests_of_no_dialog_keep_nothing(seed: int) -> None:
    talk, dice = Talk(), random.Random(seed)
    talk.session = talk.call()
    talk.session.cancel(talk.now)
    talk.run(70)
    assert talk.us.endpoint.is_idle

    for _ in range(50):
        method = dice.choice([each for each in METHODS if each != "INVITE"])
        talk.send(method, "Refer-To: <sip:a@b>", "Event: refer", seconds=0.01)

    assert talk.us.endpoint.is_idle

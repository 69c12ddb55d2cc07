"""INFO of ours: one after the other."""

from __future__ import annotations

import pytest

from gateway.sip.event import EndCause, Ended, InfoAnswered, Informed
from gateway.sip.info import MAX_WAITING
from tests.support.sip import Line
from tests.support.talk import Talk

DIGIT = "application/dtmf-relay"


def test_keys_arrive_in_order_on_a_bad_wire() -> None:
    line = Line()
    session, called = line.connect()
    line.wire.impair(7, loss=0.2, duplication=0.2, jitter_s=0.5)

    for key in b"0123456789":
        session.info(DIGIT, b"Signal=%c\r\n" % key, line.wire.now)
        called.info("application/dtmf", b"%c" % key, line.wire.now)
    line.run(60)

    keys = [event.body[7:8] for event in line.callee.all(Informed)]
    assert keys == [b"%c" % key for key in b"0123456789"]
    assert [event.body for event in line.caller.all(Informed)] == keys
    session.bye(line.wire.now)
    line.run(70)
    assert line.is_idle


@pytest.mark.parametrize("status", [200, 405, 415, 501])
def test_next_key_waits_for_the_response_to_the_one_before(status: int) -> None:
    talk = Talk.up(we_call=True)
    talk.session.info(DIGIT, b"Signal=1", talk.now)
    talk.session.info(DIGIT, b"Signal=2", talk.now)
    talk.run()
    assert [m.body for m in talk.peer.got("INFO")] == [b"Signal=1"]

    talk.say(status, to="INFO")

    assert [m.body for m in talk.peer.got("INFO")] == [b"Signal=1", b"Signal=2"]
    assert talk.peer.request("INFO").headers.get("Content-Type") == DIGIT
    assert talk.us.all(Ended) == []


def test_s13_info_to_a_peer_that_knows_no_such_session_ends_it() -> None:
    talk = Talk.up(we_call=True)
    talk.session.info(DIGIT, b"Signal=1", talk.now)
    talk.run()

    talk.say(481, to="INFO")

    assert talk.cause is EndCause.LOST
    talk.say(481, to="BYE")
    talk.settle()


def test_waiting_keys_are_bounded() -> None:
    talk = Talk.up(we_call=True)

    for _ in range(MAX_WAITING + 10):
        talk.session.info(DIGIT, b"Signal=1", talk.now)
    for _ in range(MAX_WAITING + 10):
        talk.run(0.02)
        talk.say(200, to="INFO", seconds=0.02)

    assert len({m.via.branch for m in talk.peer.got("INFO")}) == MAX_WAITING + 1


def test_keys_before_the_answer_and_after_the_end_are_not_sent() -> None:
    talk = Talk()
    session = talk.call()
    session.info(DIGIT, b"Signal=1", talk.now)
    session.cancel(talk.now)
    session.info(DIGIT, b"Signal=2", talk.now)
    talk.run()

    assert talk.peer.got("INFO") == []


def test_peer_that_refuses_a_kind_of_body_gets_the_other_from_then_on() -> None:
    talk = Talk.up(we_call=True)
    for key in b"12":
        otherwise = ("application/dtmf", b"%c" % key)
        talk.session.info(DIGIT, b"Signal=%c" % key, talk.now, otherwise)
    talk.run()

    talk.say(415, to="INFO")
    talk.say(200, to="INFO")
    talk.say(200, to="INFO")

    assert [m.body for m in talk.peer.got("INFO")] == [b"Signal=1", b"1", b"2"]
    assert [event.status for event in talk.us.all(InfoAnswered)] == [200, 200]


@pytest.mark.parametrize("status", [405, 415, 501])
def test_what_the_peer_makes_of_info_is_told_once_each(status: int) -> None:
    talk = Talk.up(we_call=True)
    is_sent = [talk.session.info(DIGIT, b"Signal=1", talk.now) for _ in range(2)]
    talk.run()

    talk.say(status, to="INFO")
    talk.say(200, to="INFO")

    assert is_sent == [True, True]
    assert [event.status for event in talk.us.all(InfoAnswered)] == [status, 200]


def test_info_is_said_not_to_be_sent_where_it_is_not() -> None:
    talk = Talk()
    session = talk.call()

    assert not session.info(DIGIT, b"Signal=1", talk.now)
    session.cancel(talk.now)


def test_allow_tells_whether_info_is_taken() -> None:
    line = Line()
    session, called = line.connect()

    assert session.takes_info
    assert called.takes_info
    session.bye(line.wire.now)

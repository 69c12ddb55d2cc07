"""What is kept of sessions that have ended: little, and nothing that the collector has to find."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.sip.endpoint import EndpointOptions
from gateway.sip.event import Ended, Gone, ReferAsked, Reoffered, SessionEvent
from gateway.sip.uri import parse_uri
from tests.support.garbage import left_to_the_collector, tracked
from tests.support.sip import ANSWER, LATENCY_S, OFFER, Line, Peer

CALLS = 20

MAX_KEPT = 44
"""Objects that two ends keep of one call for 32 s: two sessions; of the INVITE and the BYE four
transactions, each with its timer, its flow and what it is known by; timers not swept out yet."""


def hang_up(line: Line) -> None:
    session, _ = line.connect()
    session.bye(line.wire.now)
    line.run(0.1)


def be_hung_up_on(line: Line) -> None:
    _, called = line.connect()
    called.bye(line.wire.now)
    line.run(0.1)


def cancel(line: Line) -> None:
    session = line.dial()
    line.callee.called.progress(180, None, line.wire.now)
    line.run(0.1)
    session.cancel(line.wire.now)
    line.run(0.1)


def reject(line: Line) -> None:
    line.dial()
    line.callee.called.reject(486, line.wire.now)
    line.run(0.1)


def drop(line: Line) -> None:
    line.dial()
    line.callee.called.drop(line.wire.now)
    line.run(33)


def ring_reliably(line: Line) -> None:
    line.dial()
    called = line.callee.called
    called.progress(183, ANSWER, line.wire.now)
    line.run(0.1)
    called.answer(None, line.wire.now)
    line.run(0.1)
    called.bye(line.wire.now)
    line.run(0.1)


def change(line: Line) -> None:
    session, called = line.connect()
    session.reoffer(OFFER, line.wire.now)
    line.run(0.1)
    assert line.callee.all(Reoffered)
    called.accept_reoffer(ANSWER, line.wire.now)
    line.run(0.1)
    session.info("application/dtmf", b"1", line.wire.now)
    line.run(0.1)
    session.bye(line.wire.now)
    line.run(0.1)


def transfer(line: Line) -> None:
    session, called = line.connect()
    session.refer(parse_uri("sip:carol@example.com"), line.wire.now)
    line.run(0.1)
    assert line.callee.all(ReferAsked)
    called.accept_refer(line.wire.now)
    called.notify_refer(200, "OK", line.wire.now)
    line.run(0.1)
    session.bye(line.wire.now)
    line.run(0.1)


def lose_the_ack(line: Line) -> None:
    line.wire.drop_next(1000, "ACK")
    line.connect()
    line.run(40)


def lose_the_bye(line: Line) -> None:
    session, _ = line.connect()
    line.wire.drop_next(1000, "BYE")
    session.bye(line.wire.now)
    line.run(40)


def reach_nobody(line: Line) -> None:
    line.caller.invite(("192.0.2.77", 5060))
    line.run(40)


def be_refused_by_the_network(line: Line) -> None:
    line.caller.ways.dead.add(("192.0.2.78", 5060))
    line.caller.invite(("192.0.2.78", 5060))
    line.run(0.1)


ENDINGS = (
    hang_up,
    be_hung_up_on,
    cancel,
    reject,
    drop,
    ring_reliably,
    change,
    transfer,
    lose_the_ack,
    lose_the_bye,
    reach_nobody,
    be_refused_by_the_network,
)


def forget(line: Line) -> list[SessionEvent]:
    """Let go of what the test itself keeps; the events until now."""
    events = [*line.caller.all_of_sessions(), *line.callee.all_of_sessions()]
    for station in (line.caller, line.callee):
        station.events.clear()
        station.ways.asked.clear()
    line.wire.log.clear()
    return events


@pytest.mark.parametrize("end", ENDINGS)
def test_nothing_of_an_ended_call_is_left_to_the_collector(end: Callable[[Line], None]) -> None:
    line = Line(options=EndpointOptions(reliable=True))
    with left_to_the_collector() as left:
        end(line)
        kinds = [type(event) for event in forget(line)]

        line.run(2000)
        kinds += [type(event) for event in forget(line)]

    assert kinds.count(Ended) == kinds.count(Gone) > 0
    assert line.is_idle
    assert not left.kinds


@pytest.mark.parametrize("end", [hang_up, be_hung_up_on, reject, cancel])
def test_little_is_kept_of_a_settled_call(end: Callable[[Line], None]) -> None:
    line = Line()
    end(line)
    forget(line)
    before = tracked()

    for _ in range(CALLS):
        end(line)
        forget(line)

    assert not line.is_idle
    assert (tracked() - before) / CALLS <= MAX_KEPT


def test_session_is_settled_when_only_retransmissions_can_come() -> None:
    line = Line()
    session, called = line.connect()
    line.wire.drop_next(1, "200 BYE")

    session.bye(line.wire.now)
    line.run(2 * LATENCY_S)
    assert (session.is_settled, called.is_settled) == (False, True)
    line.run(1)

    assert session.is_settled
    assert not line.caller.all(Gone)


def test_rejected_call_is_settled_with_the_ack() -> None:
    line = Line()
    line.wire.drop_next(1, "ACK")
    line.dial()

    line.callee.called.reject(486, line.wire.now)
    line.run(2 * LATENCY_S)
    assert not line.callee.called.is_settled
    line.run(1)

    assert line.callee.called.is_settled


def test_settled_caller_acknowledges_a_200_that_comes_again() -> None:
    line = Line()
    peer = Peer(line.wire, ("192.0.2.9", 5060))
    session = line.caller.invite(peer.address)
    line.run(0.1)
    answer = peer.respond(line.caller, peer.request("INVITE"), 200, "b", body=ANSWER)
    line.run(0.1)
    session.bye(line.wire.now)
    line.run(0.1)
    peer.respond(line.caller, peer.request("BYE"), 200)
    line.run(10)
    assert session.is_settled

    peer.send(line.caller, answer)
    line.run(0.1)

    first, second = (bytes(ack) for ack in peer.got("ACK"))
    assert first == second
    assert len(peer.got("BYE")) == 1


def test_settled_caller_hangs_up_on_one_more_callee() -> None:
    line = Line()
    peer = Peer(line.wire, ("192.0.2.9", 5060))
    session = line.caller.invite(peer.address)
    line.run(0.1)
    peer.respond(line.caller, peer.request("INVITE"), 200, "b", body=ANSWER)
    line.run(0.1)
    session.bye(line.wire.now)
    line.run(0.1)
    peer.respond(line.caller, peer.request("BYE"), 200)
    line.run(10)
    assert session.is_settled

    for _ in range(2):
        peer.respond(line.caller, peer.request("INVITE"), 200, "c", body=ANSWER)
        line.run(0.1)
    late = peer.request("BYE")
    peer.respond(line.caller, late, 200)
    line.run(40)

    assert [ack.to.tag for ack in peer.got("ACK")] == ["b", "c", "c"]
    assert [bye.to.tag for bye in peer.got("BYE")] == ["b", "c"]
    assert late.uri == "sip:c@192.0.2.9:5060"
    assert line.caller.one(Gone).session is session
    assert line.caller.endpoint.is_idle

"""The rules between the legs of a call, told by hand in virtual time."""

from __future__ import annotations

import pytest

from gateway.call.call import CallState
from gateway.call.events import CallAnswered, CallEnded, CallProgressed, LegEnded
from gateway.errors import Fault
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Ended,
    EndReason,
    Gone,
    Phase,
    Progressed,
)
from gateway.trunk.route import RouteOptions
from tests.support.legs import CallBench


def ended(bench: CallBench) -> CallEnded:
    (event,) = bench.happened(CallEnded)
    assert isinstance(event, CallEnded)
    return event


def test_ringing_and_answer_climb_from_callee_to_caller() -> None:
    bench = CallBench(["trunk:lab"])
    bench.start()
    callee = bench.legs["trunk:lab"]

    bench.tell(callee, Progressed(180, "Ringing"))
    bench.tell(callee, Answered())

    assert callee.did == ["dial"]
    assert bench.caller.did == ["ringing", "answer"]
    assert bench.call.state is CallState.UP
    assert len(bench.happened(CallProgressed)) == len(bench.happened(CallAnswered)) == 1


def test_early_media_is_announced_and_a_second_183_does_not_start_it_again() -> None:
    bench = CallBench(["trunk:lab"])
    bench.start()
    callee = bench.legs["trunk:lab"]

    bench.tell(callee, Progressed(183, "Session Progress", early_media=True))

    assert bench.caller.did == ["early media"]
    assert bench.call.state is CallState.DIALLING


@pytest.mark.parametrize(("who", "fault"), [("caller", Fault.CALLER), ("trunk:lab", Fault.CALLEE)])
def test_hang_up_of_either_side_ends_the_other(who: str, fault: Fault) -> None:
    bench = CallBench(["trunk:lab"])
    bench.start()
    callee = bench.legs["trunk:lab"]
    bench.tell(callee, Answered())
    bench.now = 7.5

    leaving = bench.caller if who == "caller" else callee
    staying = callee if who == "caller" else bench.caller
    bench.tell(leaving, Ended(EndReason.HANGUP))

    assert staying.did[-1] == "end hangup"
    assert not any(command.startswith("end") for command in leaving.did)
    assert (ended(bench).reason, ended(bench).fault) == (EndReason.HANGUP, fault)
    assert ended(bench).duration_s == 7.5


def test_caller_who_gives_up_while_it_rings_cancels_the_callee() -> None:
    bench = CallBench(["trunk:lab"])
    bench.start()

    bench.tell(bench.caller, Ended(EndReason.HANGUP))

    assert bench.legs["trunk:lab"].did == ["dial", "end cancelled"]
    assert (ended(bench).reason, ended(bench).answered) == (EndReason.CANCELLED, False)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_failure_of_the_network_tries_the_next_group(status: int) -> None:
    bench = CallBench(["trunk:a"], ["trunk:b"])
    bench.start()

    bench.tell(bench.legs["trunk:a"], Ended(EndReason.UNREACHABLE, status))
    bench.tell(bench.legs["trunk:b"], Answered())

    assert bench.call.state is CallState.UP
    assert bench.caller.did == ["answer"]


@pytest.mark.parametrize("status", [404, 486, 600, 603, 606])
def test_answer_of_a_person_is_not_failed_over(status: int) -> None:
    bench = CallBench(["trunk:a"], ["trunk:b"])
    bench.start()

    bench.tell(bench.legs["trunk:a"], Ended(EndReason.BUSY, status, "Busy Here"))

    assert "trunk:b" not in bench.legs
    assert (ended(bench).status, ended(bench).text) == (status, "Busy Here")


def test_group_rings_together_and_the_first_answer_wins() -> None:
    bench = CallBench(["user:ann", "user:bob"])
    bench.start()

    bench.tell(bench.legs["user:bob"], Answered())

    assert bench.legs["user:ann"].did == ["dial", "end answered-elsewhere"]
    assert bench.legs["user:bob"].did == ["dial"]


def test_late_answer_of_the_loser_does_not_take_the_call() -> None:
    bench = CallBench(["user:ann", "user:bob"])
    bench.start()
    bench.tell(bench.legs["user:bob"], Answered())

    bench.tell(bench.legs["user:ann"], Answered())
    bench.tell(bench.legs["user:ann"], Ended(EndReason.HANGUP))

    assert bench.call.state is CallState.UP
    assert len(bench.happened(CallAnswered)) == 1


def test_busy_word_of_one_beats_the_network_failure_of_another() -> None:
    bench = CallBench(["user:ann", "user:bob"])
    bench.start()

    bench.tell(bench.legs["user:ann"], Ended(EndReason.BUSY, 486, "Busy Here"))
    bench.tell(bench.legs["user:bob"], Ended(EndReason.REJECTED, 400, "Bad Request"))

    assert ended(bench).status == 486


def test_nobody_answers_in_time() -> None:
    bench = CallBench(["trunk:lab"], route=RouteOptions(ringing_timeout_s=30))
    bench.start()
    bench.tell(bench.legs["trunk:lab"], Progressed(180, "Ringing"))

    bench.advance(29.9)
    assert bench.call.state is CallState.DIALLING
    bench.advance(0.2)

    assert bench.legs["trunk:lab"].did[-1] == "end no-answer"
    assert bench.caller.did[-1] == "end no-answer"
    assert ended(bench).status == 480


def test_reject_route_answers_with_its_status() -> None:
    bench = CallBench(["reject:486"])

    bench.start()

    assert bench.caller.did == ["end busy"]
    assert ended(bench).status == 486


def test_digits_go_to_the_other_side_while_the_call_is_up() -> None:
    bench = CallBench(["trunk:lab"])
    bench.start()
    callee = bench.legs["trunk:lab"]
    bench.tell(callee, Answered())

    bench.tell(bench.caller, DigitPressed("5", Phase.START))
    bench.tell(bench.caller, DigitPressed("5", Phase.END, 120))

    assert callee.did[-2:] == ["digit 5 start", "digit 5 end"]
    assert not any(command.startswith("digit") for command in bench.caller.did)


def test_caller_dialled_by_us_is_rung_first() -> None:
    bench = CallBench(["trunk:lab"])
    bench.start(dial_caller=True)
    assert bench.caller.did == ["dial"]
    assert not bench.legs

    bench.tell(bench.caller, Answered())

    assert bench.legs["trunk:lab"].did == ["dial"]


def test_caller_dialled_by_us_who_does_not_answer_ends_the_call() -> None:
    bench = CallBench(["trunk:lab"], route=RouteOptions(ringing_timeout_s=10))
    bench.start(dial_caller=True)

    bench.advance(11)

    assert not bench.legs
    assert bench.caller.did == ["dial", "end no-answer"]


def test_call_is_over_only_when_every_leg_is_gone() -> None:
    bench = CallBench(["trunk:lab"])
    bench.start()
    bench.tell(bench.legs["trunk:lab"], Answered())
    bench.tell(bench.caller, Ended(EndReason.HANGUP))
    bench.tell(bench.caller, Gone())
    assert not bench.call.is_over

    bench.tell(bench.legs["trunk:lab"], Gone())

    assert bench.call.is_over


def test_every_leg_ends_once_and_the_call_once() -> None:
    bench = CallBench(["user:ann", "user:bob"])
    bench.start()
    bench.tell(bench.legs["user:bob"], Answered())
    bench.tell(bench.caller, Ended(EndReason.HANGUP))
    bench.tell(bench.legs["user:bob"], Ended(EndReason.HANGUP))
    bench.tell(bench.caller, Ended(EndReason.LEFT))

    assert len(bench.happened(LegEnded)) == 3
    assert len(bench.happened(CallEnded)) == 1

"""A call that comes back to us again and again is stopped (A38)."""

from __future__ import annotations

import pytest

from gateway.errors import RoutingError
from gateway.trunk.turns import MAX_TURNS, Turns

ANN, BOB, EVE = "+15550001", "+15550002", "+15550003"


def turn(turns: Turns, count: int, first: int = 69, called: str = BOB) -> None:
    for number in range(count):
        turns.enter(f"{called}{first - number}", ANN, called, first - number)


@pytest.mark.rfc(7332, "4")
def test_a38_call_in_a_circle_is_stopped_after_nine_turns() -> None:
    turns = Turns()
    turn(turns, MAX_TURNS)

    with pytest.raises(RoutingError, match="time and again") as caught:
        turns.enter("last", ANN, BOB, 69 - MAX_TURNS)

    assert caught.value.status == 482
    assert len(turns) == MAX_TURNS


def test_a38_turns_may_take_several_hops_each() -> None:
    turns = Turns()
    for number in range(MAX_TURNS):
        turns.enter(str(number), ANN, BOB, 69 - 3 * number)

    with pytest.raises(RoutingError):
        turns.enter("last", ANN, BOB, 10)


def test_calls_side_by_side_are_no_circle() -> None:
    turns = Turns()

    for number in range(500):
        turns.enter(str(number), "", BOB, 65 + number % 5)

    assert len(turns) == 500


def test_other_callers_and_numbers_are_other_calls() -> None:
    turns = Turns()
    turn(turns, MAX_TURNS)

    turns.enter("eve", EVE, BOB, 10)
    turns.enter("to eve", ANN, EVE, 10)


def test_what_is_answered_or_over_is_forgotten() -> None:
    turns = Turns()
    turn(turns, MAX_TURNS)
    for number in range(MAX_TURNS):
        turns.leave(f"{BOB}{69 - number}")
    turns.leave("never seen")

    turns.enter("again", ANN, BOB, 10)

    assert len(turns) == 1

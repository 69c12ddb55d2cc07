"""How many calls a trunk takes, and how many a node begins in a second."""

from __future__ import annotations

import pytest

from gateway.errors import CapacityError
from gateway.sip.uri import parse_uri
from gateway.trunk.limits import CallLimits, Direction, LimitError
from gateway.trunk.trunk import Trunk

IN, OUT = Direction.IN, Direction.OUT
NOW = 1000.0


def limits(
    max_calls: int | None = None, max_cps: float | None = None, node_cps: float | None = None
) -> CallLimits:
    """The limits of a node with one trunk."""
    trunk = Trunk("carrier", parse_uri("sip:a.test"), max_calls=max_calls, max_cps=max_cps)
    return CallLimits([trunk], max_cps=node_cps, now=NOW)


def entered(of: CallLimits, number: int, at: float) -> int:
    """How many of some calls at one moment are let in."""
    count = 0
    for each in range(number):
        try:
            of.enter("carrier", f"leg-{at}-{each}", OUT, at)
        except LimitError:
            continue
        count += 1
    return count


def test_calls_both_ways_count_together() -> None:
    carrier = limits(max_calls=2)
    carrier.enter("carrier", "a", IN, NOW)
    carrier.enter("carrier", "b", OUT, NOW)

    with pytest.raises(CapacityError) as caught:
        carrier.enter("carrier", "c", IN, NOW)

    assert caught.value.status == 503
    assert (carrier.calls("carrier", IN), carrier.calls("carrier", OUT)) == (1, 1)


def test_a_call_that_ends_makes_room_once() -> None:
    carrier = limits(max_calls=1)
    carrier.enter("carrier", "a", OUT, NOW)

    carrier.leave("a")
    carrier.leave("a")
    carrier.leave("a stranger")

    assert carrier.calls("carrier", OUT) == 0
    assert entered(carrier, 2, NOW) == 1


def test_who_is_refused_is_told_when_to_come_again() -> None:
    carrier = limits(max_calls=1, max_cps=0.1)
    carrier.enter("carrier", "a", IN, NOW)
    with pytest.raises(LimitError) as full:
        carrier.enter("carrier", "b", IN, NOW)

    carrier.leave("a")
    with pytest.raises(LimitError) as often:
        carrier.enter("carrier", "b", IN, NOW + 2.5)

    assert full.value.retry_after_s == 5
    assert often.value.retry_after_s == 8


def test_a_second_brings_as_many_calls_as_it_may() -> None:
    carrier = limits(max_cps=10)

    first = entered(carrier, 100, NOW)
    later = [entered(carrier, 100, NOW + second) for second in (1, 2, 3)]

    assert (first, later) == (10, [10, 10, 10])


def test_calls_are_let_in_evenly_once_the_first_second_is_used_up() -> None:
    carrier = limits(max_cps=10)
    entered(carrier, 10, NOW)

    assert [entered(carrier, 5, NOW + tenths / 10) for tenths in range(1, 8)] == [1] * 7


def test_less_than_one_a_second_is_one_in_several() -> None:
    carrier = limits(max_cps=0.5)

    assert [entered(carrier, 5, NOW + second) for second in range(7)] == [1, 0, 1, 0, 1, 0, 1]


def test_a_call_that_is_refused_for_its_number_costs_no_call_of_the_second() -> None:
    carrier = limits(max_calls=1, max_cps=2)
    carrier.enter("carrier", "a", IN, NOW)
    with pytest.raises(LimitError):
        carrier.enter("carrier", "b", IN, NOW)

    carrier.leave("a")

    assert entered(carrier, 5, NOW) == 1


def test_a_node_begins_no_more_than_its_share_whoever_calls() -> None:
    node = limits(node_cps=3)
    for _ in range(3):
        node.begin(NOW)

    with pytest.raises(LimitError) as caught:
        node.begin(NOW)
    node.begin(NOW + 0.34)

    assert (caught.value.status, caught.value.retry_after_s) == (503, 1)


def test_without_limits_everybody_comes_in() -> None:
    node = limits()

    for _ in range(1000):
        node.begin(NOW)

    assert entered(node, 1000, NOW) == 1000

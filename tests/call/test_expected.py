"""Calls that are told of beforehand: each comes once, in its time, and there are not too many."""

from __future__ import annotations

import pytest

from gateway.call.expected import MAX_EXPECTED, ExpectedCall, ExpectedCalls
from gateway.errors import CapacityError


def call(id_: str, to: str = "sales") -> ExpectedCall:
    return ExpectedCall(id_, to)


def test_call_comes_once() -> None:
    expected = ExpectedCalls()
    expected.tell(call("a"), now=0.0)

    assert expected.take("a", now=1.0) == call("a")
    assert expected.take("a", now=1.0) is None


def test_call_that_comes_too_late_is_unknown() -> None:
    expected = ExpectedCalls()
    expected.tell(call("a"), now=0.0, expires_s=5.0)

    assert expected.is_known("a", now=4.9)
    assert not expected.is_known("a", now=5.0)
    assert expected.take("a", now=5.0) is None


def test_what_is_told_last_counts() -> None:
    expected = ExpectedCalls()
    expected.tell(call("a", "sales"), now=0.0)
    expected.tell(call("a", "support"), now=0.0)

    assert expected.take("a", now=0.0) == call("a", "support")
    assert len(expected) == 0


def test_a24_no_more_are_expected_than_may_be_until_some_have_expired() -> None:
    expected = ExpectedCalls()
    for number in range(MAX_EXPECTED):
        expected.tell(call(str(number)), now=0.0, expires_s=60.0)

    with pytest.raises(CapacityError):
        expected.tell(call("more"), now=59.0)
    expected.tell(call("1", "another"), now=59.0)
    expected.tell(call("more"), now=60.0)

    assert len(expected) == 2

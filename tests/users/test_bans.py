"""Bans and buckets: guessers and floods are not listened to for a while."""

from __future__ import annotations

import pytest

from gateway.users import bans as module
from gateway.users.bans import BURST, MAX_BANNED_SOURCES, MAX_BUCKETS, Bans, Buckets, source_key


def fail(bans: Bans, times: int, now: float, source: str = "a") -> float | None:
    """Failures at one moment; what the last of them earns."""
    return [bans.count_failure(source, now) for _ in range(times)][-1]


def test_fifth_failure_within_a_minute_bans_for_five_minutes() -> None:
    bans = Bans()

    fourth = fail(bans, 4, 100.0)
    fifth = fail(bans, 1, 159.0)

    assert (fourth, fifth) == (None, 300)
    assert bans.is_banned("a", 458.9)
    assert not bans.is_banned("a", 459.0)
    assert not bans.is_banned("b", 160.0)


def test_ban_settles_what_was_before_it() -> None:
    bans = Bans()
    fail(bans, 5, 100.0)

    assert fail(bans, 4, 101.0) is None


def test_failures_that_are_a_minute_old_do_not_count() -> None:
    bans = Bans()
    fail(bans, 4, 100.0)

    assert fail(bans, 4, 160.0) is None
    assert fail(bans, 1, 161.0) == 300


def test_ban_doubles_up_to_an_hour() -> None:
    bans = Bans()
    now, durations = 100.0, []
    for _ in range(6):
        duration = fail(bans, 5, now)
        assert duration is not None
        durations.append(duration)
        now += duration

    assert durations == [300, 600, 1200, 2400, 3600, 3600]


def test_long_peace_is_a_new_beginning() -> None:
    bans = Bans()
    fail(bans, 5, 100.0)

    assert fail(bans, 5, 400.0 + 3600.0) == 600
    assert fail(bans, 5, 4000.0 + 600.0 + 3601.0) == 300


def test_table_of_bans_is_bounded() -> None:
    bans = Bans()
    fail(bans, 5, 100.0, "first")
    for number in range(MAX_BANNED_SOURCES + 10):
        fail(bans, 1, 100.0, f"{number}")

    assert len(bans) == MAX_BANNED_SOURCES
    assert not bans.is_banned("first", 101.0)


def test_stranger_may_ask_16_times_and_8_times_a_second_then() -> None:
    buckets = Buckets()

    at_once = sum(buckets.take("a", 100.0) for _ in range(100))
    later = sum(buckets.take("a", 101.0) for _ in range(100))
    much_later = sum(buckets.take("a", 500.0) for _ in range(100))

    assert (at_once, later, much_later) == (BURST, 8, BURST)


def test_looking_takes_nothing() -> None:
    buckets = Buckets()
    for _ in range(BURST - 1):
        buckets.take("a", 100.0)

    assert [buckets.has_token("a", 100.0) for _ in range(5)] == [True] * 5
    assert buckets.take("a", 100.0)
    assert not buckets.has_token("a", 100.0)
    assert buckets.has_token("b", 100.0)


def test_all_strangers_together_have_a_limit() -> None:
    buckets = Buckets()

    taken = sum(buckets.take(f"{number}", 100.0) for number in range(5000))
    a_second_later = sum(buckets.take(f"{number}", 101.0) for number in range(5000))

    assert (taken, a_second_later) == (module.STRANGERS_BURST, module.STRANGERS_PER_S)
    assert not buckets.has_token("new", 101.0)


def test_table_of_buckets_is_bounded() -> None:
    buckets = Buckets()
    for number in range(3 * MAX_BUCKETS):
        buckets.take(f"{number}", 100.0)

    assert len(buckets) == MAX_BUCKETS


def test_clock_that_stands_still_fills_nothing() -> None:
    buckets = Buckets()
    for _ in range(BURST):
        buckets.take("a", 100.0)

    assert not buckets.take("a", 99.0)
    assert not buckets.take("a", 100.0)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2", True),
        ("not:an:address", "not:an:address", True),
    ],
)
def test_ipv6_source_is_its_whole_network(one: str, other: str, is_same: bool) -> None:
    assert (source_key(one) == source_key(other)) is is_same

"""Reading /proc."""

from __future__ import annotations

import pytest

from bench.measure import CoreLoad, CoreTimes, core_times_of, cpu_ticks_of, rss_kib_of

STAT = (
    "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 1 20 900 30 2 3 4 7 0\ncpu1 5 0 5 50 0 0 0 0 0 0\nintr 1\n"
)


def test_cpu_time_is_user_and_system_whatever_the_name() -> None:
    stat = "77 (a) b (c) S 1 77 77 0 -1 4194560 100 0 0 0 250 30 9 9 20 0 4 0 100 0 0"

    assert cpu_ticks_of(stat) == 280


def test_resident_memory_is_read() -> None:
    assert rss_kib_of("Name:\tx\nVmRSS:\t   51200 kB\nThreads:\t1\n") == 51200


def test_a_process_without_memory_has_none() -> None:
    assert rss_kib_of("Name:\tzombie\n") == 0


def test_a_cores_times_are_read_without_guest_time_counted_twice() -> None:
    assert core_times_of(STAT, 0) == CoreTimes(total=970, idle=930, steal=4)


def test_a_core_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="core 5"):
        core_times_of(STAT, 5)


def test_load_is_what_was_not_idle() -> None:
    load = CoreLoad.between(CoreTimes(1000, 900, 0), CoreTimes(1200, 1050, 2))

    assert (load.busy_percent, load.steal_percent) == (25.0, 1.0)

"""The pacer in virtual time: on the dot, spread out, and honest about what it missed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.net.pacer import MAX_CATCH_UP, Pacer
from tests.support.loop import START, VirtualLoop, elapse, in_virtual_time


class StalledLoop(VirtualLoop):
    """A loop whose callbacks can take long."""

    def stall(self, seconds: float) -> None:
        """Time passes without a chance for anything to run."""
        self._pass(seconds)


@in_virtual_time
async def test_every_20_ms_by_the_clock(loop: VirtualLoop) -> None:
    pacer = Pacer(loop)
    ticks: list[float] = []

    stop = pacer.add(ticks.append)
    await elapse(10.001)
    stop()

    assert len(ticks) == 500
    assert ticks == pytest.approx([START + 0.02 * (n + 1) for n in range(500)], abs=1e-6)


@in_virtual_time
async def test_calls_are_spread_evenly_over_the_phases(loop: VirtualLoop) -> None:
    pacer = Pacer(loop, phases=4)
    moments: dict[int, int] = {}

    def note(now: float) -> None:
        moment = round((now - START) * 1000) % 20
        moments[moment] = moments.get(moment, 0) + 1

    stops = [pacer.add(note) for _ in range(40)]
    await elapse(0.1001)
    for stop in stops:
        stop()

    assert moments == {0: 50, 5: 50, 10: 50, 15: 50}


@in_virtual_time
async def test_those_who_come_take_the_places_of_those_who_went(loop: VirtualLoop) -> None:
    pacer = Pacer(loop, phases=2)
    counts = [0, 0, 0]

    def counter(index: int) -> Callable[[float], None]:
        def count(_now: float) -> None:
            counts[index] += 1

        return count

    first = pacer.add(counter(0))
    second = pacer.add(counter(1))
    first()
    third = pacer.add(counter(2))
    await elapse(0.2001)
    second()
    third()

    assert counts == [0, 10, 10]
    assert pacer.count == 0


@in_virtual_time
async def test_no_timer_runs_while_nobody_is_there(loop: VirtualLoop) -> None:
    pacer = Pacer(loop)
    assert pacer._timer is None

    stop = pacer.add(lambda _now: None)
    await elapse(0.1)
    stop()
    stop()

    assert pacer._timer is None


@in_virtual_time
async def test_a_callback_may_end_itself_and_others(loop: VirtualLoop) -> None:
    pacer = Pacer(loop, phases=1)
    ticks: list[str] = []
    stops: list[Callable[[], None]] = []

    def end_both(_now: float) -> None:
        ticks.append("first")
        for stop in stops:
            stop()

    stops.append(pacer.add(end_both))
    stops.append(pacer.add(lambda _now: ticks.append("second")))
    await elapse(0.1)

    assert ticks == ["first"]
    assert pacer.count == 0


@in_virtual_time
async def test_a_callback_may_add_another(loop: VirtualLoop) -> None:
    pacer = Pacer(loop)
    ticks: list[float] = []
    stops: list[Callable[[], None]] = []

    def add_one(_now: float) -> None:
        if len(stops) < 2:
            stops.append(pacer.add(ticks.append))

    stops.append(pacer.add(add_one))
    await elapse(0.1001)
    for stop in stops:
        stop()

    assert 3 <= len(ticks) <= 5


@in_virtual_time
async def test_one_that_raises_is_counted_told_once_and_goes_on(loop: VirtualLoop) -> None:
    pacer = Pacer(loop, phases=1)
    ticks: list[float] = []

    def broken(_now: float) -> None:
        raise RuntimeError("bug")

    stops = [pacer.add(broken), pacer.add(ticks.append)]
    await elapse(0.1001)
    for stop in stops:
        stop()

    assert len(ticks) == pacer.faults == 5
    assert [str(context["exception"]) for context in loop.unhandled] == ["bug"]
    loop.unhandled.clear()


def run_with_stall(seconds: float) -> tuple[Pacer, list[float], float]:
    """Ticks over 400 ms, in which the loop stands still once, for so long, after 100 ms."""
    loop = StalledLoop()
    pacer = Pacer(loop, phases=1)
    ticks: list[float] = []
    stop = pacer.add(ticks.append)
    loop.advance(0.101)
    loop.stall(seconds)
    loop.advance(0.299)
    stop()
    ended_at = loop.time()
    loop.finish()
    return pacer, ticks, ended_at


def test_what_a_short_stall_missed_is_made_up_for() -> None:
    pacer, ticks, ended_at = run_with_stall(0.07)

    assert len(ticks) == int((ended_at - START) / 0.02 + 1e-6)
    assert (pacer.late, pacer.skipped) == (2, 0)


def test_what_a_long_stall_missed_is_given_up_and_counted() -> None:
    pacer, ticks, ended_at = run_with_stall(0.5)

    assert len(ticks) + pacer.skipped == int((ended_at - START) / 0.02 + 1e-6)
    assert pacer.skipped == 20
    assert ticks.count(max(set(ticks), key=ticks.count)) == MAX_CATCH_UP


def test_after_a_stall_it_is_on_the_dot_again() -> None:
    _, ticks, _ = run_with_stall(0.5)

    late_by = [(tick - START) % 0.02 for tick in ticks[-5:]]
    assert all(late < 1e-6 or late > 0.02 - 1e-6 for late in late_by)


class CoarseLoop(VirtualLoop):
    """Timers of whole milliseconds, rounded, as uvloop's are."""

    def time(self) -> float:
        """Loop seconds in whole milliseconds, as uvloop caches them."""
        return round(super().time(), 3)


def test_timers_of_whole_milliseconds_do_not_make_it_spin() -> None:
    loop = CoarseLoop()
    pacer = Pacer(loop, period_s=0.0203, phases=3)
    runs = 0
    run = pacer._run

    def counted() -> None:
        nonlocal runs
        runs += 1
        run()

    pacer._run = counted  # type: ignore[method-assign]
    ticks: list[float] = []
    stop = pacer.add(ticks.append)
    loop.advance(1.0)
    stop()
    loop.finish()

    assert len(ticks) == 49
    assert runs <= 52

"""The alarms of an endpoint."""

from __future__ import annotations

from gateway.sip.timers import MIN_SWEEP, Timers


def test_alarms_fire_in_order_and_once() -> None:
    timers, fired = Timers(), list[str]()
    timers.start(2.0, lambda now: fired.append(f"b {now}"))
    timers.start(1.0, lambda now: fired.append(f"a {now}"))
    timers.start(3.0, lambda now: fired.append(f"c {now}"))

    timers.fire_due(2.5)
    timers.fire_due(2.5)

    assert fired == ["a 2.5", "b 2.5"]
    assert (timers.next(), len(timers)) == (3.0, 1)


def test_stopped_alarm_does_not_fire() -> None:
    timers, fired = Timers(), list[float]()
    alarm = timers.start(1.0, fired.append)
    timers.start(2.0, fired.append)

    timers.stop(alarm)
    timers.stop(alarm)
    timers.stop(None)

    assert timers.next() == 2.0
    timers.fire_due(5.0)
    assert fired == [5.0]
    assert (timers.next(), len(timers)) == (None, 0)


def test_alarm_may_start_and_stop_others_when_it_fires() -> None:
    timers, fired = Timers(), list[float]()
    second = timers.start(1.0, lambda now: fired.append(-1.0))

    def first(now: float) -> None:
        timers.stop(second)
        timers.start(now, fired.append)

    timers.start(0.5, first)

    timers.fire_due(1.0)

    assert fired == [1.0]
    assert len(timers) == 0


def test_stopped_alarms_do_not_pile_up() -> None:
    timers = Timers()
    kept = timers.start(1.0, lambda now: None)

    largest = 0
    for number in range(10_000):
        timers.stop(timers.start(100.0 + number, lambda now: None))
        largest = max(largest, len(timers._heap))

    assert largest <= MIN_SWEEP + 3
    assert (len(timers), timers.next()) == (1, kept.at)

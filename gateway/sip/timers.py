"""One heap of pending alarms for everything in an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

MIN_SWEEP = 64
"Stopped alarms that may lie in the heap before it is swept; below it, sweeping costs more."


class Alarm(list[Any]):
    """One pending call: its time, its number, what is called and with what before the time.

    A list, for the heap then compares alarms by time and number without a call of ours, and one
    object holds all that is kept of a transaction's timer for 32 s. Stop it through the `Timers`
    that made it.
    """

    __slots__ = ()

    @property
    def at(self) -> float:
        """When it is due."""
        return float(self[0])

    @property
    def is_pending(self) -> bool:
        """Whether it has neither fired nor been stopped."""
        return self[2] is not None

    @property
    def given(self) -> tuple[Any, ...]:
        """What the call is given before the time; nothing once it is over."""
        return self[3] or ()


class Timers:
    """Pending alarms by time. Starting costs O(log n), stopping and the next time O(1)."""

    __slots__ = ("_count", "_heap", "_stopped")

    def __init__(self) -> None:
        self._heap: list[Alarm] = []
        self._count = 0
        self._stopped = 0

    def __len__(self) -> int:
        return len(self._heap) - self._stopped

    def start(self, at: float, fire: Callable[..., object], *given: object) -> Alarm:
        """Call `fire(*given, now)` once, when `at` has come."""
        self._count += 1
        alarm = Alarm((at, self._count, fire, given))
        heappush(self._heap, alarm)
        return alarm

    def stop(self, alarm: Alarm | None) -> None:
        """Forget an alarm; one that has fired or was stopped is no matter."""
        if alarm is None or alarm[2] is None:
            return
        # What it would have called is let go now, not when its time comes.
        alarm[2] = alarm[3] = None
        self._stopped += 1
        # Stopped alarms lie in the heap until their time comes. A call leaves several of
        # 32 s behind, so they are swept out when they outnumber the living.
        if self._stopped > MIN_SWEEP and self._stopped * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2] is not None]
            heapify(self._heap)
            self._stopped = 0

    def next(self) -> float | None:
        """When the earliest alarm is due; None if none is pending."""
        heap = self._heap
        while heap and heap[0][2] is None:
            heappop(heap)
            self._stopped -= 1
        return heap[0][0] if heap else None

    def fire_due(self, now: float) -> None:
        """Fire, in order, what is due."""
        while (at := self.next()) is not None and at <= now:
            alarm = heappop(self._heap)
            fire, given = alarm[2], alarm[3]
            alarm[2] = alarm[3] = None
            fire(*given, now)

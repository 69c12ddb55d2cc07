"""One heap of pending alarms for everything in an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

MIN_SWEEP = 64
"Stopped alarms that may lie in the heap before it is swept; below it, sweeping costs more."


class Alarm:
    """One pending call. Stop it through the `Timers` that made it."""

    __slots__ = ("at", "fire")

    def __init__(self, at: float, fire: Callable[[float], None]) -> None:
        self.at = at
        self.fire: Callable[[float], None] | None = fire


class Timers:
    """Pending alarms by time. Starting costs O(log n), stopping and the next time O(1)."""

    __slots__ = ("_count", "_heap", "_stopped")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._count = 0
        self._stopped = 0

    def __len__(self) -> int:
        return len(self._heap) - self._stopped

    def start(self, at: float, fire: Callable[[float], None]) -> Alarm:
        """Call `fire(now)` once, when `at` has come."""
        alarm = Alarm(at, fire)
        self._count += 1
        heappush(self._heap, (at, self._count, alarm))
        return alarm

    def stop(self, alarm: Alarm | None) -> None:
        """Forget an alarm; one that has fired or was stopped is no matter."""
        if alarm is None or alarm.fire is None:
            return
        alarm.fire = None
        self._stopped += 1
        # Stopped alarms lie in the heap until their time comes. A call leaves several of
        # 32 s behind, so they are swept out when they outnumber the living.
        if self._stopped > MIN_SWEEP and self._stopped * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].fire is not None]
            heapify(self._heap)
            self._stopped = 0

    def next(self) -> float | None:
        """When the earliest alarm is due; None if none is pending."""
        heap = self._heap
        while heap and heap[0][2].fire is None:
            heappop(heap)
            self._stopped -= 1
        return heap[0][0] if heap else None

    def fire_due(self, now: float) -> None:
        """Fire, in order, what is due."""
        while (at := self.next()) is not None and at <= now:
            alarm = heappop(self._heap)[2]
            fire, alarm.fire = alarm.fire, None
            assert fire is not None
            fire(now)

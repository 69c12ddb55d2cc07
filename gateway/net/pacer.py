"""The 20 ms tick of every call: one timer, paced by deadline, calls spread over its phases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from math import floor

MAX_CATCH_UP = 5
"Ticks made up for at once after a stall: 100 ms, what a far end's jitter buffer can take."

DUE_WITHIN_S = 0.0006
"""uvloop's timers are whole milliseconds, rounded: one may come half of that early, and one that is
set for less comes at once, again and again."""


class Pacer:
    """Calls back every period until told to stop; no timer runs while nobody is there."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, period_s: float = 0.02, phases: int = 4
    ) -> None:
        """
        Args:
            phases: into how many moments of a period the callbacks are spread, evenly.
        """
        self.late = 0
        "Ticks that began more than a period after they were due."
        self.skipped = 0
        "Ticks given up, after more than `MAX_CATCH_UP` were missed."
        self.faults = 0
        "Ticks that raised. The first of each callback is told to the loop's exception handler."
        self._loop = loop
        self._period_s = period_s
        self._phases = [_Phase(number * period_s / phases) for number in range(phases)]
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0

    def add(self, callback: Callable[[float], object]) -> Callable[[], None]:
        """Call `callback(now)`, in loop seconds, every period; what is returned ends that.

        Ending it twice is harmless; so is ending any from within any callback.
        """
        phase = min(self._phases, key=lambda phase: len(phase.members))
        member = _Member(callback)
        if not phase.members:
            phase.due = self._next_due(phase)
        phase.members.append(member)
        self._arm()
        return partial(self._remove, phase, member)

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call back once, at its own time: for the rare thing that cannot wait for the beat."""
        return self._loop.call_at(when, callback)

    @property
    def count(self) -> int:
        """How many are called back."""
        return sum(len(phase.members) for phase in self._phases)

    def _remove(self, phase: _Phase, member: _Member) -> None:
        member.is_removed = True
        member.callback = _nothing  # which may be of whoever holds the way to end it
        if member in phase.members:
            phase.members.remove(member)
        self._arm()

    def _next_due(self, phase: _Phase) -> float:
        """The first moment of a phase that is yet to come."""
        periods = floor((self._loop.time() - phase.offset_s) / self._period_s) + 1
        return phase.offset_s + periods * self._period_s

    def _arm(self) -> None:
        """One timer for whichever phase comes next."""
        dues = [phase.due for phase in self._phases if phase.members]
        due = min(dues, default=0.0)
        if self._timer is not None:
            if dues and due == self._armed_for:
                return
            self._timer.cancel()
            self._timer = None
        if dues:
            self._armed_for = due
            self._timer = self._loop.call_at(due, self._run)

    def _run(self) -> None:
        self._timer = None
        now = self._loop.time()
        for phase in self._phases:
            for _ in range(self._take_due(phase, now)):
                self._tick(phase)
        self._arm()

    def _take_due(self, phase: _Phase, now: float) -> int:
        """How many ticks of a phase are to run now."""
        behind_s = now + DUE_WITHIN_S - phase.due
        if behind_s < 0 or not phase.members:
            return 0
        missed = int(behind_s / self._period_s)
        phase.due += (missed + 1) * self._period_s
        count = min(missed + 1, MAX_CATCH_UP)
        self.late += min(missed, count) * len(phase.members)
        self.skipped += (missed + 1 - count) * len(phase.members)
        return count

    def _tick(self, phase: _Phase) -> None:
        now = self._loop.time()
        for member in tuple(phase.members):
            if member.is_removed:
                continue
            try:
                member.callback(now)
            except Exception as error:
                self._on_fault(member, error)

    def _on_fault(self, member: _Member, error: Exception) -> None:
        self.faults += 1
        if not member.has_failed:
            member.has_failed = True
            self._loop.call_exception_handler(
                {"message": "a paced callback raised; it goes on", "exception": error}
            )


class _Phase:
    """The callbacks that share a moment of the period."""

    __slots__ = ("due", "members", "offset_s")

    def __init__(self, offset_s: float) -> None:
        self.offset_s = offset_s
        self.due = 0.0
        self.members: list[_Member] = []


class _Member:
    __slots__ = ("callback", "has_failed", "is_removed")

    def __init__(self, callback: Callable[[float], object]) -> None:
        self.callback = callback
        self.is_removed = False
        self.has_failed = False


def _nothing(now: float) -> None:
    """Nobody is called back any more."""

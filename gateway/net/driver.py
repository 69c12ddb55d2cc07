"""Drives a sans-I/O machine on an asyncio loop: sends, reports, and keeps its one timer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Generic, ParamSpec, Protocol, TypeVar

log = logging.getLogger(__name__)

MAX_ROUNDS = 64
"Answers to answers within one flush; what is left comes in the loop's next turn."
RETRY_S = 0.1
"How long the timer rests after `handle_timer` has raised."

P = ParamSpec("P")
Output = TypeVar("Output")
Output_co = TypeVar("Output_co", covariant=True)
Event = TypeVar("Event")
Event_co = TypeVar("Event_co", covariant=True)


class Machine(Protocol[Output_co, Event_co]):
    """Bytes and time in; bytes, events and the next timer out."""

    def handle_timer(self, now: float) -> None:
        """Fire what is due at `now` (loop seconds)."""

    def next_timer(self) -> float | None:
        """When to call `handle_timer`; None: nothing waits."""

    def take_output(self) -> Sequence[Output_co]:
        """What is to be sent, in order; the machine forgets it."""

    def take_events(self) -> Sequence[Event_co]:
        """What happened, in order; the machine forgets it."""


class Driver(Generic[Output, Event]):
    """Carries what a machine has to say into the world, after every change of it.

    Whoever changes the machine does so by `change`, or by a command followed by `flush`. Both may
    be called from `send` and `on_event` themselves: what they add is carried out by the flush that
    is under way, after what came before it. An exception of either is logged and counted; the
    rest of the outputs and events goes on.
    """

    def __init__(
        self,
        machine: Machine[Output, Event],
        *,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[Output], object],
        on_event: Callable[[Event], object],
    ) -> None:
        self._machine = machine
        self._loop = loop
        self._send = send
        self._on_event = on_event
        self._timer: asyncio.TimerHandle | None = None
        self._later: asyncio.Handle | None = None
        self._armed_at: float | None = None
        self._flushing = False
        self._closed = False
        self.failures = 0
        "Exceptions contained: each is a bug of ours."
        self._seen: set[tuple[str, str, int]] = set()

    def change(self, step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Run one step of the machine, such as `receive`, and carry out what comes of it."""
        self._guard(step, *args, **kwargs)
        self.flush()

    def flush(self) -> None:
        """Send, report, re-arm: to be called after every change to the machine."""
        if self._flushing or self._closed:
            return
        self._flushing = True
        try:
            self._carry_out()
        finally:
            self._flushing = False
        if not self._closed:
            self._rearm(self._machine.next_timer())

    def close(self) -> None:
        """Stop: no timer, no output and no event after this."""
        self._closed = True
        self._rearm(None)
        if self._later is not None:
            self._later.cancel()

    def _carry_out(self) -> None:
        machine = self._machine
        for _ in range(MAX_ROUNDS):
            outputs, events = machine.take_output(), machine.take_events()
            if not outputs and not events:
                return
            for output in outputs:
                self._guard(self._send, output)
                if self._closed:
                    return
            for event in events:
                self._guard(self._on_event, event)
                if self._closed:
                    return
        self._later = self._loop.call_soon(self.flush)

    def _rearm(self, at: float | None) -> None:
        if at == self._armed_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_at = at
        self._timer = None if at is None else self._loop.call_at(at, self._fire, at)

    def _fire(self, at: float) -> None:
        self._timer = self._armed_at = None
        # uvloop counts milliseconds and may call a fraction of one early: `at` has come all the
        # same, or the machine would find nothing due and be asked again at once.
        now = max(self._loop.time(), at)
        if self._guard(self._machine.handle_timer, now):
            self.flush()
        else:
            # What is due may still be due: asked again at once, a bug would eat the processor.
            self._later = self._loop.call_later(RETRY_S, self.flush)

    def _guard(self, call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Call; count an exception, and log it in full the first time it comes from its line."""
        try:
            call(*args, **kwargs)
        except Exception as error:
            self.failures += 1
            place = _place(error)
            if place not in self._seen:
                self._seen.add(place)
                log.error("contained, and counted from now on", exc_info=error)
            return False
        return True


def _place(error: Exception) -> tuple[str, str, int]:
    """What an exception is and where it was raised: finitely many, so that they can be kept."""
    traceback = error.__traceback__
    assert traceback is not None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return type(error).__name__, traceback.tb_frame.f_code.co_filename, traceback.tb_lineno

"""The loop between legs and calls: who owns a leg, whose turn it is, and what a bug may break."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from gateway.call.call import Call
from gateway.errors import Fault, RoutingError
from gateway.leg.leg import EndReason, Gone, Leg, LegEvent, LegId, Signalled

log = logging.getLogger(__name__)


class Entry:
    """One call with its timer and its place on the pacer."""

    __slots__ = ("call", "is_broken", "stop_pacing", "timer", "timer_at")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at: float | None = None
        self.stop_pacing: Callable[[], None] = lambda: None
        self.is_broken = False


class Dispatcher:
    """Runs the steps of calls one after the other, each under a guard.

    What a leg tells while a step runs waits until the step is done.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        hand_over: Callable[[Entry, LegId, LegEvent], None],
        after: Callable[[Entry], None],
        note: Callable[[Entry, LegId, Signalled], None],
    ) -> None:
        """
        Args:
            hand_over: takes an event of a leg, with the call that the leg is in now.
            after: is called after each step of a call.
            note: takes what changes nothing in a call, in its turn.
        """
        self._loop = loop
        self._hand_over = hand_over
        self._after = after
        self._note = note
        self._owners: dict[LegId, Entry] = {}
        self._posted: deque[tuple[LegId, LegEvent]] = deque()
        self._is_running = False

    def __len__(self) -> int:
        """Legs that are not gone."""
        return len(self._owners)

    # ---- whose leg

    def own(self, leg: Leg, entry: Entry) -> None:
        """What the leg tells is for this call, until it moves to another or is gone."""
        self._owners[leg.id] = entry
        leg.on_event = partial(self._post, leg.id)

    def move(self, leg: LegId, entry: Entry) -> None:
        """The leg is in another call from now on; what waits goes there too."""
        self._owners[leg] = entry

    def disown(self, leg: LegId) -> None:
        """The leg is in no call after all."""
        self._owners.pop(leg, None)

    def owner(self, leg: LegId) -> Entry | None:
        """The call that a leg is in now."""
        return self._owners.get(leg)

    # ---- whose turn

    def run(self, *steps: tuple[Entry, Callable[[], None]]) -> None:
        """Run steps of calls, and then what their legs told meanwhile."""
        nested, self._is_running = self._is_running, True
        try:
            for entry, step in steps:
                self._guarded(entry, step)
        finally:
            self._is_running = nested
        if not nested:
            self._dispatch()

    def ask(self, entry: Entry, command: Callable[[float], None]) -> None:
        """Run a command that may be refused; it is given the time.

        Raises:
            RoutingError: it was.
        """
        refusals: list[RoutingError] = []

        def step() -> None:
            try:
                command(self._loop.time())
            except RoutingError as error:
                refusals.append(error)

        self.run((entry, step))
        if refusals:
            raise refusals[0]

    def _post(self, leg: LegId, event: LegEvent) -> None:
        """A leg tells something. From inside a command it waits until the command is done."""
        self._posted.append((leg, event))
        if not self._is_running:
            self._dispatch()

    def _dispatch(self) -> None:
        self._is_running = True
        try:
            while self._posted:
                leg, event = self._posted.popleft()
                entry = self._owners.get(leg)
                if entry is None:
                    continue
                if isinstance(event, Signalled):
                    self._note(entry, leg, event)
                    continue
                if isinstance(event, Gone):
                    del self._owners[leg]
                self._guarded(entry, partial(self._hand_over, entry, leg, event))
        finally:
            self._is_running = False

    def _guarded(self, entry: Entry, step: Callable[[], None]) -> None:
        """One bug ends one call: the others never learn of it."""
        call = entry.call
        try:
            step()
        except Exception:
            log.exception("call=%s broke, and is ended", call.id)
            if not entry.is_broken:
                entry.is_broken = True
                self._guarded(
                    entry,
                    partial(call.end, self._loop.time(), EndReason.GATEWAY_ERROR, Fault.GATEWAY),
                )
        self._after(entry)

"""The calls of this node: places them, carries events between legs and calls, keeps their time."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from gateway.call.call import Call, CallOptions, CallState, CallSummary
from gateway.call.events import CallEnded, CallEvent, CallId, CallStarted, LegSignalled
from gateway.errors import CapacityError, Fault
from gateway.leg.leg import EndReason, Leg, LegEvent, LegId
from gateway.media.hub import Hub, PartyId
from gateway.net.pacer import Pacer
from gateway.private import Private
from gateway.sip.invite import MAX_FORWARDS
from gateway.trunk.route import Plan, Target

log = logging.getLogger(__name__)

KEPT_ENDED_CALLS = 100
"Calls that stay to be looked at after their end."


@dataclass(frozen=True, slots=True)
class RegistryOptions:
    """How much this node takes on."""

    max_calls: int = 1000
    "That go on at a time; more are refused with 503."
    max_lingering: int = 10_000
    """That have ended, whose legs still owe the wire something: SIP remembers a transaction for
    32 s after its end (RFC 3261 §17.2.2)."""
    call: CallOptions = field(default_factory=CallOptions)


class Registry:
    """Every call of this process. All methods are plain defs: a transition is atomic."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        pacer: Pacer,
        new_id: Callable[[], str],
        dial: Callable[[Target, Call], Leg],
        options: RegistryOptions | None = None,
    ) -> None:
        """
        Args:
            new_id: makes call ids that begin with the node's name.
            dial: makes the leg to a target for a call, not yet dialled.
        """
        self._loop = loop
        self._pacer = pacer
        self._new_id = new_id
        self._dial = dial
        self._options = options or RegistryOptions()
        self._calls: dict[CallId, _Entry] = {}
        self._going_on: dict[CallId, Call] = {}
        self._ended: OrderedDict[CallId, CallSummary] = OrderedDict()
        self._observers: list[Callable[[CallEvent], None]] = []
        self._posted: deque[tuple[_Entry, LegId, LegEvent]] = deque()
        self._is_dispatching = False
        self._is_draining = False
        self._emptied: asyncio.Event = asyncio.Event()
        self._emptied.set()

    # ---- observers

    def observe(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]:
        """Hear every event of every call; the returned function ends that."""
        self._observers.append(observer)
        return partial(self._observers.remove, observer)

    def calls(self) -> list[Call]:
        """The calls that go on, oldest first."""
        return list(self._going_on.values())

    @property
    def lingering(self) -> int:
        """Calls that have ended, whose legs still owe the wire something."""
        return len(self._calls) - len(self._going_on)

    def find(self, call_id: CallId) -> Call | None:
        """A call by its id, until the last of its legs is gone."""
        entry = self._calls.get(call_id)
        return None if entry is None else entry.call

    def summary(self, call_id: CallId) -> CallSummary | None:
        """What is known of a call, also of one that ended lately."""
        call = self.find(call_id)
        return self._ended.get(call_id) if call is None else call.summary(self._loop.time())

    # ---- commands

    def place(
        self,
        caller: Leg,
        plan: Plan,
        *,
        caller_target: str,
        numbers: tuple[Private, Private],
        dial_caller: bool = False,
        call_id: CallId | None = None,
        max_forwards: int = MAX_FORWARDS,
    ) -> Call:
        """Start a call from `caller` along `plan`.

        Args:
            call_id: where the caller's leg has to know it before there is a call; None: a new one.
            max_forwards: hops that the call may still take.

        Raises:
            CapacityError: the node is full, or no longer takes calls. The caller is not touched.
        """
        options = self._options
        is_full = len(self._calls) >= options.max_calls + options.max_lingering
        if self._is_draining or is_full or len(self._going_on) >= options.max_calls:
            raise CapacityError("this node takes no more calls now")
        call = Call(
            call_id or self._new_id(),
            caller=caller,
            caller_target=caller_target,
            numbers=numbers,
            plan=plan,
            dial=lambda target: self._make_leg(target, entry),
            hub=Hub(on_fault=lambda party, error: self._on_media_fault(entry, party, error)),
            options=self._options.call,
            max_forwards=max_forwards,
        )
        entry = _Entry(call)
        self._calls[call.id] = entry
        self._going_on[call.id] = call
        self._emptied.clear()
        entry.stop_pacing = self._pacer.add(call.hub.tick)

        def begin() -> None:
            # What the caller's leg told before it had a call comes out now, ahead of the rest.
            caller.on_event = partial(self._post, entry, caller.id)
            call.start(self._loop.time(), dial_caller=dial_caller)

        self._run(entry, begin)
        return call

    def end(self, call_id: CallId, reason: EndReason, fault: Fault | None = None) -> bool:
        """End a call for everybody; False when there is no such call any more."""
        entry = self._calls.get(call_id)
        if entry is None or entry.call.state is CallState.ENDED:
            return False
        self._run(entry, partial(entry.call.end, self._loop.time(), reason, fault))
        return True

    def drain(self) -> None:
        """Take no new calls."""
        self._is_draining = True

    async def emptied(self) -> None:
        """Until no call goes on."""
        await self._emptied.wait()

    # ---- the loop between legs and calls

    def _make_leg(self, target: Target, entry: _Entry) -> Leg:
        leg = self._dial(target, entry.call)
        leg.on_event = partial(self._post, entry, leg.id)
        return leg

    def _post(self, entry: _Entry, leg: LegId, event: LegEvent) -> None:
        """A leg tells something. From inside a command it waits until the command is done."""
        self._posted.append((entry, leg, event))
        if not self._is_dispatching:
            self._dispatch()

    def _run(self, entry: _Entry, command: Callable[[], None]) -> None:
        nested = self._is_dispatching
        self._is_dispatching = True
        try:
            self._guarded(entry, command)
        finally:
            self._is_dispatching = nested
        if not nested:
            self._dispatch()

    def _dispatch(self) -> None:
        self._is_dispatching = True
        try:
            while self._posted:
                entry, leg, event = self._posted.popleft()
                now = self._loop.time()
                self._guarded(entry, partial(entry.call.on_leg_event, leg, event, now))
        finally:
            self._is_dispatching = False

    def _guarded(self, entry: _Entry, step: Callable[[], None]) -> None:
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

    def _on_media_fault(self, entry: _Entry, party: PartyId, error: Exception) -> None:
        """A listener raised, in the middle of a packet: its call ends in the loop's next turn."""
        if entry.is_broken:
            return
        entry.is_broken = True
        log.error("call=%s leg=%s broke, and is ended", entry.call.id, party, exc_info=error)
        self._loop.call_soon(self.end, entry.call.id, EndReason.GATEWAY_ERROR, Fault.GATEWAY)

    def _after(self, entry: _Entry) -> None:
        call = entry.call
        for event in call.take_events():
            self._publish(event)
        timer_at = call.next_timer()
        if timer_at != entry.timer_at:
            if entry.timer is not None:
                entry.timer.cancel()
            entry.timer_at = timer_at
            entry.timer = (
                None if timer_at is None else self._loop.call_at(timer_at, self._on_timer, entry)
            )
        if call.state is CallState.ENDED:
            entry.stop_pacing()
            self._going_on.pop(call.id, None)
            if not self._going_on:
                self._emptied.set()
        if call.is_over and self._calls.pop(call.id, None) is not None:
            self._ended[call.id] = call.summary(self._loop.time())
            if len(self._ended) > KEPT_ENDED_CALLS:
                self._ended.popitem(last=False)

    def _on_timer(self, entry: _Entry) -> None:
        entry.timer, entry.timer_at = None, None
        self._run(entry, partial(entry.call.handle_timer, self._loop.time()))

    def _publish(self, event: CallEvent) -> None:
        if isinstance(event, CallStarted):
            log.info("call=%s started from %s to %s", event.call, event.caller, event.called)
        elif isinstance(event, CallEnded):
            log.info(
                "call=%s ended reason=%s fault=%s status=%d talked_s=%.1f",
                event.call,
                event.reason.value,
                event.fault.value,
                event.status,
                event.duration_s,
            )
        elif isinstance(event, LegSignalled):
            arrow = "->" if event.sent else "<-"
            log.debug("call=%s leg=%s %s %s", event.call, event.leg, arrow, event.text)
        for observer in tuple(self._observers):
            try:
                observer(event)
            except Exception:
                log.exception("an observer of call events broke on %s", type(event).__name__)


class _Entry:
    """One call with its timer and its place on the pacer."""

    __slots__ = ("call", "is_broken", "stop_pacing", "timer", "timer_at")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.timer: asyncio.TimerHandle | None = None
        self.timer_at: float | None = None
        self.stop_pacing: Callable[[], None] = lambda: None
        self.is_broken = False

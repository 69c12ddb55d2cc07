"""The calls of this node: places them, carries events between legs and calls, keeps their time."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from gateway.call.call import (
    Call,
    CallOptions,
    CallState,
    CallSummary,
    Errand,
    Party,
    TransferMode,
)
from gateway.call.dispatch import Dispatcher, Entry
from gateway.call.events import (
    CallEvent,
    CallId,
    CallRefused,
    LegSignalled,
)
from gateway.call.journal import log_event
from gateway.call.orders import Orders, Result, are_of_one, caller_of, other_party, party_up
from gateway.errors import CapacityError, Fault, RoutingError
from gateway.leg.leg import EndReason, Leg, LegEvent, LegId, Signalled, TransferAsked
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


class Registry(Orders):
    """Every call of this process. All methods are plain defs: a transition is atomic."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        pacer: Pacer,
        new_id: Callable[[], str],
        dial: Callable[[Target, Errand], Leg],
        find_dialog: Callable[[str], LegId | None] = lambda _replaces: None,
        options: RegistryOptions | None = None,
    ) -> None:
        """
        Args:
            new_id: makes call ids that begin with the node's name.
            dial: makes the leg to a target for a call, not yet dialled.
            find_dialog: the leg whose dialog a Replaces header names; None: it is not ours.
        """
        self._loop = loop
        self._pacer = pacer
        self._new_id = new_id
        self._dial = dial
        self._find_dialog = find_dialog
        self._options = options or RegistryOptions()
        self._calls: dict[CallId, Entry] = {}
        self._going_on: dict[CallId, Call] = {}
        self._ended: OrderedDict[CallId, CallSummary] = OrderedDict()
        self._observers: list[Callable[[CallEvent], None]] = []
        self._watchers: list[Callable[[CallEvent], None]] = []
        "Those of them that hear of signalling too."
        self._dispatcher = Dispatcher(
            loop, hand_over=self._hand_over, after=self._after, note=self._note
        )
        self._is_draining = False
        self._emptied: asyncio.Event = asyncio.Event()
        self._emptied.set()

    # ---- observers

    def observe(
        self, observer: Callable[[CallEvent], None], *, signalling: bool = True
    ) -> Callable[[], None]:
        """Hear every event of every call; the returned function ends that.

        Args:
            signalling: `LegSignalled` too, which most events of a call are.
        """
        self._observers.append(observer)
        if signalling:
            self._watchers.append(observer)

        def stop() -> None:
            self._observers.remove(observer)
            if signalling:
                self._watchers.remove(observer)

        return stop

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
        max_breadth: int | None = None,
    ) -> Call:
        """Start a call from `caller` along `plan`.

        Args:
            call_id: where the caller's leg has to know it before there is a call; None: a new one.
            max_forwards: hops that the call may still take.
            max_breadth: branches that it may be forked into; None: nobody has said.

        Raises:
            CapacityError: the node is full, or no longer takes calls. The caller is not touched.
        """
        options = self._options
        is_full = len(self._calls) >= options.max_calls + options.max_lingering
        if self._is_draining or is_full or len(self._going_on) >= options.max_calls:
            raise CapacityError("this node takes no more calls now")
        call_id = call_id or self._new_id()
        call = Call(
            call_id,
            caller=caller,
            caller_target=caller_target,
            numbers=numbers,
            plan=plan,
            # By its id: whatever the call holds must not hold the call.
            dial=partial(self._make_leg, call_id),
            hub=Hub(on_fault=partial(self._on_media_fault, call_id)),
            options=self._options.call,
            max_forwards=max_forwards,
            max_breadth=max_breadth,
        )
        entry = Entry(call)
        self._calls[call.id] = entry
        self._going_on[call.id] = call
        self._emptied.clear()
        entry.stop_pacing = self._pacer.add(call.hub.tick)

        def begin() -> None:
            # What the caller's leg told before it had a call comes out now, ahead of the rest.
            self._dispatcher.own(caller, entry)
            call.start(self._loop.time(), dial_caller=dial_caller)

        self._dispatcher.run((entry, begin))
        return call

    def end(self, call_id: CallId, reason: EndReason, fault: Fault | None = None) -> bool:
        """End a call for everybody; False when there is no such call any more."""
        entry = self._calls.get(call_id)
        if entry is None or entry.call.state is CallState.ENDED:
            return False
        self._dispatcher.run((entry, partial(entry.call.end, self._loop.time(), reason, fault)))
        return True

    def detach(self, call_id: CallId, name: PartyId) -> None:
        """Let such a one go; one that is not there is ignored."""
        entry = self._calls.get(call_id)
        if entry is not None:
            self._dispatcher.run((entry, lambda: entry.call.detach(name, self._loop.time())))

    def command(self, call_id: CallId, do: Callable[[Call, float], Result]) -> Result:
        entry = self._entry_of(call_id)
        results: list[Result] = []
        self._dispatcher.ask(entry, lambda now: results.append(do(entry.call, now)))
        if not results:
            raise RoutingError("the call broke", status=500)
        return results[0]

    def join(
        self,
        call_id: CallId,
        other_id: CallId,
        *,
        leg: LegId | None = None,
        other_leg: LegId | None = None,
        mode: TransferMode = TransferMode.AUTO,
    ) -> None:
        """Bring parties of two calls together in the first of them; all others are let go.

        Args:
            leg: who of the first call; None: its caller.
            other_leg: who of the other call; None: its caller.
            mode: `REFER` has the first call the second, in the place of its dialog with us.

        Raises:
            RoutingError: as `transfer`; 409, the two are one call, or one of them is not up.
        """
        entry, other = self._entry_of(call_id), self._entry_of(other_id)
        if other is entry:
            raise RoutingError("these are one call", status=409)
        leg, other_leg = leg or caller_of(entry.call), other_leg or caller_of(other.call)
        party, moved = party_up(entry.call, leg), party_up(other.call, other_leg)
        if mode is not TransferMode.REFER:
            self._merge(entry, leg, other, other_leg)
            return
        dialog = moved.leg.dialog
        if dialog is None:
            raise RoutingError("nobody can take the place of this party's dialog", status=409)
        self._dispatcher.ask(entry, lambda now: entry.call.refer(party.leg.id, *dialog, now))

    def replace(self, old: LegId, leg: Leg, source: str) -> Call:
        """Let a leg that came with a Replaces header take the place of one (RFC 3891).

        Args:
            old: whose dialog it names.
            source: who asks, in a route's words: only for its own may it (A37).

        Raises:
            RoutingError: 481, there is no such leg any more; 403, it is somebody else's; 491;
                500, the call broke over it.
        """
        entry = self._dispatcher.owner(old)
        party = None if entry is None else entry.call.parties.get(old)
        if entry is None or party is None:
            raise RoutingError("the dialog to be replaced has ended", status=481)
        if not are_of_one(party.target, source):
            raise RoutingError("that dialog is somebody else's", status=403)
        self._dispatcher.own(leg, entry)
        try:
            self._dispatcher.ask(entry, lambda now: entry.call.replace(old, leg, source, now))
            if leg.id not in entry.call.parties:
                raise RoutingError("the call broke", status=500)
        except RoutingError:
            self._dispatcher.disown(leg.id)
            raise
        return entry.call

    def drain(self) -> None:
        """Take no new calls."""
        self._is_draining = True

    @property
    def is_draining(self) -> bool:
        """Whether no new calls are taken any more."""
        return self._is_draining

    async def emptied(self) -> None:
        """Until no call goes on."""
        await self._emptied.wait()

    # ---- the loop between legs and calls

    def _make_leg(self, call_id: CallId, target: Target, errand: Errand) -> Leg:
        leg = self._dial(target, errand)
        self._dispatcher.own(leg, self._calls[call_id])
        return leg

    def _entry_of(self, call_id: CallId) -> Entry:
        entry = self._calls.get(call_id)
        if entry is None or entry.call.state is CallState.ENDED:
            raise RoutingError("there is no such call")
        return entry

    def _hand_over(self, entry: Entry, leg: LegId, event: LegEvent) -> None:
        """An event reaches its call; what concerns two calls is looked at before."""
        if isinstance(event, TransferAsked) and event.replaces is not None:
            replaced = self._find_dialog(event.replaces)
            if replaced is not None:
                self._transfer_attended(entry, leg, replaced)
                return
        entry.call.on_leg_event(leg, event, self._loop.time())

    def _note(self, entry: Entry, leg: LegId, event: Signalled) -> None:
        """A message of a leg's signalling, for who watches: a call takes a dozen, and no notice."""
        if log.isEnabledFor(logging.DEBUG):
            arrow = "->" if event.sent else "<-"
            log.debug("call=%s leg=%s %s %s", entry.call.id, leg, arrow, event.text)
        party = entry.call.parties.get(leg) if self._watchers else None
        if party is not None:
            now, kind = self._loop.time(), party.leg.kind
            told = (entry.call.id, now, leg, kind, party.role, event.sent, event.text)
            _tell(self._watchers, LegSignalled(*told))

    def _transfer_attended(self, entry: Entry, leg: LegId, replaced: LegId) -> None:
        """A party brings the other of this call together with the other of its second call."""
        asker, other = entry.call.parties[leg], self._dispatcher.owner(replaced)
        try:
            if other is None or other is entry:
                raise RoutingError("the dialog to be replaced has ended", status=481)
            if not are_of_one(party_up(other.call, replaced).target, asker.target):
                raise RoutingError("that dialog is somebody else's", status=403)
            kept, moved = other_party(entry.call, leg), other_party(other.call, replaced)
        except RoutingError as error:
            asker.leg.transfer_progress(480 if error.status == 409 else error.status)
            return
        asker.leg.transfer_progress(100)
        asker.leg.transfer_progress(200)
        self._merge(entry, kept.leg.id, other, moved.leg.id)

    def _merge(self, entry: Entry, leg: LegId, other: Entry, other_leg: LegId) -> None:
        """Bring two together in the first call; the other call ends."""
        moved: list[Party] = []

        def leave() -> None:
            now = self._loop.time()
            moved.append(other.call.release(other_leg, entry.call.id, now))
            other.call.end(now, EndReason.TRANSFERRED)

        def enter() -> None:
            if moved:
                self._dispatcher.move(other_leg, entry)
                entry.call.exchange(leg, moved[0], self._loop.time())

        self._dispatcher.run((other, leave), (entry, enter))

    def _on_media_fault(self, call_id: CallId, party: PartyId, error: Exception) -> None:
        """A listener raised, in the middle of a packet: its call ends in the loop's next turn."""
        entry = self._calls.get(call_id)
        if entry is None or entry.is_broken:
            return
        if entry.call.can_spare(party):
            log.error("call=%s party=%s broke, and is let go", call_id, party, exc_info=error)
            self._loop.call_soon(self.detach, call_id, party)
            return
        entry.is_broken = True
        log.error("call=%s leg=%s broke, and is ended", entry.call.id, party, exc_info=error)
        self._loop.call_soon(self.end, entry.call.id, EndReason.GATEWAY_ERROR, Fault.GATEWAY)

    def _after(self, entry: Entry) -> None:
        call = entry.call
        for event in call.take_events():
            log_event(event)
            _tell(self._observers, event)
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
            call.close()
            self._ended[call.id] = call.summary(self._loop.time())
            if len(self._ended) > KEPT_ENDED_CALLS:
                self._ended.popitem(last=False)

    def _on_timer(self, entry: Entry) -> None:
        entry.timer, entry.timer_at = None, None
        self._dispatcher.run((entry, partial(entry.call.handle_timer, self._loop.time())))

    def tell(self, event: CallRefused) -> None:
        """Pass on what happened to one who got no call."""
        _tell(self._observers, event)


def _tell(observers: list[Callable[[CallEvent], None]], event: CallEvent) -> None:
    for observer in tuple(observers):
        try:
            observer(event)
        except Exception:
            log.exception("an observer of call events broke on %s", type(event).__name__)

"""A call: legs around one hub and the rules between them. A pure state machine, the B2BUA itself.

DIALLING ──answered──▸ UP ──hang-up of either──▸ ENDED
    └──all groups failed, caller gone, time out──▸ ENDED
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.call.commands import Commands
from gateway.call.dial import CallOptions, Dialler
from gateway.call.digits import Digits
from gateway.call.events import (
    CallAnswered,
    CallEnded,
    CallId,
    CallProgressed,
    CallStarted,
)
from gateway.call.guests import Guests, goes_on
from gateway.call.hunt import TIMED_OUT, Errand, Hunt
from gateway.call.notes import Notes
from gateway.call.party import (
    CallState,
    CallSummary,
    LegSummary,
    Party,
    PartyState,
    blame,
    outcome_of,
)
from gateway.call.room import Room
from gateway.call.search import Searches
from gateway.call.tools import Tools
from gateway.call.transfer import TransferMode, Transfers
from gateway.call.wishes import on_media_news, on_wish
from gateway.errors import Fault
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Disturbed,
    Ended,
    EndReason,
    Established,
    Gone,
    Held,
    HoldAsked,
    Leg,
    LegEvent,
    LegId,
    LegKind,
    MediaChanged,
    MediaStopAsked,
    Noted,
    OtherSideAsked,
    Phase,
    Progressed,
    Restored,
    Resumed,
    Role,
    ToolAsked,
    TransferAsked,
    TransferProgress,
)
from gateway.leg.quality import QualityAlert
from gateway.media.hub import Hub
from gateway.private import Private
from gateway.sip.invite import MAX_FORWARDS
from gateway.trunk.route import Plan, Target

__all__ = [
    "Call",
    "CallOptions",
    "CallState",
    "CallSummary",
    "Errand",
    "LegSummary",
    "Party",
    "PartyState",
    "TransferMode",
]


class Call(Commands):
    """Legs around one hub. Commands and events are plain defs: nothing interleaves."""

    def __init__(
        self,
        call_id: CallId,
        *,
        caller: Leg,
        caller_target: str,
        numbers: tuple[Private, Private],
        plan: Plan,
        dial: Callable[[Target, Errand], Leg],
        hub: Hub,
        options: CallOptions | None = None,
        max_forwards: int = MAX_FORWARDS,
        max_breadth: int | None = None,
    ) -> None:
        """
        Args:
            caller: who calls, or (for a call placed by the API) who is rung first.
            caller_target: the caller in configuration terms, such as `browser`.
            numbers: who calls and what was dialled.
            plan: the groups of targets, tried in order.
            dial: makes the leg to a target, not yet dialled.
            max_forwards: hops it may still take; its caller's, less ours (RFC 7332 §4).
            max_breadth: branches it may be forked into; its caller's (RFC 5393 §5.3).
        """
        self.id = call_id
        self.numbers = numbers
        self.hub = hub
        self.state = CallState.DIALLING
        self.started_at = 0.0
        self.answered_at: float | None = None
        self.outcome: CallEnded | None = None
        options = options or CallOptions()
        self._room = Room(call_id, hub, music=options.music)
        self._digits = Digits(self._room)
        self._caller = Party(caller, Role.CALLER, caller_target, PartyState.UP)
        self._plan = plan
        self._dialler = Dialler(
            self._room,
            dial,
            options,
            max_forwards=max_forwards,
            max_breadth=max_breadth,
        )
        self._hunt: Hunt | None = None
        "The search for who was called."
        self._transfers = Transfers(self._room, self._dialler, numbers, finish=self._finish)
        self._searches = Searches()
        self._guests = Guests(self._room, self._dialler, self._searches, numbers)
        self._notes = Notes(call_id, self._room.tell)
        self._tools = Tools(
            self._room,
            self._dialler,
            self._digits,
            self._searches,
            self._transfers,
            self._notes,
            numbers,
            leave=self._leave,
            finish=self._finish,
        )
        self._caller_until: float | None = None
        "Until when a caller that we ring may take to answer."
        self._limit_at: float | None = None
        "When its route wants it to be over."
        self._told: tuple[bool, bool] | None = None
        "What the caller was told last: ringing, early media."
        self._gone: set[LegId] = set()

    # ---- commands

    def start(self, now: float, *, dial_caller: bool = False) -> None:
        """Dial the first group; with `dial_caller`, ring the caller and go on at its answer."""
        self.started_at = now
        self._room.tell(CallStarted(self.id, now, *self.numbers))
        self._room.join(self._caller, now)
        if dial_caller:
            self._caller.state = PartyState.DIALLED
            self._caller_until = now + self._plan.options.ringing_timeout_s
            self._caller.leg.dial()
        else:
            self._begin_hunt(now)

    def end(self, now: float, reason: EndReason, fault: Fault | None = None) -> None:
        """End the call for everybody."""
        self._finish(Ended(reason, fault=fault), now)

    # ---- what happens

    def on_leg_event(self, leg: LegId, event: LegEvent, now: float) -> None:
        """One leg tells something. Events of legs that have left are ignored, but for `Gone`."""
        if isinstance(event, Gone):
            self._gone.add(leg)
            return
        party = self.parties.get(leg)
        if party is not None and party.state is not PartyState.ENDED:
            self._advance(party, event, now)

    def handle_timer(self, now: float) -> None:
        """Somebody has had its time, or a sound that goes on needs more."""
        if self._caller_until is not None and now >= self._caller_until:
            self._finish(TIMED_OUT, now)
        if self._hunt is not None:
            self._settle(self._hunt.handle_timer(now), now)
            self._room.lay_routes(now)
        self._transfers.handle_timer(now)
        self._searches.handle_timer(now)
        self._tools.handle_timer(now)
        if self._limit_at is not None and now >= self._limit_at:
            self._finish(Ended(EndReason.TIME_LIMIT), now)
        self._room.handle_timer(now)
        self._digits.handle_timer(now)

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called (loop seconds)."""
        timers = (
            self._caller_until,
            self._limit_at,
            self._room.next_timer(),
            self._digits.next_timer(),
            None if self._hunt is None else self._hunt.deadline,
            self._transfers.next_timer(),
            self._searches.next_timer(),
            self._tools.next_timer(),
        )
        return min((at for at in timers if at is not None), default=None)

    @property
    def is_over(self) -> bool:
        """Whether it ended and every leg of it is gone."""
        return self.state is CallState.ENDED and self._gone >= self.parties.keys()

    def close(self) -> None:
        """It is over, and nobody has anything more to tell it: let go of what points back at it."""
        del self._transfers, self._tools

    # ---- rules

    def _advance(self, party: Party, event: LegEvent, now: float) -> None:
        match event:
            case Progressed():
                self._on_progressed(party, event, now)
            case Answered():
                self._on_answered(party, now)
            case DigitPressed():
                self._on_key(party, event, now)
            case Disturbed() | Restored() | QualityAlert() | MediaChanged():
                on_media_news(self._room, party, event, now)
            case Held() | Resumed():
                direction = event.direction if isinstance(event, Held) else None
                self._room.note_held(party, direction, now)
            case TransferAsked():
                self._transfers.on_asked(party, event, now, check=self._tools.check_refer)
            case HoldAsked() | MediaStopAsked() | ToolAsked() | OtherSideAsked() | Noted():
                on_wish(self._room, self._tools, party, event, now)
            case TransferProgress():
                self._transfers.on_progress(party, event.status, now)
            case Ended():
                self._on_ended(party, event, now)
            case Established():
                pass

    def _on_progressed(self, party: Party, event: Progressed, now: float) -> None:
        hunt = self._hunt_of(party)
        if hunt is None:
            return
        is_awaited = party.awaited_by is not None
        if event.early_media and is_awaited and party.state is PartyState.DIALLED:
            party.state = PartyState.EARLY
            hunt.on_early_media()
            self._room.lay_routes(now)
        leg, early_media = party.leg.id, event.early_media
        told = CallProgressed(self.id, now, leg, event.status, event.reason, early_media)
        self._room.tell(told)
        if hunt is self._hunt:
            self._tell_caller(ringing=event.status == 180)
        elif hunt is self._transfers.hunt:
            self._transfers.on_progressed(event.status, now)

    def _tell_caller(self, *, ringing: bool) -> None:
        """How far the call has got; whoever is heard already is not said to ring (RFC 3960 §3)."""
        early_media = any(party.state is PartyState.EARLY for party in self.parties.values())
        told = (ringing and not early_media, early_media)
        if told != self._told:
            self._told = told
            self._caller.leg.progress(ringing=told[0], early_media=early_media)

    def _on_answered(self, party: Party, now: float) -> None:
        hunt = self._hunt_of(party)
        if hunt is None:
            if party is self._caller and party.state is PartyState.DIALLED:
                party.state = PartyState.UP
                self._caller_until = None
                if party.leg.kind is LegKind.SIP:
                    # A page makes its own ringing tone, and an agent needs none.
                    self._room.ringing_for = party.leg.id
                self._begin_hunt(now)
                self._room.lay_routes(now)
            # Else it lost the race: its leg was told to end, and will.
            return
        party.state, party.awaited_by = PartyState.UP, None
        self._room.tell(CallAnswered(self.id, now, party.leg.id))
        if not party.is_guest:
            self._limit(hunt.ringing[party.leg.id].max_duration_s, now)
        if hunt is not self._hunt:
            search = self._searches.find(party.leg.id)
            if search is not None:
                self._searches.on_answered(search, party, now)
            else:
                self._transfers.on_answered(party, now)
            self._press_behind(hunt, party, now)
            return
        self._hunt = self._room.ringing_for = None
        self.state = CallState.UP
        self.answered_at = now
        hunt.on_answered(party.leg.id, now)
        self._caller.leg.answer()
        self._room.measure(now)
        self._room.lay_routes(now)
        self._press_behind(hunt, party, now)
        self._guests.invite_all(self._plan.options.guests, now)

    def _press_behind(self, hunt: Hunt, party: Party, now: float) -> None:
        """Press what was dialled behind the number, toward who has answered."""
        if hunt.digits and party.state is PartyState.UP:
            self._digits.press(party, hunt.digits, now)

    def _on_ended(self, party: Party, event: Ended, now: float) -> None:
        hunt, blamed = self._hunt_of(party), blame(party, event, self.state)
        search = self._searches.find(party.leg.id)
        self._room.mark_ended(party, event, now)
        if search is not None:
            self._searches.on_ended(search, party.leg.id, event, now)
            self._room.lay_routes(now)
            return
        if hunt is not None and hunt is self._hunt:
            self._settle(hunt.on_ended(party.leg.id, event, now), now)
            self._room.lay_routes(now)
            return
        self._tools.on_left(party, now)
        self._transfers.on_ended(party, event, now)
        if self._goes_on_without(party):
            self._digits.on_left(party)
            self._room.lay_routes(now)
        else:
            self._finish(blamed, now)

    def _goes_on_without(self, party: Party) -> bool:
        """Whether there is a call still, or will be once those have come who are awaited."""
        present = self._room.present()
        if self._transfers.is_active:
            return True
        if self._tools.is_bringing and any(each.is_person for each in present):
            return True
        return self._hunt is None and goes_on(present, party)

    def _leave(self, party: Party, why: Ended, now: float) -> None:
        self._on_ended(party, why, now)
        party.leg.end(why.reason)

    def _on_key(self, party: Party, event: DigitPressed, now: float) -> None:
        if party.leg.kind is LegKind.AGENT and not self._tools.lets_use(party, "send_digits"):
            return
        press = self._digits.on_pressed(party, event, now)
        if event.phase is Phase.END:
            self._tools.on_key(party, press, now)

    def _begin_hunt(self, now: float) -> None:
        """Look for the called party along the plan."""
        self._hunt = self._dialler.hunt(
            self._plan, self.numbers, waiting=self._caller, role=Role.CALLEE
        )
        self._settle(self._hunt.start(now), now)

    def _settle(self, failure: Ended | None, now: float) -> None:
        """With a failure nobody is left to be tried: the caller learns why the last one failed."""
        if failure is not None:
            self._finish(failure, now)

    def _hunt_of(self, party: Party) -> Hunt | None:
        """The hunt that a party rings for."""
        search = self._searches.find(party.leg.id)
        if search is not None:
            return search.hunt
        hunts = (self._hunt, self._transfers.hunt)
        return next((h for h in hunts if h is not None and party.leg.id in h.ringing), None)

    # ---- the end

    def _limit(self, seconds: float | None, now: float) -> None:
        """Its time is up when that of any of its routes is."""
        if seconds is not None:
            self._limit_at = min(now + seconds, self._limit_at or now + seconds)

    def _finish(self, why: Ended, now: float) -> None:
        """The call ends, once: everybody still in it is let go and told why."""
        if self.state is CallState.ENDED:
            return
        self.state = CallState.ENDED
        self._hunt = self._caller_until = self._limit_at = None
        self._digits.close()
        self.outcome = outcome_of(self.id, why, self.answered_at, now)
        self._transfers.stop(now)
        self._tools.close(now)
        self._searches.close()
        self._notes.close()
        bugs = self._room.let_all_go(why, now)
        self._gone |= bugs.keys()
        self._room.close(now)
        self._room.tell(self.outcome)
        if bugs:
            raise next(iter(bugs.values()))

"""A call: legs around one hub and the rules between them. A pure state machine, the B2BUA itself.

DIALLING ──answered──▸ UP ──hang-up of either──▸ ENDED
    └──all groups failed, caller gone, time out──▸ ENDED
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from gateway.call.events import (
    CallAnswered,
    CallDigit,
    CallEnded,
    CallEvent,
    CallId,
    CallProgressed,
    CallStarted,
    LegDisturbed,
    LegEnded,
    LegSignalled,
    LegStarted,
)
from gateway.errors import Fault, GatewayError
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Disturbed,
    Ended,
    EndReason,
    Established,
    Gone,
    Leg,
    LegEvent,
    LegId,
    LegKind,
    MediaChanged,
    Progressed,
    Restored,
    Role,
    Signalled,
    reason_of_error,
    reason_of_status,
)
from gateway.media.hub import Hub
from gateway.private import Private
from gateway.sip.invite import MAX_FORWARDS
from gateway.trunk.route import Plan, Target, TargetKind

FAILOVER_STATUSES = frozenset({408, 500, 502, 503, 504})
"A target that fails with one of these is not the callee's answer: the next one is tried (F4)."


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What a call allows itself."""

    ringing_timeout_s: float = 60.0
    "How long one group of targets may take to answer."


class CallState(Enum):
    """Where a call is."""

    DIALLING = "dialling"
    UP = "up"
    ENDED = "ended"


class PartyState(Enum):
    """Where one party of a call is."""

    DIALLED = "dialled"
    EARLY = "early"  # its early media can be heard
    UP = "up"
    ENDED = "ended"


@dataclass(slots=True)
class Party:
    """One leg in this call."""

    leg: Leg
    role: Role
    target: str
    state: PartyState


@dataclass(frozen=True, slots=True)
class LegSummary:
    """One party, as the API tells it."""

    id: LegId
    kind: LegKind
    role: Role
    target: str
    state: PartyState


@dataclass(frozen=True, slots=True)
class CallSummary:
    """One call, as the API tells it; outlives the call."""

    id: CallId
    state: CallState
    caller: Private
    called: Private
    age_s: float
    talked_s: float
    legs: tuple[LegSummary, ...]
    outcome: CallEnded | None
    "How it ended; None while it goes on."


class Call:
    """Legs around one hub. Commands and events are plain defs: nothing interleaves."""

    def __init__(
        self,
        call_id: CallId,
        *,
        caller: Leg,
        caller_target: str,
        numbers: tuple[Private, Private],
        plan: Plan,
        dial: Callable[[Target], Leg],
        hub: Hub,
        options: CallOptions | None = None,
        max_forwards: int = MAX_FORWARDS,
    ) -> None:
        """
        Args:
            caller: who calls, or (for a call placed by the API) who is rung first.
            caller_target: the caller in configuration terms, such as `browser`.
            numbers: who calls and what was dialled.
            plan: the groups of targets, tried in order.
            dial: makes the leg to a target, not yet dialled.
            max_forwards: hops it may still take; its caller's, less ours (RFC 7332 §4).
        """
        self.id = call_id
        self.numbers = numbers
        self.max_forwards = max_forwards
        self.hub = hub
        self.state = CallState.DIALLING
        self.started_at = 0.0
        self.answered_at: float | None = None
        self.outcome: CallEnded | None = None
        self.parties: dict[LegId, Party] = {}
        self._caller = Party(caller, Role.CALLER, caller_target, PartyState.UP)
        self._plan = plan
        self._next_group = 0
        self._dial = dial
        self._options = options or CallOptions()
        self._deadline: float | None = None
        self._failure: Ended | None = None
        self._was_heard = False
        "Whether early media of a callee reached the caller: then nobody else is tried (F4)."
        self._gone: set[LegId] = set()
        self._events: list[CallEvent] = []

    # ---- commands

    def start(self, now: float, *, dial_caller: bool = False) -> None:
        """Dial the first group; with `dial_caller`, ring the caller and go on at its answer."""
        self.started_at = now
        self._events.append(CallStarted(self.id, now, *self.numbers))
        self._join(self._caller, now)
        if dial_caller:
            self._caller.state = PartyState.DIALLED
            self._deadline = now + self._options.ringing_timeout_s
            self._caller.leg.dial()
        else:
            self._dial_next_group(now)

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
        if party is None:
            return
        if isinstance(event, Signalled):
            self._events.append(
                LegSignalled(self.id, now, leg, party.leg.kind, party.role, event.sent, event.text)
            )
        elif party.state is not PartyState.ENDED:
            self._advance(party, event, now)

    def handle_timer(self, now: float) -> None:
        """The group that rings has had its time."""
        if self._deadline is None or now < self._deadline:
            return
        self._deadline = None
        self._failure = Ended(EndReason.NO_ANSWER, 408, "Request Timeout")
        for party in self._callees():
            self._leave(party, Ended(EndReason.NO_ANSWER), now)
        if self._caller.state is PartyState.DIALLED:
            self._finish(self._failure, now)
        else:
            self._fail_over(self._failure, now)

    def next_timer(self) -> float | None:
        """When `handle_timer` wants to be called (loop seconds)."""
        return self._deadline

    def take_events(self) -> Sequence[CallEvent]:
        """What happened since it was last asked."""
        events, self._events = self._events, []
        return events

    def summary(self, now: float) -> CallSummary:
        """What can be told about the call now, or after its end."""
        ended_at = self.outcome.at if self.outcome is not None else now
        answered_at = self.answered_at
        return CallSummary(
            id=self.id,
            state=self.state,
            caller=self.numbers[0],
            called=self.numbers[1],
            age_s=ended_at - self.started_at,
            talked_s=0.0 if answered_at is None else ended_at - answered_at,
            legs=tuple(
                LegSummary(party.leg.id, party.leg.kind, party.role, party.target, party.state)
                for party in self.parties.values()
            ),
            outcome=self.outcome,
        )

    @property
    def is_over(self) -> bool:
        """Whether it ended and every leg of it is gone."""
        return self.state is CallState.ENDED and self._gone >= self.parties.keys()

    # ---- rules

    def _advance(self, party: Party, event: LegEvent, now: float) -> None:
        match event:
            case Progressed():
                self._on_progressed(party, event, now)
            case Answered():
                self._on_answered(party, now)
            case DigitPressed():
                self._on_digit(party, event, now)
            case Disturbed() | Restored():
                restored = isinstance(event, Restored)
                self._events.append(LegDisturbed(self.id, now, party.leg.id, restored))
            case MediaChanged():
                self.hub.refresh(party.leg.id)
            case Ended():
                self._on_ended(party, event, now)
            case Established():
                pass

    def _on_progressed(self, party: Party, event: Progressed, now: float) -> None:
        if self.state is not CallState.DIALLING or party.role is Role.CALLER:
            return
        if event.early_media and party.state is PartyState.DIALLED:
            party.state = PartyState.EARLY
            self._was_heard = True
            self._route()
        self._events.append(
            CallProgressed(
                self.id, now, party.leg.id, event.status, event.reason, event.early_media
            )
        )
        self._caller.leg.progress(ringing=event.status == 180, early_media=event.early_media)

    def _on_answered(self, party: Party, now: float) -> None:
        if party is self._caller:
            if party.state is PartyState.DIALLED:
                party.state = PartyState.UP
                self._dial_next_group(now)
            return
        if self.state is not CallState.DIALLING:
            # The 200 of a target that lost the race: its leg was told to end and will.
            return
        party.state = PartyState.UP
        self.state = CallState.UP
        self.answered_at = now
        self._deadline = None
        for other in self._callees():
            if other is not party:
                self._leave(other, Ended(EndReason.ANSWERED_ELSEWHERE), now)
        self._events.append(CallAnswered(self.id, now, party.leg.id))
        self._caller.leg.answer()
        self._route()

    def _on_digit(self, party: Party, event: DigitPressed, now: float) -> None:
        self._events.append(
            CallDigit(
                self.id, now, party.leg.id, Private(event.digit), event.phase, event.duration_ms
            )
        )
        if party.state is PartyState.DIALLED:
            return
        for other in self.heard_parties():
            if other is not party:
                other.leg.digit(event.digit, event.phase, event.duration_ms)

    def _on_ended(self, party: Party, event: Ended, now: float) -> None:
        if party is self._caller or self.state is CallState.UP:
            self._mark_ended(party, event, now)
            self._finish(self._blame(party, event), now)
            return
        self._mark_ended(party, event, now)
        self._failure = _graver(self._failure, event)
        if not self._callees():
            self._fail_over(self._failure, now)

    def _blame(self, party: Party, event: Ended) -> Ended:
        if event.fault is not None or event.reason not in (EndReason.HANGUP, EndReason.LEFT):
            return event
        fault = Fault.CALLER if party.role is Role.CALLER else Fault.CALLEE
        reason = event.reason if self.state is CallState.UP else EndReason.CANCELLED
        return replace(event, reason=reason, fault=fault)

    def _fail_over(self, failure: Ended, now: float) -> None:
        """Nobody of the group answered: the next is tried, unless that was somebody's word."""
        if _is_answer(failure) or self._was_heard:
            self._finish(failure, now)
        else:
            self._dial_next_group(now)

    def _dial_next_group(self, now: float) -> None:
        """Try the plan's next group; with none left, the caller learns why the last one failed."""
        while self._next_group < len(self._plan.groups):
            group = self._plan.groups[self._next_group]
            self._next_group += 1
            rejection = next((t for t in group if t.kind is TargetKind.REJECT), None)
            if rejection is not None:
                self._finish(Ended(reason_of_status(rejection.status), rejection.status), now)
                return
            self._deadline = now + self._options.ringing_timeout_s
            if self._dial_group(group, now):
                return
        self._finish(self._failure or Ended(EndReason.NOT_FOUND, 404), now)

    def _dial_group(self, group: Sequence[Target], now: float) -> bool:
        """Ring all of a group; False where none of it can be, for want of ports or the like."""
        for target in group:
            try:
                leg = self._dial(target)
            except GatewayError as error:
                refused = Ended(reason_of_error(error), error.status, fault=error.fault)
                self._failure = _graver(self._failure, refused)
                continue
            party = Party(leg, Role.CALLEE, str(target), PartyState.DIALLED)
            self._join(party, now)
            party.leg.dial()
        return bool(self._callees())

    # ---- parties

    def _join(self, party: Party, now: float) -> None:
        leg = party.leg
        self.parties[leg.id] = party
        self.hub.join(leg.id, listener=leg.listener, playout=leg.playout)
        leg.on_frame = partial(self.hub.push, leg.id)
        self._events.append(LegStarted(self.id, now, leg.id, leg.kind, party.role, party.target))

    def _callees(self) -> list[Party]:
        return [
            party
            for party in self.parties.values()
            if party is not self._caller and party.state is not PartyState.ENDED
        ]

    def heard_parties(self) -> list[Party]:
        """The parties whose media takes part now."""
        open_states = (PartyState.UP, PartyState.EARLY)
        return [party for party in self.parties.values() if party.state in open_states]

    def _route(self) -> None:
        """The caller hears whoever is up, or heard early, and they the caller."""
        caller = self._caller.leg.id
        others = [p.leg.id for p in self.heard_parties() if p is not self._caller]
        self.hub.route({caller: dict.fromkeys(others, 1.0)} | {o: {caller: 1.0} for o in others})

    def _leave(self, party: Party, event: Ended, now: float) -> None:
        """We let this party go."""
        self._mark_ended(party, event, now)
        party.leg.end(event.reason, event.status, event.text)

    def _mark_ended(self, party: Party, event: Ended, now: float) -> None:
        party.state = PartyState.ENDED
        self.hub.leave(party.leg.id)
        self._events.append(
            LegEnded(self.id, now, party.leg.id, event.reason, event.status, event.text)
        )

    def _finish(self, why: Ended, now: float) -> None:
        """The call ends, once: everybody still in it is let go and told why."""
        if self.state is CallState.ENDED:
            return
        answered_at = self.answered_at
        self.state = CallState.ENDED
        self._deadline = None
        self.outcome = CallEnded(
            self.id,
            now,
            reason=why.reason,
            fault=why.fault or why.reason.fault,
            status=0 if answered_at is not None else why.status or why.reason.status,
            text=why.text,
            answered=answered_at is not None,
            duration_s=0.0 if answered_at is None else now - answered_at,
        )
        bugs = []
        for party in list(self.parties.values()):
            if party.state is not PartyState.ENDED:
                try:
                    self._leave(party, why, now)
                except Exception as error:
                    # One broken leg keeps neither the others nor the call from their end.
                    self._gone.add(party.leg.id)
                    bugs.append(error)
        self._events.append(self.outcome)
        if bugs:
            raise bugs[0]


def _is_answer(ended: Ended) -> bool:
    """Whether somebody turned the call down, rather than that the network failed (F4)."""
    return ended.status not in FAILOVER_STATUSES and ended.reason is not EndReason.UNREACHABLE


def _graver(first: Ended | None, second: Ended) -> Ended:
    """The better word for the caller: an answer of a person beats a failure of the network."""
    return first if first is not None and first.status > 0 and _is_answer(first) else second

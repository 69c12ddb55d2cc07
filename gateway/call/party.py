"""Who takes part in a call, and what can be told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from math import log10

from gateway.call.events import CallEnded, CallId
from gateway.errors import Fault
from gateway.leg.leg import Ended, EndReason, Leg, LegId, LegKind, MediaQuality, Role
from gateway.private import Private
from gateway.sdp.description import Direction

Names = frozenset[str]
"Parties, each by its leg's id or by what it is: see `Party.names`."

EVERYBODY: Names = frozenset({"all"})

NOBODY: Names = frozenset()


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
    "Who it is in configuration terms: trunk:lab, user:ann, browser."
    state: PartyState
    awaited_by: LegId | None = None
    "Whom its early media is for; None once it is up."
    held: Direction | None = None
    "What it still does while it holds us; None: it does not."
    is_on_hold: bool = False
    "Whether we hold it."
    held_for: LegId | None = None
    "The agent that wanted it to be held; None: who is in charge did."
    is_muted: bool = False
    "Whether nobody hears it, until we let it be heard again."
    gain: float = 1.0
    "How loud the others hear it: a factor."
    is_apart: bool = False
    "Whether it hears and is heard by nobody while others are brought together."
    secure_to: LegId | None = None
    "Who alone hears it and gets its keys (secure input); None: everybody it talks with."
    hears: Names = EVERYBODY
    "Whom it may hear, whoever comes and goes."
    heard_by: Names = EVERYBODY
    "Who may hear it."
    alone_with: LegId | None = None
    "Whom alone it talks with, until that one leaves."
    yields_to: LegId | None = None
    "Who has taken its place: until that one leaves it is heard by nobody, and goes on listening."
    is_guest: bool = False
    "Whether it was let into a call of others, which ends without regard to it."
    is_waiting: bool = False
    "Whether it waits for another: it hears music and is not heard, and was told nothing."
    quality: MediaQuality | None = None
    "How its media fared; None while it is there."
    is_person: bool = field(init=False)
    "Whether it is no agent, as far as we know: one at a SIP URI is called like a phone."

    def __post_init__(self) -> None:
        is_agent = self.leg.kind is LegKind.AGENT or self.target.startswith("agent:")
        self.is_person = not is_agent

    @property
    def holds_silently(self) -> bool:
        """Whether it holds us without music of its own."""
        return self.held is not None and not self.held.sends

    @property
    def listens(self) -> bool:
        """Whether it takes what it is sent."""
        return self.held is None or self.held.receives

    @property
    def hears_music(self) -> bool:
        """Whether it is kept waiting: on hold, or while another is spoken with."""
        return self.is_on_hold or self.is_waiting

    @property
    def names(self) -> Names:
        """What it goes by: its leg's id, its role, what it is in a call centre, and all.

        Who was called is an `agent` there where it is a person, and `ai` where it is none.
        """
        names = {self.leg.id, self.role.value, "all", "people" if self.is_person else "ai"}
        if self.role is Role.CALLEE and self.is_person:
            names.add(Role.AGENT.value)
        return frozenset(names)

    def is_of(self, names: Names) -> bool:
        """Whether it is among them."""
        return "all" in names or not names.isdisjoint(self.names)

    def speaks_to(self, other: Party) -> bool:
        """Whether another may hear it: all may, unless it is muted, or not let be heard by them."""
        return not self.is_muted and self.gives_keys_to(other)

    def gives_keys_to(self, other: Party) -> bool:
        """Whether another may get its keys: who is let hear it, but for secure input."""
        return self.is_open_to(other) and self.secure_to in (None, other.leg.id)

    def is_said_to(self, other: Party) -> bool:
        """Whether what it says is meant for another too, whether that one hears it or not."""
        return self.alone_with in (None, other.leg.id) and other.is_of(self.heard_by)

    def is_open_to(self, other: Party) -> bool:
        """Whether another is let hear it, muted or not, by what both were set to."""
        if self.yields_to is not None or self.alone_with not in (None, other.leg.id):
            return False
        if other.alone_with not in (None, self.leg.id):
            return False
        return self.is_of(other.hears) and other.is_of(self.heard_by)


@dataclass(frozen=True, slots=True)
class LegSummary:
    """One party, as the API tells it."""

    id: LegId
    kind: LegKind
    role: Role
    target: str
    state: PartyState
    on_hold: bool = False
    "Whether we hold it."
    holds: bool = False
    "Whether it holds us."
    secure_to: LegId | None = None
    "Who alone hears it, in secure input."
    muted: bool = False
    "Whether nobody hears it."
    gain_db: float = 0.0
    "How much louder than it is the others hear it."
    quality: MediaQuality | None = None
    "How its media fares, or fared; None where it has none, or nothing was measured."
    hears: Names = EVERYBODY
    heard_by: Names = EVERYBODY
    alone_with: LegId | None = None
    "Whom alone it talks with."
    yields_to: LegId | None = None
    "Who has taken its place."
    is_guest: bool = False
    "Whether the call ends without regard to it."


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
    metadata: Mapping[str, str] = field(default_factory=dict)
    "What was noted about it."


def partners_of_host(hosts: Iterable[Party], party: Party) -> list[Party]:
    """Whom one to whom the call belongs may bring elsewhere: the others, while they are its to.

    Whose place is taken has nobody, and is nobody's; an agent has those alone who are let hear it.
    """
    if party.yields_to is not None:
        return []
    others = [each for each in hosts if each is not party and each.yields_to is None]
    if party.is_person:
        return others
    return [each for each in others if party.is_open_to(each)]


def describe_party(party: Party, *, measured: bool) -> LegSummary:
    """A party as the API tells it."""
    return LegSummary(
        party.leg.id,
        party.leg.kind,
        party.role,
        party.target,
        party.state,
        party.is_on_hold,
        party.held is not None,
        party.secure_to,
        party.is_muted,
        round(20 * log10(party.gain), 1),
        quality_of(party) if measured else None,
        party.hears,
        party.heard_by,
        party.alone_with,
        party.yields_to,
        party.is_guest,
    )


def quality_of(party: Party) -> MediaQuality | None:
    """How a party's media fares, or fared; None where nothing came or went."""
    quality = party.quality or party.leg.quality()
    flows = (quality.received, quality.sent)
    return quality if any(flow is not None and flow.packets for flow in flows) else None


def blame(party: Party, ended: Ended, state: CallState) -> Ended:
    """Why a call ends that a party has left, and by whose doing."""
    if ended.fault is not None or ended.reason not in (EndReason.HANGUP, EndReason.LEFT):
        return ended
    fault = Fault.CALLER if party.role is Role.CALLER else Fault.CALLEE
    reason = ended.reason if state is CallState.UP else EndReason.CANCELLED
    return replace(ended, reason=reason, fault=fault)


def outcome_of(call: CallId, why: Ended, answered_at: float | None, now: float) -> CallEnded:
    """How a call has ended."""
    is_answered = answered_at is not None
    return CallEnded(
        call,
        now,
        reason=why.reason,
        fault=why.fault or why.reason.fault,
        status=0 if is_answered else why.status or why.reason.status,
        text=why.text,
        answered=is_answered,
        duration_s=0.0 if answered_at is None else now - answered_at,
    )

"""What happens in calls, as values. The record, the ladder and the API only fold over these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import Fault
from gateway.leg.leg import EndReason, LegId, LegKind, MediaQuality, Phase, Role
from gateway.leg.quality import QualityAlert
from gateway.private import Private
from gateway.sdp.description import Direction

CallId = str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call was placed and has a route."""

    call: CallId
    at: float
    "Loop seconds."
    caller: Private
    "Who calls: a number, a name, or empty for an anonymous page."
    called: Private
    "What was dialled."


@dataclass(frozen=True, slots=True)
class LegStarted:
    """A party was asked in, or asked to be let in."""

    call: CallId
    at: float
    leg: LegId
    kind: LegKind
    role: Role
    target: str
    "The address in configuration terms, without people's numbers: trunk:lab, agent:echo, browser."


@dataclass(frozen=True, slots=True)
class LegSignalled:
    """One signalling message of one leg."""

    call: CallId
    at: float
    leg: LegId
    kind: LegKind
    role: Role
    sent: bool
    "True from us to the party."
    text: str


@dataclass(frozen=True, slots=True)
class CallProgressed:
    """The far end rings, or its early media can be heard."""

    call: CallId
    at: float
    leg: LegId
    status: int
    reason: str
    early_media: bool


@dataclass(frozen=True, slots=True)
class CallAnswered:
    """The far end answered."""

    call: CallId
    at: float
    leg: LegId


@dataclass(frozen=True, slots=True)
class CallDigit:
    """Somebody pressed a key. The digit itself is private."""

    call: CallId
    at: float
    leg: LegId
    digit: Private | None
    "None in secure input: only that there was one is told."
    phase: Phase
    duration_ms: int


@dataclass(frozen=True, slots=True)
class LegDisturbed:
    """A party's media path is down, or back again."""

    call: CallId
    at: float
    leg: LegId
    restored: bool


@dataclass(frozen=True, slots=True)
class LegHeld:
    """A party is on hold from now on, or otherwise than before, or no longer."""

    call: CallId
    at: float
    leg: LegId
    by_us: bool
    "Whether we hold it; else it holds us."
    direction: Direction
    "What the one who is held may still do; sendrecv: it is on hold no longer."


@dataclass(frozen=True, slots=True)
class LegSecured:
    """A party is in secure input from now on, or no longer."""

    call: CallId
    at: float
    leg: LegId
    to: LegId | None
    "Who alone hears it and gets its keys; None: it is over, and all do again."


@dataclass(frozen=True, slots=True)
class LegMuted:
    """A party is heard by nobody from now on, or by all again."""

    call: CallId
    at: float
    leg: LegId
    on: bool


@dataclass(frozen=True, slots=True)
class LegAmplified:
    """A party is heard louder or less loud from now on."""

    call: CallId
    at: float
    leg: LegId
    gain_db: float


@dataclass(frozen=True, slots=True)
class LegMeasured:
    """How a party's media fares: told every so often, and when the party leaves."""

    call: CallId
    at: float
    leg: LegId
    quality: MediaQuality
    is_final: bool
    "Whether the party has left: then these are the figures of all its time."


@dataclass(frozen=True, slots=True)
class LegAlerted:
    """Something is wrong with a party's media, or is so no longer."""

    call: CallId
    at: float
    leg: LegId
    alert: QualityAlert


@dataclass(frozen=True, slots=True)
class LegRouted:
    """Whom a party is let hear, and who is let hear it, from now on."""

    call: CallId
    at: float
    leg: LegId
    hears: frozenset[str]
    "Leg ids, roles, or all."
    heard_by: frozenset[str]
    alone_with: LegId | None
    "Whom alone it talks with, whatever else it is let."
    yields_to: LegId | None
    "Who has taken its place."
    preset: str
    "That was laid on it; empty: none."


@dataclass(frozen=True, slots=True)
class LegNoted:
    """Something about an agent that people who watch the call may want to see."""

    call: CallId
    at: float
    leg: LegId
    kind: str
    "As `leg.Noted` says."
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LegMoved:
    """A party goes on in another call, with its dialog and its stream."""

    call: CallId
    at: float
    leg: LegId
    to: CallId


@dataclass(frozen=True, slots=True)
class TransferStarted:
    """A party is to be brought together with another, and the rest to be let go."""

    call: CallId
    at: float
    leg: LegId
    "Who is transferred."
    by: LegId | None
    "Who asked for it with REFER; None: we were told to."


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """What came of a transfer."""

    call: CallId
    at: float
    leg: LegId
    "Who was to be transferred."
    to: LegId | None
    "Whom it talks with now; None where that is not for us to know, or it failed."
    status: int
    "200: it was transferred; else why it was not, in a status of SIP."


@dataclass(frozen=True, slots=True)
class PlayStarted:
    """A sound is played into the call from now on."""

    call: CallId
    at: float
    id: str
    sound: str
    "The file, or the tone."
    to: frozenset[str]
    "Who hears it: leg ids, roles, people or all."
    loops: bool
    by: LegId | None
    "The agent that wanted it; None: who is in charge."


@dataclass(frozen=True, slots=True)
class PlayEnded:
    """It is played no longer."""

    call: CallId
    at: float
    id: str
    is_done: bool
    "Whether it was played to its end."


@dataclass(frozen=True, slots=True)
class RecordAsked:
    """An agent wants the call to be recorded from now on, or no longer."""

    call: CallId
    at: float
    leg: LegId
    on: bool


@dataclass(frozen=True, slots=True)
class CallNoted:
    """Something was noted about the call."""

    call: CallId
    at: float
    leg: LegId | None
    "The agent that did; None: who is in charge."
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """An agent wants something done."""

    call: CallId
    at: float
    leg: LegId
    id: str
    tool: str
    to: Private | None
    "Where a transfer or a call leads."


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """What came of it."""

    call: CallId
    at: float
    leg: LegId
    id: str
    tool: str
    status: int
    "200: it was done; 403: the agent may not; else why not, in a status of SIP."
    detail: str


@dataclass(frozen=True, slots=True)
class GuestFailed:
    """Somebody who was asked into a call did not come."""

    call: CallId
    at: float
    target: str
    reason: EndReason
    status: int


@dataclass(frozen=True, slots=True)
class LegEnded:
    """A party is out of the call."""

    call: CallId
    at: float
    leg: LegId
    reason: EndReason
    status: int
    text: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is over; exactly one for each CallStarted."""

    call: CallId
    at: float
    reason: EndReason
    fault: Fault
    status: int
    "The SIP status that tells why; 0 after an answered call."
    text: str
    "The far end's own words, for people."
    answered: bool
    duration_s: float
    "From the answer; 0 for a call that was not answered."


@dataclass(frozen=True, slots=True)
class CallRefused:
    """An INVITE of a trunk or phone found no codec: there was no call."""

    call: CallId
    "An id that is no call's."
    at: float
    source: str
    "Who asked, in configuration terms: trunk:lab, user:ann, sip."
    status: int
    text: str
    "Why: codecs that were offered and that are allowed."


EventOfLeg = (
    LegStarted
    | LegSignalled
    | LegDisturbed
    | LegHeld
    | LegSecured
    | LegMuted
    | LegAmplified
    | LegMeasured
    | LegAlerted
    | LegRouted
    | LegNoted
    | LegMoved
    | LegEnded
)
"What happened to one party: each has a `leg`."

CallEvent = (
    EventOfLeg
    | CallStarted
    | CallRefused
    | CallProgressed
    | CallAnswered
    | CallDigit
    | TransferStarted
    | TransferEnded
    | GuestFailed
    | PlayStarted
    | PlayEnded
    | RecordAsked
    | CallNoted
    | ToolStarted
    | ToolEnded
    | CallEnded
)

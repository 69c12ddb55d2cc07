"""One party of a call: what it is told (commands) and what it tells (events).

Commands return at once. What comes of them arrives later as events, never from inside a command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from gateway.agents.event import AgentEvent, ToolDone
from gateway.agents.tool import Tool
from gateway.errors import Fault
from gateway.leg.quality import QualityAlert, ReceivedQuality, SentQuality, Trouble
from gateway.leg.reason import EndReason as EndReason
from gateway.leg.reason import reason_of_error as reason_of_error
from gateway.leg.reason import reason_of_status as reason_of_status
from gateway.media.frame import AudioFrame
from gateway.media.hub import Listener
from gateway.media.playout import Playout
from gateway.sdp.description import Direction
from gateway.sip.uri import Uri

LegId = str


class Role(Enum):
    """What a party is in its call, whatever it arrived over."""

    CALLER = "caller"
    CALLEE = "callee"
    AGENT = "agent"
    AI = "ai"
    SUPERVISOR = "supervisor"


class LegKind(Enum):
    """What speaks the signalling of a leg."""

    BROWSER = "browser"
    SIP = "sip"
    AGENT = "agent"
    LINE = "line"  # a call that another system hands us over a socket of audio


class Phase(Enum):
    """Which edge of a key press."""

    START = "start"
    END = "end"


@dataclass(frozen=True, slots=True)
class Progressed:
    """A leg that we dialled has got somewhere (a SIP 1xx, or an agent ringing)."""

    status: int
    reason: str = ""
    early_media: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """A leg that we dialled was answered; its media may flow."""


@dataclass(frozen=True, slots=True)
class Established:
    """A leg that we answered has confirmed it (the ACK; a page's connection)."""


@dataclass(frozen=True, slots=True)
class DigitPressed:
    """One edge of a key press of this party."""

    digit: str
    "One of 0-9 * # A-D."
    phase: Phase
    duration_ms: int = 0
    "How long it was held; 0 at the start."


@dataclass(frozen=True, slots=True)
class Disturbed:
    """The party's media path is down; the leg waits for it to come back."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The media path is back."""


@dataclass(frozen=True, slots=True)
class MediaChanged:
    """The codec or rate of the party changed: the hub has to look again."""


@dataclass(frozen=True, slots=True)
class Held:
    """The party has put us on hold (RFC 3264 §8.4), or holds us otherwise than before."""

    direction: Direction
    "What it still does, as it says it itself: sendonly with music of its own, inactive without."


@dataclass(frozen=True, slots=True)
class Resumed:
    """The party has taken us off hold."""


@dataclass(frozen=True, slots=True)
class TransferAsked:
    """The party wants us to bring whom it talks with to another (REFER, RFC 3515; an agent).

    `Leg.transfer_progress` answers it, and tells how it goes.
    """

    target: Uri
    replaces: str | None = None
    "The dialog at the target whose place is to be taken, as in a Replaces header (RFC 3891)."
    referred_by: str | None = None


@dataclass(frozen=True, slots=True)
class HoldAsked:
    """An agent wants us to hold whom it talks with, or to hold them no longer."""

    on: bool


@dataclass(frozen=True, slots=True)
class MediaStopAsked:
    """A scripted agent wants whom it talks with to be sent nothing more, as if the path broke."""


@dataclass(frozen=True, slots=True)
class ToolAsked:
    """An agent wants something done; `Leg.tool_done` answers it (agents alone ask)."""

    id: str
    tool: Tool


@dataclass(frozen=True, slots=True)
class OtherSideAsked:
    """An agent wants to hear, apart, what those hear whom it hears."""

    listener: Listener | None
    "Who is to hear it; None: nobody any more."


@dataclass(frozen=True, slots=True)
class Noted:
    """Something about an agent that people who watch the call may want to see."""

    kind: str
    "speaking, listening, tool, transcript, played, lost, restored …"
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """How far a party has got that we asked to call another (`Leg.refer`)."""

    status: int
    "Of its own call: 100 to 199 on the way, 200 there, above that it failed. Final from 200 on."


@dataclass(frozen=True, slots=True)
class Signalled:
    """One signalling message of this leg, in a word: what the ladder draws."""

    sent: bool
    "True from us to the party."
    text: str
    "Method or status line, never a header or a body."


@dataclass(frozen=True, slots=True)
class Ended:
    """The party is out of the call; its leg may still owe the wire something."""

    reason: EndReason
    status: int = 0
    "The SIP status that said so; 0 where none did."
    text: str = ""
    "The peer's own words (a reason phrase), for people."
    retry_after_s: float | None = None
    "Not before this many seconds, where the peer said so."
    fault: Fault | None = None
    "Whose doing it was, where the leg knows better than its reason tells."
    contacts: tuple[Uri, ...] = ()
    "Where else a 3xx says the party is, the best first; empty where it may not redirect."


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing more will come of this leg: it may be forgotten."""


LegEvent = (
    Progressed
    | Answered
    | Established
    | DigitPressed
    | Disturbed
    | Restored
    | MediaChanged
    | Held
    | Resumed
    | TransferAsked
    | HoldAsked
    | MediaStopAsked
    | ToolAsked
    | OtherSideAsked
    | Noted
    | QualityAlert
    | TransferProgress
    | Signalled
    | Ended
    | Gone
)


@dataclass(slots=True)
class MediaQuality:
    """How one leg's media fares, seen from here. None where nothing was measured yet."""

    codec: str | None = None
    round_trip_ms: float | None = None
    jitter_ms: float | None = None
    loss_percent: float | None = None
    "Of what it sends, in the last report interval."
    digits_received: int = 0
    "Keys that the party has pressed."
    digits_sent: int = 0
    "Keys that were pressed toward it."
    digits_unsent: int = 0
    "Keys that could not be: it takes none, or too many at once."
    received: ReceivedQuality | None = None
    sent: SentQuality | None = None
    alerts: tuple[QualityAlert, ...] = ()
    "What is wrong now, or was at the end."
    troubles: tuple[Trouble, ...] = ()
    "What is or was wrong at any time."


class Leg(Protocol):
    """One party of one call."""

    @property
    def id(self) -> LegId:
        """Begins with the node's name."""

    @property
    def kind(self) -> LegKind: ...

    @property
    def listener(self) -> Listener | None:
        """What hears for this party; None where it has no ears."""

    @property
    def playout(self) -> Playout | None:
        """The mouth of a queued speaker; None where the party speaks live."""

    on_event: Callable[[LegEvent], None]
    "Where its events go; set by who owns the call."

    on_frame: Callable[[AudioFrame], None]
    "Where what this party says goes: the hub's push, for live speakers."

    def dial(self) -> None:
        """Ask the party into the call."""

    def progress(self, *, ringing: bool, early_media: bool) -> None:
        """Tell a calling party how far its call has got."""

    def answer(self) -> None:
        """Accept a calling party."""

    def digit(self, digit: str, phase: Phase, duration_ms: int = 0) -> None:
        """Play one edge of a key press to the party."""

    def hold(self, direction: Direction) -> None:
        """Say what we let the party do from now on, where it is to be told; sendrecv resumes."""

    @property
    def can_refer(self) -> bool:
        """Whether the party can be asked to call another itself."""

    def refer(self, target: Uri, replaces: str | None = None) -> None:
        """Ask the party to call another; `TransferProgress` tells what comes of it.

        Args:
            target: where to; one without a host means the party's own domain.
            replaces: the dialog there whose place it is to take (RFC 3891).
        """

    @property
    def dialog(self) -> tuple[Uri, str] | None:
        """Where the party can be called, and our dialog with it as a Replaces header names it.

        None: there is no dialog whose place another could take.
        """

    def transfer_progress(self, status: int) -> None:
        """Tell the party how a transfer that it asked for fares; the last is 200 or above.

        A first one of 300 or above refuses it.
        """

    def tool_done(self, done: ToolDone) -> None:
        """Tell an agent what became of a tool that it asked for; no other party asks for any."""

    def inform(self, event: AgentEvent) -> None:
        """Tell an agent something of its call: a message, who hears it. Others are not told."""

    def stop_media(self) -> None:
        """Send the party neither RTP nor RTCP any more: for tests of who has to notice."""

    def end(self, reason: EndReason, status: int = 0, text: str = "") -> None:
        """Let the party go: reject, cancel or hang up, as its state asks.

        Args:
            status: the SIP status that the other side gave, 0 where none did.
            text: the other side's own words, for people.
        """

    def quality(self) -> MediaQuality:
        """How its media fares now."""

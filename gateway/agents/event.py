"""What an agent is told of its call while it attends it. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.media.playout import Cleared, MarkReached, Unheard
from gateway.media.span import ItemPlayed as ItemPlayed


@dataclass(frozen=True, slots=True)
class DigitHeard:
    """The other side pressed a key, and has let go of it."""

    digit: str
    "One of 0-9 * # A-D."
    duration_ms: int


@dataclass(frozen=True, slots=True)
class DigitHidden:
    """In secure input: there was a key; which, the agent is not told."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Whom the agent hears began to speak."""

    at_ms: float
    "Since the agent's connection began to hear: the first loud frame."


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """Whom the agent hears speaks no more."""

    at_ms: float
    "The end of the last loud frame."


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The gateway's own barge-in stopped or paused what the agent said."""

    policy: str
    "clear or pause."
    cleared: Cleared | None
    "What became of the queue; None: it is paused, and may go on."


@dataclass(frozen=True, slots=True)
class Continued:
    """What barge-in had paused goes on: it was no speech, or too short."""


@dataclass(frozen=True, slots=True)
class FarEndAnswered:
    """The far end can hear now: it has answered, or its early media is open."""

    is_early: bool = False


@dataclass(frozen=True, slots=True)
class HoldChanged:
    """Whom the agent talks with was put on hold, or taken off it."""

    on: bool


@dataclass(frozen=True, slots=True)
class AudienceChanged:
    """Who hears the agent, or whom it hears, is not who it was."""

    hears: tuple[str, ...]
    "The roles it hears: caller, agent, supervisor …"
    heard_by: tuple[str, ...]
    "The roles that hear it; empty: it is muted, or only listens."


@dataclass(frozen=True, slots=True)
class QueueState:
    """The queue of what is to be said is nearly full (stop sending), or has room again."""

    is_full: bool
    queued_ms: float


@dataclass(frozen=True, slots=True)
class SpeechDropped:
    """Speech came so much faster than it can be said that the oldest of it was dropped (F19)."""

    dropped_ms: float


@dataclass(frozen=True, slots=True)
class ToolDone:
    """What became of a tool that the agent used."""

    id: str
    "As the agent named its use."
    tool: str
    is_done: bool
    status: int = 200
    "A SIP status where a far end had one; else 200, or the status of the refusal."
    detail: str = ""
    "In words, for a person or a model."
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MachineDetected:
    """Who answered a call of ours is a person, an answering machine, or a machine that beeped."""

    kind: str
    "human, machine, beep, fax or unknown."
    after_ms: float
    "Since the answer."


@dataclass(frozen=True, slots=True)
class Told:
    """Somebody in charge tells the agent something: a summary at a hand-back, metadata."""

    kind: str
    data: Mapping[str, Any]


AgentEvent = (
    DigitHeard
    | DigitHidden
    | SpeechStarted
    | SpeechStopped
    | Interrupted
    | Continued
    | ItemPlayed
    | FarEndAnswered
    | HoldChanged
    | AudienceChanged
    | QueueState
    | SpeechDropped
    | ToolDone
    | MachineDetected
    | Told
    | MarkReached
    | Cleared
    | Unheard
)

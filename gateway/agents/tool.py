"""What an agent can have done in its call, by whatever protocol it says so. Values only.

Each goes through the routes and limits that a dialled number goes through (A39): an agent that is
talked into dialling a premium number gets the refusal that a page would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the call: at once, or once everything said was played."""

    after_speech: bool = True
    max_wait_s: float = 8.0
    "How long what was said may take to be played."
    reason: str = ""
    "For the call's record."
    status: int = 603
    "Of SIP: what a caller is refused with whom the agent has not answered: 486 for busy."


@dataclass(frozen=True, slots=True)
class Transfer:
    """Bring whom the agent talks with to a number or name; see docs/agents.md for the outcomes.

    blind: the agent is let go when the target has answered. warm: the target hears the brief
    first, alone with the agent; busy, no answer or a refusal bring the agent back to the caller.
    """

    to: str
    mode: str = "blind"
    "blind or warm."
    brief: str = ""
    "For a warm transfer: what the target is told, as text or as a file to be played."
    after_speech: bool = True
    max_wait_s: float = 8.0
    timeout_s: float | None = None
    "How long it may ring; None: as its route says."


@dataclass(frozen=True, slots=True)
class Dial:
    """Let another into the call, and step aside while it is there; back when it has left."""

    to: str
    "A number or name; empty: who was let in, or is rung, is let go."
    timeout_s: float | None = None
    time_limit_s: float | None = None
    caller_id: str = ""


@dataclass(frozen=True, slots=True)
class SendDigits:
    """Press a dial string (`rtp.dial_string`) toward whom the agent talks with."""

    digits: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold whom the agent talks with, with music; or no longer."""

    on: bool


@dataclass(frozen=True, slots=True)
class Play:
    """Play a sound file of the configured folder to whom the agent talks with."""

    file: str
    loop: bool = False


@dataclass(frozen=True, slots=True)
class Mute:
    """Let nobody hear the agent, or all again."""

    on: bool


@dataclass(frozen=True, slots=True)
class Record:
    """Start or stop a recording: told as an event."""

    on: bool


@dataclass(frozen=True, slots=True)
class AskDigits:
    """Ask for keys; `secure`: neither the agent nor a log learns them, only how many there were.

    The result has `digits` (not when secure: a `token` that names them) and `ended_by`.
    """

    max_digits: int = 32
    timeout_s: float = 8.0
    "Between two keys."
    finish_on: str = "#"
    secure: bool = False


@dataclass(frozen=True, slots=True)
class SetMetadata:
    """Note something about the call: events and the record show it."""

    values: Mapping[str, str] = field(default_factory=dict)


Tool = HangUp | Transfer | Dial | SendDigits | Hold | Play | Mute | Record | AskDigits | SetMetadata

TOOLS: Mapping[str, type[Any]] = {
    "hang_up": HangUp,
    "transfer": Transfer,
    "dial": Dial,
    "send_digits": SendDigits,
    "hold": Hold,
    "play": Play,
    "mute": Mute,
    "record": Record,
    "ask_digits": AskDigits,
    "set_metadata": SetMetadata,
}
"By the name that protocols, models and the configuration use."

"""What a wire protocol of agents is: messages in, wishes out; messages out for what happens.

A protocol is pure: it knows no socket, no clock and no chance. One file of `gateway/agents/wire/`
is one protocol, named in the configuration as that file is; `agents/remote.py` connects it,
keeps the pace, reconnects, and does what the agent wishes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.agents.event import AgentEvent
from gateway.agents.tool import Tool
from gateway.codec import Codec
from gateway.private import Private

Message = str | bytes
"A WebSocket's text or binary message; where the protocol is a TCP stream, bytes as they come."


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How audio is written on the wire, one mono channel."""

    rate: int = 8000
    "Hz of the audio."
    codec: Codec | None = None
    "PCMU, PCMA, G722 or opus; None: signed 16-bit PCM, little-endian."
    packet_ms: int = 20
    "How much of what is heard goes into one message."


def call_token(call_id: str) -> str:
    """What protocols make a call's ids of: the same for each agent in it, and for the API."""
    return hashlib.sha256(call_id.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class CallFacts:
    """The call as an agent's first message tells it."""

    id: str
    "Ours; it begins with the node's name."
    caller: str
    called: str
    is_outbound: bool
    "Whether we called the person whom the agent talks with."
    agent: str
    "The agent's name in the configuration."
    attributes: Mapping[str, str]
    "Headers and parameters of the caller that the configuration lets through; metadata."
    token: str
    "32 lowercase hexadecimal digits, see `call_token`: protocols make their ids of it."
    stream: int = 0
    "How often the connection was made anew: 0 is the first."
    last_sequence: int | None = None
    "The last message number before that, where the protocol counts."
    codec: str = ""
    "Of whom the agent hears: PCMU, opus …; empty where it is not known yet."
    tools: tuple[str, ...] = ()
    "Names of the tools that the configuration lets the agent use."


# ---- what an agent wishes


@dataclass(frozen=True, slots=True)
class Say:
    """Queue speech, in the format said; of any length, also a part of a sample."""

    audio: bytes
    item: str = ""
    "What it belongs to; `ItemPlayed` tells how much of that was played."


@dataclass(frozen=True, slots=True)
class SayAs:
    """Queue speech that is in another format than the protocol's own (jambonz' playAudio)."""

    audio: bytes
    format: AudioFormat
    item: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """Tell when all said so far was played: `MarkReached`, or a `Cleared` that names it."""

    name: str


@dataclass(frozen=True, slots=True)
class Clear:
    """Stop speaking at once; `Cleared` and `ItemPlayed` tell what was played."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Say nothing until `Resume`."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on where `Pause`, or barge-in, stopped."""


@dataclass(frozen=True, slots=True)
class Use:
    """Use a tool; `ToolDone` with this id tells what became of it."""

    tool: Tool
    id: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """The agent can take the call now; only of protocols with `tells_ready`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Accept the call."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Send this back."""

    message: Message


@dataclass(frozen=True, slots=True)
class Note:
    """Something people who watch the call may want to see: a transcript, a tool call."""

    kind: str
    "transcript, tool, thinking …"
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class JudgeBargeIn:
    """The agent's word on the speech that paused it: real (clear the rest), or not (go on)."""

    is_real: bool


@dataclass(frozen=True, slots=True)
class Wrong:
    """What came is not in the protocol. Three of these and the connection is given up (F19)."""

    why: str
    "Fixed words of ours: never what the peer has sent."


@dataclass(frozen=True, slots=True)
class Done:
    """The agent has finished with the call in good order: what follows is the gateway's affair."""

    hang_up: bool = True
    "False: who speaks next is decided elsewhere (TwiML's next verb)."


Wish = (
    Say
    | SayAs
    | Mark
    | Clear
    | Pause
    | Resume
    | Use
    | Ready
    | Answer
    | Reply
    | Note
    | JudgeBargeIn
    | Wrong
    | Done
)


class Player(Protocol):
    """What a protocol may ask about the queue at any time."""

    @property
    def queued_ms(self) -> float:
        """What is still to be played."""

    @property
    def is_paused(self) -> bool: ...


class WireProtocol(Protocol):
    """One conversation with one agent, in its protocol. A new one for every connection.

    One whose agent cannot wait for room has `max_queued_s`: how much it may say in advance.
    One that wants to hear, apart, what is said to the caller has `hears_other_side`, and then
    `hear_other_side`, like `hear`. With `ends_by_leaving` an agent that goes away (1001) has
    finished; with `ends_by_closing` false one that closes in good order has not, and is lost.
    """

    heard: AudioFormat
    "In what format it wants what is heard; `open` may still change it, by what the call speaks."

    said: AudioFormat
    "In what format the agent speaks; may change by what `receive` reads."

    tells_ready: bool
    "Whether the agent says that it is ready (`Ready`); else it is when its first message is sent."

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        """The connection is up: what is sent first."""

    def hear(self, audio: bytes) -> Message | None:
        """`packet_ms` of what the agent is to hear, in the format `heard`. Called per frame."""

    def receive(self, message: Message) -> Iterable[Wish]:
        """The agent said something. Whatever it is, this does not raise."""

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        """Something happened: what the agent is told of it, nothing where it has no words."""

    def close(self, reason: str) -> Iterable[Message]:
        """The call is over for the agent: last messages before the connection ends."""


# ---- what a file of `wire/` has besides


@dataclass(frozen=True, slots=True)
class AgentAddress:
    """Where an agent is and how it knows us, as configured."""

    name: str
    url: str
    "wss://, ws:// or tcp://host:port."
    username: str = ""
    secret: Private | None = None
    "Of `password_env` or `token_env`: a password, a token, an API key, a signing key."


@dataclass(frozen=True, slots=True)
class Opening:
    """How the connection is asked for."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    subprotocols: tuple[str, ...] = ()


def open_as_bearer(address: AgentAddress) -> Opening:
    """The URL as it is configured; a secret goes with it as a bearer's token (RFC 6750 §2.1)."""
    if address.secret is None:
        return Opening(address.url)
    return Opening(address.url, (("Authorization", f"Bearer {address.secret.value}"),))


class WireModule(Protocol):
    """The names that a file of `wire/` has."""

    Settings: type[Any]
    "A frozen dataclass with defaults: the table `[agent.settings]`, checked by pydantic."

    IS_STREAM: bool
    "True: TCP, whose bytes come in any pieces; False: a WebSocket."

    def opening(self, address: AgentAddress, settings: Any, call: CallFacts) -> Opening:
        """How the connection for one call is asked for."""

    def make(self, settings: Any) -> WireProtocol:
        """One conversation."""

"""What TwiML can say, of the part that is understood here. Values only.

Names, defaults and meanings are those of https://www.twilio.com/docs/voice/twiml.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Method(Enum):
    """How a URL is asked."""

    GET = "GET"
    POST = "POST"


@dataclass(frozen=True, slots=True)
class Action:
    """A URL that is asked for more TwiML when a verb is done; relative to the document's own."""

    url: str
    method: Method = Method.POST


@dataclass(frozen=True, slots=True)
class Stream:
    """<Stream>: the call's audio over a WebSocket."""

    url: str
    name: str = ""
    track: str = "inbound_track"
    status_callback: Action | None = None
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Connect:
    """<Connect><Stream>: the agent at the URL has the call, until it or the caller leaves."""

    stream: Stream
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """<Start><Stream>: the URL listens in from now on."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Stop:
    """<Stop><Stream name>: it listens no more."""

    name: str


class Callee(Enum):
    """Whom <Dial> can name."""

    NUMBER = "Number"
    SIP = "Sip"
    CLIENT = "Client"
    CONFERENCE = "Conference"


@dataclass(frozen=True, slots=True)
class Noun:
    """One of whom <Dial> names."""

    kind: Callee
    name: str
    send_digits: str = ""


@dataclass(frozen=True, slots=True)
class Dial:
    """<Dial>: bring somebody else into the call, and go on when that one has left."""

    nouns: tuple[Noun, ...]
    caller_id: str = ""
    timeout_s: float = 30.0
    time_limit_s: float | None = None
    answer_on_bridge: bool = False
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Say:
    """<Say>: speak a text, where an engine is configured."""

    text: str
    language: str = ""
    loop: int = 1
    "0: over and over."


@dataclass(frozen=True, slots=True)
class Play:
    """<Play>: a recording, or keys."""

    url: str
    digits: str = ""
    loop: int = 1
    "0: over and over."


@dataclass(frozen=True, slots=True)
class Pause:
    """<Pause>: say nothing for a while."""

    length_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Gather:
    """<Gather input="dtmf">: ask for keys; what is in it is said meanwhile."""

    prompts: tuple[Say | Play | Pause, ...] = ()
    num_digits: int | None = None
    finish_on_key: str = "#"
    "One key, or none."
    timeout_s: float = 5.0
    "After the prompts, and between two keys."
    action: Action | None = None
    "None: the URL that the document came from."
    action_on_empty: bool = False
    hears_keys: bool = True
    "False: it asks for speech alone, which nobody understands here."


@dataclass(frozen=True, slots=True)
class Hangup:
    """<Hangup>."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """<Redirect>: go on with the TwiML of another URL."""

    to: Action


@dataclass(frozen=True, slots=True)
class Reject:
    """<Reject>: do not take the call."""

    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class Refer:
    """<Refer><Sip>: let the caller call somebody else by itself."""

    to: str
    action: Action | None = None


Verb = (
    Connect | Start | Stop | Dial | Say | Play | Pause | Gather | Hangup | Redirect | Reject | Refer
)

"""What a line is: a call that another system hands us over a socket of audio.

Here we are what that system takes for its agent or application. A protocol of lines is pure: what
comes in becomes events, what is to be sent is returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gateway.agents.protocol import AudioFormat, Message


@dataclass(frozen=True, slots=True)
class Begun:
    """The other side has said which call this is; it comes first, and once."""

    id: str
    "Its name for the call: a UUID as 32 hexadecimal digits; a channel's id."
    variables: Mapping[str, str] = field(default_factory=dict)
    "What it tells of the call besides."


@dataclass(frozen=True, slots=True)
class Said:
    """Whoever is on the line said this: any bytes of the format, also a part of a sample."""

    audio: bytes
    format: AudioFormat


@dataclass(frozen=True, slots=True)
class Pressed:
    """It has pressed a key, and let go of it."""

    digit: str


@dataclass(frozen=True, slots=True)
class Flow:
    """The other side has no room for more audio, or has it again."""

    is_open: bool


@dataclass(frozen=True, slots=True)
class HungUp:
    """The line was hung up."""


@dataclass(frozen=True, slots=True)
class Broken:
    """What came is not in the protocol; the line is given up after a few."""

    why: str
    "Fixed words of ours."


LineEvent = Begun | Said | Pressed | Flow | HungUp | Broken


class LineProtocol(Protocol):
    """Our side of one line."""

    heard: AudioFormat
    "In what format the line is sent what it hears; may change by what `receive` reads."

    def receive(self, message: Message) -> Iterable[LineEvent]:
        """The other side sent this. Whatever it is, this does not raise."""

    def hear(self, audio: bytes) -> Message:
        """What the line is to hear, in the format `heard`."""

    def answer(self) -> Iterable[Message]:
        """The call is answered."""

    def hang_up(self) -> Iterable[Message]:
        """The call is over."""

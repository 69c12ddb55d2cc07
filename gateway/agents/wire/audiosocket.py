"""Asterisk's AudioSocket over TCP (`res_audiosocket.c`): we are Asterisk, the agent listens.

    kind (1 byte) ▸ length (2 bytes, big-endian) ▸ payload

It has audio, keys and the end of a call, and no words for marks, flushing or metadata: an agent
learns of the call by its UUID, over our REST.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gateway.agents.event import AgentEvent, DigitHeard
from gateway.agents.protocol import (
    AgentAddress,
    AudioFormat,
    CallFacts,
    Done,
    Message,
    Opening,
    Player,
    Say,
    SayAs,
    Wish,
    Wrong,
)

IS_STREAM = True

HANG_UP = 0x00
UUID = 0x01
DIGIT = 0x03
ERROR = 0xFF

RATE_OF_KIND = {
    0x10: 8000,
    0x11: 12_000,
    0x12: 16_000,
    0x13: 24_000,
    0x14: 32_000,
    0x15: 44_100,
    0x16: 48_000,
    0x17: 96_000,
    0x18: 192_000,
}
"Hz of signed 16-bit audio, little-endian, mono, by the kind of its frames."

KIND_OF_RATE = {rate: kind for kind, rate in RATE_OF_KIND.items()}

UUID_BYTES = 16

_HEADER_BYTES = 3
_DIGITS = frozenset("0123456789*#ABCD")


@dataclass(frozen=True, slots=True)
class Settings:
    """`[agent.settings]` of an AudioSocket agent."""

    rate: Literal[8000, 12000, 16000, 24000, 48000] = 8000
    "Hz of what it hears; it may speak at any rate that AudioSocket knows."
    ends_by_closing: bool = True
    """Whether an agent that closes the connection without a hang-up (0x00) has hung up, as Asterisk
    takes it. An agent that was killed looks just the same: false, and it is one that was lost."""


def opening(address: AgentAddress, settings: Settings, call: CallFacts) -> Opening:
    """A connection to tcp://HOST:PORT; there is nothing to log in by."""
    return Opening(address.url)


def make(settings: Settings) -> AudioSocket:
    """One conversation."""
    return AudioSocket(settings)


def write_frame(kind: int, payload: bytes = b"") -> bytes:
    """One frame; the payload has 65535 bytes at most."""
    return bytes((kind, len(payload) >> 8, len(payload) & 0xFF)) + payload


def read_digit(payload: bytes) -> str | None:
    """The key that a frame of kind `DIGIT` tells; None: it is no key."""
    digit = payload.decode("ascii", "replace")
    return digit if digit in _DIGITS else None


class FrameReader:
    """Frames out of a stream of bytes, whatever pieces it comes in. Keeps one frame at most."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Kind and payload of each frame that is whole by now. Any bytes are frames."""
        rest = self._rest
        if not rest:
            frames, used = _split(data)
            rest += data[used:]
            return frames
        # Appended and cut, never joined anew: who sends byte by byte costs no more for it.
        rest += data
        if len(rest) < _HEADER_BYTES or len(rest) < _end_of(rest, 0):
            return []
        frames, used = _split(bytes(rest))
        del rest[:used]
        return frames


def _split(data: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """The whole frames, and how many bytes they have."""
    frames = []
    at, size = 0, len(data)
    while size - at >= _HEADER_BYTES and (end := _end_of(data, at)) <= size:
        frames.append((data[at], data[at + _HEADER_BYTES : end]))
        at = end
    return frames, at


def _end_of(data: bytes | bytearray, at: int) -> int:
    return at + _HEADER_BYTES + (data[at + 1] << 8 | data[at + 2])


class AudioSocket:
    """Asterisk's side of one connection."""

    tells_ready = False

    def __init__(self, settings: Settings) -> None:
        self.heard = self.said = AudioFormat(settings.rate)
        self.ends_by_closing = settings.ends_by_closing
        self._kind = KIND_OF_RATE[settings.rate]
        self._reader = FrameReader()

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        return (write_frame(UUID, bytes.fromhex(call.token)),)

    def hear(self, audio: bytes) -> bytes:
        return write_frame(self._kind, audio)

    def receive(self, message: Message) -> Iterable[Wish]:
        if isinstance(message, str):  # TCP has no text
            return ()
        return [
            wish
            for kind, payload in self._reader.feed(message)
            if (wish := self._read(kind, payload)) is not None
        ]

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        match event:
            case DigitHeard(digit):
                return (write_frame(DIGIT, digit.encode("ascii", "replace")),)
        return ()

    def close(self, reason: str) -> Iterable[Message]:
        return (write_frame(HANG_UP),)

    def _read(self, kind: int, payload: bytes) -> Wish | None:
        if kind == self._kind:
            return Say(payload) if payload else None
        if kind in RATE_OF_KIND:
            return SayAs(payload, AudioFormat(RATE_OF_KIND[kind])) if payload else None
        if kind == HANG_UP:
            return Done()
        # As Asterisk takes it: whoever sends a UUID, a key or an error has mixed up the sides.
        return Wrong("an agent sends audio and hang-up only")

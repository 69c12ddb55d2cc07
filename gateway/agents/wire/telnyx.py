"""Telnyx media streaming: JSON over a WebSocket, RTP payloads in base64, several codecs.

    connected, start, media …, dtmf, mark, stop, error   ▸ the agent
    media, mark, clear                                   ◂ the agent

L16 is in network order here, as in RTP (RFC 3551 §4.5.11). A mark comes back when all that was
said before it has been played, and when it is cleared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import numpy as np

from gateway.agents.event import AgentEvent, DigitHeard, Interrupted, SpeechDropped
from gateway.agents.protocol import (
    AgentAddress,
    AudioFormat,
    CallFacts,
    Clear,
    Mark,
    Message,
    Opening,
    Player,
    Reply,
    Say,
    Wish,
    Wrong,
    open_as_bearer,
)
from gateway.agents.wire_json import (
    PayloadReader,
    decode_audio,
    encode_audio,
    read_name,
    read_object,
    read_part,
)
from gateway.codec import G722, OPUS, PCMA, PCMU
from gateway.media.playout import Cleared, MarkReached

IS_STREAM = False

MAX_WAITING = 4
"""Chunks that came before the one whose turn it is: 80 ms of what agents send as a rule. Then the
missing one is given up."""

MAX_LATE = 50
"A chunk that is no further behind than that, a second of speech as a rule, has missed its turn."

PACKET_MS = 20

CodecName = Literal["PCMU", "PCMA", "G722", "OPUS", "L16"]

Rate = Literal[8000, 16000, 22050, 24000, 48000]

_CODECS = {"PCMU": PCMU, "PCMA": PCMA, "G722": G722, "OPUS": OPUS, "L16": None}


@dataclass(frozen=True, slots=True)
class Settings:
    """`[agent.settings]`, by the names of Telnyx' API."""

    stream_codec: CodecName = "PCMU"
    "What the agent hears."
    stream_bidirectional_codec: CodecName | None = None
    "What the agent says; where left out, as it hears."
    stream_bidirectional_sampling_rate: Rate = 8000
    "Hz of L16 and OPUS. PCMU and PCMA have 8000, G722 has 16000 always."
    client_state: str = ""
    "Handed to the agent as it is."
    custom_parameters: Mapping[str, str] = field(default_factory=dict)
    "For the agent, besides the call's own attributes."


def opening(address: AgentAddress, settings: Settings, call: CallFacts) -> Opening:
    """The URL as it is configured; a secret goes with it as a bearer's token."""
    return open_as_bearer(address)


def make(settings: Settings) -> TelnyxStream:
    """One stream."""
    return TelnyxStream(settings)


def call_control_id(token: str) -> str:
    """The call as agents name it."""
    return "v3:" + token


def stream_id(token: str, stream: int = 0) -> str:
    """A UUID: another for each connection of a call."""
    return str(UUID(int=(int(token, 16) + stream) % (1 << 128)))


class TelnyxStream:
    """One stream, from `connected` to `stop`."""

    def __init__(self, settings: Settings) -> None:
        rate = settings.stream_bidirectional_sampling_rate
        spoken = settings.stream_bidirectional_codec or settings.stream_codec
        self.heard = _format(settings.stream_codec, rate)
        self.said = _format(spoken, rate)
        self.tells_ready = False
        self._settings = settings
        self._media = PayloadReader()
        self._chunks = _Chunks()
        self._odd = b""
        "Half a sample of L16, which the next message completes."
        self._sequence = 0
        self._chunk = 0
        self._at_ms = 0
        self._stream = self._call = self._head = ""

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        self._call = call_control_id(call.token)
        self._stream = stream = stream_id(call.token, call.stream)
        self._head = f'","stream_id":"{stream}","media":{{"track":"inbound","chunk":"'
        start = {
            "user_id": "",
            "call_control_id": self._call,
            "call_session_id": str(UUID(call.token)),
            "from": call.caller,
            "to": call.called,
            "tags": [],
            "client_state": self._settings.client_state,
            "custom_parameters": {**call.attributes, **self._settings.custom_parameters},
            "media_format": {
                "encoding": self._settings.stream_codec,
                "sample_rate": self.heard.rate,
                "channels": 1,
            },
        }
        connected = {"event": "connected", "version": "1.0.0"}
        return (json.dumps(connected), self._event("start", start))

    def hear(self, audio: bytes) -> Message:
        self._sequence = sequence = self._sequence + 1
        self._chunk = chunk = self._chunk + 1
        at_ms = self._at_ms
        self._at_ms = at_ms + PACKET_MS
        if self.heard.codec is None:
            audio = _swap(audio)
        # By hand: a fifth of the time of json.dumps, 50 times a second for each call.
        return (
            f'{{"event":"media","sequence_number":"{sequence}{self._head}{chunk}"'
            f',"timestamp":"{at_ms}","payload":"{encode_audio(audio)}"}}}}'
        )

    # ---- what the agent says

    def receive(self, message: Message) -> Iterable[Wish]:
        if not isinstance(message, str):
            return self._refuse(_MALFORMED, "a binary message")
        audio = self._media.read(message)
        if audio is not None:
            return self._say((audio,))
        said = read_object(message)
        if said is None:
            return self._refuse(_MALFORMED, "a message that is not a JSON object")
        return self._obey(message, said)

    def _obey(self, message: str, said: dict[str, Any]) -> Iterable[Wish]:
        match said.get("event"):
            case "media":
                return self._take(message, read_part(said, "media"))
            case "mark":
                name = read_name(read_part(said, "mark"))
                if not name:
                    return self._refuse(_MALFORMED, "a mark without a name, or with too long a one")
                return (*self._say(self._chunks.flush()), Mark(name))
            case "clear":
                self._chunks.flush()
                self._odd = b""
                return (Clear(),)
        return self._refuse(_MALFORMED, "an event that is neither media nor mark nor clear")

    def _take(self, message: str, media: dict[str, Any]) -> Iterable[Wish]:
        payload = media.get("payload")
        if not isinstance(payload, str) or not payload:
            return self._refuse(_INVALID_MEDIA, "media without a payload")
        audio = decode_audio(payload)
        if audio is None:
            return self._refuse(_INVALID_MEDIA, "the payload of media is not base64")
        if "chunk" not in media:
            self._media.learn(message, payload)
            return self._say((audio,))
        number = _read_number(media["chunk"])
        if number is None:
            return self._refuse(_INVALID_MEDIA, "the chunk of media is not a number")
        return self._say(self._chunks.add(number, audio))

    def _say(self, pieces: Iterable[bytes]) -> list[Wish]:
        if self.said.codec is not None:
            return [Say(audio) for audio in pieces if audio]
        audio = self._odd + b"".join(pieces)
        whole = len(audio) & ~1
        self._odd = audio[whole:]
        return [Say(_swap(audio[:whole]))] if whole else []

    def _refuse(self, error: tuple[int, str], why: str) -> Iterable[Wish]:
        return (Reply(self._error(error, f"We received {why}.")), Wrong(why))

    # ---- what it is told

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        match event:
            case DigitHeard(digit=digit):
                return (self._event("dtmf", {"digit": digit}),)
            case MarkReached(name=name):
                return (self._event("mark", {"name": name}),)
            case Cleared(marks=marks) | Interrupted(cleared=Cleared(marks=marks)):
                return [self._event("mark", {"name": name}) for name in marks]
            case SpeechDropped(dropped_ms=dropped_ms):
                return (self._error(_TOO_FAST, f"{dropped_ms:.0f} ms of media were dropped."),)
        return ()

    def close(self, reason: str) -> Iterable[Message]:
        return (self._event("stop", {"user_id": "", "call_control_id": self._call}),)

    def _event(self, name: str, body: Mapping[str, Any]) -> str:
        self._sequence += 1
        return json.dumps(
            {
                "event": name,
                "sequence_number": str(self._sequence),
                "stream_id": self._stream,
                name: body,
            }
        )

    def _error(self, error: tuple[int, str], detail: str) -> str:
        code, title = error
        payload = {"code": code, "title": title, "detail": detail}
        return json.dumps({"event": "error", "stream_id": self._stream, "payload": payload})


_MALFORMED = (100002, "malformed_frame")
_INVALID_MEDIA = (100004, "invalid_media")
_TOO_FAST = (100005, "rate_limit_reached")


class _Chunks:
    """Puts chunks in order by the numbers that the agent gave them."""

    __slots__ = ("_due", "_first", "_waiting")

    def __init__(self) -> None:
        self._first: int | None = None
        self._due = 0
        self._waiting: dict[int, bytes] = {}

    def add(self, number: int, audio: bytes) -> list[bytes]:
        """Take one.

        Returns:
            What can be said now. One whose turn is over is left out, unless the numbers begin
            anew.
        """
        due, waiting = self._due, self._waiting
        first = self._first
        is_anew = first is None or first == number < due
        if is_anew or not due - MAX_LATE <= number <= due + MAX_WAITING:
            ready = self.flush()
            # 1 may come after 2; of one that begins at 100 nobody knows.
            self._first = due = 1 if 1 < number <= MAX_WAITING else number
        elif number < due:
            return []
        else:
            ready = []
        waiting[number] = audio
        if len(waiting) > MAX_WAITING:
            due = min(waiting)
        while due in waiting:
            ready.append(waiting.pop(due))
            due += 1
        self._due = due
        return ready

    def flush(self) -> list[bytes]:
        """Wait for nothing that is missing."""
        waiting = self._waiting
        if not waiting:
            return []
        ready = [waiting[number] for number in sorted(waiting)]
        self._due = max(waiting) + 1
        waiting.clear()
        return ready


def _read_number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _format(name: CodecName, rate: int) -> AudioFormat:
    codec = _CODECS[name]
    if codec is not None and codec is not OPUS:
        rate = codec.sample_rate
    return AudioFormat(rate, codec, PACKET_MS)


def _swap(audio: bytes) -> bytes:
    """Samples of two bytes, in the other order."""
    return np.frombuffer(audio, np.int16).byteswap().tobytes()

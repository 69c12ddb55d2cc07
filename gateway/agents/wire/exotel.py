"""Exotel's voice streaming: JSON over a WebSocket, linear PCM in base64, in snake case.

    connected, start, media …, dtmf, mark, stop   ▸ the agent
    media, mark, clear                            ◂ the agent

A mark comes back when all that was said before it has been played, and when it is cleared.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.agents.event import AgentEvent, DigitHeard, Interrupted
from gateway.agents.protocol import (
    AgentAddress,
    AudioFormat,
    CallFacts,
    Clear,
    Mark,
    Message,
    Opening,
    Player,
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
from gateway.media.playout import Cleared, MarkReached

IS_STREAM = False

PACKET_MS = 100
"Exotel sends pieces of about 100 ms."


@dataclass(frozen=True, slots=True)
class Settings:
    """`[agent.settings]`."""

    rate: Literal[8000, 16000, 24000] = 8000
    "Hz, both ways."
    account_sid: str = "gateway"
    "The account that the agent is told of."
    custom_parameters: Mapping[str, str] = field(default_factory=dict)
    "For the agent, besides the call's own attributes."


def opening(address: AgentAddress, settings: Settings, call: CallFacts) -> Opening:
    """The URL as it is configured; a secret goes with it as a bearer's token."""
    return open_as_bearer(address)


def make(settings: Settings) -> ExotelStream:
    """One stream."""
    return ExotelStream(settings)


class ExotelStream:
    """One stream, from `connected` to `stop`."""

    def __init__(self, settings: Settings) -> None:
        self.heard = AudioFormat(settings.rate, packet_ms=PACKET_MS)
        self.said = AudioFormat(settings.rate)
        self.tells_ready = False
        self._settings = settings
        self._media = PayloadReader()
        self._sequence = 0
        self._chunk = 0
        self._at_ms = 0
        self._stream = self._call = ""

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        self._call = call.token
        number = (int(call.token, 16) + call.stream) % (1 << 128)
        self._stream = f"{number:032x}"
        start = {
            "stream_sid": self._stream,
            "call_sid": self._call,
            "account_sid": self._settings.account_sid,
            "from": call.caller,
            "to": call.called,
            "custom_parameters": {**call.attributes, **self._settings.custom_parameters},
            "media_format": {
                "encoding": "base64",
                "sample_rate": str(self._settings.rate),
                "bit_rate": f"{self._settings.rate * 16 // 1000}kbps",
            },
        }
        return (json.dumps({"event": "connected"}), self._event("start", start))

    def hear(self, audio: bytes) -> Message:
        self._sequence = sequence = self._sequence + 1
        self._chunk = chunk = self._chunk + 1
        at_ms = self._at_ms
        self._at_ms = at_ms + PACKET_MS
        return (
            f'{{"event":"media","sequence_number":{sequence},"stream_sid":"{self._stream}",'
            f'"media":{{"chunk":{chunk},"timestamp":"{at_ms}",'
            f'"payload":"{encode_audio(audio)}"}}}}'
        )

    def receive(self, message: Message) -> Iterable[Wish]:
        if not isinstance(message, str):
            return (Wrong("a binary message"),)
        audio = self._media.read(message)
        if audio is not None:
            return (Say(audio),)
        said = read_object(message)
        match said and said.get("event"):
            case "media" if said is not None:
                return self._say(message, read_part(said, "media").get("payload"))
            case "mark" if said is not None:
                name = read_name(read_part(said, "mark"))
                return (Mark(name),) if name else (Wrong("a mark without a name"),)
            case "clear":
                return (Clear(),)
        return (Wrong("neither media nor mark nor clear"),)

    def _say(self, message: str, payload: object) -> Iterable[Wish]:
        audio = decode_audio(payload) if isinstance(payload, str) else None
        if not audio or not isinstance(payload, str):
            return (Wrong("media without a payload in base64"),)
        self._media.learn(message, payload)
        return (Say(audio),)

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        match event:
            case DigitHeard(digit=digit, duration_ms=duration_ms):
                return (self._event("dtmf", {"duration": str(duration_ms), "digit": digit}),)
            case MarkReached(name=name):
                return (self._event("mark", {"name": name}),)
            case Cleared(marks=marks) | Interrupted(cleared=Cleared(marks=marks)):
                return [self._event("mark", {"name": name}) for name in marks]
        return ()

    def close(self, reason: str) -> Iterable[Message]:
        stop = {
            "call_sid": self._call,
            "account_sid": self._settings.account_sid,
            "reason": "callended",
        }
        return (self._event("stop", stop),)

    def _event(self, name: str, body: Mapping[str, Any]) -> str:
        self._sequence += 1
        return json.dumps(
            {
                "event": name,
                "sequence_number": self._sequence,
                "stream_sid": self._stream,
                name: body,
            }
        )

"""Plivo's audio streaming: JSON over a WebSocket, μ-law or linear PCM in base64.

    start, media …, dtmf, playedStream, clearedAudio   ▸ the agent
    playAudio, checkpoint, clearAudio                  ◂ the agent

A checkpoint comes back as `playedStream` when all that was said before it has been played; one
that is cleared does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

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
    SayAs,
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
from gateway.codec import PCMU
from gateway.media.playout import Cleared, MarkReached

IS_STREAM = False

PACKET_MS = 20

_MULAW = AudioFormat(8000, PCMU)

_FORMATS: Mapping[tuple[str, int], AudioFormat] = {
    ("audio/x-mulaw", 8000): _MULAW,
    ("audio/x-l16", 8000): AudioFormat(8000),
    ("audio/x-l16", 16000): AudioFormat(16000),
}
"What an agent may speak, by contentType and sampleRate."


@dataclass(frozen=True, slots=True)
class Settings:
    """`[agent.settings]`."""

    content_type: Literal[
        "audio/x-mulaw;rate=8000", "audio/x-l16;rate=8000", "audio/x-l16;rate=16000"
    ] = "audio/x-mulaw;rate=8000"
    "What the agent hears. Each piece of what it says names its own."
    account_id: str = "gateway"
    "The account that the agent is told of."
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    "For the agent, besides from, to and the call's own attributes."


def opening(address: AgentAddress, settings: Settings, call: CallFacts) -> Opening:
    """The URL as it is configured; a secret goes with it as a bearer's token."""
    return open_as_bearer(address)


def make(settings: Settings) -> PlivoStream:
    """One stream."""
    return PlivoStream(settings)


class PlivoStream:
    """One stream. Its end is the connection's."""

    def __init__(self, settings: Settings) -> None:
        kind, _, rate = settings.content_type.partition(";rate=")
        self._kind, self._rate = kind, int(rate)
        self.heard = self.said = _FORMATS[kind, int(rate)]
        self.tells_ready = False
        self._settings = settings
        self._media = PayloadReader()
        self._sequence = 0
        self._chunk = 0
        self._at_ms = 0
        self._stream = ""

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        self._stream = str(UUID(int=(int(call.token, 16) + call.stream) % (1 << 128)))
        headers = {
            "from": call.caller,
            "to": call.called,
            **call.attributes,
            **self._settings.extra_headers,
        }
        start = {
            "callId": str(UUID(call.token)),
            "streamId": self._stream,
            "accountId": self._settings.account_id,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": self._kind, "sampleRate": self._rate},
        }
        first = {
            "sequenceNumber": self._sequence,
            "event": "start",
            "start": start,
            "extra_headers": json.dumps(headers),
        }
        return (json.dumps(first),)

    def hear(self, audio: bytes) -> Message:
        self._sequence = sequence = self._sequence + 1
        self._chunk = chunk = self._chunk + 1
        at_ms = self._at_ms
        self._at_ms = at_ms + PACKET_MS
        return (
            f'{{"sequenceNumber":{sequence},"streamId":"{self._stream}","event":"media",'
            f'"media":{{"track":"inbound","timestamp":"{at_ms}","chunk":{chunk},'
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
            case "playAudio" if said is not None:
                return self._say(message, read_part(said, "media"))
            case "checkpoint" if said is not None:
                name = read_name(said)
                return (Mark(name),) if name else (Wrong("a checkpoint without a name"),)
            case "clearAudio":
                return (Clear(),)
        return (Wrong("neither playAudio nor checkpoint nor clearAudio"),)

    def _say(self, message: str, media: dict[str, Any]) -> Iterable[Wish]:
        payload = media.get("payload")
        audio = decode_audio(payload) if isinstance(payload, str) else None
        if not audio or not isinstance(payload, str):
            return (Wrong("playAudio without a payload in base64"),)
        spoken = _read_format(media, self.said)
        if spoken is None:
            return (Wrong("playAudio in a format that Plivo does not have"),)
        if spoken != self.said:
            return (SayAs(audio, spoken),)
        self._media.learn(message, payload)
        return (Say(audio),)

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        match event:
            case DigitHeard(digit=digit):
                return (self._event("dtmf", dtmf={"track": "inbound", "digit": digit}),)
            case MarkReached(name=name):
                return (self._event("playedStream", name=name),)
            case Cleared() | Interrupted(cleared=Cleared()):
                return (self._event("clearedAudio"),)
        return ()

    def close(self, reason: str) -> Iterable[Message]:
        return ()

    def _event(self, event: str, **fields: Any) -> str:
        self._sequence += 1
        return json.dumps(
            {
                "event": event,
                "sequenceNumber": self._sequence,
                "streamId": self._stream,
                **fields,
            }
        )


def _read_format(media: Mapping[str, Any], otherwise: AudioFormat) -> AudioFormat | None:
    """Of one piece of audio; None where Plivo has no such format."""
    kind, rate = media.get("contentType"), media.get("sampleRate")
    if kind is None and rate is None:
        return otherwise
    if isinstance(rate, str) and rate in ("8000", "16000"):
        rate = int(rate)
    if isinstance(kind, str) and isinstance(rate, int):
        return _FORMATS.get((kind, rate))
    return None

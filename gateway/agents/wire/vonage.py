"""Vonage Voice WebSocket: linear PCM in binary messages, JSON in text messages.

    websocket:connected, audio …, websocket:dtmf, websocket:notify, websocket:cleared   ▸ the agent
    audio, clear, notify                                                            ◂ the agent

A notify comes back when all that was said before it has been played; one that is cleared does not.
Vonage keeps 3072 packets, 61 s, of what an agent says; a playout keeps 60 s of anybody's.
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
from gateway.agents.wire_json import MAX_NAME_CHARS, read_object
from gateway.media.playout import Cleared, MarkReached

IS_STREAM = False


@dataclass(frozen=True, slots=True)
class Settings:
    """`[agent.settings]`."""

    rate: Literal[8000, 16000, 24000] = 16000
    "Hz, both ways: audio/l16;rate=…"
    headers: Mapping[str, str] = field(default_factory=dict)
    "Fields of the first message, besides from, to, uuid and the call's own attributes."


def opening(address: AgentAddress, settings: Settings, call: CallFacts) -> Opening:
    """The URL as it is configured; a secret goes with it as a bearer's token."""
    return open_as_bearer(address)


def make(settings: Settings) -> VonageSocket:
    """One conversation."""
    return VonageSocket(settings)


class VonageSocket:
    """One conversation, from `websocket:connected` on. Its end is the connection's."""

    ends_by_leaving = True
    """Who goes away (1001) has hung up: the protocol has no other word for it, and servers that
    end with a call, as pipecat's, say it so."""

    def __init__(self, settings: Settings) -> None:
        self.heard = self.said = AudioFormat(settings.rate)
        self.tells_ready = False
        self._settings = settings

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        connected = {
            "from": call.caller,
            "to": call.called,
            "uuid": call.id,
            **call.attributes,
            **self._settings.headers,
            # Last: no header of a caller's may say otherwise.
            "event": "websocket:connected",
            "content-type": f"audio/l16;rate={self._settings.rate}",
        }
        return (json.dumps(connected),)

    def hear(self, audio: bytes) -> Message:
        return audio

    def receive(self, message: Message) -> Iterable[Wish]:
        if not isinstance(message, str):
            return (Say(message),) if message else ()
        said = read_object(message)
        match said and said.get("action"):
            case "clear":
                return (Clear(),)
            case "notify" if said is not None:
                # The mark is named by what is sent back, so that nothing has to be kept here.
                payload = json.dumps(said.get("payload", {}))
                if len(payload) <= MAX_NAME_CHARS:
                    return (Mark(payload),)
                return (Wrong("the payload of notify is longer than is kept"),)
        return (Wrong("neither audio nor the actions clear and notify"),)

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        match event:
            case DigitHeard(digit=digit, duration_ms=duration_ms):
                return (_event("dtmf", digit=digit, duration=duration_ms),)
            case MarkReached(name=payload):
                return (f'{{"event":"websocket:notify","payload":{payload}}}',)
            case Cleared() | Interrupted(cleared=Cleared()):
                return (_event("cleared"),)
        return ()

    def close(self, reason: str) -> Iterable[Message]:
        return ()


def _event(name: str, **fields: Any) -> str:
    return json.dumps({"event": f"websocket:{name}", **fields})

"""Our own protocol: JSON text with a `type`, and 16-bit PCM in binary messages.

docs/agent-protocol.md describes every message; a test holds the two together.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from gateway.agents.event import (
    AgentEvent,
    AudienceChanged,
    Continued,
    DigitHeard,
    DigitHidden,
    FarEndAnswered,
    HoldChanged,
    Interrupted,
    ItemPlayed,
    MachineDetected,
    QueueState,
    SpeechDropped,
    SpeechStarted,
    SpeechStopped,
    Told,
    ToolDone,
)
from gateway.agents.protocol import (
    AgentAddress,
    Answer,
    AudioFormat,
    CallFacts,
    Clear,
    Done,
    JudgeBargeIn,
    Mark,
    Message,
    Note,
    Opening,
    Pause,
    Player,
    Ready,
    Reply,
    Resume,
    Say,
    Use,
    Wish,
    Wrong,
)
from gateway.agents.tool_json import ToolError, describe_outcome, read_tool
from gateway.agents.wire_json import read_object
from gateway.media.playout import Cleared, MarkReached, Unheard

SUBPROTOCOL = "gateway-agent.v1"
"Of the WebSocket: another major version is another subprotocol."

VERSION = 1
"In `start`. Messages and keys may come to be added without it being raised: pass over them."

IS_STREAM = False

NEEDS_URL = False
"Without one the agent dials us, at /v1/agents/NAME, and waits there for its calls."

MAX_TEXT_CHARS = 64 * 1024
"Longest text message that is read: a transcript of minutes; parsing more would hold others up."

MAX_NAME = 128
"Characters of a mark's, an item's or a tool use's name: a UUID with something before it."

MAX_ERRORS = 100
"`error` messages sent on one connection: who has not read the first hundred reads no more."

RATES = (8000, 16_000, 24_000, 48_000)
"Hz that may be spoken and heard."


@dataclass(frozen=True, slots=True)
class Settings:
    """[agent.settings] of `protocol = "gateway"`."""

    rate: Literal[8000, 16000, 24000, 48000] = 16_000
    "Hz of the PCM both ways, until the agent says that it speaks at another."
    packet_ms: Literal[20, 40, 60, 100] = 20
    "How much of what is heard goes into one message."
    wait_for_ready: bool = True
    "Whether the call is answered only when the agent has sent `ready`."


def opening(address: AgentAddress, settings: Settings, call: CallFacts) -> Opening:
    """Ask with the secret as a bearer token; with a username, as its password."""
    headers: tuple[tuple[str, str], ...] = ()
    if address.secret is not None:
        secret = address.secret.value
        if address.username:
            pair = base64.b64encode(f"{address.username}:{secret}".encode()).decode()
            headers = (("Authorization", f"Basic {pair}"),)
        else:
            headers = (("Authorization", f"Bearer {secret}"),)
    return Opening(address.url, headers, (SUBPROTOCOL,))


def make(settings: Settings) -> GatewayProtocol:
    """One conversation."""
    return GatewayProtocol(settings)


class GatewayProtocol:
    """One connection to an agent that speaks our own protocol."""

    def __init__(self, settings: Settings) -> None:
        self.heard = AudioFormat(settings.rate, packet_ms=settings.packet_ms)
        self.said = AudioFormat(settings.rate)
        self.tells_ready = settings.wait_for_ready
        self.sequence = 0
        "Number of the last message sent; it goes on when the connection is made anew."
        self._item = ""
        self._errors = 0

    # ---- what is sent

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        self.sequence = call.last_sequence or 0
        again = {} if call.last_sequence is None else {"last_seq": call.last_sequence}
        format_heard = {"encoding": "pcm_s16le", "rate": self.heard.rate, "channels": 1}
        return (
            self._text(
                "start",
                version=VERSION,
                call={
                    "id": call.id,
                    "caller": call.caller,
                    "called": call.called,
                    "direction": "outbound" if call.is_outbound else "inbound",
                    "codec": call.codec,
                    "attributes": dict(call.attributes),
                },
                agent=call.agent,
                stream=call.stream,
                **again,
                audio={
                    "heard": {**format_heard, "packet_ms": self.heard.packet_ms},
                    "said": {**format_heard, "rate": self.said.rate},
                },
                tools=list(call.tools),
            ),
        )

    def hear(self, audio: bytes) -> Message | None:
        return audio

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        if isinstance(event, ItemPlayed) and not event.item:
            return ()  # what the agent has given no name
        told = _EVENTS.get(type(event))
        if told is None:
            return ()  # it came after this protocol, which has no words for it
        kind, describe = told
        return (self._text(kind, **describe(event)),)

    def close(self, reason: str) -> Iterable[Message]:
        return (self._text("stop", reason=reason),)

    def _text(self, kind: str, /, **values: Any) -> str:
        self.sequence += 1
        message = {"type": kind, "seq": self.sequence, **values}
        return json.dumps(message, separators=(",", ":"), default=str)

    # ---- what is received

    def receive(self, message: Message) -> Iterable[Wish]:
        if isinstance(message, bytes | bytearray | memoryview):
            return (Say(bytes(message), self._item),)
        return self._read(message)

    def _read(self, message: str) -> tuple[Wish, ...]:
        if len(message) > MAX_TEXT_CHARS:
            return self._refuse("too-long", "a text message is too long")
        read = read_object(message)
        kind = None if read is None else read.get("type")
        if read is None or not isinstance(kind, str):
            return self._refuse("not-json", "a text message is no JSON object with a type")
        handler = _HANDLERS.get(kind)
        if handler is None:  # a newer agent may say more than we know
            return self._tell_error("unknown-type", "this type is not known, and passed over")
        try:
            return handler(self, read)
        except _Unfit as unfit:
            return self._refuse("bad-message", str(unfit))

    def _refuse(self, code: str, why: str) -> tuple[Wish, ...]:
        return (*self._tell_error(code, why), Wrong(why))

    def _tell_error(self, code: str, why: str) -> tuple[Wish, ...]:
        self._errors += 1
        if self._errors > MAX_ERRORS:
            return ()
        return (Reply(self._text("error", code=code, text=why)),)

    def _on_ready(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        return (Ready(),)

    def _on_answer(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        return (Answer(),)

    def _on_audio(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        rate = read.get("rate")
        if rate not in RATES:
            raise _Unfit(f"rate is one of {', '.join(map(str, RATES))}")
        self.said = replace(self.said, rate=int(rate))
        return ()

    def _on_item(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        self._item = _name(read, "id", may_be_empty=True)
        return ()

    def _on_mark(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        return (Mark(_name(read, "name")),)

    def _on_clear(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        return (Clear(),)

    def _on_pause(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        return (Pause(),)

    def _on_resume(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        return (Resume(),)

    def _on_barge_in(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        return (JudgeBargeIn(_flag(read, "real")),)

    def _on_tool(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        use, name = _name(read, "id", may_be_empty=True), _name(read, "name")
        try:
            return (Use(read_tool(name, read.get("arguments", {})), use),)
        except ToolError as error:  # of a model's making, most likely: no strike
            refused = ToolDone(use, name, is_done=False, status=400, detail=str(error))
            return tuple(Reply(text) for text in self.notice(refused))

    def _on_transcript(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        speaker, text = read.get("speaker"), read.get("text")
        if speaker not in ("agent", "caller") or not isinstance(text, str):
            raise _Unfit("a transcript has a speaker, agent or caller, and a text")
        data = {"speaker": speaker, "text": text}
        if "item" in read:
            data["item"] = _name(read, "item")
        return (Note("transcript", data),)

    def _on_note(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        data = read.get("data", {})
        if not isinstance(data, dict):
            raise _Unfit("the data of a note is an object")
        return (Note(_name(read, "kind"), data),)

    def _on_done(self, read: Mapping[str, Any]) -> tuple[Wish, ...]:
        return (Done(_flag(read, "hang_up") if "hang_up" in read else True),)


class _Unfit(ValueError):
    """A key is missing or wrong; the message says which, in words of ours."""


def _name(read: Mapping[str, Any], key: str, *, may_be_empty: bool = False) -> str:
    value = read.get(key, "" if may_be_empty else None)
    if isinstance(value, str) and len(value) <= MAX_NAME and (value or may_be_empty):
        return value
    raise _Unfit(f"{key} is a text of at most {MAX_NAME} characters")


def _flag(read: Mapping[str, Any], key: str) -> bool:
    value = read.get(key)
    if isinstance(value, bool):
        return value
    raise _Unfit(f"{key} is true or false")


_HANDLERS: Mapping[str, Callable[[GatewayProtocol, Mapping[str, Any]], tuple[Wish, ...]]] = {
    "ready": GatewayProtocol._on_ready,
    "answer": GatewayProtocol._on_answer,
    "audio": GatewayProtocol._on_audio,
    "item": GatewayProtocol._on_item,
    "mark": GatewayProtocol._on_mark,
    "clear": GatewayProtocol._on_clear,
    "pause": GatewayProtocol._on_pause,
    "resume": GatewayProtocol._on_resume,
    "barge_in": GatewayProtocol._on_barge_in,
    "tool": GatewayProtocol._on_tool,
    "transcript": GatewayProtocol._on_transcript,
    "note": GatewayProtocol._on_note,
    "done": GatewayProtocol._on_done,
}


def _ms(value: float) -> float:
    return round(float(value), 1)


def _cleared(event: Cleared) -> dict[str, Any]:
    return {
        "played_ms": _ms(event.played_ms),
        "dropped_ms": _ms(event.dropped_ms),
        "marks": list(event.marks),
    }


def _interrupted(event: Interrupted) -> dict[str, Any]:
    return {
        "policy": event.policy,
        **({} if event.cleared is None else _cleared(event.cleared)),
    }


_EVENTS: Mapping[type[Any], tuple[str, Callable[[Any], dict[str, Any]]]] = {
    DigitHeard: ("digit", lambda e: {"digit": e.digit, "duration_ms": e.duration_ms}),
    DigitHidden: ("digit_hidden", lambda e: {}),
    SpeechStarted: ("speech_started", lambda e: {"at_ms": _ms(e.at_ms)}),
    SpeechStopped: ("speech_stopped", lambda e: {"at_ms": _ms(e.at_ms)}),
    Interrupted: ("interrupted", _interrupted),
    Continued: ("continued", lambda e: {}),
    ItemPlayed: (
        "item_played",
        lambda e: {"item": e.item, "played_ms": _ms(e.played_ms), "said_ms": _ms(e.said_ms)},
    ),
    FarEndAnswered: ("answered", lambda e: {"early": e.is_early}),
    HoldChanged: ("hold", lambda e: {"on": e.on}),
    AudienceChanged: (
        "audience",
        lambda e: {"hears": list(e.hears), "heard_by": list(e.heard_by)},
    ),
    QueueState: ("queue", lambda e: {"full": e.is_full, "queued_ms": _ms(e.queued_ms)}),
    SpeechDropped: ("dropped", lambda e: {"dropped_ms": _ms(e.dropped_ms)}),
    ToolDone: ("tool_done", lambda e: {"id": e.id, "name": e.tool, **describe_outcome(e)}),
    MachineDetected: ("machine", lambda e: {"kind": e.kind, "after_ms": _ms(e.after_ms)}),
    Told: ("told", lambda e: {"kind": e.kind, "data": dict(e.data)}),
    MarkReached: (
        "mark",
        lambda e: {"name": e.name, "played_ms": _ms(e.played_ms), "heard": e.heard},
    ),
    Cleared: ("cleared", _cleared),
    Unheard: ("unheard", lambda e: {"played_ms": _ms(e.played_ms)}),
}
"What each event is called, and what is told of it."

"""pipecat's own protocol on WebSockets: frames in Protocol Buffers (`frames.proto`).

    audio, message   ▸ the agent (`WebsocketServerTransport` with a `ProtobufFrameSerializer`)
    audio, interruption, message, text, transcription   ◂ the agent

It has no words for calls, keys, marks and tools: those go as messages of JSON, which a pipeline has
as InputTransportMessageFrame, and sends as OutputTransportMessageFrame:

    {"label": "gateway", "type": start | dtmf | mark | tool_done | stop, "data": {…}}   ▸ the agent
    {"label": "gateway", "type": mark | tool, "data": {…}}                              ◂ the agent
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gateway.agents.event import AgentEvent, DigitHeard, Interrupted, ToolDone
from gateway.agents.protocol import (
    AgentAddress,
    AudioFormat,
    CallFacts,
    Clear,
    Mark,
    Message,
    Note,
    Opening,
    Player,
    Reply,
    Say,
    SayAs,
    Use,
    Wish,
    Wrong,
    open_as_bearer,
)
from gateway.agents.tool_json import ToolError, describe_outcome, read_tool
from gateway.agents.wire_json import read_name, read_object, read_part
from gateway.agents.wire_protobuf import read_fields, write_bytes, write_number, write_varint
from gateway.media.playout import Cleared, MarkReached

IS_STREAM = False

LABEL = "gateway"
"Of messages that are ours, as `rtvi-ai` is of pipecat's own."

# Fields of Frame, and of its parts.
TEXT, AUDIO, TRANSCRIPTION, MESSAGE, INTERRUPTION = range(1, 6)
PCM, SAMPLE_RATE, CHANNELS = 3, 4, 5
WORDS, DATA = 3, 1

RATES = (8000, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"Hz that an agent may speak at; each piece of audio names its own."


@dataclass(frozen=True, slots=True)
class Settings:
    """`[agent.settings]`."""

    rate: Literal[8000, 16000, 24000] = 16000
    "Hz of what the agent hears: its audio_in_sample_rate."


def opening(address: AgentAddress, settings: Settings, call: CallFacts) -> Opening:
    """The URL as it is configured; a secret goes with it as a bearer's token."""
    return open_as_bearer(address)


def make(settings: Settings) -> PipecatSocket:
    """One conversation."""
    return PipecatSocket(settings)


class PipecatSocket:
    """One conversation. Its end is the connection's."""

    ends_by_leaving = True
    "pipecat's server goes away (1001) when its pipeline has ended."

    def __init__(self, settings: Settings) -> None:
        self.heard = self.said = AudioFormat(settings.rate)
        self.tells_ready = False
        self._tail = write_number(SAMPLE_RATE, settings.rate) + write_number(CHANNELS, 1)
        self._size = -1
        self._head = b""

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        start = {
            "id": call.id,
            "caller": call.caller,
            "called": call.called,
            "direction": "outbound" if call.is_outbound else "inbound",
            "attributes": dict(call.attributes),
            "tools": list(call.tools),
        }
        return (_tell("start", start),)

    def hear(self, audio: bytes) -> Message:
        if len(audio) != self._size:
            self._size = len(audio)
            head = write_varint(PCM << 3 | 2) + write_varint(len(audio))
            whole = len(head) + len(audio) + len(self._tail)
            self._head = write_varint(AUDIO << 3 | 2) + write_varint(whole) + head
        return self._head + audio + self._tail

    def receive(self, message: Message) -> Iterable[Wish]:
        if isinstance(message, str):
            return (Wrong("a text message"),)
        frame = read_fields(message)
        if frame is None or len(frame) != 1:
            return (Wrong("a message that is not a frame"),)
        ((kind, content),) = frame.items()
        part = read_fields(content) if isinstance(content, bytes) else None
        if part is None:
            return (Wrong("a frame that holds no message"),)
        return self._take(kind, part)

    def _take(self, kind: int, part: Mapping[int, int | bytes]) -> Iterable[Wish]:
        if kind == AUDIO:
            return self._say(part)
        if kind == INTERRUPTION:
            return (Clear(),)
        if kind == MESSAGE:
            return self._obey(part.get(DATA, b""))
        if kind in (TEXT, TRANSCRIPTION):
            return _note(part.get(WORDS, b""), "agent" if kind == TEXT else "caller")
        return (Wrong("a frame that pipecat does not have"),)

    def _say(self, part: Mapping[int, int | bytes]) -> Iterable[Wish]:
        audio, rate = part.get(PCM, b""), part.get(SAMPLE_RATE, 0)
        if not isinstance(audio, bytes) or rate not in RATES or part.get(CHANNELS, 0) not in (0, 1):
            return (Wrong("audio that is not of one channel, at a rate of speech"),)
        if not audio:
            return ()
        if rate == self.said.rate:
            return (Say(audio),)
        return (SayAs(audio, AudioFormat(int(rate))),)

    def _obey(self, data: int | bytes) -> Iterable[Wish]:
        said = _read_text(data)
        told = None if said is None else read_object(said)
        if told is None:
            return (Wrong("a message whose data is not a JSON object"),)
        if told.get("label") != LABEL:
            return ()  # pipecat's RTVI, for clients that have a screen
        part, name = read_part(told, "data"), read_name(read_part(told, "data"))
        if told.get("type") == "mark" and name:
            return (Mark(name),)
        if told.get("type") != "tool":
            return (Wrong("neither a tool nor a mark with a name"),)
        use = read_name(part, "id")
        try:
            return (Use(read_tool(name, part.get("arguments", {})), use),)
        except ToolError as error:  # of a model's making, most likely: no strike
            refused = ToolDone(use, name, is_done=False, status=400, detail=str(error))
            return tuple(Reply(text) for text in self.notice(refused))

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        match event:
            case DigitHeard(digit=digit, duration_ms=duration_ms):
                return (_tell("dtmf", {"digit": digit, "duration_ms": duration_ms}),)
            case MarkReached(name=name):
                return (_tell("mark", {"name": name, "event": "played"}),)
            case Cleared(marks=marks) | Interrupted(cleared=Cleared(marks=marks)):
                return [_tell("mark", {"name": name, "event": "cleared"}) for name in marks]
            case ToolDone(id=id, tool=tool):
                return (_tell("tool_done", {"id": id, "name": tool, **describe_outcome(event)}),)
        return ()

    def close(self, reason: str) -> Iterable[Message]:
        return (_tell("stop", {"reason": reason}),)


def _tell(kind: str, data: Mapping[str, Any]) -> bytes:
    text = json.dumps({"label": LABEL, "type": kind, "data": data})
    return write_bytes(MESSAGE, write_bytes(DATA, text.encode()))


def _note(words: int | bytes, speaker: str) -> Iterable[Wish]:
    text = _read_text(words)
    if text is None:
        return (Wrong("a text that is none"),)
    return (Note("transcript", {"speaker": speaker, "text": text}),)


def _read_text(value: int | bytes) -> str | None:
    try:
        return value.decode() if isinstance(value, bytes) else None
    except UnicodeDecodeError:
        return None

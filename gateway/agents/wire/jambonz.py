"""jambonz' `listen`, and FreeSWITCH's two modules of the kind: audio_fork and audio_stream.

The first message tells of the call; then L16 little-endian, in binary messages. What the agent
says comes as binary (`streaming`) or as files in JSON (`playAudio`, `streamAudio`).

Sources: mod_audio_fork `lws_glue.cpp`; jambonz-feature-server `lib/tasks/listen.js`; for
audio_stream what agents of it send and like to be sent.
"""

from __future__ import annotations

import io
import json
import wave
from base64 import b64encode
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gateway.agents.event import AgentEvent, DigitHeard, Interrupted, ItemPlayed
from gateway.agents.protocol import (
    AgentAddress,
    AudioFormat,
    CallFacts,
    Clear,
    Done,
    Mark,
    Message,
    Note,
    Opening,
    Player,
    Say,
    SayAs,
    Wish,
    Wrong,
)
from gateway.agents.wire_json import decode_audio, read_name, read_object, read_part
from gateway.media.playout import Cleared, MarkReached

IS_STREAM = False

MAX_MARKS = 30
"Outstanding marks; jambonz discards more."

MAX_FILES = 10
"Files that wait to be played, as jambonz' queue has it."

MAX_ENDS = 500
"Pieces whose end is looked at: a playout takes 1000 marks, and the agent has its own."

MAX_BEFORE = 3
"""Packets of what is said to the caller that may wait for what the caller says: both come every
20 ms, of two clocks."""

RAW_RATES = (8000, 16_000, 24_000, 32_000, 48_000, 64_000)
"Hz that `playAudio` may have."

_SUBPROTOCOLS = {
    "listen": ("audio.jambonz.org", "audio.drachtio.org"),
    "audio_fork": ("audio.drachtio.org", "audio.jambonz.org"),
    "audio_stream": (),
}

Rate = Literal[8000, 16000, 24000, 48000]


@dataclass(frozen=True, slots=True)
class Settings:
    """`[agent.settings]` of a jambonz agent."""

    dialect: Literal["listen", "audio_fork", "audio_stream"] = "listen"
    "jambonz' listen; or FreeSWITCH's mod_audio_fork or mod_audio_stream."
    mix_type: Literal["mono", "mixed", "stereo"] = "mono"
    "What it hears: the caller; with what it says itself; or each of them on one side."
    sample_rate: Rate = 8000
    "Hz of what it hears."
    streaming: bool = True
    "Whether it speaks in binary messages; else in files (playAudio) alone."
    streaming_rate: Rate | None = None
    "Hz of what it says so; where left out, `sample_rate`."
    pass_dtmf: bool = True
    "Tell it of keys."
    metadata: Mapping[str, Any] = field(default_factory=dict)
    "Put into its first message, over what is there."
    subprotocols: tuple[str, ...] | None = None
    "Offered to it; where left out, those of the dialect."


def opening(address: AgentAddress, settings: Settings, call: CallFacts) -> Opening:
    """A WebSocket, with Basic authentication where a username is configured (`wsAuth`)."""
    headers: tuple[tuple[str, str], ...] = ()
    if address.username:
        password = "" if address.secret is None else address.secret.value
        pair = b64encode(f"{address.username}:{password}".encode()).decode()
        headers = (("Authorization", f"Basic {pair}"),)
    offered = settings.subprotocols
    return Opening(
        address.url, headers, _SUBPROTOCOLS[settings.dialect] if offered is None else offered
    )


def make(settings: Settings) -> Jambonz:
    """One conversation."""
    return Jambonz(settings)


class Jambonz:
    """The platform's side of one connection."""

    tells_ready = False

    def __init__(self, settings: Settings) -> None:
        self.heard = AudioFormat(settings.sample_rate)
        self.said = AudioFormat(settings.streaming_rate or settings.sample_rate)
        self._settings = settings
        self.hears_other_side = settings.mix_type != "mono"
        self._said: deque[bytes] = deque(maxlen=MAX_BEFORE)
        "What was said to the caller, and waits for its other half."
        self._marks: dict[str, str] = {}
        "Its own names of marks, by ours, which are unique."
        self._files: dict[str, str | None] = {}
        "The ids of files that are played, by the item we call each."
        self._numbers = 0
        self._end = ""
        "Our mark behind what was said last, where its end is told."
        self._pending_ends = 0

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        return (json.dumps(self._first(call)),)

    def hear(self, audio: bytes) -> bytes:
        if not self.hears_other_side:
            return audio
        other = self._said.popleft() if self._said else b""
        heard = np.frombuffer(audio, "<i2")
        said = np.frombuffer(other if len(other) == len(audio) else bytes(len(audio)), "<i2")
        if self._settings.mix_type == "stereo":
            return bytes(np.stack((heard, said), axis=1).tobytes())
        mixed = np.clip(heard.astype(np.int32) + said, -32768, 32767)
        return bytes(mixed.astype("<i2").tobytes())

    def hear_other_side(self, audio: bytes) -> None:
        """What is said to the caller: it goes out with what the caller says."""
        self._said.append(audio)

    def receive(self, message: Message) -> Iterable[Wish]:
        if isinstance(message, bytes):
            # Without streaming the modules pass it over.
            return self._say(message, self.said) if self._settings.streaming else ()
        told = read_object(message)
        return (Wrong("a text message is no JSON object"),) if told is None else self._obey(told)

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        match event:
            case DigitHeard(digit, duration_ms) if self._settings.pass_dtmf:
                # The duration in samples of 8 kHz, as in telephone-events.
                told = {"event": "dtmf", "dtmf": digit, "duration": str(duration_ms * 8)}
                return (json.dumps(told),)
            case MarkReached(name):
                return self._reached(name)
            case Cleared(marks=marks) | Interrupted(cleared=Cleared(marks=marks)):
                return self._cleared(marks)
            case ItemPlayed(item, played_ms, said_ms) if item in self._files:
                return self._played(item, played_ms, said_ms)
        return ()

    def close(self, reason: str) -> Iterable[Message]:
        """The modules just close the socket."""
        return ()

    # ---- what it asks

    def _obey(self, told: dict[str, Any]) -> Iterable[Wish]:
        kind = told.get("type")
        data = read_part(told, "data")
        wishes: Iterable[Wish]
        match kind:
            case "playAudio" | "streamAudio":
                wishes = self._play(data, kind)
            case "killAudio":
                wishes = (Clear(),)
            case "mark":
                wishes = self._mark(read_name(data))
            case "clearMarks":
                # What is said goes on; nobody is told of them any more.
                self._marks.clear()
                wishes = ()
            case "disconnect":
                wishes = (Done(hang_up=False),)
            case "transcription" | "transfer" | "error" | "json":
                # jambonz hands these on to its application as they are.
                wishes = (Note(kind, data),)
            case _:
                wishes = (Wrong("a message of a type that is not known"),)
        return wishes

    def _say(self, audio: bytes, format_: AudioFormat, item: str = "") -> list[Wish]:
        wishes: list[Wish] = [
            Say(audio, item) if format_ == self.said else SayAs(audio, format_, item)
        ]
        if self._settings.dialect == "audio_stream" and self._pending_ends < MAX_ENDS:
            # `playoutDone` is for the last alone: each piece puts it off.
            self._end = self._new_name("e")
            self._pending_ends += 1
            wishes.append(Mark(self._end))
        return wishes

    def _mark(self, name: str) -> Iterable[Wish]:
        if not name:
            return (Wrong("a mark has a name"),)
        if len(self._marks) >= MAX_MARKS:
            return ()
        ours = self._new_name("m")
        self._marks[ours] = name
        return (Mark(ours),)

    def _play(self, data: Mapping[str, Any], kind: str) -> Iterable[Wish]:
        is_stream_audio = kind == "streamAudio"
        if self._settings.streaming and not is_stream_audio:
            return ()  # as the modules do
        suffix = "Data" if is_stream_audio else "Content"
        type_key = "audioDataType" if is_stream_audio else "audioContentType"
        try:
            audio, format_ = _read_audio(
                data.get(type_key, "raw"), data.get(f"audio{suffix}"), data.get("sampleRate")
            )
        except ValueError as error:
            return (Wrong(str(error)),)
        wishes: list[Wish] = []
        if is_stream_audio:
            return self._say(audio, format_)
        if not data.get("queuePlay"):
            wishes.append(Clear())
        elif len(self._files) >= MAX_FILES:
            return (Wrong("more files wait to be played than may"),)
        id_ = data.get("id")
        item = self._new_name("f")
        self._files[item] = id_ if isinstance(id_, str) else None
        return [*wishes, *self._say(audio, format_, item)]

    # ---- what it is told

    def _reached(self, name: str) -> Iterable[Message]:
        if name.startswith("e"):
            self._pending_ends -= 1
            return ('{"type": "playoutDone"}',) if name == self._end else ()
        return self._passed(name, "playout")

    def _cleared(self, marks: tuple[str, ...]) -> Iterable[Message]:
        self._pending_ends -= sum(name.startswith("e") for name in marks)
        return [each for name in marks for each in self._passed(name, "cleared")]

    def _passed(self, name: str, event: str) -> Iterable[Message]:
        theirs = self._marks.pop(name, None)
        if theirs is None:
            return ()
        return (json.dumps({"type": "mark", "data": {"name": theirs, "event": event}}),)

    def _played(self, item: str, played_ms: float, said_ms: float) -> Iterable[Message]:
        data: dict[str, Any] = {
            "playbackMilliseconds": round(played_ms),
            "interrupted": played_ms < said_ms,
        }
        id_ = self._files.pop(item)
        if id_ is not None:
            data["id"] = id_
        return (json.dumps({"type": "playDone", "data": data}),)

    def _first(self, call: CallFacts) -> dict[str, Any]:
        settings = self._settings
        told: dict[str, Any] = {
            "sampleRate": settings.sample_rate,
            "mixType": settings.mix_type,
            "callSid": _uuid(call.token),
            "direction": "outbound" if call.is_outbound else "inbound",
            "from": call.caller,
            "to": call.called,
            "callId": call.id,
        }
        if settings.dialect == "listen":
            told |= {
                "sbcCallid": call.id,
                "sipStatus": 200,
                "sipReason": "OK",
                "callStatus": "in-progress",
                "callerId": call.caller,
                "accountSid": _uuid(call.token),
                "applicationSid": _uuid(call.token),
                "traceId": call.token,
            }
        if call.attributes:
            told["customerData"] = dict(call.attributes)
        return told | dict(settings.metadata)

    def _new_name(self, kind: str) -> str:
        self._numbers += 1
        return f"{kind}{self._numbers}"


def _read_audio(kind: object, content: object, rate: object) -> tuple[bytes, AudioFormat]:
    """The PCM of a file in JSON.

    Raises:
        ValueError: it is none that is played; in words of ours.
    """
    if not isinstance(content, str):
        raise ValueError("audio has no content")
    data = decode_audio(content)
    if data is None:
        raise ValueError("audio is not base64")
    if kind == "raw":
        if rate not in RAW_RATES:
            raise ValueError("raw audio has a sampleRate of 8, 16, 24, 32, 48 or 64 kHz")
        assert isinstance(rate, int)
        return data, AudioFormat(rate)
    if kind == "wav":
        return _read_wav(data)
    raise ValueError("audio is raw or wav; nothing else is played")


def _read_wav(data: bytes) -> tuple[bytes, AudioFormat]:
    try:
        with wave.open(io.BytesIO(data)) as file:
            channels, width, rate = file.getnchannels(), file.getsampwidth(), file.getframerate()
            audio = file.readframes(len(data))
    except (wave.Error, EOFError, OSError):
        raise ValueError("a WAV cannot be read") from None
    if width != 2 or channels not in (1, 2) or rate not in RAW_RATES:
        raise ValueError("a WAV has 16 bits, one channel or two, and 8 to 64 kHz")
    if channels == 2:
        both = np.frombuffer(audio[: len(audio) // 4 * 4], "<i2").reshape(-1, 2)
        audio = both.mean(axis=1).astype("<i2").tobytes()
    return audio, AudioFormat(rate)


def _uuid(token: str) -> str:
    return "-".join((token[:8], token[8:12], token[12:16], token[16:20], token[20:]))

"""Asterisk's chan_websocket (`channels/chan_websocket.c`): we are Asterisk, the agent is its app.

Binary messages are raw audio in the channel's codec, both ways; text messages are commands of the
app and events of ours, in plain text or, from Asterisk 20.18, 22.8 and 23.2 on, in JSON.

As there, FLUSH_MEDIA forgets marks without a word. What else clears the queue (somebody talks,
whoever listened leaves) acknowledges them: nobody waits for a mark that will not come.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

from gateway.agents.event import AgentEvent, DigitHeard, Interrupted, QueueState
from gateway.agents.protocol import (
    AgentAddress,
    Answer,
    AudioFormat,
    CallFacts,
    Clear,
    Done,
    Mark,
    Message,
    Opening,
    Pause,
    Player,
    Ready,
    Reply,
    Resume,
    Say,
    Wish,
    Wrong,
)
from gateway.agents.wire_json import read_object
from gateway.codec import G722, OPUS, PCMA, PCMU
from gateway.media.playout import Cleared, MarkReached

IS_STREAM = False

NEEDS_URL = False
"Without one a call waits at /media/ID, as at an Asterisk, for its agent to dial in."

SUBPROTOCOL = "media"

PTIME_MS = 20

XON_LEVEL, XOFF_LEVEL = 800, 900
"Frames in Asterisk's queue at which it lets the app go on, and at which it asks it to stop."

MAX_TEXT = 128
"Characters of a plain command; Asterisk reads no more."

MAX_JSON_TEXT = 4096
"Characters of a JSON command: an id, and room around it."

MAX_ID = 64
"Characters of a correlation id."

FORMATS = {
    "ulaw": AudioFormat(8000, PCMU, PTIME_MS),
    "alaw": AudioFormat(8000, PCMA, PTIME_MS),
    "g722": AudioFormat(16_000, G722, PTIME_MS),
    "opus": AudioFormat(48_000, OPUS, PTIME_MS),
    "slin": AudioFormat(8000, None, PTIME_MS),
    "slin12": AudioFormat(12_000, None, PTIME_MS),
    "slin16": AudioFormat(16_000, None, PTIME_MS),
    "slin24": AudioFormat(24_000, None, PTIME_MS),
    "slin48": AudioFormat(48_000, None, PTIME_MS),
}
"Asterisk's names of formats."

FRAME_BYTES = {
    name: 160 if format_.codec is not None else format_.rate // 1000 * PTIME_MS * 2
    for name, format_ in FORMATS.items()
}
"optimal_frame_size: 20 ms; of opus, which has no such size, it is a word only."

_MEDIA_WORDS = frozenset(
    (
        "START_MEDIA_BUFFERING",
        "STOP_MEDIA_BUFFERING",
        "MARK_MEDIA",
        "FLUSH_MEDIA",
        "REPORT_QUEUE_DRAINED",
        "PAUSE_MEDIA",
        "CONTINUE_MEDIA",
    )
)
"Not in passthrough: there is no queue then."

_WORDS = _MEDIA_WORDS | {"ANSWER", "HANGUP", "GET_STATUS", "SET_MEDIA_DIRECTION"}


@dataclass(frozen=True, slots=True)
class Settings:
    """`[agent.settings]` of a chan_websocket agent: the options of Asterisk's Dial."""

    codec: Literal[
        "ulaw", "alaw", "g722", "opus", "slin", "slin12", "slin16", "slin24", "slin48"
    ] = "ulaw"
    "c(): format of the audio both ways."
    no_auto_answer: bool = False
    "n: the call is answered when the agent says ANSWER; else when it is connected."
    passthrough: bool = False
    "p: no commands for media; always so with opus."
    params: Mapping[str, str] = field(default_factory=dict)
    "v(): put behind the URL, as ?name=value."
    direction: Literal["both", "in", "out"] = "both"
    "d(): what the agent does, as it sees it: in, it only hears; out, it only speaks."
    format: Literal["plain-text", "json"] = "plain-text"
    "f(): how events and commands are written."
    variables: Mapping[str, str] = field(default_factory=dict)
    "channel_variables of MEDIA_START, in JSON."


def opening(address: AgentAddress, settings: Settings, call: CallFacts) -> Opening:
    """A WebSocket for `media`, with Basic authentication where a username is configured."""
    headers: tuple[tuple[str, str], ...] = ()
    if address.username:
        password = "" if address.secret is None else address.secret.value
        pair = b64encode(f"{address.username}:{password}".encode()).decode()
        headers = (("Authorization", f"Basic {pair}"),)
    url = address.url
    if not url:
        return Opening(f"/media/{_uuid(call.token)}")
    if settings.params:
        parts = urlsplit(url)
        query = "&".join(filter(None, (parts.query, urlencode(settings.params))))
        url = urlunsplit(parts._replace(query=query))
    return Opening(url, headers, (SUBPROTOCOL,))


def make(settings: Settings) -> Asterisk:
    """One conversation."""
    return Asterisk(settings)


class Asterisk:
    """Asterisk's side of one connection."""

    def __init__(self, settings: Settings) -> None:
        self.heard = self.said = FORMATS[settings.codec]
        self.tells_ready = settings.no_auto_answer
        self._settings = settings
        self._is_json = settings.format == "json"
        self._is_passthrough = settings.passthrough or settings.codec == "opus"
        self._direction: str = settings.direction
        self._player: Player | None = None
        self._channel = ""
        self._is_buffering = False
        self._waits_for_drain = False
        self._is_full = False
        self._numbers = 0
        self._marks: dict[str, tuple[str, str]] = {}
        "The event that each mark of ours brings, and its correlation id."

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        self._player = player
        token = call.token
        self._channel = f"{call.id}.{call.stream}"
        told = {
            "connection_id": _uuid(token),
            "channel": f"WebSocket/{call.agent}/{token[:8]}",
            "channel_id": self._channel,
            "format": self._settings.codec,
            "optimal_frame_size": FRAME_BYTES[self._settings.codec],
            "ptime": PTIME_MS,
        }
        if self._is_json:
            variables = {**call.attributes, **self._settings.variables}
            told |= {"channel_variables": variables}
        return (self._event("MEDIA_START", told),)

    def hear(self, audio: bytes) -> Message | None:
        return None if self._direction == "out" else audio

    def receive(self, message: Message) -> Iterable[Wish]:
        if isinstance(message, bytes):
            return self._say(message)
        word, id_, direction = self._read(message)
        if word not in _WORDS:
            return self._refuse("unknown command")
        if self._is_passthrough and word in _MEDIA_WORDS:
            return self._refuse("no command for media in passthrough mode")
        return self._obey(word, id_, direction)

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        match event:
            case DigitHeard(digit):
                told = {"digit": digit}
                return (self._event("DTMF_END", self._of_channel(told) if self._is_json else told),)
            case MarkReached(name):
                return self._acknowledge((name,))
            case Cleared(marks=marks) | Interrupted(cleared=Cleared(marks=marks)):
                return self._acknowledge(marks)
            case QueueState(is_full):
                if is_full != self._is_full:
                    self._is_full = is_full
                    return (self._plain_event("MEDIA_XOFF" if is_full else "MEDIA_XON"),)
        return ()

    def close(self, reason: str) -> Iterable[Message]:
        """Asterisk just closes the socket."""
        return ()

    # ---- what it asks

    def _read(self, text: str) -> tuple[str, str, str]:
        """Command, correlation id and direction; an empty command where it is none."""
        if not self._is_json:
            words = text[:MAX_TEXT].split()
            return (words[0], words[1] if len(words) > 1 else "", "") if words else ("", "", "")
        told = read_object(text) if len(text) <= MAX_JSON_TEXT else None
        if told is None:
            return "", "", ""
        values = [told.get(key) for key in ("command", "correlation_id", "direction")]
        word, id_, direction = (value if isinstance(value, str) else "" for value in values)
        return word, id_, direction

    def _say(self, audio: bytes) -> Iterable[Wish]:
        if self._direction == "in":
            return ()
        if not self._waits_for_drain:
            return (Say(audio),)
        # Drained is the queue behind all that is said: each piece puts it off.
        self._forget("QUEUE_DRAINED")
        return (Say(audio), self._mark("QUEUE_DRAINED"))

    def _obey(self, word: str, id_: str, direction: str) -> Iterable[Wish]:
        wishes: Iterable[Wish] = ()
        match word:
            case "ANSWER":
                wishes = (Ready(), Answer()) if self.tells_ready else (Answer(),)
            case "HANGUP":
                wishes = (Clear(), Done())
            case "START_MEDIA_BUFFERING":
                self._is_buffering = True
            case "STOP_MEDIA_BUFFERING":
                self._is_buffering = False
                wishes = (self._mark("MEDIA_BUFFERING_COMPLETED", id_),)
            case "MARK_MEDIA":
                wishes = (self._mark("MEDIA_MARK_PROCESSED", id_),)
            case "FLUSH_MEDIA":
                wishes = self._flush()
            case "GET_STATUS":
                wishes = (Reply(self._status()),)
            case "REPORT_QUEUE_DRAINED":
                self._waits_for_drain = True
                wishes = (self._mark("QUEUE_DRAINED"),)
            case "PAUSE_MEDIA":
                wishes = (Pause(),)
            case "CONTINUE_MEDIA":
                wishes = (Resume(),)
            case "SET_MEDIA_DIRECTION":
                if direction not in ("both", "in", "out"):
                    return self._refuse("direction is both, in or out")
                self._direction = direction
        return wishes

    def _flush(self) -> Iterable[Wish]:
        self._is_buffering = False
        self._marks.clear()
        return (Clear(), self._mark("QUEUE_DRAINED")) if self._waits_for_drain else (Clear(),)

    def _refuse(self, why: str) -> Iterable[Wish]:
        told = {"error_text": why}
        if self._is_json:
            told = self._of_channel(told)
        return (Reply(self._event("ERROR", told)), Wrong(why))

    # ---- what it is told

    def _mark(self, event: str, id_: str = "") -> Mark:
        self._numbers += 1
        name = f"{self._numbers}"
        self._marks[name] = (event, id_[:MAX_ID])
        return Mark(name)

    def _forget(self, event: str) -> None:
        self._marks = {name: told for name, told in self._marks.items() if told[0] != event}

    def _acknowledge(self, names: Iterable[str]) -> Iterable[Message]:
        reached = [self._marks.pop(name) for name in names if name in self._marks]
        messages = []
        for event, id_ in reached:
            if event == "QUEUE_DRAINED":
                self._waits_for_drain = False
                messages.append(self._plain_event(event))
            elif self._is_json:
                told = {"correlation_id": id_} if id_ else {}
                messages.append(self._event(event, self._of_channel(told)))
            else:
                messages.append(f"{event} {id_}".rstrip())
        return messages

    def _status(self) -> str:
        player = self._player
        assert player is not None
        told: dict[str, Any] = {
            "queue_length": int(player.queued_ms / PTIME_MS),
            "xon_level": XON_LEVEL,
            "xoff_level": XOFF_LEVEL,
            "queue_full": self._is_full,
            "bulk_media": self._is_buffering,
            "media_paused": player.is_paused,
        }
        return self._event("STATUS", self._of_channel(told) if self._is_json else told)

    def _plain_event(self, event: str) -> str:
        return self._event(event, self._of_channel({}) if self._is_json else {})

    def _of_channel(self, told: Mapping[str, Any]) -> dict[str, Any]:
        return {"channel_id": self._channel, **told}

    def _event(self, event: str, told: Mapping[str, Any]) -> str:
        if self._is_json:
            return json.dumps({"event": event, **told})
        return " ".join([event, *(f"{key}:{_word(value)}" for key, value in told.items())])


def _uuid(token: str) -> str:
    return "-".join((token[:8], token[8:12], token[12:16], token[16:20], token[20:]))


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

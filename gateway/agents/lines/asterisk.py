"""chan_websocket from an Asterisk: `Dial(WebSocket/NAME/…)` hands us a call, and we are its app.

It says MEDIA_START first, in plain text or in JSON, and is answered in the same. Keys go to it as
sound: it has no word for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.agents.lines.line import Begun, Broken, Flow, LineEvent, Pressed, Said
from gateway.agents.protocol import AudioFormat, Message
from gateway.agents.wire.asterisk import FORMATS
from gateway.agents.wire_json import read_object

MAX_TEXT = 16 * 1024
"Characters of an event: MEDIA_START in JSON has the channel's variables."

MAX_VARIABLES = 32
"Channel variables that are kept; those of a dialplan are few."

MAX_VALUE = 256
"Characters of the name and of the value of one."

_DIGITS = frozenset("0123456789*#ABCD")
_KNOWN = frozenset(
    (
        "MEDIA_MARK_PROCESSED",
        "MEDIA_BUFFERING_COMPLETED",
        "QUEUE_DRAINED",
        "STATUS",
        "ERROR",
        "DTMF_END",
    )
)


class AsteriskLine:
    """Our side of one connection."""

    def __init__(self) -> None:
        self.heard = AudioFormat(8000)
        self._is_json = False
        self._has_begun = False

    def receive(self, message: Message) -> Iterable[LineEvent]:
        if isinstance(message, bytes):
            if not self._has_begun:
                return (Broken("audio came before MEDIA_START"),)
            return (Said(message, self.heard),) if message else ()
        event, told = self._read(message[:MAX_TEXT])
        if not self._has_begun:
            return (self._begin(event, told),)
        if event in ("MEDIA_XOFF", "MEDIA_XON"):
            return (Flow(event == "MEDIA_XON"),)
        if event == "DTMF_END" and told.get("digit") in _DIGITS:
            return (Pressed(str(told["digit"])),)
        return () if event in _KNOWN else (Broken("an event that is not known"),)

    def hear(self, audio: bytes) -> bytes:
        return audio

    def answer(self) -> Iterable[Message]:
        return (self._command("ANSWER"),)

    def hang_up(self) -> Iterable[Message]:
        return (self._command("HANGUP"),)

    def _begin(self, event: str, told: Mapping[str, Any]) -> LineEvent:
        if event != "MEDIA_START":
            return Broken("the first event is not MEDIA_START")
        format_ = FORMATS.get(str(told.get("format")))
        if format_ is None:
            return Broken("the channel's format is none that is spoken here")
        self.heard = format_
        self._has_begun = True
        variables = told.get("channel_variables")
        channel = str(told.get("channel_id", ""))[:MAX_VALUE]
        return Begun(
            channel if channel.isprintable() else "",
            _read_variables(variables if isinstance(variables, dict) else {}),
        )

    def _read(self, text: str) -> tuple[str, Mapping[str, Any]]:
        if text.startswith("{"):
            told = read_object(text) or {}
            event = told.get("event")
            # It is answered as it speaks.
            self._is_json = True
            return (event if isinstance(event, str) else ""), told
        event, *words = text.split() or [""]
        pairs = (word.partition(":") for word in words)
        return event, {key: value for key, _, value in pairs}

    def _command(self, word: str) -> str:
        return json.dumps({"command": word}) if self._is_json else word


def _read_variables(told: Mapping[str, Any]) -> dict[str, str]:
    pairs = list(told.items())[:MAX_VARIABLES]
    return {
        key[:MAX_VALUE]: value[:MAX_VALUE]
        for key, value in pairs
        if isinstance(value, str) and value.isprintable() and key.isprintable()
    }

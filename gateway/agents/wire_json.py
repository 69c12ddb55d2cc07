"""Reading and writing JSON messages whose audio is base64: what several wire protocols share.

Whatever a peer sends is judged, never raised: an object, or None.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from typing import Any, NoReturn

MAX_NAME_CHARS = 1024
"Of a mark: a thousand may wait (`playout.MAX_MARKS`), and each comes back as it was sent."

MAX_TEXT_CHARS = 700_000
"""Longest message that is parsed: a minute of G.711 in base64, and room for the rest. Of nothing
but brackets it holds everything up for 30 ms."""

MAX_LESSONS = 8
"A peer whose messages differ in more than their payload is not studied for longer than that."


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON (RFC 8259 §6)")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def read_object(text: str) -> dict[str, Any] | None:
    """A JSON object; None for anything else, however deep it is, and for what is too long."""
    if len(text) > MAX_TEXT_CHARS:
        return None
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def read_part(message: dict[str, Any], key: str) -> dict[str, Any]:
    """An object within an object; an empty one where there is none."""
    part = message.get(key)
    return part if isinstance(part, dict) else {}


def read_name(part: dict[str, Any], key: str = "name") -> str:
    """The name of a mark; empty where there is none, or one that is too long to keep."""
    name = part.get(key)
    return name if isinstance(name, str) and len(name) <= MAX_NAME_CHARS else ""


def decode_audio(payload: str) -> bytes | None:
    """What base64 says; None where it is not (RFC 4648 §4, padded, without line breaks)."""
    try:
        return a2b_base64(payload, strict_mode=True)
    except ValueError:
        return None


def encode_audio(audio: bytes) -> str:
    """In base64: letters, digits, `+`, `/` and `=`, which JSON takes as they are."""
    return b2a_base64(audio, newline=False).decode("ascii")


class PayloadReader:
    """Reads a message that differs from an earlier one only in its payload, without parsing it.

    Agents write every message of audio by the same template. What surrounds the payload is kept
    from one that was parsed; where it is the same, and between stands nothing but base64, so is
    the meaning. A third of the time of a parser, for a frame of 20 ms.
    """

    __slots__ = ("_lessons", "_prefix", "_suffix")

    def __init__(self) -> None:
        self._prefix = ""
        self._suffix = ""
        self._lessons = 0

    def read(self, text: str) -> bytes | None:
        """The payload's audio; None: the message has to be parsed."""
        prefix, suffix = self._prefix, self._suffix
        if not prefix or not (text.startswith(prefix) and text.endswith(suffix)):
            return None
        return decode_audio(text[len(prefix) : -len(suffix)]) or None

    def learn(self, text: str, payload: str) -> None:
        """Take a message that was parsed, and whose payload was base64, as the template."""
        if self._lessons >= MAX_LESSONS:
            return
        self._lessons += 1
        quoted = f'"{payload}"'
        prefix, found, suffix = text.partition(quoted)
        # Without escapes a string stands in the text as it reads, and one that stands there once
        # is that one: what may stand between two strings of JSON is not in base64's alphabet.
        if found and quoted not in suffix and "\\" not in text:
            self._prefix, self._suffix = prefix + '"', '"' + suffix


class Counter:
    """Numbers of messages, from 1."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> int:
        """One more."""
        self.last += 1
        return self.last

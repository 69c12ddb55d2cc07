"""SIP on a byte stream: where a message ends and the next begins (RFC 3261 §18.3, RFC 5626 §4.4).

What makes the length of a message doubtful ends the stream: nothing behind it is ever read as a
message, or a body could smuggle one in.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NoReturn

from gateway.sip.grammar import TOKEN
from gateway.sip.message import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    Message,
    MessageError,
    Request,
    parse_head,
)

CRLF = b"\r\n"
END_OF_HEAD = b"\r\n\r\n"


class KeepAlive(Enum):
    """What may stand between two messages (RFC 5626 §3.5.1)."""

    PING = b"\r\n\r\n"
    "Asks whether we are there: answered by a pong."
    PONG = b"\r\n"
    "Answers a ping of ours."


# Every line a header whose name is a token, or the continuation of one; no CR or LF alone.
_NAME = rb"[" + re.escape(TOKEN) + rb"]++"
_HEAD = re.compile(rb"[^\r\n]++(?:\r\n(?:" + _NAME + rb"[ \t]*+:[^\r\n]*+|[ \t][^\r\n]*+))*+")
_LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*+:([^\r\n]*+)(?>(\r\n[ \t])?)", re.IGNORECASE)
_DIGITS = re.compile(rb"[0-9]{1,9}+")


class StreamFramer:
    """Bytes of one connection in, whole messages out; however the bytes are cut.

    Its owner feeds what arrives and then asks for what is complete, as often as it likes: what it
    does not ask for stays, so it stops feeding meanwhile.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # up to here no end was found
        self._is_start_known = False
        self._needed = 0  # bytes of the message, once its head is known
        self._is_half_ping = False
        self._is_pong_due = False
        self._is_broken = False

    @property
    def is_within_message(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._buffer) and self._buffer != b"\r"

    def expect_pong(self) -> None:
        """A ping of ours was sent: the next single CRLF between messages is its answer."""
        self._is_pong_due = True

    def feed(self, data: bytes) -> None:
        """Take what came next."""
        if not self._is_broken:
            self._buffer += data

    def next(self) -> bytes | KeepAlive | None:
        """The next message, or what was between two; None: more bytes are needed.

        Raises:
            MessageError: the stream cannot be trusted any further, and is to be closed. With the
                request to answer before, if there is one.
        """
        try:
            if not self._needed and (between := self._skip_crlf()) is not None:
                return between
            return self._take_message() if self._has_message() else None
        except MessageError:
            self._is_broken = True
            self._buffer.clear()
            raise

    def _skip_crlf(self) -> KeepAlive | None:
        """Take away what is between messages, to the next keep-alive."""
        while self._buffer.startswith(CRLF):
            is_double = self._buffer.startswith(KeepAlive.PING.value)
            del self._buffer[:2]
            if self._is_pong_due and not is_double and not self._is_half_ping:
                self._is_pong_due = False
                return KeepAlive.PONG
            self._is_half_ping = not self._is_half_ping
            if not self._is_half_ping:
                return KeepAlive.PING
        return None

    def _has_message(self) -> bool:
        if not self._needed and self.is_within_message:
            self._is_half_ping = False
            self._needed = self._find_end()
        return 0 < self._needed <= len(self._buffer)

    def _take_message(self) -> bytes:
        message = bytes(memoryview(self._buffer)[: self._needed])
        del self._buffer[: self._needed]
        self._needed = self._searched = 0
        self._is_start_known = False
        return message

    def _find_end(self) -> int:
        """How long the message is that the buffer begins with; 0: not known yet."""
        buffer = self._buffer
        if not self._is_start_known:
            self._is_start_known = self._check_start()
        searched, self._searched = self._searched, len(buffer)
        if not self._is_start_known:
            return 0
        end = buffer.find(END_OF_HEAD, max(0, searched - 3), MAX_HEAD_BYTES + 4)
        if end >= 0:
            return end + 4 + _body_length(bytes(memoryview(buffer)[:end]))
        if len(buffer) >= MAX_HEAD_BYTES + 4:
            _refuse(bytes(memoryview(buffer)[: MAX_HEAD_BYTES + 1]), "endless headers", 513)
        return 0

    def _check_start(self) -> bool:
        """Whether the first line is there. What is no SIP at all is not waited for to its end."""
        buffer = self._buffer
        end = buffer.find(CRLF, max(0, self._searched - 1))
        if end < 0 and len(buffer) <= MAX_LINE_BYTES:
            return False
        start = bytes(memoryview(buffer)[: end if 0 <= end <= MAX_LINE_BYTES else MAX_LINE_BYTES])
        if b"SIP/" not in start.upper():
            raise MessageError(f"not SIP: {start[:20]!r}")
        if not 0 <= end <= MAX_LINE_BYTES:
            raise MessageError("a first line without an end", status=513)
        return True


def _body_length(head: bytes) -> int:
    """What Content-Length says, where nothing about it can be misread.

    Raises:
        MessageError: it says nothing, or too much, or the head is not to be trusted.
    """
    lines = head.split(CRLF)
    is_small = len(lines) <= MAX_HEADERS and max(map(len, lines)) <= MAX_LINE_BYTES
    if is_small and _HEAD.fullmatch(head):
        found = _LENGTH.findall(head)
        if len(found) == 1 and not found[0][1]:
            digits = found[0][0].strip(b" \t")
            if _DIGITS.fullmatch(digits):
                return _check_length(head, int(digits))
    # Anything unusual is for the parser to judge, which also knows whom to answer.
    message, length = parse_head(head)
    if length is None:
        raise MessageError("no Content-Length on a stream", request=_answerable(message))
    return _check_length(head, length)


def _check_length(head: bytes, length: int) -> int:
    if length > MAX_BODY_BYTES:
        _refuse(head, f"body of {length} bytes", 413)
    return length


def _refuse(head: bytes, why: str, status: int) -> NoReturn:
    message, _ = parse_head(head)
    raise MessageError(why, status=status, request=_answerable(message))


def _answerable(message: Message) -> Request | None:
    return message if isinstance(message, Request) and message.method != "ACK" else None

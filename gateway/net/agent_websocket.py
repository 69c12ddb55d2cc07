"""A WebSocket to an agent: websockets' sans-I/O protocol under a connection (RFC 6455).

Nothing is compressed: audio would only cost time. Pings go out every 5 s, and a peer that leaves
two of them unanswered is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import WebSocketURI

from gateway.net.agent_connection import SILENT_S, ConnectError, Connection, Lost, Message
from gateway.net.agent_frames import BINARY, OTHER, TEXT, FrameReader, write_frame
from gateway.net.destination import Pinned

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"Largest message taken: the longest queue is 60 s, and 60 s of 48 kHz PCM in base64 are 7.7 MB."

MAX_HEAD_BYTES = 16 * 1024
"Longest answer to a handshake."

MAX_UNREAD_ANSWERS_BYTES = 16 * 1024
"Of our answers to pings that wait for a peer that does not read: 100 as long as they may be."

PING_S = SILENT_S / 2
"Between two pings."

_EARLY_S = 0.001
"Loops call so much too early, as their clocks are coarse."

_NORMAL, _LEAVING = 1000, 1001
_FINISHED = (_NORMAL, 1005)
"The close codes of who has finished: said so, or said nothing (RFC 6455 §7.4.1)."

# Frames and handshakes hold secrets and people's words: the library may log none, at any level.
_SILENT = logging.getLogger("gateway.net.agent_websocket.frames")
_SILENT.setLevel(logging.CRITICAL + 1)


class WebSocketConnection(Connection):
    """A WebSocket that we have opened."""

    def __init__(
        self,
        pinned: Pinned,
        headers: Sequence[tuple[str, str]],
        subprotocols: Sequence[str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop)
        path, _, query = pinned.target.partition("?")
        uri = WebSocketURI(
            pinned.is_secure, pinned.host, pinned.port, path, query, username=None, password=None
        )
        names: Any = list(subprotocols) or None
        self._protocol = ClientProtocol(
            uri, subprotocols=names, max_size=MAX_MESSAGE_BYTES, logger=_SILENT
        )
        self._headers = headers
        self._head = b""
        self._is_open = self._is_refused = False
        self._reader = FrameReader(MAX_MESSAGE_BYTES)
        self._part: bytearray | None = None
        "What came so far of a message in pieces; the library counts its bytes."
        self._is_text = False
        self._unread_answers = 0
        "Bytes, since the peer stopped reading."
        self._answered_at = 0.0
        "When a ping was last answered."

    @property
    def subprotocol(self) -> str | None:
        """The one that the agent chose."""
        return self._protocol.subprotocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        request = self._protocol.connect()
        for name, value in self._headers:
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()

    def resume_writing(self) -> None:
        self._unread_answers = 0
        super().resume_writing()

    def eof_received(self) -> None:
        with suppress(EOFError):
            self._protocol.receive_eof()
        self._flush()

    def _take(self, data: bytes) -> None:
        if not self._is_open:
            self._take_answer(data)
            return
        for kind, payload in self._reader.feed(data):
            if self._lost is not None:
                return
            if kind == OTHER:
                self._take_other(payload)
            elif self._part is not None:
                self._protocol.fail(CloseCode.PROTOCOL_ERROR, "in the middle of another message")
                self._flush()
                self._lose(Lost(False, "the agent broke the WebSocket protocol"))
            else:
                self._on_data(payload, is_text=kind == TEXT)

    def _take_answer(self, data: bytes) -> None:
        """The answer to the handshake, which ends with an empty line; then come frames."""
        head = self._head + data
        end = head.find(b"\r\n\r\n") + 4
        if end < 4 and len(head) <= MAX_HEAD_BYTES and not self._is_refused:
            self._head = head
            return
        if self._is_refused or end < 4:
            end = len(head)
        self._head = b""
        self._take_other(head[:end])
        self._is_open = self._protocol.state is State.OPEN
        self._is_refused = not self._is_open
        if end < len(head) and self._lost is None:
            self._take(head[end:])

    def _take_other(self, data: bytes) -> None:
        """By the library: all that is no plain message."""
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Frame):
                self._on_frame(event)
            elif isinstance(event, Response):
                self._on_response()
        if protocol.writes:
            self._flush()
        if protocol.parser_exc is not None:
            self._lose(Lost(False, "the agent broke the WebSocket protocol"))
        elif protocol.handshake_exc is not None:
            self._on_response()

    def _on_response(self) -> None:
        if self.opened.done():
            return
        error = self._protocol.handshake_exc
        if error is None:
            self._answered_at = self._loop.time()
            self._timer = self._loop.call_later(PING_S, self._ping)
            self.opened.set_result(None)
        elif isinstance(error, InvalidStatus):
            status = error.response.status_code
            is_final = 300 <= status < 500 and status not in (408, 429)
            self.opened.set_exception(
                ConnectError(f"the agent answered {status}", is_final=is_final)
            )
        else:
            self.opened.set_exception(
                ConnectError("the agent did not answer as a WebSocket", is_final=True)
            )

    def _on_frame(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.PONG:
            self._answered_at = self._loop.time()
        elif opcode is Opcode.CLOSE:
            received = self._protocol.close_rcvd
            code = None if received is None else received.code
            self._flush()
            why = f"the agent closed the connection ({code})"
            self._lose(Lost(code in _FINISHED, why, is_leaving=code == _LEAVING))
        elif opcode is Opcode.PING:
            pass  # answered by the library
        elif frame.fin and self._part is None:
            self._on_data(bytes(frame.data), is_text=opcode is Opcode.TEXT)
        else:
            if self._part is None:
                self._part, self._is_text = bytearray(), opcode is Opcode.TEXT
            self._part += frame.data
            if frame.fin:
                whole, self._part = bytes(self._part), None
                self._on_data(whole, is_text=self._is_text)

    def _on_data(self, data: bytes, *, is_text: bool) -> None:
        if not is_text:
            self._hand_over(data)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError:
            self._lose(Lost(False, "the agent sent text that is none"))
        else:
            self._hand_over(text)

    def _write(self, message: Message) -> None:
        if self._protocol.state is not State.OPEN:
            return
        if self._transport is None or self._transport.is_closing():
            return
        if isinstance(message, str):
            self._transport.write(write_frame(TEXT, message.encode()))
        else:
            self._transport.write(write_frame(BINARY, message))

    def _say_goodbye(self) -> None:
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(_NORMAL)
            self._flush()
        elif self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        transport = self._transport
        if transport is None:
            return
        for data in self._protocol.data_to_send():
            if transport.is_closing():
                return
            if not data:
                transport.close()
                continue
            transport.write(data)
            if self._is_stopped:
                self._unread_answers += len(data)
        if self._unread_answers > MAX_UNREAD_ANSWERS_BYTES:
            self._lose(Lost(False, "the agent does not read"))

    def _ping(self) -> None:
        """Every 5 s, and 10 s after the last answer."""
        now = self._loop.time()
        if now >= self._answered_at + SILENT_S - _EARLY_S:
            self._lose(Lost(False, "the agent does not answer pings"))
            return
        with suppress(WebSocketException):
            self._protocol.send_ping(b"")
            self._flush()
        at = min(now + PING_S, self._answered_at + SILENT_S)
        self._timer = self._loop.call_at(at, self._ping)

"""Connections to agents: WebSocket and plain TCP, without a task, a queue or a copy for each frame.

    send ▸ websockets' sans-I/O protocol ▸ transport.write        in the same callback
    data_received ▸ sans-I/O protocol ▸ on_message                 likewise

What a slow reader leaves waiting is bounded: audio by time, the oldest is dropped (F18); all else
by count, and then the connection ends. Nothing is compressed: audio would only cost time.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import WebSocketURI

from gateway.errors import GatewayError
from gateway.net.destination import Pinned

Message = str | bytes
"A WebSocket's text or binary message; of a TCP stream, bytes as they come."

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"Largest message taken: the longest queue is 60 s, and 60 s of 48 kHz PCM in base64 are 7.7 MB."

PING_S = 5.0
"Between two pings."

SILENT_S = 2 * PING_S
"Without an answer to any for so long a connection counts as lost (F18: two missed)."

SEND_BUFFER_BYTES = 32 * 1024
"""Asked of the system, which takes twice that: what is in there cannot be dropped any more, and
at 24 kHz it is a second already."""

MAX_CONTROL_WAITING = 1000
"Messages other than audio that may wait for a slow reader: as many as marks may be pending."

MAX_AUDIO_WAITING = 100
"Audio messages that may wait, where nobody says otherwise: 2 s of 20 ms."

MAX_EARLY = 100
"Messages that may come before anybody reads: an agent's greeting, in pieces."

SLICE_BYTES = 2048
"Read at once, before the time is looked at: 700 messages of one byte are 10 ms of work."

TURN_S, REST_S = 0.003, 0.007
"""How long one connection is read for in one go, and how long the others then have: a flood costs
a third of the process, and no packet more than 3 ms (F19)."""

CLOSE_S = 1.0
"How long a peer may take to close its side, before the connection is cut off."

_NORMAL = 1000
_FINISHED = (_NORMAL, 1005)
"The close codes of who has finished: said so, or said nothing (RFC 6455 §7.4.1)."

# Frames and handshakes hold secrets and people's words: the library may log none, at any level.
_SILENT = logging.getLogger("gateway.net.agent_connection.frames")
_SILENT.setLevel(logging.CRITICAL + 1)


class ConnectError(GatewayError):
    """No connection came about. The message is ours, without anything of the peer's."""

    status = 503

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        """`is_final`: it was refused in so many words; to try again is of no use."""
        super().__init__(message)
        self.is_final = is_final


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is gone, and we have not ended it."""

    is_finished: bool
    "The peer closed it in good order: WebSocket's 1000; a stream's end."
    detail: str
    "In fixed words of ours."


class AgentConnection(Protocol):
    """What a connection to an agent offers, whoever opened it."""

    max_audio_waiting: int
    "Audio messages that may wait for a slow reader."

    @property
    def dropped(self) -> int:
        """Audio messages that a slow reader has missed."""

    def start(self, on_message: Callable[[Message], None], on_lost: Callable[[Lost], None]) -> None:
        """Read from now on; what came before is handed over at once. `on_lost` comes once."""

    def send(self, message: Message) -> None:
        """Send at once, or when what waits was sent. Never raises."""

    def send_audio(self, message: Message) -> None:
        """The same for what may be dropped when too much of it waits."""

    def close(self) -> None:
        """End it in good order; `on_lost` does not come any more. Doing it twice is harmless."""


class Connection(asyncio.Protocol):
    """What both kinds have in common: what waits, and the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.max_audio_waiting = MAX_AUDIO_WAITING
        self.dropped = 0
        self.opened: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._on_message: Callable[[Message], None] | None = None
        self._on_lost: Callable[[Lost], None] | None = None
        self._early: list[Message] = []
        self._lost: Lost | None = None
        self._is_over = False
        self._is_stopped = False  # writing
        self._waiting: deque[tuple[bool, Message]] = deque()
        self._audio_waiting = 0
        self._unread: deque[bytes] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    # ---- for who speaks with the agent

    def start(self, on_message: Callable[[Message], None], on_lost: Callable[[Lost], None]) -> None:
        self._on_message, self._on_lost = on_message, on_lost
        early, self._early = self._early, []
        for message in early:
            self._hand_over(message)
        if self._lost is not None and not self._is_over:
            self._is_over = True
            on_lost(self._lost)

    def send(self, message: Message) -> None:
        if self._is_over or self._lost is not None:
            return
        if not self._is_stopped:
            self._write(message)
        elif len(self._waiting) - self._audio_waiting < MAX_CONTROL_WAITING:
            self._waiting.append((False, message))
        else:
            self._lose(Lost(False, "the agent does not read"))

    def send_audio(self, message: Message) -> None:
        if self._is_over or self._lost is not None:
            return
        if not self._is_stopped:
            self._write(message)
            return
        self._waiting.append((True, message))
        self._audio_waiting += 1
        if self._audio_waiting > self.max_audio_waiting:
            self.dropped += 1
            self._drop_oldest()

    def close(self) -> None:
        self._is_over = True
        self._on_message = self._on_lost = None
        self._early.clear()
        self._unread.clear()
        self._waiting.clear()
        self._stop_timers()
        if self._transport is not None and not self._transport.is_closing():
            self._say_goodbye()
            self._timer = self._loop.call_later(CLOSE_S, self._transport.abort)

    # ---- for the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        self._transport = transport
        # One byte that the system does not take, and we keep the rest ourselves, to drop of it.
        transport.set_write_buffer_limits(high=1, low=0)

    def data_received(self, data: bytes) -> None:
        if self._is_over and self._lost is None:
            self._take(data)  # only the peer's own goodbye is waited for
        elif len(data) <= SLICE_BYTES and not self._unread:
            self._take(data)
        else:
            self._unread.append(data)
            if self._reading is None:
                self._read_on()

    def pause_writing(self) -> None:
        self._is_stopped = True

    def resume_writing(self) -> None:
        self._is_stopped = False
        while self._waiting and not self._is_stopped:
            is_audio, message = self._waiting.popleft()
            self._audio_waiting -= is_audio
            self._write(message)

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timers()
        self._lose(Lost(False, "the connection broke" if error else "the connection was closed"))
        if not self.opened.done():
            self.opened.set_exception(ConnectError("the agent closed the connection at once"))

    # ---- inside

    def _take(self, data: bytes) -> None:
        """Understand some bytes."""
        raise NotImplementedError

    def _write(self, message: Message) -> None:
        raise NotImplementedError

    def _say_goodbye(self) -> None:
        """Tell the peer that it is over."""
        raise NotImplementedError

    def _hand_over(self, message: Message) -> None:
        if self._on_message is not None:
            self._on_message(message)
        elif not self._is_over and len(self._early) < MAX_EARLY:
            self._early.append(message)

    def _lose(self, lost: Lost) -> None:
        """It is gone: told once, and not if we have ended it ourselves."""
        if self._is_over or self._lost is not None:
            return
        self._lost = lost
        self._waiting.clear()
        self._unread.clear()
        self._stop_timers()
        if self._transport is not None and not self._transport.is_closing():
            self._timer = self._loop.call_later(CLOSE_S, self._transport.abort)
        if self._on_lost is not None:
            self._is_over = True
            self._on_lost(lost)

    def _drop_oldest(self) -> None:
        self._audio_waiting -= 1
        for at, (is_audio, _) in enumerate(self._waiting):  # what is no audio is rare
            if is_audio:
                del self._waiting[at]
                return

    def _read_on(self) -> None:
        """Read what is there, for as long as it is this connection's turn."""
        self._reading = None
        until = self._loop.time() + TURN_S
        unread = self._unread
        while unread and self._lost is None:
            data = unread.popleft()
            if len(data) > SLICE_BYTES:
                unread.appendleft(data[SLICE_BYTES:])
            self._take(data[:SLICE_BYTES])
            if unread and self._loop.time() >= until:
                self._set_reading(on=False)
                self._reading = self._loop.call_later(REST_S, self._read_on)
                return
        self._set_reading(on=True)

    def _set_reading(self, *, on: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if on:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._reading):
            if timer is not None:
                timer.cancel()
        self._timer = self._reading = None


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
        self._parts: list[bytes] = []
        "Of a message that comes in pieces."
        self._is_text = False
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

    def eof_received(self) -> None:
        with suppress(EOFError):
            self._protocol.receive_eof()
        self._flush()

    def _take(self, data: bytes) -> None:
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
            self._lose(Lost(code in _FINISHED, f"the agent closed the connection ({code})"))
        elif opcode is Opcode.PING:
            pass  # answered by the library
        elif frame.fin and not self._parts:
            self._on_data(bytes(frame.data), is_text=opcode is Opcode.TEXT)
        else:
            if opcode is not Opcode.CONT:
                self._is_text = opcode is Opcode.TEXT
            self._parts.append(bytes(frame.data))
            if frame.fin:
                parts, self._parts = self._parts, []
                self._on_data(b"".join(parts), is_text=self._is_text)

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
        protocol = self._protocol
        if protocol.state is not State.OPEN:
            return
        if isinstance(message, str):
            protocol.send_text(message.encode())
        else:
            protocol.send_binary(message)
        self._flush()

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
            if data:
                transport.write(data)
            else:
                transport.close()

    def _ping(self) -> None:
        """Every 5 s, and 10 s after the last answer."""
        now = self._loop.time()
        if now >= self._answered_at + SILENT_S:
            self._lose(Lost(False, "the agent does not answer pings"))
            return
        with suppress(WebSocketException):
            self._protocol.send_ping(b"")
            self._flush()
        at = min(now + PING_S, self._answered_at + SILENT_S)
        self._timer = self._loop.call_at(at, self._ping)


class StreamConnection(Connection):
    """A TCP stream that we have opened."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.opened.set_result(None)

    def eof_received(self) -> None:
        self._lose(Lost(True, "the agent ended the stream"))

    def _take(self, data: bytes) -> None:
        self._hand_over(data)

    def _write(self, message: Message) -> None:
        assert isinstance(message, bytes)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(message)

    def _say_goodbye(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def connect(
    pinned: Pinned,
    *,
    is_stream: bool,
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
) -> AgentConnection:
    """Connect to an agent at the first of its addresses that takes us.

    The caller limits the time. No redirection is followed: the handshake's answer is 101, or it
    was refused.

    Raises:
        ConnectError: nobody is there, or we were refused.
    """
    loop = asyncio.get_running_loop()
    error = ConnectError("the agent has no address")
    for address in pinned.addresses:
        try:
            opened = await _open_socket(address, pinned.port, loop)
        except OSError as failure:
            error = ConnectError(f"the agent cannot be reached ({failure.strerror or 'no answer'})")
            continue
        return await _speak(opened, pinned, is_stream, headers, subprotocols, loop)
    raise error


async def _speak(
    opened: socket.socket,
    pinned: Pinned,
    is_stream: bool,
    headers: Sequence[tuple[str, str]],
    subprotocols: Sequence[str],
    loop: asyncio.AbstractEventLoop,
) -> Connection:
    """TLS and the handshake over a socket that is connected."""

    def make() -> Connection:
        if is_stream:
            return StreamConnection(loop)
        return WebSocketConnection(pinned, headers, subprotocols, loop)

    try:
        _, connection = await loop.create_connection(
            make,
            sock=opened,
            ssl=_tls() if pinned.is_secure else None,
            server_hostname=pinned.host if pinned.is_secure else None,
        )
    except OSError as failure:
        opened.close()
        why = "its certificate is not good" if isinstance(failure, ssl.SSLError) else "no answer"
        raise ConnectError(f"the agent cannot be reached ({why})") from None
    except BaseException:
        opened.close()
        raise
    try:
        await connection.opened
    except BaseException:
        connection.close()
        raise
    return connection


async def _open_socket(address: str, port: int, loop: asyncio.AbstractEventLoop) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: what was sent and not acknowledged
            unheard_ms = int(SILENT_S * 1000)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unheard_ms)
        await loop.sock_connect(opened, (address, port))
    except BaseException:
        opened.close()
        raise
    return opened


@cache
def _tls() -> ssl.SSLContext:
    """Whom this system trusts (SSL_CERT_FILE says otherwise)."""
    return ssl.create_default_context()

"""A connection to an agent, without a task, a queue or a copy for each frame; plain TCP, too.

    send ▸ transport.write            in the same callback
    data_received ▸ on_message         likewise

What a slow reader leaves waiting is bounded: audio by time, the oldest is dropped (F18); all else
by count, and then the connection ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

from gateway.errors import GatewayError

Message = str | bytes
"A WebSocket's text or binary message; of a TCP stream, bytes as they come."

SILENT_S = 10.0
"Without a sign of life for so long a connection counts as lost (F18: two pings of 5 s missed)."

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
    is_leaving: bool = False
    "The peer closed it because it goes away: WebSocket's 1001."


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
        self._is_over = self._is_closed = False
        self._is_stopped = False  # writing
        self._waiting: deque[tuple[bool, Message]] = deque()
        self._audio_waiting = 0
        self._unread: deque[memoryview] = deque()
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
        if self._is_closed:
            return
        self._is_closed = self._is_over = True
        self._on_message = self._on_lost = None
        self._early.clear()
        self._unread.clear()
        self._waiting.clear()
        self._stop_timers()
        if self._transport is not None:
            if not self._transport.is_closing():
                self._say_goodbye()
            # Also of one that is closing: what a peer does not read would be kept for it.
            self._timer = self._loop.call_later(CLOSE_S, self._transport.abort)

    # ---- for the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's are none by class
        self._transport = transport
        # One byte that the system does not take, and we keep the rest ourselves, to drop of it.
        transport.set_write_buffer_limits(high=1, low=0)

    def data_received(self, data: bytes) -> None:
        if self._lost is not None:
            return  # nobody reads any more, and it is cut off soon
        if self._is_over:
            if len(data) <= SLICE_BYTES:  # only the peer's own goodbye is waited for
                self._take(data)
            elif self._transport is not None:
                self._transport.abort()
        elif len(data) <= SLICE_BYTES and not self._unread:
            self._take(data)
        else:
            self._unread.append(memoryview(data))
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
        self._transport = None
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
        if self._transport is not None:
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
            self._take(bytes(data[:SLICE_BYTES]))
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

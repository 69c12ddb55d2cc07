"""A WebSocket that an agent or a PBX has opened to us, as a connection of `net.agent_connection`.

What is sent waits for the server's turn, bounded as on connections of ours: audio by time, the
oldest is dropped; all else by count, and then the socket is closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from quart import websocket

from gateway.api.outbox import TOO_SLOW, close
from gateway.api.peer_watch import PEER, Peer
from gateway.net.agent_connection import (
    MAX_AUDIO_WAITING,
    MAX_CONTROL_WAITING,
    MAX_EARLY,
    Lost,
    Message,
)

MAX_MESSAGES_PER_S = 2000
"""Forty times as many as speech in frames of 20 ms takes: more is a flood, whose sender is put out
before the server's queue of what we have not read grows."""

MESSAGES_PER_TURN = 32
"Handled in one go, before others have their turn: the server's queue never makes us wait."

PING_S, SILENT_S = 4.0, 7.0
"Between two pings, and how long none may be answered: who is gone is noticed within 10 s (F18)."

LINGER_S = 1.0
"How long what waits may take to be sent, once the socket is to end."

NORMAL, GOING_AWAY = 1000, 1001
"RFC 6455 §7.4.1."


class AudioSocketConnection:
    """One accepted WebSocket: an `AgentConnection`, for as long as `serve` runs."""

    def __init__(self) -> None:
        self.max_audio_waiting = MAX_AUDIO_WAITING
        self.dropped = 0
        self._on_message: Callable[[Message], None] | None = None
        self._on_lost: Callable[[Lost], None] | None = None
        self._early: list[Message] = []
        self._waiting: deque[tuple[bool, Message]] = deque()
        self._audio_waiting = 0
        self._has_more = asyncio.Event()
        self._is_over = False
        self._lost: Lost | None = None
        self._close: tuple[int, str] | None = None
        self._loop = asyncio.get_running_loop()
        self._cut: asyncio.Future[None] = self._loop.create_future()
        "Done when it has ended, and had its time to send what waits."

    @property
    def is_open(self) -> bool:
        """Whether its peer is still there, and we have not ended it."""
        return not self._is_over and self._lost is None

    # ---- AgentConnection

    def start(self, on_message: Callable[[Message], None], on_lost: Callable[[Lost], None]) -> None:
        """Read from now on; called again, another reads on."""
        self._on_message, self._on_lost = on_message, on_lost
        early, self._early = self._early, []
        for message in early:
            self._hand_over(message)
        if self._lost is not None and not self._is_over:
            self._is_over = True
            on_lost(self._lost)

    def send(self, message: Message) -> None:
        if not self.is_open:
            return
        if len(self._waiting) - self._audio_waiting >= MAX_CONTROL_WAITING:
            self.end(TOO_SLOW, "too slow")
            return
        self._waiting.append((False, message))
        self._has_more.set()

    def send_audio(self, message: Message) -> None:
        if not self.is_open:
            return
        self._waiting.append((True, message))
        self._audio_waiting += 1
        if self._audio_waiting > self.max_audio_waiting:
            self._drop_oldest()
        self._has_more.set()

    def close(self) -> None:
        """Send what waits, and end it."""
        self._is_over = True
        self._on_message = self._on_lost = None
        if self._close is None:
            self._finish(NORMAL, "")

    def end(self, code: int, reason: str) -> None:
        """End it, and say why."""
        self._lose(Lost(False, reason))
        self._finish(code, reason)

    # ---- the socket

    async def serve(self) -> None:
        """Carry messages both ways, until either side ends it."""
        peer: Any = websocket.scope.get(PEER)
        works = (self._read(), self._write(), self._watch(peer))
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            await asyncio.wait([*tasks, self._cut], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self._cut.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            code = None if peer is None else peer.close_code
            self._lose(Lost(code == NORMAL, f"the connection was closed ({code})"))
        if self._close is not None:
            await close(*self._close)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _read(self) -> None:
        since, messages = self._loop.time(), 0
        while True:
            message: Message | None = await websocket.receive()
            messages += 1
            if messages % MESSAGES_PER_TURN == 0:
                await asyncio.sleep(0)
            if messages > MAX_MESSAGES_PER_S:
                if self._loop.time() - since < 1:
                    self.end(TOO_SLOW, "too many messages")
                    return
                since, messages = self._loop.time(), 0
            if message:  # an empty binary message comes as None
                self._hand_over(message)

    async def _write(self) -> None:
        while True:
            self._has_more.clear()
            while self._waiting:
                is_audio, message = self._waiting.popleft()
                self._audio_waiting -= is_audio
                await websocket.send(message)
            if self._close is not None:
                return
            await self._has_more.wait()

    async def _watch(self, peer: Peer | None) -> None:
        """Ask the peer whether it is there, for as long as it says so."""
        if peer is None:  # of another server than hypercorn
            await asyncio.shield(self._cut)
            return
        while self._loop.time() < peer.answered_at + SILENT_S:
            next_at = self._loop.time() + PING_S
            # Where nothing can be sent, nothing will be answered.
            with suppress(TimeoutError):
                async with asyncio.timeout_at(next_at):
                    await peer.ping()
            await asyncio.sleep(next_at - self._loop.time())
        self.end(GOING_AWAY, "pings are not answered")

    def _hand_over(self, message: Message) -> None:
        if self._on_message is not None:
            self._on_message(message)
        elif not self._is_over and len(self._early) < MAX_EARLY:
            self._early.append(message)

    def _finish(self, code: int, reason: str) -> None:
        self._close = (code, reason)
        self._has_more.set()
        self._loop.call_later(LINGER_S, self._end_lingering)

    def _end_lingering(self) -> None:
        if not self._cut.done():
            self._cut.set_result(None)

    def _lose(self, lost: Lost) -> None:
        if self._is_over or self._lost is not None:
            return
        self._lost = lost
        self._waiting.clear()
        self._audio_waiting = 0
        if self._on_lost is not None:
            self._is_over = True
            self._on_lost(lost)

    def _drop_oldest(self) -> None:
        self.dropped += 1
        self._audio_waiting -= 1
        for at, (is_audio, _) in enumerate(self._waiting):  # what is no audio is rare
            if is_audio:
                del self._waiting[at]
                return

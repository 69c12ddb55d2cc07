"""What one WebSocket still has to send: bounded, and sent by a task of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from quart import websocket

CLOSE_WITHIN_S = 1.0
"A peer that does not read cannot be told good-bye either: its socket is let go after this."

TOO_SLOW = 1008
"RFC 6455 §7.4.1: a policy was broken."

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """Items on their way to one reader. One that falls too far behind is cut off."""

    def __init__(self, limit: int, describe: Callable[[Item], dict[str, Any]]) -> None:
        """
        Args:
            limit: items that wait at most.
            describe: makes an item JSON, when its turn comes.
        """
        self._describe = describe
        self._waiting: asyncio.Queue[Item] = asyncio.Queue(limit)
        self._is_over = asyncio.Event()
        self._close: tuple[int, str] = (1000, "")

    def put(self, item: Item) -> None:
        """Send it in its turn; nothing once the reader was too slow."""
        if self._is_over.is_set():
            return
        try:
            self._waiting.put_nowait(item)
        except asyncio.QueueFull:
            self.end(TOO_SLOW, "too slow: messages were dropped, connect again")

    def end(self, code: int, reason: str) -> None:
        """Send nothing more, and have the socket closed so."""
        if not self._is_over.is_set():
            self._close = (code, reason)
            self._is_over.set()

    async def serve(self, read: Callable[[], Awaitable[None]]) -> None:
        """Send what is put, until `read` returns, the socket ends, or `end` was called."""
        tasks = [
            asyncio.ensure_future(work) for work in (read(), self._send_all(), self._is_over.wait())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._is_over.is_set():
            await close(*self._close)
            return
        for task in done:
            task.result()

    async def _send_all(self) -> None:
        while True:
            item = await self._waiting.get()
            await websocket.send(json.dumps(self._describe(item)))


async def close(code: int, reason: str) -> None:
    """Close the socket, if its peer still reads."""
    with suppress(TimeoutError):  # the server forgets it when TCP does
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await websocket.close(code, reason)

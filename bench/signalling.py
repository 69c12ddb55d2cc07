"""The page's signalling: JSON over the WebSocket `/v1/signal`, one socket for each call."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

ANSWER_TIMEOUT_S = 15.0


class CallFailedError(Exception):
    """The system under test refused or ended a call."""


class CallSocket:
    """One call's signalling."""

    def __init__(self, name: str, socket: ClientConnection) -> None:
        self._name = name
        self._socket = socket
        loop = asyncio.get_running_loop()
        self._awaited: dict[str, asyncio.Future[dict[str, Any]]] = {
            kind: loop.create_future() for kind in ("answer", "answered")
        }
        self.end_reason: str | None = None
        "Why the system ended the call, once it has."
        self._reader = asyncio.ensure_future(self._read())

    @classmethod
    async def open(cls, name: str, port: int) -> CallSocket:
        """Connect to the system under test; the call will have this name."""
        # As a browser with a server that has no permessage-deflate. No pings: an RTT is not wanted.
        url = f"ws://127.0.0.1:{port}/v1/signal"
        return cls(name, await connect(url, compression=None, ping_interval=None, proxy=None))

    async def place(self, to: str, sdp: str, options: dict[str, Any]) -> dict[str, Any]:
        """Place the call; returns the `answer` message. `options` are for systems of the bench.

        Raises:
            CallFailedError: it was refused, or there was no answer in 15 s.
        """
        message: dict[str, Any] = {"type": "call", "call": self._name, "to": to, "sdp": sdp}
        if options:
            message["options"] = options
        await self._socket.send(json.dumps(message))
        return await self._wait("answer")

    async def reoffer(self, sdp: str) -> dict[str, Any]:
        """Offer anew within the call; returns the `answer` message.

        Raises:
            CallFailedError: it was refused, or there was no answer in 15 s.
        """
        self._awaited["answer"] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps({"type": "offer", "call": self._name, "sdp": sdp}))
        return await self._wait("answer")

    async def answered(self) -> dict[str, Any]:
        """Wait for the callee; returns the `answered` message.

        Raises:
            CallFailedError: it was refused, or there was none in 15 s.
        """
        return await self._wait("answered")

    async def close(self) -> None:
        """Hang up and disconnect."""
        with contextlib.suppress(ConnectionClosed):
            await self._socket.send(json.dumps({"type": "bye", "call": self._name}))
        await self._socket.close()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        for future in self._awaited.values():
            future.cancel()

    async def _wait(self, kind: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await self._awaited[kind]
        except TimeoutError:
            raise CallFailedError(f"no {kind!r} message in {ANSWER_TIMEOUT_S} s") from None

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                self._on_message(json.loads(text))
        except ConnectionClosed:
            pass
        self._fail("the signalling socket was closed")

    def _on_message(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        future = self._awaited.get(str(kind))
        if future is not None and not future.done():
            future.set_result(message)
        elif kind in ("ended", "error"):
            self._fail(str(message.get("text") or message.get("reason") or kind))

    def _fail(self, reason: str) -> None:
        self.end_reason = self.end_reason or reason
        for future in self._awaited.values():
            if not future.done():
                future.set_exception(CallFailedError(reason))
                future.exception()  # whoever waits sees it; nobody has to

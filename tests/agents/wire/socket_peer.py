"""What peers that are WebSocket servers on loopback have in common."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

MAX_BYTES = 16 * 1024 * 1024
"Largest message taken."


class SocketPeer:
    """A server that talks with one gateway at a time; the newest connection is the one."""

    subprotocols: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.socket: ServerConnection | None = None
        self.connections = 0
        self.paths: list[str] = []
        self.authorizations: list[str | None] = []
        self._came = asyncio.Event()

    @asynccontextmanager
    async def running(self, listening: socket.socket | None = None) -> AsyncIterator[str]:
        """Serve on a port of its own, or one that is open; gives the URL."""
        subprotocols = [Subprotocol(name) for name in self.subprotocols] or None
        listening = listening or socket.create_server(("127.0.0.1", 0))
        async with serve(
            self._attend, sock=listening, subprotocols=subprotocols, max_size=MAX_BYTES
        ):
            host, port = listening.getsockname()[:2]
            yield f"ws://{host}:{port}/agent"

    async def connected(self) -> None:
        """Until the gateway has come, and the session has begun."""
        await asyncio.wait_for(self._came.wait(), 5)

    def drop(self) -> None:
        """Abort the TCP connection."""
        assert self.socket is not None
        self._came.clear()
        self.socket.transport.abort()

    def stop_reading(self) -> None:
        """Read nothing any more."""
        assert self.socket is not None
        self.socket.transport.pause_reading()

    async def send(self, message: str | bytes) -> None:
        assert self.socket is not None
        await self.socket.send(message)

    def begin(self) -> None:
        """The session has begun."""
        self._came.set()

    async def on_open(self) -> None:
        """The gateway has connected."""

    async def on_message(self, message: str | bytes) -> None:
        raise NotImplementedError

    async def _attend(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.connections += 1
        assert socket.request is not None
        self.paths.append(socket.request.path)
        self.authorizations.append(socket.request.headers.get("Authorization"))
        try:
            await self.on_open()
            async for message in socket:
                await self.on_message(message)
        except ConnectionClosed:
            pass

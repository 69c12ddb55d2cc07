"""A TCP path that a test can cut, or make swallow everything without a word."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class TcpPath:
    """Carries connections from a port of its own to another."""

    def __init__(self, to_port: int) -> None:
        self.port = 0
        self.opened = 0
        "Connections so far."
        self.is_open = True
        "Whether new ones are carried; else they are reset."
        self._to_port = to_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._swallowed: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Reset every connection there is."""
        for writer in self._writers:
            writer.transport.abort()

    def swallow(self) -> None:
        """Let nothing more through on the connections there are, and say nothing of it."""
        self._swallowed |= self._writers

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        if not self.is_open:
            writer.transport.abort()
            return
        self.opened += 1
        ahead, behind = await asyncio.open_connection("127.0.0.1", self._to_port)
        self._writers |= {writer, behind}
        try:
            await asyncio.gather(self._pump(reader, behind), self._pump(ahead, writer))
        finally:
            for each in (writer, behind):
                self._writers.discard(each)
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if writer not in self._swallowed:
                    writer.write(data)
        if writer not in self._swallowed:
            writer.close()


@asynccontextmanager
async def open_tcp_path(to_port: int, host: str = "127.0.0.1") -> AsyncIterator[TcpPath]:
    """A path from an address of this machine to a port of its loopback."""
    path = TcpPath(to_port)
    server = await asyncio.start_server(path.carry, host, 0)
    path.port = server.sockets[0].getsockname()[1]
    try:
        yield path
    finally:
        server.close()
        path.cut()
        await server.wait_closed()

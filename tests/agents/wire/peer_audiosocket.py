"""An agent that speaks AudioSocket, as one behind an Asterisk does."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PAYLOAD = 65_534

GARBAGE = (
    struct.pack(">BH", 0x02, 3) + b"abc",
    struct.pack(">BH", 0x01, 16) + bytes(16),
    struct.pack(">BH", 0x10, 0),
    struct.pack(">BH", 0xFF, 1) + b"\x01",
)


def peer() -> AudioSocketPeer:
    return AudioSocketPeer()


class AudioSocketPeer:
    """A TCP server at 16 kHz. It has no words for marks and clearing."""

    name = "audiosocket"
    settings: Mapping[str, Any] = {"rate": 16_000}
    can = frozenset({"digits", "hang_up"})
    rate = 16_000
    garbage_kinds = len(GARBAGE)

    def __init__(self) -> None:
        self.digits: list[str] = []
        self.marks: list[tuple[str, str]] = []
        self.uuids: list[bytes] = []
        self.has_hung_up = False
        self._heard: list[bytes] = []
        self._writer: asyncio.StreamWriter | None = None
        self._came = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._attend, "127.0.0.1", 0)
        async with server:
            yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            if self._writer is not None:
                self._writer.transport.abort()

    async def connected(self) -> None:
        await asyncio.wait_for(self._came.wait(), 5)

    def heard(self) -> NDArray[np.int16]:
        return np.frombuffer(b"".join(self._heard), "<i2").astype(np.int16)

    async def say(self, pcm: NDArray[np.int16], chunk_bytes: int | None = None) -> None:
        audio = pcm.astype("<i2").tobytes()
        size = min(chunk_bytes or 640, MAX_PAYLOAD)
        for at in range(0, len(audio), size):
            piece = audio[at : at + size]
            await self._send(struct.pack(">BH", 0x12, len(piece)) + piece)

    async def mark(self, name: str) -> None:
        raise NotImplementedError

    async def clear(self) -> None:
        raise NotImplementedError

    async def garbage(self, kind: int) -> None:
        await self._send(GARBAGE[kind])

    async def hang_up(self) -> None:
        await self._send(b"\x00\x00\x00")

    def drop(self) -> None:
        assert self._writer is not None
        self._came.clear()
        self._writer.transport.abort()

    def stop_reading(self) -> None:
        assert self._writer is not None
        transport = self._writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()

    async def _send(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, size = struct.unpack(">BH", await reader.readexactly(3))
                self._take(kind, await reader.readexactly(size))
        writer.close()

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == 0x01:
            assert len(payload) == 16
            self.uuids.append(payload)
            self._came.set()
        elif kind == 0x03:
            self.digits.append(payload.decode("ascii"))
        elif kind == 0x12:
            self._heard.append(payload)
        else:
            assert (kind, payload) == (0x00, b"")
            self.has_hung_up = True

"""A connection without sockets: two ends whose bytes arrive when the loop gets to it."""

from __future__ import annotations

import asyncio
from typing import Any


class Pipe(asyncio.Transport):
    """One end: what is written to it the protocol of the other end receives."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self.other: Pipe | None = None
        self.is_read = True
        "Whether the other end's reader takes what is written here."
        self.is_reset = False
        self.is_reading_paused = False
        self._waiting = bytearray()
        self._is_closing = self._is_lost = self._has_ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self._has_ended, "written after the end"
        self._waiting += data
        self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Carry what waits to the other end, if it is read there."""
        other = self.other
        if other is None or not self.is_read or other.is_reading_paused:
            return
        data = bytes(self._waiting)
        self._waiting.clear()
        if data and not other._is_closing:
            other._protocol.data_received(data)
        if self._has_ended and not other._is_lost and not other._protocol.eof_received():
            other.close()
        if self._is_closing:
            self._lose()

    def write_eof(self) -> None:
        self._has_ended = True
        self._loop.call_soon(self.flush)

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self.write_eof()

    def abort(self) -> None:
        self.is_reset = self._is_closing = True
        self._loop.call_soon(self._lose)

    def _lose(self) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        self._protocol.connection_lost(None)
        if self.is_reset and self.other is not None and not self.other._is_lost:
            self.other.abort()

    def get_write_buffer_size(self) -> int:
        return len(self._waiting)

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        assert not self.is_reading_paused
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        assert self.is_reading_paused
        self.is_reading_paused = False
        if self.other is not None:
            self._loop.call_soon(self.other.flush)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Far(asyncio.Protocol):
    """The far end of a test: keeps what it hears, says what it is told."""

    def __init__(self) -> None:
        self.heard = b""
        self.is_lost = False
        self.has_ended = False
        self.stays = False
        "Goes on talking when the other end has said its last."
        self.pipe: Pipe

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def eof_received(self) -> bool:
        self.has_ended = True
        return self.stays

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True

    def say(self, data: bytes) -> None:
        """Send."""
        self.pipe.write(data)


def join(loop: asyncio.AbstractEventLoop, near: asyncio.Protocol, far: Far) -> Pipe:
    """Connect two protocols; the near end of it."""
    pipe, far.pipe = Pipe(loop, near), Pipe(loop, far)
    pipe.other, far.pipe.other = far.pipe, pipe
    near.connection_made(pipe)
    return pipe

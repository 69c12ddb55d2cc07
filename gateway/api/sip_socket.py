"""SIP over the WebSocket `/v1/sip` (RFC 7118): phones in browsers, one message in each frame."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from quart import g, websocket

from gateway.api.outbox import TOO_SLOW, close
from gateway.net.connection import Closing
from gateway.net.websocket import WebSocketConnection

MAX_UNSENT_BYTES = 256 * 1024
"Waiting for a phone that does not read; then its socket is closed."

MAX_MESSAGES_PER_S = 100
"More is no phone: its socket is closed."

GOING_AWAY, NORMAL = 1001, 1000
"RFC 6455 §7.4.1."

_CODES = {
    Closing.TOO_SLOW: (TOO_SLOW, "too slow: connect again"),
    Closing.REFUSED: (TOO_SLOW, "not admitted"),
    Closing.NO_MESSAGE: (TOO_SLOW, "nothing was said"),
    Closing.STOPPED: (GOING_AWAY, "the gateway stops"),
}


class SipSockets(Protocol):
    """What is asked of the transports (`gateway.net.transports.SipTransports`)."""

    def adopt_websocket(
        self,
        *,
        local: tuple[str, int],
        remote: tuple[str, int],
        is_secure: bool,
        send: Callable[[bytes], bool],
        close: Callable[[Closing], object],
    ) -> WebSocketConnection:
        """Make it a flow.

        Raises:
            ConnectionRefusedError: its source is not admitted.
        """


async def serve_sip(transports: SipSockets) -> None:
    """Carry SIP between one socket and the transports until either ends it."""
    outbox = _Outbox()
    scope = websocket.scope
    client, server = scope.get("client"), scope.get("server")
    try:
        connection = transports.adopt_websocket(
            local=("127.0.0.1", 80) if server is None else (server[0], server[1] or 80),
            remote=(g.client, 0 if client is None else client[1]),
            is_secure=scope["scheme"] == "wss",
            send=outbox.put,
            close=outbox.end,
        )
    except ConnectionRefusedError:
        await close(*_CODES[Closing.REFUSED])
        return
    try:
        await outbox.serve(connection)
    finally:
        connection.lost()


class _Outbox:
    """What one phone is still to be sent, by a task of its own."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._has_more = asyncio.Event()
        self._ended: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()

    def put(self, data: bytes) -> bool:
        """Send it in its turn; whether there was room."""
        if self._ended.done() or self._waiting_bytes + len(data) > MAX_UNSENT_BYTES:
            return False
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        self._has_more.set()
        return True

    def end(self, why: Closing) -> None:
        """Close the socket."""
        if not self._ended.done():
            self._ended.set_result(why)

    async def serve(self, connection: WebSocketConnection) -> None:
        """Read and send until the socket ends, or is to."""
        tasks: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(work) for work in (self._read(connection), self._send_all())
        ]
        try:
            await asyncio.wait([*tasks, self._ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        if self._ended.done():
            await close(*_CODES.get(self._ended.result(), (NORMAL, "")))
            return
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _read(self, connection: WebSocketConnection) -> None:
        loop = asyncio.get_running_loop()
        since, messages = loop.time(), 0
        while True:
            data: str | bytes | None = await websocket.receive()
            if loop.time() - since >= 1:
                since, messages = loop.time(), 0
            messages += 1
            if messages > MAX_MESSAGES_PER_S:
                connection.close(Closing.REFUSED)
                return
            if data:  # an empty binary frame comes as None
                connection.receive(data.encode() if isinstance(data, str) else data)

    async def _send_all(self) -> None:
        while True:
            self._has_more.clear()
            while self._waiting:
                data = self._waiting.popleft()
                await websocket.send(_as_frame(data))
                self._waiting_bytes -= len(data)
            await self._has_more.wait()


def _as_frame(data: bytes) -> str | bytes:
    """Text where it can be: that is what libraries in browsers expect (RFC 7118 §4.2)."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data

"""Whether the peer of a WebSocket is there, and how it went: hypercorn tells the app neither.

It reads the code with which a peer closes, and the app gets 1006; it can send pings, and passes
over what answers them. An agent that closes in good order has finished its call, one that breaks
off or falls silent is lost (F18). The names that are replaced here are not hypercorn's to keep:
tests over real sockets tell when it no longer works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from hypercorn.protocol import ws_stream
from wsproto.events import CloseConnection, Ping, Pong

PEER = "gateway.peer"
"Key of a socket's ASGI scope: its `Peer`."

_STREAM: Any = ws_stream.WSStream
_accept = _STREAM._accept


class Peer:
    """The other end of one WebSocket."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self.close_code: int | None = None
        "None: it has not closed the socket, or went without a word."
        self.answered_at = self._loop.time()
        "Loop seconds: when it last answered a ping, or came."

    async def ping(self) -> None:
        """Ask whether it is there."""
        await self._stream._send_wsproto_event(Ping())

    def note(self, event: Any) -> None:
        """Something came from it."""
        if isinstance(event, Pong):
            self.answered_at = self._loop.time()
        elif isinstance(event, CloseConnection):
            self.close_code = event.code


def watch_peers() -> None:
    """Have a `Peer` in the scopes of all WebSockets of this process from now on."""
    _STREAM._accept = _accept_watching


async def _accept_watching(stream: Any, message: Any) -> None:
    # Before the app goes on, which looks for it.
    peer = stream.scope[PEER] = Peer(stream)
    await _accept(stream, message)
    stream.connection = _Watched(stream.connection, peer)


class _Watched:
    """A WebSocket of wsproto, whose events are noted."""

    def __init__(self, connection: Any, peer: Peer) -> None:
        self._connection = connection
        self._peer = peer

    def events(self) -> Iterator[Any]:
        """What came."""
        for event in self._connection.events():
            self._peer.note(event)
            yield event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

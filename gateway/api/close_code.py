"""The code with which a peer closes its WebSocket: hypercorn reads it, and tells the app 1006.

An agent that closes in good order has finished its call; one whose connection breaks is lost. The
names that are replaced here are not hypercorn's to keep: a test over real sockets tells when it
no longer works.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypercorn.protocol import ws_stream
from wsproto.events import CloseConnection

CLOSE_CODE = "gateway.close_code"
"Key of a socket's ASGI scope; nothing is there where the peer went without a word."

_STREAM: Any = ws_stream.WSStream
_accept = _STREAM._accept


def note_close_codes() -> None:
    """Keep the codes, on all WebSockets of this process from now on."""
    _STREAM._accept = _accept_noting


async def _accept_noting(stream: Any, message: Any) -> None:
    await _accept(stream, message)
    stream.connection = _Noting(stream.connection, stream.scope)


class _Noting:
    """A WebSocket of wsproto, and the scope that its close code is noted in."""

    def __init__(self, connection: Any, scope: dict[str, Any]) -> None:
        self._connection = connection
        self._scope = scope

    def events(self) -> Iterator[Any]:
        """What came."""
        for event in self._connection.events():
            if isinstance(event, CloseConnection):
                self._scope[CLOSE_CODE] = event.code
            yield event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

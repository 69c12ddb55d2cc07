"""AudioSocket's listening side: who may connect, and how many at a time."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from gateway.net.agent_connection import AgentConnection, StreamConnection
from gateway.net.tcp import TcpListener, prepare_connection
from gateway.net.udp import Address

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1000
"At a time: as many as a node takes calls. Who may connect is trusted, and has one address."


class AudioSocketServer:
    """TCP connections from PBXs, each of which is to be a call."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        admit: Callable[[Address], bool],
        take: Callable[[AgentConnection], None],
    ) -> None:
        """
        Args:
            admit: whether a source may connect; others are reset before a byte is read.
            take: takes a connection; nothing of what it says is lost before it is started.
        """
        self._loop = loop
        self._admits = admit
        self._take = take
        self._listeners: list[TcpListener] = []
        self._open: set[_Counted] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused = 0
        "Connections from sources that may not, or beyond `MAX_CONNECTIONS`."

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens."""
        return tuple(listener.local for listener in self._listeners)

    def __len__(self) -> int:
        return len(self._open)

    def listen(self, listening: socket.socket) -> None:
        """Accept connections on a socket of `open_tcp_socket`."""
        self._listeners.append(
            TcpListener(listening, loop=self._loop, admit=self._admit, take=self._accept)
        )

    def close(self) -> None:
        """Accept nothing more; calls that go on keep their connections."""
        for listener in self._listeners:
            listener.close()
        for task in list(self._tasks):
            task.cancel()

    def _admit(self, remote: Address) -> bool:
        if self._admits(remote) and len(self._open) < MAX_CONNECTIONS:
            return True
        self.refused += 1
        if self.refused == 1:
            log.warning(
                "audiosocket: a connection is refused, %d are open; [audiosocket] allow says who"
                " may connect; counted from now on",
                len(self._open),
            )
        return False

    def _accept(self, accepted: socket.socket, remote: Address) -> None:
        try:
            prepare_connection(accepted)
        except OSError:
            accepted.close()  # it is gone already
            return
        connection = _Counted(self._loop, self._open)
        self._spawn(self._attach(accepted, connection))

    async def _attach(self, accepted: socket.socket, connection: _Counted) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError:
            accepted.close()
            self._open.discard(connection)
            return
        self._take(connection)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an AudioSocket connection broke by a bug", exc_info=error)


class _Counted(StreamConnection):
    """A connection that somebody else has opened, and that has its place until it is gone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, places: set[_Counted]) -> None:
        super().__init__(loop)
        self._places = places
        places.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._places.discard(self)
        super().connection_lost(error)

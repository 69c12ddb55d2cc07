"""Agents that dial us: their connections wait here for calls, or calls for their connections.

`protocol = "gateway"` without a url: an agent opens as many connections as it wants calls at a
time, each attends one, the one that has waited longest first. `protocol = "asterisk"` without a
url: a call waits at its connection id, as at an Asterisk, until its agent dials in there.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from dataclasses import replace
from typing import Any, cast

from gateway.agents.agent import AgentCall
from gateway.agents.protocol import Opening
from gateway.agents.remote import Dial, Outcome, RemoteAgent
from gateway.errors import CapacityError
from gateway.net.agent_connection import AgentConnection

MAX_WAITING = 256
"Connections of one agent that may wait: more than any has calls at a time."


class WaitingRoom:
    """The connections of one agent that wait for its calls; as `Dial` it gives them out."""

    def __init__(self) -> None:
        self._free: deque[AgentConnection] = deque()
        self._wanted: deque[asyncio.Future[AgentConnection]] = deque()

    @property
    def waiting(self) -> int:
        """Connections that wait."""
        return len(self._free)

    def offer(self, connection: AgentConnection) -> None:
        """It waits from now on, or attends a call that waits for it.

        Raises:
            CapacityError: `MAX_WAITING` do.
        """
        while self._wanted:
            wanted = self._wanted.popleft()
            if not wanted.done():
                wanted.set_result(connection)
                return
        if len(self._free) >= MAX_WAITING:
            raise CapacityError("as many connections of this agent wait as may")
        self._free.append(connection)

    def withdraw(self, connection: AgentConnection) -> None:
        """It waits no longer; one that does not is ignored."""
        if connection in self._free:
            self._free.remove(connection)

    async def __call__(self, opening: Opening, *, is_stream: bool) -> AgentConnection:
        """The connection that has waited longest, or the next that comes."""
        if self._free:
            return self._free.popleft()
        wanted: asyncio.Future[AgentConnection] = asyncio.get_running_loop().create_future()
        self._wanted.append(wanted)
        try:
            return await wanted
        except asyncio.CancelledError:
            if wanted.done() and not wanted.cancelled():
                self.offer(wanted.result())  # it came in the moment in which nobody wanted it
            raise
        finally:
            if wanted in self._wanted:
                self._wanted.remove(wanted)


class MediaRoom:
    """Calls that wait at /media/ID for their agents; as `Dial` it gives those their connections."""

    def __init__(self) -> None:
        self._awaited: dict[str, asyncio.Future[AgentConnection]] = {}

    def is_awaited(self, connection_id: str) -> bool:
        """Whether a call waits at this id."""
        awaited = self._awaited.get(_plain(connection_id))
        return awaited is not None and not awaited.done()

    def arrive(self, connection_id: str, connection: AgentConnection) -> None:
        """Its agent is here; for a call that waits no more it is told at once."""
        awaited = self._awaited.get(_plain(connection_id))
        if awaited is None or awaited.done():
            connection.close()
        else:
            awaited.set_result(connection)

    async def __call__(self, opening: Opening, *, is_stream: bool) -> AgentConnection:
        """The connection that comes to the id at the end of the opening's URL."""
        connection_id = _plain(opening.url.rpartition("/")[2])
        awaited = self._awaited[connection_id] = asyncio.get_running_loop().create_future()
        try:
            connection: AgentConnection = await awaited
            return connection
        finally:
            if self._awaited.get(connection_id) is awaited:
                del self._awaited[connection_id]


class Lobby:
    """Where agents wait, and are waited for."""

    def __init__(self) -> None:
        self.media = MediaRoom()
        self.rooms: dict[str, WaitingRoom] = {}
        "By the names of the agents that dial us."

    def dial_for(self, name: str, protocol: str) -> Dial:
        """How an agent without a url is connected."""
        if protocol == "asterisk":
            return self.media
        return self.rooms.setdefault(name, WaitingRoom())


class AwaitedAgent(RemoteAgent):
    """An agent that dials us."""

    async def serve(self, call: AgentCall, patience: Any = None) -> Outcome:
        """Attend a call over the connection that comes; those who watch learn what it waits for."""
        # Who knows the id may come: it must not follow from the call's, which many are told.
        token = secrets.token_hex(16)
        call.note("waiting", agent=self.address.name, connection_id=_uuid(token))
        return await super().serve(cast(AgentCall, _CallAt(call, token)), patience)

    def over(self, connection: AgentConnection) -> RemoteAgent:
        """The same agent, that attends its next call over this connection first of all."""
        return RemoteAgent(
            self.address,
            self.module,
            self.settings,
            self.options,
            dial=_First(connection, self._dial),
            agents=self._agents,
        )


class _CallAt:
    """A call whose agent comes to an id of its own."""

    def __init__(self, call: AgentCall, token: str) -> None:
        self._call = call
        self.facts = replace(call.facts, token=token)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


class _First:
    """One connection that is there, and then those that come."""

    def __init__(self, connection: AgentConnection, others: Dial) -> None:
        self._first: AgentConnection | None = connection
        self._others = others

    async def __call__(self, opening: Opening, *, is_stream: bool) -> AgentConnection:
        first, self._first = self._first, None
        if first is not None:
            return first
        return await self._others(opening, is_stream=is_stream)


def _plain(connection_id: str) -> str:
    return connection_id.replace("-", "").lower()


def _uuid(token: str) -> str:
    return "-".join((token[:8], token[8:12], token[12:16], token[16:20], token[20:]))

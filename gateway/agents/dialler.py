"""Opens connections to agents where their URLs may lead (A21)."""

from __future__ import annotations

import asyncio

from gateway.agents.protocol import Opening
from gateway.net.agent_connection import AgentConnection, ConnectError
from gateway.net.agent_dial import connect
from gateway.net.destination import DestinationError, Destinations

STREAM_CONNECT_S = 2.0
"How long a TCP connection may take to open, as Asterisk gives an AudioSocket."


class Dialler:
    """Connects to agents that are configured, or that somebody has named who may."""

    def __init__(self, destinations: Destinations) -> None:
        """`destinations` trusts the URLs of the configuration; all others are a stranger's."""
        self.destinations = destinations

    async def __call__(self, opening: Opening, *, is_stream: bool) -> AgentConnection:
        """See `gateway.agents.remote.Dial`: one look-up of the name, one connection, no redirect.

        Raises:
            ConnectError: none came about.
        """
        try:
            pinned = await self.destinations.pin(opening.url)
        except DestinationError as error:
            raise ConnectError(f"the agent cannot be reached: {error}") from None
        try:
            async with asyncio.timeout(STREAM_CONNECT_S if is_stream else None):
                return await connect(
                    pinned,
                    is_stream=is_stream,
                    headers=opening.headers,
                    subprotocols=opening.subprotocols,
                )
        except TimeoutError:
            raise ConnectError("the agent takes too long to connect") from None

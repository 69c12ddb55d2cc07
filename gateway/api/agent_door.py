"""/v1/agents/NAME: where an agent of `protocol = "gateway"` without a url dials us.

Each of its connections waits for one call of `agent:NAME`, and attends it; or hands us one:

    {"type": "call", "to": "+15550100"}       what is answered by `start`, or by `refused`
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Protocol

from quart import websocket

from gateway.agents.waiting import WaitingRoom
from gateway.agents.wire.gateway import SUBPROTOCOL
from gateway.agents.wire_json import read_object
from gateway.api.audio_socket import AudioSocketConnection
from gateway.api.server import BEARER_SUBPROTOCOL, ApiError, Door
from gateway.errors import CapacityError, GatewayError
from gateway.net.agent_connection import AgentConnection, Lost, Message
from gateway.private import Private

MAX_IDLE_MESSAGES = 100
"Of an agent that waits for a call: nothing but `call` has a meaning there."

MAX_TEXT = 4096
"Characters of `call`."

TRY_AGAIN = 1013
"RFC 6455 §7.4.1, as registered later: there is no room now."

BROKEN = 1002


class AgentCalls(Protocol):
    """What is asked of the node."""

    def call_from_agent(self, name: str, to: str, connection: AgentConnection) -> object:
        """Place a call for an agent, which attends it over this connection.

        Raises:
            GatewayError: its routes do not lead there, or there is no room.
        """


def agent_door(
    rooms: Mapping[str, WaitingRoom], keys: Mapping[str, tuple[str, Private]], calls: AgentCalls
) -> Door:
    """The WebSocket at /v1/agents/NAME.

    Args:
        rooms: of the agents that dial us, by name.
        keys: the username, empty for none, and the secret of each of them.
    """

    def admit(name: str) -> None:
        # The same answer in the same time, whether there is such an agent or not.
        username, secret = keys.get(name, ("", Private("")))
        is_known = _shows(username, secret.value) and bool(secret.value)
        if not is_known or name not in rooms:
            raise ApiError(
                HTTPStatus.UNAUTHORIZED, "no-token", "Send the agent's token as a bearer"
            )

    async def serve(name: str) -> None:
        connection, room = AudioSocketConnection(), rooms[name]
        _Waiting(name, connection, room, calls).begin()
        try:
            await connection.serve()
        finally:
            room.withdraw(connection)

    return Door("/v1/agents/<name>", SUBPROTOCOL, admit, serve)


class _Waiting:
    """One connection until a call takes it over."""

    def __init__(
        self, name: str, connection: AudioSocketConnection, room: WaitingRoom, calls: AgentCalls
    ) -> None:
        self._name = name
        self._connection = connection
        self._room = room
        self._calls = calls
        self._idle = 0

    def begin(self) -> None:
        """It waits from now on."""
        self._connection.start(self._on_message, self._on_lost)
        self._offer()

    def _offer(self) -> None:
        try:
            self._room.offer(self._connection)
        except CapacityError as error:
            self._connection.end(TRY_AGAIN, str(error))

    def _on_message(self, message: Message) -> None:
        told = read_object(message) if isinstance(message, str) and len(message) < MAX_TEXT else {}
        self._idle += 1
        if told is None or self._idle > MAX_IDLE_MESSAGES:
            self._connection.end(BROKEN, "this is not said before a call")
        elif told.get("type") == "call":
            self._call(told.get("to"))

    def _call(self, to: Any) -> None:
        self._room.withdraw(self._connection)
        try:
            if not isinstance(to, str) or not to:
                raise ApiError(HTTPStatus.BAD_REQUEST, "bad-request", "to: name whom to call")
            self._calls.call_from_agent(self._name, to, self._connection)
        except GatewayError as error:
            refused = {"type": "refused", "status": int(error.status), "text": str(error)}
            self._connection.send(json.dumps(refused))
            self._offer()

    def _on_lost(self, lost: Lost) -> None:
        self._room.withdraw(self._connection)


def _shows(username: str, secret: str) -> bool:
    """Whether the handshake shows a secret, in whichever way, compared in constant time."""
    scheme, _, given = websocket.headers.get("Authorization", "").partition(" ")
    tokens = [
        each[len(BEARER_SUBPROTOCOL) :]
        for each in websocket.requested_subprotocols
        if each.startswith(BEARER_SUBPROTOCOL)
    ]
    if scheme.lower() == "bearer":
        tokens.append(given.strip())
    elif scheme.lower() == "basic":
        name, _, password = _decoded(given).partition(":")
        if hmac.compare_digest(name.encode(), username.encode()):
            tokens.append(password)
    return any(hmac.compare_digest(token.encode(), secret.encode()) for token in tokens)


def _decoded(pair: str) -> str:
    try:
        return base64.b64decode(pair.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""

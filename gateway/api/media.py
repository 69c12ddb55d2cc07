"""/media/ID: where an Asterisk hands us a call by chan_websocket, or an agent attends one of ours.

An agent that was written for an Asterisk dials in at the connection id of a call that waits for
it, as it would there. Nothing is here that was not configured, or told of beforehand.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from http import HTTPStatus
from typing import Protocol

from quart import websocket

from gateway.api.audio_socket import AudioSocketConnection
from gateway.api.server import Access, ApiError, Door
from gateway.net.agent_connection import AgentConnection
from gateway.private import Secret

MEDIA_SUBPROTOCOL = "media"


class Lines(Protocol):
    """What is asked of `gateway.lines`."""

    @property
    def credentials(self) -> tuple[str, Secret] | None:
        """Name and password of an Asterisk that brings calls; None: it needs none of its own."""

    def is_media_id(self, id: str) -> bool:
        """Whether an Asterisk may hand us a call at this id."""

    def take_asterisk(self, id: str, connection: AgentConnection, caller: str) -> None:
        """It does."""


class WaitingCalls(Protocol):
    """Calls that wait for an agent to dial in."""

    def is_awaited(self, connection_id: str) -> bool:
        """Whether one waits at this id."""

    def arrive(self, connection_id: str, connection: AgentConnection) -> None:
        """Its agent is here."""


def media_door(lines: Lines, access: Access, waiting: WaitingCalls) -> Door:
    """The WebSocket at /media/ID."""

    def admit(id: str) -> None:
        if waiting.is_awaited(id):
            return  # who knows the id was told it: it cannot be guessed
        if not _may_bring_calls(lines, access):
            raise ApiError(
                HTTPStatus.UNAUTHORIZED, "no-password", "Send the name and password of [asterisk]"
            )
        if not lines.is_media_id(id):
            raise ApiError(HTTPStatus.NOT_FOUND, "unknown-id", "Nothing is expected at this id")

    async def serve(id: str) -> None:
        connection = AudioSocketConnection()
        if waiting.is_awaited(id):
            waiting.arrive(id, connection)
        else:
            lines.take_asterisk(id, connection, websocket.args.get("from", ""))
        await connection.serve()

    return Door("/media/<id>", MEDIA_SUBPROTOCOL, admit, serve)


def _may_bring_calls(lines: Lines, access: Access) -> bool:
    """By the name and password of [asterisk]; else by the token of [http], where there is one."""
    given = websocket.headers.get("Authorization")
    if lines.credentials is not None:
        name, password = lines.credentials
        wanted = f"{name}:{password.value}".encode()
        if given is not None and hmac.compare_digest(_basic(given), wanted):
            return True
        if access.token is None:
            return False
    return access.is_allowed(given, websocket.requested_subprotocols)


def _basic(authorization: str) -> bytes:
    """Name and password of Basic authentication (RFC 7617 §2); empty where it is none."""
    scheme, _, pair = authorization.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(pair.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""

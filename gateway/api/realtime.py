"""OpenAI's operations on calls that a program was offered by webhook: for programs written for it.

POST /v1/realtime/calls/{id}/accept | reject | refer | hangup
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field
from quart import request

from gateway.agents.incoming import DECLINE, IncomingCall
from gateway.api.openapi import Operation
from gateway.api.refusals import REFUSES, refusals
from gateway.api.server import ApiError, Model, check_json
from gateway.errors import RemoteProtocolError
from gateway.sip.uri import parse_uri
from gateway.trunk.numbers import UNCHANGED, called_of

MAX_INSTRUCTIONS = 32 * 1024
"Characters: half of what a request may have."


class RealtimeControl(Protocol):
    """What is asked of the node."""

    def incoming(self, call_id: str) -> IncomingCall: ...


class AcceptedSession(BaseModel):
    """The session of the model that takes the call: OpenAI's Realtime session, whatever it has."""

    model_config = ConfigDict(extra="allow")

    type: Literal["realtime"]
    model: Annotated[str | None, Field(max_length=128)] = None
    instructions: Annotated[str | None, Field(max_length=MAX_INSTRUCTIONS)] = None
    audio: Annotated[
        Mapping[str, Any] | None,
        Field(description="Without formats: those are the gateway's affair"),
    ] = None
    tools: Annotated[list[dict[str, Any]] | None, Field(max_length=128)] = None


class Rejection(BaseModel):
    """How a call is refused."""

    status_code: Annotated[int, Field(ge=400, le=699, description="Of SIP")] = DECLINE


class Referral(BaseModel):
    """Where a call goes."""

    target_uri: Annotated[
        str, Field(min_length=1, max_length=256, description="tel:+15550142, or sip:NAME@ANYTHING")
    ]


def realtime_operations(control: RealtimeControl) -> list[Operation]:
    """The operations on `/v1/realtime/calls`."""

    async def accept(id: str) -> None:
        session = await check_json(AcceptedSession)
        with refusals():
            control.incoming(id).accept(session.model_dump(exclude_unset=True))

    async def reject(id: str) -> None:
        rejection = await _check_body(Rejection)
        with refusals():
            control.incoming(id).reject(rejection.status_code)

    async def refer(id: str) -> None:
        referral = await check_json(Referral)
        with refusals():
            control.incoming(id).refer(_read_target(referral.target_uri))

    async def hang_up(id: str) -> None:
        with refusals():
            control.incoming(id).hang_up()

    return [
        _operation(
            "accept",
            "acceptCall",
            "Let a model take a call, with this session",
            accept,
            AcceptedSession,
        ),
        _operation("reject", "rejectCall", "Refuse a call", reject, Rejection),
        _operation(
            "refer",
            "referCall",
            "Bring the caller to a number or name, by the agent's routes",
            refer,
            Referral,
        ),
        _operation("hangup", "hangUpCall", "End a call once what is said was heard", hang_up),
    ]


def _operation(
    verb: str, name: str, summary: str, handler: Any, takes: type[BaseModel] | None = None
) -> Operation:
    return Operation(
        "POST",
        f"/v1/realtime/calls/{{id}}/{verb}",
        name,
        f"{summary} (as OpenAI's operation of this path)",
        handler,
        takes=takes,
        refuses=REFUSES if takes is not None else (HTTPStatus.NOT_FOUND,),
    )


async def _check_body(model: type[Model]) -> Model:
    """A body, or none: all it could say has a default."""
    if not await request.get_data():
        return model()
    return await check_json(model)


def _read_target(text: str) -> str:
    """The number or name of a URI: where that leads the routes say, not its host (A37)."""
    try:
        uri = parse_uri(text)
        if uri.scheme not in ("sip", "sips", "tel"):
            raise RemoteProtocolError("another scheme")
        to = called_of(uri, UNCHANGED)
        if not to:
            raise RemoteProtocolError("nobody")
        return to
    except RemoteProtocolError:
        raise ApiError(
            HTTPStatus.BAD_REQUEST, "bad-target", "Name a tel: or sip: URI with a number or name"
        ) from None

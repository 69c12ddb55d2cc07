"""OpenAI's operations on calls that a program was offered by webhook: for programs written for it.

POST /v1/realtime/calls/{id}/accept | reject | refer | hangup, and the WebSocket
/v1/realtime?call_id={id}: what the model says and does, and a word in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field
from quart import request, websocket

from gateway.agents.incoming import DECLINE, IncomingCall
from gateway.api.openapi import Operation
from gateway.api.outbox import Outbox, close
from gateway.api.refusals import REFUSES, refusals
from gateway.api.server import ApiError, Model, check_json
from gateway.errors import RemoteProtocolError, RoutingError
from gateway.sip.uri import parse_uri
from gateway.trunk.numbers import UNCHANGED, called_of

MAX_INSTRUCTIONS = 32 * 1024
"Characters: half of what a request may have."

POLICY = 1008
"RFC 6455 §7.4.1."

MAX_EVENTS_BEHIND = 1000
"Events kept for a program that reads slowly; one further behind is cut off and told so."


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


async def serve_sideband(control: RealtimeControl) -> None:
    """`/v1/realtime?call_id=…`: a program hears the events of a model's session, and adds its own.

    Its speech is left out, as OpenAI leaves it out: that goes to the caller.
    """
    try:
        sideband = control.incoming(websocket.args.get("call_id", "")).sideband
        outbox = Outbox[str](MAX_EVENTS_BEHIND, json.loads)
        stop = sideband.watch(lambda text: _pass_on(outbox, text))
    except RoutingError as error:
        await websocket.send(json.dumps(_error(error)))
        await close(POLICY, "there is nothing to hear")
        return

    async def read() -> None:
        while True:
            try:
                sideband.tell(str(await websocket.receive()))
            except RoutingError as error:
                outbox.put(json.dumps(_error(error)))

    try:
        await outbox.serve(read)
    finally:
        stop()


def _pass_on(outbox: Outbox[str], text: str | None) -> None:
    if text is None:
        outbox.end(1000, "the call is over")
    else:
        outbox.put(text)


def _error(error: RoutingError) -> dict[str, Any]:
    """As OpenAI tells one."""
    told = {"type": "invalid_request_error", "code": str(error.status), "message": str(error)}
    return {"type": "error", "event_id": "event_gateway", "error": told}


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

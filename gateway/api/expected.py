"""Calls that a PBX is to hand us, told of beforehand: what each of them is to dial, by its id."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator

from gateway.api.openapi import Operation
from gateway.api.server import check_json
from gateway.call.expected import EXPIRES_S, ExpectedCall
from gateway.trunk.route import is_dialable

MAX_EXPIRES_S = 600.0
"A PBX hands a call over at once: ten minutes are for who dials by hand."

Text = Annotated[str, Field(max_length=256)]


class Expecting(Protocol):
    """What is asked of `gateway.lines`."""

    def expect(self, call: ExpectedCall, expires_s: float = EXPIRES_S) -> None:
        """A PBX is to hand us this call."""


class NewExpectedCall(BaseModel):
    """A call that comes by AudioSocket with this UUID, or by WebSocket at /media/UUID."""

    model_config = ConfigDict(extra="forbid")

    to: Annotated[
        str, Field(min_length=1, max_length=128, description="What it dials: as a route has it")
    ]
    id: Annotated[uuid.UUID | None, Field(description="Its UUID; where left out, a new one")] = None
    from_: Annotated[
        str, Field(alias="from", max_length=64, description="The number or name of who calls")
    ] = ""
    attributes: Annotated[
        dict[Text, Text], Field(max_length=32, description="Told to whoever takes the call")
    ] = {}
    expires_s: Annotated[
        float, Field(gt=0, le=MAX_EXPIRES_S, description="How long it is waited for")
    ] = EXPIRES_S

    @field_validator("from_")
    @classmethod
    def _check_from(cls, text: str) -> str:
        if text and not is_dialable(text):
            raise ValueError("write a number or a name that could be dialled")
        return text

    @field_validator("attributes")
    @classmethod
    def _check_attributes(cls, attributes: dict[str, str]) -> dict[str, str]:
        """They may become headers of a trunk's calls: no line may be broken in them (A15)."""
        if not all(
            name.isprintable() and value.isprintable() for name, value in attributes.items()
        ):
            raise ValueError("write text without line breaks and control characters")
        return attributes


class ExpectedCallInfo(BaseModel):
    """By what a call is to come."""

    id: str
    "For AudioSocket(…), or /media/ID."
    expires_s: float


def expected_operations(lines: Expecting) -> list[Operation]:
    """The operations on calls that are expected."""

    async def expect() -> ExpectedCallInfo:
        wish = await check_json(NewExpectedCall)
        id_ = wish.id or uuid.uuid4()
        lines.expect(ExpectedCall(id_.hex, wish.to, wish.from_, wish.attributes), wish.expires_s)
        return ExpectedCallInfo(id=str(id_), expires_s=wish.expires_s)

    return [
        Operation(
            "POST",
            "/v1/expected-calls",
            "expectCall",
            "Say what a call is to dial that a PBX will hand over",
            expect,
            HTTPStatus.CREATED,
            takes=NewExpectedCall,
            gives=ExpectedCallInfo,
            refuses=(
                HTTPStatus.BAD_REQUEST,
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                HTTPStatus.SERVICE_UNAVAILABLE,
            ),
        )
    ]

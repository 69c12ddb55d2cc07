"""Keys in calls over HTTP: pressed toward a party, or told to one party alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.api.openapi import Operation
from gateway.api.refusals import REFUSES, refusals
from gateway.api.server import check_json
from gateway.call.digits import GAP_MS, PRESS_MS
from gateway.leg.leg import LegId
from gateway.rtp.dial_string import MAX_KEYS

Name = Annotated[str, Field(min_length=1, max_length=64)]


class KeyControl(Protocol):
    """What is asked of the node."""

    def press(
        self, call_id: str, digits: str, leg: LegId | None, press_ms: int, gap_ms: int
    ) -> None: ...
    def secure(self, call_id: str, to: LegId | None, leg: LegId | None) -> None: ...


class NewDigits(BaseModel):
    """Keys to be pressed toward a party."""

    model_config = ConfigDict(extra="forbid")

    digits: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_KEYS,
            pattern=r"^[0-9*#A-Dwp,;]+$",
            description="Keys; w waits 0.5 s, p 1 s, a comma or semicolon 2 s",
        ),
    ]
    leg: Annotated[
        Name | None, Field(description="Who hears them; where left out, whom the caller talks with")
    ] = None
    duration_ms: Annotated[int, Field(ge=100, le=10_000, description="Of each key")] = PRESS_MS
    gap_ms: Annotated[int, Field(ge=50, le=10_000, description="Between two keys")] = GAP_MS


class SecureInput(BaseModel):
    """Let one party alone hear another and get its keys: a card number, say."""

    model_config = ConfigDict(extra="forbid")

    on: Annotated[bool, Field(description="false: all hear it again")] = True
    to: Annotated[Name | None, Field(description="Id of the party that hears it")] = None
    leg: Annotated[Name | None, Field(description="Who is heard; where left out, the caller")] = (
        None
    )

    @model_validator(mode="after")
    def _check_to(self) -> SecureInput:
        if self.on != (self.to is not None):
            raise ValueError("name in `to` who hears it, unless `on` is false")
        return self


def key_operations(
    control: KeyControl, look: Callable[[str], Awaitable[Any]], gives: type[BaseModel]
) -> list[Operation]:
    """The operations on the keys of a call.

    Args:
        look: makes the answer, a call as it is then; of the type `gives`.
    """

    async def press(id: str) -> Any:
        wish = await check_json(NewDigits)
        with refusals():
            control.press(id, wish.digits, wish.leg, wish.duration_ms, wish.gap_ms)
        return await look(id)

    async def secure(id: str) -> Any:
        wish = await check_json(SecureInput)
        with refusals():
            control.secure(id, wish.to, wish.leg)
        return await look(id)

    return [
        Operation(
            "POST",
            "/v1/calls/{id}/digits",
            "sendDigits",
            "Press keys toward a party, one after the other",
            press,
            HTTPStatus.ACCEPTED,
            takes=NewDigits,
            gives=gives,
            refuses=REFUSES,
        ),
        Operation(
            "POST",
            "/v1/calls/{id}/secure-input",
            "secureInput",
            "Let one party alone hear another and get its keys, until it is turned off",
            secure,
            takes=SecureInput,
            gives=gives,
            refuses=REFUSES,
        ),
    ]

"""How loud a party is heard in its call, over HTTP: muted, or with a gain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from gateway.api.openapi import Operation
from gateway.api.refusals import REFUSES, refusals
from gateway.api.server import check_json
from gateway.leg.leg import LegId

Name = Annotated[str, Field(min_length=1, max_length=64)]

MIN_GAIN_DB, MAX_GAIN_DB = -40.0, 20.0
"Less is as good as muted; more is noise."


class LoudnessControl(Protocol):
    """What is asked of the node."""

    def mute(self, call_id: str, leg: LegId | None, *, on: bool) -> None: ...
    def amplify(self, call_id: str, gain_db: float, leg: LegId | None) -> None: ...


class NewMute(BaseModel):
    """Whether a party is heard."""

    model_config = ConfigDict(extra="forbid")

    on: Annotated[bool, Field(description="false: it is heard again")] = True
    leg: Annotated[Name | None, Field(description="Who; where left out, the caller")] = None


class NewGain(BaseModel):
    """How loud a party is heard."""

    model_config = ConfigDict(extra="forbid")

    gain_db: Annotated[
        float,
        Field(ge=MIN_GAIN_DB, le=MAX_GAIN_DB, description="Louder than it is; 0: as it is"),
    ]
    leg: Annotated[Name | None, Field(description="Who; where left out, the caller")] = None


def loudness_operations(
    control: LoudnessControl, look: Callable[[str], Awaitable[Any]], gives: type[BaseModel]
) -> list[Operation]:
    """The operations on how loud a party is.

    Args:
        look: makes the answer, a call as it is then; of the type `gives`.
    """

    async def mute(id: str) -> Any:
        wish = await check_json(NewMute)
        with refusals():
            control.mute(id, wish.leg, on=wish.on)
        return await look(id)

    async def amplify(id: str) -> Any:
        wish = await check_json(NewGain)
        with refusals():
            control.amplify(id, wish.gain_db, wish.leg)
        return await look(id)

    return [
        Operation(
            "POST",
            "/v1/calls/{id}/mute",
            "muteParty",
            "Let nobody hear a party, or all again; its keys still count",
            mute,
            takes=NewMute,
            gives=gives,
            refuses=REFUSES,
        ),
        Operation(
            "POST",
            "/v1/calls/{id}/gain",
            "setGain",
            "Let the others hear a party louder than it is, or less loud",
            amplify,
            takes=NewGain,
            gives=gives,
            refuses=REFUSES,
        ),
    ]

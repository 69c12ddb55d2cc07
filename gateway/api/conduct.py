"""Calls that are up, over HTTP: who joins, who hears whom, what is played and told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.api.calls import Address, CallInfo, Name, describe_call, unknown_call
from gateway.api.loudness import MAX_GAIN_DB, MIN_GAIN_DB
from gateway.api.openapi import Operation
from gateway.api.refusals import REFUSES, refusals
from gateway.api.server import check_json
from gateway.call.call import CallSummary
from gateway.call.notes import MAX_KEY_CHARACTERS, MAX_VALUE_CHARACTERS, MAX_VALUES
from gateway.call.party import Names
from gateway.call.policy import Policy, Preset
from gateway.leg.leg import LegId, Role
from gateway.media.hub import PartyId

MAX_PARTIES = 32
"Named in one command: more than a call has."

MAX_MESSAGE_ITEMS = 64
"Of the data of one message."

PRESETS = Literal[
    "alone", "listen", "whisper", "speak", "barge", "mute", "aside", "take-over", "hand-back"
]

WhoIsNamed = Annotated[
    list[Name],
    Field(
        max_length=MAX_PARTIES,
        description="Ids of legs, or caller, callee, agent, ai, supervisor, people, all",
    ),
]


class ConductControl(Protocol):
    """What is asked of the node."""

    def invite(
        self,
        call_id: str,
        to: str,
        role: Role | None,
        policy: Policy,
        ringing_timeout_s: float | None,
    ) -> tuple[LegId, ...]: ...
    def dismiss(self, call_id: str, leg: str) -> None: ...
    def route(self, call_id: str, policies: Sequence[tuple[str, Policy]]) -> None: ...
    def play(self, call_id: str, wanted: Wanted, to: Names) -> PartyId: ...
    def stop_playing(self, call_id: str, name: PartyId | None) -> None: ...
    def message(self, call_id: str, leg: str, kind: str, data: Mapping[str, Any]) -> None: ...
    def note(self, call_id: str, values: Mapping[str, str]) -> None: ...
    def fetch_keys(self, call_id: str, token: str) -> str: ...


class Part(BaseModel):
    """How a party takes part: a preset, or whom it hears and who hears it."""

    model_config = ConfigDict(extra="forbid")

    preset: Annotated[PRESETS | None, Field(description="docs/call-control.md shows them")] = None
    side: Annotated[
        Name | None,
        Field(description="Of alone, whisper, take-over and hand-back: whom, by leg id or role"),
    ] = None
    hears: Annotated[WhoIsNamed | None, Field(description="None but these; else as before")] = None
    heard_by: Annotated[WhoIsNamed | None, Field(description="By none but these")] = None
    gain_db: Annotated[
        float | None, Field(ge=MIN_GAIN_DB, le=MAX_GAIN_DB, description="Louder than it is")
    ] = None

    @model_validator(mode="after")
    def _check_side(self) -> Part:
        wants = self.preset in ("alone", "whisper")
        if wants and self.side is None:
            raise ValueError(f"name a `side` for {self.preset}")
        if self.side is not None and not (wants or self.preset in ("take-over", "hand-back")):
            raise ValueError("`side` is of alone, whisper, take-over and hand-back")
        return self

    def policy(self, summary: Mapping[str, Any] | None = None) -> Policy:
        """The same, as a call takes it."""
        return Policy(
            None if self.preset is None else Preset(self.preset),
            self.side,
            None if self.hears is None else frozenset(self.hears),
            None if self.heard_by is None else frozenset(self.heard_by),
            self.gain_db,
            summary or {},
        )


class NewLeg(Part):
    """Let somebody into a call of others. Where nothing is said of it, it listens."""

    to: Annotated[Address, Field(description="agent:NAME, a number or a name")]
    role: Annotated[
        Literal["caller", "callee", "agent", "ai", "supervisor"] | None,
        Field(description="What it is in the call; else ai, or supervisor where it is no agent"),
    ] = None
    ringing_timeout_s: Annotated[float | None, Field(gt=0, le=180)] = None


class LegRoute(Part):
    """How one party takes part from now on."""

    leg: Annotated[Name, Field(description="Its id, or its role where one has it")]
    summary: Annotated[
        dict[str, Any],
        Field(max_length=MAX_MESSAGE_ITEMS, description="Of hand-back: what the AI is told"),
    ] = Field(default_factory=dict)


class NewRoutes(BaseModel):
    """Who hears whom from now on: all of it at once. Who is not named stays as it is."""

    model_config = ConfigDict(extra="forbid")

    legs: Annotated[list[LegRoute], Field(min_length=1, max_length=MAX_PARTIES)]


class InvitedLegs(BaseModel):
    """Who was asked into the call."""

    legs: list[str]
    "Ids of those that ring; empty: nobody could be, and guest.failed tells why."
    call: CallInfo


class Wanted(BaseModel):
    """A sound to be played into a call."""

    model_config = ConfigDict(extra="forbid")

    file: Annotated[
        str | None, Field(max_length=255, description="Of the folder of [media] sounds. Or:")
    ] = None
    tone_hz: Annotated[float | None, Field(ge=50, le=10_000)] = None
    duration_ms: Annotated[int, Field(ge=20, le=60_000, description="Of a tone")] = 500
    to: Annotated[WhoIsNamed, Field(min_length=1, description="Who hears it")] = ["people"]
    loop: Annotated[bool, Field(description="Until it is stopped")] = False
    gain_db: Annotated[float, Field(ge=MIN_GAIN_DB, le=MAX_GAIN_DB)] = 0.0

    @model_validator(mode="after")
    def _check_what(self) -> Wanted:
        if (self.file is None) == (self.tone_hz is None):
            raise ValueError("name either `file` or `tone_hz`")
        return self


class Playing(BaseModel):
    """A sound that is being played."""

    id: str
    "To stop it by: DELETE /v1/calls/{id}/play/{play}."


class NewMessage(BaseModel):
    """Something that an agent is told, beside what it hears."""

    model_config = ConfigDict(extra="forbid")

    leg: Annotated[Name, Field(description="Which agent: its leg's id, or its role")] = "ai"
    kind: Annotated[str, Field(min_length=1, max_length=64)] = "message"
    data: Annotated[dict[str, Any], Field(max_length=MAX_MESSAGE_ITEMS)]


class NewMetadata(BaseModel):
    """Something to be noted about a call; what has a name already is replaced."""

    model_config = ConfigDict(extra="forbid")

    values: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=MAX_KEY_CHARACTERS)],
            Annotated[str, Field(max_length=MAX_VALUE_CHARACTERS)],
        ],
        Field(min_length=1, max_length=MAX_VALUES),
    ]


class WhichKeys(BaseModel):
    """Keys of a secure input that an agent asked for."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[str, Field(min_length=1, max_length=128)]


class Keys(BaseModel):
    """Keys that were told to nobody in the call."""

    digits: str


def conduct_operations(
    control: ConductControl, summary: Callable[[str], CallSummary | None]
) -> list[Operation]:
    """The operations on calls that are up."""
    return [*_leg_operations(control, summary), *_sound_operations(control, summary)]


def _look(summary: Callable[[str], CallSummary | None], call_id: str) -> CallInfo:
    found = summary(call_id)
    if found is None:
        raise unknown_call(call_id)
    return describe_call(found)


def _leg_operations(
    control: ConductControl, summary: Callable[[str], CallSummary | None]
) -> list[Operation]:
    async def invite(id: str) -> Any:
        wish = await check_json(NewLeg)
        if wish.preset is None:  # who is let in is heard by nobody of whom nothing is said
            wish.preset = "listen"
        role = None if wish.role is None else Role(wish.role)
        with refusals():
            legs = control.invite(id, wish.to, role, wish.policy(), wish.ringing_timeout_s)
        return InvitedLegs(legs=list(legs), call=_look(summary, id))

    async def dismiss(id: str, leg: str) -> Any:
        with refusals():
            control.dismiss(id, leg)

    async def route(id: str) -> Any:
        wish = await check_json(NewRoutes)
        with refusals():
            control.route(id, [(each.leg, each.policy(each.summary)) for each in wish.legs])
        return _look(summary, id)

    return [
        Operation(
            "POST",
            "/v1/calls/{id}/legs",
            "addLeg",
            "Let an agent or a supervisor into a call of others",
            invite,
            HTTPStatus.ACCEPTED,
            takes=NewLeg,
            gives=InvitedLegs,
            refuses=(*REFUSES, HTTPStatus.FORBIDDEN),
        ),
        Operation(
            "DELETE",
            "/v1/calls/{id}/legs/{leg}",
            "removeLeg",
            "Let one party go; the call goes on where there is one left",
            dismiss,
            HTTPStatus.NO_CONTENT,
            refuses=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        ),
        Operation(
            "POST",
            "/v1/calls/{id}/route",
            "routeCall",
            "Say who hears whom, until it is said otherwise",
            route,
            takes=NewRoutes,
            gives=CallInfo,
            refuses=REFUSES,
        ),
    ]


def _sound_operations(
    control: ConductControl, summary: Callable[[str], CallSummary | None]
) -> list[Operation]:
    async def play(id: str) -> Any:
        wish = await check_json(Wanted)
        with refusals():
            return Playing(id=control.play(id, wish, frozenset(wish.to)))

    async def stop(id: str, play: str) -> Any:
        with refusals():
            control.stop_playing(id, play)

    async def stop_all(id: str) -> Any:
        with refusals():
            control.stop_playing(id, None)

    async def message(id: str) -> Any:
        wish = await check_json(NewMessage)
        with refusals():
            control.message(id, wish.leg, wish.kind, wish.data)

    async def note(id: str) -> Any:
        wish = await check_json(NewMetadata)
        with refusals():
            control.note(id, wish.values)
        return _look(summary, id)

    async def fetch(id: str) -> Any:
        wish = await check_json(WhichKeys)
        with refusals():
            return Keys(digits=control.fetch_keys(id, wish.token))

    gone = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)
    return [
        Operation(
            "POST",
            "/v1/calls/{id}/play",
            "play",
            "Play a file or a tone to some of a call",
            play,
            HTTPStatus.ACCEPTED,
            takes=Wanted,
            gives=Playing,
            refuses=REFUSES,
        ),
        Operation(
            "DELETE",
            "/v1/calls/{id}/play/{play}",
            "stopPlaying",
            "Play a sound no more",
            stop,
            HTTPStatus.NO_CONTENT,
            refuses=gone,
        ),
        Operation(
            "DELETE",
            "/v1/calls/{id}/play",
            "stopAllPlaying",
            "Play no sound in a call any more",
            stop_all,
            HTTPStatus.NO_CONTENT,
            refuses=gone,
        ),
        Operation(
            "POST",
            "/v1/calls/{id}/message",
            "tellAgent",
            "Tell an agent something that nobody hears",
            message,
            HTTPStatus.NO_CONTENT,
            takes=NewMessage,
            refuses=REFUSES,
        ),
        Operation(
            "POST",
            "/v1/calls/{id}/metadata",
            "noteMetadata",
            "Note something about a call",
            note,
            takes=NewMetadata,
            gives=CallInfo,
            refuses=REFUSES,
        ),
        Operation(
            "POST",
            "/v1/calls/{id}/secure-digits",
            "fetchDigits",
            "Fetch keys of a secure input, once",
            fetch,
            takes=WhichKeys,
            gives=Keys,
            refuses=REFUSES,
        ),
    ]

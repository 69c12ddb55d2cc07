"""Call control over HTTP: place, list, look at and end calls; their events on a WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator
from quart import websocket

from gateway.api.call_events import describe_call_event
from gateway.api.keys import KeyControl, key_operations
from gateway.api.loudness import LoudnessControl, loudness_operations
from gateway.api.openapi import Operation
from gateway.api.outbox import Outbox
from gateway.api.quality import QualityInfo, describe_quality
from gateway.api.refusals import REFUSES, refusals
from gateway.api.server import ApiError, check_json
from gateway.api.trunks import TrunkControl, describe_trunk_event
from gateway.call.call import CallSummary, TransferMode
from gateway.call.events import CallEnded, CallEvent
from gateway.leg.leg import LegId
from gateway.media.answering import AnsweringPolicy
from gateway.trunk.event import TrunkEvent

MAX_EVENTS_BEHIND = 1000
"Events kept for a subscriber that reads slowly; one further behind is cut off and told so."

Address = Annotated[str, Field(min_length=1, max_length=128)]


class CallControl(KeyControl, LoudnessControl, Protocol):
    """What the API asks of the node."""

    def originate(
        self, from_: str, to: str, answering_machine: AnsweringPolicy | None = None
    ) -> CallSummary: ...
    def calls(self) -> Sequence[CallSummary]: ...
    def summary(self, call_id: str) -> CallSummary | None: ...
    def hang_up(self, call_id: str) -> bool: ...
    def hold(self, call_id: str, leg: LegId | None, *, on: bool) -> None: ...
    def transfer(self, call_id: str, to: str, leg: LegId | None, mode: TransferMode) -> None: ...
    def join(
        self,
        call_id: str,
        other_id: str,
        leg: LegId | None,
        other_leg: LegId | None,
        mode: TransferMode,
    ) -> None: ...
    def observe(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]: ...


class NewCall(BaseModel):
    """Ring `from`; when it answers, call `to`."""

    model_config = ConfigDict(extra="forbid")

    from_: Annotated[Address, Field(alias="from", description="agent:NAME, or a number")]
    to: Annotated[Address, Field(description="A number, a name, or agent:NAME")]
    answering_machine: Annotated[
        AnsweringPolicy | None,
        Field(description="What an agent in `from` does if one answers; else as configured"),
    ] = None


Name = Annotated[str, Field(min_length=1, max_length=64)]


class WhichLeg(BaseModel):
    """One party of the call."""

    model_config = ConfigDict(extra="forbid")

    leg: Annotated[Name | None, Field(description="Its id; where left out, the caller")] = None


class NewTransfer(BaseModel):
    """Bring a party together with another; everybody else in their calls is let go."""

    model_config = ConfigDict(extra="forbid")

    to: Annotated[Address | None, Field(description="A number or a name. Or:")] = None
    call: Annotated[Name | None, Field(description="Another call, to be joined")] = None
    leg: Annotated[Name | None, Field(description="Who; where left out, the caller")] = None
    other_leg: Annotated[Name | None, Field(description="Who of `call`; else its caller")] = None
    mode: Annotated[
        Literal["auto", "refer", "dial"],
        Field(description="refer: the party calls by itself; dial: we do; auto: if it can"),
    ] = "auto"

    @model_validator(mode="after")
    def _check_where_to(self) -> NewTransfer:
        if (self.to is None) == (self.call is None):
            raise ValueError("name either `to` or `call`")
        if self.other_leg is not None and self.call is None:
            raise ValueError("`other_leg` is of a `call`")
        return self


class LegInfo(BaseModel):
    """One party of a call."""

    id: str
    kind: str
    role: str
    target: str
    state: str
    on_hold: bool
    "Whether we hold it."
    holds: bool
    "Whether it holds us."
    secure_to: str | None = None
    "Who alone hears it and gets its keys, in secure input."
    muted: bool
    "Whether nobody hears it."
    gain_db: float
    "How much louder than it is the others hear it."
    hears: list[str]
    "Whom it may hear: leg ids, roles, or all."
    heard_by: list[str]
    "Who may hear it."
    alone_with: str | None = None
    "Whom alone it talks with."
    yields_to: str | None = None
    "Who has taken its place: it listens."
    guest: bool
    "Whether the call ends without regard to it."
    quality: QualityInfo | None
    "Not in lists; after the end, of all its time."


class Outcome(BaseModel):
    """How a call ended."""

    reason: str
    fault: str
    status: int
    text: str
    answered: bool


class CallInfo(BaseModel):
    """One call."""

    model_config = ConfigDict(populate_by_name=True)

    id: str
    state: str
    from_: Annotated[str, Field(alias="from")]
    to: str
    age_s: float
    talked_s: float
    legs: list[LegInfo]
    outcome: Outcome | None
    metadata: dict[str, str]
    "What was noted about it."


class CallList(BaseModel):
    """The calls that are not over, oldest first."""

    calls: list[CallInfo]


def call_operations(control: CallControl) -> list[Operation]:
    """The operations on `/v1/calls`."""

    async def place() -> Any:
        body = await check_json(NewCall)
        return describe_call(control.originate(body.from_, body.to, body.answering_machine))

    async def list_calls() -> Any:
        return CallList(calls=[describe_call(summary) for summary in control.calls()])

    async def look(id: str) -> Any:
        summary = control.summary(id)
        if summary is None:
            raise unknown_call(id)
        return describe_call(summary)

    async def hang_up(id: str) -> Any:
        if not control.hang_up(id):
            raise unknown_call(id)

    async def hold(id: str) -> Any:
        return await set_hold(id, on=True)

    async def resume(id: str) -> Any:
        return await set_hold(id, on=False)

    async def set_hold(id: str, *, on: bool) -> Any:
        which = await check_json(WhichLeg)
        with refusals():
            control.hold(id, which.leg, on=on)
        return await look(id)

    async def transfer(id: str) -> Any:
        wish = await check_json(NewTransfer)
        mode = TransferMode(wish.mode)
        with refusals():
            if wish.call is not None:
                control.join(id, wish.call, wish.leg, wish.other_leg, mode)
            elif wish.to is not None:
                control.transfer(id, wish.to, wish.leg, mode)
        return await look(id)

    return [
        Operation(
            "POST",
            "/v1/calls",
            "placeCall",
            "Place a call between two parties",
            place,
            HTTPStatus.CREATED,
            takes=NewCall,
            gives=CallInfo,
            refuses=(
                HTTPStatus.BAD_REQUEST,
                HTTPStatus.NOT_FOUND,
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                HTTPStatus.SERVICE_UNAVAILABLE,
            ),
        ),
        Operation("GET", "/v1/calls", "listCalls", "The calls now", list_calls, gives=CallList),
        Operation(
            "GET",
            "/v1/calls/{id}",
            "getCall",
            "One call, also one that ended lately",
            look,
            gives=CallInfo,
            refuses=(HTTPStatus.NOT_FOUND,),
        ),
        Operation(
            "DELETE",
            "/v1/calls/{id}",
            "endCall",
            "End a call for everybody",
            hang_up,
            HTTPStatus.NO_CONTENT,
            refuses=(HTTPStatus.NOT_FOUND,),
        ),
        Operation(
            "POST",
            "/v1/calls/{id}/hold",
            "holdCall",
            "Put a party on hold: it hears music, and is heard by nobody",
            hold,
            takes=WhichLeg,
            gives=CallInfo,
            refuses=REFUSES,
        ),
        Operation(
            "POST",
            "/v1/calls/{id}/resume",
            "resumeCall",
            "Take a party off hold",
            resume,
            takes=WhichLeg,
            gives=CallInfo,
            refuses=REFUSES,
        ),
        Operation(
            "POST",
            "/v1/calls/{id}/transfer",
            "transferCall",
            "Transfer a party; `transfer.ended` tells what came of it",
            transfer,
            HTTPStatus.ACCEPTED,
            takes=NewTransfer,
            gives=CallInfo,
            refuses=REFUSES,
        ),
        *key_operations(control, look, CallInfo),
        *loudness_operations(control, look, CallInfo),
    ]


def describe_call(summary: CallSummary) -> CallInfo:
    """A call as the API tells it. The API's users may see numbers; logs may not."""
    outcome = summary.outcome
    return CallInfo(
        id=summary.id,
        state=summary.state.value,
        from_=summary.caller.value,
        to=summary.called.value,
        age_s=round(summary.age_s, 3),
        talked_s=round(summary.talked_s, 3),
        legs=[
            LegInfo(
                id=leg.id,
                kind=leg.kind.value,
                role=leg.role.value,
                target=leg.target,
                state=leg.state.value,
                on_hold=leg.on_hold,
                holds=leg.holds,
                secure_to=leg.secure_to,
                muted=leg.muted,
                gain_db=leg.gain_db,
                hears=sorted(leg.hears),
                heard_by=sorted(leg.heard_by),
                alone_with=leg.alone_with,
                yields_to=leg.yields_to,
                guest=leg.is_guest,
                quality=None if leg.quality is None else describe_quality(leg.id, leg.quality),
            )
            for leg in summary.legs
        ],
        outcome=None if outcome is None else _describe_outcome(outcome),
        metadata=dict(summary.metadata),
    )


def _describe_outcome(outcome: CallEnded) -> Outcome:
    return Outcome(
        reason=outcome.reason.value,
        fault=outcome.fault.value,
        status=outcome.status,
        text=outcome.text,
        answered=outcome.answered,
    )


async def serve_events(control: CallControl, trunks: TrunkControl | None = None) -> None:
    """Tell one subscriber of `/v1/events` everything that happens in calls and to trunks."""
    outbox = Outbox[CallEvent | TrunkEvent](MAX_EVENTS_BEHIND, _describe_any)
    stops = [control.observe(outbox.put)]
    if trunks is not None:
        stops.append(trunks.observe_trunks(outbox.put))
    try:
        await outbox.serve(_ignore_all)
    finally:
        for stop in stops:
            stop()


def _describe_any(event: CallEvent | TrunkEvent) -> dict[str, Any]:
    return (
        describe_trunk_event(event) if isinstance(event, TrunkEvent) else describe_call_event(event)
    )


async def _ignore_all() -> None:
    """A subscriber has nothing to say; what it says all the same must not pile up."""
    while True:
        await websocket.receive()


def unknown_call(call_id: str) -> ApiError:
    """There is no call of that id."""
    return ApiError(
        HTTPStatus.NOT_FOUND, "unknown-call", f"There is no call {call_id!r}; see GET /v1/calls"
    )

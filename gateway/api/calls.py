"""Call control over HTTP: place, list, look at and end calls; their events on a WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field
from quart import websocket

from gateway.api.openapi import Operation
from gateway.api.outbox import Outbox
from gateway.api.server import ApiError, check_json
from gateway.api.trunks import TrunkControl, describe_trunk_event
from gateway.call.call import CallSummary
from gateway.call.events import (
    CallAnswered,
    CallDigit,
    CallEnded,
    CallEvent,
    CallProgressed,
    CallStarted,
    LegDisturbed,
    LegEnded,
    LegSignalled,
    LegStarted,
)
from gateway.trunk.event import TrunkEvent

MAX_EVENTS_BEHIND = 1000
"Events kept for a subscriber that reads slowly; one further behind is cut off and told so."

Address = Annotated[str, Field(min_length=1, max_length=128)]


class CallControl(Protocol):
    """What the API asks of the node."""

    def originate(self, from_: str, to: str) -> CallSummary: ...
    def calls(self) -> Sequence[CallSummary]: ...
    def summary(self, call_id: str) -> CallSummary | None: ...
    def hang_up(self, call_id: str) -> bool: ...
    def observe(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]: ...


class NewCall(BaseModel):
    """Ring `from`; when it answers, call `to`."""

    model_config = ConfigDict(extra="forbid")

    from_: Annotated[Address, Field(alias="from", description="agent:NAME, or a number")]
    to: Annotated[Address, Field(description="A number, a name, or agent:NAME")]


class LegInfo(BaseModel):
    """One party of a call."""

    id: str
    kind: str
    role: str
    target: str
    state: str


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


class CallList(BaseModel):
    """The calls that are not over, oldest first."""

    calls: list[CallInfo]


def call_operations(control: CallControl) -> list[Operation]:
    """The operations on `/v1/calls`."""

    async def place() -> Any:
        body = await check_json(NewCall)
        return describe_call(control.originate(body.from_, body.to))

    async def list_calls() -> Any:
        return CallList(calls=[describe_call(summary) for summary in control.calls()])

    async def look(id: str) -> Any:
        summary = control.summary(id)
        if summary is None:
            raise _unknown(id)
        return describe_call(summary)

    async def hang_up(id: str) -> Any:
        if not control.hang_up(id):
            raise _unknown(id)

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
            )
            for leg in summary.legs
        ],
        outcome=None if outcome is None else _describe_outcome(outcome),
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
    return describe_trunk_event(event) if isinstance(event, TrunkEvent) else describe_event(event)


async def _ignore_all() -> None:
    """A subscriber has nothing to say; what it says all the same must not pile up."""
    while True:
        await websocket.receive()


def describe_event(event: CallEvent) -> dict[str, Any]:
    """An event as JSON. Its readers are the API's users, who may see numbers and digits."""
    told: dict[str, Any] = {"call": event.call, "at": round(event.at, 3)}
    match event:
        case CallStarted():
            told |= {"type": "call.started", "from": event.caller.value, "to": event.called.value}
        case LegStarted():
            told |= {"type": "leg.started", "leg": event.leg, "kind": event.kind.value}
            told |= {"role": event.role.value, "target": event.target}
        case LegSignalled():
            told |= {"type": "leg.signalled", "leg": event.leg, "sent": event.sent}
            told |= {"text": event.text}
        case CallProgressed():
            told |= {"type": "call.progressed", "leg": event.leg, "status": event.status}
            told |= {"reason": event.reason, "early_media": event.early_media}
        case CallAnswered():
            told |= {"type": "call.answered", "leg": event.leg}
        case CallDigit():
            told |= {"type": "call.digit", "leg": event.leg, "digit": event.digit.value}
            told |= {"phase": event.phase.value, "duration_ms": event.duration_ms}
        case LegDisturbed():
            told |= {"type": "leg.restored" if event.restored else "leg.disturbed"}
            told |= {"leg": event.leg}
        case LegEnded():
            told |= {"type": "leg.ended", "leg": event.leg, "reason": event.reason.value}
            told |= {"status": event.status, "text": event.text}
        case CallEnded():
            told |= {"type": "call.ended", "reason": event.reason.value}
            told |= {"fault": event.fault.value, "status": event.status, "text": event.text}
            told |= {"answered": event.answered, "duration_s": round(event.duration_s, 3)}
    return told


def _unknown(call_id: str) -> ApiError:
    return ApiError(
        HTTPStatus.NOT_FOUND, "unknown-call", f"There is no call {call_id!r}; see GET /v1/calls"
    )

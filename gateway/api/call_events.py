"""Events of calls as JSON. Its readers are the users of the API, who may see numbers and digits."""

from __future__ import annotations

from typing import Any

from gateway.api.quality import describe_alert, describe_quality
from gateway.call.events import (
    CallAnswered,
    CallDigit,
    CallEnded,
    CallEvent,
    CallNoted,
    CallProgressed,
    CallRefused,
    CallStarted,
    EventOfLeg,
    GuestFailed,
    LegAlerted,
    LegAmplified,
    LegDisturbed,
    LegEnded,
    LegHeld,
    LegMeasured,
    LegMoved,
    LegMuted,
    LegNoted,
    LegRouted,
    LegSecured,
    LegSignalled,
    LegStarted,
    PlayEnded,
    PlayStarted,
    RecordAsked,
    ToolEnded,
    ToolStarted,
    TransferEnded,
    TransferStarted,
)

Deed = GuestFailed | PlayStarted | PlayEnded | RecordAsked | CallNoted | ToolStarted | ToolEnded
"What was done in a call, by agents and by who is in charge."


def describe_call_event(event: CallEvent) -> dict[str, Any]:
    """One event, told by its `type`."""
    told: dict[str, Any] = {"call": event.call, "at": round(event.at, 3)}
    if isinstance(event, EventOfLeg):
        return told | {"leg": event.leg} | _of_leg(event)
    if isinstance(event, Deed):
        return told | _of_deed(event)
    match event:
        case CallStarted():
            told |= {"type": "call.started", "from": event.caller.value, "to": event.called.value}
        case CallRefused():
            told |= {"type": "call.refused", "source": event.source, "status": event.status}
            told |= {"text": event.text}
        case CallProgressed():
            told |= {"type": "call.progressed", "leg": event.leg, "status": event.status}
            told |= {"reason": event.reason, "early_media": event.early_media}
        case CallAnswered():
            told |= {"type": "call.answered", "leg": event.leg}
        case CallDigit():
            digit = None if event.digit is None else event.digit.value
            told |= {"type": "call.digit", "leg": event.leg, "digit": digit}
            told |= {"phase": event.phase.value, "duration_ms": event.duration_ms}
        case TransferStarted():
            told |= {"type": "transfer.started", "leg": event.leg, "by": event.by}
        case TransferEnded():
            told |= {"type": "transfer.ended", "leg": event.leg, "to": event.to}
            told |= {"status": event.status}
        case CallEnded():
            told |= {"type": "call.ended", "reason": event.reason.value}
            told |= {"fault": event.fault.value, "status": event.status, "text": event.text}
            told |= {"answered": event.answered, "duration_s": round(event.duration_s, 3)}
    return told


def _of_leg(event: EventOfLeg) -> dict[str, Any]:
    told: dict[str, Any] = {}
    match event:
        case LegStarted():
            told = {"type": "leg.started", "kind": event.kind.value}
            told |= {"role": event.role.value, "target": event.target}
        case LegSignalled():
            told = {"type": "leg.signalled", "sent": event.sent, "text": event.text}
        case LegDisturbed():
            told = {"type": "leg.restored" if event.restored else "leg.disturbed"}
        case LegHeld():
            told = {"type": "leg.held", "by_us": event.by_us, "direction": event.direction.value}
        case LegSecured() | LegMuted() | LegAmplified() | LegRouted():
            told = _of_hearing(event)
        case LegMeasured():
            quality = describe_quality(event.leg, event.quality).model_dump()
            told = {"type": "leg.quality", "final": event.is_final, **quality}
        case LegAlerted():
            told = {"type": "leg.quality_alert", "over": event.alert.is_over}
            told |= describe_alert(event.leg, event.alert)
        case LegNoted():
            told = {"type": "leg.noted", "kind": event.kind, "data": dict(event.data)}
        case LegMoved():
            told = {"type": "leg.moved", "to": event.to}
        case LegEnded():
            told = {"type": "leg.ended", "reason": event.reason.value}
            told |= {"status": event.status, "text": event.text}
    return told


def _of_hearing(event: LegSecured | LegMuted | LegAmplified | LegRouted) -> dict[str, Any]:
    """Who is heard by whom, and how loud."""
    match event:
        case LegSecured():
            return {"type": "leg.secured", "to": event.to}
        case LegMuted():
            return {"type": "leg.muted", "on": event.on}
        case LegAmplified():
            return {"type": "leg.gain", "gain_db": event.gain_db}
    told: dict[str, Any] = {"type": "leg.routed"}
    told |= {"hears": sorted(event.hears), "heard_by": sorted(event.heard_by)}
    told |= {"alone_with": event.alone_with, "yields_to": event.yields_to, "preset": event.preset}
    return told


def _of_deed(event: Deed) -> dict[str, Any]:
    told: dict[str, Any]
    match event:
        case GuestFailed():
            told = {"type": "guest.failed", "target": event.target}
            told |= {"reason": event.reason.value, "status": event.status}
        case PlayStarted():
            told = {"type": "play.started", "id": event.id, "sound": event.sound}
            told |= {"to": sorted(event.to), "loop": event.loops, "by": event.by}
        case PlayEnded():
            told = {"type": "play.ended", "id": event.id, "done": event.is_done}
        case RecordAsked():
            told = {"type": "call.record", "leg": event.leg, "on": event.on}
        case CallNoted():
            told = {"type": "call.metadata", "leg": event.leg, "values": dict(event.values)}
        case ToolStarted():
            to = None if event.to is None else event.to.value
            told = {"type": "tool.started", "leg": event.leg, "id": event.id}
            told |= {"tool": event.tool, "to": to}
        case ToolEnded():
            told = {"type": "tool.ended", "leg": event.leg, "id": event.id, "tool": event.tool}
            told |= {"status": event.status, "detail": event.detail}
    return told

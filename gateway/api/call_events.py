"""Events of calls as JSON. Its readers are the users of the API, who may see numbers and digits."""

from __future__ import annotations

from typing import Any

from gateway.api.quality import describe_alert, describe_quality
from gateway.call.events import (
    CallAnswered,
    CallDigit,
    CallEnded,
    CallEvent,
    CallProgressed,
    CallRefused,
    CallStarted,
    LegAlerted,
    LegAmplified,
    LegDisturbed,
    LegEnded,
    LegHeld,
    LegMeasured,
    LegMoved,
    LegMuted,
    LegNoted,
    LegSecured,
    LegSignalled,
    LegStarted,
    TransferEnded,
    TransferStarted,
)

LegEvent = (
    LegStarted
    | LegSignalled
    | LegDisturbed
    | LegHeld
    | LegSecured
    | LegMuted
    | LegAmplified
    | LegMeasured
    | LegAlerted
    | LegNoted
    | LegMoved
    | LegEnded
)


def describe_call_event(event: CallEvent) -> dict[str, Any]:
    """One event, told by its `type`."""
    told: dict[str, Any] = {"call": event.call, "at": round(event.at, 3)}
    if isinstance(event, LegEvent):
        return told | {"leg": event.leg} | _of_leg(event)
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


def _of_leg(event: LegEvent) -> dict[str, Any]:
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
        case LegSecured():
            told = {"type": "leg.secured", "to": event.to}
        case LegMuted():
            told = {"type": "leg.muted", "on": event.on}
        case LegAmplified():
            told = {"type": "leg.gain", "gain_db": event.gain_db}
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

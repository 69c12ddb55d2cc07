"""Calls as Twilio's REST interface has them: a fold over call events, and what is told of each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.agents.protocol import call_token
from gateway.agents.twiml.dates import rfc_2822
from gateway.agents.twiml.verbs import Action
from gateway.agents.wire.twilio import call_sid
from gateway.call.events import (
    CallAnswered,
    CallEnded,
    CallEvent,
    CallProgressed,
    CallStarted,
    LegNoted,
)
from gateway.leg.leg import EndReason
from gateway.media.answering import ANSWERED_BY

API_VERSION = "2010-04-01"

MAX_ENDED = 1000
"Calls that are over and can still be asked for, those that ended last."

EVENTS = ("initiated", "ringing", "answered", "completed")
"What a status callback can be asked for."

STATUSES = (
    "queued",
    "ringing",
    "in-progress",
    "completed",
    "busy",
    "failed",
    "no-answer",
    "canceled",
)

_EVENT_OF = {"queued": "initiated", "ringing": "ringing", "in-progress": "answered"}

_REFUSED = {
    EndReason.BUSY: "busy",
    EndReason.DECLINED: "busy",
    EndReason.NO_ANSWER: "no-answer",
    EndReason.UNAVAILABLE: "no-answer",
    EndReason.CANCELLED: "canceled",
    EndReason.HANGUP: "canceled",
    EndReason.LEFT: "canceled",
}
"The status of a call that nobody answered, by why it ended; others have failed."


@dataclass(frozen=True, slots=True)
class StatusCallback:
    """Who is told what of a call."""

    action: Action
    events: frozenset[str] = frozenset({"completed"})


@dataclass(slots=True)
class Record:
    """One call."""

    sid: str
    call: str
    from_: str
    to: str
    direction: str
    created_at: float
    "Unix seconds, as all of these."
    status: str = "queued"
    started_at: float | None = None
    ended_at: float | None = None
    updated_at: float = 0.0
    sip_status: int = 0
    answered_by: str | None = None
    callback: StatusCallback | None = None
    machine_callback: Action | None = None
    "Told who has answered (AsyncAmdStatusCallback)."
    sequence: int = 0
    "Of the next status callback."

    @property
    def is_over(self) -> bool:
        return self.ended_at is not None

    @property
    def duration_s(self) -> int | None:
        """From the answer to the end; None: it goes on, or nobody answered."""
        if self.ended_at is None:
            return None
        return 0 if self.started_at is None else round(self.ended_at - self.started_at)


Tell = Callable[[Record, Action, Mapping[str, str]], None]


class Records:
    """The calls there are, and were lately."""

    def __init__(self, account_sid: str, *, now: Callable[[], float], tell: Tell) -> None:
        """
        Args:
            now: Unix seconds.
            tell: posts a status callback.
        """
        self._account_sid = account_sid
        self._now = now
        self._tell = tell
        self._by_call: dict[str, Record] = {}
        self._by_sid: OrderedDict[str, Record] = OrderedDict()
        self._ended = 0

    def place(
        self,
        call: str,
        from_: str,
        to: str,
        callback: StatusCallback | None,
        machine_callback: Action | None = None,
    ) -> Record:
        """The REST interface has placed a call."""
        # By its sid: one that nobody would take may be over already.
        record = self._by_sid.get(call_sid(call_token(call))) or self._add(call, from_, to)
        record.from_, record.to, record.direction = from_, to, "outbound-api"
        record.callback, record.machine_callback = callback, machine_callback
        if record.status == "ringing":  # as all are taken to be that others placed
            record.status = "queued"
        self._report(record, "initiated")
        if record.is_over:  # it was quick
            self._report(record, "completed")
        return record

    def find(self, sid: str) -> Record | None:
        """A call by its CallSid."""
        return self._by_sid.get(sid)

    def all(self) -> list[Record]:
        """Every call, the newest first."""
        return list(reversed(self._by_sid.values()))

    def on_event(self, event: CallEvent) -> None:
        """Something has happened in a call."""
        if isinstance(event, CallStarted):
            if event.call not in self._by_call:
                self._add(event.call, event.caller.value, event.called.value).status = "ringing"
            return
        record = self._by_call.get(event.call)
        if record is None:
            return
        match event:
            case CallProgressed() if record.status == "queued":
                self._become(record, "ringing")
            case CallAnswered() if record.started_at is None:
                record.started_at = self._now()
                self._become(record, "in-progress")
            case LegNoted(kind="answering_machine"):
                self._note_machine(record, event)
            case CallEnded():
                self._end(record, event)

    def _add(self, call: str, from_: str, to: str) -> Record:
        now = self._now()
        record = Record(call_sid(call_token(call)), call, from_, to, "inbound", now, updated_at=now)
        self._by_call[call] = self._by_sid[record.sid] = record
        return record

    def _note_machine(self, record: Record, event: LegNoted) -> None:
        record.answered_by = ANSWERED_BY.get(event.data["kind"], "unknown")
        if record.machine_callback is not None:
            fields = {
                "CallSid": record.sid,
                "AccountSid": self._account_sid,
                "AnsweredBy": record.answered_by,
                "MachineDetectionDuration": str(event.data["after_ms"]),
            }
            self._tell(record, record.machine_callback, fields)

    def _become(self, record: Record, status: str) -> None:
        record.status, record.updated_at = status, self._now()
        self._report(record, _EVENT_OF[status])

    def _end(self, record: Record, event: CallEnded) -> None:
        now = self._now()
        record.ended_at = record.updated_at = now
        record.sip_status = event.status
        record.status = "completed" if event.answered else _REFUSED.get(event.reason, "failed")
        del self._by_call[record.call]
        self._ended += 1
        if self._ended > MAX_ENDED:
            oldest = next(sid for sid, each in self._by_sid.items() if each.is_over)
            del self._by_sid[oldest]
            self._ended -= 1
        self._report(record, "completed")

    def _report(self, record: Record, event: str) -> None:
        callback = record.callback
        if callback is None or event not in callback.events:
            return
        fields = {
            "CallSid": record.sid,
            "AccountSid": self._account_sid,
            "From": record.from_,
            "To": record.to,
            "Caller": record.from_,
            "Called": record.to,
            "CallStatus": "initiated" if event == "initiated" else record.status,
            "ApiVersion": API_VERSION,
            "Direction": record.direction,
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(record.sequence),
            "Timestamp": rfc_2822(self._now()),
        }
        if event == "completed":
            fields |= {"CallDuration": str(record.duration_s or 0), "Duration": "0"}
            fields["Duration"] = str(-(-(record.duration_s or 0) // 60))  # minutes, begun ones
            if record.sip_status:
                fields["SipResponseCode"] = str(record.sip_status)
        if record.answered_by is not None:
            fields["AnsweredBy"] = record.answered_by
        record.sequence += 1
        self._tell(record, callback.action, fields)


def describe_record(record: Record, account_sid: str) -> dict[str, Any]:
    """A call as the REST interface tells it."""
    uri = f"/{API_VERSION}/Accounts/{account_sid}/Calls/{record.sid}"
    duration_s = record.duration_s
    return {
        "sid": record.sid,
        "account_sid": account_sid,
        "api_version": API_VERSION,
        "annotation": None,
        "answered_by": record.answered_by,
        "caller_name": None,
        "date_created": _date(record.created_at),
        "date_updated": _date(record.updated_at),
        "direction": record.direction,
        "duration": None if duration_s is None else str(duration_s),
        "end_time": _date(record.ended_at),
        "forwarded_from": None,
        "from": record.from_,
        "from_formatted": record.from_,
        "group_sid": None,
        "parent_call_sid": None,
        "phone_number_sid": None,
        "price": None,
        "price_unit": "USD",
        "queue_time": "0",
        "start_time": _date(record.started_at),
        "status": record.status,
        "subresource_uris": {},
        "to": record.to,
        "to_formatted": record.to,
        "trunk_sid": None,
        "uri": f"{uri}.json",
    }


def _date(at: float | None) -> str | None:
    """RFC 2822, in UTC."""
    return None if at is None else rfc_2822(at)

"""Key presses as RTP events (RFC 4733): the payload, and what a peer pressed.

Presses are never relayed packet by packet: Firefox sends three end packets and no start, which
a trunk may not take for a press. What was heard becomes events; `keypad` makes packets of those.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from enum import Enum

from gateway.codec import TICK_RATE, Codec
from gateway.errors import RemoteProtocolError
from gateway.rtp.packet import RtpPacket

DIGITS = "0123456789*#ABCD"
"DTMF digits in the order of their event codes (RFC 4733 §3.2, table 3)."

MAX_DURATION = 0xFFFF
"Of one segment, in units of the event's clock: 8.2 s at 8 kHz, 1.4 s at 48 kHz."

MAX_EVENTS_IN_PACKET = 4
"More presses than fit in a packet's time are not packed into it (RFC 4733 §2.5.1.5)."

MAX_DIGITS_PER_S = 20
"A person presses 10 at most; a flood of more would make work for every listener of digits."

RELEASE_S = 0.2
"""A press of which no packet came for so long is over: senders repeat every 50 ms at the latest
(RFC 4733 §2.5.1.2), and three lost in a row are plausible."""

REPLAY_S = 1.0
"""A first packet that comes so long after its press was over is a new press with old numbers:
recordings of a press are sent again as they are (SIPp)."""

REMEMBERED_PRESSES = 16
"Presses that ended and may still be repeated: more than can be under way in a reordering window."

_EVENT = struct.Struct("!BBH")


class DtmfMode(Enum):
    """How key presses reach a party, and are looked for in what it sends."""

    AUTO = "auto"
    "By event packets if negotiated, else by INFO if the peer takes it, else as sound."
    RFC4733 = "rfc4733"
    "By event packets."
    INFO = "info"
    "By SIP INFO."
    INBAND = "inband"
    "As sound."

    def takes(self, codec: Codec) -> bool:
        """Whether a format is offered: who is offered events sends no other kind of keys."""
        return codec.name != "telephone-event" or self in (DtmfMode.AUTO, DtmfMode.RFC4733)


@dataclass(slots=True)
class EventReport:
    """One telephone-event payload (RFC 4733 §2.3)."""

    event: int
    "0 to 15 are DTMF."
    end: bool
    volume: int
    "Level below 0 dBm0, 0 to 63."
    duration: int
    "Since the start of the press or segment, in units of the event's clock."


@dataclass(frozen=True, slots=True)
class DigitEvent:
    """One edge of a key press. Each press gives exactly one start and one end, in this order."""

    digit: str
    "One of 0-9 * # A-D."
    phase: str
    '"start" or "end".'
    duration_ms: int
    "How long it was held; 0 at the start."


def parse_events(payload: bytes) -> list[EventReport]:
    """Read a telephone-event payload, usually of one event.

    Raises:
        RemoteProtocolError: it is not a whole number of events between one and a few.
    """
    count, rest = divmod(len(payload), _EVENT.size)
    if rest or not 0 < count <= MAX_EVENTS_IN_PACKET:
        raise RemoteProtocolError(f"telephone-event payload of {len(payload)} bytes")
    return [
        EventReport(event, flags > 0x7F, flags & 0x3F, duration)
        for event, flags, duration in _EVENT.iter_unpack(payload)
    ]


def build_events(reports: list[EventReport]) -> bytes:
    """The payload of these events: the inverse of `parse_events`."""
    return b"".join(
        _EVENT.pack(report.event, report.volume | (0x80 if report.end else 0), report.duration)
        for report in reports
    )


_Key = tuple[int, int, int]  # SSRC, timestamp, event: what packets of one press have in common


@dataclass(slots=True)
class _Heard:
    """A press that a peer is at."""

    key: _Key
    "Of its present segment."
    clock_rate: int
    heard_at: float
    duration: int = 0
    "Of its present segment."
    before: int = 0
    "Of the segments before it."

    @property
    def digit(self) -> str:
        return DIGITS[self.key[2]]

    @property
    def duration_ms(self) -> int:
        return (self.before + self.duration) * 1000 // self.clock_rate


class DigitReceiver:
    """Hears presses in a stream's event packets, in whatever order and number those come.

    A press starts with the first of its packets that comes, be it the last one sent, and ends
    with an E bit, with the next press or after `RELEASE_S` without a packet. A packet may come
    again or late: a press is known by SSRC, timestamp and event.
    """

    def __init__(self) -> None:
        self._press: _Heard | None = None
        self._over: dict[_Key, float] = {}  # when presses ended, the latest last
        self._started_at: deque[float] = deque(maxlen=MAX_DIGITS_PER_S)
        self.junk = 0
        "Payloads that are no events."
        self.refused = 0
        "Presses beyond `MAX_DIGITS_PER_S`, and events that are no digits."

    def receive(
        self, packet: RtpPacket, clock_rate: int, timestamp_rate: int, now: float
    ) -> list[DigitEvent]:
        """Take one event packet.

        Args:
            clock_rate: of the telephone-event format: durations count in it.
            timestamp_rate: of the audio beside it: in Firefox the timestamps count in that
                instead (2025: 48000 under telephone-event/8000).
        """
        try:
            reports = parse_events(packet.payload)
        except RemoteProtocolError:
            self.junk += 1
            return []
        events: list[DigitEvent] = []
        timestamp = packet.timestamp
        for report in reports:
            key = (packet.ssrc, timestamp, report.event)
            over_at = self._over.get(key)
            if report.event >= len(DIGITS):
                self.refused += 1
            elif over_at is None or (packet.marker and now >= over_at + REPLAY_S):
                self._hear(key, report, clock_rate, timestamp_rate, now, events)
            # RFC 4733 §2.5.1.5: the next one begins where this one ends.
            step = report.duration * max(timestamp_rate, clock_rate) // clock_rate
            timestamp = (timestamp + step) & 0xFFFF_FFFF
        return events

    def handle_timer(self, now: float) -> list[DigitEvent]:
        """End the press of which nothing has been heard for too long."""
        events: list[DigitEvent] = []
        press = self._press
        if press is not None and now >= press.heard_at + RELEASE_S:
            self._end(press, now, events)
        return events

    def next_timer(self) -> float | None:
        """When the present press is over if nothing more comes."""
        return None if self._press is None else self._press.heard_at + RELEASE_S

    def _hear(
        self,
        key: _Key,
        report: EventReport,
        clock_rate: int,
        timestamp_rate: int,
        now: float,
        events: list[DigitEvent],
    ) -> None:
        press = self._press
        if press is not None and press.key != key:
            if _is_older(key, press):
                return
            if _continues(key, press, timestamp_rate):
                self._remember(press.key, now)
                press.key = key
                press.before += MAX_DURATION
                press.duration = 0
            else:
                # RFC 4733 §2.5.2.2: the next tone ends the one before.
                self._end(press, now, events)
        press = self._press or self._start(key, clock_rate, now, events)
        if press is None:
            return
        press.heard_at = now
        press.duration = max(press.duration, report.duration)
        if report.end:
            self._end(press, now, events)

    def _start(
        self, key: _Key, clock_rate: int, now: float, events: list[DigitEvent]
    ) -> _Heard | None:
        started_at = self._started_at
        if len(started_at) == MAX_DIGITS_PER_S and now - started_at[0] < 1.0:
            self.refused += 1
            self._remember(key, now)
            return None
        started_at.append(now)
        self._over.pop(key, None)
        press = self._press = _Heard(key, clock_rate, now)
        events.append(DigitEvent(press.digit, "start", 0))
        return press

    def _end(self, press: _Heard, now: float, events: list[DigitEvent]) -> None:
        self._press = None
        self._remember(press.key, now)
        events.append(DigitEvent(press.digit, "end", press.duration_ms))

    def _remember(self, key: _Key, now: float) -> None:
        over = self._over
        over.pop(key, None)
        over[key] = now
        if len(over) > REMEMBERED_PRESSES:
            del over[next(iter(over))]


def _is_older(key: _Key, press: _Heard) -> bool:
    """Whether a packet belongs to a press before `press`, all of whose packets were overtaken."""
    return key[0] == press.key[0] and 0 < (press.key[1] - key[1]) & 0xFFFF_FFFF < 0x8000_0000


def _continues(key: _Key, press: _Heard, timestamp_rate: int) -> bool:
    """Whether a packet tells of the next segment of one long press (RFC 4733 §2.5.2.3)."""
    (ssrc, timestamp, event), (old_ssrc, old_timestamp, old_event) = key, press.key
    step = (timestamp - old_timestamp) & 0xFFFF_FFFF
    # Not asked is whether the last packet told that the segment was full: it may be lost. Nor is
    # the rate of the timestamps known as long as no audio has come.
    rates = (press.clock_rate, timestamp_rate, TICK_RATE)
    steps = (MAX_DURATION * rate // press.clock_rate for rate in rates)
    return (ssrc, event) == (old_ssrc, old_event) and step in steps

"""What a stream counts about itself (RFC 3550 §6.4, A.3, A.8)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ReceiveStats:
    """What was received. Totals go on across changes of SSRC and resynchronisation."""

    packets: int = 0
    "Valid packets of the stream, events, late ones and duplicates among them."
    bytes: int = 0
    "Their payload bytes."
    lost: int = 0
    "Packets that never came: expected less received (RFC 3550 A.3), never below 0."
    fraction_lost: float = 0.0
    "Lost in the last report interval, 0 to 1."
    late: int = 0
    "Came after they had been given up, and were dropped."
    reordered: int = 0
    "Came out of order but in time, and were put in order."
    duplicates: int = 0
    "Came again, and were dropped."
    resyncs: int = 0
    "Changes of SSRC and jumps of sequence number or timestamp."
    unknown: int = 0
    "Of a payload type that was not negotiated, or of an SSRC that has been left; dropped."
    junk: int = 0
    "Not RTP, not RTCP, or not an event, though it claimed to be; dropped."
    jitter_ms: float = 0.0
    "Interarrival jitter (RFC 3550 A.8)."


@dataclass(slots=True)
class SendStats:
    """What was sent."""

    packets: int = 0
    bytes: int = 0
    "Payload bytes."


@dataclass(slots=True)
class RemoteStats:
    """How the peer says that our packets fare (the report block of its SR or RR)."""

    reported_at: float
    "Loop seconds of its last report."
    lost: int
    "Cumulative; may be negative where there are duplicates (RFC 3550 §6.4.1)."
    fraction_lost: float
    "In its last report interval, 0 to 1."
    jitter_ms: float


@dataclass(slots=True)
class StreamStats:
    """How one RTP stream fares, in both directions."""

    received: ReceiveStats
    sent: SendStats
    remote: RemoteStats | None
    "None until the peer has reported on us."
    rtt_ms: float | None
    "Round trip from LSR and DLSR (RFC 3550 §6.4.1); None until it was measured."

"""What a stream counts about itself (RFC 3550 §6.4, A.3, A.8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.rtp.burst import LossPattern
from gateway.rtp.xr import VoiceMetrics


@dataclass(slots=True)
class ReceiveStats:
    """What was received. Totals go on across changes of SSRC and resynchronisation."""

    packets: int = 0
    "Valid packets of the stream, events, late ones and duplicates among them."
    bytes: int = 0
    "Their payload bytes."
    lost: int = 0
    "Packets that never came; a late one did come."
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
    "Of a payload type that was not negotiated, or of an SSRC that is not the stream's; dropped."
    junk: int = 0
    "Malformed: RTP, an event or audio only by its claim; dropped."
    jitter_ms: float = 0.0
    "Interarrival jitter (RFC 3550 A.8)."
    bad_reports: int = 0
    "RTCP packets that were malformed; dropped."
    pattern: LossPattern = field(default_factory=LossPattern)
    "What could not be played in time, because it was lost or late, and how that lies together."
    codec: str = "PCMU"
    "What was heard last, by its encoding name."
    packet_ms: float = 20.0
    "How long its packets last."


@dataclass(slots=True)
class SendStats:
    """What was sent."""

    packets: int = 0
    bytes: int = 0
    "Payload bytes."
    digits_dropped: int = 0
    "Presses for which there was no room."


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
    sequence: int = 0
    "The highest number of ours that reached it, extended by its cycles."


@dataclass(slots=True)
class StreamStats:
    """How one RTP stream fares, in both directions."""

    received: ReceiveStats
    sent: SendStats
    remote: RemoteStats | None
    "None until the peer has reported on us."
    rtt_ms: float | None
    "Round trip from LSR and DLSR (RFC 3550 §6.4.1), or DLRR (RFC 3611); None: not measured yet."
    voice: VoiceMetrics | None = None
    "What the peer's RTCP XR said last about our packets."
    reported_at: float | None = None
    "Loop seconds of the peer's last SR or RR, whomever it reported on; None: there was none."
    unheard: int = 0
    "Packets sent before that report, after the last one that the peer says has reached it."


class Glance(NamedTuple):
    """What a meter looks at again and again, of `StreamStats`."""

    packets: int
    jitter_ms: float
    expected: int
    missing: int
    "Of those that were expected."
    remote: RemoteStats | None
    rtt_ms: float | None
    reported_at: float | None
    unheard: int


@dataclass(slots=True)
class Reception:
    """What a report block says about a source (RFC 3550 §6.4.1)."""

    ssrc: int
    sequence: int
    "The highest received, extended by its cycles."
    lost: int
    "Expected less received, negative where duplicates came."
    fraction_lost: float
    "Of the interval since the last report, 0 to 1."
    jitter: float
    "In timestamp units."


class LossCounter:
    """Packets expected against packets received, from one source at a time (RFC 3550 A.3)."""

    __slots__ = (
        "_before",
        "_duplicates",
        "_expected_prior",
        "_first",
        "_packets",
        "_received_prior",
        "fraction",
    )

    def __init__(self) -> None:
        self._first = self._packets = self._duplicates = 0
        self._expected_prior = self._received_prior = 0
        self._before = 0
        self.fraction = 0.0
        "Lost in the last complete interval."

    def restart(self, end: int, first: int, packets: int, duplicates: int) -> None:
        """Begin with a new source or sequence at place `first`.

        Args:
            end: the place after the last one received from the source before.
            packets: counted so far, from all sources, with their `duplicates`.
        """
        self._before = self.lost(end, packets, duplicates)
        self._first, self._packets, self._duplicates = first, packets, duplicates
        self._expected_prior = self._received_prior = 0

    def lost(self, end: int, packets: int, duplicates: int) -> int:
        """Packets that never came, from all sources so far."""
        received = packets - self._packets - (duplicates - self._duplicates)
        return self._before + max(0, end - self._first - received)

    def take_interval(self, end: int, packets: int) -> tuple[int, int]:
        """Close a report interval, which sets `fraction`.

        Returns:
            Cumulative loss of the present source, and how many packets it was expected to send
            in the interval.
        """
        expected, received = end - self._first, packets - self._packets
        expected_interval = expected - self._expected_prior
        lost_interval = expected_interval - (received - self._received_prior)
        self._expected_prior, self._received_prior = expected, received
        is_lossy = expected_interval > 0 and lost_interval > 0
        self.fraction = lost_interval / expected_interval if is_lossy else 0.0
        return expected - received, expected_interval

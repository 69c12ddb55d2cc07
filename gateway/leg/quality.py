"""How one leg's media fares, as values. What each figure is: docs/quality.md."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Way(Enum):
    """A direction of a leg's media, as seen from here."""

    RECEIVED = "received"
    SENT = "sent"


class Alert(Enum):
    """What is wrong with a leg's media, one way."""

    ONE_WAY_AUDIO = "one-way-audio"
    HIGH_LOSS = "high-loss"
    CLIPPING = "clipping"


@dataclass(frozen=True, slots=True)
class QualityAlert:
    """Something is wrong with a leg's media, or is so no longer. A leg event."""

    alert: Alert
    way: Way
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """What was wrong with a leg's media, and for how long altogether."""

    alert: Alert
    way: Way
    seconds: float


@dataclass(slots=True)
class ReceivedQuality:
    """What comes from the party, measured here. None: not measured, or not yet."""

    packets: int = 0
    bytes: int = 0
    "Payload bytes."
    lost: int = 0
    "Never came."
    loss_percent: float = 0.0
    "Of all that were expected, what could not be played: lost, or late."
    late: int = 0
    reordered: int = 0
    duplicates: int = 0
    jitter_ms: float | None = None
    jitter_max_ms: float | None = None
    jitter_mean_ms: float | None = None
    burst_ratio: float = 1.0
    r_factor: float | None = None
    mos: float | None = None
    mos_now: float | None = None
    "Of the last seconds alone; the others are of all the time."
    level_dbov: float | None = None
    clipping_percent: float | None = None
    silence_percent: float | None = None


@dataclass(slots=True)
class SentQuality:
    """What goes to the party: what was sent, and how it says that it is received."""

    packets: int = 0
    bytes: int = 0
    "Payload bytes."
    lost: int | None = None
    loss_percent: float | None = None
    jitter_ms: float | None = None
    jitter_max_ms: float | None = None
    jitter_mean_ms: float | None = None
    r_factor: float | None = None
    mos: float | None = None
    mos_now: float | None = None
    "Worked out from the party's last report alone."
    is_mos_told: bool = False
    "Whether R and MOS are the party's own (RTCP XR), not worked out from its reports."
    level_dbov: float | None = None
    clipping_percent: float | None = None
    silence_percent: float | None = None

"""How a leg's media fares, as JSON: in the record of a call and in events (docs/quality.md)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from gateway.leg.leg import LegId, MediaQuality
from gateway.leg.quality import Alert, QualityAlert, ReceivedQuality, SentQuality, Way


class ReceivedInfo(BaseModel):
    """What comes from the party, measured by the gateway."""

    packets: int
    bytes: int
    lost: int
    loss_percent: float
    "Lost or late, of all that were expected."
    late: int
    reordered: int
    duplicates: int
    jitter_ms: float | None
    jitter_max_ms: float | None
    jitter_mean_ms: float | None
    burst_ratio: float
    r_factor: float | None
    mos: float | None
    mos_now: float | None
    "Of the last seconds; all else is of the whole time."
    level_dbov: float | None
    "Sampled; so are clipping and silence."
    clipping_percent: float | None
    silence_percent: float | None


class SentInfo(BaseModel):
    """What goes to the party: what was sent, and what its reports say of it."""

    packets: int
    bytes: int
    lost: int | None
    loss_percent: float | None
    jitter_ms: float | None
    jitter_max_ms: float | None
    jitter_mean_ms: float | None
    r_factor: float | None
    mos: float | None
    mos_now: float | None
    "By the party's last report alone."
    is_mos_told: bool
    "Whether the party told it itself, in RTCP XR."
    level_dbov: float | None
    clipping_percent: float | None
    silence_percent: float | None


class AlertInfo(BaseModel):
    """Something that is wrong now."""

    alert: str
    direction: str
    text: str


class TroubleInfo(BaseModel):
    """Something that is wrong, or was."""

    alert: str
    direction: str
    seconds: float
    "Altogether, from when it was told."


class QualityInfo(BaseModel):
    """How the media of one party fares, or fared."""

    codec: str | None
    round_trip_ms: float | None
    received: ReceivedInfo | None
    sent: SentInfo | None
    digits_received: int
    "Keys that the party has pressed."
    digits_sent: int
    "Keys that were pressed toward it."
    digits_unsent: int
    "Keys that could not be: it takes none, or too many at once."
    alerts: list[AlertInfo]
    troubles: list[TroubleInfo]


def describe_quality(leg: LegId, quality: MediaQuality) -> QualityInfo:
    """The figures, rounded to what they are worth."""
    return QualityInfo(
        codec=quality.codec,
        round_trip_ms=_round(quality.round_trip_ms, 1),
        received=None if quality.received is None else _describe_received(quality.received),
        sent=None if quality.sent is None else _describe_sent(quality.sent),
        digits_received=quality.digits_received,
        digits_sent=quality.digits_sent,
        digits_unsent=quality.digits_unsent,
        alerts=[AlertInfo(**describe_alert(leg, alert)) for alert in quality.alerts],
        troubles=[
            TroubleInfo(alert=each.alert.value, direction=each.way.value, seconds=each.seconds)
            for each in quality.troubles
        ],
    )


def describe_alert(leg: LegId, alert: QualityAlert) -> dict[str, Any]:
    """What is wrong, which way, and in words."""
    return {
        "alert": alert.alert.value,
        "direction": alert.way.value,
        "text": _WORDS[alert.alert, alert.way].format(leg),
    }


def mos_now(quality: MediaQuality) -> float | None:
    """The MOS of the last seconds, of the worse direction; None where neither was measured."""
    flows = (quality.received, quality.sent)
    known = [flow.mos_now for flow in flows if flow is not None and flow.mos_now is not None]
    return round(min(known), 2) if known else None


_WORDS = {
    (Alert.ONE_WAY_AUDIO, Way.RECEIVED): "nothing comes from {}",
    (Alert.ONE_WAY_AUDIO, Way.SENT): "{} gets nothing (its reports say so)",
    (Alert.HIGH_LOSS, Way.RECEIVED): "much of what {} sends is lost",
    (Alert.HIGH_LOSS, Way.SENT): "much of what {} is sent is lost (its reports say so)",
    (Alert.CLIPPING, Way.RECEIVED): "{} is too loud, and clipped",
    (Alert.CLIPPING, Way.SENT): "{} is sent sound that is clipped",
}


def _describe_received(it: ReceivedQuality) -> ReceivedInfo:
    return ReceivedInfo(
        packets=it.packets,
        bytes=it.bytes,
        lost=it.lost,
        loss_percent=round(it.loss_percent, 2),
        late=it.late,
        reordered=it.reordered,
        duplicates=it.duplicates,
        jitter_ms=_round(it.jitter_ms, 2),
        jitter_max_ms=_round(it.jitter_max_ms, 2),
        jitter_mean_ms=_round(it.jitter_mean_ms, 2),
        burst_ratio=round(it.burst_ratio, 2),
        r_factor=_round(it.r_factor, 1),
        mos=_round(it.mos, 2),
        mos_now=_round(it.mos_now, 2),
        level_dbov=_round(it.level_dbov, 1),
        clipping_percent=_round(it.clipping_percent, 2),
        silence_percent=_round(it.silence_percent, 1),
    )


def _describe_sent(it: SentQuality) -> SentInfo:
    return SentInfo(
        packets=it.packets,
        bytes=it.bytes,
        lost=it.lost,
        loss_percent=_round(it.loss_percent, 2),
        jitter_ms=_round(it.jitter_ms, 2),
        jitter_max_ms=_round(it.jitter_max_ms, 2),
        jitter_mean_ms=_round(it.jitter_mean_ms, 2),
        r_factor=_round(it.r_factor, 1),
        mos=_round(it.mos, 2),
        mos_now=_round(it.mos_now, 2),
        is_mos_told=it.is_mos_told,
        level_dbov=_round(it.level_dbov, 1),
        clipping_percent=_round(it.clipping_percent, 2),
        silence_percent=_round(it.silence_percent, 1),
    )


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)

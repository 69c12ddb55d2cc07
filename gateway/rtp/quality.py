"""What the counters of a stream say about quality: ratings, and RTCP XR's voice metrics."""

from __future__ import annotations

from gateway.rtp.emodel import Rating, rate
from gateway.rtp.stats import ReceiveStats
from gateway.rtp.xr import UNAVAILABLE, VoiceMetrics

DBM0_OF_DBOV = 6.18
"""0 dBov is a square wave at full scale, 3.01 dB above a sine of that; and such a sine is 3.17 dBm0
in μ-law (G.711 §4: a sequence for 0 dBm0). A-law's 3.14 is as near as whole decibels need."""

JITTERS_HELD = 2.0
"A jitter buffer that few packets miss holds so many times the mean deviation."

CONCEALMENT = 0b1110_0000
"RX config of XR (RFC 3611 §4.7.6): standard concealment, a buffer that does not adapt."


def way_ms(rtt_ms: float | None, packet_ms: float, jitter_ms: float) -> float:
    """From mouth to ear, estimated: half the round trip, one packet, and a jitter buffer."""
    return (rtt_ms or 0.0) / 2 + packet_ms + JITTERS_HELD * jitter_ms


def rate_received(stats: ReceiveStats, rtt_ms: float | None) -> Rating:
    """How good a conversation with whom we hear is, from the beginning until now."""
    return rate(
        stats.codec,
        loss_percent=stats.pattern.loss_percent,
        burst_ratio=stats.pattern.burst_ratio,
        delay_ms=way_ms(rtt_ms, stats.packet_ms, stats.jitter_ms),
    )


def voice_metrics(
    ssrc: int,
    stats: ReceiveStats,
    *,
    rtt_ms: float | None,
    signal_dbov: float | None,
    reorder_ms: int,
) -> VoiceMetrics:
    """What RTCP XR tells the peer about its voice (RFC 3611 §4.7).

    Args:
        ssrc: the peer's.
        signal_dbov: how loud it is; None where that was not measured.
        reorder_ms: how long we wait for a packet. What comes in order is not held at all.
    """
    pattern, expected = stats.pattern, stats.pattern.expected or 1
    late = min(stats.late, pattern.missing)
    listening = rate(
        stats.codec, loss_percent=pattern.loss_percent, burst_ratio=pattern.burst_ratio
    )
    conversation = rate_received(stats, rtt_ms)
    return VoiceMetrics(
        ssrc,
        loss_rate=_of_256((pattern.missing - late) / expected),
        discard_rate=_of_256(late / expected),
        burst_density=_of_256(pattern.burst_density),
        gap_density=_of_256(pattern.gap_density),
        burst_ms=_milliseconds(pattern.burst_ms(stats.packet_ms)),
        gap_ms=_milliseconds(pattern.gap_ms(stats.packet_ms)),
        round_trip_ms=_milliseconds(rtt_ms or 0.0),
        end_system_ms=_milliseconds(stats.packet_ms),
        signal_level=_dbm0(signal_dbov),
        r_factor=round(conversation.r),
        mos_lq=_tenths(listening.mos),
        mos_cq=_tenths(conversation.mos),
        receiver=CONCEALMENT,
        maximum_ms=reorder_ms,
        absolute_ms=reorder_ms,
    )


def _of_256(share: float) -> int:
    return min(255, int(share * 256))


def _milliseconds(ms: float) -> int:
    return min(0xFFFF, round(ms))


def _tenths(mos: float) -> int:
    return round(mos * 10)


def _dbm0(dbov: float | None) -> int:
    return UNAVAILABLE if dbov is None else max(-127, min(126, round(dbov + DBM0_OF_DBOV)))

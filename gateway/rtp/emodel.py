"""The E-model: how a conversation over one stream is rated, from loss and delay (ITU-T G.107).

    R = Ro - Is - Id(delay) - Ie,eff(codec, loss, burstiness)          MOS = f(R)

Everything that packets do not tell has the default value of G.107 table 2: handsets, rooms and an
echo return loss of 65 dB. The advantage factor A is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log2, log10, pow, sqrt

RO = 94.7688
"Basic signal-to-noise ratio at the default values (G.107 eq. 7-2)."

IS = 1.4136
"Impairments that come with the voice, at the default values (G.107 eq. 7-8 to 7-17)."

NOISE_DBM0P = -61.1792
"No: all noise, at the default values (G.107 eq. 7-3)."

TELR_DB, WEPL_DB, RLR_DB = 65.0, 110.0, 2.0
"Echo of the talker and of the listener, and loudness of the receiving handset (G.107 table 2)."

MAX_BURST_RATIO = 8.0
"Beyond it one outage would look like a codec that cannot hide anything (G.107 table 2: 1 to 8)."

MAX_DELAY_MS = 10_000.0
"The formulas hold to 500 ms; what a peer claims may be anything."


@dataclass(frozen=True, slots=True)
class Coding:
    """What a codec costs by itself, and how well its decoder hides loss (G.113 appendix I)."""

    ie: float
    "Equipment impairment without any loss."
    bpl: float
    "Packet-loss robustness: the greater, the less is heard of a loss."


CODINGS = {
    # G.113 table I.3: G.711 with packet-loss concealment and random loss.
    "PCMU": Coding(0, 25.1),
    "PCMA": Coding(0, 25.1),
    # G.113 has them on the wideband scale of G.107.1 alone, or not at all. On the narrowband scale
    # they are taken to be as good as G.711, which both are at the least.
    "G722": Coding(0, 25.1),
    "opus": Coding(0, 25.1),
}
"By encoding name."

UNKNOWN_CODING = Coding(0, 25.1)


@dataclass(frozen=True, slots=True)
class Rating:
    """How good a conversation is."""

    r: float
    "0 to 100; 93.2 is the best that G.711 can do."
    mos: float
    "Mean opinion score, 1 to 4.5: of conversation where the delay was taken in (MOS-CQ)."


def rate(
    codec: str, *, loss_percent: float, burst_ratio: float = 1.0, delay_ms: float = 0.0
) -> Rating:
    """Rate one direction of a stream.

    Args:
        codec: its encoding name as in SDP.
        loss_percent: of all packets expected, those that were not there to be played.
        burst_ratio: how long the losses are, as a multiple of what chance would make them.
        delay_ms: one way, from mouth to ear; 0 rates listening alone (MOS-LQ).
    """
    coding = CODINGS.get(codec, UNKNOWN_CODING)
    r = RO - IS - delay_impairment(delay_ms) - loss_impairment(coding, loss_percent, burst_ratio)
    r = min(max(r, 0.0), 100.0)
    return Rating(r, mos_of(r))


def loss_impairment(coding: Coding, loss_percent: float, burst_ratio: float = 1.0) -> float:
    """Ie,eff (G.107 eq. 7-29)."""
    loss = min(max(loss_percent, 0.0), 100.0)
    burst_ratio = min(max(burst_ratio, 1.0), MAX_BURST_RATIO)
    return coding.ie + (95 - coding.ie) * loss / (loss / burst_ratio + coding.bpl)


def delay_impairment(delay_ms: float) -> float:
    """Id = Idte + Idle + Idd: echo, and too long a way (G.107 eq. 7-18 to 7-28)."""
    delay = min(max(delay_ms, 0.0), MAX_DELAY_MS)
    return _talker_echo(delay) + _listener_echo(2 * delay) + _absolute_delay(delay)


def mos_of(r: float) -> float:
    """The mean opinion score of a rating factor (G.107 eq. B-4)."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def _talker_echo(delay: float) -> float:
    loudness = TELR_DB - 40 * log10((1 + delay / 10) / (1 + delay / 150))
    loudness += 6 * exp(-0.3 * delay * delay)
    echo = 80 + 2.5 * (loudness - 14)
    noise = -1.5 * (NOISE_DBM0P - RLR_DB)
    half = (noise - echo) / 2
    return (half + sqrt(half * half + 100) - 1) * (1 - exp(-delay))


def _listener_echo(round_trip: float) -> float:
    half = (RO - 10.5 * (WEPL_DB + 7) * pow(round_trip + 1, -0.25)) / 2
    return half + sqrt(half * half + 169)


def _absolute_delay(delay: float) -> float:
    if delay <= 100:
        return 0.0
    x = log2(delay / 100)
    return 25 * (pow(1 + pow(x, 6), 1 / 6) - 3 * pow(1 + pow(x / 3, 6), 1 / 6) + 2)

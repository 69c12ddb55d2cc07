"""Key presses as RTP events (RFC 4733): what a peer sent, and how we send them."""

from __future__ import annotations

from dataclasses import dataclass

DIGITS = "0123456789*#ABCD"
"DTMF digits in the order of their event codes (RFC 4733 §3.2, table 3)."


@dataclass(frozen=True, slots=True)
class DigitEvent:
    """One edge of a key press. Each press gives exactly one start and one end, in this order."""

    digit: str
    "One of 0-9 * # A-D."
    phase: str
    '"start" or "end".'
    duration_ms: int
    "How long it was held; 0 at the start."

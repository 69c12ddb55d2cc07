"""Key presses in the bodies of INFO requests, as devices without RFC 4733 send them.

application/dtmf-relay      Signal=5 / Duration=160, a line each
application/dtmf            5
"""

from __future__ import annotations

DIGITS = frozenset("0123456789*#ABCD")

MAX_BODY_BYTES = 256
"Two short lines; the rest of a longer body is not looked at."

MIN_PRESS_MS, USUAL_PRESS_MS, MAX_PRESS_MS = 40, 160, 10_000
"A duration that is no such number of ms counts as usual, or as the nearer of the two others."

_NUMBERED = {"10": "*", "11": "#", "12": "A", "13": "B", "14": "C", "15": "D"}
"Event codes of RFC 4733, which some write instead of the key."


def write_press(digit: str, duration_ms: int) -> dict[str, bytes]:
    """A press as bodies of INFO, by content type; the usual one first."""
    return {
        "application/dtmf-relay": f"Signal={digit}\r\nDuration={duration_ms}\r\n".encode(),
        "application/dtmf": f"{digit}\r\n".encode(),
    }


def read_press(content_type: str, body: bytes) -> tuple[str, int] | None:
    """The key and how long it was pressed, in ms; None where the body names none."""
    text = body[:MAX_BODY_BYTES].decode("ascii", "replace")
    fields = {"signal": text}
    if content_type == "application/dtmf-relay":
        pairs = [line.partition("=") for line in text.splitlines()]
        fields = {name.strip().lower(): value for name, _, value in pairs}
    signal = fields.get("signal", "").strip().upper()
    digit = _NUMBERED.get(signal, signal)
    return (digit, _milliseconds(fields.get("duration", ""))) if digit in DIGITS else None


def _milliseconds(text: str) -> int:
    number = text.strip()
    if not number.isascii() or not number.isdigit() or len(number) > 6:
        return USUAL_PRESS_MS
    return min(max(int(number), MIN_PRESS_MS), MAX_PRESS_MS)

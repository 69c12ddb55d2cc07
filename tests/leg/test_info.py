"""Keys in the bodies of INFO requests."""

from __future__ import annotations

import pytest

from gateway.leg.info import MAX_PRESS_MS, MIN_PRESS_MS, USUAL_PRESS_MS, read_press

RELAY, PLAIN = "application/dtmf-relay", "application/dtmf"


@pytest.mark.parametrize(
    ("content_type", "body", "press"),
    [
        (RELAY, b"Signal=5\r\nDuration=160\r\n", ("5", 160)),
        (RELAY, b"Signal= 5\r\nDuration= 250", ("5", 250)),
        (RELAY, b"duration=90\nsignal=#\n", ("#", 90)),
        (RELAY, b"Signal=10\r\n", ("*", USUAL_PRESS_MS)),
        (RELAY, b"Signal=d\r\n", ("D", USUAL_PRESS_MS)),
        (RELAY, b"Signal=1\r\nDuration=0", ("1", MIN_PRESS_MS)),
        (RELAY, b"Signal=1\r\nDuration=999999", ("1", MAX_PRESS_MS)),
        (RELAY, b"Signal=1\r\nDuration=99999999999", ("1", USUAL_PRESS_MS)),
        (RELAY, b"Signal=1\r\nDuration=-5", ("1", USUAL_PRESS_MS)),
        (PLAIN, b"7", ("7", USUAL_PRESS_MS)),
        (PLAIN, b" *\r\n", ("*", USUAL_PRESS_MS)),
        (PLAIN, b"11", ("#", USUAL_PRESS_MS)),
        (RELAY, b"", None),
        (RELAY, b"Signal=", None),
        (RELAY, b"Signal=55\r\n", None),
        (RELAY, b"Signal=x\r\n", None),
        (RELAY, b"5", None),
        (PLAIN, b"\xff\xfe", None),
        (PLAIN, "\u0665".encode(), None),
        (RELAY, b"x" * 10_000 + b"\nSignal=5", None),
    ],
)
def test_press_is_read_or_there_is_none(
    content_type: str, body: bytes, press: tuple[str, int] | None
) -> None:
    assert read_press(content_type, body) == press

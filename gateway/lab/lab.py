"""The lab carrier: a telephone network in the box, as the configuration of a second node."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

LAB_FILE = Path(__file__).with_name("lab.toml")

REJECTING = range(300, 700)
"+15550300 to +15550699 reject with their last three digits."

DESTINATIONS = (
    ("+15550100", "Echo", "answers and says back what it hears"),
    ("+15550101", "Clip", "answers, speaks a sentence, hangs up"),
    ("+15550102", "Early media", "a tone before the answer for 3 s, then an echo"),
    ("+15550103", "Slow", "rings for 3 s, then an echo"),
    ("+15550104", "Digits", "sends back each key you press"),
    ("+15550108", "Silence", "never answers a packet"),
    ("+15550109", "Nobody", "rings for ever"),
    ("+15550110", "Short", "answers and hangs up after 3 s"),
    ("+15550486", "Busy", "rejects with 486; so does any status from 300 to 699"),
    ("+15550503", "Out of order", "rejects with 503"),
)
"Number, name and what happens: the page suggests these."


def lab_document(listen: str) -> dict[str, Any]:
    """The lab's configuration, as if read from TOML.

    Args:
        listen: where it takes SIP, as `udp:127.0.0.1:5070`.
    """
    document = tomllib.loads(LAB_FILE.read_text(encoding="utf-8"))
    document["sip"]["listen"] = [listen]
    document["route"] += [
        {"from": "sip", "match": f"+15550{status}", "to": [f"reject:{status}"]}
        for status in REJECTING
    ]
    return document

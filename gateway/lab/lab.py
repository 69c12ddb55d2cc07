"""The lab carrier: a telephone network in the box, as the configuration of a second node."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

LAB_FILE = Path(__file__).with_name("lab.toml")

LAB_USER = "test"
LAB_PASSWORD = "test-password"  # noqa: S105 - published, as the numbers of test cards are
"Of the lab's user, so that registering can be tried; nobody beyond this machine reaches the lab."

LAB_SECRETS = {"LAB_PASSWORD": LAB_PASSWORD}
"The environment that lab.toml is read in."

CALLERS = ("trunk:caller", f"user:{LAB_USER}")
"Who may call the numbers: anybody on this machine, registered or not."

REJECTING = range(300, 700)
"+15550300 to +15550699 reject with their last three digits."

DESTINATIONS = (
    ("+15550100", "Echo", "answers and says back what it hears"),
    ("+15550101", "Clip", "answers, speaks a sentence, hangs up"),
    ("+15550102", "Early media", "a tone before the answer for 3 s, then an echo"),
    ("+15550103", "Slow", "rings for 3 s, then an echo"),
    ("+15550104", "Digits", "sends back each key you press"),
    ("+15550105", "Hold", "an echo that puts you on hold for 2 s"),
    ("+15550106", "Transfer", "has you transferred to the echo"),
    ("+15550107", "Broken line", "an echo whose audio stops after 3 s"),
    ("+15550108", "Silence", "never answers a packet"),
    ("+15550109", "Nobody", "rings for ever"),
    ("+15550110", "Short", "answers and hangs up after 3 s"),
    ("+15550111", "Registered", f"rings who is registered with the lab as {LAB_USER}"),
    ("+15550486", "Busy", "rejects with 486; so does any status from 300 to 699"),
    ("+15550503", "Out of order", "rejects with 503"),
)
"Number, name and what happens: the page suggests these."


def lab_document(
    *listen: str, certificate: Path | None = None, key: Path | None = None
) -> dict[str, Any]:
    """The lab's configuration, as if read from TOML; its secrets are `LAB_SECRETS`.

    Args:
        listen: where it takes SIP, each as `udp:127.0.0.1:5070`.
        certificate: PEM files of what it shows where it listens for TLS.
    """
    document = tomllib.loads(LAB_FILE.read_text(encoding="utf-8"))
    document["sip"]["listen"] = list(listen)
    if certificate is not None and key is not None:
        document["sip"] |= {"certificate": certificate.absolute(), "key": key.absolute()}
    (caller,) = document["trunk"]
    # Whom it refers to a number is to call it here, also who called past the gateway.
    caller["uri"] = f"sip:{listen[0].partition(':')[2]}"
    document["route"] += [
        {"from": CALLERS, "match": f"+15550{status}", "to": [f"reject:{status}"]}
        for status in REJECTING
    ]
    return document

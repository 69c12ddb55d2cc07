"""Each attack, fault and call flow that is promised has a test, which is named after its row.

`pytest -k a37_` runs those of one row.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

ROWS = {
    "a1": "media goes to no attacker",
    "a2": "nothing of an attacker gets into plain RTP",
    "a3": "what is not authentic is nothing",
    "a4": "nobody disturbs a DTLS handshake",
    "a5": "STUN is not reflected, and floods of it keep nothing",
    "a6": "TURN leads to the gateway alone",
    "a7": "a candidate makes us knock nowhere",
    "a8": "media does not flood who never asked for it",
    "a9": "digests leak to no strange realm, and are not weakened",
    "a10": "passwords and users are not guessed",
    "a11": "floods cost those nothing who call",
    "a12": "half-open calls are given up, and their ports",
    "a13": "nothing is dialled that no route allows",
    "a14": "an INVITE of ours has one target",
    "a15": "line breaks are refused",
    "a16": "no header is smuggled past its name",
    "a17": "what an untrusted peer asserts counts for nothing",
    "a18": "nobody passes for a trunk, or for a party of a call",
    "a21": "URLs of strangers lead nowhere inside",
    "a22": "what is told to web servers is signed",
    "a23": "who is slow waits alone",
    "a24": "what is too large is refused",
    "a25": "lies about lengths end the stream",
    "a26": "what is packed is refused unread",
    "a27": "reading takes linear time",
    "a28": "bombs in SDP do no harm",
    "a29": "malformed packets are dropped, and end no call",
    "a34": "media that should be protected is not made plain",
    "a35": "a TLS peer is who it should be",
    "a37": "transfers and redirections go where they may",
    "a38": "calls in a circle end",
    "f1": "503 leads on at once",
    "f2": "so does silence",
    "f3": "so does what is unreachable",
    "f4": "what somebody says is final",
    "f5": "who rings for ever is given up",
    "f6": "servers are found by priority and weight",
    "f7": "trunks are up or down with hysteresis",
    "f8": "registrations are kept up",
    "f9": "sessions expire",
    "f10": "who is silent for too long is gone",
    "f11": "who changes its source, numbers or packets is heard on at once",
    "f12": "loss, jitter and disorder cost little",
    "f13": "clocks of two rates add up to no delay",
    "f14": "after a stall nothing bursts, and nothing is late for good",
    "f16": "lost paths are waited for, and restarted",
    "f17": "signalling that is lost comes back",
    **{f"s{number}": "a race of SIP" for number in range(1, 21)},
}


def named() -> Counter[str]:
    """How many tests are named after each row."""
    found: Counter[str] = Counter()
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                row = re.match(r"test_([afs]\d+)_", node.name)
                found[row[1] if row else ""] += 1
    return found


NAMED = named()


@pytest.mark.parametrize("row", ROWS)
def test_row_is_shown(row: str) -> None:
    assert NAMED[row] > 0, ROWS[row]

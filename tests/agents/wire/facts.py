"""A call as the tests of wire protocols tell it to an agent, and a queue that is never asked."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.agents.protocol import CallFacts

TOKEN = "0123456789abcdef0123456789abcdef"

FACTS = CallFacts(
    id="n1-7",
    caller="+15550001",
    called="+15550100",
    is_outbound=False,
    agent="bot",
    attributes={"tenant": "acme"},
    token=TOKEN,
)


@dataclass
class Queue:
    """What a protocol may ask about."""

    queued_ms: float = 0.0
    is_paused: bool = False

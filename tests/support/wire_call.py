"""What a wire protocol of agents is given of a call, for tests of it alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gateway.agents.protocol import CallFacts

TOKEN = "00112233445566778899aabbccddeeff"
TOKEN_UUID = "00112233-4455-6677-8899-aabbccddeeff"


@dataclass(slots=True)
class Queue:
    """A queue of speech as a protocol sees it (`gateway.agents.protocol.Player`)."""

    queued_ms: float = 0.0
    is_paused: bool = False


def call_facts(
    attributes: Mapping[str, str] = MappingProxyType({}), *, is_outbound: bool = False
) -> CallFacts:
    """A call from +15550111 to +15550100."""
    return CallFacts(
        id="gw1-c1",
        caller="+15550111",
        called="+15550100",
        is_outbound=is_outbound,
        agent="sales",
        attributes=attributes,
        token=TOKEN,
    )

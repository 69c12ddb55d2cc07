"""The pure parts can be used alone: importing one brings no loop and no browser stack along."""

from __future__ import annotations

import subprocess
import sys

import pytest

ISLANDS = (
    "gateway.sip.endpoint",
    "gateway.sdp.negotiation",
    "gateway.rtp.session",
    "gateway.media.hub",
    "gateway.call.call",
    "gateway.call.events",
    "gateway.call.transfer",
    "gateway.leg.leg",
    "gateway.trunk.route",
    "gateway.trunk.watch",
    "gateway.users.gate",
    "gateway.users.registrar",
    "gateway.agents.agent",
)


@pytest.mark.parametrize("island", ISLANDS)
def test_island_comes_alone(island: str) -> None:
    strangers = {"asyncio", "aiortc", "aioice", "quart"}
    code = f"import sys, {island}; print(*{strangers} & {{*sys.modules}})"

    brought = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()

    assert brought == []

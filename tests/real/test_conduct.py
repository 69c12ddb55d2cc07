"""Guests by a rule and by the API, sounds and notes, in a gateway as people run it."""

from __future__ import annotations

import asyncio
import wave
from pathlib import Path
from typing import Any

import pytest

from gateway.media.tone import beep
from tests.support.events import call_events
from tests.support.gateway import Gateway, running_gateway

pytestmark = [pytest.mark.real, pytest.mark.calm]

SECTIONS = """
[media]
sounds = "sounds"

[[agent]]
name = "notes"
protocol = "echo"
tools = ["hang_up"]

[[route]]
from = "api"
match = "sales"
to = ["agent:receptionist"]
with = [{agent = "agent:notes", preset = "whisper", side = "callee"}]

[[route]]
from = "api"
match = "coach"
to = ["agent:notes"]
"""


async def legs(gateway: Gateway, call: str, count: int) -> dict[str, dict[str, Any]]:
    """Who is in the call, by id, once so many are."""
    async with asyncio.timeout(10):
        while True:
            told = await gateway.get(f"/v1/calls/{call}")
            up = {leg["id"]: leg for leg in told["legs"] if leg["state"] == "up"}
            if len(up) == count:
                return up
            await asyncio.sleep(0.05)


def roles(legs: dict[str, dict[str, Any]]) -> list[tuple[str, str, bool]]:
    return sorted((leg["target"], leg["role"], leg["guest"]) for leg in legs.values())


async def test_call_with_guests_by_a_rule_and_by_the_api(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    with wave.open(str(tmp_path / "sounds/hi.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(beep(8000, 0.3).tobytes())

    async with running_gateway(tmp_path, SECTIONS) as gateway, call_events(gateway) as events:

        async def post(path: str, body: Any) -> Any:
            _, told = await gateway.request("POST", f"/v1/calls{path}", body)
            return told

        call = (await post("", {"from": "echo", "to": "sales"}))["id"]
        by_rule = await legs(gateway, call, 3)
        (invited,) = (await post(f"/{call}/legs", {"to": "coach", "preset": "listen"}))["legs"]
        by_api = await legs(gateway, call, 4)
        playing = await post(f"/{call}/play", {"file": "hi", "to": ["all"]})
        played = await events.next("play.ended")
        noted = await post(f"/{call}/metadata", {"values": {"order": "17"}})
        await gateway.request("DELETE", f"/v1/calls/{call}/legs/{invited}")
        left = await legs(gateway, call, 3)
        await gateway.request("DELETE", f"/v1/calls/{call}")
        await gateway.wait_for_calls(0)
        ended = await gateway.get(f"/v1/calls/{call}")

    callee = [("agent:echo", "caller", False), ("agent:receptionist", "callee", False)]
    assert roles(by_rule) == sorted([*callee, ("agent:notes", "ai", True)])
    (guest,) = [leg for leg in by_rule.values() if leg["guest"]]
    assert (guest["hears"], guest["heard_by"]) == (["all"], ["callee"])
    assert by_api[invited]["heard_by"] == []
    assert (played["id"], played["done"]) == (playing["id"], True)
    assert invited not in left
    assert noted["metadata"] == ended["metadata"] == {"order": "17"}

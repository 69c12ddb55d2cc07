"""Speech and answering machines in a whole gateway: a number of the lab talks to an agent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.events import call_events
from tests.support.gateway import running_gateway

pytestmark = [pytest.mark.real, pytest.mark.calm]

TALKS = "+15550101"
"Says a sentence of 7 s as soon as it has answered: as a machine does."

AGENT = """
[[agent]]
name = "caller"
protocol = "script"
step = [{{ tone = 440, for_s = 15 }}, {{ wait = 20 }}]
vad = "{vad}"
barge_in = "clear"
answering_machine = "hang-up"

[[route]]
from = "api"
match = "caller"
to = ["agent:caller"]
"""


@pytest.mark.parametrize("vad", ["energy", "model"])
async def test_agent_is_silenced_and_then_hangs_up_on_a_machine(tmp_path: Path, vad: str) -> None:
    async with running_gateway(tmp_path, AGENT.format(vad=vad)) as gateway:
        async with call_events(gateway) as events:
            call = {"from": "caller", "to": TALKS}
            status, _ = await gateway.request("POST", "/v1/calls", call)
            ended = await events.next("call.ended")

        notes = [event for event in events.all if event["type"] == "leg.noted"]

    assert status == 200
    assert ended["reason"] == "hangup"
    assert 2.4 <= ended["duration_s"] <= 5.0
    kinds = [note["kind"] for note in notes]
    assert kinds.index("speech") < kinds.index("interrupted") < kinds.index("answering_machine")
    assert notes[kinds.index("answering_machine")]["data"]["kind"] == "machine"


async def test_call_may_be_placed_with_another_mind_about_machines(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path, AGENT.format(vad="energy")) as gateway,
        call_events(gateway) as events,
    ):
        call = {"from": "caller", "to": TALKS, "answering_machine": "off"}
        status, placed = await gateway.request("POST", "/v1/calls", call)
        await events.next("call.answered")
        await asyncio.sleep(3.5)
        goes_on = [each["id"] for each in (await gateway.get("/v1/calls"))["calls"]]

    assert status == 200
    assert goes_on == [placed["id"]]
    assert "answering_machine" not in [event.get("kind") for event in events.all]

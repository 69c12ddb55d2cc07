"""Talks in our own protocol over a real socket: what only it can do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import serve

from gateway.leg.leg import Ended, EndReason
from gateway.media.tone import tone_level_dbfs
from tests.agents.wire.peer_gateway import GatewayPeer, peer
from tests.media.sound import tone
from tests.support.agent_peer import WireBench, in_call, remote_agent, until

PAGE = (Path(__file__).parents[3] / "docs/agent-protocol.md").read_text(encoding="utf-8")

pytestmark = [pytest.mark.real, pytest.mark.beside]


def told(agent: GatewayPeer, kind: str) -> list[dict[str, Any]]:
    return [message for message in agent.told if message["type"] == kind]


async def test_agent_of_the_page_says_what_it_hears() -> None:
    example = PAGE.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {"json": json}
    exec(example, names)
    async with serve(names["agent"], "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        bench = WireBench(remote_agent("gateway", f"ws://127.0.0.1:{port}/"))
        bench.leg.dial()
        await until(lambda: bench.leg.answered_at is not None)

        await bench.says(tone(1000, 0.4, 8000))
        await until(lambda: bench.leg.playout.queued_ms > 350)
        heard = await bench.listens(0.3)
        await bench.close()

    assert tone_level_dbfs(heard[800:2400], 8000, 1000) == pytest.approx(-10, abs=1)


async def test_agent_learns_how_much_of_each_item_was_heard() -> None:
    agent = peer()
    async with in_call(agent) as bench:
        for name in ("one", "two", "three"):
            await agent.tell("item", id=name)
            await agent.say(tone(700, 0.4, agent.rate))
        await until(lambda: bench.leg.playout.said_ms > 1195)
        await bench.listens(0.56)
        await agent.clear()
        await until(lambda: len(told(agent, "item_played")) == 3)

    heard = {
        item["item"]: (item["played_ms"], item["said_ms"]) for item in told(agent, "item_played")
    }
    assert heard["one"] == (400.0, 400.0)
    assert heard["two"] == pytest.approx((160.0, 400.0), abs=3)  # what a resampler keeps
    assert heard["three"] == pytest.approx((0.0, 400.0), abs=3)
    (cleared,) = told(agent, "cleared")
    assert cleared["dropped_ms"] == pytest.approx(640, abs=3)


async def test_agent_pauses_and_goes_on() -> None:
    agent = peer()
    async with in_call(agent) as bench:
        await agent.say(tone(700, 1.0, agent.rate))
        await until(lambda: bench.leg.playout.said_ms > 995)
        await bench.listens(0.2)
        await agent.tell("pause")
        await until(lambda: bench.leg.playout.is_paused)
        silence = await bench.listens(0.4)
        await agent.tell("resume")
        await until(lambda: not bench.leg.playout.is_paused)
        rest = await bench.listens(0.4)

    assert np.abs(silence[400:].astype(int)).max(initial=0) < 50
    assert tone_level_dbfs(rest[800:2400], 8000, 700) == pytest.approx(-10, abs=1)


async def test_f18_agent_that_is_back_learns_which_call_and_what_it_missed() -> None:
    agent = peer()
    async with in_call(agent) as bench:
        bench.presses("12")
        await until(lambda: len(agent.digits) == 2)
        last = agent.told[-1]["seq"]

        agent.drop()
        await agent.connected()
        bench.presses("3")
        await until(lambda: len(agent.digits) == 3)

    first, again = told(agent, "start")
    assert (first["stream"], again["stream"]) == (0, 1)
    assert again["call"] == first["call"]
    assert again["last_seq"] == last
    assert [m["seq"] for m in agent.told[agent.told.index(again) :]][:2] == [last + 1, last + 2]


async def test_agent_whose_tool_cannot_be_used_is_told_so() -> None:
    agent = peer()
    async with in_call(agent):
        await agent.tell("tool", id="t1", name="transfer", arguments={"to": 7})
        await until(lambda: len(told(agent, "tool_done")) == 1)

    (outcome,) = told(agent, "tool_done")
    assert (outcome["id"], outcome["done"], outcome["status"]) == ("t1", False, 400)


async def test_transcripts_and_notes_are_for_who_watches() -> None:
    agent = peer()
    async with in_call(agent) as bench:
        await agent.tell("transcript", speaker="caller", text="Hello?")
        await agent.tell("note", kind="mood", data={"is": "good"})
        await until(lambda: len(bench.notes("mood")) == 1)

        assert bench.notes("transcript") == [{"speaker": "caller", "text": "Hello?"}]
        assert bench.notes("mood") == [{"is": "good"}]


async def test_type_of_a_newer_agent_costs_nothing() -> None:
    agent = peer()
    async with in_call(agent) as bench:
        for _ in range(10):
            await agent.tell("sing", song="la")
        await agent.mark("after")
        await until(lambda: len(told(agent, "error")) == 10)
        await bench.listens(0.04)
        await until(lambda: agent.marks == [("after", "played")])

        assert not bench.all(Ended)


async def test_agent_that_has_finished_is_heard_to_its_end() -> None:
    agent = peer()
    async with in_call(agent) as bench:
        await agent.say(tone(700, 0.2, agent.rate))
        await until(lambda: bench.leg.playout.said_ms > 195)
        await agent.tell("done")
        heard = await bench.listens(0.3)
        await until(lambda: bool(bench.all(Ended)))

        assert bench.all(Ended)[0].reason is EndReason.HANGUP
    assert tone_level_dbfs(heard[400:1400], 8000, 700) == pytest.approx(-10, abs=1)


async def test_agent_is_told_when_the_caller_hangs_up() -> None:
    agent = peer()
    async with in_call(agent) as bench:
        bench.leg.end(EndReason.HANGUP)
        await until(lambda: agent.told[-1]["type"] == "stop")

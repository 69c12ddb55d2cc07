"""A gateway as it is run, whose agents' connections break, hang, and are refused (F18)."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from gateway.media.tone import tone_level_dbfs
from tests.agents.wire.peer_gateway import GatewayPeer
from tests.media.sound import Pcm, frames_of, tone
from tests.support.agent_peer import until
from tests.support.events import CallEvents, call_events
from tests.support.gateway import Gateway, free_port, running_gateway

pytestmark = [pytest.mark.real, pytest.mark.calm]

MORE = """
[[agent]]
name = "sales"
protocol = "gateway"
url = "{sales}"
ready_timeout_s = 1
fallback = ["agent:backup", "+15550100"]
[agent.settings]
rate = 16000

[[agent]]
name = "backup"
protocol = "gateway"
url = "{backup}"
apology = "sorry.wav"
[agent.settings]
rate = 16000

[[route]]
from = "api"
match = "sales"
to = ["agent:sales"]

[[route]]
from = "api"
match = "backup"
to = ["agent:backup"]

[[route]]
from = "agent:sales"
match = "+15550100"
to = ["trunk:lab"]
"""

ECHO = "+15550100"
"Of the lab: says back what it hears."


@asynccontextmanager
async def called(
    where: Path, to: str, *, sales: str, backup: str
) -> AsyncIterator[tuple[Gateway, CallEvents]]:
    """A gateway that has called the lab's echo, and then an agent."""
    with wave.open(str(where / "sorry.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(tone(2000, 0.2, 8000).tobytes())
    async with (
        running_gateway(where, MORE.format(sales=sales, backup=backup)) as gateway,
        call_events(gateway) as events,
    ):
        status, _ = await gateway.request("POST", "/v1/calls", {"from": ECHO, "to": to})
        assert status < 300
        yield gateway, events


async def noted(events: CallEvents, kind: str) -> dict[str, object]:
    def found() -> list[dict[str, object]]:
        return [e for e in events.all if e["type"] == "leg.noted" and e["kind"] == kind]

    await until(lambda: bool(found()), within_s=12)
    return found()[-1]


def loudest(pcm: Pcm, hz: float) -> float:
    """How loud a tone is where it is loudest, of 16 kHz."""
    return max(tone_level_dbfs(piece, 16_000, hz) for piece in frames_of(pcm, 1600))


def nowhere() -> str:
    return f"ws://127.0.0.1:{free_port()}/"


async def test_f18_agent_that_breaks_off_in_the_middle_of_a_word_is_back_within_a_second(
    tmp_path: Path,
) -> None:
    peer = GatewayPeer()
    async with (
        peer.running() as url,
        called(tmp_path, "sales", sales=url, backup=nowhere()) as (_, events),
    ):
        await peer.connected()
        await peer.say(tone(700, 2.0, 16_000))
        await until(lambda: len(peer.heard()) > 16_000)

        peer.drop()
        lost = await noted(events, "lost")
        restored = await noted(events, "restored")
        await peer.connected()

        assert restored["at"] - lost["at"] < 1  # type: ignore[operator]
        starts = [told for told in peer.told if told["type"] == "start"]
        assert [start["stream"] for start in starts] == [0, 1]
        assert starts[0]["call"]["id"] == starts[1]["call"]["id"]
        before = len(peer.heard())
        await peer.say(tone(900, 1.0, 16_000))
        await until(lambda: len(peer.heard()) > before + 20_000)
        again = peer.heard()[before:]
        assert loudest(again, 900) > -15
        assert loudest(again[8000:], 700) < -40  # what it said before it was lost


async def test_f18_agent_that_refuses_is_replaced_by_the_next(tmp_path: Path) -> None:
    backup = GatewayPeer()
    async with (
        backup.running() as url,
        called(tmp_path, "sales", sales=nowhere(), backup=url) as (_, events),
    ):
        # Nobody listens at the first one's port: it may be about to start, and is waited for.
        await asyncio.wait_for(backup.connected(), 8)
        await backup.say(tone(700, 0.5, 16_000))
        await until(lambda: len(backup.heard()) > 32_000)

        assert loudest(backup.heard(), 700) > -15
        assert (await noted(events, "fallback"))["data"] == {"to": "agent:backup"}


async def test_f18_call_without_anybody_left_ends_as_agent_lost(tmp_path: Path) -> None:
    peer = GatewayPeer()
    async with AsyncExitStack() as server:
        url = await server.enter_async_context(peer.running())
        async with called(tmp_path, "backup", sales=nowhere(), backup=url) as (gateway, events):
            await peer.connected()
            await server.aclose()  # nobody listens there any more
            peer.drop()
            ended = await events.next("call.ended")

            assert (ended["reason"], ended["fault"]) == ("agent_lost", "agent")
            await gateway.wait_for_calls(0)

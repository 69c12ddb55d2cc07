"""Agents that live on callbacks: what is handed to them, what they do at once, and tools."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from gateway.agents.agent import AgentCall
from gateway.agents.event import AgentEvent, DigitHeard, FarEndAnswered, ItemPlayed, ToolDone
from gateway.agents.tool import HangUp, Mute, SendDigits, Tool, Transfer
from gateway.codec import PCMU
from gateway.errors import Fault
from gateway.leg.leg import Answered, Ended, EndReason, Noted, ToolAsked
from gateway.media.frame import AudioFrame
from gateway.media.playout import Cleared, MarkReached
from tests.media.sound import Pcm, tone
from tests.support.agents import AgentBench, Attendant
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

SECOND = tone(1000, 1.0, 8000)


class Waiter:
    """An agent that is there, and leaves everything to its callbacks."""

    def __init__(self, loop: VirtualLoop, *, is_caller: bool = False) -> None:
        self.events: list[AgentEvent] = []
        self.heard: list[AudioFrame] = []
        self.call: AgentCall
        self.bench = AgentBench(loop, Attendant(self._on_call), is_caller=is_caller)
        self.bench.leg.dial()

    async def _on_call(self, call: AgentCall) -> None:
        self.call = call
        call.watch(self.events.append)
        call.listen(self.heard.append)
        await asyncio.sleep(3600)

    def of(self, kind: type[AgentEvent]) -> list[AgentEvent]:
        return [event for event in self.events if isinstance(event, kind)]


def audible(pcm: Pcm) -> Pcm:
    sounds = np.flatnonzero(pcm)
    return pcm[sounds[0] : sounds[-1] + 1] if len(sounds) else pcm[:0]


# ---- what is handed over


@in_virtual_time
async def test_frame_is_handed_over_in_the_callback_in_which_it_comes(loop: VirtualLoop) -> None:
    agent = Waiter(loop)
    await elapse(0.1)
    before = len(agent.heard)

    await asyncio.gather(agent.bench.says(SECOND[:160]))

    voiced = [frame for frame in agent.heard[before:] if frame.payload is not None]
    assert [frame.codec for frame in voiced] == [PCMU]
    assert not agent.bench.all(Answered)  # to listen answers nothing
    await agent.bench.close()


@in_virtual_time
async def test_keys_are_told_when_they_are_let_go(loop: VirtualLoop) -> None:
    agent = Waiter(loop)
    await elapse(0.1)

    agent.bench.presses("4#")

    assert agent.events == [DigitHeard("4", 100), DigitHeard("#", 100)]
    await agent.bench.close()


@in_virtual_time
async def test_marks_and_items_are_told_as_they_are_played(loop: VirtualLoop) -> None:
    agent = Waiter(loop)
    await elapse(0.1)

    agent.call.say_now(SECOND, 8000, "greeting")
    agent.call.mark("end")
    await elapse(0.5)
    assert agent.events == []
    await elapse(0.7)

    assert agent.of(ItemPlayed) == [ItemPlayed("greeting", 1000.0, 1000.0)]
    assert [event.name for event in agent.of(MarkReached) if isinstance(event, MarkReached)] == [
        "end"
    ]
    await agent.bench.close()


@in_virtual_time
async def test_clear_returns_the_marks_and_tells_of_items_soon_after(loop: VirtualLoop) -> None:
    agent = Waiter(loop)
    await elapse(0.1)
    agent.call.say_now(SECOND, 8000, "greeting")
    agent.call.mark("end")
    await elapse(0.5)

    cleared = agent.call.clear()
    assert agent.events == []  # never from inside a command
    await asyncio.sleep(0)

    assert cleared.marks == ("end",)
    assert cleared.dropped_ms == pytest.approx(500, abs=25)
    (played,) = agent.of(ItemPlayed)
    assert isinstance(played, ItemPlayed)
    assert played.played_ms == pytest.approx(500, abs=25)
    await agent.bench.close()


@in_virtual_time
async def test_clear_by_a_change_of_routes_is_told(loop: VirtualLoop) -> None:
    agent = Waiter(loop)
    await elapse(0.1)
    agent.call.say_now(SECOND, 8000, "greeting")
    agent.call.mark("end")
    await elapse(0.2)

    agent.bench.hub.join("other", listener=agent.bench.person)
    agent.bench.hub.route({"other": {"agent": 1.0}})
    await elapse(0.1)

    (cleared,) = agent.of(Cleared)
    assert isinstance(cleared, Cleared)
    assert cleared.marks == ("end",)
    assert len(agent.of(ItemPlayed)) == 1
    await agent.bench.close()


@in_virtual_time
async def test_agent_that_calls_is_silent_until_it_can_be_heard(loop: VirtualLoop) -> None:
    agent = Waiter(loop, is_caller=True)
    await elapse(0.1)
    agent.call.say_now(SECOND, 8000)
    agent.call.resume()
    await elapse(5)
    assert not agent.bench.person.pcm.any()

    agent.bench.leg.answer()
    await elapse(1.2)

    assert agent.events == [FarEndAnswered()]
    assert len(audible(agent.bench.person.pcm)) == pytest.approx(8000, abs=50)
    await agent.bench.close()


@in_virtual_time
async def test_agent_that_breaks_when_it_is_told_something_ends_alone(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Waiter(loop)
    await elapse(0.1)

    def boom(event: AgentEvent) -> None:
        raise RuntimeError("boom")

    agent.call.watch(boom)
    agent.bench.presses("1")
    await elapse(0.1)

    (ended,) = agent.bench.all(Ended)
    assert (ended.reason, ended.fault) == (EndReason.AGENT_FAILED, Fault.AGENT)
    assert "boom" in caplog.text
    await agent.bench.close()


# ---- what it does


@in_virtual_time
async def test_pause_and_resume_lose_nothing(loop: VirtualLoop) -> None:
    agent = Waiter(loop)
    await elapse(0.1)
    agent.call.say_now(SECOND, 8000)
    await elapse(0.5)

    agent.call.pause()
    assert agent.call.is_paused
    await elapse(1)
    agent.call.resume()
    await elapse(1)

    pcm = agent.bench.person.pcm
    assert np.count_nonzero(pcm) == pytest.approx(np.count_nonzero(SECOND), abs=100)
    await agent.bench.close()


@in_virtual_time
async def test_notes_and_failures_go_up(loop: VirtualLoop) -> None:
    agent = Waiter(loop)
    await elapse(0.1)

    agent.call.note("transcript", kind="final", text="hello")
    agent.call.fail("the agent cannot be reached", is_lost=True)
    await elapse(0.1)

    (note,) = agent.bench.all(Noted)
    assert (note.kind, note.data) == ("transcript", {"kind": "final", "text": "hello"})
    (ended,) = agent.bench.all(Ended)
    assert (ended.reason, ended.status) == (EndReason.AGENT_LOST, 503)
    await agent.bench.close()


# ---- tools


@in_virtual_time
async def test_tool_is_asked_for_and_its_outcome_told(loop: VirtualLoop) -> None:
    agent = Waiter(loop)
    await elapse(0.1)

    agent.call.use(SendDigits("12"), "t1")
    agent.bench.leg.tool_done(done := ToolDone("t1", "send_digits", is_done=True))

    assert agent.bench.all(ToolAsked) == [ToolAsked("t1", SendDigits("12"))]
    assert agent.events == [done]
    await agent.bench.close()


@in_virtual_time
async def test_tool_that_is_awaited_is_told_to_who_awaits_it_alone(loop: VirtualLoop) -> None:
    agent = Waiter(loop)
    await elapse(0.1)

    waiting = asyncio.ensure_future(agent.call.do(Mute(on=True)))
    await asyncio.sleep(0)
    (asked,) = agent.bench.all(ToolAsked)
    agent.bench.leg.tool_done(ToolDone(asked.id, "mute", is_done=False, status=403))

    assert (await waiting).status == 403
    assert agent.events == []
    await agent.bench.close()


TOOLS: list[tuple[Tool, Callable[[AgentBench], bool]]] = [
    (HangUp(), lambda bench: bool(bench.all(Ended))),
    (Transfer("+15550100"), lambda bench: bool(bench.all(ToolAsked))),
]


@pytest.mark.parametrize(("tool", "is_done"), TOOLS)
@in_virtual_time
async def test_tool_waits_until_what_was_said_is_played(
    loop: VirtualLoop, tool: Tool, is_done: Callable[[AgentBench], bool]
) -> None:
    agent = Waiter(loop)
    await elapse(0.1)
    agent.call.accept_now()
    agent.call.say_now(SECOND, 8000)

    agent.call.use(tool, "t1")
    await elapse(0.9)
    assert not is_done(agent.bench)
    await elapse(0.3)

    assert is_done(agent.bench)
    assert len(audible(agent.bench.person.pcm)) == pytest.approx(8000, abs=50)
    await agent.bench.close()


@in_virtual_time
async def test_tool_waits_no_longer_than_the_agent_allows(loop: VirtualLoop) -> None:
    agent = Waiter(loop)
    await elapse(0.1)
    agent.call.accept_now()
    for _ in range(20):
        agent.call.say_now(SECOND, 8000)

    agent.call.use(HangUp(max_wait_s=2.0, reason="done"))
    await elapse(3)

    (ended,) = agent.bench.all(Ended)
    assert agent.bench.at(Ended) == pytest.approx(2.1, abs=0.05)
    assert (ended.reason, ended.text) == (EndReason.HANGUP, "done")
    await agent.bench.close()


@in_virtual_time
async def test_tool_that_waits_is_done_when_the_speech_is_cleared(loop: VirtualLoop) -> None:
    agent = Waiter(loop)
    await elapse(0.1)
    agent.call.say_now(SECOND, 8000)
    agent.call.use(Transfer("+15550100"), "t1")
    await elapse(0.2)

    cleared = agent.call.clear()

    assert len(agent.bench.all(ToolAsked)) == 1
    assert cleared.marks == ()  # those that were set for it are nobody's business
    await agent.bench.close()

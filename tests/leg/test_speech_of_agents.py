"""Barge-in and answering machines in an agent's leg: what the agent and who watches are told."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from bench.phone_line import RATE, at_level, caller_voices, prompt, to_pcm
from gateway.agents.agent import AgentCall
from gateway.agents.event import (
    AgentEvent,
    Continued,
    Interrupted,
    ItemPlayed,
    MachineDetected,
)
from gateway.leg.leg import Ended, EndReason, Noted
from gateway.leg.turns import Turns, TurnsOptions
from gateway.media.answering import AnsweringPolicy
from gateway.media.tone import sine
from tests.media.sound import Pcm, tone
from tests.support.agents import AgentBench, Attendant
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

WORDS = to_pcm(at_level(caller_voices()[1], -22))
HELLO = to_pcm(at_level(prompt("gateway.agents", "receptionist/welcome.wav"), -22)[: RATE // 2])
GREETING = to_pcm(at_level(prompt("gateway.agents", "receptionist/welcome.wav"), -22)[: 4 * RATE])
BEEP = sine(1000, 0.4, RATE, -16)
LONG = tone(440, 20.0, RATE)


def silence(seconds: float) -> Pcm:
    return np.zeros(round(seconds * RATE), np.int16)


class Listening:
    """An agent that says one long thing, and notes what it is told."""

    def __init__(self) -> None:
        self.events: list[AgentEvent] = []
        self.call: AgentCall | None = None

    async def on_call(self, call: AgentCall) -> None:
        self.call = call
        call.watch(self.events.append)
        call.accept_now()
        call.say_now(LONG, RATE, "greeting")
        await asyncio.Event().wait()

    def of(self, *kinds: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]


def spoken_to(loop: VirtualLoop, agent: Listening, policy: str) -> AgentBench:
    bench = AgentBench(loop, agent)
    bench.leg.turns = Turns(TurnsOptions("energy", policy), bench.leg)
    bench.leg.dial()
    return bench


def calling(loop: VirtualLoop, agent: Listening, policy: AnsweringPolicy) -> AgentBench:
    bench = AgentBench(loop, agent, is_caller=True)
    bench.leg.expect_machine(policy)
    bench.leg.dial()
    return bench


def kinds(bench: AgentBench) -> list[str]:
    notes = [note for note in bench.all(Noted) if note.kind == "answering_machine"]
    return [note.data["kind"] for note in notes]


@in_virtual_time
async def test_agent_that_is_interrupted_learns_how_much_was_heard(loop: VirtualLoop) -> None:
    agent = Listening()
    bench = spoken_to(loop, agent, "clear")
    await elapse(2)

    await bench.says(WORDS[:RATE])

    (cut,) = agent.of(Interrupted)
    (item,) = agent.of(ItemPlayed)
    assert item.item == "greeting"
    assert item.played_ms == cut.cleared.played_ms
    assert 2100 <= item.played_ms <= 2500
    assert [note.kind for note in bench.all(Noted)][:2] == ["speech", "interrupted"]
    await bench.close()


@in_virtual_time
async def test_agent_that_rejects_an_interruption_speaks_on(loop: VirtualLoop) -> None:
    agent = Listening()
    bench = spoken_to(loop, agent, "pause")
    await elapse(2)
    await bench.says(WORDS[: RATE // 4])
    assert agent.call is not None
    assert agent.call.is_paused

    agent.call.judge_barge_in(is_real=False)
    await elapse(1)

    assert not agent.call.is_paused
    assert agent.of(Continued)
    assert agent.call.queued_ms > 16_000
    await bench.close()


@in_virtual_time
async def test_agent_that_clears_by_itself_is_paused_no_longer(loop: VirtualLoop) -> None:
    agent = Listening()
    bench = spoken_to(loop, agent, "pause")
    await elapse(2)
    await bench.says(WORDS[: RATE // 4])
    assert agent.call is not None

    agent.call.clear()
    agent.call.say_now(LONG, RATE)
    await bench.says(WORDS[:RATE])

    assert not agent.call.is_paused
    assert agent.call.queued_ms < 20_000, "what it says next is heard, and not cut"
    assert len(agent.of(Interrupted)) == 1
    await bench.close()


@in_virtual_time
async def test_words_wait_for_the_beep_of_a_machine(loop: VirtualLoop) -> None:
    agent = Listening()
    bench = calling(loop, agent, "wait-for-beep")
    await elapse(1)
    bench.leg.answer()

    await bench.says(np.concatenate((silence(0.3), GREETING, silence(0.5))))
    heard_before = bench.person.pcm.any()
    assert agent.call is not None
    agent.call.resume()  # nor does the agent's own wish let them out
    await bench.says(BEEP[: len(BEEP) // 160 * 160])
    still = bench.person.pcm.any()
    await bench.says(silence(0.5))

    assert not heard_before
    assert not still
    assert bench.person.pcm.any()
    assert [event.kind for event in agent.of(MachineDetected)] == ["machine", "beep"]
    assert kinds(bench) == ["machine", "beep"]
    await bench.close()


@in_virtual_time
async def test_words_wait_until_a_person_has_said_hello(loop: VirtualLoop) -> None:
    agent = Listening()
    bench = calling(loop, agent, "wait-for-beep")
    bench.leg.answer()

    await bench.says(np.concatenate((silence(0.3), HELLO)))
    heard_before = bench.person.pcm.any()
    await bench.says(silence(1.2))

    assert not heard_before
    assert bench.person.pcm.any()
    assert kinds(bench) == ["human"]
    await bench.close()


@in_virtual_time
async def test_machine_is_hung_up_on_where_that_is_wished(loop: VirtualLoop) -> None:
    agent = Listening()
    bench = calling(loop, agent, "hang-up")
    bench.leg.answer()

    await bench.says(GREETING)

    (ended,) = bench.all(Ended)
    assert (ended.reason, ended.text) == (EndReason.HANGUP, "answering-machine")
    await bench.close()


@in_virtual_time
async def test_person_is_not_hung_up_on(loop: VirtualLoop) -> None:
    agent = Listening()
    bench = calling(loop, agent, "hang-up")
    bench.leg.answer()

    await bench.says(np.concatenate((HELLO, silence(2))))

    assert bench.all(Ended) == []
    assert kinds(bench) == ["human"]
    await bench.close()


@in_virtual_time
async def test_early_media_is_no_answer(loop: VirtualLoop) -> None:
    agent = Listening()
    bench = calling(loop, agent, "detect")
    bench.leg.progress(ringing=False, early_media=True)

    await bench.says(GREETING)
    before = kinds(bench)
    bench.leg.answer()
    await bench.says(np.concatenate((HELLO, silence(1.2))))

    assert before == []
    assert kinds(bench) == ["human"]
    await bench.close()


@in_virtual_time
async def test_agent_that_is_not_asked_to_listen_costs_nothing(loop: VirtualLoop) -> None:
    bench = AgentBench(loop, Attendant(_wait))
    bench.leg.dial()
    await bench.says(WORDS[:RATE])

    assert bench.leg.turns is None
    assert bench.leg.playout.overhear is None
    assert bench.all(Noted) == []
    await bench.close()


async def _wait(call: AgentCall) -> None:
    call.accept_now()
    await asyncio.Event().wait()

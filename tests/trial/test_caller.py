"""The scripted caller in virtual time: what it does of its script, and what it notes."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest

from gateway.leg.leg import EndReason
from gateway.media.tone import sine, tone_level_dbfs
from gateway.sdp.description import MediaDescription
from gateway.trial.caller import ScriptedCaller
from gateway.trial.carry import ImpairedMedia
from gateway.trial.judge import Told
from gateway.trial.line import Impairment
from gateway.trial.script import RATE, CallerScript, CallerStep, Line
from tests.support.agents import AgentBench
from tests.support.loop import VirtualLoop, elapse, in_virtual_time
from tests.trial.sounds import silence

WORDS = sine(700, 0.5, RATE, -12)


class Stage:
    """A caller that was answered, and who talks with it."""

    def __init__(self, loop: VirtualLoop, *steps: CallerStep, line: Line | None = None) -> None:
        script = CallerScript("test", steps, line=line or Line())
        self.told = Told(called_at=loop.time())
        chance = random.Random(1).random
        self.caller = ScriptedCaller(script, self.told, loop=loop, chance=chance)
        self.bench = AgentBench(loop, self.caller, is_caller=True)
        self.bench.leg.dial()

    async def answer(self) -> None:
        """The agent answers."""
        await elapse(0.1)
        self.bench.person.forget()
        self.bench.leg.answer()

    async def speak(self, seconds: float) -> None:
        """The agent speaks."""
        await self.bench.says(sine(440, seconds, 8000, -20))

    async def be_silent(self, seconds: float) -> None:
        """The agent is quiet."""
        await self.bench.says(silence(seconds, 8000))


def step(verb: str, value: Any = True, **more: Any) -> CallerStep:
    return CallerStep(verb, value, **more)


SAYS = step("say", "words.wav", sound=WORDS)


@in_virtual_time
async def test_caller_says_its_words_and_nothing_before_it_is_answered(loop: VirtualLoop) -> None:
    stage = Stage(loop, SAYS, step("hang_up"))
    await elapse(1)
    early = stage.bench.person.is_silent
    await stage.answer()

    await elapse(1)

    assert early
    (span,) = stage.told.says
    assert span.seconds == pytest.approx(0.5, abs=0.02)
    assert tone_level_dbfs(stage.bench.person.pcm[800:3200], 8000, 700) > -15
    assert stage.told.ended_by == "caller"
    assert stage.told.failure == ""
    await stage.bench.close()


@in_virtual_time
async def test_caller_waits_for_speech_and_then_for_silence(loop: VirtualLoop) -> None:
    stage = Stage(loop, step("wait_for_speech", 5), step("wait_for_silence", 5), step("hang_up"))
    await stage.answer()
    began = loop.time()

    await stage.be_silent(1)
    await stage.speak(1)
    await stage.be_silent(1)

    (span,) = stage.told.agent
    assert span.started_at - began == pytest.approx(1.0, abs=0.05)
    assert stage.told.ended_at - began == pytest.approx(2.5, abs=0.06)
    await stage.bench.close()


@in_virtual_time
async def test_caller_interrupts_when_the_agent_has_spoken_for_so_long(loop: VirtualLoop) -> None:
    stage = Stage(loop, step("interrupt", "words.wav", sound=WORDS, after_s=0.7), step("hang_up"))
    await stage.answer()
    began = loop.time()

    await stage.be_silent(0.5)
    await stage.speak(2)

    (span,) = stage.told.interrupts
    assert span.started_at - began == pytest.approx(1.2, abs=0.15)
    await stage.bench.close()


@pytest.mark.parametrize(
    ("verb", "why"),
    [
        ("wait_for_speech", "the agent did not speak within 1 s"),
        ("wait_for_end", "the agent did not hang up within 1 s"),
    ],
)
def test_what_is_waited_for_in_vain_is_told(verb: str, why: str) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        stage = Stage(loop, step(verb, 1), SAYS)
        await stage.answer()

        await elapse(2)

        assert stage.told.failure == f"step 1 ({verb}): {why}"
        assert stage.told.says == []
        await stage.bench.close()

    run()


@pytest.mark.parametrize(
    ("steps", "failure"),
    [
        ((step("wait_for_end", 5),), ""),
        ((step("wait", 5),), ""),
        ((step("wait", 5), SAYS), "step 1 (wait): the agent hung up"),
        ((step("wait_for_speech", 5),), "step 1 (wait_for_speech): the agent hung up"),
    ],
)
def test_agent_may_hang_up_where_the_script_ends(
    steps: tuple[CallerStep, ...], failure: str
) -> None:
    @in_virtual_time
    async def run(loop: VirtualLoop) -> None:
        stage = Stage(loop, *steps)
        await stage.answer()
        await elapse(0.5)

        stage.bench.leg.end(EndReason.HANGUP)
        await elapse(0.1)

        assert stage.told.ended_by == "agent"
        assert stage.told.failure == failure
        await stage.bench.close()

    run()


@in_virtual_time
async def test_keys_are_pressed_and_those_of_the_agent_are_noted(loop: VirtualLoop) -> None:
    stage = Stage(loop, step("digits", "12#"), step("hang_up"))
    await stage.answer()

    stage.bench.presses("45")
    await elapse(2)

    assert stage.bench.pressed == "12#"
    assert stage.told.digits_back == "45"
    await stage.bench.close()


@in_virtual_time
async def test_agent_comes_back_as_an_echo(loop: VirtualLoop) -> None:
    stage = Stage(loop, step("wait", 3), line=Line(echo_db=-10))
    await stage.answer()

    await stage.speak(1.5)

    back = stage.bench.person.pcm[6400:]
    assert tone_level_dbfs(back, 8000, 440) == pytest.approx(-30, abs=1)
    await stage.bench.close()


class Wire:
    """A transport that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_closed = False
        self.on_packet: Any = None
        self.on_state: Any = None

    def describe(self, media: MediaDescription, *, restart: bool = False) -> MediaDescription:
        return media

    def accept(self, remote: MediaDescription) -> None:
        return

    def add_candidate(self, candidate: str, ufrag: str | None) -> None:
        return

    def send(self, packet: bytes) -> None:
        self.sent.append(packet)

    def close(self) -> None:
        self.is_closed = True


def way(line: Line, seed: int) -> Impairment:
    """One direction of a line."""
    return Impairment(line, random.Random(seed).random)


@in_virtual_time
async def test_bad_line_loses_and_delays_packets_both_ways(loop: VirtualLoop) -> None:
    wire, came = Wire(), list[tuple[bytes, float]]()
    line = Line(loss=0.2, jitter_ms=50)
    media = ImpairedMedia(wire, way(line, 1), way(line, 2), loop)
    media.on_packet = lambda packet, now: came.append((packet, now - loop.time()))

    for number in range(250):
        media.send(bytes([number]))
        wire.on_packet(bytes([number]), loop.time())
        await asyncio.sleep(0.02)
    await elapse(0.1)

    for packets in (wire.sent, [packet for packet, _ in came]):
        assert len(packets) / 250 == pytest.approx(0.8, abs=0.07)
        assert packets == sorted(packets)
    assert np.allclose([late for _, late in came], 0.0)


@in_virtual_time
async def test_what_is_under_way_when_the_call_ends_is_lost(loop: VirtualLoop) -> None:
    wire = Wire()
    line = Line(jitter_ms=500)
    media = ImpairedMedia(wire, way(line, 1), way(line, 2), loop)
    media.on_packet = lambda packet, now: pytest.fail("nobody listens any more")

    media.send(b"up")
    wire.on_packet(b"down", loop.time())
    media.close()
    await elapse(1)

    assert wire.sent == []
    assert wire.is_closed

"""What is noted of an agent under test: its last words, what stays unsaid, and how it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import numpy as np
import pytest

from gateway.agents.agent import AgentCall
from gateway.codec import OPUS, PCMU
from gateway.media.g711 import MU_LAW
from gateway.media.tone import sine, tone_level_dbfs
from gateway.trial.overheard import KEPT_S, LastWords, Overheard
from gateway.trial.script import RATE

RING, WORDS = sine(440, 0.5, 8000, -12), sine(1000, 0.5, 16_000, -12)


class Gateway:
    """The call, as far as an agent says something in it."""

    queued_ms = 0.0

    def say_now(self, pcm: Any, rate: int, item: str = "") -> bool:
        return len(pcm) < 100_000

    def say_payload(self, *_: Any) -> bool:
        return True

    def clear(self) -> None:
        """Nothing is played here."""

    async def say(self, pcm: Any, rate: int) -> None:
        """Likewise."""

    async def played(self) -> None:
        """All at once."""


class Does:
    """An agent."""

    def __init__(self, what: Callable[[AgentCall], Awaitable[object]]) -> None:
        self._what = what

    async def on_call(self, call: AgentCall) -> None:
        await self._what(call)


async def overhear(what: Callable[[AgentCall], Awaitable[object]]) -> Overheard:
    overheard = Overheard(Does(what))
    await overheard.on_call(cast(AgentCall, Gateway()))
    return overheard


async def test_words_are_kept_however_they_are_said() -> None:
    async def speak(call: AgentCall) -> None:
        call.say_payload(PCMU, MU_LAW.encode(RING), 24_000)
        await call.say(RING, 8000)
        call.say_now(WORDS, 16_000)

    words = (await overhear(speak)).last_words.pcm

    assert len(words) == pytest.approx(1.5 * RATE, abs=2)
    for start, tone in ((0, 440), (RATE // 2, 440), (RATE, 1000)):
        piece = words[start : start + RATE // 2]
        assert tone_level_dbfs(piece, RATE, tone) == pytest.approx(-12, abs=0.5)


async def test_what_is_taken_back_refused_or_not_to_be_compared_is_no_last_word() -> None:
    async def take_back(call: AgentCall) -> None:
        call.say_now(WORDS, 16_000)
        call.clear()

    async def say_too_much(call: AgentCall) -> None:
        call.say_now(np.zeros(200_000, np.int16), 16_000)

    async def say_opus(call: AgentCall) -> None:
        call.say_now(WORDS, 16_000)
        call.say_payload(OPUS, b"\xf8", 960)

    for what in (take_back, say_too_much, say_opus):
        assert not len((await overhear(what)).last_words.pcm)


def test_no_more_is_kept_than_is_compared() -> None:
    words = LastWords()
    for _ in range(100):
        words.add(RING, 8000)

    assert KEPT_S * RATE <= len(words.pcm) <= (KEPT_S + 0.5) * RATE


async def test_what_an_agent_raises_is_told_with_the_line_of_its_code() -> None:
    async def fail(call: AgentCall) -> None:
        raise RuntimeError("no more")

    overheard = Overheard(Does(fail))
    with pytest.raises(RuntimeError):
        await overheard.on_call(cast(AgentCall, Gateway()))

    line = fail.__code__.co_firstlineno + 1
    assert overheard.broke == f"RuntimeError: no more (test_overheard.py:{line})"


async def test_what_was_queued_as_the_agent_was_cut_off_is_unsaid() -> None:
    gateway = Gateway()
    gateway.queued_ms = 700.0
    overheard = Overheard(Does(lambda call: asyncio.sleep(10)))
    attending = asyncio.ensure_future(overheard.on_call(cast(AgentCall, gateway)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    attending.cancel()
    await asyncio.wait([attending])
    await asyncio.sleep(0)

    assert overheard.unsaid_ms == pytest.approx(700, abs=50)

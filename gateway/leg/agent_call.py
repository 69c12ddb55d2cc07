"""The call as its agent sees it: what `gateway.agents.agent.AgentCall` promises, by an AgentLeg."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gateway.agents.event import AgentEvent, ToolDone
from gateway.agents.protocol import CallFacts
from gateway.agents.tool import Tool, Transfer
from gateway.codec import TICK_RATE, Codec
from gateway.leg.leg import DigitPressed, Phase
from gateway.media.frame import AudioFrame
from gateway.media.opus import RATES
from gateway.media.playout import Cleared
from gateway.rtp.dial_string import parse_dial_string

if TYPE_CHECKING:
    from gateway.leg.agent import AgentLeg

MAX_SAID_AHEAD_MS = 30_000
"`say` waits while more than this is queued."

PIECE_S = 10
"What `say` queues at once: a longer recording waits for its room piece by piece."

TICK_S = 0.02
"How often a queue that is full is looked at, at most."

DIGIT_MS = 100
DIGIT_GAP_S = 0.2


class CallOfAgent:
    """One agent's view of one call: the agent can do to its leg what is here, and no more."""

    def __init__(self, leg: AgentLeg, facts: CallFacts) -> None:
        self._leg = leg
        self.facts = facts

    @property
    def id(self) -> str:
        return self.facts.id

    @property
    def caller(self) -> str:
        return self.facts.caller

    @property
    def called(self) -> str:
        return self.facts.called

    @property
    def is_answered(self) -> bool:
        return self._leg.answered_at is not None

    @property
    def answered_at(self) -> float | None:
        return self._leg.answered_at

    @property
    def queued_ms(self) -> float:
        return self._leg.playout.queued_ms

    @property
    def is_paused(self) -> bool:
        return self._leg.playout.is_paused

    # ---- at once

    def listen(self, hear: Callable[[AudioFrame], None] | None) -> None:
        self._leg.listen(hear)

    def overhear(self, hear: Callable[[AudioFrame], None]) -> Callable[[], None]:
        return self._leg.overhear(hear)

    def watch(self, on_event: Callable[[AgentEvent], None] | None) -> None:
        self._leg.watch(on_event)

    def ring_now(self) -> None:
        self._leg.ring()

    def accept_now(self) -> None:
        self._leg.accept()

    def say_now(self, pcm: NDArray[np.int16], rate: int, item: str = "") -> bool:
        return self._leg.playout.say_pcm(pcm, rate, item)

    def say_payload(self, codec: Codec, payload: bytes, duration: int, item: str = "") -> bool:
        return self._leg.playout.say_payload(codec, payload, duration, item)

    def allow_queue(self, seconds: float) -> None:
        self._leg.playout.max_queued = int(seconds * TICK_RATE)

    def mark(self, name: str) -> bool:
        return self._leg.playout.mark(name)

    def clear(self) -> Cleared:
        return self._leg.clear()

    def pause(self) -> None:
        self._leg.pause(on=True)

    def resume(self) -> None:
        self._leg.pause(on=False)

    def judge_barge_in(self, *, is_real: bool) -> None:
        self._leg.judge_barge_in(is_real=is_real)

    def use(self, tool: Tool, id: str = "") -> None:
        self._leg.use(tool, id)

    def note(self, kind: str, /, **data: Any) -> None:
        self._leg.note(kind, data)

    def fail(self, detail: str, *, is_lost: bool = False) -> None:
        self._leg.fail(detail, is_lost=is_lost)

    # ---- awaited

    async def do(self, tool: Tool) -> ToolDone:
        return await self._leg.do(tool)

    async def transfer(self, to: str, *, mode: str = "blind", brief: str = "") -> ToolDone:
        return await self._leg.do(Transfer(to, mode, brief))

    async def ring(self) -> None:
        self._leg.ring()

    async def progress(self) -> None:
        self._leg.open_early_media()

    async def answer(self) -> None:
        self._leg.accept()

    def hear(self) -> AsyncGenerator[AudioFrame, None]:
        return self._hear()

    async def _hear(self) -> AsyncGenerator[AudioFrame, None]:
        self._leg.speak_up()
        async with aclosing(self._leg.queues.frames()) as frames:
            async for frame in frames:
                yield frame

    async def say(self, pcm: NDArray[np.int16], rate: int) -> None:
        if getattr(pcm, "dtype", None) != np.int16 or pcm.ndim != 1:
            # Floats from -1 to 1 would be silence, and nobody knew why.
            raise TypeError("speech is an array of int16, mono: shape (samples,)")
        if rate not in RATES:
            raise ValueError(f"speech is said at {RATES} Hz, not {rate}: gateway.media.resample")
        self._leg.speak_up()
        for start in range(0, len(pcm), PIECE_S * rate):
            await self._room_to_say()
            self._leg.playout.say_pcm(pcm[start : start + PIECE_S * rate], rate)

    async def say_frame(self, frame: AudioFrame) -> None:
        await self._room_to_say()
        self._leg.playout.say(frame)

    async def _room_to_say(self) -> None:
        self._leg.speak_up()
        await self._leg.far_end_hears.wait()
        # A playout tells nobody that it has room again.
        while (ahead_ms := self._leg.playout.queued_ms - MAX_SAID_AHEAD_MS) > 0:  # noqa: ASYNC110
            await asyncio.sleep(max(ahead_ms / 1000, TICK_S))

    async def played(self) -> None:
        await self._leg.played()

    async def digit(self) -> str:
        return await self._leg.queues.next_digit()

    async def digit_waiting(self) -> None:
        await self._leg.queues.digit_waiting()

    async def send_digits(self, digits: str) -> None:
        steps = parse_dial_string(digits)
        self._leg.speak_up()
        for digit in steps:
            if isinstance(digit, float):
                await asyncio.sleep(digit)
                continue
            self._leg.tell(DigitPressed(digit, Phase.START))
            try:
                await asyncio.sleep(DIGIT_MS / 1000)
            finally:
                # Also when the agent is interrupted: no key stays down.
                self._leg.tell(DigitPressed(digit, Phase.END, DIGIT_MS))
            await asyncio.sleep(DIGIT_GAP_S)

    async def hold(self, *, on: bool = True) -> None:
        self._leg.put_on_hold(on=on)

    async def refer(self, to: str) -> int:
        return await self._leg.ask_to_call(to)

    async def stop_media(self) -> None:
        self._leg.stop_others_media()

    async def hang_up(self) -> None:
        await self._leg.leave()

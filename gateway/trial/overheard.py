"""The agent under test, with an eye on what it says, what stays unsaid, and how it breaks.

It attends its calls by itself: what it says is noted on its way to the gateway, nothing else.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from gateway.agents.agent import Agent, AgentCall
from gateway.agents.python import AgentCodeError
from gateway.codec import Codec
from gateway.media.branch import Pcm
from gateway.media.frame import AudioFrame
from gateway.media.g711 import A_LAW, MU_LAW
from gateway.media.playout import Cleared
from gateway.media.resample import resample
from gateway.trial.script import RATE

LOOK_S = 0.01
"How often it is looked at what the agent has still to say."

KEPT_S = 3.0
"So much of what was said last is kept: more than is looked for in what was heard."

_LAWS = {"PCMU": MU_LAW, "PCMA": A_LAW}


class LastWords:
    """What an agent said last, as it gave it to the gateway."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[NDArray[np.int16], int]] = deque()
        self._seconds = 0.0

    def add(self, pcm: Pcm, rate: int) -> None:
        """It says this, after what it said before."""
        self._pieces.append((pcm, rate))
        self._seconds += len(pcm) / rate
        while self._seconds - len(self._pieces[0][0]) / self._pieces[0][1] > KEPT_S:
            old, old_rate = self._pieces.popleft()
            self._seconds -= len(old) / old_rate

    def forget(self) -> None:
        """It takes back what it said, or says what cannot be compared."""
        self._pieces.clear()
        self._seconds = 0.0

    @property
    def pcm(self) -> Pcm:
        """All of it at `RATE`; empty: it said nothing since."""
        if not self._pieces:
            return np.zeros(0, np.int16)
        whole: list[Pcm] = []
        run: list[Pcm] = []
        run_rate = self._pieces[0][1]
        for pcm, rate in self._pieces:
            if rate != run_rate:
                whole.append(resample(np.concatenate(run), run_rate, RATE))
                run, run_rate = [], rate
            run.append(pcm)
        whole.append(resample(np.concatenate(run), run_rate, RATE))
        return np.concatenate(whole)


class Overheard:
    """Attends a call as the agent does."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.unsaid_ms: float | None = None
        "What the gateway still had to play as the agent left."
        self.left_at: float | None = None
        "In loop seconds."
        self.broke = ""
        "What was raised, and where; empty: nothing was."
        self.last_words = LastWords()

    async def on_call(self, call: AgentCall) -> None:
        loop = asyncio.get_running_loop()
        watching = loop.create_task(self._watch(call, loop))
        try:
            await self.agent.on_call(cast(AgentCall, _Tapped(call, self.last_words)))
            await call.played()
            self.unsaid_ms = 0.0
        except Exception as error:
            self.broke = _words(error)
            raise
        finally:
            self.left_at = loop.time()
            watching.cancel()

    async def _watch(self, call: AgentCall, loop: asyncio.AbstractEventLoop) -> None:
        """Once the agent has left its queue is empty, whatever was in it: look all the time."""
        queued_ms, looked_at = 0.0, loop.time()
        try:
            while True:
                queued_ms, looked_at = call.queued_ms, loop.time()
                await asyncio.sleep(LOOK_S)
        finally:
            if self.unsaid_ms is None:
                self.unsaid_ms = max(0.0, queued_ms - 1000 * (loop.time() - looked_at))


class _Tapped:
    """An agent's call, whose words are noted as they are said."""

    def __init__(self, call: AgentCall, words: LastWords) -> None:
        self._call = call
        self._words = words

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def say_now(self, pcm: Pcm, rate: int, item: str = "") -> bool:
        is_queued = self._call.say_now(pcm, rate, item)
        if is_queued:
            self._words.add(pcm, rate)
        return is_queued

    def say_payload(self, codec: Codec, payload: bytes, duration: int, item: str = "") -> bool:
        is_queued = self._call.say_payload(codec, payload, duration, item)
        law = _LAWS.get(codec.name)
        if is_queued and law is not None:
            self._words.add(law.decode(payload), codec.sample_rate)
        elif is_queued:
            self._words.forget()
        return is_queued

    def clear(self) -> Cleared:
        self._words.forget()
        return self._call.clear()

    async def say(self, pcm: Pcm, rate: int) -> None:
        # Before it is queued: who is cut off while `say` waits for room has said it too.
        if rate > 0:
            self._words.add(pcm, rate)
        await self._call.say(pcm, rate)

    async def say_frame(self, frame: AudioFrame) -> None:
        self._words.add(frame.pcm(RATE), RATE)
        await self._call.say_frame(frame)


def _words(error: Exception) -> str:
    """What was raised, and the line of the agent's code that it came from."""
    if isinstance(error, AgentCodeError):
        return str(error)
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(__file__).parents[1]
    place = next((f for f in reversed(frames) if ours not in Path(f.filename).parents), None)
    return told if place is None else f"{told} ({Path(place.filename).name}:{place.lineno})"

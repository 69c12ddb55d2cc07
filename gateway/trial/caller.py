"""The scripted caller: an agent that does the steps of its script, and notes what it hears.

listen ▸ Ear (when the agent speaks)      ▸ Told
       ▸ Phone (the echo) ─┐
steps ▸ what is to be said ┴▸ 20 ms at a time ▸ say_now
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from gateway.agents.agent import AgentCall
from gateway.agents.event import AgentEvent, DigitHeard, FarEndAnswered
from gateway.media.branch import Pcm
from gateway.media.frame import AudioFrame
from gateway.media.tone import beep, sine
from gateway.trial.ear import LOUD_DBFS, PIECE_MS, Ear, Span, tail_share
from gateway.trial.judge import Told
from gateway.trial.line import Phone
from gateway.trial.script import RATE, CallerScript, CallerStep

FRAME_S = 0.02
FRAME = round(RATE * FRAME_S)

CUSHION_MS = 40
"What is said lies so far ahead: a beat that comes late leaves no gap."

MAX_AHEAD_MS = 100
"More is not said: the gateway stands still, and the caller's phone would not wait either."

MAX_BEHIND_S = 0.2
"A pause of ours that was longer is not made up for."

TONE_DBFS = -12.0


class InVainError(Exception):
    """The caller waited for what did not come."""


@dataclass(slots=True)
class _Utterance:
    """Something that is being said."""

    pcm: Pcm
    span: Span
    done: asyncio.Future[None]
    at: int = 0
    "Samples of it that were said."


class ScriptedCaller:
    """Attends one call, as the one who calls."""

    def __init__(
        self,
        script: CallerScript,
        told: Told,
        *,
        loop: asyncio.AbstractEventLoop,
        chance: Callable[[], float],
    ) -> None:
        """`told` is filled in while the call goes on; `chance` makes the noise of the room."""
        self.told = told
        self.ear = Ear(RATE)
        self._script = script
        self._loop = loop
        self._phone = Phone(script.line, RATE, chance)
        self._call: AgentCall
        self.answered: asyncio.Future[None] = loop.create_future()
        "Done when the agent has taken the call."
        self._ticked = asyncio.Event()
        self._speech: deque[_Utterance] = deque()
        self._said: list[Pcm] = []
        self._step = 0
        "Which is being done; 1 is the first."

    @property
    def said(self) -> Pcm:
        """All that the caller has sent, its echo and its noise among it."""
        return np.concatenate([np.zeros(0, np.int16), *self._said])

    async def on_call(self, call: AgentCall) -> None:
        self._call = call
        call.watch(self._on_event)
        call.accept_now()
        await self.answered
        self.told.answered_at = self._loop.time()
        call.listen(self._on_frame)
        speaking = self._loop.create_task(self._speak())
        try:
            await self._do_steps()
            self.told.ended_by = "caller"
        except asyncio.CancelledError:
            self._on_hung_up()
            raise
        finally:
            self._finish()
            speaking.cancel()

    async def _do_steps(self) -> None:
        for number, step in enumerate(self._script.steps, 1):
            self._step = number
            if step.verb == "hang_up":
                return
            try:
                await _DO[step.verb](self, step)
            except InVainError as error:
                self.told.failure = f"step {number} ({step.verb}): {error}"
                return

    def _on_hung_up(self) -> None:
        """Somebody else has ended the call: the agent, or who has written a failure down."""
        if self.told.failure:
            return
        self.told.ended_by = "agent"
        number = max(self._step, 1)
        verb, *then = (step.verb for step in self._script.steps[number - 1 :])
        # After the last key is before its pause is over.
        is_expected = (not then and verb in _MAY_END) or (verb, *then) == ("digits", "wait_for_end")
        if not is_expected:
            self.told.failure = f"step {number} ({verb}): the agent hung up"

    def _finish(self) -> None:
        self.told.ended_at = self._loop.time()
        self.told.agent = self.ear.speech()
        words = self._script.goodbye
        if words is not None:
            self.told.goodbye_share = tail_share(self.ear.heard, words, RATE)

    # ---- what is heard, and what happens

    def _on_event(self, event: AgentEvent) -> None:
        match event:
            case FarEndAnswered(is_early=False):
                if not self.answered.done():
                    self.answered.set_result(None)
            case DigitHeard(digit=digit):
                self.told.digits_back += digit

    def _on_frame(self, frame: AudioFrame) -> None:
        if frame.is_past:
            return
        pcm = frame.pcm(RATE)
        self.ear.push(pcm, self._loop.time())
        self._phone.hear(pcm)

    # ---- the voice

    async def _speak(self) -> None:
        """Say 20 ms every 20 ms, of what is to be said or of silence, as phones do."""
        now = due = self._loop.time()
        self._say(np.zeros(RATE * CUSHION_MS // 1000, np.int16))
        while True:
            if self._call.queued_ms < MAX_AHEAD_MS:
                self._say(self._phone.says(self._voice()))
            self._ticked.set()
            due += FRAME_S
            if now - due > MAX_BEHIND_S:
                due = now
            await asyncio.sleep(max(0.0, due - now))
            now = self._loop.time()

    def _say(self, pcm: Pcm) -> None:
        self._call.say_now(pcm, RATE)
        self._said.append(pcm)

    def _voice(self) -> Pcm:
        """The next 20 ms of what is to be said."""
        if not self._speech:
            return np.zeros(FRAME, np.int16)
        speech = self._speech[0]
        if not speech.at:
            heard_at = self._loop.time() + self._call.queued_ms / 1000
            first, last = _loud_part(speech.pcm)
            speech.span.started_at = heard_at + first / RATE
            speech.span.ended_at = heard_at + last / RATE
        piece = speech.pcm[speech.at : speech.at + FRAME]
        speech.at += FRAME
        if speech.at >= len(speech.pcm):
            self._speech.popleft()
            if not speech.done.done():
                speech.done.set_result(None)
        return piece if len(piece) == FRAME else np.pad(piece, (0, FRAME - len(piece)))

    async def _speak_out(self, pcm: Pcm, spans: list[Span]) -> None:
        """Say something to its end."""
        now = self._loop.time()
        speech = _Utterance(pcm, Span(now, now), self._loop.create_future())
        spans.append(speech.span)
        self._speech.append(speech)
        await speech.done
        await asyncio.sleep(max(0.0, speech.span.ended_at - self._loop.time()))

    # ---- the steps

    async def _until(self, is_so: Callable[[], bool], within_s: float, what: str) -> None:
        try:
            async with asyncio.timeout(within_s):
                while not is_so():
                    self._ticked.clear()
                    await self._ticked.wait()
        except TimeoutError:
            raise InVainError(f"{what} within {within_s:g} s") from None

    def _agent_spoke_s(self) -> float:
        """For how long the agent has been speaking; -1 while it is quiet."""
        now = self._loop.time()
        since = self.ear.speaks_since(now)
        return -1.0 if since is None else now - since

    async def wait(self, step: CallerStep) -> None:
        await asyncio.sleep(step.value)

    async def wait_for_speech(self, step: CallerStep) -> None:
        await self._until(lambda: self._agent_spoke_s() >= 0, step.value, "the agent did not speak")

    async def wait_for_silence(self, step: CallerStep) -> None:
        await self._until(
            lambda: self.ear.quiet_s(self._loop.time()) >= step.quiet_s,
            step.value,
            "the agent did not fall silent",
        )

    async def say(self, step: CallerStep) -> None:
        assert step.sound is not None
        await self._speak_out(step.sound, self.told.says)

    async def interrupt(self, step: CallerStep) -> None:
        assert step.sound is not None
        await self._until(
            lambda: self._agent_spoke_s() >= step.after_s,
            step.timeout_s + step.after_s,
            f"the agent did not speak for {step.after_s:g} s",
        )
        await self._speak_out(step.sound, self.told.interrupts)

    async def tone(self, step: CallerStep) -> None:
        await self._speak_out(sine(step.value, step.for_s, RATE, TONE_DBFS), self.told.sounds)

    async def beep(self, step: CallerStep) -> None:
        await self._speak_out(beep(RATE, step.value, TONE_DBFS), self.told.sounds)

    async def digits(self, step: CallerStep) -> None:
        await self._call.send_digits(step.value)

    async def wait_for_end(self, step: CallerStep) -> None:
        await asyncio.sleep(step.value)
        raise InVainError(f"the agent did not hang up within {step.value:g} s")


_DO: dict[str, Callable[[ScriptedCaller, CallerStep], Awaitable[None]]] = {
    "wait": ScriptedCaller.wait,
    "wait_for_speech": ScriptedCaller.wait_for_speech,
    "wait_for_silence": ScriptedCaller.wait_for_silence,
    "say": ScriptedCaller.say,
    "interrupt": ScriptedCaller.interrupt,
    "tone": ScriptedCaller.tone,
    "beep": ScriptedCaller.beep,
    "digits": ScriptedCaller.digits,
    "wait_for_end": ScriptedCaller.wait_for_end,
}

_MAY_END = frozenset({"wait", "wait_for_end"})
"As the last step the agent may end the call in these."


def _loud_part(pcm: Pcm) -> tuple[int, int]:
    """Where the first and the last sound of it are, in samples."""
    piece = RATE * PIECE_MS // 1000
    threshold = (32768.0**2 / 2) * 10 ** (LOUD_DBFS / 10) * piece
    whole = pcm[: len(pcm) // piece * piece].reshape(-1, piece).astype(np.float64)
    loud = np.flatnonzero((whole * whole).sum(axis=1) > threshold)
    return (int(loud[0]) * piece, int(loud[-1] + 1) * piece) if len(loud) else (0, len(pcm))

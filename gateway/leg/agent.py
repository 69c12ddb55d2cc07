"""AgentLeg: an in-process agent as a party of a call."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable

import numpy as np
from numpy.typing import NDArray

from gateway.agents.agent import Agent
from gateway.agents.event import AgentEvent, ToolDone
from gateway.errors import Fault
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Ended,
    EndReason,
    Gone,
    HoldAsked,
    LegEvent,
    LegId,
    LegKind,
    MediaQuality,
    MediaStopAsked,
    Phase,
    Progressed,
    TransferAsked,
)
from gateway.media.frame import AudioFrame
from gateway.media.playout import Cleared, MarkReached, Playout, PlayoutEvent
from gateway.rtp.dial_string import parse_dial_string
from gateway.sdp.description import Direction
from gateway.sip.uri import Uri

log = logging.getLogger(__name__)

MAX_HEARD_BEHIND = 100
"Frames kept for an agent that hears slowly: 2 s at 20 ms; then the oldest go."

MAX_DIGITS_WAITING = 64
"Keys kept for an agent that does not ask for them."

MAX_SAID_AHEAD_MS = 30_000
"`say` waits while more than this is queued."

PIECE_S = 10
"What `say` queues at once: a longer recording waits for its room piece by piece."

TICK_S = 0.02
"How often a queue that is full is looked at, at most."

UNDER_WAY = 491
"What a second REFER gets while one is under way, as it would on the wire (RFC 3261 §21.4.27)."

DIGIT_MS = 100
DIGIT_GAP_S = 0.2


class AgentLeg:
    """One agent in one call: runs `on_call`, queues what it says, hands it what it may hear."""

    kind = LegKind.AGENT
    can_refer = False
    dialog = None

    def __init__(
        self,
        leg_id: LegId,
        agent: Agent,
        *,
        call_id: str,
        caller: str,
        called: str,
        loop: asyncio.AbstractEventLoop,
        is_caller: bool = False,
    ) -> None:
        """`is_caller`: the agent is rung first, and its words wait until the far end can hear."""
        self.id = leg_id
        self.listener = self
        self.playout = Playout()
        self.playout.on_event = self._on_playout_event
        self.on_event: Callable[[LegEvent], None] = _nobody
        self.on_frame: Callable[[AudioFrame], None] = _silent
        self._agent = agent
        self._loop = loop
        self._call = _AgentCall(self, call_id, caller, called)
        self._task: asyncio.Task[None] | None = None
        self._has_ended = False
        self._played: dict[str, asyncio.Future[None]] = {}
        self._marks = 0
        self._ears: deque[AudioFrame] | None = None
        self._heard = asyncio.Event()
        self._digits: deque[str] = deque(maxlen=MAX_DIGITS_WAITING)
        self._digit_came = asyncio.Event()
        self._referred: asyncio.Future[int] | None = None
        "Is told how the transfer ended that the agent has asked for."
        self._is_answered = False
        self._is_early = False
        self._far_end_hears = asyncio.Event()
        if not is_caller:
            self._far_end_hears.set()

    # ---- commands

    def dial(self) -> None:
        """Offer the call to the agent."""
        self._task = self._loop.create_task(self._attend())
        # Not in the task itself: one that is cancelled before its first step never runs at all.
        self._task.add_done_callback(self._on_done)

    def progress(self, *, ringing: bool, early_media: bool) -> None:
        """An agent that calls may be heard as soon as the far end's early media is."""
        if early_media:
            self._far_end_hears.set()

    def answer(self) -> None:
        """An agent that calls was answered: it may go on."""
        self._far_end_hears.set()

    def digit(self, digit: str, phase: Phase, duration_ms: int = 0) -> None:
        """The other side pressed a key."""
        if phase is Phase.END:
            self._digits.append(digit)
            self._digit_came.set()

    def hold(self, direction: Direction) -> None:
        """An agent hears by itself that it hears music."""

    def refer(self, target: Uri, replaces: str | None = None) -> None:
        """An agent cannot be asked: see `can_refer`."""

    def transfer_progress(self, status: int) -> None:
        """How the transfer fares that the agent has asked for; from 200 on it is over."""
        if status >= 200 and self._referred is not None and not self._referred.done():
            self._referred.set_result(status)

    def tool_done(self, done: ToolDone) -> None:
        """What became of a tool that the agent has asked for."""

    def inform(self, event: AgentEvent) -> None:
        """Something of its call that the agent may want to know."""

    def stop_media(self) -> None:
        """An agent in this process has no path that could break."""

    def end(self, reason: EndReason, status: int = 0, text: str = "") -> None:
        """Cancel the agent's attendance."""
        self._has_ended = True
        if self._task is None:
            self._loop.call_soon(self._tell, Gone())
        else:
            self._task.cancel()

    def quality(self) -> MediaQuality:
        """An agent in this process has no network between."""
        return MediaQuality()

    # ---- Listener

    @property
    def is_connected(self) -> bool:
        """An agent has its ears with it."""
        return True

    def hear(self, frame: AudioFrame) -> None:
        ears = self._ears
        if ears is not None:
            ears.append(frame)
            self._heard.set()

    # ---- what the agent does, see AgentCall

    async def ring(self) -> None:
        self._tell(Progressed(180, "Ringing"))

    async def open_early_media(self) -> None:
        if not self._is_early:
            self._is_early = True
            self._tell(Progressed(183, "Session Progress", early_media=True))

    async def accept(self) -> None:
        if not self._is_answered:
            self._is_answered = True
            self._tell(Answered())

    async def speak_up(self) -> None:
        """To hear or to say something takes the call, unless early media is open."""
        if not self._is_early:
            await self.accept()

    async def hear_frames(self) -> AsyncGenerator[AudioFrame, None]:
        await self.speak_up()
        ears: deque[AudioFrame] = deque(maxlen=MAX_HEARD_BEHIND)
        self._ears = ears
        try:
            while True:
                while ears:
                    yield ears.popleft()
                self._heard.clear()
                await self._heard.wait()
        finally:
            if self._ears is ears:
                self._ears = None

    async def say(self, pcm: NDArray[np.int16], rate: int) -> None:
        await self.speak_up()
        for start in range(0, len(pcm), PIECE_S * rate):
            await self._room_to_say()
            self.playout.say_pcm(pcm[start : start + PIECE_S * rate], rate)

    async def say_frame(self, frame: AudioFrame) -> None:
        await self._room_to_say()
        self.playout.say(frame)

    async def _room_to_say(self) -> None:
        await self.speak_up()
        await self._far_end_hears.wait()
        # A playout tells nobody that it has room again.
        while (ahead_ms := self.playout.queued_ms - MAX_SAID_AHEAD_MS) > 0:  # noqa: ASYNC110
            await asyncio.sleep(max(ahead_ms / 1000, TICK_S))

    async def played(self) -> None:
        self._marks += 1
        name = f"played-{self._marks}"
        reached = self._played[name] = self._loop.create_future()
        if not self.playout.mark(name):
            self._played.pop(name).cancel()
            return
        try:
            await reached
        finally:
            self._played.pop(name, None)

    def clear(self) -> Cleared:
        cleared = self.playout.clear()
        self._reached(cleared.marks)
        return cleared

    async def next_digit(self) -> str:
        while not self._digits:
            await self.digit_waiting()
        digit = self._digits.popleft()
        if not self._digits:
            self._digit_came.clear()
        return digit

    async def digit_waiting(self) -> None:
        await self._digit_came.wait()

    async def press(self, digits: str) -> None:
        steps = parse_dial_string(digits)
        await self.speak_up()
        for digit in steps:
            if isinstance(digit, float):
                await asyncio.sleep(digit)
                continue
            self._tell(DigitPressed(digit, Phase.START))
            try:
                await asyncio.sleep(DIGIT_MS / 1000)
            finally:
                # Also when the agent is interrupted: no key stays down.
                self._tell(DigitPressed(digit, Phase.END, DIGIT_MS))
            await asyncio.sleep(DIGIT_GAP_S)

    async def put_on_hold(self, *, on: bool) -> None:
        await self.accept()
        self._tell(HoldAsked(on))

    async def ask_to_call(self, to: str) -> int:
        """The status in which it failed; while it does not, the agent is let go."""
        if self._referred is not None:
            return UNDER_WAY
        await self.accept()
        await self._far_end_hears.wait()
        referred: asyncio.Future[int] = self._loop.create_future()
        self._referred = referred
        self._tell(TransferAsked(Uri("sip", to)))
        try:
            return await referred
        finally:
            self._referred = None

    async def stop_others_media(self) -> None:
        await self.accept()
        self._tell(MediaStopAsked())

    async def leave(self) -> None:
        """Hang up once everything said was played."""
        await self.played()
        self._conclude(Ended(EndReason.HANGUP))
        if self._task is not None:
            self._task.cancel()

    # ---- the guard around the agent's task

    async def _attend(self) -> None:
        try:
            await self._agent.on_call(self._call)
            if not self._has_ended:
                await self.leave()
        except Exception:
            log.exception("leg=%s its agent broke", self.id)
            self._conclude(Ended(EndReason.AGENT_FAILED, 500, fault=Fault.AGENT))

    def _on_done(self, task: asyncio.Task[None]) -> None:
        """The agent's task is over: by itself, by `end`, by `leave`, or by the loop's own end."""
        self._conclude(Ended(EndReason.HANGUP))
        self.on_event(Gone())

    def _conclude(self, ended: Ended) -> None:
        if not self._has_ended:
            self._has_ended = True
            self.on_event(ended)

    def _tell(self, event: LegEvent) -> None:
        if not self._has_ended or isinstance(event, Gone):
            self.on_event(event)

    def _on_playout_event(self, event: PlayoutEvent) -> None:
        if isinstance(event, MarkReached):
            self._reached((event.name,))
        elif isinstance(event, Cleared):
            self._reached(event.marks)

    def _reached(self, marks: tuple[str, ...]) -> None:
        for mark in marks:
            reached = self._played.pop(mark, None)
            if reached is not None and not reached.done():
                reached.set_result(None)


class _AgentCall:
    """The call as the agent sees it: see `gateway.agents.agent.AgentCall`."""

    def __init__(self, leg: AgentLeg, call_id: str, caller: str, called: str) -> None:
        self._leg = leg
        self.id = call_id
        self.caller = caller
        self.called = called

    @property
    def queued_ms(self) -> float:
        return self._leg.playout.queued_ms

    async def ring(self) -> None:
        await self._leg.ring()

    async def progress(self) -> None:
        await self._leg.open_early_media()

    async def answer(self) -> None:
        await self._leg.accept()

    def hear(self) -> AsyncGenerator[AudioFrame, None]:
        return self._leg.hear_frames()

    async def say(self, pcm: NDArray[np.int16], rate: int) -> None:
        await self._leg.say(pcm, rate)

    async def say_frame(self, frame: AudioFrame) -> None:
        await self._leg.say_frame(frame)

    async def played(self) -> None:
        await self._leg.played()

    def clear(self) -> Cleared:
        return self._leg.clear()

    async def digit(self) -> str:
        return await self._leg.next_digit()

    async def digit_waiting(self) -> None:
        await self._leg.digit_waiting()

    async def send_digits(self, digits: str) -> None:
        await self._leg.press(digits)

    async def hold(self) -> None:
        await self._leg.put_on_hold(on=True)

    async def resume(self) -> None:
        await self._leg.put_on_hold(on=False)

    async def refer(self, to: str) -> int:
        return await self._leg.ask_to_call(to)

    async def stop_media(self) -> None:
        await self._leg.stop_others_media()

    async def hang_up(self) -> None:
        await self._leg.leave()


def _nobody(event: LegEvent) -> None:
    """The leg has no call yet."""


def _silent(frame: AudioFrame) -> None:
    """An agent speaks through its playout, never live."""

"""AgentLeg: an agent as a party of a call.

It runs the agent's `on_call`, hands it what it may hear and what happens, in the callback in which
that comes, queues what it says, and passes up what it wants done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from gateway.agents.agent import Agent
from gateway.agents.event import AgentEvent, DigitHeard, FarEndAnswered, ToolDone
from gateway.agents.protocol import CallFacts, call_token
from gateway.agents.tool import HangUp, Tool, Transfer
from gateway.errors import Fault
from gateway.leg.agent_call import CallOfAgent
from gateway.leg.agent_marks import OwnMarks
from gateway.leg.agent_queues import AgentQueues
from gateway.leg.answering import Answering
from gateway.leg.leg import (
    Answered,
    Ended,
    EndReason,
    Gone,
    HoldAsked,
    LegEvent,
    LegId,
    LegKind,
    MediaQuality,
    MediaStopAsked,
    Noted,
    Phase,
    Progressed,
    ToolAsked,
    TransferAsked,
)
from gateway.leg.other_side import OtherSide
from gateway.leg.turns import Turns, TurnsOptions
from gateway.media.answering import AnsweringPolicy
from gateway.media.frame import AudioFrame
from gateway.media.playout import Cleared, MarkReached, Playout, PlayoutEvent
from gateway.sdp.description import Direction
from gateway.sip.uri import Uri

log = logging.getLogger(__name__)

UNDER_WAY = 491
"What a second REFER gets while one is under way, as it would on the wire (RFC 3261 §21.4.27)."

MAX_SPEECH_WAIT_S = 30.0
"A tool that waits for speech waits so long at most, whatever the agent allows."


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
        name: str = "",
        attributes: Mapping[str, str] | None = None,
        codec: str = "",
        tools: tuple[str, ...] = (),
        speech: TurnsOptions | None = None,
    ) -> None:
        """
        Args:
            is_caller: the agent is rung first, and its words wait until the far end can hear.
            name: the agent's, in the configuration.
            attributes: what is told of the caller besides its number.
            codec: of whom the agent will hear; empty: not known.
            tools: names of those that it may use.
            speech: what the gateway does about speech for it; None: nothing.
        """
        self.id = leg_id
        self.listener = self
        self.playout = Playout()
        self.playout.on_event = self._on_playout_event
        self.on_event: Callable[[LegEvent], None] = _nobody
        self.on_frame: Callable[[AudioFrame], None] = _silent
        self._agent = agent
        self._loop = loop
        self._call = CallOfAgent(
            self,
            CallFacts(
                call_id,
                caller,
                called,
                is_outbound=is_caller,
                agent=name,
                attributes=attributes or {},
                token=call_token(call_id),
                codec=codec,
                tools=tools,
            ),
        )
        self.turns = None if speech is None else Turns(speech, self)
        "Watches over speech for the agent; None: it does that itself."
        self._answering: Answering | None = None
        self._task: asyncio.Task[None] | None = None
        self._has_ended = False
        self._marks = OwnMarks(self.playout, loop)
        self.queues = AgentQueues()
        "What the agent asks for in its own time."
        self._hear: Callable[[AudioFrame], None] | None = None
        self._other_side = OtherSide(self.tell)
        self._on_agent_event: Callable[[AgentEvent], None] | None = None
        self._done: dict[str, asyncio.Future[ToolDone]] = {}
        self._referred: asyncio.Future[int] | None = None
        "Is told how the transfer ended that the agent has asked for."
        self.answered_at: float | None = None
        "Loop seconds when the agent took the call; None: it has not. To be read only."
        self._is_early = False
        self._is_paused = self._is_held_back = False
        self.far_end_hears = asyncio.Event()
        "Set from when what the agent says can be heard."
        if is_caller:
            self.playout.pause()
        else:
            self.far_end_hears.set()

    # ---- commands

    def expect_machine(self, policy: AnsweringPolicy) -> None:
        """The agent calls somebody: what is done if a machine answers. Before `dial`."""
        self._answering = None if policy == "off" else Answering(policy, self)

    def dial(self) -> None:
        """Offer the call to the agent."""
        self._task = self._loop.create_task(self._attend())
        # Not in the task itself: one that is cancelled before its first step never runs at all.
        self._task.add_done_callback(self._on_done)

    def progress(self, *, ringing: bool, early_media: bool) -> None:
        """An agent that calls may be heard as soon as the far end's early media is."""
        if early_media:
            self._on_far_end(FarEndAnswered(is_early=True))

    def answer(self) -> None:
        """An agent that calls was answered: it may go on."""
        if self._answering is not None:
            self._answering.start()
        self._on_far_end(FarEndAnswered())

    def _on_far_end(self, event: FarEndAnswered) -> None:
        self.far_end_hears.set()
        self.pause(on=self._is_paused)
        self.inform(event)

    def digit(self, digit: str, phase: Phase, duration_ms: int = 0) -> None:
        """The other side pressed a key."""
        if phase is Phase.END:
            self.queues.press(digit)
            self.inform(DigitHeard(digit, duration_ms))

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
        waiting = self._done.pop(done.id, None)
        if waiting is None:
            self.inform(done)
        elif not waiting.done():
            waiting.set_result(done)

    def inform(self, event: AgentEvent) -> None:
        """Something of its call that the agent may want to know."""
        if self._on_agent_event is None or self._has_ended:
            return
        try:
            self._on_agent_event(event)
        except Exception:
            log.exception("leg=%s its agent broke", self.id)
            self.fail("it could not be told what happened")

    def stop_media(self) -> None:
        """An agent in this process has no path that could break."""

    def end(self, reason: EndReason, status: int = 0, text: str = "") -> None:
        """Cancel the agent's attendance."""
        self._close()
        if self._task is None:
            self._loop.call_soon(self.tell, Gone())
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
        if self.turns is not None:
            self.turns.hear(frame)
        if self._answering is not None:
            self._answering.hear(frame)
        if self._hear is not None:
            self._hear(frame)
        self.queues.hear(frame)

    # ---- what the agent does, see AgentCall

    def listen(self, hear: Callable[[AudioFrame], None] | None) -> None:
        self._hear = hear

    def overhear(self, hear: Callable[[AudioFrame], None]) -> Callable[[], None]:
        return self._other_side.add(hear)

    def watch(self, on_event: Callable[[AgentEvent], None] | None) -> None:
        self._on_agent_event = on_event

    def pause(self, *, on: bool) -> None:
        self._is_paused = on
        if self.turns is not None and not on:
            self.turns.let_go()
        if on or self._is_held_back or not self.far_end_hears.is_set():
            self.playout.pause()
        else:
            self.playout.resume()

    def hold_back(self, *, on: bool) -> None:
        """Let nothing be heard that the agent says, whatever it wishes; it waits for its time."""
        self._is_held_back = on
        self.pause(on=self._is_paused)

    def judge_barge_in(self, *, is_real: bool) -> None:
        if self.turns is not None:
            self.turns.judge(is_real=is_real)

    def note(self, kind: str, data: Mapping[str, Any]) -> None:
        self.tell(Noted(kind, data))

    def use(self, tool: Tool, tool_id: str) -> None:
        if isinstance(tool, HangUp):
            act = partial(self._hang_up, tool.reason, tool.status)
        else:
            # What is waited for here is not waited for again.
            asked = replace(tool, after_speech=False) if isinstance(tool, Transfer) else tool
            act = partial(self.tell, ToolAsked(tool_id, asked))
        if isinstance(tool, HangUp | Transfer) and tool.after_speech:
            self._marks.after_speech(act, min(tool.max_wait_s, MAX_SPEECH_WAIT_S))
        else:
            act()

    async def do(self, tool: Tool) -> ToolDone:
        tool_id = self._marks.new_name()
        done: asyncio.Future[ToolDone] = self._loop.create_future()
        self._done[tool_id] = done
        self.use(tool, tool_id)
        try:
            return await done
        finally:
            self._done.pop(tool_id, None)

    def fail(self, detail: str, *, is_lost: bool = False) -> None:
        reason = EndReason.AGENT_LOST if is_lost else EndReason.AGENT_FAILED
        self._stop(Ended(reason, reason.status, detail, fault=Fault.AGENT))

    def ring(self) -> None:
        self.tell(Progressed(180, "Ringing"))

    def open_early_media(self) -> None:
        if not self._is_early:
            self._is_early = True
            self.tell(Progressed(183, "Session Progress", early_media=True))

    def accept(self) -> None:
        if self.answered_at is None:
            self.answered_at = self._loop.time()
            self.tell(Answered())

    def speak_up(self) -> None:
        """To hear or to say something takes the call, unless early media is open."""
        if not self._is_early:
            self.accept()

    async def played(self) -> None:
        await self._marks.played()

    def clear(self) -> Cleared:
        cleared = self.playout.clear()
        if self.turns is not None:
            self.turns.let_go()
        self._loop.call_soon(self.playout.tell)
        return self._marks.take_out(cleared)

    def put_on_hold(self, *, on: bool) -> None:
        self.accept()
        self.tell(HoldAsked(on))

    async def ask_to_call(self, to: str) -> int:
        """The status in which it failed; while it does not, the agent is let go."""
        if self._referred is not None:
            return UNDER_WAY
        self.accept()
        await self.far_end_hears.wait()
        referred: asyncio.Future[int] = self._loop.create_future()
        self._referred = referred
        self.tell(TransferAsked(Uri("sip", to)))
        try:
            return await referred
        finally:
            self._referred = None

    def stop_others_media(self) -> None:
        self.accept()
        self.tell(MediaStopAsked())

    async def leave(self) -> None:
        """Hang up once everything said was played."""
        await self.played()
        self._stop(Ended(EndReason.HANGUP))

    def _hang_up(self, reason: str, status: int) -> None:
        if self.answered_at is not None:
            self._stop(Ended(EndReason.HANGUP, text=reason))
        else:
            refusal = EndReason.BUSY if status == EndReason.BUSY.status else EndReason.DECLINED
            self._stop(Ended(refusal, status, reason))

    def _stop(self, ended: Ended) -> None:
        """The agent leaves, whatever it does just now."""
        self._conclude(ended)
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
            self._close()
            self.on_event(ended)

    def _close(self) -> None:
        self._has_ended = True
        self._hear = self._on_agent_event = None
        if self.turns is not None:
            self.turns.close()
            self.turns = None
        self._marks.close()

    def tell(self, event: LegEvent) -> None:
        """Tell the call something, unless the leg has left it."""
        if not self._has_ended or isinstance(event, Gone):
            self.on_event(event)

    def _on_playout_event(self, event: PlayoutEvent) -> None:
        if isinstance(event, MarkReached) and self._marks.reach(event.name):
            return
        if isinstance(event, Cleared):
            if self.turns is not None:
                self.turns.let_go()
            event = self._marks.take_out(event)
        self.inform(event)


def _nobody(event: LegEvent) -> None:
    """The leg has no call yet."""


def _silent(frame: AudioFrame) -> None:
    """An agent speaks through its playout, never live."""

"""An agent over a wire: connects, keeps the connection, and knows what to do without it (F18).

connect (the call rings) ▸ ready ▸ answered ─ lost ▸ again at 0.1, 0.25, 0.5, 1, 2 s ─ restored ▸ …
                                                     └ from 1 s on: the waiting sound
                                                     └ after 5 s: fallbacks ▸ an apology ▸ BYE
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.agents.agent import Agent, AgentCall
from gateway.agents.event import AgentEvent, FarEndAnswered, ToolDone
from gateway.agents.protocol import AgentAddress, Opening, Use, WireModule
from gateway.agents.session import Ended, Ending, Session
from gateway.agents.tool import Dial as DialTool
from gateway.agents.tool import Transfer
from gateway.errors import GatewayError
from gateway.net.agent_connection import AgentConnection, ConnectError

log = logging.getLogger(__name__)

DELAYS_S = (0.1, 0.25, 0.5, 1.0, 2.0)
"Before each attempt to connect again (F18)."

OUTAGE_S = 5.0
"How long an outage is borne, before others take over (F18)."

ATTEMPT_S = 2.0
"How long one attempt may take, of those that there are."

STABLE_S = 10.0
"A connection that lasted so long makes the next loss an outage of its own."

WAIT_SOUND_AFTER_S = 1.0
"How long an outage may be silent (F18)."

WAIT_SOUND_PAUSE_S = 3.0
"Between two times that the waiting sound is heard."

MAX_TRANSFER_S = 90.0
"How long what a lost agent has begun may still ring, before its caller is told that it is lost."

MAX_APOLOGY_S = 15.0
"An apology that nobody hears is not waited for."


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording."""

    pcm: NDArray[np.int16]
    "Mono."
    rate: int
    "8, 12, 16, 24 or 48 kHz."

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.rate


SILENT_CLIP = Clip(np.zeros(0, np.int16), 8000)


@dataclass(frozen=True, slots=True)
class RemoteOptions:
    """How an agent over a wire is treated."""

    ready_timeout_s: float = 5.0
    "How long it may take to be connected, and to be ready, from when the call comes in."
    answers_at_once: bool = False
    "Whether the call is answered before the agent is there."
    hears_early_media: bool = False
    "Of calls that the agent makes: whether it hears the far end before that has answered."
    fallback: tuple[str, ...] = ()
    "agent:NAME, or numbers: who takes over when it is lost, in order."
    apology: Clip = SILENT_CLIP
    "What the caller hears when nobody took over."
    wait_sound: Clip = SILENT_CLIP
    "What the caller hears while nobody is there."


class Dial(Protocol):
    """Opens connections to agents."""

    async def __call__(self, opening: Opening, *, is_stream: bool) -> AgentConnection:
        """
        Raises:
            GatewayError: none came about.
        """


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an agent's attendance ended."""

    is_finished: bool
    "It has done its work; else it was lost, or never there."
    hang_up: bool
    "Whether the call is over by that."
    detail: str


class RemoteAgent:
    """An agent that lives elsewhere: one connection for each of its calls."""

    def __init__(
        self,
        address: AgentAddress,
        module: WireModule,
        settings: Any,
        options: RemoteOptions | None = None,
        *,
        dial: Dial,
        agents: Mapping[str, Agent] | None = None,
    ) -> None:
        """
        Args:
            module: the file of `wire/` that knows its protocol.
            settings: of that file's `Settings`.
            agents: those that may take over, by name.
        """
        self.address = address
        self.module = module
        self.settings = settings
        self.options = options or RemoteOptions()
        self._dial = dial
        self._agents = agents if agents is not None else {}

    async def on_call(self, call: AgentCall) -> None:
        """Attend a call; when the agent is lost, see to it that somebody does."""
        patience = _Patience(call, self.options.wait_sound)
        try:
            outcome = await self.serve(call, patience)
            if not outcome.is_finished:
                await self._fall_back(call, outcome, patience)
        finally:
            patience.stop()

    async def serve(self, call: AgentCall, patience: _Patience | None = None) -> Outcome:
        """Connect the agent with a call, and again when it is lost, until it is over for it.

        Returns:
            Soon after the agent has finished, or was given up; the call itself goes on.
        """
        own = patience or _Patience(call, self.options.wait_sound)
        attendance = _Attendance(self, call, own)
        try:
            return await attendance.run()
        finally:
            attendance.close()
            if patience is None:
                own.stop()

    async def attend(self, call: AgentCall, connection: AgentConnection) -> Outcome:
        """Attend a call over a connection that is open already, and is not made anew."""
        patience = _Patience(call, SILENT_CLIP)
        attendance = _Attendance(self, call, patience)
        try:
            return await attendance.run_over(connection)
        finally:
            attendance.close()

    async def connect(self, call: AgentCall, stream: int, last: int | None) -> tuple[Any, Any]:
        """The connection for one call, and the facts that its protocol is opened with.

        Raises:
            GatewayError: none came about.
        """
        facts = replace(call.facts, stream=stream, last_sequence=last)
        opening = self.module.opening(self.address, self.settings, facts)
        return await self._dial(opening, is_stream=self.module.IS_STREAM), facts

    async def give_up(self, call: AgentCall, detail: str) -> None:
        """Let others take over a call that nobody attends, as when the agent was lost."""
        patience = _Patience(call, self.options.wait_sound)
        patience.begin()
        try:
            await self._fall_back(call, Outcome(False, True, detail), patience)
        finally:
            patience.stop()

    async def _fall_back(self, call: AgentCall, outcome: Outcome, patience: _Patience) -> None:
        for target in self.options.fallback:
            if target.startswith("agent:"):
                agent = self._agents.get(target.removeprefix("agent:"))
                if agent is None:
                    continue
                call.note("fallback", to=target)
                if not isinstance(agent, RemoteAgent):
                    patience.stop()
                    await agent.on_call(call)
                    return
                if (await agent.serve(call, patience)).is_finished:
                    return
            else:
                call.note("fallback", to="number")
                patience.stop()
                await call.refer(target)  # once it has answered, this is cancelled
                patience.begin()
        patience.stop()
        if call.is_answered:
            await self._apologise(call)
        log.warning("call=%s agent=%s lost: %s", call.id, self.address.name, outcome.detail)
        call.fail(outcome.detail, is_lost=True)

    async def _apologise(self, call: AgentCall) -> None:
        apology = self.options.apology
        call.say_now(apology.pcm, apology.rate)
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_APOLOGY_S):
                await call.played()


class _Patience:
    """What a caller hears while nobody is there."""

    def __init__(self, call: AgentCall, sound: Clip) -> None:
        self._call = call
        self._sound = sound
        self._timer: asyncio.TimerHandle | None = None
        self._is_heard = False

    def begin(self) -> None:
        """From now on nobody is there; if that was so before, nothing changes."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(WAIT_SOUND_AFTER_S, self._play)

    def stop(self) -> None:
        """Somebody is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_heard:
            self._is_heard = False
            self._call.clear()

    def _play(self) -> None:
        loop = asyncio.get_running_loop()
        sound = self._sound
        if self._call.is_answered:
            if not self._is_heard:
                self._call.clear()  # of who is gone: it would only be heard the later
            self._is_heard = True
            self._call.say_now(sound.pcm, sound.rate)
        self._timer = loop.call_later(sound.seconds + WAIT_SOUND_PAUSE_S, self._play)


@dataclass(slots=True)
class _Outage:
    """An outage, which several losses may belong to."""

    until: float
    delays: list[float] = field(default_factory=lambda: list(reversed(DELAYS_S)))


class _Attendance:
    """One agent in one call, over as many connections as it takes."""

    def __init__(self, agent: RemoteAgent, call: AgentCall, patience: _Patience) -> None:
        self._agent = agent
        self._call = call
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._streams = 0
        self._sequence: int | None = None
        self._outage: _Outage | None = None
        self._ready_timer: asyncio.TimerHandle | None = None
        self._transfers: set[str] = set()
        self._settled = asyncio.Event()
        "Set while no transfer of the agent's is under way."
        self._settled.set()
        options = agent.options
        self._may_hear = options.hears_early_media or not call.facts.is_outbound

    async def run(self) -> Outcome:
        """Attend over connections of ours."""
        call, options = self._call, self._agent.options
        call.watch(self._on_event)
        if options.answers_at_once:
            call.accept_now()
        elif not call.is_answered:
            call.ring_now()
        self._patience.begin()
        self._outage = _Outage(self._loop.time() + options.ready_timeout_s)
        self._ready_timer = self._loop.call_at(self._outage.until, self._on_ready)
        ended = await self._connect(first=True)
        while ended is None:
            assert self._session is not None
            ended = await asyncio.shield(self._session.ended)
            if ended.ending is Ending.LOST:
                ended = await self._reconnect(ended)
        if ended.ending is not Ending.FINISHED:
            self._drop_session()
            self._patience.begin()
        await self._let_transfers_end()
        return Outcome(ended.ending is Ending.FINISHED, ended.hang_up, ended.detail)

    async def run_over(self, connection: AgentConnection) -> Outcome:
        """Attend over one that is there."""
        self._call.watch(self._on_event)
        session = self._open(connection, self._call.facts)
        if not session.protocol.tells_ready:
            self._on_ready()
        ended = await asyncio.shield(session.ended)
        await self._let_transfers_end()
        return Outcome(ended.ending is Ending.FINISHED, ended.hang_up, ended.detail)

    def close(self) -> None:
        """It is over, in whatever way."""
        self._stop_waiting_for_ready()
        self._call.watch(None)
        self._call.listen(None)
        if self._session is not None:
            self._session.close("hangup")

    # ---- connections

    async def _reconnect(self, lost: Ended) -> Ended | None:
        """None: it is back. Else how the agent's attendance ended."""
        session = self._session
        assert session is not None
        log.info("call=%s agent=%s lost: %s", self._call.id, self._agent.address.name, lost.detail)
        now = self._loop.time()
        self._drop_session()
        self._patience.begin()
        if self._outage is None or now - session.opened_at >= STABLE_S:
            self._outage = _Outage(now + OUTAGE_S)
        self._call.note("lost", why=lost.detail)
        if await self._connect(first=False) is not None:
            return lost
        self._call.note("restored", after_ms=round((self._loop.time() - now) * 1000))
        return None

    async def _connect(self, *, first: bool) -> Ended | None:
        """Try until it works, or until the outage has lasted too long; None: it did."""
        outage = self._outage
        assert outage is not None
        wait_s = 0.0 if first else self._next_delay()
        detail = "the agent cannot be reached"
        while wait_s is not None and self._loop.time() + wait_s < outage.until:
            await asyncio.sleep(wait_s)
            left_s = outage.until - self._loop.time()
            try:
                async with asyncio.timeout(left_s if first else min(ATTEMPT_S, left_s)):
                    connection, facts = await self._agent.connect(
                        self._call, self._streams, self._sequence
                    )
            except TimeoutError:
                detail = "the agent takes too long to connect"
            except GatewayError as error:
                detail = str(error)
                if isinstance(error, ConnectError) and error.is_final:
                    break
            else:
                self._begin(connection, facts)
                return None
            wait_s = self._next_delay()
        log.info("call=%s agent=%s: %s", self._call.id, self._agent.address.name, detail)
        return Ended(Ending.LOST, detail)

    def _next_delay(self) -> float | None:
        assert self._outage is not None
        return self._outage.delays.pop() if self._outage.delays else None

    def _begin(self, connection: AgentConnection, facts: Any) -> None:
        """A connection is there: nothing of before is heard over it, or in the call (F18)."""
        self._patience.stop()
        if self._streams:
            self._call.judge_barge_in(is_real=True)
            self._call.resume()
            self._call.clear()
        self._streams += 1
        session = self._open(connection, facts)
        if not session.protocol.tells_ready:
            self._on_ready()

    def _open(self, connection: AgentConnection, facts: Any) -> Session:
        protocol = self._agent.module.make(self._agent.settings)
        session = Session(
            self._call,
            protocol,
            connection,
            on_ready=self._on_ready,
            on_use=self._on_use,
        )
        self._session = session
        session.open(facts)
        if self._may_hear:
            self._call.listen(session.hear)
        return session

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        self._call.listen(None)
        if session is not None:
            self._sequence = getattr(session.protocol, "sequence", None)
            session.close("lost")

    # ---- what happens meanwhile

    def _on_event(self, event: AgentEvent) -> None:
        session = self._session
        if isinstance(event, ToolDone):
            self._transfers.discard(event.id)
            if not self._transfers:
                self._settled.set()
        elif isinstance(event, FarEndAnswered) and not event.is_early:
            if not self._may_hear and session is not None:
                self._call.listen(session.hear)
            self._may_hear = True
        if session is not None:
            session.tell(event)

    def _on_ready(self) -> None:
        """The agent can take the call, or has had its time."""
        self._stop_waiting_for_ready()
        if self._session is not None:
            self._call.accept_now()

    def _stop_waiting_for_ready(self) -> None:
        if self._ready_timer is not None:
            self._ready_timer.cancel()
            self._ready_timer = None

    def _on_use(self, use: Use) -> None:
        if isinstance(use.tool, Transfer | DialTool):
            self._transfers.add(use.id)
            self._settled.clear()

    async def _let_transfers_end(self) -> None:
        """What the agent has begun goes on without it: its caller may be ringing somewhere."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_TRANSFER_S):
                await self._settled.wait()

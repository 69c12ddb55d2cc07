"""An agent over a wire: one connection for each of its calls, and who takes over without it (F18).

serve ▸ finished, and the call ends, or goes on elsewhere
      └ lost ▸ the fallbacks, one after the other ▸ an apology ▸ BYE
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from gateway.agents.agent import Agent, AgentCall
from gateway.agents.attendance import Attendance
from gateway.agents.attendance import Outcome as Outcome
from gateway.agents.patience import SILENT_CLIP, Patience
from gateway.agents.patience import Clip as Clip
from gateway.agents.protocol import AgentAddress, CallFacts, Opening, WireModule
from gateway.agents.tool import HangUp
from gateway.net.agent_connection import AgentConnection

log = logging.getLogger(__name__)

MAX_APOLOGY_S = 15.0
"An apology that nobody hears is not waited for."


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
        patience = Patience(call, self.options.wait_sound)
        try:
            outcome = await self.serve(call, patience)
            if not outcome.is_finished:
                await self._fall_back(call, outcome.detail, patience)
            elif not call.is_answered:
                call.use(HangUp(after_speech=False))  # it will not have it
        finally:
            patience.stop()

    async def serve(self, call: AgentCall, patience: Patience | None = None) -> Outcome:
        """Connect the agent with a call, and again when it is lost, until it is over for it.

        Args:
            patience: what the caller hears meanwhile, for who goes on with it.

        Returns:
            Soon after the agent has finished, or was given up; the call itself goes on.
        """
        own = patience or Patience(call, self.options.wait_sound)
        attendance = self._attendance(call, own)
        try:
            return await attendance.run()
        finally:
            attendance.close()
            if patience is None:
                own.stop()

    async def attend(self, call: AgentCall, connection: AgentConnection) -> Outcome:
        """Attend a call over a connection that is open already, and is not made anew."""
        attendance = self._attendance(call, Patience(call, SILENT_CLIP))
        try:
            return await attendance.run_over(connection)
        finally:
            attendance.close()

    async def give_up(self, call: AgentCall, detail: str) -> None:
        """The agent will not attend the call: others take over, or an apology ends it.

        Args:
            detail: why, in fixed words of ours.
        """
        patience = Patience(call, self.options.wait_sound)
        patience.begin()
        try:
            await self._fall_back(call, detail, patience)
        finally:
            patience.stop()

    def _attendance(self, call: AgentCall, patience: Patience) -> Attendance:
        options = self.options
        return Attendance(
            call,
            patience,
            name=self.address.name,
            make=partial(self.module.make, self.settings),
            connect=self._connect,
            ready_timeout_s=options.ready_timeout_s,
            answers_at_once=options.answers_at_once,
            hears_early_media=options.hears_early_media,
        )

    async def _connect(self, facts: CallFacts) -> AgentConnection:
        """The connection for one call.

        Raises:
            GatewayError: none came about.
        """
        opening = self.module.opening(self.address, self.settings, facts)
        return await self._dial(opening, is_stream=self.module.IS_STREAM)

    async def _fall_back(self, call: AgentCall, detail: str, patience: Patience) -> None:
        for target in self.options.fallback:
            is_agent = target.startswith("agent:")
            agent = self._agents.get(target.removeprefix("agent:")) if is_agent else None
            call.note("fallback", to=target if is_agent else "number")
            if isinstance(agent, RemoteAgent):
                if (await agent.serve(call, patience)).is_finished:
                    return
            elif agent is not None:
                patience.stop()
                try:
                    await agent.on_call(call)
                except Exception:  # a bug of that agent: the next one may do better
                    log.exception("call=%s %s broke, too", call.id, target)
                    patience.begin()
                else:
                    return
            else:  # a number, or an agent at a SIP URI: somebody to be dialled
                patience.stop()
                await call.refer(target)  # once it has answered, this is cancelled
                patience.begin()
        patience.stop()
        if call.is_answered:
            await self._apologise(call)
        log.warning("call=%s agent=%s lost: %s", call.id, self.address.name, detail)
        call.fail(detail, is_lost=True)

    async def _apologise(self, call: AgentCall) -> None:
        apology = self.options.apology
        call.say_now(apology.pcm, apology.rate)
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_APOLOGY_S):
                await call.played()

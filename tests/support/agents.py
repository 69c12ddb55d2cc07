"""An agent in a hub with one person, in virtual time: no call, no network, no signalling."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.agents.agent import Agent, AgentCall
from gateway.codec import PCMU
from gateway.leg.agent import AgentLeg
from gateway.leg.leg import DigitPressed, Ended, EndReason, Gone, LegEvent, Phase
from gateway.media.frame import Voice
from gateway.media.g711 import MU_LAW
from gateway.media.hub import Hub
from gateway.net.pacer import Pacer
from tests.media.parties import Ear
from tests.media.sound import Pcm, frames_of
from tests.support.loop import VirtualLoop

E = TypeVar("E", bound=LegEvent)


class Attendant:
    """An agent made of one function."""

    def __init__(self, on_call: Callable[[AgentCall], Awaitable[None]]) -> None:
        self._on_call = on_call

    async def on_call(self, call: AgentCall) -> None:
        await self._on_call(call)


class AgentBench:
    """The agent's leg with its hub, the person who hears it, and what the leg has told."""

    def __init__(
        self,
        loop: VirtualLoop,
        agent: Agent,
        *,
        is_routed: bool = True,
        is_caller: bool = False,
    ) -> None:
        self.loop = loop
        self.hub = Hub()
        self.person = Ear(rate=8000)
        self.told: list[tuple[float, LegEvent]] = []
        self._voice = Voice()
        self.leg = AgentLeg(
            "agent-1",
            agent,
            call_id="call-1",
            caller="+15550001",
            called="sales",
            loop=loop,
            is_caller=is_caller,
        )
        self.leg.on_event = self._on_event
        self.hub.join("agent", listener=self.leg.listener, playout=self.leg.playout)
        self.hub.join("person", listener=self.person)
        if is_routed:
            self.route()
        self._stop = Pacer(loop).add(self.hub.tick)
        self._started_at = loop.time()

    def route(self) -> None:
        """Both hear each other."""
        self.hub.route({"agent": {"person": 1.0}, "person": {"agent": 1.0}})

    async def says(self, pcm: Pcm) -> None:
        """The person speaks, in real (virtual) time."""
        for piece in frames_of(pcm, 160):
            payload = MU_LAW.encode(piece)
            self.hub.push("person", self._voice.frame(PCMU, payload, 960, self.loop.time()))
            await asyncio.sleep(0.02)

    def presses(self, digits: str) -> None:
        """The person presses keys."""
        for digit in digits:
            self.leg.digit(digit, Phase.START)
            self.leg.digit(digit, Phase.END, 100)

    async def close(self) -> None:
        """The other side ends it, if the agent has not; nothing of it may be left."""
        self.leg.end(EndReason.HANGUP)
        await asyncio.sleep(0.1)
        self._stop()
        assert len(self.all(Gone)) >= 1

    def all(self, kind: type[E]) -> list[E]:
        """Events of a kind, in order."""
        return [event for _, event in self.told if isinstance(event, kind)]

    def at(self, kind: type[LegEvent]) -> float:
        """Seconds from the beginning to the first event of a kind."""
        return next(at for at, event in self.told if isinstance(event, kind))

    @property
    def pressed(self) -> str:
        """Keys that the agent pressed, each with both edges."""
        edges = self.all(DigitPressed)
        starts, ends = edges[::2], edges[1::2]
        assert [e.digit for e in starts] == [e.digit for e in ends]
        assert {e.phase for e in starts} <= {Phase.START}
        assert {e.phase for e in ends} <= {Phase.END}
        return "".join(edge.digit for edge in starts)

    def _on_event(self, event: LegEvent) -> None:
        self.told.append((round(self.loop.time() - self._started_at, 3), event))
        if isinstance(event, Ended):
            self.hub.leave("agent")

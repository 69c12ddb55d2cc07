"""A remote agent in a hub with one person: real sockets, and media time as fast as it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from pydantic import TypeAdapter

from gateway.agents.agent import Agent
from gateway.agents.dialler import Dialler
from gateway.agents.protocol import AgentAddress
from gateway.agents.protocols import find_wire
from gateway.agents.remote import RemoteAgent, RemoteOptions
from gateway.codec import PCMU
from gateway.leg.agent import AgentLeg
from gateway.leg.leg import EndReason, Gone, LegEvent, Noted, Phase
from gateway.media.frame import Voice
from gateway.media.g711 import MU_LAW
from gateway.media.hub import Hub
from gateway.net.destination import Destinations
from tests.agents.wire.peer import Peer
from tests.media.parties import Ear
from tests.media.sound import Pcm, frames_of

E = TypeVar("E", bound=LegEvent)

TICK_S = 0.02


class WireBench:
    """The leg of a remote agent, the person who talks with it, and what the leg has told."""

    def __init__(self, agent: Agent, *, is_caller: bool = False) -> None:
        loop = asyncio.get_running_loop()
        self.hub = Hub()
        self.person = Ear(rate=8000)
        self.told: list[LegEvent] = []
        self._voice = Voice()
        self._now = 0.0
        self.leg = AgentLeg(
            "agent-1",
            agent,
            call_id="call-1",
            caller="+15550001",
            called="sales",
            loop=loop,
            is_caller=is_caller,
            name="sales",
            codec="PCMU",
        )
        self.leg.on_event = self.told.append
        self.hub.join("agent", listener=self.leg.listener, playout=self.leg.playout)
        self.hub.join("person", listener=self.person)
        self.hub.route({"agent": {"person": 1.0}, "person": {"agent": 1.0}})

    async def says(self, pcm: Pcm) -> None:
        """The person says something at 8 kHz; it takes no time."""
        for number, piece in enumerate(frames_of(pcm, 160)):
            frame = self._voice.frame(PCMU, MU_LAW.encode(piece), 960, self._now)
            self.hub.push("person", frame)
            if number % 10 == 0:
                await asyncio.sleep(0)

    async def listens(self, seconds: float) -> Pcm:
        """The person listens for so long, which takes no time, and has heard this."""
        self.person.forget()
        for _ in range(round(seconds / TICK_S)):
            self._now += TICK_S
            self.hub.tick(self._now)
            await asyncio.sleep(0)
        return self.person.pcm

    def presses(self, digits: str) -> None:
        for digit in digits:
            self.leg.digit(digit, Phase.START)
            self.leg.digit(digit, Phase.END, 100)

    def all(self, kind: type[E]) -> list[E]:
        """Events of a kind, in order."""
        return [event for event in self.told if isinstance(event, kind)]

    def notes(self, kind: str) -> list[Mapping[str, Any]]:
        """What was noted of a kind."""
        return [event.data for event in self.all(Noted) if event.kind == kind]

    async def close(self) -> None:
        """The other side ends it, if the agent has not; nothing of it may be left."""
        self.leg.end(EndReason.HANGUP)
        await until(lambda: bool(self.all(Gone)))


def remote_agent(
    name: str,
    url: str,
    settings: Mapping[str, Any] | None = None,
    options: RemoteOptions | None = None,
    agents: Mapping[str, Agent] | None = None,
) -> RemoteAgent:
    """An agent over a wire, as `[[agent]]` would make it."""
    module = find_wire(name)
    assert module is not None
    checked = TypeAdapter(module.Settings).validate_python(dict(settings or {}))
    dial = Dialler(Destinations(_nobody, trusted=[url]))
    address = AgentAddress("sales", url)
    return RemoteAgent(address, module, checked, options, dial=dial, agents=agents)


@asynccontextmanager
async def in_call(peer: Peer, options: RemoteOptions | None = None) -> AsyncIterator[WireBench]:
    """A peer that was called, and has come."""
    async with peer.running() as url:
        bench = WireBench(remote_agent(peer.name, url, peer.settings, options))
        bench.leg.dial()
        await peer.connected()
        await until(lambda: bench.leg.answered_at is not None)
        try:
            yield bench
        finally:
            await bench.close()


async def until(claim: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(within_s):
        while not claim():
            await asyncio.sleep(0.002)


async def _nobody(host: str, port: int) -> tuple[str, ...]:
    return ()

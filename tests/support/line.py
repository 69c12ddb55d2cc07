"""A line in a hub with one person, in virtual time, over a connection that is kept in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from gateway.agents.lines.line import Begun, LineProtocol
from gateway.agents.wire.audiosocket import FrameReader
from gateway.leg.leg import Ended, LegEvent
from gateway.leg.line import LineLeg
from gateway.media.frame import Voice
from gateway.media.hub import Hub
from gateway.net.agent_connection import Lost, Message
from gateway.net.pacer import Pacer
from tests.media.parties import Ear
from tests.media.sound import Pcm, frames_of
from tests.support.loop import VirtualLoop

E = TypeVar("E", bound=LegEvent)


class MemoryConnection:
    """An `AgentConnection` whose other end is the test."""

    def __init__(self) -> None:
        self.max_audio_waiting = 100
        self.dropped = 0
        self.sent: list[Message] = []
        self.is_closed = False
        self._on_message: Callable[[Message], None] | None = None
        self._on_lost: Callable[[Lost], None] | None = None

    def start(self, on_message: Callable[[Message], None], on_lost: Callable[[Lost], None]) -> None:
        self._on_message, self._on_lost = on_message, on_lost

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def send_audio(self, message: Message) -> None:
        self.sent.append(message)

    def close(self) -> None:
        self.is_closed = True
        self._on_message = self._on_lost = None

    def receive(self, message: Message) -> None:
        """The other end sends this."""
        if self._on_message is not None:
            self._on_message(message)

    def lose(self, *, is_finished: bool) -> None:
        """The other end is gone."""
        if self._on_lost is not None:
            self._on_lost(Lost(is_finished, "gone"))


class LineBench:
    """A line's leg, what it told, and a person of 8 kHz who hears it and is heard by it."""

    def __init__(self, loop: VirtualLoop, protocol: LineProtocol) -> None:
        self.loop = loop
        self.hub = Hub()
        self.person = Ear(rate=8000)
        self.connection = MemoryConnection()
        self.begun: list[Begun] = []
        self.told: list[LegEvent] = []
        self._voice = Voice()
        self.leg = LineLeg("line-1", protocol, self.connection, begin=self._on_begun, loop=loop)
        self.leg.on_event = self._on_event
        self._stop = Pacer(loop).add(self.hub.tick)

    def _on_begun(self, leg: LineLeg, begun: Begun) -> None:
        self.begun.append(begun)
        self.hub.join("line", listener=leg.listener, playout=leg.playout)
        self.hub.join("person", listener=self.person)
        self.hub.route({"line": {"person": 1.0}, "person": {"line": 1.0}})
        leg.on_frame = lambda frame: self.hub.push("line", frame)

    async def says(self, pcm: Pcm) -> None:
        """The person speaks, at 8 kHz, in real (virtual) time."""
        for piece in frames_of(pcm, 160):
            frame = self._voice.frame_of_pcm(piece, 8000, self.loop.time())
            self.hub.push("person", frame)
            await asyncio.sleep(0.02)

    def all(self, kind: type[E]) -> list[E]:
        """Events of a kind, in order."""
        return [event for event in self.told if isinstance(event, kind)]

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        """What an AudioSocket line was sent."""
        return FrameReader().feed(b"".join(m for m in self.connection.sent if isinstance(m, bytes)))

    @property
    def heard(self) -> Pcm:
        """What an AudioSocket line of 8 kHz heard."""
        audio = b"".join(payload for kind, payload in self.frames if kind == 0x10)
        return np.frombuffer(audio, "<i2").astype(np.int16)

    def stop(self) -> None:
        """No more ticks."""
        self._stop()

    def _on_event(self, event: LegEvent) -> None:
        self.told.append(event)
        if isinstance(event, Ended):
            self.hub.leave("line")

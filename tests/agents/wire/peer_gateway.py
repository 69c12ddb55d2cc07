"""An agent that speaks our own protocol, as docs/agent-protocol.md describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.agents.wire.socket_peer import SocketPeer

GARBAGE: tuple[str | bytes, ...] = (
    "{",
    "[]",
    '{"type":"mark"}',
    '{"type":"audio","rate":44100}',
    "[" * 20_000,
)


def peer() -> GatewayPeer:
    return GatewayPeer()


class GatewayPeer(SocketPeer):
    """Says what it is told to, and remembers what it hears."""

    name = "gateway"
    settings: Mapping[str, Any] = {"rate": 16_000}
    can = frozenset({"digits", "marks", "clear", "hang_up"})
    rate = 16_000
    garbage_kinds = len(GARBAGE)
    subprotocols = ("gateway-agent.v1",)

    def __init__(self) -> None:
        super().__init__()
        self.digits: list[str] = []
        self.marks: list[tuple[str, str]] = []
        self.told: list[dict[str, Any]] = []
        "Every text message, in order."
        self._heard: list[bytes] = []

    def heard(self) -> NDArray[np.int16]:
        return np.frombuffer(b"".join(self._heard), "<i2").astype(np.int16)

    async def say(self, pcm: NDArray[np.int16], chunk_bytes: int | None = None) -> None:
        audio = pcm.astype("<i2").tobytes()
        size = chunk_bytes or 640
        for at in range(0, len(audio), size):
            await self.send(audio[at : at + size])

    async def mark(self, name: str) -> None:
        await self.tell("mark", name=name)

    async def clear(self) -> None:
        await self.tell("clear")

    async def hang_up(self) -> None:
        await self.tell("tool", id="bye", name="hang_up", arguments={})

    async def garbage(self, kind: int) -> None:
        await self.send(GARBAGE[kind])

    async def tell(self, kind: str, /, **values: Any) -> None:
        await self.send(json.dumps({"type": kind, **values}))

    async def on_message(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._heard.append(message)
            return
        told = json.loads(message)
        self.told.append(told)
        match told["type"]:
            case "start":
                await self.tell("ready")
                self.begin()
            case "digit":
                self.digits.append(told["digit"])
            case "mark":
                self.marks.append((told["name"], "played"))
            case "cleared":
                self.marks += [(name, "cleared") for name in told["marks"]]

"""An agent that speaks as Vonage's Voice WebSocket does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.agents.wire.socket_peer import SocketPeer

GARBAGE = ("no json", "[]", "{}", '{"action":"hangup"}')


def peer() -> VonagePeer:
    return VonagePeer()


class VonagePeer(SocketPeer):
    """A socket at 16 kHz. A notify that is cleared does not come back."""

    name = "vonage"
    can = frozenset({"digits", "marks", "clear", "hang_up"})
    rate = 16_000
    garbage_kinds = len(GARBAGE)

    def __init__(self) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {"rate": self.rate}
        self.digits: list[str] = []
        self.marks: list[tuple[str, str]] = []
        self.told: list[dict[str, Any]] = []
        self._heard: list[bytes] = []

    def heard(self) -> NDArray[np.int16]:
        return np.frombuffer(b"".join(self._heard), "<i2").astype(np.int16)

    async def say(self, pcm: NDArray[np.int16], chunk_bytes: int | None = None) -> None:
        audio = pcm.astype("<i2").tobytes()
        size = chunk_bytes or self.rate // 50 * 2
        for at in range(0, len(audio), size):
            await self.send(audio[at : at + size])

    async def mark(self, name: str) -> None:
        await self.send(json.dumps({"action": "notify", "payload": {"name": name}}))

    async def clear(self) -> None:
        await self.send('{"action":"clear"}')

    async def hang_up(self) -> None:
        assert self.socket is not None
        await self.socket.close()

    async def garbage(self, kind: int) -> None:
        await self.send(GARBAGE[kind])

    async def on_message(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._heard.append(message)
            return
        told = json.loads(message)
        self.told.append(told)
        match told["event"]:
            case "websocket:connected":
                self.begin()
            case "websocket:dtmf":
                self.digits.append(told["digit"])
            case "websocket:notify":
                self.marks.append((told["payload"]["name"], "played"))

"""An application of jambonz' listen, with streamed audio both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.agents.wire.socket_peer import SocketPeer

GARBAGE = ("no json", "[]", "{}", '{"type":"mark"}', '{"type":"sing"}')


def peer() -> JambonzPeer:
    return JambonzPeer()


class JambonzPeer(SocketPeer):
    """An app that hears at 8 kHz both sides, the caller on the left, and speaks at 8 kHz."""

    name = "jambonz"
    settings: Mapping[str, Any] = {"mix_type": "stereo", "sample_rate": 8000}
    can = frozenset({"digits", "marks", "clear", "hang_up"})
    rate = 8000
    garbage_kinds = len(GARBAGE)
    subprotocols: tuple[str, ...] = ("audio.jambonz.org",)

    def __init__(self) -> None:
        super().__init__()
        self.digits: list[str] = []
        self.marks: list[tuple[str, str]] = []
        self.metadata: dict[str, Any] = {}
        self._heard: list[bytes] = []

    def heard(self) -> NDArray[np.int16]:
        return self._side(0)

    def heard_itself(self) -> NDArray[np.int16]:
        return self._side(1)

    async def say(self, pcm: NDArray[np.int16], chunk_bytes: int | None = None) -> None:
        audio = pcm.astype("<i2").tobytes()
        size = chunk_bytes or 320
        for at in range(0, len(audio), size):
            await self.send(audio[at : at + size])

    async def mark(self, name: str) -> None:
        await self._tell("mark", name=name)

    async def clear(self) -> None:
        await self._tell("killAudio")

    async def hang_up(self) -> None:
        await self._tell("disconnect")

    async def garbage(self, kind: int) -> None:
        await self.send(GARBAGE[kind])

    async def _tell(self, kind: str, **data: Any) -> None:
        await self.send(json.dumps({"type": kind, "data": data}))

    async def on_message(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._heard.append(message)
            return
        told = json.loads(message)
        if not self.metadata or "callSid" in told:
            assert told["mixType"] == "stereo"
            self.metadata = told
            self.begin()
        elif told.get("event") == "dtmf":
            self.digits.append(told["dtmf"])
        elif told["type"] == "mark":
            event = {"playout": "played", "cleared": "cleared"}[told["data"]["event"]]
            self.marks.append((told["data"]["name"], event))

    def _side(self, side: int) -> NDArray[np.int16]:
        both = np.frombuffer(b"".join(self._heard), "<i2").astype(np.int16)
        return both.reshape(-1, 2)[:, side]

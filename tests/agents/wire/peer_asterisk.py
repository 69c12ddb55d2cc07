"""An application of Asterisk's chan_websocket, with the habits of those that there are.

It speaks plain text and µ-law, brackets what it says in START_MEDIA_BUFFERING and
STOP_MEDIA_BUFFERING, and hangs up once the queue is drained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.media.g711 import MU_LAW
from tests.agents.wire.socket_peer import SocketPeer

GARBAGE = ("", "SING", "MEDIA_START", '{"command":"ANSWER"}', "x" * 1000)

MAX_FRAME = 8000
"Bytes of a message, at most."


def peer() -> AsteriskPeer:
    return AsteriskPeer()


class AsteriskPeer(SocketPeer):
    """An app in plain text."""

    name = "asterisk"
    settings: Mapping[str, Any] = {"codec": "ulaw"}
    can = frozenset({"digits", "marks", "clear", "hang_up"})
    rate = 8000
    garbage_kinds = len(GARBAGE)
    subprotocols = ("media",)

    def __init__(self) -> None:
        super().__init__()
        self.digits: list[str] = []
        self.marks: list[tuple[str, str]] = []
        self.told: list[str] = []
        self._heard: list[bytes] = []

    def heard(self) -> NDArray[np.int16]:
        return MU_LAW.decode(b"".join(self._heard))

    async def say(self, pcm: NDArray[np.int16], chunk_bytes: int | None = None) -> None:
        audio = MU_LAW.encode(pcm)
        size = min(chunk_bytes or 160, MAX_FRAME)
        await self.send("START_MEDIA_BUFFERING")
        for at in range(0, len(audio), size):
            await self.send(audio[at : at + size])
        await self.send("STOP_MEDIA_BUFFERING said")

    async def mark(self, name: str) -> None:
        await self.send(f"MARK_MEDIA {name}")

    async def clear(self) -> None:
        await self.send("FLUSH_MEDIA")

    async def garbage(self, kind: int) -> None:
        await self.send(GARBAGE[kind])

    async def hang_up(self) -> None:
        await self.send("REPORT_QUEUE_DRAINED")

    async def on_message(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self._heard.append(message)
            return
        self.told.append(message)
        event, _, rest = message.partition(" ")
        match event:
            case "MEDIA_START":
                self.begin()
            case "DTMF_END":
                self.digits.append(rest.partition("digit:")[2])
            case "MEDIA_MARK_PROCESSED":
                self.marks.append((rest, "played"))
            case "QUEUE_DRAINED":
                await self.send("HANGUP")

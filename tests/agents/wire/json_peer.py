"""What agents of protocols in JSON with base64 have in common: Twilio's and those after it."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.media.g711 import A_LAW, MU_LAW
from tests.agents.wire.socket_peer import SocketPeer

LAWS = {"PCMU": MU_LAW, "PCMA": A_LAW}


class JsonPeer(SocketPeer):
    """Says what it is told to, and remembers what it hears."""

    name: str
    can = frozenset({"digits", "marks", "clear", "hang_up"})
    rate = 8000
    encoding = "PCMU"
    "PCMU, PCMA, or L16 in the order `order`."
    order = "<i2"
    begins = "start"
    "The event with which the session has begun."
    said_event = "media"
    garbage_texts: tuple[str | bytes, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.digits: list[str] = []
        self.marks: list[tuple[str, str]] = []
        self.told: list[dict[str, Any]] = []
        "Every message but media, in order."
        self._heard: list[bytes] = []
        self._by_track: dict[str, list[bytes]] = defaultdict(list)
        self._is_clearing = False

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    @property
    def garbage_kinds(self) -> int:
        return len(self.garbage_texts)

    def heard(self) -> NDArray[np.int16]:
        return self._decode(b"".join(self._heard))

    def heard_on(self, track: str) -> NDArray[np.int16]:
        """What it heard on one track."""
        return self._decode(b"".join(self._by_track[track]))

    async def say(self, pcm: NDArray[np.int16], chunk_bytes: int | None = None) -> None:
        audio = self._encode(pcm)
        size = chunk_bytes or len(self._encode(np.zeros(self.rate // 50, np.int16)))
        for at in range(0, len(audio), size):
            payload = b64encode(audio[at : at + size]).decode()
            await self.tell({"event": self.said_event, "media": self.media(payload)})

    async def say_payload(self, payload: bytes) -> None:
        """Say a packet that is encoded already."""
        media = self.media(b64encode(payload).decode())
        await self.tell({"event": self.said_event, "media": media})

    def packets(self) -> int:
        """How many messages of audio have come."""
        return len(self._heard)

    def payloads(self) -> list[bytes]:
        """What each of them held."""
        return list(self._heard)

    def media(self, payload: str) -> dict[str, Any]:
        """The object that a piece of speech is in."""
        return {"payload": payload}

    async def mark(self, name: str) -> None:
        await self.tell({"event": "mark", "mark": {"name": name}})

    async def clear(self) -> None:
        # Marks that come from now on, and had not come, may be of the clear: the protocol has one
        # word for both.
        self._is_clearing = True
        await self.tell({"event": "clear"})

    async def hang_up(self) -> None:
        assert self.socket is not None
        await self.socket.close()

    async def garbage(self, kind: int) -> None:
        await self.send(self.garbage_texts[kind])

    async def tell(self, message: dict[str, Any]) -> None:
        await self.send(json.dumps(message))

    async def on_message(self, message: str | bytes) -> None:
        told = json.loads(message)
        if told["event"] == "media":
            audio = b64decode(told["media"]["payload"])
            self._heard.append(audio)
            self._by_track[told["media"].get("track", "")].append(audio)
            return
        self.told.append(told)
        if told["event"] == self.begins:
            self.begin()
        else:
            self.on_told(told)

    def on_told(self, told: dict[str, Any]) -> None:
        """Something other than audio."""
        match told["event"]:
            case "dtmf":
                self.digits.append(told["dtmf"]["digit"])
            case "mark":
                kind = "cleared" if self._is_clearing else "played"
                self.marks.append((told["mark"]["name"], kind))

    def _encode(self, pcm: NDArray[np.int16]) -> bytes:
        if self.encoding in LAWS:
            return LAWS[self.encoding].encode(pcm)
        return pcm.astype(self.order).tobytes()

    def _decode(self, audio: bytes) -> NDArray[np.int16]:
        if self.encoding in LAWS:
            return LAWS[self.encoding].decode(audio)
        return np.frombuffer(audio, self.order).astype(np.int16)

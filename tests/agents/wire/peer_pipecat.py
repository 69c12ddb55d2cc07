"""An agent that speaks pipecat's frames in Protocol Buffers, written from `frames.proto`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.agents.wire.socket_peer import SocketPeer

GARBAGE: tuple[str | bytes, ...] = ("text", b"", b"\xff" * 12, b"\x12\x01\x07")


def peer() -> PipecatPeer:
    return PipecatPeer()


class PipecatPeer(SocketPeer):
    """A server at 16 kHz."""

    name = "pipecat"
    can = frozenset({"digits", "marks", "clear", "hang_up"})
    rate = 16_000
    garbage_kinds = len(GARBAGE)

    def __init__(self) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {"rate": self.rate}
        self.digits: list[str] = []
        self.marks: list[tuple[str, str]] = []
        self._heard: list[bytes] = []

    def heard(self) -> NDArray[np.int16]:
        return np.frombuffer(b"".join(self._heard), "<i2").astype(np.int16)

    async def say(self, pcm: NDArray[np.int16], chunk_bytes: int | None = None) -> None:
        audio = pcm.astype("<i2").tobytes()
        size = chunk_bytes or self.rate // 50 * 2
        tail = b"\x20" + _varint(self.rate) + b"\x28\x01"
        for at in range(0, len(audio), size):
            await self.send(_field(2, _field(3, audio[at : at + size]) + tail))

    async def mark(self, name: str) -> None:
        await self.tell("mark", name=name)

    async def clear(self) -> None:
        await self.send(_field(5, b"\x08\x07"))

    async def hang_up(self) -> None:
        await self.tell("tool", id="t", name="hang_up", arguments={})

    async def garbage(self, kind: int) -> None:
        await self.send(GARBAGE[kind])

    async def tell(self, kind: str, **data: object) -> None:
        text = json.dumps({"label": "gateway", "type": kind, "data": data})
        await self.send(_field(4, _field(1, text.encode())))

    async def on_message(self, message: str | bytes) -> None:
        assert isinstance(message, bytes)
        ((kind, content),) = _fields(message)
        part = dict(_fields(content))
        if kind == 2:
            assert part[4] == self.rate.to_bytes(2)
            self._heard.append(part[3])
            return
        told = json.loads(part[1])
        data = told["data"]
        match told["type"]:
            case "start":
                self.begin()
            case "dtmf":
                self.digits.append(data["digit"])
            case "mark":
                self.marks.append((data["name"], data["event"]))


def _varint(value: int) -> bytes:
    digits = [value >> shift & 0x7F for shift in range(0, 35, 7) if value >> shift]
    return bytes([*(digit | 0x80 for digit in digits[:-1]), *(digits or [0])[-1:]])


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each field: bytes as they are, a number in two bytes."""
    at = 0
    while at < len(data):
        tag, value, shift = data[at], 0, 0
        at += 1
        while True:
            value |= (data[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 0x80:
                break
        if tag & 7 == 2:
            yield tag >> 3, data[at : at + value]
            at += value
        else:
            yield tag >> 3, value.to_bytes(2)

"""An Asterisk, as far as it hands calls to others: by AudioSocket, and by chan_websocket.

Written from what those two send and take; it shares no code with ours but G.711's tables.
"""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gateway.media.g711 import MU_LAW

PTIME_S = 0.02
Pcm = NDArray[np.int16]


class Channel:
    """A channel of the PBX: what its person hears, and what was done to it."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.told: list[str] = []
        "Events or frames other than audio, in order."
        self.ended = asyncio.Event()
        "The other side has hung up."
        self._pieces: list[Pcm] = []

    @property
    def heard(self) -> Pcm:
        """All that the person heard."""
        return np.concatenate([np.zeros(0, np.int16), *self._pieces])

    def forget(self) -> None:
        """Hear anew."""
        self._pieces.clear()

    async def speak(self, pcm: Pcm) -> None:
        """The person speaks, in real time."""
        loop = asyncio.get_running_loop()
        size, started = round(self.rate * PTIME_S), loop.time()
        for number, at in enumerate(range(0, len(pcm), size)):
            await self.send_audio(pcm[at : at + size])
            await asyncio.sleep(started + (number + 1) * PTIME_S - loop.time())

    async def until(self, claim: Callable[[], bool], within_s: float = 5.0) -> None:
        """Keep the line alive with silence until something holds."""
        async with asyncio.timeout(within_s):
            while not claim():
                await self.speak(np.zeros(round(self.rate * PTIME_S), np.int16))

    async def send_audio(self, pcm: Pcm) -> None:
        raise NotImplementedError

    async def press(self, digit: str) -> None:
        """The person presses a key."""
        raise NotImplementedError

    async def hang_up(self) -> None:
        raise NotImplementedError


# ---- AudioSocket(uuid,host:port)


class AudioSocketChannel(Channel):
    """One call over TCP; the kind of its audio is of its rate."""

    KINDS = {8000: 0x10, 12_000: 0x11, 16_000: 0x12, 24_000: 0x13, 48_000: 0x16}  # noqa: RUF012

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rate: int
    ) -> None:
        super().__init__(rate)
        self._reader, self._writer = reader, writer

    async def send(self, kind: int, payload: bytes = b"") -> None:
        """One frame."""
        with suppress(ConnectionError):
            self._writer.write(struct.pack(">BH", kind, len(payload)) + payload)
            await self._writer.drain()

    async def send_audio(self, pcm: Pcm) -> None:
        await self.send(self.KINDS[self.rate], pcm.astype("<i2").tobytes())

    async def press(self, digit: str) -> None:
        await self.send(0x03, digit.encode("ascii"))

    async def hang_up(self) -> None:
        await self.send(0x00)
        self._writer.close()

    def drop(self) -> None:
        """Abort the connection."""
        self._writer.transport.abort()

    async def read(self) -> None:
        """Take what comes as Asterisk does: anything but audio and hang-up is an error."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                kind, size = struct.unpack(">BH", await self._reader.readexactly(3))
                payload = await self._reader.readexactly(size)
                if kind == 0x00:
                    self.told.append("hang-up")
                    break
                assert 0x10 <= kind <= 0x18, f"Asterisk takes no frames of kind {kind:#x}"
                if kind == self.KINDS[self.rate]:
                    self._pieces.append(np.frombuffer(payload, "<i2").astype(np.int16))
        self.ended.set()
        self._writer.close()


@asynccontextmanager
async def audiosocket_call(
    port: int, id: str | None = None, rate: int = 8000
) -> AsyncIterator[AudioSocketChannel]:
    """A call that the dialplan hands to AudioSocket; a UUID of its own where none is given."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    channel = AudioSocketChannel(reader, writer, rate)
    reading = asyncio.ensure_future(channel.read())
    await channel.send(0x01, uuid.UUID(id).bytes if id else uuid.uuid4().bytes)
    try:
        yield channel
    finally:
        writer.close()
        await reading


# ---- Dial(WebSocket/NAME/c(ulaw))


class WebSocketChannel(Channel):
    """One call over chan_websocket, in µ-law or slin16."""

    def __init__(self, socket: ClientConnection, codec: str, *, is_json: bool) -> None:
        super().__init__({"ulaw": 8000, "slin16": 16_000}[codec])
        self._socket = socket
        self._codec = codec
        self._is_json = is_json
        self.is_answered = asyncio.Event()

    async def start(self, variables: dict[str, str]) -> None:
        """MEDIA_START."""
        told: dict[str, Any] = {
            "connection_id": "c-1",
            "channel": "WebSocket/gateway/0x1",
            "channel_id": "1732.7",
            "format": self._codec,
            "optimal_frame_size": {"ulaw": 160, "slin16": 640}[self._codec],
            "ptime": 20,
        }
        if self._is_json:
            told["channel_variables"] = variables
        await self.tell("MEDIA_START", told)

    async def tell(self, event: str, told: dict[str, Any]) -> None:
        """One event."""
        if self._is_json:
            text = json.dumps({"event": event, **told})
        else:
            text = " ".join([event, *(f"{key}:{value}" for key, value in told.items())])
        with suppress(ConnectionClosed):
            await self._socket.send(text)

    async def send_audio(self, pcm: Pcm) -> None:
        is_ulaw = self._codec == "ulaw"
        with suppress(ConnectionClosed):
            await self._socket.send(MU_LAW.encode(pcm) if is_ulaw else pcm.astype("<i2").tobytes())

    async def press(self, digit: str) -> None:
        await self.tell("DTMF_END", {"channel_id": "1732.7", "digit": digit})

    async def hang_up(self) -> None:
        await self._socket.close()

    async def read(self) -> None:
        with suppress(ConnectionClosed):
            async for message in self._socket:
                if isinstance(message, str):
                    self._obey(json.loads(message)["command"] if self._is_json else message)
                elif self._codec == "ulaw":
                    self._pieces.append(MU_LAW.decode(message))
                else:
                    self._pieces.append(np.frombuffer(message, "<i2").astype(np.int16))
        self.ended.set()

    def _obey(self, command: str) -> None:
        self.told.append(command)
        if command == "ANSWER":
            self.is_answered.set()
        elif command == "HANGUP":
            self.ended.set()


@asynccontextmanager
async def websocket_call(
    url: str,
    *,
    codec: str = "ulaw",
    is_json: bool = False,
    authorization: str | None = None,
    variables: dict[str, str] | None = None,
) -> AsyncIterator[WebSocketChannel]:
    """A call that the dialplan hands to a websocket_client."""
    headers = {} if authorization is None else {"Authorization": authorization}
    async with connect(
        url, subprotocols=[Subprotocol("media")], additional_headers=headers
    ) as socket:
        assert socket.subprotocol == "media"
        channel = WebSocketChannel(socket, codec, is_json=is_json)
        reading = asyncio.ensure_future(channel.read())
        await channel.start(variables or {})
        try:
            yield channel
        finally:
            await socket.close()
            await reading

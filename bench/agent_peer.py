"""The agents' end: one WebSocket server, as light as can be, that speaks `gateway` or `openai`.

Messages are made beforehand; of what comes in, only what has to be is read.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import struct
import time
from collections.abc import Callable
from functools import cache
from typing import cast

import numpy as np

from bench.clip import RATE, encode_pcmu, pcmu_clip, speech
from bench.signalling import CallFailedError
from bench.stream import Heard, Said

AGENT_RATE = 24_000
"Hz of the PCM on the wire."

FRAMES_A_DELTA = 5
"A model's audio comes in pieces of 100 ms."

CONNECT_TIMEOUT_S = 15.0
HOST = "127.0.0.1"
MAX_HANDSHAKE_BYTES = 16 * 1024
TEXT, BINARY, CLOSE, PING = 0x81, 0x82, 0x88, 0x89
PONG = 0x8A
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"RFC 6455 §1.3."

PROTOCOLS = ("gateway", "openai")


def ws_frame(opcode: int, payload: bytes) -> bytes:
    """A message of a server: one frame, not masked (RFC 6455 §5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((opcode, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", opcode, 126, size) + payload
    return struct.pack("!BBQ", opcode, 127, size) + payload


class FrameReader:
    """Cuts what a client sends into frames; nothing of ours is ever in several frames."""

    def __init__(self) -> None:
        self._buffer = b""

    def push(self, data: bytes) -> list[tuple[int, bytes, bytes]]:
        """Opcode with its FIN bit, mask, and masked payload of each whole frame."""
        data = self._buffer + data if self._buffer else data
        found, at = [], 0
        while True:
            frame = _frame_at(data, at)
            if frame is None:
                break
            opcode, mask, payload, at = frame
            found.append((opcode, mask, payload))
        self._buffer = data[at:]
        return found


def _frame_at(data: bytes, at: int) -> tuple[int, bytes, bytes, int] | None:
    if len(data) - at < 2:
        return None
    size, start = data[at + 1] & 0x7F, at + 2
    if size >= 126:
        length = 2 if size == 126 else 8
        if len(data) < start + length:
            return None
        size = int.from_bytes(data[start : start + length], "big")
        start += length
    if len(data) < start + 4 + size:
        return None
    mask, first = data[start : start + 4], start + 4
    return data[at], mask, data[first : first + size], first + size


def unmask(mask: bytes, payload: bytes) -> bytes:
    """What a client has said (RFC 6455 §5.3)."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


# ---- what agents say


@cache
def loop_of(audio: str, frames: int) -> tuple[bytes, ...]:
    """The bench's speech in pieces of so many frames, as `pcm` (24 kHz) or `pcmu`."""
    if audio == "pcmu":
        packets = pcmu_clip().packets
        return tuple(b"".join(packets[n : n + frames]) for n in range(0, len(packets), frames))
    loop = speech()
    spectrum = np.fft.rfft(loop)
    size = len(loop) * AGENT_RATE // RATE
    sound = np.fft.irfft(spectrum[: size // 2 + 1], size) * (size / len(loop))
    pcm = np.clip(np.rint(sound * 32767), -32768, 32767).astype("<i2")
    step = AGENT_RATE // 50 * frames
    return tuple(pcm[n : n + step].tobytes() for n in range(0, len(pcm), step))


@cache
def tone_of(audio: str, frames: int) -> bytes:
    """A steady tone: every packet of it is loud."""
    rate = 8000 if audio == "pcmu" else AGENT_RATE
    at = np.arange(rate // 50 * frames)
    pcm = np.rint(9000 * np.sin(2 * np.pi * 400 / rate * at)).astype("<i2")
    return encode_pcmu(pcm.astype(np.int16)) if audio == "pcmu" else pcm.tobytes()


class AgentEnd:
    """The agent's end of one call: has what a phone of the bench has, and can be interrupted."""

    def __init__(self, connection: AgentConnection) -> None:
        self.connection = connection
        self.heard = Heard()
        self.said = Said(pcmu_clip(), secrets.randbits(32))
        self.is_talking = True
        "Whether `send` says anything."
        self.audio = connection.audio
        connection.on_audio = self._receive
        self._response = 0
        self._heard = 0

    @property
    def messages(self) -> int:
        """How many with speech have come."""
        return self._heard

    def send(self) -> None:
        """Say the next 20 ms, or every fifth time the next 100; called every 20 ms."""
        if not self.is_talking:
            return
        number = len(self.said.sent_ns)
        self.said.sent_ns.append(time.time_ns())
        if self.connection.protocol == "gateway":
            pieces = loop_of(self.audio, 1)
            self.connection.send(ws_frame(BINARY, pieces[number % len(pieces)]))
        elif number % FRAMES_A_DELTA == 0:
            pieces = loop_of(self.audio, FRAMES_A_DELTA)
            self.say(pieces[number // FRAMES_A_DELTA % len(pieces)])

    def begin(self) -> None:
        """Something new is said from here on."""
        self._response += 1
        if self.connection.protocol == "openai":
            self.connection.event("response.created", response=self._describe("in_progress"))

    def say(self, audio: bytes) -> int:
        """Say this; returns the Unix nanoseconds at which it went out."""
        if self.connection.protocol == "gateway":
            message = ws_frame(BINARY, audio)
        else:
            if not self._response:
                self.begin()
            head = (
                '{"type":"response.output_audio.delta","event_id":"e",'
                f'"response_id":"r{self._response}","item_id":"i{self._response}",'
                '"output_index":0,"content_index":0,"delta":"'
            )
            message = ws_frame(TEXT, head.encode() + base64.b64encode(audio) + b'"}')
        now = time.time_ns()
        self.connection.send(message)
        return now

    def clear(self) -> int:
        """Be silent at once; returns the Unix nanoseconds at which that was asked for."""
        now = time.time_ns()
        if self.connection.protocol == "gateway":
            self.connection.send(ws_frame(TEXT, b'{"type":"clear"}'))
            return now
        self.connection.event(
            "input_audio_buffer.speech_started", audio_start_ms=0, item_id="caller"
        )
        self.connection.event("response.done", response=self._describe("cancelled"))
        return now

    def close(self) -> None:
        """The connection goes with the call."""

    def _describe(self, status: str) -> dict[str, object]:
        name = f"r{self._response}"
        return {"object": "realtime.response", "id": name, "status": status, "output": []}

    def _receive(self, mask: bytes, payload: bytes) -> None:
        """20 ms of speech; made into an RTP packet for who looks at them."""
        number, self._heard = self._heard, self._heard + 1
        heard = self.heard
        if not heard.is_recording:
            heard.packets += 1
            return
        sound = b""
        if heard.is_capturing and self.connection.protocol == "gateway":
            pcm = np.frombuffer(unmask(mask, payload), "<i2").astype(np.float64)
            # A mean of three is filter enough to compare sounds by.
            sound = encode_pcmu(np.rint(pcm.reshape(-1, 3).mean(axis=1)).astype(np.int16))
        head = struct.pack("!BBHII", 0x80, 0, number & 0xFFFF, number * 160 & 0xFFFFFFFF, 1)
        heard.take(head + sound, time.time_ns())


class AgentConnection(asyncio.Protocol):
    """One connection, of one call."""

    def __init__(self, server: AgentServer) -> None:
        self.protocol = server.protocol
        self.audio = "pcm"
        "What is spoken on it: pcm or pcmu."
        self.on_audio: Callable[[bytes, bytes], None] = _nobody
        self.is_closed = False
        self._server = server
        self._frames: FrameReader | None = None
        self._handshake = b""
        self._is_ready = False
        self._transport: asyncio.Transport

    def send(self, message: bytes) -> None:
        """Send a frame."""
        if not self.is_closed:
            self._transport.write(message)

    def event(self, kind: str, /, **values: object) -> None:
        """Send an event of OpenAI's."""
        text = json.dumps({"type": kind, "event_id": "e", **values})
        self.send(ws_frame(TEXT, text.encode()))

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True

    def data_received(self, data: bytes) -> None:
        if self._frames is None:
            self._shake_hands(data)
            return
        for opcode, mask, payload in self._frames.push(data):
            if opcode == BINARY or (self._is_ready and opcode == TEXT and len(payload) > 200):
                self.on_audio(mask, payload)
            elif opcode == TEXT and not self._is_ready:
                self._read(json.loads(unmask(mask, payload)))
            elif opcode == PING:
                self.send(ws_frame(PONG, unmask(mask, payload)))
            elif opcode == CLOSE:
                self._transport.close()

    def _shake_hands(self, data: bytes) -> None:
        self._handshake += data
        head, end, rest = self._handshake.partition(b"\r\n\r\n")
        if not end:
            if len(head) > MAX_HANDSHAKE_BYTES:
                self._transport.abort()
            return
        fields = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }
        digest = hashlib.sha1(fields[b"sec-websocket-key"] + GUID).digest()
        lines = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest),
        ]
        asked = fields.get(b"sec-websocket-protocol", b"").split(b",")[0].strip()
        if asked:
            lines.append(b"Sec-WebSocket-Protocol: " + asked)
        self._transport.write(b"\r\n".join(lines) + b"\r\n\r\n")
        self._frames = FrameReader()
        if self.protocol == "openai":
            self.event("session.created", session={"type": "realtime", "model": "bench"})
        if rest:
            self.data_received(rest)

    def _read(self, told: dict[str, object]) -> None:
        """What comes before speech: which call it is."""
        if told["type"] == "start":
            called = str(cast(dict[str, object], told["call"])["called"])
            self.send(ws_frame(TEXT, b'{"type":"ready"}'))
        elif told["type"] == "session.update":
            session = cast(dict[str, object], told["session"])
            called = str(session["instructions"])
            self.audio = "pcmu" if "audio/pcmu" in json.dumps(session["audio"]) else "pcm"
            self.event("session.updated", session=session)
        else:
            return
        self._is_ready = True
        self._server.connected(called, self)


class AgentServer:
    """Takes the connections, and knows them by the numbers that were called."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.port = 0
        self._connections: dict[str, asyncio.Future[AgentConnection]] = {}
        self._server: asyncio.Server

    async def open(self) -> None:
        """Listen on a port that is free."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: AgentConnection(self), HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more."""
        self._server.close()
        await self._server.wait_closed()

    def connected(self, number: str, connection: AgentConnection) -> None:
        """The agent of a call is there."""
        future = self._future(number)
        if not future.done():
            future.set_result(connection)

    async def end_of(self, number: str) -> AgentEnd:
        """The agent's end of the call to a number.

        Raises:
            CallFailedError: no agent was connected in 15 s.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                connection = await self._future(number)
        except TimeoutError:
            raise CallFailedError(f"no agent was connected for {number}") from None
        finally:
            self._connections.pop(number, None)
        return AgentEnd(connection)

    def _future(self, number: str) -> asyncio.Future[AgentConnection]:
        loop = asyncio.get_running_loop()
        return self._connections.setdefault(number, loop.create_future())


def _nobody(mask: bytes, payload: bytes) -> None:
    """Nobody listens yet."""

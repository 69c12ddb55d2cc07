"""The bridge that aiortc's documentation leads to: the row to compare with.

A peer connection for each call; toward the phone its track goes through an AudioResampler into
PCMU packets of a datagram endpoint; toward the browser the phone's packets become the frames of a
track. Signalling is the same JSON; instead of SIP, whose cost is nothing here, the call's options
say where the phone hears RTP. `python -m bench.baseline PORT`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import json
import secrets
import struct
import sys
from typing import Any, cast

import aioice.ice
import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from websockets.asyncio.server import ServerConnection, serve

from bench.clip import PCMU_LEVELS, encode_pcmu
from bench.reflector import HOST, health

Address = tuple[str, int]
RATE = 8000
FRAME_SAMPLES = 160

# aioice leaves out loopback. With it alone the baseline has one candidate and one socket a call.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [HOST]


class PhoneTrack(MediaStreamTrack):
    """What the phone says, as a track for the browser."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._payloads: asyncio.Queue[bytes] = asyncio.Queue(50)
        self._position = 0

    def push(self, payload: bytes) -> None:
        """Take one PCMU payload; what nobody fetches in a second is dropped."""
        if not self._payloads.full():
            self._payloads.put_nowait(payload)

    async def recv(self) -> av.AudioFrame:
        """The next frame, when it has come."""
        payload = await self._payloads.get()
        pcm = PCMU_LEVELS[np.frombuffer(payload, np.uint8)].reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate = RATE
        frame.pts = self._position
        frame.time_base = fractions.Fraction(1, RATE)
        self._position += len(payload)
        return frame


class PhoneSide(asyncio.DatagramProtocol):
    """RTP with the phone."""

    def __init__(self, remote: Address, track: PhoneTrack) -> None:
        self._remote = remote
        self._track = track
        self._sequence = secrets.randbits(15)
        self._stamp = secrets.randbits(24)
        self._ssrc = secrets.randbits(32)
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The endpoint is open."""
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """A packet of the phone."""
        if len(data) > 12 and data[1] & 0x7F == 0:
            self._track.push(data[12:])

    def say(self, payload: bytes) -> None:
        """Send one PCMU payload to the phone."""
        assert self._transport is not None
        header = struct.pack("!BBHII", 0x80, 0, self._sequence, self._stamp, self._ssrc)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._stamp = (self._stamp + len(payload)) & 0xFFFFFFFF
        self._transport.sendto(header + payload, self._remote)


async def relay_to_phone(track: MediaStreamTrack, phone: PhoneSide) -> None:
    """Browser to phone: decode is done by aiortc; resample, encode, send."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE, frame_size=FRAME_SAMPLES)
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        for piece in resampler.resample(cast(av.AudioFrame, frame)):
            pcm = piece.to_ndarray().reshape(-1).astype(np.int16, copy=False)
            phone.say(encode_pcmu(pcm))


async def serve_call(socket: ServerConnection) -> None:
    """One signalling socket: one call, until it closes."""
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    tasks: list[asyncio.Task[None]] = []
    transport: asyncio.DatagramTransport | None = None
    try:
        async for text in socket:
            message: dict[str, Any] = json.loads(text)
            if message["type"] != "call":
                break
            track = PhoneTrack()
            connection.addTrack(track)
            phone = PhoneSide(tuple(message["options"]["phone"]), track)
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda phone=phone: phone,  # type: ignore[misc]
                local_addr=(HOST, 0),
            )

            @connection.on("track")
            def on_track(heard: MediaStreamTrack, phone: PhoneSide = phone) -> None:
                tasks.append(asyncio.ensure_future(relay_to_phone(heard, phone)))

            await _answer(socket, connection, message, transport.get_extra_info("sockname"))
    finally:
        for task in tasks:
            task.cancel()
        await connection.close()
        if transport is not None:
            transport.close()


async def _answer(
    socket: ServerConnection,
    connection: RTCPeerConnection,
    message: dict[str, Any],
    phone_side: Address,
) -> None:
    await connection.setRemoteDescription(RTCSessionDescription(message["sdp"], "offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    sdp = connection.localDescription.sdp
    call = message["call"]
    await socket.send(json.dumps({"type": "answer", "call": call, "sdp": sdp}))
    await socket.send(json.dumps({"type": "answered", "call": call, "phone": phone_side}))


async def main(port: int) -> None:
    """Serve until interrupted."""
    async with serve(serve_call, HOST, port, process_request=health, compression=None) as server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1])))

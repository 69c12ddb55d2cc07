"""A phone's media, written from the RFCs alone: sends a tone as PCMU and keeps what comes back."""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from tests.support.audio import Recording, Samples, tone

PCMU = 0
TELEPHONE_EVENT = 101
KEYS = "0123456789*#ABCD"
RATE = 8000
PACKET_S = 0.02
SSRC = 0x50485901


@dataclass(frozen=True, slots=True)
class HeardPacket:
    """One RTP packet that came."""

    at: float
    "Unix time in seconds."
    payload_type: int
    sequence: int
    timestamp: int
    payload: bytes


class RtpPeer(asyncio.DatagramProtocol):
    """One UDP port of loopback that speaks RTP (RFC 3550, RFC 3551)."""

    def __init__(self) -> None:
        self.heard: list[HeardPacket] = []
        self._transport: asyncio.DatagramTransport
        self._speech: asyncio.Task[None] | None = None
        self._keys: deque[str] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        first, second, sequence, timestamp, _ = struct.unpack_from("!BBHII", data)
        assert first == 0x80, "no padding, extension or CSRC is expected of a gateway"
        packet = HeardPacket(time.time(), second & 0x7F, sequence, timestamp, data[12:])
        self.heard.append(packet)

    @property
    def port(self) -> int:
        return int(self._transport.get_extra_info("sockname")[1])

    def say_tone(self, hz: float, remote: tuple[str, int]) -> None:
        """Send a tone from now on."""
        self._speech = asyncio.get_running_loop().create_task(self._speak(hz, remote))

    def press(self, keys: str) -> None:
        """Press keys in the midst of the tone, each for 100 ms (RFC 4733)."""
        self._keys.extend(keys)

    async def wait_for_packets(self, count: int, *, after: int = 0) -> None:
        """Until so many packets more than `after` have come."""
        async with asyncio.timeout(15):
            while len(self.heard) < after + count:
                await asyncio.sleep(PACKET_S)

    def recording(self, first: int = 0) -> Recording:
        """What came from the packet of this number on, laid out by its timestamps."""
        packets = [each for each in self.heard[first:] if each.payload_type == PCMU]
        start = packets[0].timestamp
        offsets = [(each.timestamp - start) % 2**32 for each in packets]
        samples = np.zeros(offsets[-1] + len(packets[-1].payload))
        for offset, packet in zip(offsets, packets, strict=True):
            pcm = decode_pcmu(packet.payload)
            samples[offset : offset + len(pcm)] = pcm
        return Recording(samples, RATE)

    def close(self) -> None:
        if self._speech is not None:
            self._speech.cancel()
        self._transport.close()

    async def _speak(self, hz: float, remote: tuple[str, int]) -> None:
        pcmu = encode_pcmu(tone(hz, 1.0, rate=RATE))  # whole waves: it loops without a click
        loop = asyncio.get_running_loop()
        started = loop.time()
        event: Iterator[tuple[int, int, bytes]] = iter(())
        for number in range(3000):
            if (packet := next(event, None)) is None and self._keys:
                event = _event(self._keys.popleft(), number * 160)
                packet = next(event)
            if packet is None:
                packet = PCMU, number * 160, (pcmu * 2)[number * 160 % RATE :][:160]
            kind, timestamp, payload = packet
            head = struct.pack("!BBHII", 0x80, kind, number & 0xFFFF, timestamp, SSRC)
            self._transport.sendto(head + payload, remote)
            await asyncio.sleep(max(0.0, started + (number + 1) * PACKET_S - loop.time()))


def _event(key: str, timestamp: int) -> Iterator[tuple[int, int, bytes]]:
    """The packets of one key: five while it is held, and its end three times."""
    for step in range(1, 9):
        is_over = step > 5
        duration = min(step, 5) * 160
        payload = struct.pack("!BBH", KEYS.index(key), 0x80 * is_over | 10, duration)
        yield TELEPHONE_EVENT, timestamp, payload


@asynccontextmanager
async def rtp_peer() -> AsyncIterator[RtpPeer]:
    """Open one on a free port."""
    loop = asyncio.get_running_loop()
    _, peer = await loop.create_datagram_endpoint(RtpPeer, local_addr=("127.0.0.1", 0))
    try:
        yield peer
    finally:
        peer.close()


def encode_pcmu(samples: Samples) -> bytes:
    """μ-law: for each sample the byte of the nearest level."""
    levels = _LEVELS[_RISING]
    above = np.clip(np.searchsorted(levels, samples), 1, 255)
    nearer = np.where(samples - levels[above - 1] < levels[above] - samples, above - 1, above)
    return bytes(_RISING[nearer].astype(np.uint8))


def _levels() -> NDArray[np.float64]:
    """What each byte of μ-law means (ITU-T G.711 table 2a), from -1 to 1."""
    code = ~np.arange(256, dtype=np.int64) & 0xFF
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = (((mantissa << 3) + 132) << exponent) - 132
    return np.where(code & 0x80, -magnitude, magnitude) / 32768


_LEVELS = _levels()
_RISING = np.argsort(_LEVELS)


def decode_pcmu(payload: bytes) -> Samples:
    return _LEVELS[np.frombuffer(payload, np.uint8)]

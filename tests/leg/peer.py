"""A stream over a transport of paper, in virtual time, and the party at its other end."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial

import numpy as np

from gateway.codec import PCMU, TELEPHONE_EVENT, Codec
from gateway.leg.leg import DigitPressed
from gateway.media.effort import opus_options
from gateway.media.frame import AudioFrame, Voice
from gateway.media.g711 import A_LAW, MU_LAW
from gateway.media.hub import Hub
from gateway.media.opus import OpusEncoder
from gateway.net.media import TransportState
from gateway.net.pacer import Pacer
from gateway.rtp.packet import RtpPacket, build_rtp
from gateway.sdp.description import Direction
from gateway.sdp.negotiation import Agreement
from tests.media.sound import Pcm, frames_of
from tests.support.impair import Impairer
from tests.support.loop import VirtualLoop, elapse
from tests.support.media import FakeTransport, new_stream

MS = 48
"Ticks."


class StreamBench:
    """A stream, what it hands on, and a peer that sends packets."""

    def __init__(self, loop: VirtualLoop, codec: Codec = PCMU, ptime_ms: int = 20) -> None:
        self.loop = loop
        self.pacer = Pacer(loop, phases=1)
        self.transport = FakeTransport()
        self.stream = new_stream(loop, self.pacer, self.transport)
        self.frames: list[AudioFrame] = []
        self.pieces: list[Pcm] = []
        self.keys: list[DigitPressed] = []
        self.stream.on_frame = self._on_frame
        self.stream.on_digit = self.keys.append
        self.configure(codec, ptime_ms)
        self.sequence = 10
        self.timestamp = 4000
        self.ssrc = 0x2222

    def configure(
        self,
        codec: Codec,
        ptime_ms: int = 20,
        *,
        receive: tuple[Codec, ...] = (),
        direction: Direction = Direction.SENDRECV,
        send_noise: Codec | None = None,
        maxptime_ms: int = 120,
    ) -> None:
        self.stream.configure(
            Agreement(
                index=0,
                send=codec,
                receive=(codec, TELEPHONE_EVENT, *receive),
                send_digits=TELEPHONE_EVENT,
                direction=direction,
                ptime_ms=ptime_ms,
                send_noise=send_noise,
                maxptime_ms=maxptime_ms,
            )
        )

    def arrive(
        self, payload: bytes = b"\xff" * 160, *, step: int = 160, payload_type: int = 0
    ) -> None:
        """The peer's next packet arrives now."""
        head = struct.pack(
            "!BBHII", 0x80, payload_type, self.sequence, self.timestamp & 0xFFFF_FFFF, self.ssrc
        )
        self.lose(step)
        self.transport.on_packet(head + payload, self.loop.time())

    def lose(self, step: int = 160) -> None:
        """The peer's next packet never arrives."""
        self.sequence += 1
        self.timestamp += step

    def report_loss(self, fraction_lost: float) -> None:
        """The peer says how much of what it was sent it has lost lately."""
        block = struct.pack("!IIIIII", 0x1111, int(fraction_lost * 256) << 24, 0, 0, 0, 0)
        head = struct.pack("!BBHI", 0x81, 201, 7, self.ssrc)
        self.transport.on_packet(head + block, self.loop.time())

    async def talk(self, seconds: float) -> None:
        """The peer speaks, a packet each 20 ms."""
        for _ in range(round(seconds / 0.02)):
            self.arrive()
            await elapse(0.02)

    @property
    def heard_ms(self) -> float:
        """How long what was handed on is."""
        return sum(frame.duration for frame in self.frames) / MS

    @property
    def pcm(self) -> Pcm:
        return np.concatenate([np.zeros(0, np.int16), *self.pieces])

    @property
    def spoken(self) -> int:
        """How many of its own packets were handed on."""
        return sum(frame.payload is not None for frame in self.frames)

    async def close(self) -> None:
        self.stream.close()
        await elapse(0.1)
        assert self.transport.is_closed
        assert self.pacer.count == 0

    def _on_frame(self, frame: AudioFrame) -> None:
        self.frames.append(frame)
        self.pieces.append(frame.pcm(8000))


def said(codec: Codec, pcm: Pcm, *, rate: int = 8000, ptime_ms: int = 20) -> list[AudioFrame]:
    """Frames of somebody else who speaks a codec."""
    voice = Voice()
    pieces = frames_of(pcm, rate * ptime_ms // 1000)
    if codec.name == "opus":
        encoder = OpusEncoder(rate, opus_options(rate))
        payloads = [encoder.encode(piece) for piece in pieces]
    else:
        law = MU_LAW if codec.name == "PCMU" else A_LAW
        payloads = [law.encode(piece) for piece in pieces]
    return [voice.frame(codec, payload, ptime_ms * MS, 1000.0) for payload in payloads]


class Bridge:
    """Two parties on the wire of one hub."""

    def __init__(self, loop: VirtualLoop, first: Codec, second: Codec) -> None:
        self.loop = loop
        self.hub = Hub()
        self.sides = (StreamBench(loop, first), StreamBench(loop, second))
        for name, side in zip("ab", self.sides, strict=True):
            side.stream.on_state(TransportState.CONNECTED)
            side.stream.on_frame = partial(self.hub.push, name)
            self.hub.join(name, listener=side.stream)
        self.hub.route({"a": {"b": 1.0}, "b": {"a": 1.0}})
        self._stop = Pacer(loop, phases=1).add(self.hub.tick)

    async def carry(self, payloads: Sequence[bytes], path: Impairer) -> list[RtpPacket]:
        """What reaches the second party of what the first says, one payload in 20 ms, and when."""
        first, second = self.sides
        codec = first.stream.codec
        assert codec is not None
        before = len(second.transport.packets)
        step, begin = codec.clock_rate // 50, self.loop.time()
        end = begin + len(payloads) * 0.02
        for number, payload in enumerate(payloads):
            data = build_rtp(
                RtpPacket(
                    codec.payload_type,
                    marker=False,
                    sequence=first.sequence + number & 0xFFFF,
                    timestamp=first.timestamp + number * step & 0xFFFF_FFFF,
                    ssrc=first.ssrc,
                    payload=payload,
                )
            )
            for due, each in path.send(data, begin + number * 0.02):
                self.loop.call_at(due, self._arrive, each)
                end = max(end, due)
        first.sequence += len(payloads)
        first.timestamp += len(payloads) * step
        await elapse(end + 0.1 - begin)
        return second.transport.packets[before:]

    async def close(self) -> None:
        self._stop()
        for side in self.sides:
            await side.close()

    def _arrive(self, data: bytes) -> None:
        self.sides[0].transport.on_packet(data, self.loop.time())

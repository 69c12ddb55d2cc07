"""A peer's RTP stream for the tests: packets of a continuous talker, as bytes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from gateway.codec import PCMU, Codec
from gateway.rtp.packet import RtpPacket, build_rtp
from gateway.rtp.received import Hole, Packet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.rtp.received import Received


@dataclass
class Source:
    """Makes one packet after another; its numbers may be set at any time."""

    codec: Codec = PCMU
    step: int = 160
    ssrc: int = 0x1234_5678
    sequence: int = 100
    timestamp: int = 50_000

    def next(self, payload: bytes | None = None, *, marker: bool = False) -> bytes:
        """The next packet; its payload tells its own sequence number unless given."""
        if payload is None:
            payload = self.sequence.to_bytes(2, "big") + bytes(self.step - 2)
        data = self.build(self.codec.payload_type, payload, marker=marker)
        self.timestamp = (self.timestamp + self.step) & 0xFFFF_FFFF
        return data

    def event(self, payload_type: int, payload: bytes, *, marker: bool = False) -> bytes:
        """A packet that takes no time of its own, at the present timestamp."""
        return self.build(payload_type, payload, marker=marker)

    def build(self, payload_type: int, payload: bytes, *, marker: bool) -> bytes:
        packet = RtpPacket(payload_type, marker, self.sequence, self.timestamp, self.ssrc, payload)
        self.sequence = (self.sequence + 1) & 0xFFFF
        return build_rtp(packet)

    def skip(self, packets: int) -> None:
        """Packets that get lost."""
        for _ in range(packets):
            self.next()

    def pause(self, packets: int) -> None:
        """Silence: time passes, nothing is sent (DTX)."""
        self.timestamp = (self.timestamp + packets * self.step) & 0xFFFF_FFFF


def packets_of(received: Iterable[Received]) -> list[Packet]:
    return [item for item in received if isinstance(item, Packet)]


def holes_of(received: Iterable[Received]) -> list[Hole]:
    return [item for item in received if isinstance(item, Hole)]


def assert_contiguous(received: Sequence[Received]) -> None:
    """Each Packet or Hole begins where the one before ends."""
    pieces = [item for item in received if isinstance(item, Packet | Hole)]
    for before, after in pairwise(pieces):
        assert after.timestamp == before.timestamp + before.duration, (before, after)

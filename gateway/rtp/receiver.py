"""Packets of one RTP stream in order, with holes where some are missing (RFC 3550 A.1)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.codec import Codec
from gateway.rtp.dtmf import DigitEvent


@dataclass(frozen=True, slots=True)
class ReceiverOptions:
    """How patient a receiver is."""

    reorder_ms: int = 40
    "How long a missing packet is waited for before it counts as lost."


@dataclass(slots=True)
class Packet:
    """One media packet at its place in the stream's timeline.

    `timestamp` starts at 0 and counts in units of `codec.clock_rate`. It equals the end of the
    Packet or Hole before, or lies beyond it where the sender was silent (DTX): never before it.
    """

    codec: Codec
    sequence: int
    "Counts packets from 0, without wrapping, also across a change of SSRC."
    timestamp: int
    duration: int
    "In the same units; 0 for CN (RFC 3389), which lasts until the next packet."
    payload: bytes
    marker: bool


@dataclass(slots=True)
class Hole:
    """A lost stretch of the timeline, directly before the next Packet or Hole."""

    codec: Codec
    "Of the packet before."
    timestamp: int
    duration: int
    "One packet's, except the first of a long row, which holds what the others do not."
    following: bytes | None
    "The next packet's payload where it directly follows in the same codec: it may carry FEC."


Received = Packet | Hole | DigitEvent
"What comes out of a receiver."

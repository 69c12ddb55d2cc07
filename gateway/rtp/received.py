"""What comes out of a receiver: one timeline of a stream, in order."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.codec import Codec
from gateway.rtp.dtmf import DigitEvent


@dataclass(slots=True)
class Packet:
    """One media packet at its place in the stream's timeline.

    `timestamp` starts at 0 and counts in units of `codec.clock_rate`. It equals the end of the
    Packet or Hole before, or lies beyond it where the sender was silent (DTX): never before it.
    After a change of SSRC or a jump the timeline goes on without a gap; when a sender changes to
    a codec of another clock rate, it goes on at the same time in the new units, rounded up.
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


@dataclass(slots=True)
class Late:
    """The next packets are late, as a burst after a stall is: the path stood still, or we did."""

    seconds: float
    "By which the next one came later than the one before it let expect."


Received = Packet | Hole | Late | DigitEvent
"What comes out of a receiver."


MAX_HOLES = 8
"Holes in a row; what is lost beyond them goes into the first: nobody conceals that packetwise."


def holes(
    codec: Codec, position: int, gap: int, missing: int, step: int, following: bytes | None
) -> list[Hole]:
    """Holes for `missing` packets in the last of a gap: the rest of it was silence (DTX).

    Args:
        position, gap: where it begins and how long it is, in clock units.
        step: how long each packet was.
        following: the payload after it, where it may carry FEC.
    """
    count = min(missing, -(-gap // step))
    end = position + gap
    start = end - min(gap, count * step)
    # The last ones are whole, the first takes what is left over.
    dug = []
    for left in range(min(count, MAX_HOLES) - 1, -1, -1):
        next_start = end - left * step
        dug.append(Hole(codec, start, next_start - start, None if left else following))
        start = next_start
    return dug

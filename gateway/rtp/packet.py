"""RTP packets as values and bytes (RFC 3550 §5.1), and what tells RTCP from them (RFC 5761 §4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gateway.errors import RemoteProtocolError

HEADER_BYTES = 12
"The fixed header; CSRCs and an extension may follow."

_HEADER = struct.Struct("!BBHII")


@dataclass(slots=True)
class RtpPacket:
    """One RTP packet without its CSRCs and its header extension, which nothing here reads."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def is_rtcp(data: bytes) -> bool:
    """Whether a packet from a shared port is RTCP: its second byte says 192 to 223.

    RTP with payload types 64 to 95 and the marker would look the same, which is why they are
    not to be used (RFC 5761 §4).
    """
    return len(data) > 1 and 192 <= data[1] <= 223


def parse_rtp(data: bytes) -> RtpPacket:
    """Take one packet apart (RFC 3550 A.1).

    Raises:
        RemoteProtocolError: it is not RTP version 2, or shorter than its header says.
    """
    size = len(data)
    if size < HEADER_BYTES:
        raise RemoteProtocolError(f"RTP packet of {size} bytes")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if first >> 6 != 2:
        raise RemoteProtocolError(f"RTP version {first >> 6}")
    start = HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10:
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    end = size
    if first & 0x20:
        if not data[-1]:
            raise RemoteProtocolError("RTP padding of 0 bytes")
        end -= data[-1]
    # An extension that is cut off in its own header reads as too short and ends here, too.
    if start > end:
        raise RemoteProtocolError(f"RTP header and padding exceed the packet's {size} bytes")
    return RtpPacket(second & 0x7F, second > 0x7F, sequence, timestamp, ssrc, data[start:end])


def build_rtp(packet: RtpPacket) -> bytes:
    """The bytes of a packet: the inverse of `parse_rtp`."""
    second = packet.payload_type | (0x80 if packet.marker else 0)
    return (
        _HEADER.pack(0x80, second, packet.sequence, packet.timestamp, packet.ssrc) + packet.payload
    )

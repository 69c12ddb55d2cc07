"""RTCP packets as values and bytes: SR, RR, SDES with CNAME, BYE, XR (RFC 3550 §6; RFC 3611).

What else a compound may hold (APP, feedback) is skipped. A packet of its own (reduced size,
RFC 5506) need not begin with a report.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.errors import RemoteProtocolError
from gateway.rtp.xr import ExtendedReport, build_extended_report, read_extended_report

MAX_CNAME_BYTES = 255
"An SDES item's length is one byte (RFC 3550 §6.5)."

MAX_REPORTS = 31
"Blocks, chunks or sources that one packet can count (RFC 3550 §6.4.1)."

_SR, _RR, _SDES, _BYE, _XR = 200, 201, 202, 203, 207
_CNAME = 1

_HEADER = struct.Struct("!BBH")
_WORD = struct.Struct("!I")
_SENDER = struct.Struct("!IQIII")
_BLOCK = struct.Struct("!IIIIII")


@dataclass(slots=True)
class ReportBlock:
    """How one source fares at the reporter (RFC 3550 §6.4.1)."""

    ssrc: int
    "The source reported on."
    fraction_lost: int
    "Of 256, in the last interval."
    lost: int
    "Cumulative, signed, 24 bits."
    sequence: int
    "Highest received, extended by its cycles."
    jitter: int
    "In timestamp units."
    last_sr: int
    "The middle 32 bits of the NTP timestamp of the last SR from that source; 0 for none."
    delay: int
    "Since that SR came, in 1/65536 s."


@dataclass(slots=True)
class SenderReport:
    """SR: what was sent, and how others are received."""

    ssrc: int
    ntp: int
    "64 bits: seconds since 1900 and their fraction."
    timestamp: int
    "The same instant as an RTP timestamp."
    packets: int
    bytes: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(slots=True)
class ReceiverReport:
    """RR: how others are received, from one who sends nothing."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()


@dataclass(slots=True)
class SourceDescription:
    """SDES: the canonical name of a source. Its other items are not kept."""

    ssrc: int
    cname: str
    "Undecodable bytes as surrogate escapes."


@dataclass(slots=True)
class Goodbye:
    """BYE: sources that end, or say so. It never ends a call: browsers send it mid-call."""

    ssrcs: tuple[int, ...]
    reason: str = ""


RtcpPacket = SenderReport | ReceiverReport | SourceDescription | Goodbye | ExtendedReport


def parse_rtcp(data: bytes) -> list[RtcpPacket]:
    """Take a compound packet apart (RFC 3550 A.2).

    Raises:
        RemoteProtocolError: its parts do not add up, or one is not what it says.
    """
    packets: list[RtcpPacket] = []
    start, size = 0, len(data)
    if not size:
        raise RemoteProtocolError("empty RTCP packet")
    while start < size:
        if size - start < _HEADER.size:
            raise RemoteProtocolError(f"RTCP header cut off after {size - start} bytes")
        first, kind, words = _HEADER.unpack_from(data, start)
        end = start + 4 + 4 * words
        if first >> 6 != 2 or not 192 <= kind <= 223:
            raise RemoteProtocolError(f"not RTCP: version {first >> 6}, packet type {kind}")
        if end > size:
            raise RemoteProtocolError(f"RTCP packet of {end - start} bytes cut off")
        body = data[start + 4 : end]
        if first & 0x20:
            body = _without_padding(body, is_last=end == size)
        reader = _READERS.get(kind)
        if reader is not None:
            packets += reader(body, first & 0x1F)
        start = end
    return packets


def build_rtcp(packets: Sequence[RtcpPacket]) -> bytes:
    """One compound packet: the inverse of `parse_rtcp`. Numbers are taken modulo their fields."""
    return b"".join(_build(packet) for packet in packets)


def _without_padding(body: bytes, *, is_last: bool) -> bytes:
    padding = body[-1] if body else 0
    if not is_last or padding % 4 or not 0 < padding <= len(body):
        raise RemoteProtocolError(f"RTCP padding of {padding} bytes")
    return body[:-padding]


def _read_sender_report(body: bytes, count: int) -> list[RtcpPacket]:
    _expect(body, _SENDER.size + count * _BLOCK.size, "SR")
    ssrc, ntp, timestamp, packets, size = _SENDER.unpack_from(body)
    blocks = _read_blocks(body, _SENDER.size, count)
    return [SenderReport(ssrc, ntp, timestamp, packets, size, blocks)]


def _read_receiver_report(body: bytes, count: int) -> list[RtcpPacket]:
    _expect(body, _WORD.size + count * _BLOCK.size, "RR")
    (ssrc,) = _WORD.unpack_from(body)
    return [ReceiverReport(ssrc, _read_blocks(body, _WORD.size, count))]


def _read_blocks(body: bytes, start: int, count: int) -> tuple[ReportBlock, ...]:
    # What follows the blocks are extensions of a profile (RFC 3550 §6.4.3).
    blocks = _BLOCK.iter_unpack(body[start : start + count * _BLOCK.size])
    return tuple(
        ReportBlock(
            ssrc,
            loss >> 24,
            (loss & 0xFF_FFFF) - ((loss & 0x80_0000) << 1),
            sequence,
            jitter,
            last_sr,
            delay,
        )
        for ssrc, loss, sequence, jitter, last_sr, delay in blocks
    )


def _read_source_description(body: bytes, count: int) -> list[RtcpPacket]:
    found: list[RtcpPacket] = []
    at = 0
    for _ in range(count):
        _expect(body, at + _WORD.size, "SDES")
        (ssrc,) = _WORD.unpack_from(body, at)
        at += _WORD.size
        # RFC 3550 A.5: items until a zero, which pads the chunk to a whole word.
        while at < len(body) and body[at]:
            _expect(body, at + 2, "SDES")
            item, size = body[at], body[at + 1]
            at += 2
            _expect(body, at + size, "SDES")
            if item == _CNAME:
                name = body[at : at + size].decode("utf-8", "surrogateescape")
                found.append(SourceDescription(ssrc, name))
            at += size
        at = (at // 4 + 1) * 4
        _expect(body, at, "SDES")
    return found


def _read_goodbye(body: bytes, count: int) -> list[RtcpPacket]:
    end = count * _WORD.size
    _expect(body, end, "BYE")
    ssrcs = tuple(ssrc for (ssrc,) in _WORD.iter_unpack(body[:end]))
    reason = b""
    if len(body) > end:
        reason = body[end + 1 : end + 1 + body[end]]
        _expect(reason, body[end], "BYE")
    return [Goodbye(ssrcs, reason.decode("utf-8", "surrogateescape"))]


def _read_extended(body: bytes, _reserved: int) -> list[RtcpPacket]:
    report = read_extended_report(body)
    return [report] if report.blocks else []


def _expect(body: bytes, size: int, name: str) -> None:
    if len(body) < size:
        raise RemoteProtocolError(f"{name} of {len(body)} bytes, {size} needed")


_READERS = {
    _SR: _read_sender_report,
    _RR: _read_receiver_report,
    _SDES: _read_source_description,
    _BYE: _read_goodbye,
    _XR: _read_extended,
}


def _build(packet: RtcpPacket) -> bytes:
    if isinstance(packet, SenderReport):
        sender = _SENDER.pack(
            packet.ssrc,
            packet.ntp,
            packet.timestamp & 0xFFFF_FFFF,
            packet.packets & 0xFFFF_FFFF,
            packet.bytes & 0xFFFF_FFFF,
        )
        return _frame(_SR, len(packet.reports), sender + _build_blocks(packet.reports))
    if isinstance(packet, ReceiverReport):
        blocks = _WORD.pack(packet.ssrc) + _build_blocks(packet.reports)
        return _frame(_RR, len(packet.reports), blocks)
    if isinstance(packet, SourceDescription):
        name = packet.cname.encode("utf-8", "surrogateescape")[:MAX_CNAME_BYTES]
        chunk = _WORD.pack(packet.ssrc) + bytes((_CNAME, len(name))) + name
        return _frame(_SDES, 1, chunk + bytes(4 - len(chunk) % 4))
    if isinstance(packet, ExtendedReport):
        return _frame(_XR, 0, build_extended_report(packet))
    body = b"".join(_WORD.pack(ssrc) for ssrc in packet.ssrcs)
    if packet.reason:
        reason = packet.reason.encode("utf-8", "surrogateescape")[:255]
        body += bytes((len(reason),)) + reason
        body += bytes(-len(body) % 4)
    return _frame(_BYE, len(packet.ssrcs), body)


def _build_blocks(reports: tuple[ReportBlock, ...]) -> bytes:
    return b"".join(
        _BLOCK.pack(
            block.ssrc,
            block.fraction_lost << 24 | block.lost & 0xFF_FFFF,
            block.sequence & 0xFFFF_FFFF,
            block.jitter & 0xFFFF_FFFF,
            block.last_sr,
            block.delay & 0xFFFF_FFFF,
        )
        for block in reports
    )


def _frame(kind: int, count: int, body: bytes) -> bytes:
    return _HEADER.pack(0x80 | count, kind, len(body) // 4) + body

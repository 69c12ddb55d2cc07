"""Extended reports: the blocks of an RTCP XR packet (RFC 3611).

Read and written are those of the round trip (§4.4, §4.5) and of voice (§4.7). All others are
skipped, and so is a block whose length is not that of its type: the rest of the packet counts.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gateway.errors import RemoteProtocolError
from gateway.rtp.burst import G_MIN

UNAVAILABLE = 127
"What most bytes of the voice metrics say where there is nothing to say (RFC 3611 §4.7)."

MAX_BLOCKS = 32
"Blocks of one packet: there are seven types, and a peer that sends more is not reporting."

MAX_SUB_BLOCKS = 31
"Sources that are answered in one DLRR block: as many as an RR may report on."

_REFERENCE_TIME, _DLRR, _VOICE = 4, 5, 7

_HEAD = struct.Struct("!BBH")
_WORD = struct.Struct("!I")
_NTP = struct.Struct("!Q")
_SUB_BLOCK = struct.Struct("!III")
_METRICS = struct.Struct("!I4BHHHHbb6BBxHHH")


@dataclass(slots=True)
class ReferenceTime:
    """The clock of one who receives, so that the round trip can be taken (RFC 3611 §4.4)."""

    ntp: int
    "64 bits: seconds since 1900 and their fraction."


@dataclass(slots=True)
class LastReference:
    """The answer to that: one sub-block of DLRR (RFC 3611 §4.5)."""

    ssrc: int
    "Whose reference time it answers."
    last_rr: int
    "The middle 32 bits of that; 0 for none."
    delay: int
    "Since it came, in 1/65536 s."


@dataclass(slots=True)
class VoiceMetrics:
    """How the voice of one source fares at the reporter (RFC 3611 §4.7), as on the wire."""

    ssrc: int
    "The source reported on."
    loss_rate: int = 0
    "Of 256, since the beginning; the next three too."
    discard_rate: int = 0
    burst_density: int = 0
    gap_density: int = 0
    burst_ms: int = 0
    gap_ms: int = 0
    round_trip_ms: int = 0
    end_system_ms: int = 0
    signal_level: int = UNAVAILABLE
    "dBm0, -127 to 126."
    noise_level: int = UNAVAILABLE
    rerl: int = UNAVAILABLE
    "Residual echo return loss, dB."
    g_min: int = G_MIN
    r_factor: int = UNAVAILABLE
    external_r: int = UNAVAILABLE
    mos_lq: int = UNAVAILABLE
    "Of listening, times ten."
    mos_cq: int = UNAVAILABLE
    "Of conversation, times ten."
    receiver: int = 0
    "Concealment, and what kind of jitter buffer (§4.7.6)."
    nominal_ms: int = 0
    "Of the jitter buffer; the next two too."
    maximum_ms: int = 0
    absolute_ms: int = 0

    @property
    def r(self) -> int | None:
        """R of the stream, 0 to 100; None where none is told. Others are to be ignored."""
        return self.r_factor if self.r_factor <= 100 else None

    @property
    def mos(self) -> float | None:
        """MOS of conversation, else of listening, 1 to 5; None where neither is told."""
        for mos in (self.mos_cq, self.mos_lq):
            if 10 <= mos <= 50:
                return mos / 10
        return None


XrBlock = ReferenceTime | LastReference | VoiceMetrics


@dataclass(slots=True)
class ExtendedReport:
    """XR: the blocks that are understood, each sub-block of DLRR as one."""

    ssrc: int
    blocks: tuple[XrBlock, ...] = ()


def read_extended_report(body: bytes) -> ExtendedReport:
    """Read what follows the header of an XR packet.

    Raises:
        RemoteProtocolError: it has no source, or a block goes beyond its end.
    """
    if len(body) < _WORD.size:
        raise RemoteProtocolError(f"XR of {len(body)} bytes, {_WORD.size} needed")
    (ssrc,) = _WORD.unpack_from(body)
    blocks: list[XrBlock] = []
    at = _WORD.size
    for _ in range(MAX_BLOCKS):
        if at == len(body):
            return ExtendedReport(ssrc, tuple(blocks))
        kind, _type_specific, words = _HEAD.unpack_from(body, at)
        end = at + _HEAD.size + 4 * words
        if end > len(body):
            raise RemoteProtocolError(f"XR block of {end - at} bytes cut off")
        blocks += _read_block(kind, body[at + _HEAD.size : end])
        at = end
    raise RemoteProtocolError(f"XR with more than {MAX_BLOCKS} blocks")


def build_extended_report(report: ExtendedReport) -> bytes:
    """What follows the header; the inverse. Numbers are taken modulo their fields."""
    body = _WORD.pack(report.ssrc & 0xFFFF_FFFF)
    answers = [block for block in report.blocks if isinstance(block, LastReference)]
    for block in report.blocks:
        if isinstance(block, ReferenceTime):
            body += _frame(_REFERENCE_TIME, _NTP.pack(block.ntp & 0xFFFF_FFFF_FFFF_FFFF))
        elif isinstance(block, VoiceMetrics):
            body += _frame(_VOICE, _build_metrics(block))
    if answers:
        body += _frame(_DLRR, b"".join(map(_build_answer, answers[:MAX_SUB_BLOCKS])))
    return body


def _read_block(kind: int, contents: bytes) -> list[XrBlock]:
    if kind == _REFERENCE_TIME and len(contents) == _NTP.size:
        return [ReferenceTime(*_NTP.unpack(contents))]
    if kind == _DLRR and len(contents) % _SUB_BLOCK.size == 0:
        limit = MAX_SUB_BLOCKS * _SUB_BLOCK.size
        return [LastReference(*each) for each in _SUB_BLOCK.iter_unpack(contents[:limit])]
    if kind == _VOICE and len(contents) == _METRICS.size:
        return [VoiceMetrics(*_METRICS.unpack(contents))]
    return []


def _build_metrics(metrics: VoiceMetrics) -> bytes:
    m = metrics
    return _METRICS.pack(
        m.ssrc & 0xFFFF_FFFF,
        *(rate & 0xFF for rate in (m.loss_rate, m.discard_rate, m.burst_density, m.gap_density)),
        *(ms & 0xFFFF for ms in (m.burst_ms, m.gap_ms, m.round_trip_ms, m.end_system_ms)),
        *(_signed(level) for level in (m.signal_level, m.noise_level)),
        *(byte & 0xFF for byte in (m.rerl, m.g_min, m.r_factor, m.external_r, m.mos_lq, m.mos_cq)),
        m.receiver & 0xFF,
        *(ms & 0xFFFF for ms in (m.nominal_ms, m.maximum_ms, m.absolute_ms)),
    )


def _signed(level: int) -> int:
    return (level + 128 & 0xFF) - 128


def _build_answer(answer: LastReference) -> bytes:
    words = (answer.ssrc, answer.last_rr, answer.delay)
    return _SUB_BLOCK.pack(*(word & 0xFFFF_FFFF for word in words))


def _frame(kind: int, contents: bytes) -> bytes:
    return _HEAD.pack(kind, 0, len(contents) // 4) + contents

"""RTCP of one stream: our reports, and what the peer's tell (RFC 3550 §6.4, RFC 3611).

A BYE is read and means nothing: signalling ends calls, and anybody can spoof it.
"""

from __future__ import annotations

from gateway.errors import RemoteProtocolError
from gateway.rtp.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    SenderReport,
    SourceDescription,
    build_rtcp,
    parse_rtcp,
)
from gateway.rtp.stats import Reception, RemoteStats
from gateway.rtp.xr import (
    ExtendedReport,
    LastReference,
    ReferenceTime,
    VoiceMetrics,
    XrBlock,
)

NTP_OF_UNIX = 2_208_988_800
"Seconds from 1900, where NTP begins, to 1970."

MAX_ROUNDING_S = 0.05
"On a short path a coarse clock of the peer makes a round trip look negative by less than this."

MAX_RTT_S = 60.0
"A longer round trip is a report about somebody else's clock."

MAX_JITTER_MS = 60_000.0
"A peer that claims more has not measured it."

MAX_REFERENCE_AGE_S = 60.0
"A reference time that came longer ago is not answered any more."


class Reporter:
    """Builds our compound packets and reads the peer's."""

    def __init__(self, ssrc: int, cname: str, ntp_offset: float) -> None:
        """`ntp_offset` is Unix time less loop time, in seconds."""
        self._ssrc = ssrc
        self._cname = cname
        self._ntp_offset = ntp_offset + NTP_OF_UNIX
        self._last_sr: tuple[int, int, float] | None = None  # SSRC, middle of NTP, arrival
        self.remote: RemoteStats | None = None
        "What the peer said last about our packets."
        self.rtt_ms: float | None = None
        self.reported_at: float | None = None
        "When its last SR or RR came, whomever that reported on."
        self.voice: VoiceMetrics | None = None
        "What its XR said last about our packets."
        self.answers_references = False
        "Whether the peer wants to know its round trip though it sends nothing: rcvr-rtt."
        self._reference: tuple[int, int, float] | None = None  # as `_last_sr`
        self.malformed = 0
        "Packets that could not be read."

    def receive(self, data: bytes, send_rate: int, now: float) -> bool:
        """Take one RTCP packet of the peer.

        Args:
            send_rate: the clock rate of what we send, in which the peer tells our jitter.

        Returns:
            Whether an SR or RR was in it, whomever that reported on.
        """
        has_report = False
        try:
            packets = parse_rtcp(data)
        except RemoteProtocolError:
            self.malformed += 1
            return has_report
        for packet in packets:
            if isinstance(packet, SenderReport):
                self._last_sr = (packet.ssrc, packet.ntp >> 16 & 0xFFFF_FFFF, now)
            if isinstance(packet, SenderReport | ReceiverReport):
                self.reported_at, has_report = now, True
                for block in packet.reports:
                    if block.ssrc == self._ssrc:
                        self._take_block(block, send_rate, now)
            elif isinstance(packet, ExtendedReport):
                self._take_extended(packet, now)
        return has_report

    def build(
        self,
        sent: tuple[int, int, int] | None,
        reception: Reception | None,
        now: float,
        *,
        bye: bool = False,
        voice: VoiceMetrics | None = None,
    ) -> bytes:
        """One compound packet: SR or RR, SDES, XR where it was agreed upon, and BYE where asked.

        Args:
            sent: RTP timestamp of `now`, packets and payload bytes so far; None makes an RR.
            reception: how the peer is received; None where nothing came since the last report.
            voice: how its voice fares; None where the peer did not ask.
        """
        reports = () if reception is None else (self._block(reception, now),)
        packets: list[RtcpPacket] = [ReceiverReport(self._ssrc, reports)]
        if sent is not None:
            timestamp, count, size = sent
            packets = [SenderReport(self._ssrc, self._ntp(now), timestamp, count, size, reports)]
        packets.append(SourceDescription(self._ssrc, self._cname))
        blocks = self._extended_blocks(voice, now, is_sender=sent is not None)
        if blocks:
            packets.append(ExtendedReport(self._ssrc, blocks))
        if bye:
            packets.append(Goodbye((self._ssrc,)))
        return build_rtcp(packets)

    def _ntp(self, now: float) -> int:
        return int((now + self._ntp_offset) * 65536) << 16 & 0xFFFF_FFFF_FFFF_FFFF

    def _block(self, reception: Reception, now: float) -> ReportBlock:
        last_sr = delay = 0
        if self._last_sr is not None and self._last_sr[0] == reception.ssrc:
            last_sr = self._last_sr[1]
            delay = int((now - self._last_sr[2]) * 65536)
        return ReportBlock(
            reception.ssrc,
            min(255, int(reception.fraction_lost * 256)),
            max(-0x80_0000, min(0x7F_FFFF, reception.lost)),
            reception.sequence,
            int(reception.jitter),
            last_sr,
            delay,
        )

    def _extended_blocks(
        self, voice: VoiceMetrics | None, now: float, *, is_sender: bool
    ) -> tuple[XrBlock, ...]:
        blocks: list[XrBlock] = []
        if self.answers_references:
            if not is_sender:
                blocks.append(ReferenceTime(self._ntp(now)))
            reference, self._reference = self._reference, None
            if reference is not None and now - reference[2] < MAX_REFERENCE_AGE_S:
                ssrc, middle, at = reference
                blocks.append(LastReference(ssrc, middle, int((now - at) * 65536)))
        if voice is not None:
            blocks.insert(0, voice)
        return tuple(blocks)

    def _take_extended(self, packet: ExtendedReport, now: float) -> None:
        for block in packet.blocks:
            if isinstance(block, ReferenceTime):
                self._reference = packet.ssrc, block.ntp >> 16 & 0xFFFF_FFFF, now
            elif block.ssrc == self._ssrc:
                if isinstance(block, VoiceMetrics):
                    self.voice = block
                else:
                    self._take_rtt(block.last_rr, block.delay, now)

    def _take_block(self, block: ReportBlock, send_rate: int, now: float) -> None:
        jitter_ms = min(block.jitter / send_rate * 1000, MAX_JITTER_MS)
        lost, fraction = block.lost, block.fraction_lost / 256
        self.remote = RemoteStats(now, lost, fraction, jitter_ms, block.sequence)
        self._take_rtt(block.last_sr, block.delay, now)

    def _take_rtt(self, last: int, delay: int, now: float) -> None:
        """The way there and back of a time that we sent and that comes back; 0: it did not."""
        if not last:
            return
        middle = self._ntp(now) >> 16 & 0xFFFF_FFFF
        rtt = (middle - last - delay + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
        if -MAX_ROUNDING_S < rtt / 65536 < MAX_RTT_S:
            self.rtt_ms = max(0.0, rtt / 65536 * 1000)

"""RTCP of one stream: our reports, and what the peer's tell (RFC 3550 §6.4)."""

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

NTP_OF_UNIX = 2_208_988_800
"Seconds from 1900, where NTP begins, to 1970."

MAX_ROUNDING_S = 0.05
"On a short path a coarse clock of the peer makes a round trip look negative by less than this."

MAX_RTT_S = 60.0
"A longer round trip is a report about somebody else's clock."


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
        self.malformed = 0
        "Packets that could not be read."

    def receive(self, data: bytes, send_rate: int, now: float) -> None:
        """Take one RTCP packet of the peer.

        Args:
            send_rate: the clock rate of what we send, in which the peer tells our jitter.
        """
        try:
            packets = parse_rtcp(data)
        except RemoteProtocolError:
            self.malformed += 1
            return
        for packet in packets:
            if isinstance(packet, SenderReport):
                self._last_sr = (packet.ssrc, packet.ntp >> 16 & 0xFFFF_FFFF, now)
            if isinstance(packet, SenderReport | ReceiverReport):
                for block in packet.reports:
                    if block.ssrc == self._ssrc:
                        self._take_block(block, send_rate, now)

    def build(
        self,
        sent: tuple[int, int, int] | None,
        reception: Reception | None,
        now: float,
        *,
        bye: bool = False,
    ) -> bytes:
        """One compound packet: SR or RR, SDES, and BYE where asked.

        Args:
            sent: RTP timestamp of `now`, packets and payload bytes so far; None makes an RR.
            reception: how the peer is received; None where nothing came since the last report.
        """
        reports = () if reception is None else (self._block(reception, now),)
        packets: list[RtcpPacket] = [ReceiverReport(self._ssrc, reports)]
        if sent is not None:
            timestamp, count, size = sent
            packets = [SenderReport(self._ssrc, self._ntp(now), timestamp, count, size, reports)]
        packets.append(SourceDescription(self._ssrc, self._cname))
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

    def _take_block(self, block: ReportBlock, send_rate: int, now: float) -> None:
        jitter_ms = block.jitter / send_rate * 1000
        self.remote = RemoteStats(now, block.lost, block.fraction_lost / 256, jitter_ms)
        if block.last_sr:
            middle = self._ntp(now) >> 16 & 0xFFFF_FFFF
            rtt = (middle - block.last_sr - block.delay + 0x8000_0000 & 0xFFFF_FFFF) - 0x8000_0000
            if -MAX_ROUNDING_S < rtt / 65536 < MAX_RTT_S:
                self.rtt_ms = max(0.0, rtt / 65536 * 1000)

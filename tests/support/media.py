"""A media transport of paper under a real stream: what went out, and what comes in when told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from gateway.leg.stream import AudioStream
from gateway.net.media import TransportState
from gateway.net.pacer import Pacer
from gateway.rtp.packet import RtpPacket, is_rtcp, parse_rtp
from gateway.rtp.session import RtpSession
from gateway.sdp.description import Fingerprint, MediaDescription
from tests.support.loop import VirtualLoop

OURS = "192.0.2.1"
"Where our side takes media."


class FakeTransport:
    """A `MediaTransport` that keeps what it is given."""

    def __init__(
        self, *, is_webrtc: bool = False, loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        """With a `loop` it is connected as plain RTP is: a turn after an address was accepted."""
        self.on_packet: Callable[[bytes, float], None] = lambda _data, _now: None
        self.on_state: Callable[[TransportState], None] = lambda _state: None
        self.accepted: list[MediaDescription] = []
        self.candidates: list[tuple[str, str | None]] = []
        self.sent: list[bytes] = []
        self.is_closed = False
        self._is_webrtc = is_webrtc
        self._loop = loop

    def describe(self, media: MediaDescription, *, restart: bool = False) -> MediaDescription:
        if not self._is_webrtc:
            return replace(media, protocol="RTP/AVP", address=OURS, port=20_000)
        return replace(
            media,
            protocol="UDP/TLS/RTP/SAVPF",
            address=OURS,
            port=10_000,
            ice_ufrag="gwuf",
            ice_pwd="gatewaygatewaygatewaygat",
            candidates=(f"candidate:1 1 udp 2130706431 {OURS} 10000 typ host",),
            end_of_candidates=True,
            fingerprints=(Fingerprint("sha-256", ":".join(["AB"] * 32)),),
            setup="passive",
        )

    def accept(self, remote: MediaDescription) -> None:
        self.accepted.append(remote)
        if self._loop is not None:
            self._loop.call_soon(self._tell_connected)

    def add_candidate(self, candidate: str, ufrag: str | None) -> None:
        self.candidates.append((candidate, ufrag))

    def send(self, packet: bytes) -> None:
        assert not self.is_closed, "sent after the end"
        self.sent.append(packet)

    def close(self) -> None:
        self.is_closed = True
        self.on_packet, self.on_state = lambda _data, _now: None, lambda _state: None

    def _tell_connected(self) -> None:
        self.on_state(TransportState.CONNECTED)

    @property
    def packets(self) -> list[RtpPacket]:
        """The RTP that went out."""
        return [parse_rtp(data) for data in self.sent if not is_rtcp(data)]

    @property
    def reports(self) -> list[bytes]:
        """The RTCP that went out."""
        return [data for data in self.sent if is_rtcp(data)]


def new_stream(
    loop: VirtualLoop, pacer: Pacer, transport: FakeTransport, *, may_relay: bool = True
) -> AudioStream:
    """A stream over it, with first numbers that are known: 1000 and 5000."""
    session = RtpSession(
        ssrc=0x1111, sequence=1000, timestamp=5000, cname="test", now=loop.time(), ntp_offset=0.0
    )
    return AudioStream(transport, session, pacer=pacer, clock=loop.time, may_relay=may_relay)

"""The browser's end of a call: a UDP socket with ICE, DTLS and SRTP, or plain RTP."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from aiortc import RTCCertificate, RTCDtlsFingerprint, RTCDtlsParameters, RTCIceTransport
from aiortc.rtcdtlstransport import RTCDtlsTransport
from pylibsrtp import Error as SrtpError
from pylibsrtp._binding import ffi, lib

from bench.clip import Clip, opus_clip, pcmu_clip
from bench.ice import Address, IceClient
from bench.pacer import Intake
from bench.stream import Heard, Said, is_rtcp

CONNECT_TIMEOUT_S = 15.0
CHECK_EVERY_S = 0.05
"Until the pair works."

CONSENT_EVERY_S = 2.5
"Chromium pings a good pair this often."

MAX_PACKET_BYTES = 1500

FORMATS = {"opus": ("111", "9", "0", "8", "110", "126"), "PCMU": ("0", "126")}
"Payload types of an offer."

FORMAT_LINES = {
    "111": (
        "a=rtpmap:111 opus/48000/2",
        "a=rtcp-fb:111 transport-cc",
        "a=fmtp:111 minptime=10;useinbandfec=1",
    ),
    "9": ("a=rtpmap:9 G722/8000",),
    "0": ("a=rtpmap:0 PCMU/8000",),
    "8": ("a=rtpmap:8 PCMA/8000",),
    "110": ("a=rtpmap:110 telephone-event/48000",),
    "126": ("a=rtpmap:126 telephone-event/8000",),
}
HOST = "127.0.0.1"
MOVED_HOST = "127.0.0.77"
"Where a page is that has moved."


class ConnectError(Exception):
    """The media path to the system under test did not come up."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the page needs of an SDP answer."""

    ufrag: str
    pwd: str
    remote: Address
    fingerprints: tuple[RTCDtlsFingerprint, ...]
    is_client: bool
    "Whether we send the ClientHello: the answer says `a=setup:passive`."
    codec: str
    "opus or PCMU."
    payload_type: int
    narrowband: bool
    "Whether the other side plays Opus at 8 kHz only (RFC 7587 §6.1)."


def parse_answer(sdp: str) -> Answer:
    """Read an answer to `Page.offer`.

    Raises:
        ConnectError: it has no codec of ours, no usable candidate, or no credentials.
    """
    formats = re.search(r"^m=audio \d+ \S+ (\d+)", sdp, re.MULTILINE)
    opus = re.search(r"^a=rtpmap:(\d+) opus/48000", sdp, re.MULTILINE | re.IGNORECASE)
    first = formats[1] if formats else ""
    ufrag = re.search(r"^a=ice-ufrag:(\S+)", sdp, re.MULTILINE)
    pwd = re.search(r"^a=ice-pwd:(\S+)", sdp, re.MULTILINE)
    prints = re.findall(r"^a=fingerprint:(\S+) (\S+)", sdp, re.MULTILINE)
    candidates = re.findall(
        r"^a=candidate:\S+ 1 udp \d+ (\d+\.\d+\.\d+\.\d+) (\d+) typ", sdp, re.MULTILINE | re.I
    )
    is_opus = opus is not None and opus[1] == first
    if not ((is_opus or first == "0") and ufrag and pwd and prints and candidates):
        raise ConnectError(f"the answer lacks a codec, ICE, a fingerprint or a candidate:\n{sdp}")
    host, port = min(candidates, key=lambda candidate: candidate[0] != HOST)
    fmtp = re.search(rf"^a=fmtp:{first} (.*)$", sdp, re.MULTILINE)
    return Answer(
        ufrag=ufrag[1],
        pwd=pwd[1],
        remote=(host, int(port)),
        fingerprints=tuple(RTCDtlsFingerprint(algorithm=a, value=v) for a, v in prints),
        is_client="a=setup:passive" in sdp,
        codec="opus" if is_opus else "PCMU",
        payload_type=int(first),
        narrowband="maxplaybackrate=8000" in (fmtp[1] if fmtp else ""),
    )


class Page:
    """A browser with one call: real ICE and DTLS; its speech is encoded beforehand."""

    def __init__(self, intake: Intake, codec: str = "opus") -> None:
        """`codec`: what it offers first: opus, or PCMU alone."""
        self._intake = intake
        self._codec = codec
        self._loop = asyncio.get_running_loop()
        self._socket = intake.open(HOST, self._receive)
        self._ice = IceClient(self._send_datagram)
        self._old_ice: IceClient | None = None
        self._next_ice: IceClient | None = None
        "While it restarts."
        self._wire = _DtlsWire(self)
        # Duck-typed: of its transport it asks for `role`, `_recv` and `_send` only.
        self._dtls = RTCDtlsTransport(cast(RTCIceTransport, self._wire), [_certificate()])
        self._timer: asyncio.TimerHandle | None = None
        self._srtp: Any = None
        self._buffer = ffi.new("char[]", MAX_PACKET_BYTES)
        self._view = ffi.buffer(self._buffer)
        self._length = ffi.new("int *")
        self.heard = Heard()
        self.said: Said | None = None
        self.clip: Clip | None = None

    def offer(self) -> str:
        """An SDP offer such as Chromium makes, its one candidate within."""
        return self._describe(self._ice)

    def _describe(self, ice: IceClient) -> str:
        digest = self._dtls.getLocalParameters().fingerprints[0]
        host, port = self._socket.getsockname()
        lines = (
            "v=0",
            f"o=- {secrets.randbits(62)} 2 IN IP4 127.0.0.1",
            "s=-",
            "t=0 0",
            "a=group:BUNDLE 0",
            "a=extmap-allow-mixed",
            "a=msid-semantic: WMS bench",
            f"m=audio 9 UDP/TLS/RTP/SAVPF {' '.join(FORMATS[self._codec])}",
            "c=IN IP4 0.0.0.0",
            "a=rtcp:9 IN IP4 0.0.0.0",
            f"a=candidate:1 1 udp {2**31 - 1} {host} {port} typ host generation 0",
            f"a=ice-ufrag:{ice.ufrag}",
            f"a=ice-pwd:{ice.pwd}",
            "a=ice-options:trickle",
            f"a=fingerprint:{digest.algorithm} {digest.value}",
            "a=setup:actpass",
            "a=mid:0",
            "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
            "a=sendrecv",
            "a=msid:bench bench",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            *(line for each in FORMATS[self._codec] for line in FORMAT_LINES[each]),
        )
        return "\r\n".join(lines) + "\r\n"

    async def connect(self, sdp: str) -> None:
        """Bring the path up as the answer says: ICE, then DTLS, then the keys of SRTP.

        Raises:
            ConnectError: it did not come up in 15 s.
        """
        answer = parse_answer(sdp)
        self._ice.start(answer.remote, answer.ufrag, answer.pwd)
        self._dtls._set_role("client" if answer.is_client else "server")
        established = self._loop.create_future()
        self._ice.on_established = lambda: established.set_result(None)
        self._check()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await established
                await self._dtls.start(RTCDtlsParameters(fingerprints=list(answer.fingerprints)))
        except TimeoutError:
            reached = "DTLS" if self._ice.is_established else "ICE"
            raise ConnectError(f"{reached} was not through after {CONNECT_TIMEOUT_S} s") from None
        if self._dtls.state != "connected":
            raise ConnectError(f"DTLS is {self._dtls.state}")
        self._srtp = self._dtls._tx_srtp._srtp[0]
        self.clip = (
            opus_clip(narrowband=answer.narrowband, payload_type=answer.payload_type)
            if answer.codec == "opus"
            else pcmu_clip()
        )
        self.said = Said(self.clip, secrets.randbits(32))

    def restart(self) -> str:
        """An offer with new ICE credentials (RFC 8445 §9); the old serve until its answer."""
        self._next_ice = IceClient(self._send_datagram)
        return self._describe(self._next_ice)

    def move(self) -> None:
        """Be at another address from now on; at the old one nothing is heard any more."""
        self._intake.close(self._socket)
        self._socket = self._intake.open(MOVED_HOST, self._receive)

    async def reconnect(self, sdp: str) -> None:
        """Take the answer to `restart`: DTLS and the keys stay as they are.

        Raises:
            ConnectError: no check got through in 15 s.
        """
        answer, ice = parse_answer(sdp), self._next_ice
        assert ice is not None
        assert self._timer is not None
        established = self._loop.create_future()
        ice.on_established = lambda: established.set_result(None)
        ice.start(answer.remote, answer.ufrag, answer.pwd)
        self._timer.cancel()
        # Checks of either generation are taken from here on: each ignores those of the other.
        self._old_ice, self._ice, self._next_ice = self._ice, ice, None
        self._check()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await established
        except TimeoutError:
            raise ConnectError("the restart did not get through") from None
        self._old_ice = None

    def send(self) -> None:
        """Send the next packet, and RTCP when it is due."""
        said = self.said
        remote = self._ice.remote
        assert said is not None
        assert remote is not None
        packet = said.next_packet()
        length = self._length
        length[0] = len(packet)
        self._view[: len(packet)] = packet
        lib.srtp_protect(self._srtp, self._buffer, length)
        protected = self._view[: length[0]]
        said.sent_ns.append(time.time_ns())
        self._send_datagram(protected, remote)
        report = said.report()
        if report is not None:
            length[0] = len(report)
            self._view[: len(report)] = report
            lib.srtp_protect_rtcp(self._srtp, self._buffer, length)
            self._send_datagram(self._view[: length[0]], remote)

    def unprotect(self, packet: bytes) -> bytes:
        """The RTP packet within an SRTP one; b"" if it is not authentic."""
        try:
            opened: bytes = self._dtls._rx_srtp.unprotect(packet)
        except SrtpError:
            return b""
        return opened

    async def close(self) -> None:
        """Say goodbye and close the socket."""
        if self._timer is not None:
            self._timer.cancel()
        self._ice.on_established = lambda: None
        await self._dtls.stop()
        self._intake.close(self._socket)

    def _receive(self, data: bytes, arrived_ns: int, source: Address) -> None:
        if len(data) < 12:
            return
        first = data[0]
        if first >= 128:
            if not is_rtcp(data):
                self.heard.take(data, arrived_ns)
        elif first < 4:
            self._ice.receive(data, source)
            for other in (self._old_ice, self._next_ice):
                if other is not None:
                    other.receive(data, source)
        elif 20 <= first < 64:
            self._wire.queue.put_nowait(data)

    def _check(self) -> None:
        self._ice.check()
        pause = CONSENT_EVERY_S if self._ice.is_established else CHECK_EVERY_S
        self._timer = self._loop.call_later(pause, self._check)

    def _send_datagram(self, data: bytes, address: Address) -> None:
        # A full buffer or an ICMP error: a network loses packets too.
        try:
            self._socket.sendto(data, address)
        except OSError:
            return

    def send_dtls(self, data: bytes) -> None:
        """Send a flight of the handshake."""
        assert self._ice.remote is not None
        self._send_datagram(data, self._ice.remote)


class _DtlsWire:
    """What RTCDtlsTransport asks of the layer below."""

    role = "controlling"

    def __init__(self, page: Page) -> None:
        self._page = page
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def _recv(self) -> bytes:
        return await self.queue.get()

    async def _send(self, data: bytes) -> None:
        self._page.send_dtls(data)


class PlainPage:
    """The same without WebRTC: plain RTP, to measure what the generator itself can do."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._socket = intake.open(HOST, self._receive)
        self._remote: Address | None = None
        self.heard = Heard()
        self.clip = opus_clip(narrowband=True, payload_type=111)
        self.said = Said(self.clip, secrets.randbits(32))

    @property
    def address(self) -> Address:
        """Where it hears."""
        name: Address = self._socket.getsockname()
        return name

    def connect(self, remote: Address) -> None:
        """Send to `remote` from now on."""
        self._remote = remote

    def send(self) -> None:
        """Send the next packet."""
        assert self._remote is not None
        packet = self.said.next_packet()
        self.said.sent_ns.append(time.time_ns())
        self._socket.sendto(packet, self._remote)

    def unprotect(self, packet: bytes) -> bytes:
        """The packet: it is not protected."""
        return packet

    async def close(self) -> None:
        """Close the socket."""
        self._intake.close(self._socket)

    def _receive(self, data: bytes, arrived_ns: int, _source: Address) -> None:
        if len(data) >= 12 and not is_rtcp(data):
            self.heard.take(data, arrived_ns)


@cache
def _certificate() -> RTCCertificate:
    """One for all pages; each handshake proves it anew."""
    return RTCCertificate.generateCertificate()

"""A telephone of bare sockets: calls a gateway over UDP, speaks PCMU, presses keys, listens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.rtp import RtpPeer, rtp_peer
from tests.support.wire import Datagram, SipSocket

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
)


class Phone:
    """One call of it."""

    def __init__(self, socket: SipSocket, media: RtpPeer, gateway: tuple[str, int]) -> None:
        self.media = media
        self.ended = asyncio.Event()
        "Set when the gateway hangs up."
        self._socket = socket
        self._gateway = gateway
        self._to_tag = ""

    async def call(self, to: str) -> None:
        """Call somebody, until they answer."""
        self._send("INVITE", to, 1, SDP.format(port=self.media.port))
        answer = await self._socket.receive("200")
        self._to_tag = _find(r"^To:.*;tag=([^\r;]+)", answer)
        self._send("ACK", to, 1)
        self._to = to
        self._remote = ("127.0.0.1", int(_find(r"^m=audio (\d+)", answer)))

    def say_tone(self, hz: float) -> None:
        """Say a tone from now on; only who does can press keys."""
        self.media.say_tone(hz, self._remote)

    async def watch(self) -> None:
        """Answer the gateway's BYE."""
        while True:
            datagram = await self._socket.receive_any()
            if datagram.label == "BYE":
                self._socket.respond(datagram, "200 OK")
                self.ended.set()

    def hang_up(self) -> None:
        """Say that it is over; what is answered is not waited for."""
        if self._to_tag and not self.ended.is_set():
            self._send("BYE", self._to, 2)

    def _send(self, method: str, to: str, number: int, sdp: str = "") -> None:
        host, port = self._socket.host, self._socket.port
        tag = f";tag={self._to_tag}" if self._to_tag else ""
        head = [
            f"{method} sip:{to}@127.0.0.1 SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{method}{number}",
            "From: <sip:+15550001@127.0.0.1>;tag=phone",
            f"To: <sip:{to}@127.0.0.1>{tag}",
            f"Call-ID: phone-{port}",
            f"CSeq: {number} {method}",
            f"Contact: <sip:{host}:{port}>",
            "Max-Forwards: 70",
            *(["Content-Type: application/sdp"] if sdp else []),
            f"Content-Length: {len(sdp)}",
        ]
        self._socket.send("\r\n".join(head) + f"\r\n\r\n{sdp}", self._gateway)


@asynccontextmanager
async def calling(port: int, to: str) -> AsyncIterator[Phone]:
    """A phone that has called somebody of the gateway on this port, and was answered."""
    async with rtp_peer() as media:
        with SipSocket() as socket:
            phone = Phone(socket, media, ("127.0.0.1", port))
            await phone.call(to)
            watching = asyncio.ensure_future(phone.watch())
            try:
                yield phone
            finally:
                watching.cancel()
                phone.hang_up()


def _find(pattern: str, datagram: Datagram) -> str:
    found = re.search(pattern, datagram.text, re.MULTILINE)
    assert found is not None, datagram.text
    return found[1]

"""The SIP peers: one user agent server over UDP for all calls, and a phone's RTP for each."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import time

from bench.clip import pcmu_clip
from bench.pacer import Intake
from bench.stream import Heard, Said, is_rtcp

Address = tuple[str, int]

T1_S = 0.5
T2_S = 4.0
"RFC 3261 §17: a 200 is sent again after T1, then at doubled intervals of at most T2."

MAX_RESENDS = 11
"64·T1 after the first 200 an ACK is not awaited any more (§13.3.1.4)."

MAX_DATAGRAMS_PER_TURN = 64
HOST = "127.0.0.1"
MAX_PORT_TRIES = 1000


class Phone:
    """One phone's media: PCMU over RTP, an RTP port and its RTCP port one above."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._rtp, self._rtcp = self._open_pair()
        self._remote: Address | None = None
        self.heard = Heard()
        self.said = Said(pcmu_clip(), secrets.randbits(32))

    @property
    def address(self) -> Address:
        """Where it hears RTP."""
        name: Address = self._rtp.getsockname()
        return name

    def connect(self, remote: Address) -> None:
        """Send to `remote` from now on."""
        self._remote = remote

    def send(self) -> None:
        """Send the next packet, and RTCP when it is due."""
        remote = self._remote
        assert remote is not None
        packet = self.said.next_packet()
        self.said.sent_ns.append(time.time_ns())
        self._rtp.sendto(packet, remote)
        report = self.said.report()
        if report is not None:
            self._rtcp.sendto(report, (remote[0], remote[1] + 1))

    def close(self) -> None:
        """Close its sockets."""
        self._intake.close(self._rtp)
        self._intake.close(self._rtcp)

    def _receive(self, data: bytes, arrived_ns: int, _source: Address) -> None:
        if len(data) >= 12 and not is_rtcp(data):
            self.heard.take(data, arrived_ns)

    def _open_pair(self) -> tuple[socket.socket, socket.socket]:
        for _ in range(MAX_PORT_TRIES):
            rtp = self._intake.open(HOST, self._receive)
            port = rtp.getsockname()[1]
            if port % 2 == 0:
                try:
                    return rtp, self._intake.open(HOST, _ignore, port=port + 1)
                except OSError:
                    pass
            self._intake.close(rtp)
        raise OSError("no free pair of ports for RTP and RTCP")


class Carrier:
    """A user agent server that answers every INVITE at once (RFC 3261 §13.3, §15.1.2, §17.2)."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((HOST, 0))
        self._phones: dict[str, Phone] = {}
        "By the number dialled."
        self._answers: dict[str, _Answered] = {}
        "By Call-ID, until the BYE."
        self._loop.add_reader(self._socket, self._on_readable)

    @property
    def port(self) -> int:
        """The UDP port on which it takes INVITEs."""
        port: int = self._socket.getsockname()[1]
        return port

    def phone(self, number: str) -> Phone | None:
        """The phone that answered a call to `number`."""
        return self._phones.get(number)

    def forget(self, number: str) -> None:
        """Close that phone."""
        phone = self._phones.pop(number, None)
        if phone is not None:
            phone.close()

    def close(self) -> None:
        """Close everything."""
        for number in list(self._phones):
            self.forget(number)
        for answered in self._answers.values():
            answered.stop()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _on_readable(self) -> None:
        for _ in range(MAX_DATAGRAMS_PER_TURN):
            try:
                data, source = self._socket.recvfrom(65535)
            except OSError:
                return
            if len(data) > 4:  # less is a keep-alive (RFC 5626 §3.5.1)
                self._on_request(SipRequest(data.decode("utf-8", "replace")), source)

    def _on_request(self, request: SipRequest, source: Address) -> None:
        match request.method:
            case "INVITE":
                self._on_invite(request, source)
            case "ACK":
                answered = self._answers.get(request.header("Call-ID"))
                if answered is not None:
                    answered.stop()
            case "BYE":
                answered = self._answers.pop(request.header("Call-ID"), None)
                if answered is not None:
                    answered.stop()
                self._send(request.response(200, "OK"), source)
            case "OPTIONS" | "CANCEL":
                self._send(request.response(200, "OK"), source)
            case _ if request.method:
                self._send(request.response(501, "Not Implemented"), source)

    def _on_invite(self, request: SipRequest, source: Address) -> None:
        call_id = request.header("Call-ID")
        answered = self._answers.get(call_id)
        if answered is not None:
            self._send(answered.response, source)
            return
        remote = rtp_address(request.body)
        if remote is None:
            self._send(request.response(488, "Not Acceptable Here"), source)
            return
        phone = Phone(self._intake)
        phone.connect(remote)
        self._phones[request.user] = phone
        body = phone_sdp(phone.address, request.body)
        response = request.response(200, "OK", body=body, contact=f"<sip:bench@{HOST}:{self.port}>")
        self._answers[call_id] = _Answered(self, response, source)

    def _send(self, data: bytes, address: Address) -> None:
        # Full or refused: the other side sends its request again.
        try:
            self._socket.sendto(data, address)
        except OSError:
            return


class _Answered:
    """A 200 to an INVITE, sent until the ACK comes."""

    def __init__(self, carrier: Carrier, response: bytes, address: Address) -> None:
        self.response = response
        self._carrier = carrier
        self._address = address
        self._pause_s = T1_S
        self._left = MAX_RESENDS
        self._timer: asyncio.TimerHandle | None = None
        self._send()

    def stop(self) -> None:
        """The ACK or a BYE came."""
        if self._timer is not None:
            self._timer.cancel()
        self._left = 0

    def _send(self) -> None:
        self._carrier._send(self.response, self._address)
        if self._left:
            self._left -= 1
            self._timer = self._carrier._loop.call_later(self._pause_s, self._send)
            self._pause_s = min(2 * self._pause_s, T2_S)


class SipRequest:
    """As much of a SIP request as a peer on loopback must read."""

    def __init__(self, text: str) -> None:
        head, _, self.body = text.partition("\r\n\r\n")
        lines = re.sub(r"\r\n[ \t]+", " ", head).split("\r\n")
        method, _, rest = lines[0].partition(" ")
        self.method = "" if method.startswith("SIP/") else method
        self._fields = [
            (name.strip(), value.strip())
            for name, _, value in (line.partition(":") for line in lines[1:])
        ]
        user = re.match(r"(?:sips?|tel):([^@;>\s]+)", rest)
        self.user = user[1] if user else ""
        "The user part of the Request-URI."

    def header(self, name: str) -> str:
        """The first field of this name, "" without one."""
        return next(iter(self.headers(name)), "")

    def headers(self, name: str) -> list[str]:
        """All fields of this name, by its long or its compact form."""
        names = {name.lower(), COMPACT.get(name.lower(), "")}
        return [value for field, value in self._fields if field.lower() in names]

    def response(self, status: int, reason: str, *, body: str = "", contact: str = "") -> bytes:
        """A response (RFC 3261 §8.2.6.2). Our tag is made of the Call-ID, so it stays the same."""
        to = self.header("To")
        if ";tag=" not in to:
            to += f";tag=bench{sum(self.header('Call-ID').encode())}"
        lines = [f"SIP/2.0 {status} {reason}"]
        lines += [f"Via: {via}" for via in self.headers("Via")]
        lines += [f"Record-Route: {route}" for route in self.headers("Record-Route")]
        lines += [f"From: {self.header('From')}", f"To: {to}"]
        lines += [f"Call-ID: {self.header('Call-ID')}", f"CSeq: {self.header('CSeq')}"]
        if contact:
            lines.append(f"Contact: {contact}")
        if body:
            lines.append("Content-Type: application/sdp")
        lines.append(f"Content-Length: {len(body.encode())}")
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


COMPACT = {"via": "v", "from": "f", "to": "t", "call-id": "i", "contact": "m"}
"RFC 3261 §7.3.3."


def rtp_address(sdp: str) -> Address | None:
    """Where an SDP offer of PCMU wants its RTP; None when it offers no PCMU."""
    media = re.search(r"^m=audio (\d+) RTP/AVP (.*)$", sdp, re.MULTILINE)
    if media is None or "0" not in media[2].split():
        return None
    hosts = re.findall(r"^c=IN IP4 ([\d.]+)", sdp, re.MULTILINE)
    return (hosts[-1], int(media[1])) if hosts else None


def phone_sdp(address: Address, offer: str) -> str:
    """A phone's answer: PCMU, and telephone-event as offered."""
    events = re.search(r"^a=rtpmap:(\d+) telephone-event/8000", offer, re.MULTILINE)
    formats = f"0 {events[1]}" if events else "0"
    lines = [
        "v=0",
        f"o=- {address[1]} 1 IN IP4 {address[0]}",
        "s=-",
        f"c=IN IP4 {address[0]}",
        "t=0 0",
        f"m=audio {address[1]} RTP/AVP {formats}",
        "a=rtpmap:0 PCMU/8000",
    ]
    if events:
        lines += [f"a=rtpmap:{events[1]} telephone-event/8000", f"a=fmtp:{events[1]} 0-16"]
    lines += ["a=ptime:20", "a=sendrecv"]
    return "\r\n".join(lines) + "\r\n"


def _ignore(_data: bytes, _arrived_ns: int, _source: Address) -> None:
    """RTCP from the system under test: taken, so that no ICMP error goes back."""

"""Phones that call the system under test: one user agent client over UDP for all of them."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket

from bench.clip import pcmu_clip
from bench.pacer import Intake
from bench.peers import Address, Phone, SipRequest, phone_sdp, rtp_address
from bench.signalling import CallFailedError

HOST = "127.0.0.1"
T1_S = 0.5
MAX_TRIES = 7
"RFC 3261 §17.1.1.2: an INVITE is sent so often, at doubled intervals."

MAX_DATAGRAMS_PER_TURN = 64

EVENTS = "a=rtpmap:101 telephone-event/8000"
"Phones and carriers offer it; of one that does not, keys would be looked for in its sound."


class CallingPhone:
    """A phone with what a page of the bench has."""

    def __init__(self, intake: Intake) -> None:
        self.phone = Phone(intake)
        self.heard = self.phone.heard
        self.said = self.phone.said
        self.clip = pcmu_clip()
        self.send = self.phone.send

    def unprotect(self, packet: bytes) -> bytes:
        """The packet: it is not protected."""
        return packet

    async def close(self) -> None:
        """Close its sockets."""
        self.phone.close()


class SipCaller:
    """Sends INVITE, ACK and BYE; answers a BYE. One socket, and so one port, for all calls."""

    def __init__(self, port: int) -> None:
        """`port` is where the system under test takes SIP."""
        self._to = (HOST, port)
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((HOST, 0))
        self.calls: dict[str, SipCall] = {}
        "By Call-ID."
        self._loop.add_reader(self._socket, self._on_readable)

    @property
    def address(self) -> Address:
        """Where it is."""
        name: Address = self._socket.getsockname()
        return name

    async def call(self, number: str, phone: Phone) -> SipCall:
        """Call a number, until it answers.

        Raises:
            CallFailedError: it does not.
        """
        call = SipCall(self, number, phone)
        self.calls[call.id] = call
        try:
            await call.place()
        except BaseException:
            self.calls.pop(call.id, None)
            raise
        return call

    def send(self, data: bytes) -> None:
        """Send a message; what cannot be sent is lost, as in a network."""
        try:
            self._socket.sendto(data, self._to)
        except OSError:
            return

    def close(self) -> None:
        """Close the socket."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _on_readable(self) -> None:
        for _ in range(MAX_DATAGRAMS_PER_TURN):
            try:
                data, _ = self._socket.recvfrom(65535)
            except OSError:
                return
            text = data.decode("utf-8", "replace")
            message = SipRequest(text)
            call = self.calls.get(message.header("Call-ID"))
            if message.method == "BYE":
                self.send(message.response(200, "OK"))
                if call is not None:
                    call.end_reason = "the gateway hung up"
            elif call is not None and text.startswith("SIP/2.0 "):
                call.receive(int(text[8:11]), message)


class SipCall:
    """One call of a phone."""

    def __init__(self, caller: SipCaller, number: str, phone: Phone) -> None:
        self.id = secrets.token_hex(8)
        self.end_reason: str | None = None
        "Why the system ended it, once it has."
        self._caller = caller
        self._number = number
        self._phone = phone
        self._to_tag = ""
        self._target = f"sip:{number}@{HOST}"
        self._is_heard = asyncio.Event()
        self._answered: asyncio.Future[SipRequest] = asyncio.get_running_loop().create_future()

    async def place(self) -> None:
        """INVITE, until there is an answer; then ACK.

        Raises:
            CallFailedError: it is refused, or nobody answers.
        """
        pause_s = T1_S
        sdp = phone_sdp(self._phone.address, EVENTS)
        for _ in range(MAX_TRIES):
            self._caller.send(self._message("INVITE", 1, sdp))
            try:
                async with asyncio.timeout(pause_s):
                    await self._is_heard.wait()
                break
            except TimeoutError:
                pause_s *= 2
        try:
            async with asyncio.timeout(15):
                answer = await self._answered
        except TimeoutError:
            raise CallFailedError(f"nobody answered {self._number}") from None
        remote = rtp_address(answer.body)
        if remote is None:
            raise CallFailedError("the answer has no PCMU")
        contact = re.search(r"<([^>]+)>", answer.header("Contact"))
        self._target = contact[1] if contact else self._target
        self._phone.connect(remote)
        self._caller.send(self._message("ACK", 1))

    def receive(self, status: int, response: SipRequest) -> None:
        """A response of the system."""
        self._is_heard.set()
        if "INVITE" not in response.header("CSeq") or status < 200:
            return
        tag = re.search(r";tag=([^;\s]+)", response.header("To"))
        self._to_tag = tag[1] if tag else ""
        if self._answered.done():
            self._caller.send(self._message("ACK", 1))  # its 200 came again: ours was lost
        elif status < 300:
            self._answered.set_result(response)
        else:
            self._caller.send(self._message("ACK", 1))
            self._answered.set_exception(CallFailedError(f"refused with {status}"))

    async def close(self) -> None:
        """Hang up; what is answered is not waited for."""
        if self._to_tag and self.end_reason is None:
            self._caller.send(self._message("BYE", 2))
        self._caller.calls.pop(self.id, None)

    def _message(self, method: str, number: int, sdp: str = "") -> bytes:
        host, port = self._caller.address
        tag = f";tag={self._to_tag}" if self._to_tag else ""
        lines = [
            f"{method} {self._target} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{self.id}{method}",
            f"From: <sip:bench@{host}>;tag={self.id}",
            f"To: <sip:{self._number}@{HOST}>{tag}",
            f"Call-ID: {self.id}",
            f"CSeq: {number} {method}",
            f"Contact: <sip:bench@{host}:{port}>",
            "Max-Forwards: 70",
            *(["Content-Type: application/sdp"] if sdp else []),
            f"Content-Length: {len(sdp)}",
        ]
        return ("\r\n".join(lines) + f"\r\n\r\n{sdp}").encode()

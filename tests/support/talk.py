"""A call between our endpoint and a scripted peer, who called or was called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import count

from gateway.sip.endpoint import EndpointOptions
from gateway.sip.event import EndCause, Ended, Gone
from gateway.sip.flow import Flow
from gateway.sip.header import parse_address
from gateway.sip.invite import InviteRequest
from gateway.sip.invite_client import InviteClient
from gateway.sip.invite_server import InviteServer
from gateway.sip.message import Request, Response
from gateway.sip.uri import parse_uri
from tests.support.sip import ANSWER, OFFER, Peer, Station, Wire

ALLOW = ("Allow", "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, REFER, NOTIFY, INFO")
TAG = "peer"


class Talk:
    """Our session and what the peer of it says; the peer answers nothing by itself."""

    def __init__(self, options: EndpointOptions | None = None) -> None:
        self.wire = Wire()
        self.us = Station(self.wire, ("192.0.2.1", 5060), options)
        self.peer = Peer(self.wire, ("192.0.2.9", 5060))
        self.session: InviteClient | InviteServer
        self._branches = count()
        self._cseq = 100

    @property
    def now(self) -> float:
        return self.wire.now

    def run(self, seconds: float = 0.1) -> None:
        self.wire.run(seconds)

    # ---- we call

    def call(self, offer: bytes | None = OFFER, **changes: object) -> InviteClient:
        """Send our INVITE and let it arrive."""
        request = InviteRequest(
            target=parse_uri("sip:bob@192.0.2.9"),
            from_=parse_address("<sip:alice@example.com>"),
            to=parse_address("<sip:bob@example.com>"),
            flow=Flow("udp", self.us.address, self.peer.address),
            offer=offer,
        )
        request = replace(request, **changes)  # type: ignore[arg-type]
        session = self.us.endpoint.invite(request, self.now)
        self.session = session
        self.run()
        return session

    def say(
        self,
        status: int,
        *headers: tuple[str, str],
        to: str = "INVITE",
        body: bytes = b"",
        tag: str = TAG,
        seconds: float = 0.1,
    ) -> Response:
        """Answer the last request of a method of ours."""
        request = self.peer.request(to)
        allow = [] if any(name == "Allow" for name, _ in headers) else [ALLOW]
        response = self.peer.respond(
            self.us, request, status, tag, body=body, headers=[*allow, *headers]
        )
        self.run(seconds)
        return response

    # ---- the peer calls

    def ring(self, *headers: str, offer: bytes = OFFER, seconds: float = 0.1) -> InviteServer:
        """Send the peer's INVITE."""
        self.send("INVITE", *headers, cseq=1, body=offer, is_first=True, seconds=seconds)
        self.session = self.us.called
        return self.us.called

    def send(
        self,
        method: str,
        *headers: str,
        cseq: int | None = None,
        body: bytes = b"",
        branch: str | None = None,
        tag: str = TAG,
        contact: str = "sip:peer@192.0.2.9",
        is_first: bool = False,
        seconds: float = 0.1,
    ) -> bytes:
        """Send a request of the peer, within the dialog as a rule."""
        if cseq is None:
            self._cseq += 1
            cseq = self._cseq
        branch = branch or f"z9hG4bK{method}{next(self._branches)}"
        call_id = "call" if is_first else self.session.call_id
        own_type = any(each.lower().startswith("content-type") for each in headers)
        lines = [
            f"{method} sip:192.0.2.1 SIP/2.0",
            f"Via: SIP/2.0/UDP 192.0.2.9;branch={branch};rport",
            f"From: <sip:peer@example.com>;tag={tag}",
            "To: <sip:us@example.com>" + ("" if is_first else f";tag={self.session.id}"),
            f"Call-ID: {call_id}",
            f"CSeq: {cseq} {method}",
            f"Contact: <{contact}>",
            f"{ALLOW[0]}: {ALLOW[1]}",
            "Max-Forwards: 70",
            *headers,
            *(["Content-Type: application/sdp"] if body and not own_type else []),
            f"Content-Length: {len(body)}",
        ]
        data = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        self.peer.send(self.us, data)
        self.run(seconds)
        return data

    def ack(self, cseq: int, body: bytes = b"") -> None:
        """Acknowledge a 2xx of ours."""
        self.send("ACK", cseq=cseq, body=body)

    # ---- either

    @classmethod
    def up(cls, *headers: str, we_call: bool, options: EndpointOptions | None = None) -> Talk:
        """A call that is answered and acknowledged; headers of the peer's INVITE or 200."""
        talk = cls(options)
        if we_call:
            talk.call()
            pairs = [each.split(": ", 1) for each in headers]
            talk.say(200, *((name, value) for name, value in pairs), body=ANSWER)
        else:
            talk.ring(*headers).answer(ANSWER, talk.now)
            talk.run()
            talk.ack(1)
        return talk

    @property
    def cause(self) -> EndCause:
        return self.us.one(Ended).cause

    def methods(self) -> list[str]:
        """The requests that came to the peer, in order."""
        return [message.method for message in self.peer.inbox if isinstance(message, Request)]

    def headers_of(self, what: str, names: Iterable[str]) -> tuple[str | None, ...]:
        """Of the last message of a kind that came."""
        headers = self.peer.got(what)[-1].headers
        return tuple(headers.get(name) for name in names)

    def hang_up(self) -> None:
        """End it from our side, and see that nothing is left after 35 s."""
        self.session.bye(self.now)
        self.run()
        if self.peer.got("BYE"):
            self.say(200, to="BYE")
        self.settle()

    def settle(self) -> None:
        """Let everything run out: nothing may be left."""
        self.run(70)
        assert self.us.endpoint.is_idle
        assert len(self.us.all(Ended)) == len(self.us.all(Gone)) == 1
        assert isinstance(self.us.events[-1][1], Gone)

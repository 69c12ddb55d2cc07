"""A gateway's gate and registrar, and phones that talk to them; time goes on by hand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from itertools import count

from gateway.private import Secret
from gateway.sip.auth import answer_challenge, choose_challenge, parse_challenges
from gateway.sip.challenge import Challenger
from gateway.sip.flow import Flow
from gateway.sip.header import Address, parse_address
from gateway.sip.message import Request, parse_message
from gateway.users.domain import Domains
from gateway.users.gate import Gate
from gateway.users.registrar import Registrar, Reply
from gateway.users.user import User

DOMAIN = "voice.example.com"
LOCAL = ("192.0.2.1", 5060)
PASSWORDS = {"ann": "ann's long secret", "bob": "bob's long secret"}
ANN = User("ann", Secret(PASSWORDS["ann"]))
BOB = User("bob", Secret(PASSWORDS["bob"]))

_numbers = count(1)


def flow(
    host: str = "203.0.113.7", port: int = 5060, transport: str = "udp", connection: int = 0
) -> Flow:
    """A way from a phone to us."""
    return Flow(transport, LOCAL, (host, port), connection)


def connection(number: int = 1, transport: str = "wss", host: str = "203.0.113.7") -> Flow:
    """A connection of a phone's."""
    return flow(host, 40_000 + number, transport, number)


@dataclass
class Phone:
    """Somebody who asks, and answers challenges; each request has a new CSeq."""

    name: str = "ann"
    flow: Flow = field(default_factory=flow)
    password: str = ""
    contact: str | None = None
    call_id: str = ""
    cseq: int = 0
    vias: int = 1

    def __post_init__(self) -> None:
        self.password = self.password or PASSWORDS.get(self.name, "guess")
        self.call_id = self.call_id or f"call-{next(_numbers)}"
        if self.contact is None:
            host, port = self.flow.remote
            self.contact = f"<sip:{self.name}@{host}:{port}>"

    def request(
        self,
        method: str,
        *headers: str,
        uri: str = f"sip:{DOMAIN}",
        to: str | None = None,
        from_: str | None = None,
    ) -> Request:
        """A request, read from bytes as one from the wire."""
        self.cseq += 1
        via = f"Via: SIP/2.0/{self.flow.transport.upper()} 10.0.0.9:5060;rport;branch=z9hG4bK"
        lines = [
            f"{method} {uri} SIP/2.0",
            *(f"{via}{next(_numbers)}" for _ in range(self.vias)),
            f"From: <{from_ or f'sip:{self.name}@{DOMAIN}'}>;tag=f",
            f"To: <{to or f'sip:{self.name}@{DOMAIN}'}>",
            f"Call-ID: {self.call_id}",
            f"CSeq: {self.cseq} {method}",
            "Max-Forwards: 70",
            *headers,
        ]
        message = parse_message("\r\n".join(lines).encode() + b"\r\n\r\n")
        assert isinstance(message, Request)
        return message

    def register(self, *headers: str, to: str | None = None) -> Request:
        """A REGISTER of the phone's contact, unless other Contact headers are given."""
        named = any(header.startswith("Contact") for header in headers)
        contact = () if named or not self.contact else (f"Contact: {self.contact}",)
        return self.request("REGISTER", *contact, *headers, to=to)

    def invite(
        self, *headers: str, uri: str = f"sip:+15550100@{DOMAIN}", from_: str | None = None
    ) -> Request:
        """An INVITE."""
        return self.request("INVITE", *headers, uri=uri, to=uri, from_=from_)

    def again(self, request: Request, reply: Reply, *, nc: int = 1) -> Request:
        """The request once more, with the answer to the challenge of a 401."""
        self.cseq += 1
        values = [value for name, value in reply.headers if name == "WWW-Authenticate"]
        challenge = choose_challenge(parse_challenges(values))
        assert challenge is not None
        copy = Request(request.method, request.uri, request.headers.copy(), request.body)
        copy.headers.set("CSeq", f"{self.cseq} {request.method}")
        parameters = request.via.parameters.replace("branch", f"z9hG4bK{next(_numbers)}")
        copy.headers.rewrite_first("Via", str(replace(request.via, parameters=parameters)))
        answer = answer_challenge(
            challenge,
            self.name,
            Secret(self.password),
            method=request.method,
            uri=request.uri,
            cnonce="c",
            nc=nc,
        )
        copy.headers.set("Authorization", answer)
        return copy


class Site:
    """Our side: what comes is judged by the gate, and REGISTERs then go to the registrar."""

    def __init__(
        self,
        *users: User,
        trunks: tuple[str, ...] = (),
        allowed: tuple[str, ...] = (),
        trusted: tuple[str, ...] = (),
        algorithms: tuple[str, ...] = ("SHA-256",),
    ) -> None:
        self.now = 1000.0
        self.users = users or (ANN, BOB)
        domains = Domains([DOMAIN])
        self.challenger = Challenger(b"key", "voice", algorithms)
        self.registrar = Registrar(self.users, domains)
        sources = {**dict.fromkeys(trunks, "trunk:carrier"), **dict.fromkeys(allowed, "sip")}
        self.gate = Gate(
            self.users,
            domains,
            self.challenger,
            self.registrar,
            source_of=lambda flow: sources.get(flow.remote[0]),
            trusted=[ip_network(text) for text in trusted],
        )

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while (at := self.registrar.next_timer()) is not None and at <= end:
            self.now = at
            self.registrar.handle_timer(at)
        self.now = end

    def take(self, request: Request, flow: Flow) -> Reply:
        """What a request is answered with; 0 is silence, 100 says that a call goes on."""
        refusal = self.gate.admit(request, flow, self.now)
        if refusal is not None:
            return Reply(refusal.status, refusal.headers)
        if request.method != "REGISTER":
            return Reply(100)
        identity = self.gate.identity_of(request, flow)
        assert identity is not None
        return self.registrar.receive(request, flow, identity.removeprefix("user:"), self.now)

    def ask(self, phone: Phone, request: Request) -> Reply:
        """The same, the phone answering the challenge that it meets."""
        reply = self.take(request, phone.flow)
        if reply.status != 401:
            return reply
        return self.take(phone.again(request, reply), phone.flow)

    def register(self, phone: Phone, *headers: str) -> Reply:
        """A phone registers."""
        return self.ask(phone, phone.register(*headers))


def contacts(reply: Reply) -> list[Address]:
    """The bindings that a 200 lists."""
    return [parse_address(value) for name, value in reply.headers if name == "Contact"]


def header(reply: Reply, name: str) -> str | None:
    """The first header of a name in a reply."""
    return next((value for key, value in reply.headers if key == name), None)

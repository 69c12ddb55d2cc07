"""Two SIP endpoints and a bad wire between them, in virtual time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import TypeVar

from gateway.private import Secret
from gateway.sip.authenticator import Credentials
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.event import Event, Incoming, SessionEvent
from gateway.sip.flow import Connect, Destination, Flow, Hop, Output, Resolve, Send
from gateway.sip.header import parse_address
from gateway.sip.invite import InviteRequest
from gateway.sip.invite_client import InviteClient
from gateway.sip.invite_server import InviteServer
from gateway.sip.message import (
    Message,
    MessageError,
    Request,
    Response,
    build_response,
    parse_message,
)
from gateway.sip.request import OutgoingRequest
from gateway.sip.uri import parse_uri

OFFER = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=offer\r\n"
ANSWER = b"v=0\r\no=- 2 2 IN IP4 192.0.2.2\r\ns=answer\r\n"
LATENCY_S = 0.01
"One way."

Address = tuple[str, int]
E = TypeVar("E", bound=Event)


def label(data: bytes) -> str:
    """What a datagram is: `INVITE`, or `200 INVITE` for a response to one."""
    message = parse_message(data)
    if isinstance(message, Request):
        return message.method
    return f"{message.status} {message.cseq.method}"


def matches(what: str | None, data: bytes) -> bool:
    """Whether a datagram is meant: `INVITE`, `200` to anything, `200 BYE`; None is every one."""
    if what is None:
        return True
    name = label(data)
    return name == what or name.startswith(what + " ")


@dataclass(frozen=True)
class Sent:
    """One datagram given to the wire, whatever became of it."""

    at: float
    source: Address
    target: Address
    data: bytes

    @property
    def message(self) -> Message:
        return parse_message(self.data)


@dataclass
class Fault:
    """What the wire does to the next datagrams of a kind."""

    what: str | None
    remaining: int
    copies: int
    delay_s: float = 0.0


class Wire:
    """Carries datagrams between what is attached to it; time goes on in `run` only."""

    def __init__(self) -> None:
        self.now = 100.0
        self.log: list[Sent] = []
        self.random: random.Random | None = None
        self.loss = self.duplication = self.jitter_s = 0.0
        self._parties: dict[Address, Station | Peer] = {}
        self._flying: list[tuple[float, int, Address, Address, bytes]] = []
        self._numbers = count()
        self._faults: list[Fault] = []

    def attach(self, party: Station | Peer) -> None:
        self._parties[party.address] = party

    def drop_next(self, number: int = 1, what: str | None = None) -> None:
        self._faults.append(Fault(what, number, copies=0))

    def duplicate_next(self, number: int = 1, what: str | None = None) -> None:
        self._faults.append(Fault(what, number, copies=2))

    def delay_next(self, seconds: float, what: str | None = None, number: int = 1) -> None:
        """Let what is sent later arrive earlier."""
        self._faults.append(Fault(what, number, copies=1, delay_s=seconds))

    def impair(self, seed: int, *, loss: float, duplication: float, jitter_s: float) -> None:
        """Be bad at random from now on: probabilities, and added delay of up to `jitter_s`."""
        self.random = random.Random(seed)
        self.loss, self.duplication, self.jitter_s = loss, duplication, jitter_s

    def transmit(self, source: Address, target: Address, data: bytes) -> None:
        self.log.append(Sent(self.now, source, target, data))
        fault = next((f for f in self._faults if f.remaining and matches(f.what, data)), None)
        copies, delay = 1, 0.0
        if fault is not None:
            fault.remaining -= 1
            copies, delay = fault.copies, fault.delay_s
        elif self.random is not None:
            copies = (self.random.random() >= self.loss) + (self.random.random() < self.duplication)
        for _ in range(copies):
            jitter = self.random.uniform(0, self.jitter_s) if self.random else 0.0
            at = self.now + LATENCY_S + delay + jitter
            heappush(self._flying, (at, next(self._numbers), source, target, data))

    def sent(self, what: str | None = None, by: Station | Peer | None = None) -> list[Sent]:
        """The datagrams of a kind that were sent, lost ones included."""
        return [
            each
            for each in self.log
            if matches(what, each.data) and by in (None, self._parties.get(each.source))
        ]

    def times(self, what: str, by: Station | Peer | None = None) -> list[float]:
        """When they were sent, seconds since the first of them."""
        at = [each.at for each in self.sent(what, by)]
        return [round(each - at[0], 3) for each in at]

    def flush(self) -> None:
        """Let every party put out what it has: after each command."""
        for party in self._parties.values():
            party.flush()

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        self.flush()
        while (at := self._next()) is not None and at <= end:
            self.now = max(self.now, at)
            self._step()
            self.flush()
        self.now = end

    def _next(self) -> float | None:
        times = [self._flying[0][0]] if self._flying else []
        times += [at for p in self._parties.values() if (at := p.next_timer()) is not None]
        return min(times, default=None)

    def _step(self) -> None:
        if self._flying and self._flying[0][0] <= self.now:
            _, _, source, target, data = heappop(self._flying)
            if (party := self._parties.get(target)) is not None:
                party.receive(data, source, self.now)
            return
        for party in self._parties.values():
            party.handle_timer(self.now)


def tokens(prefix: str) -> Iterator[str]:
    """Distinct tokens, the same in every run."""
    return (f"{prefix}{number:016x}" for number in count())


@dataclass
class Ways:
    """What a station's driver finds out: names, connections, and where nobody listens."""

    names: dict[str, list[Hop]] = field(default_factory=dict)
    "The hops of a host, where it is no address."
    refusing: set[tuple[str, str]] = field(default_factory=set)
    "Transport and host that refuse a connection."
    silent: set[tuple[str, str]] = field(default_factory=set)
    "Transport and host whose connection never comes about."
    dead: set[Address] = field(default_factory=set)
    "From where datagrams are bounced at once (ICMP)."
    asked: list[Output] = field(default_factory=list)
    "Every output, in order."
    connections: Iterator[int] = field(default_factory=lambda: count(1))

    def hops_to(self, destination: Destination) -> list[Hop]:
        """As the DNS would say."""
        if destination.host in self.names:
            return self.names[destination.host]
        transport = destination.transport or ("tls" if destination.secure else "udp")
        is_address = destination.host.replace(".", "").isdigit() or ":" in destination.host
        port = destination.port or (5061 if transport == "tls" else 5060)
        return [Hop(transport, destination.host, port)] if is_address else []


class Station:
    """An Endpoint on the wire, with the events it reported."""

    def __init__(
        self,
        wire: Wire,
        address: Address,
        options: EndpointOptions | None = None,
        transport: str = "udp",
    ) -> None:
        self.wire = wire
        self.address = address
        self.transport = transport
        self.ways = Ways()
        self.flows: dict[Address, Flow] = {}
        "Connections that we opened, by the peer's address."
        names = tokens(f"t{address[0].rpartition('.')[2]}x")
        self.endpoint = Endpoint(options or EndpointOptions(), new_token=lambda: next(names))
        self.events: list[tuple[float, Event]] = []
        wire.attach(self)

    def flow_to(self, address: Address) -> Flow:
        return self.flows.get(address) or Flow(self.transport, self.address, address)

    def receive(self, data: bytes, source: Address, now: float) -> None:
        self.endpoint.receive(data, self.flow_to(source), now)

    def handle_timer(self, now: float) -> None:
        self.endpoint.handle_timer(now)

    def next_timer(self) -> float | None:
        return self.endpoint.next_timer()

    def flush(self) -> None:
        while outputs := self.endpoint.take_output():
            for output in outputs:
                self.carry(output)
        self.events += [(self.wire.now, event) for event in self.endpoint.take_events()]

    def carry(self, output: Output) -> None:
        """What a driver does with an output."""
        now = self.wire.now
        match output:
            case Send(data, flow) if flow.remote in self.ways.dead:
                self.endpoint.flow_failed(flow, now)
            case Send(data, flow):
                self.wire.transmit(flow.local, flow.remote, data)
            case Resolve(destination):
                self.endpoint.resolved(destination, self.ways.hops_to(destination), now)
            case Connect(hop) if (hop.transport, hop.host) in self.ways.refusing:
                self.endpoint.hop_failed(hop, now)
            case Connect(hop) if (hop.transport, hop.host) not in self.ways.silent:
                self.endpoint.flow_opened(hop, self.open_flow(hop), now)
        self.ways.asked.append(output)

    def open_flow(self, hop: Hop) -> Flow:
        """A flow to a hop; the one that is open, if there is one."""
        address = (hop.host, hop.port)
        if hop.transport == "udp":
            return Flow("udp", self.address, address)
        if address not in self.flows:
            number = next(self.ways.connections)
            self.flows[address] = Flow(hop.transport, self.address, address, number)
        return self.flows[address]

    def close_flow(self, address: Address) -> None:
        """The connection to an address is gone."""
        self.endpoint.flow_failed(self.flows.pop(address), self.wire.now)

    def send(self, request: OutgoingRequest) -> str:
        """Send a request outside of dialogs."""
        return self.endpoint.request(request, self.wire.now)

    def invite(
        self,
        address: Address | Destination,
        *,
        offer: bytes | None = OFFER,
        password: str | None = None,
        realm: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> InviteClient:
        """Call whoever is at an address, or where a destination leads to."""
        where = address.host if isinstance(address, Destination) else f"{address[0]}:{address[1]}"
        request = InviteRequest(
            target=parse_uri(f"sip:bob@{where}"),
            from_=parse_address("<sip:alice@example.com>"),
            to=parse_address("<sip:bob@example.com>"),
            flow=None if isinstance(address, Destination) else self.flow_to(address),
            destination=address if isinstance(address, Destination) else None,
            offer=offer,
            credentials=Credentials("alice", Secret(password), realm) if password else None,
            headers=tuple(headers),
        )
        return self.endpoint.invite(request, self.wire.now)

    def all(self, kind: type[E]) -> list[E]:
        """The events of a kind, in order."""
        return [event for _, event in self.events if isinstance(event, kind)]

    def all_of_sessions(self) -> list[SessionEvent]:
        """The events of sessions, in order."""
        return [event for _, event in self.events if isinstance(event, SessionEvent)]

    def one(self, kind: type[E]) -> E:
        """The only event of a kind."""
        (event,) = self.all(kind)
        return event

    def at(self, kind: type[Event]) -> float:
        """When the only event of a kind was reported."""
        (at,) = [at for at, event in self.events if isinstance(event, kind)]
        return at

    @property
    def called(self) -> InviteServer:
        """The session of the only INVITE that came."""
        return self.one(Incoming).session


class Peer:
    """A scripted party: keeps what it gets, and says what the test says."""

    def __init__(self, wire: Wire, address: Address) -> None:
        self.wire = wire
        self.address = address
        self.inbox: list[Message] = []
        self.datagrams: list[bytes] = []
        "Everything that came; answers to malformed requests echo what no parser takes."
        wire.attach(self)

    def receive(self, data: bytes, source: Address, now: float) -> None:
        self.datagrams.append(data)
        with suppress(MessageError):
            self.inbox.append(parse_message(data))

    def handle_timer(self, now: float) -> None:
        """A script has no timers."""

    def next_timer(self) -> float | None:
        return None

    def flush(self) -> None:
        """A script sends at once."""

    def got(self, what: str) -> list[Message]:
        """What came of a kind, as in `Wire.sent`."""
        return [message for message in self.inbox if matches(what, bytes(message))]

    def request(self, method: str) -> Request:
        """The last request of a method that came."""
        message = self.got(method)[-1]
        assert isinstance(message, Request)
        return message

    def response(self, what: str) -> Response:
        """The last response of a kind that came."""
        message = self.got(what)[-1]
        assert isinstance(message, Response)
        return message

    def send(self, target: Station, message: Message | bytes | str) -> None:
        data = message.encode() if isinstance(message, str) else bytes(message)
        self.wire.transmit(self.address, target.address, data)

    def respond(
        self,
        target: Station,
        request: Request,
        status: int,
        tag: str | None = None,
        *,
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
    ) -> Response:
        """Answer a request that came; with a tag, from a Contact of that name."""
        contact = [("Contact", f"<sip:{tag}@{self.address[0]}:{self.address[1]}>")] if tag else []
        response = build_response(
            request, status, to_tag=tag, headers=[*contact, *headers], body=body
        )
        self.send(target, response)
        return response


@dataclass
class Line:
    """A caller and a callee, each an Endpoint."""

    wire: Wire = field(default_factory=Wire)
    options: EndpointOptions = field(default_factory=EndpointOptions)
    transport: str = "udp"

    def __post_init__(self) -> None:
        self.caller = Station(self.wire, ("192.0.2.1", 5060), self.options, self.transport)
        self.callee = Station(self.wire, ("192.0.2.2", 5060), self.options, self.transport)

    def run(self, seconds: float) -> None:
        self.wire.run(seconds)

    def dial(self, offer: bytes | None = OFFER) -> InviteClient:
        """Call, and let the INVITE arrive if nothing hinders it."""
        session = self.caller.invite(self.callee.address, offer=offer)
        self.run(2 * LATENCY_S)
        return session

    def connect(self) -> tuple[InviteClient, InviteServer]:
        """A call that is up, acknowledged."""
        session = self.dial()
        self.callee.called.answer(ANSWER, self.wire.now)
        self.run(5 * LATENCY_S)
        return session, self.callee.called

    @property
    def is_idle(self) -> bool:
        return self.caller.endpoint.is_idle and self.callee.endpoint.is_idle

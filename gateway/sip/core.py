"""What the sessions of one endpoint share: its transactions, dialogs, clock and way out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address
from typing import TYPE_CHECKING

from gateway.sip.dialog import Dialog, DialogId
from gateway.sip.event import Event
from gateway.sip.flow import Connect, Destination, Flow, Hop, Output, Resolve, Send
from gateway.sip.header import Address, Via
from gateway.sip.inspection import Refusal
from gateway.sip.message import Request, Response
from gateway.sip.session_timer import DEFAULT_SESSION_TIMER, SessionTimerOptions
from gateway.sip.timers import Timers
from gateway.sip.transaction import (
    ClientTransaction,
    Failure,
    Input,
    Owner,
    ServerTransaction,
    Transaction,
    TransactionKey,
)
from gateway.sip.uri import NO_PARAMETERS, Parameters, Uri

if TYPE_CHECKING:
    from gateway.sip.hunt import Hunt
    from gateway.sip.request import RequestClient, RequestServer
    from gateway.sip.session import Session

_COOKIE = "z9hg4bk"
_read_ip = lru_cache(1024)(ip_address)
"Few addresses are written often: our own, and those of peers."


MAX_CLOSED = 4096
"Connections remembered as closed, more than are open at a time; of others the driver says so."
MAX_DATAGRAM_ONLY = 1024
"Hops remembered to take no TCP."
DATAGRAM_ONLY_S = 300.0
"How long a hop that took no TCP for a large request is not asked again: that costs up to 4 s."


def contact_of(flow: Flow) -> Uri:
    """Our Contact where nothing else is configured: the address the flow leaves from."""
    host, port = flow.local
    transport = flow.transport
    parameters = NO_PARAMETERS if transport == "udp" else Parameters((("transport", transport),))
    return Uri("sip", None, host=host, port=port, parameters=parameters)


def is_sips(uri: str, routes: Sequence[Address]) -> bool:
    """Whether our Contact has to be a SIPS URI (RFC 3261 §8.1.1.8, §12.1.1).

    Args:
        uri: the Request-URI, of which no more is asked than its scheme.
        routes: Route of a request of ours, Record-Route of one of the peer's.
    """
    return uri[:5].lower() == "sips:" or any(route.uri.scheme == "sips" for route in routes[:1])


def may_follow(host: str, flow: Flow) -> bool:
    """Whether a peer may send us to an address: by a Contact, a Record-Route, or a name in them.

    An address that the peer's own cannot lead to is left alone: one of another family, a private
    one behind a public peer, our own loopback named by somebody else.
    """
    try:
        address, peer = _read_ip(host), _read_ip(flow.remote[0])
    except ValueError:
        return False
    return not (
        address.version != peer.version
        or address.is_unspecified
        or address.is_multicast
        or (address.is_loopback and not peer.is_loopback)
        or (address.is_private and peer.is_global)
    )


def follow_address(uri: Uri, flow: Flow, may: Callable[[str, Flow], bool] = may_follow) -> Flow:
    """The flow to a next hop that is named by its address; any other stays on the flow it has."""
    if flow.is_reliable or uri.parameters.get("transport") not in (None, flow.transport):
        return flow
    if (uri.host, uri.port or 5060) == flow.remote:
        return flow
    try:
        address = str(_read_ip(uri.host))
    except ValueError:
        return flow
    return replace(flow, remote=(address, uri.port or 5060)) if may(address, flow) else flow


def no_successor(uri: Uri, flow: Flow) -> Flow | None:
    """Nobody is known to come back."""
    return None


def admit_all(request: Request, flow: Flow) -> Refusal | None:
    """Let everybody in: the driver has looked at the source."""
    return None


def available() -> Refusal:
    """Say that we take calls."""
    return Refusal(200)


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """How the endpoint presents itself, whom it lets in, and its limits."""

    user_agent: str = "voice-gateway"
    "User-Agent and Server header; empty sends neither."
    contact: Callable[[Flow], Uri] = contact_of
    "Our Contact on a flow; its host and port are those of our Via too."
    may_follow: Callable[[str, Flow], bool] = may_follow
    "Whether requests within a dialog may go to an address that the peer of the flow has named."
    successor: Callable[[Uri, Flow], Flow | None] = no_successor
    "By which flow a peer has come back whose connection closed; the URI is its Contact."
    admit: Callable[[Request, Flow], Refusal | None] = admit_all
    """Asked for each request that belongs to nothing yet, before anything is kept of it.

    None lets it in. A Refusal is sent as it is; of status 0 it is silence."""
    availability: Callable[[], Refusal] = available
    "The answer to OPTIONS: 200, or 503 with Retry-After while no calls are taken."
    methods: frozenset[str] = frozenset()
    "Of requests outside of dialogs that are reported as `IncomingRequest`: REGISTER, MESSAGE."
    extensions: frozenset[str] = frozenset()
    "Option tags that requests of these methods may require: path, outbound."
    max_sessions: int = 1000
    "Sessions not yet ended; above it a new INVITE gets 503 with Retry-After."
    max_transactions: int = 20_000
    "Transactions kept, those of ended sessions for 32 s too; above it the same."
    retry_after_s: int = 5
    reliable: bool = False
    "Send provisional responses reliably to who supports it, not only to who requires it."
    session_timer: SessionTimerOptions | None = DEFAULT_SESSION_TIMER
    "Session timer of calls that come; None leaves it to the caller whether there is one."


ServerKey = TransactionKey


def server_key(request: Request, method: str | None = None) -> ServerKey:
    """What a request has in common with its retransmissions, and an ACK with its INVITE.

    By RFC 3261 §17.2.3 the branch and sent-by; without the cookie, or with nothing after it
    (RFC 4475 §3.1.2.19), everything RFC 2543 has. The To tag is left out: the CSeq already tells
    requests within a dialog apart.
    """
    via = request.via
    branch = via.branch or ""
    if method is None:
        method = "INVITE" if request.method == "ACK" else request.method
    if branch[:7].lower() == _COOKIE and len(branch) > 7:
        return (branch, via.host, via.port, method)
    return (
        request.uri,
        request.from_.tag,
        request.call_id,
        request.cseq.number,
        via.host,
        via.port,
        branch,
        method,
    )


def merge_key(request: Request) -> ServerKey:
    """What the same request has in common with itself on another path (§8.2.2.2)."""
    return (request.call_id, request.from_.tag, request.cseq.number)


@dataclass(slots=True)
class Core:
    """The tables of an endpoint, and what fills and empties them. Transactions' Outlet."""

    options: EndpointOptions
    new_token: Callable[[], str]
    timers: Timers = field(default_factory=Timers)
    clients: dict[TransactionKey, ClientTransaction] = field(default_factory=dict)
    "By branch and method (§17.1.3)."
    servers: dict[ServerKey, ServerTransaction] = field(default_factory=dict)
    invites: set[ServerKey] = field(default_factory=set)
    "Merge keys of the INVITE transactions among `servers`."
    dialogs: dict[DialogId, tuple[Session, Dialog]] = field(default_factory=dict)
    sessions: set[Session] = field(default_factory=set)
    "Not yet ended."
    requests: dict[str, RequestClient] = field(default_factory=dict)
    "Of ours, outside of dialogs, not yet answered."
    incoming: dict[str, RequestServer] = field(default_factory=dict)
    "Of peers, outside of dialogs, not yet answered."
    output: list[Output] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    waiting: dict[Destination | Hop, dict[Hunt, None]] = field(default_factory=dict)
    "Requests that cannot be sent yet, by what the driver is finding out for them."
    waiters: int = 0
    "How many these are."
    undelivered: int = 0
    "Messages for connections that are closed."
    _closed: dict[Flow, None] = field(default_factory=dict)
    _datagram_only: dict[Hop, float] = field(default_factory=dict)
    "Hops that took no TCP, and until when that is believed."

    @property
    def has_room(self) -> bool:
        """Whether the limits admit another session."""
        return len(self.sessions) < self.options.max_sessions and not self.is_full

    @property
    def is_full(self) -> bool:
        """Whether there are as many transactions as the limits admit."""
        kept = len(self.clients) + len(self.servers) + self.waiters
        return kept >= self.options.max_transactions

    @property
    def client_header(self) -> tuple[tuple[str, str], ...]:
        """User-Agent, in requests."""
        agent = self.options.user_agent
        return (("User-Agent", agent),) if agent else ()

    @property
    def server_header(self) -> tuple[tuple[str, str], ...]:
        """Server, in responses."""
        agent = self.options.user_agent
        return (("Server", agent),) if agent else ()

    def draw(self) -> float:
        """By chance, 0 <= x < 1: as good as the tokens are."""
        digest = blake2b(self.new_token().encode(), digest_size=8).digest()
        return (int.from_bytes(digest) >> 11) / 2**53

    def contact_header(
        self,
        flow: Flow,
        user: str | None = None,
        parameters: Parameters = NO_PARAMETERS,
        *,
        is_sips: bool = False,
    ) -> tuple[str, str]:
        """Contact, in what forms or refreshes a dialog; with a user other than the configured.

        Args:
            is_sips: whether it has to be a SIPS URI; it is none where nobody would reach us by it.
        """
        uri = self.options.contact(flow)
        if user is not None:
            uri = replace(uri, user=user)
        if is_sips and flow.transport == "tls":
            # RFC 5630 §3.1: transport=tls is for sip: URIs.
            uri = replace(uri, scheme="sips", parameters=uri.parameters.without("transport"))
        return ("Contact", str(Address("", uri, parameters)))

    def send(self, data: bytes, flow: Flow) -> None:
        """Put bytes on a flow; what was for a closed connection is lost, and counted."""
        if self.is_closed(flow):
            self.undelivered += 1
        else:
            self.output.append(Send(data, flow))

    def is_closed(self, flow: Flow) -> bool:
        """Whether it is a connection that is gone; of datagrams nobody can tell."""
        return flow in self._closed if self._closed else False

    def note_closed(self, flow: Flow) -> None:
        """A connection is gone."""
        self._closed[flow] = None
        if len(self._closed) > MAX_CLOSED:
            del self._closed[next(iter(self._closed))]

    def note_open(self, flow: Flow) -> None:
        """A flow was opened."""
        self._closed.pop(flow, None)

    def follow(self, uri: Uri, flow: Flow) -> Flow:
        """The flow to a next hop: that which there was, or by which the peer has come back."""
        successor = self.options.successor(uri, flow) if self.is_closed(flow) else None
        return flow if successor is None else successor

    def may_take_streams(self, hop: Hop, now: float) -> bool:
        """Whether TCP to a UDP hop is worth a try."""
        return self._datagram_only.get(hop, 0.0) <= now

    def note_no_streams(self, hop: Hop, now: float) -> None:
        """A UDP hop did not take TCP."""
        self._datagram_only.pop(hop, None)
        self._datagram_only[hop] = now + DATAGRAM_ONLY_S
        if len(self._datagram_only) > MAX_DATAGRAM_ONLY:
            del self._datagram_only[next(iter(self._datagram_only))]

    def resolve(self, destination: Destination, hunt: Hunt) -> None:
        """Have the hops of a destination found, once for all that want to know."""
        if self._wait(destination, hunt):
            self.output.append(Resolve(destination))

    def connect(self, hop: Hop, hunt: Hunt) -> None:
        """Have a flow to a hop opened, once for all that want it."""
        if self._wait(hop, hunt):
            self.output.append(Connect(hop))

    def take_waiting(self, asked: Destination | Hop) -> tuple[Hunt, ...]:
        """Those that an answer is for; they wait no longer."""
        hunts = tuple(self.waiting.pop(asked, ()))
        self.waiters -= len(hunts)
        return hunts

    def forget_hunt(self, hunt: Hunt, asked: Destination | Hop | None) -> None:
        """Let a hunt wait no longer."""
        hunts = self.waiting.get(asked) if asked is not None else None
        if asked is None or hunts is None or hunt not in hunts:
            return
        del hunts[hunt]
        self.waiters -= 1
        if not hunts:
            del self.waiting[asked]

    def _wait(self, asked: Destination | Hop, hunt: Hunt) -> bool:
        """Note who waits; whether it is the first that does."""
        hunts = self.waiting.setdefault(asked, {})
        hunts[hunt] = None
        self.waiters += 1
        return len(hunts) == 1

    def forget(self, transaction: Transaction) -> None:
        """Take a terminated transaction out of its table."""
        if isinstance(transaction, ClientTransaction):
            del self.clients[transaction.key]
        elif isinstance(transaction, ServerTransaction):
            del self.servers[transaction.key]
            self.invites.discard(transaction.merge_key)

    def request(
        self,
        request: Request,
        flow: Flow,
        owner: Owner,
        now: float,
        *,
        on_response: Callable[[Response, float], None],
        on_failure: Callable[[Failure, float], None],
    ) -> ClientTransaction:
        """Send a request of ours in a transaction of its own."""
        key = (request.via.branch or "", request.method)
        transaction = ClientTransaction(
            request, flow, self, owner, key, on_response=on_response, on_failure=on_failure
        )
        self.clients[key] = transaction
        transaction.feed(Input.START, now)
        return transaction

    def serve(
        self,
        request: Request,
        flow: Flow,
        owner: Owner,
        now: float,
        *,
        on_ack: Callable[[Request, float], None] | None = None,
    ) -> ServerTransaction:
        """Begin the transaction of a request that was received."""
        key = server_key(request)
        merge = merge_key(request) if request.method == "INVITE" else ()
        transaction = ServerTransaction(
            request, flow, self, owner, key, merge_key=merge, on_ack=on_ack
        )
        self.servers[key] = transaction
        if merge:
            self.invites.add(merge)
        transaction.feed(Input.START, now)
        return transaction

    def match_response(self, response: Response) -> ClientTransaction | None:
        """The transaction of a response (§17.1.3)."""
        return self.clients.get((response.via.branch or "", response.cseq.method))

    def match_request(self, request: Request) -> ServerTransaction | None:
        """The transaction of a retransmission or an ACK (§17.2.3)."""
        return self.servers.get(server_key(request))

    def match_cancelled(self, cancel: Request) -> ServerTransaction | None:
        """The transaction that a CANCEL means (§9.2)."""
        return self.servers.get(server_key(cancel, "INVITE"))

    def new_via(self, flow: Flow) -> Via:
        """The Via of a new transaction, asking for symmetric responses (RFC 3581)."""
        contact = self.options.contact(flow)
        parameters = Parameters((("branch", f"z9hG4bK{self.new_token()}"), ("rport", None)))
        return Via(flow.transport.upper(), contact.host, contact.port, parameters)

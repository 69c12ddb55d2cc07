"""What the sessions of one endpoint share: its transactions, dialogs, clock and way out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from gateway.sip.dialog import Dialog, DialogId
from gateway.sip.event import Event
from gateway.sip.flow import Flow, Send
from gateway.sip.header import Via
from gateway.sip.message import Request, Response
from gateway.sip.timers import Timers
from gateway.sip.transaction import (
    ClientTransaction,
    Failure,
    Input,
    ServerTransaction,
    Transaction,
)
from gateway.sip.uri import Parameters, Uri

if TYPE_CHECKING:
    from gateway.sip.invite import Session

_COOKIE = "z9hg4bk"


def contact_of(flow: Flow) -> Uri:
    """Our Contact where nothing else is configured: the address the flow leaves from."""
    host, port = flow.local
    return Uri("sip", None, host=host, port=port)


def follow_address(uri: Uri, flow: Flow) -> Flow:
    """The flow to a next hop that is named by its address; any other stays on the flow it has.

    An address that the peer's cannot lead to stays out of it too: one of another family, a
    private one behind a public peer, our own loopback named by somebody else.
    """
    if flow.is_reliable or uri.parameters.get("transport") not in (None, flow.transport):
        return flow
    try:
        address, peer = ip_address(uri.host), ip_address(flow.remote[0])
    except ValueError:
        return flow
    if (
        address.version != peer.version
        or address.is_unspecified
        or address.is_multicast
        or (address.is_loopback and not peer.is_loopback)
        or (address.is_private and peer.is_global)
    ):
        return flow
    return replace(flow, remote=(str(address), uri.port or 5060))


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """How the endpoint presents itself, and its limits."""

    user_agent: str = "voice-gateway"
    "User-Agent and Server header; empty sends neither."
    contact: Callable[[Flow], Uri] = contact_of
    "Our Contact on a flow; its host and port are those of our Via too."
    next_hop: Callable[[Uri, Flow], Flow] = follow_address
    "Where a request within a dialog goes, by its next URI and the flow its INVITE took."
    max_sessions: int = 1000
    "Sessions not yet ended; above it a new INVITE gets 503 with Retry-After."
    max_transactions: int = 20_000
    "Transactions kept, those of ended sessions for 32 s too; above it the same."
    retry_after_s: int = 5


ServerKey = tuple[str | int | None, ...]


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
    clients: dict[tuple[str, str], ClientTransaction] = field(default_factory=dict)
    "By branch and method (§17.1.3)."
    servers: dict[ServerKey, ServerTransaction] = field(default_factory=dict)
    invites: set[ServerKey] = field(default_factory=set)
    "Merge keys of the INVITE transactions among `servers`."
    dialogs: dict[DialogId, tuple[Session, Dialog]] = field(default_factory=dict)
    sessions: set[Session] = field(default_factory=set)
    "Not yet ended."
    output: list[Send] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def has_room(self) -> bool:
        """Whether the limits admit another session."""
        return len(self.sessions) < self.options.max_sessions and not self.is_full

    @property
    def is_full(self) -> bool:
        """Whether there are as many transactions as the limits admit."""
        return len(self.clients) + len(self.servers) >= self.options.max_transactions

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

    def contact_header(self, flow: Flow) -> tuple[str, str]:
        """Contact, in what forms or refreshes a dialog."""
        return ("Contact", f"<{self.options.contact(flow)}>")

    def send(self, data: bytes, flow: Flow) -> None:
        """Put bytes on a flow."""
        self.output.append(Send(data, flow))

    def forget(self, transaction: Transaction) -> None:
        """Take a terminated transaction out of its table."""
        request = transaction.request
        if isinstance(transaction, ClientTransaction):
            del self.clients[request.via.branch or "", request.method]
            return
        del self.servers[server_key(request)]
        if request.method == "INVITE":
            self.invites.discard(merge_key(request))

    def request(
        self,
        request: Request,
        flow: Flow,
        owner: Session,
        now: float,
        *,
        on_response: Callable[[Response, float], None],
        on_failure: Callable[[Failure, float], None],
    ) -> ClientTransaction:
        """Send a request of ours in a transaction of its own."""
        transaction = ClientTransaction(
            request, flow, self, owner, on_response=on_response, on_failure=on_failure
        )
        self.clients[request.via.branch or "", request.method] = transaction
        transaction.feed(Input.START, now)
        return transaction

    def serve(
        self,
        request: Request,
        flow: Flow,
        owner: Session,
        now: float,
        *,
        on_ack: Callable[[Request, float], None] | None = None,
    ) -> ServerTransaction:
        """Begin the transaction of a request that was received."""
        transaction = ServerTransaction(request, flow, self, owner, on_ack=on_ack)
        self.servers[server_key(request)] = transaction
        if request.method == "INVITE":
            self.invites.add(merge_key(request))
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

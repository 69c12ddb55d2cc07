"""The SIP user agent core: one machine that a driver feeds with messages and time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b

from gateway.errors import CapacityError, RemoteProtocolError
from gateway.sip.authenticator import Credentials
from gateway.sip.core import Core, EndpointOptions, merge_key
from gateway.sip.dialog import DialogId
from gateway.sip.event import Event, Incoming
from gateway.sip.flow import Connect, Destination, Flow, Hop, Output, Resolve, Send
from gateway.sip.inspection import ACCEPT, SUPPORTED, Refusal, allow_header, inspect_request
from gateway.sip.invite import InviteRequest
from gateway.sip.invite_client import InviteClient
from gateway.sip.invite_server import InviteServer
from gateway.sip.message import (
    MessageError,
    Request,
    Response,
    build_response,
    mark_source,
    parse_message,
)
from gateway.sip.replaces import find_replaced, read_replaces
from gateway.sip.request import OutgoingRequest, RequestClient, RequestId, RequestServer
from gateway.sip.session_timer import inspect_interval
from gateway.sip.transaction import Input, ServerTransaction

__all__ = [
    "Connect",
    "Credentials",
    "Endpoint",
    "EndpointOptions",
    "Flow",
    "InviteRequest",
    "OutgoingRequest",
    "Output",
    "Resolve",
    "Send",
]


class Endpoint:
    """A Machine: messages and time in; messages, questions, events and the next timer out.

    It never blocks and never resolves a name. Of its outputs `Send` wants no answer but
    `flow_failed` where that is due; `Resolve` is answered by `resolved`, `Connect` by
    `flow_opened` or `hop_failed`, at once or later.

    What it refuses it answers without keeping anything (RFC 3261 §8.2.7): a flood of strays
    costs one answer each, and retransmissions get the same answer by calculation.
    """

    def __init__(self, options: EndpointOptions, *, new_token: Callable[[], str]) -> None:
        """`new_token` gives unguessable token characters of at least 64 bits: tags, branches."""
        self._core = Core(options, new_token)
        self._key = new_token().encode()[:64]
        self.malformed = 0
        "Datagrams that were no SIP message."
        self.strays = 0
        "Messages that belonged to nothing: late responses and ACKs."

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Take one message from an admitted source. Never raises for what is in it."""
        if not data.strip(b"\r\n\0"):
            return  # a keep-alive
        try:
            message = parse_message(data)
        except MessageError as error:
            self.malformed += 1
            if error.request is not None:
                self._answer_stray(error.request, Refusal(error.status), flow)
            return
        if isinstance(message, Response):
            self._receive_response(message, now)
        else:
            mark_source(message, *flow.remote)
            self._receive_request(message, flow, now)

    def invite(self, request: InviteRequest, now: float) -> InviteClient:
        """Place a call.

        Raises:
            CapacityError: a limit of the options is reached.
            ValueError: a header of the request is structural or holds control characters.
        """
        if not self._core.has_room:
            raise CapacityError("as many SIP sessions as the limits allow")
        session = InviteClient(self._core, request)
        self._core.sessions.add(session)
        session.start(now)
        return session

    def request(self, request: OutgoingRequest, now: float) -> RequestId:
        """Send a request outside of dialogs; what becomes of it is `Responded`, once.

        Raises:
            CapacityError: there are as many transactions as the limits allow.
            ValueError: a header of the request is structural or holds control characters.
        """
        if self._core.is_full:
            raise CapacityError("as many SIP transactions as the limits allow")
        client = RequestClient(self._core, request)
        client.start(now)
        return client.id

    def respond(
        self,
        request_id: RequestId,
        status: int,
        now: float,
        *,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        content_type: str = "text/plain",
        body: bytes = b"",
    ) -> None:
        """Answer an `IncomingRequest`. One that is answered, or came 32 s ago, is no matter.

        Raises:
            ValueError: the reason or a header holds control characters.
        """
        server = self._core.incoming.get(request_id)
        if server is not None:
            server.respond(status, now, reason, tuple(headers), content_type, body)

    def resolved(self, destination: Destination, hops: Sequence[Hop], now: float) -> None:
        """Answer `Resolve`: the hops in the order in which to try them; none: it is unknown."""
        for hunt in self._core.take_waiting(destination):
            hunt.resolved(hops, now)

    def flow_opened(self, hop: Hop, flow: Flow, now: float) -> None:
        """Answer `Connect`: this flow leads to the hop."""
        self._core.note_open(flow)
        for hunt in self._core.take_waiting(hop):
            hunt.opened(flow, now)

    def hop_failed(self, hop: Hop, now: float) -> None:
        """Answer `Connect`: there is no way to the hop, or it is not who it should be."""
        for hunt in self._core.take_waiting(hop):
            hunt.refused(now)

    def flow_failed(self, flow: Flow, now: float) -> None:
        """Nothing can be sent on the flow: requests waiting there fail at once.

        A write failed, a datagram was bounced (ICMP), or the connection closed, which then is
        never used again.
        """
        if flow.is_reliable:
            self._core.note_closed(flow)
        for transaction in list(self._core.clients.values()):
            if transaction.flow == flow:
                transaction.feed(Input.TRANSPORT_ERROR, now)

    def handle_timer(self, now: float) -> None:
        """Fire what is due."""
        self._core.timers.fire_due(now)

    def next_timer(self) -> float | None:
        """When to call `handle_timer`; None: nothing waits."""
        return self._core.timers.next()

    def take_output(self) -> Sequence[Output]:
        """What to send, resolve and connect to, in order; each is handed out once."""
        output, self._core.output = self._core.output, []
        return output

    def take_events(self) -> Sequence[Event]:
        """What happened, in order; each is handed out once."""
        events, self._core.events = self._core.events, []
        return events

    def is_used(self, flow: Flow) -> bool:
        """Whether a session goes on whose INVITE took the flow."""
        return any(session.flow == flow for session in self._core.sessions)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is kept of any session: the tables are empty and no timer runs."""
        core = self._core
        tables = (
            core.clients,
            core.servers,
            core.invites,
            core.dialogs,
            core.sessions,
            core.waiting,
            core.requests,
            core.incoming,
        )
        return not any(tables) and not len(core.timers)

    @property
    def undelivered(self) -> int:
        """Messages that were for connections already closed, responses above all (§18.2.2)."""
        return self._core.undelivered

    def _receive_response(self, response: Response, now: float) -> None:
        transaction = self._core.match_response(response)
        if transaction is None:
            self.strays += 1  # never answered, never forwarded (RFC 6026 §8.9)
        else:
            transaction.receive(response, now)

    def _receive_request(self, request: Request, flow: Flow, now: float) -> None:
        transaction = self._core.match_request(request)
        if transaction is not None:
            transaction.receive(request, now)
        elif request.method == "ACK":
            self._receive_ack(request, now)
        elif request.method == "CANCEL":
            self._receive_cancel(request, flow, now)
        elif request.to.tag is not None:
            self._receive_within(request, flow, now)
        else:
            self._receive_initial(request, flow, now)

    def _receive_ack(self, request: Request, now: float) -> None:
        entry = self._core.dialogs.get(_dialog_id(request))
        if entry is None:
            self.strays += 1
        else:
            entry[0].receive_ack(request, entry[1], now)

    def _receive_cancel(self, request: Request, flow: Flow, now: float) -> None:
        transaction = self._core.match_cancelled(request)
        if (
            transaction is None
            or transaction.owner is None
            or not _is_of_sender(request, flow, transaction)
        ):
            self._answer_stray(request, Refusal(481), flow)
        else:
            transaction.owner.receive_cancel(request, flow, now)

    def _receive_within(self, request: Request, flow: Flow, now: float) -> None:
        """Take a request of a dialog (§12.2.2)."""
        entry = self._core.dialogs.get(_dialog_id(request))
        if entry is None:
            self._answer_stray(request, Refusal(481), flow)
            return
        session, dialog = entry
        if request.method != "BYE" and self._core.is_full:
            self._answer(request, self._overload, flow)
            return
        if flow.is_reliable and dialog.flow.is_reliable:
            dialog.flow = flow  # the peer has connected anew
        session.receive(request, dialog, flow, now)

    def _receive_initial(self, request: Request, flow: Flow, now: float) -> None:
        """Take a request that belongs to nothing yet (§8.2)."""
        options = self._core.options
        refusal = self._admit(request, flow) or inspect_request(
            request, is_initial=True, methods=options.methods, extensions=options.extensions
        )
        if refusal is not None:
            self._answer(request, refusal, flow)
        elif request.method == "INVITE":
            self._receive_invite(request, flow, now)
        elif request.method == "OPTIONS":
            self._answer(request, self._availability(), flow)
        elif request.method not in options.methods:
            self._answer(request, Refusal(481), flow)  # BYE or INFO without a dialog
        elif self._core.is_full:
            self._answer(request, self._overload, flow)
        else:
            RequestServer(self._core, request, flow).start(now)

    def _receive_invite(self, request: Request, flow: Flow, now: float) -> None:
        if merge_key(request) in self._core.invites:
            self._answer(request, Refusal(482), flow)  # it came before, on another path
        elif not self._core.has_room:
            self._answer(request, self._overload, flow)
        else:
            self._begin(request, flow, now)

    def _begin(self, request: Request, flow: Flow, now: float) -> None:
        """Take a call, and look for the one it may want to replace (RFC 3891 §3)."""
        try:
            replaces = read_replaces(request)
        except RemoteProtocolError:
            self._answer(request, Refusal(400), flow)
            return
        replaced = None if replaces is None else find_replaced(self._core, replaces)
        refusal = inspect_interval(request, self._core.options.session_timer)
        if isinstance(replaced, Refusal) or refusal is not None:
            refused = replaced if isinstance(replaced, Refusal) else refusal
            assert refused is not None
            self._answer(request, refused, flow)
            return
        session = InviteServer(self._core, request, flow)
        self._core.sessions.add(session)
        self._core.events.append(Incoming(session, request, replaces, replaced))
        session.start(now)

    def _admit(self, request: Request, flow: Flow) -> Refusal | None:
        try:
            return self._core.options.admit(request, flow)
        except RemoteProtocolError:
            return Refusal(400)

    def _availability(self) -> Refusal:
        """The answer to OPTIONS (§11.2)."""
        status, headers = self._core.options.availability()
        if status == 200:
            headers = (allow_header(self._core.options.methods), ACCEPT, SUPPORTED, *headers)
        return Refusal(status, headers)

    @property
    def _overload(self) -> Refusal:
        return Refusal(503, (("Retry-After", str(self._core.options.retry_after_s)),))

    def _answer_stray(self, request: Request, refusal: Refusal, flow: Flow) -> None:
        """Refuse what is no request to act on; to whom we say nothing, nothing is said here."""
        admitted = self._admit(request, flow)
        if admitted is None or admitted.status:
            self._answer(request, refusal, flow)

    def _answer(self, request: Request, refusal: Refusal, flow: Flow) -> None:
        """Send a final response and keep nothing; its To tag is the same each time (§8.2.7).

        Status 0 is silence.
        """
        if request.method == "ACK" or not refusal.status:
            return
        named = "\n".join(
            request.headers.get(name) or "" for name in ("Call-ID", "From", "CSeq", "Via")
        )
        tag = blake2b(named.encode("utf-8", "surrogateescape"), digest_size=8, key=self._key)
        response = build_response(
            request,
            refusal.status,
            to_tag=tag.hexdigest(),
            headers=(*self._core.server_header, *refusal.headers),
        )
        self._core.send(bytes(response), flow)


def _is_of_sender(cancel: Request, flow: Flow, transaction: ServerTransaction) -> bool:
    """Whether a CANCEL is of who sent the INVITE: a branch may be guessed (§9.1, A18)."""
    is_same = merge_key(cancel) == transaction.merge_key
    return is_same and flow.remote[0] == transaction.flow.remote[0]


def _dialog_id(request: Request) -> DialogId:
    return DialogId(request.call_id, request.to.tag or "", request.from_.tag or "")

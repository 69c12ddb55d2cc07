"""The SIP user agent core: one machine that a driver feeds with datagrams and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

from gateway.errors import CapacityError
from gateway.sip.authenticator import Credentials
from gateway.sip.core import Core, EndpointOptions, merge_key
from gateway.sip.dialog import DialogId
from gateway.sip.event import Event, Incoming
from gateway.sip.flow import Flow, Send
from gateway.sip.inspection import ACCEPT, ALLOW, SUPPORTED, Refusal, inspect_request
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
from gateway.sip.transaction import Input

__all__ = ["Credentials", "Endpoint", "EndpointOptions", "Flow", "InviteRequest", "Output", "Send"]

Output = Send


class Endpoint:
    """A Machine: datagrams and time in; datagrams, events and the next timer out.

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
        """Take one datagram from an admitted source. Never raises for what is in it."""
        if not data.strip(b"\r\n\0"):
            return  # a keep-alive
        try:
            message = parse_message(data)
        except MessageError as error:
            self.malformed += 1
            if error.request is not None:
                self._answer(error.request, Refusal(error.status), flow)
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

    def flow_failed(self, flow: Flow, now: float) -> None:
        """The driver could not send on the flow: requests waiting there fail at once."""
        for transaction in list(self._core.clients.values()):
            if transaction.flow == flow:
                transaction.feed(Input.TRANSPORT_ERROR, now)

    def handle_timer(self, now: float) -> None:
        """Fire what is due."""
        self._core.timers.fire_due(now)

    def next_timer(self) -> float | None:
        """When to call `handle_timer`; None: nothing waits."""
        return self._core.timers.next()

    def take_output(self) -> Sequence[Send]:
        """Datagrams to send, in order; each is handed out once."""
        output, self._core.output = self._core.output, []
        return output

    def take_events(self) -> Sequence[Event]:
        """What happened, in order; each is handed out once."""
        events, self._core.events = self._core.events, []
        return events

    @property
    def is_idle(self) -> bool:
        """Whether nothing is kept of any session: the tables are empty and no timer runs."""
        core = self._core
        tables = (core.clients, core.servers, core.invites, core.dialogs, core.sessions)
        return not any(tables) and not len(core.timers)

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
        if transaction is None or transaction.owner is None:
            self._answer(request, Refusal(481), flow)
        else:
            transaction.owner.receive_cancel(request, flow, now)

    def _receive_within(self, request: Request, flow: Flow, now: float) -> None:
        """Take a request of a dialog (§12.2.2)."""
        entry = self._core.dialogs.get(_dialog_id(request))
        if entry is None:
            self._answer(request, Refusal(481), flow)
        elif request.method != "BYE" and self._core.is_full:
            self._answer(request, self._overload, flow)
        else:
            entry[0].receive(request, entry[1], flow, now)

    def _receive_initial(self, request: Request, flow: Flow, now: float) -> None:
        """Take a request that belongs to nothing yet (§8.2)."""
        refusal = inspect_request(request, is_initial=True)
        if refusal is not None:
            self._answer(request, refusal, flow)
        elif request.method == "OPTIONS":
            self._answer(request, Refusal(200, (ALLOW, ACCEPT, SUPPORTED)), flow)
        elif request.method != "INVITE":
            self._answer(request, Refusal(481), flow)  # BYE or INFO without a dialog
        elif merge_key(request) in self._core.invites:
            self._answer(request, Refusal(482), flow)  # it came before, on another path
        elif not self._core.has_room:
            self._answer(request, self._overload, flow)
        else:
            session = InviteServer(self._core, request, flow)
            self._core.sessions.add(session)
            self._core.events.append(Incoming(session, request))
            session.start(now)

    @property
    def _overload(self) -> Refusal:
        return Refusal(503, (("Retry-After", str(self._core.options.retry_after_s)),))

    def _answer(self, request: Request, refusal: Refusal, flow: Flow) -> None:
        """Send a final response and keep nothing; its To tag is the same each time (§8.2.7)."""
        if request.method == "ACK":
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


def _dialog_id(request: Request) -> DialogId:
    return DialogId(request.call_id, request.to.tag or "", request.from_.tag or "")

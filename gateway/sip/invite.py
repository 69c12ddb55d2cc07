"""What both ends of an INVITE session have in common (RFC 3261 §12, §14, §15)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import RemoteProtocolError
from gateway.sip.authenticator import Attempt, Authenticator, Credentials
from gateway.sip.core import Core
from gateway.sip.dialog import Dialog
from gateway.sip.event import EndCause, Ended, Event, Gone, Informed, Signalled
from gateway.sip.flow import Flow
from gateway.sip.header import Address, parse_values
from gateway.sip.inspection import ACCEPT, ALLOW, SUPPORTED, inspect_request
from gateway.sip.message import Message, Request, Response, build_response
from gateway.sip.transaction import Failure, ServerTransaction
from gateway.sip.uri import Uri

DIGIT_TYPES = ("application/dtmf-relay", "application/dtmf")
"Bodies of INFO that are taken: digits, as carriers without RFC 4733 send them."

MAX_FORWARDS = 70
"Hops that a request which begins with us may take (RFC 3261 §8.1.1.6)."


@dataclass(frozen=True, slots=True)
class InviteRequest:
    """The INVITE to send."""

    target: Uri
    "Request-URI."
    from_: Address
    "A tag is set by the session."
    to: Address
    flow: Flow
    "The next hop."
    offer: bytes | None
    "SDP; None for a late offer, made by the peer in its 2xx."
    credentials: Credentials | None = None
    "Answer challenges to the requests of this session; None leaves 401 and 407 final."
    headers: tuple[tuple[str, str], ...] = ()
    "Further headers; structural ones (Via, Route, Contact, …) raise ValueError."
    max_forwards: int = MAX_FORWARDS
    "A B2BUA gives that of the other leg less one (RFC 7332)."


class Session:
    """One INVITE usage of ours: what became of an INVITE, sent or received, up to its end.

    It owns its transactions, and is gone when it has ended and the last of them has.
    """

    def __init__(self, core: Core, flow: Flow, call_id: str, local_tag: str) -> None:
        self.id = local_tag
        "Names the session: our tag, which nobody can guess and no other session has."
        self.call_id = call_id
        self.flow = flow
        "The way its INVITE took."
        self._core = core
        self._authenticator: Authenticator | None = None
        self._transactions = 0
        self._is_ended = False
        self._is_gone = False

    @property
    def is_ended(self) -> bool:
        """Whether the session is over for its user."""
        return self._is_ended

    def bye(self, now: float, reason: str | None = None) -> None:
        """End it, whatever its state; once it has ended nothing happens.

        Args:
            reason: the value of a Reason header (RFC 3326), as 'Q.850;cause=16'.

        Raises:
            ValueError: the reason holds control characters.
        """
        raise NotImplementedError

    # What transactions tell their owner.

    def acquire(self) -> None:
        """A transaction has begun."""
        self._transactions += 1

    def note(self, sent: bool, message: Message, now: float) -> None:
        """A message went out or was taken in."""
        self._core.events.append(Signalled(self, sent, now, message))

    def release(self, now: float) -> None:
        """A transaction has terminated."""
        self._transactions -= 1
        self._leave()

    # What the endpoint hands over.

    def receive(self, request: Request, dialog: Dialog, flow: Flow, now: float) -> None:
        """Take a request within a dialog, other than ACK and CANCEL."""
        transaction = self._core.serve(request, flow, self, now)
        self.note(False, request, now)
        refusal = inspect_request(request, is_initial=False)
        if (self._is_ended or dialog.is_closing) and request.method != "BYE":
            self._respond(transaction, 481, now)
        elif not dialog.accept_cseq(request.cseq.number):
            self._respond(transaction, 500, now)
        elif refusal is not None:
            self._respond(transaction, refusal.status, now, refusal.headers)
        elif request.method == "BYE":
            self._on_bye(transaction, dialog, now)
        elif request.method == "INVITE":
            self._on_reinvite(transaction, dialog, now)
        elif request.method == "INFO":
            self._on_info(transaction, now)
        else:
            self._respond(transaction, 200, now, (ALLOW, ACCEPT, SUPPORTED))

    def receive_ack(self, request: Request, dialog: Dialog, now: float) -> None:
        """Take an ACK within a dialog; one that nothing waits for is ignored."""

    def receive_cancel(self, request: Request, flow: Flow, now: float) -> None:
        """Take a CANCEL of an INVITE of the peer; one that comes too late does nothing (§9.2)."""
        transaction = self._core.serve(request, flow, self, now)
        self.note(False, request, now)
        self._respond(transaction, 200, now)

    def _on_bye(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        raise NotImplementedError

    def _on_reinvite(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        """Refuse to change the session, which stays as it is (§14.2)."""
        self._respond(transaction, 488, now)

    def _on_info(self, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        try:
            kind = request.content_type
        except RemoteProtocolError:
            return self._respond(transaction, 400, now)
        if not request.body:
            return self._respond(transaction, 200, now)
        if kind is None or kind.name not in DIGIT_TYPES:
            return self._respond(transaction, 415, now, (("Accept", ", ".join(DIGIT_TYPES)),))
        self._emit(Informed(self, kind.name, request.body))
        return self._respond(transaction, 200, now)

    def _respond(
        self,
        transaction: ServerTransaction,
        status: int,
        now: float,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Answer a request within the session; a To without a tag gets ours."""
        response = build_response(
            transaction.request,
            status,
            to_tag=self.id,
            headers=(*headers, *self._core.server_header),
        )
        transaction.respond(response, now)

    def _send_bye(
        self, dialog: Dialog, now: float, reason: str | None, attempt: Attempt | None = None
    ) -> None:
        """End a dialog; it is kept until there is a final response (§15.1.1)."""
        dialog.is_closing = True
        flow = self._core.options.next_hop(dialog.next_hop, self.flow)
        request = dialog.build(
            "BYE",
            self._core.new_via(flow),
            headers=(
                *self._core.client_header,
                *((("Reason", reason),) if reason is not None else ()),
            ),
        )
        attempt = attempt or Attempt()
        if self._authenticator is not None:
            self._authenticator.authorize(attempt, request)

        def on_response(response: Response, now: float) -> None:
            self.note(False, response, now)
            if response.status < 200:
                return
            if self._authenticator is not None and self._authenticator.accept(response, attempt):
                self._send_bye(dialog, now, reason, attempt)
            else:
                self._close(dialog)

        def on_failure(failure: Failure, now: float) -> None:
            self._close(dialog)

        self._core.request(request, flow, self, now, on_response=on_response, on_failure=on_failure)

    def _close(self, dialog: Dialog) -> None:
        """Forget a dialog: requests in it get 481 from now on."""
        self._core.dialogs.pop(dialog.id, None)

    def _end(
        self,
        cause: EndCause,
        status: int | None = None,
        *,
        reason: str = "",
        message: Message | None = None,
    ) -> None:
        """Report the end, once."""
        assert not self._is_ended
        self._is_ended = True
        self._core.sessions.discard(self)
        self._emit(
            Ended(
                self,
                cause,
                status,
                reason or (reason_text(message) if message is not None else ""),
                message.retry_after_s if message is not None else None,
                message.headers if message is not None else None,
            )
        )

    def _leave(self) -> None:
        """Be gone when nothing is left to be sent."""
        if self._is_ended and not self._is_gone and not self._transactions and not self._owes():
            self._is_gone = True
            self._emit(Gone(self))

    def _owes(self) -> bool:
        """Whether something is still to be sent though no transaction runs."""
        return False

    def _emit(self, event: Event) -> None:
        self._core.events.append(event)


def reason_text(message: Message) -> str:
    """The reason phrase of a response; of a request the text of its Reason header, or nothing."""
    if isinstance(message, Response):
        return message.reason
    for value in message.headers.get_all("Reason"):
        try:
            texts = [item.parameters.get("text") for item in parse_values(value)]
        except RemoteProtocolError:
            continue
        for text in texts:
            if text:
                return text
    return ""

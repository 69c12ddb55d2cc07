"""The calling end of an INVITE session (RFC 3261 §9.1, §13.2)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.authenticator import Attempt, Authenticator
from gateway.sip.core import Core
from gateway.sip.dialog import Dialog
from gateway.sip.event import Answered, EndCause, Progressed
from gateway.sip.field import header_key
from gateway.sip.flow import Flow
from gateway.sip.grammar import check_text
from gateway.sip.inspection import ACCEPT, ALLOW, sdp_of
from gateway.sip.invite import InviteRequest, Session
from gateway.sip.message import Request, Response, build_request
from gateway.sip.reason import REASONS
from gateway.sip.timers import Alarm
from gateway.sip.transaction import (
    T1,
    ClientTransaction,
    Failure,
    Input,
    ServerTransaction,
    State,
    build_hop_request,
)

MAX_FORKS = 16
"Callees kept of one INVITE; more phones do not ring together, and what the next say is dropped."

STRUCTURAL = frozenset(
    """via route record-route from to call-id cseq contact max-forwards content-length content-type
    content-encoding content-disposition require proxy-require supported allow accept authorization
    proxy-authorization""".split()  # noqa: SIM905 - a list of 23 strings reads worse
)
"Headers that only the stack writes (A14)."


@dataclass(slots=True)
class Fork:
    """One callee that our INVITE reached."""

    dialog: Dialog
    last: tuple[int, bytes] = (0, b"")
    "Status and body of its last provisional response: the same again is a retransmission."
    ack: tuple[bytes, Flow] | None = None
    "The ACK to its 2xx, for every retransmission of that; None while it is not sent."


class InviteClient(Session):
    """Our INVITE with its early dialogs, and the session that comes of it.

    Commands return at once; what comes of them arrives as events.
    """

    def __init__(self, core: Core, request: InviteRequest) -> None:
        for name, _ in request.headers:
            if header_key(name) in STRUCTURAL:
                raise ValueError(f"{name} is not a header to choose")
        super().__init__(core, request.flow, core.new_token(), core.new_token())
        self.request = request
        if request.credentials is not None:
            self._authenticator = Authenticator(request.credentials, core.new_token)
        self._attempt = Attempt()
        self._cseq = 0
        self._message = self._build()
        self._transaction: ClientTransaction
        self._forks: dict[str, Fork] = {}
        self._chosen: Fork | None = None
        self._cancel: Request | None = None
        self._give_up: Alarm | None = None

    def start(self, now: float) -> None:
        """Send the INVITE."""
        self._transaction = self._core.request(
            self._message,
            self.flow,
            self,
            now,
            on_response=self._on_response,
            on_failure=self._on_failure,
        )

    def cancel(self, now: float, reason: str | None = None) -> None:
        """End it before it is answered: CANCEL goes out once a 1xx has come (§9.1, S4).

        A 2xx that crosses gets its ACK and its BYE. Answered already, it is a `bye`.

        Args:
            reason: the value of a Reason header (RFC 3326), as 'SIP;cause=200'.

        Raises:
            ValueError: the reason holds control characters.
        """
        if self._is_ended:
            return
        if self._chosen is not None:
            self.bye(now, reason)
            return
        cancel = build_hop_request("CANCEL", self._message)
        if reason is not None:
            cancel.headers.add("Reason", reason)
        self._cancel = cancel
        self._end(EndCause.LOCAL, 487, reason=REASONS[487])
        if self._transaction.state is State.PROCEEDING:
            self._send_cancel(now)

    def ack(self, answer: bytes | None, now: float) -> None:
        """Answer the offer of the peer's 2xx. If the INVITE had one, the ACK goes by itself."""
        if self._chosen is not None and self._chosen.ack is None:
            self._send_ack(self._chosen, answer, now)

    def bye(self, now: float, reason: str | None = None) -> None:
        """End it: ACK if that is due, and BYE; not yet answered, it is a `cancel`."""
        if self._is_ended:
            return
        if self._chosen is None:
            self.cancel(now, reason)
            return
        check_text(reason or "")
        self._end(EndCause.LOCAL)
        self._hang_up(self._chosen, now, reason)

    def release(self, now: float) -> None:
        """A transaction has terminated; after that of the INVITE no more callees come."""
        if self._transaction.state is State.TERMINATED:
            self._core.timers.stop(self._give_up)
            for tag, fork in list(self._forks.items()):
                if not fork.dialog.is_confirmed:
                    self._close(fork.dialog)
                    del self._forks[tag]
        super().release(now)

    def _build(self) -> Request:
        """The INVITE; again after a challenge, with the next number and a new branch (§22.2)."""
        self._cseq += 1
        request = self.request
        message = build_request(
            "INVITE",
            request.target,
            via=self._core.new_via(self.flow),
            from_=request.from_.with_tag(self.id),
            to=request.to,
            call_id=self.call_id,
            cseq=self._cseq,
            max_forwards=request.max_forwards,
            headers=(
                self._core.contact_header(self.flow),
                ALLOW,
                ACCEPT,
                *self._core.client_header,
                *request.headers,
            ),
            body=request.offer or b"",
        )
        if self._authenticator is not None:
            self._authenticator.authorize(self._attempt, message)
        return message

    def _on_failure(self, failure: Failure, now: float) -> None:
        if self._is_ended:
            return
        if failure is Failure.TIMEOUT:
            self._end(EndCause.TIMEOUT, 408, reason=REASONS[408])
        else:
            self._end(EndCause.TRANSPORT, 503, reason=REASONS[503])

    def _on_response(self, response: Response, now: float) -> None:
        if response.status < 200:
            self._on_provisional(response, now)
        elif response.status < 300:
            self._on_success(response, now)
        else:
            self._on_final(response, now)

    def _on_provisional(self, response: Response, now: float) -> None:
        if self._cancel is not None and self._give_up is None:
            self._send_cancel(now)
        if response.status == 100:
            self.note(False, response, now)
            if not self._is_ended:
                self._emit(Progressed(self, 100, response.reason, None, None))
            return
        fork = self._fork(response)
        if fork is None or fork.last == (response.status, response.body):
            return
        fork.last = (response.status, response.body)
        self.note(False, response, now)
        if not self._is_ended:
            body = sdp_of(response)
            self._emit(Progressed(self, response.status, response.reason, body, fork.dialog.id))

    def _on_success(self, response: Response, now: float) -> None:
        fork = self._fork(response)
        if fork is None:
            return
        if fork.dialog.is_confirmed:
            if fork.ack is not None:
                self._core.send(*fork.ack)
            return
        self.note(False, response, now)
        fork.dialog.confirm(response)
        if self._is_ended or self._chosen is not None:
            # Another callee answered as well, or this one after we gave up (S3, S6).
            self._hang_up(fork, now, None)
            return
        self._chosen = fork
        if self.request.offer is not None:
            self._send_ack(fork, None, now)
        self._emit(Answered(self, sdp_of(response), fork.dialog.id))

    def _on_final(self, response: Response, now: float) -> None:
        self.note(False, response, now)
        for fork in self._forks.values():
            self._close(fork.dialog)
        self._forks.clear()
        if self._is_ended:
            return
        if self._authenticator is not None and self._authenticator.accept(response, self._attempt):
            self._message = self._build()
            self.start(now)
            return
        self._end(EndCause.REJECTED, response.status, message=response)

    def _on_bye(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        if not dialog.is_confirmed:
            # A callee has no session to end yet (§15); its INVITE goes on (S10).
            self._respond(transaction, 481, now)
            return
        self._respond(transaction, 200, now)
        self._close(dialog)
        fork = self._chosen
        if fork is not None and fork.dialog is dialog and not self._is_ended:
            self._end(EndCause.BYE, message=transaction.request)
            if fork.ack is None:
                self._send_ack(fork, None, now)

    def _on_reinvite(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        if not dialog.is_confirmed:
            self._respond(transaction, 491, now)
            return
        super()._on_reinvite(transaction, dialog, now)

    def _fork(self, response: Response) -> Fork | None:
        """The callee that speaks; None if it is one too many."""
        tag = response.to.tag or ""
        fork = self._forks.get(tag)
        if fork is None and len(self._forks) < MAX_FORKS:
            dialog = Dialog.of_client(self._message, response, self.request.target)
            fork = self._forks[tag] = Fork(dialog)
            self._core.dialogs[dialog.id] = (self, dialog)
        return fork

    def _send_cancel(self, now: float) -> None:
        assert self._cancel is not None
        self._core.request(
            self._cancel,
            self.flow,
            self,
            now,
            on_response=lambda response, now: self.note(False, response, now),
            on_failure=lambda failure, now: None,
        )
        # Some never answer a cancelled INVITE (§9.1, S5).
        self._give_up = self._core.timers.start(
            now + 64 * T1, lambda now: self._transaction.feed(Input.ABANDON, now)
        )

    def _send_ack(self, fork: Fork, answer: bytes | None, now: float) -> None:
        """Acknowledge a 2xx end to end, with the credentials of the INVITE (§13.2.2.4)."""
        flow = self._core.options.next_hop(fork.dialog.next_hop, self.flow)
        ack = fork.dialog.build(
            "ACK",
            self._core.new_via(flow),
            cseq=self._cseq,
            headers=self._core.client_header,
            body=answer or b"",
        )
        ack.headers.copy_from(self._message.headers, "Authorization", "Proxy-Authorization")
        fork.ack = (bytes(ack), flow)
        self.note(True, ack, now)
        self._core.send(*fork.ack)

    def _hang_up(self, fork: Fork, now: float, reason: str | None) -> None:
        if fork.ack is None:
            self._send_ack(fork, None, now)
        self._send_bye(fork.dialog, now, reason)

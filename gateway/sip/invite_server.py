"""The called end of an INVITE session (RFC 3261 §9.2, §13.3)."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.sip.core import Core
from gateway.sip.dialog import Dialog
from gateway.sip.event import Acked, EndCause
from gateway.sip.flow import Flow
from gateway.sip.grammar import check_text
from gateway.sip.inspection import ALLOW, EXTENSIONS, SUPPORTED, sdp_of
from gateway.sip.invite import Session
from gateway.sip.message import Request, Response, build_response
from gateway.sip.timers import Alarm
from gateway.sip.transaction import T1, T2, Input, ServerTransaction

REFRESH_PROVISIONAL = 60.0
"A provisional response is sent again each minute, for proxies give up after three (§13.3.1.1)."


class InviteServer(Session):
    """A peer's INVITE and the session that comes of it.

    Commands return at once; what comes of them arrives as events. A command that the state no
    longer allows (the caller has cancelled) does nothing.
    """

    flow: Flow

    def __init__(self, core: Core, request: Request, flow: Flow) -> None:
        super().__init__(core, flow, request.call_id, core.new_token())
        self.request = request
        self.offer = sdp_of(request)
        "SDP of the INVITE; None: the offer is ours to make, in the 2xx."
        self._dialog = Dialog.of_server(request, self.id, flow)
        self._transaction: ServerTransaction
        self._early_body: bytes | None = None
        self._success: Response | None = None
        self._is_dropped = False
        self._bye_reason: str | None = None
        self._interval = T1
        self._refresh: Alarm | None = None
        self._resend: Alarm | None = None
        self._deadline: Alarm | None = None
        "Runs while the ACK to our 2xx is awaited."

    def start(self, now: float) -> None:
        """Begin the transaction, and take the requests of the dialog."""
        self._core.dialogs[self._dialog.id] = (self, self._dialog)
        self._transaction = self._core.serve(
            self.request,
            self.flow,
            self,
            now,
            on_ack=lambda request, now: self.receive_ack(request, self._dialog, now),
        )
        self.note(False, self.request, now)

    def progress(self, status: int, body: bytes | None, now: float) -> None:
        """Send a provisional response, 100 to 199; a body is early media."""
        assert 100 <= status < 200
        if self._is_final:
            return
        if body is not None:
            self._early_body = body
        self._core.timers.stop(self._refresh)
        if status == 100:
            self._transaction.respond(build_response(self.request, 100), now)
            return
        self._transaction.respond(self._build(status, body=body), now)
        self._refresh = self._core.timers.start(now + REFRESH_PROVISIONAL, self._on_refresh)

    def answer(self, body: bytes | None, now: float) -> None:
        """Send 200 and resend it until the ACK is there. None: the body of the last progress."""
        if self._is_final:
            return
        self._success = self._build(
            200,
            headers=(SUPPORTED,) if EXTENSIONS else (),
            body=body if body is not None else self._early_body,
        )
        self._dialog.is_confirmed = True
        self._core.timers.stop(self._refresh)
        self._transaction.respond(self._success, now)
        self._resend = self._core.timers.start(now + self._interval, self._on_resend)
        self._deadline = self._core.timers.start(now + 64 * T1, self._on_deadline)

    def reject(
        self,
        status: int,
        now: float,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send a final response, 300 to 699.

        Args:
            reason: its phrase; None is the registered one.

        Raises:
            ValueError: the reason or a header holds control characters.
        """
        assert 300 <= status < 700
        if self._is_final:
            return
        self._refuse(EndCause.LOCAL, status, now, reason=reason, headers=tuple(headers))

    def bye(self, now: float, reason: str | None = None) -> None:
        """End it: BYE as soon as the ACK is there or will not come any more (§15, S9).

        Not yet answered, it is a `reject` with 480: there is no session to end.
        """
        if self._is_ended:
            return
        if self._success is None:
            self.reject(480, now)
            return
        self._bye_reason = check_text(reason) if reason is not None else None
        self._end(EndCause.LOCAL)
        if self._deadline is None:
            self._send_bye(self._dialog, now, reason)

    def drop(self, now: float) -> None:
        """Forget it without a word, not even a 100; retransmissions are absorbed."""
        if self._is_final:
            return
        self._is_dropped = True
        self._finish()
        self._transaction.feed(Input.DROP, now)
        self._end(EndCause.LOCAL)

    def receive_ack(self, request: Request, dialog: Dialog, now: float) -> None:
        """Take the ACK to our 2xx; with an offer in that, it has to bring the answer."""
        if self._deadline is None or request.cseq.number != self.request.cseq.number:
            return
        self.note(False, request, now)
        self._stop_resending()
        answer = sdp_of(request)
        if self._is_ended:
            self._send_bye(dialog, now, self._bye_reason)
        elif self.offer is None and answer is None:
            self._end(EndCause.NO_ANSWER_SDP)
            self._send_bye(dialog, now, None)
        else:
            self._emit(Acked(self, answer))

    def receive_cancel(self, request: Request, flow: Flow, now: float) -> None:
        """Take a CANCEL: 487, unless a final response is out already (§9.2, S3)."""
        if self._is_dropped:
            return
        super().receive_cancel(request, flow, now)
        if not self._is_final:
            self._refuse(EndCause.CANCELLED, 487, now, message=request)

    @property
    def _is_final(self) -> bool:
        """Whether a final response is out, or none will ever be."""
        return self._is_ended or self._success is not None

    def _on_bye(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        self._respond(transaction, 200, now)
        if self._is_ended:
            self._stop_resending()
            self._close(dialog)
        elif self._success is None:
            # The caller may end an early dialog with BYE too (§15); the INVITE gets 487 (S10).
            self._refuse(EndCause.BYE, 487, now, message=transaction.request)
        else:
            self._finish()
            self._end(EndCause.BYE, message=transaction.request)

    def _on_reinvite(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        if self._success is None:
            # §14.2: the first is still pending, and the retry is to come after a random while.
            seconds = sum(map(ord, self._core.new_token())) % 11
            self._respond(transaction, 500, now, (("Retry-After", str(seconds)),))
            return
        super()._on_reinvite(transaction, dialog, now)

    def _refuse(
        self,
        cause: EndCause,
        status: int,
        now: float,
        *,
        reason: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        message: Request | None = None,
    ) -> None:
        """Send the final response and end."""
        response = self._build(status, reason, headers=headers)
        self._finish()
        self._transaction.respond(response, now)
        self._end(cause, status, reason="" if message else response.reason, message=message)

    def _build(
        self,
        status: int,
        reason: str | None = None,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
    ) -> Response:
        dialog_headers = (self._core.contact_header(self.flow), ALLOW) if status < 300 else ()
        return build_response(
            self.request,
            status,
            reason,
            to_tag=self.id,
            headers=(*dialog_headers, *self._core.server_header, *headers),
            body=body or b"",
        )

    def _on_refresh(self, now: float) -> None:
        self._transaction.feed(Input.REQUEST, now)
        self._refresh = self._core.timers.start(now + REFRESH_PROVISIONAL, self._on_refresh)

    def _on_resend(self, now: float) -> None:
        assert self._success is not None
        self._transaction.respond(self._success, now)
        self._interval = min(2 * self._interval, T2)
        self._resend = self._core.timers.start(now + self._interval, self._on_resend)

    def _on_deadline(self, now: float) -> None:
        """No ACK came for 64*T1: the session is to be ended with a BYE (§13.3.1.4, S2)."""
        self._stop_resending()
        if not self._is_ended:
            self._end(EndCause.NO_ACK)
        self._send_bye(self._dialog, now, self._bye_reason)

    def _stop_resending(self) -> None:
        self._core.timers.stop(self._resend)
        self._core.timers.stop(self._deadline)
        self._deadline = None

    def _finish(self) -> None:
        """Let go of the dialog and of every timer but the transactions'."""
        self._core.timers.stop(self._refresh)
        self._stop_resending()
        self._close(self._dialog)

    def _owes(self) -> bool:
        return self._deadline is not None

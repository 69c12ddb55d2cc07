"""The called end of an INVITE session (RFC 3261 §9.2, §13.3)."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.errors import RemoteProtocolError
from gateway.sip.core import Core, is_sips
from gateway.sip.dialog import Dialog
from gateway.sip.event import Acked, EndCause, ReofferAnswered
from gateway.sip.flow import Flow
from gateway.sip.grammar import check_text
from gateway.sip.inspection import ALLOW, SUPPORTED, sdp_of, supports
from gateway.sip.message import Request, Response, build_response
from gateway.sip.reliable import TAG, ReliableSender
from gateway.sip.reoffer import Open, Reoffers
from gateway.sip.session import Session
from gateway.sip.timers import Alarm
from gateway.sip.transaction import T1, T2, Input, ServerTransaction, State
from gateway.sip.uri import Uri

REFRESH_PROVISIONAL = 60.0
"A provisional response is sent again each minute, for proxies give up after three (§13.3.1.1)."


class InviteServer(Session):
    """A peer's INVITE and the session that comes of it.

    Commands return at once; what comes of them arrives as events. A command that the state no
    longer allows (the caller has cancelled) does nothing.
    """

    is_caller = False
    flow: Flow

    def __init__(self, core: Core, request: Request, flow: Flow) -> None:
        timer = core.options.session_timer
        super().__init__(core, flow, request.call_id, core.new_token(), timer)
        self.request = request
        self._is_sips = is_sips(request.uri, request.record_routes)
        self.offer = sdp_of(request)
        "SDP of the INVITE; None: the offer is ours to make, in the 2xx or a reliable response."
        self.is_reliable = core.options.reliable
        "Whether provisional responses are sent reliably to who supports it; set it before them."
        self._dialog = Dialog.of_server(request, self.id, flow)
        self._transaction: ServerTransaction
        self._initial: Reoffers
        self._reliable: ReliableSender | None = None
        "None as long as nothing was sent reliably."
        self._early_body: bytes | None = None
        self._status = 100
        "Of the last provisional response."
        self._held: bytes | None = None
        "Of an answer that waits for a PRACK."
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
        open_ = None if self.offer is None else Open.THEIRS
        self._initial = self._open(self._dialog, open_, self.request)
        self._initial.remote = self.offer or b""
        self._transaction = self._core.serve(
            self.request,
            self.flow,
            self,
            now,
            on_ack=self._on_ack,
        )
        self.note(False, self.request, now)

    def progress(self, status: int, body: bytes | None, now: float) -> None:
        """Send a provisional response, 100 to 199; a body is early media.

        Reliably if the caller requires it, or supports it and `is_reliable` (RFC 3262): a body
        is then the answer, or our offer, and later ones are left out.
        """
        assert 100 <= status < 200
        if self._is_final or self._held is not None:
            return
        if body is not None:
            self._early_body = body
        self._core.timers.stop(self._refresh)
        if status == 100:
            self._transaction.respond(build_response(self.request, 100), now)
            return
        self._status = status
        self._send_progress(body, now)
        self._refresh = self._core.timers.start(now + REFRESH_PROVISIONAL, self._on_refresh)

    def answer(self, body: bytes | None, now: float) -> None:
        """Send 200 and resend it until the ACK is there. None: the body of the last progress.

        It waits while a session description is not acknowledged that went out before (RFC 3262
        §3). If that has been, the 200 has none: offer anew to change what was agreed.
        """
        if self._is_final or self._held is not None:
            return
        if body is None:
            body = self._early_body
        if self._reliable is not None and self._reliable.owes_sdp:
            self._held = body or b""
        else:
            self._accept(body, now)

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

    def quit(self, cause: EndCause, now: float, reason: str | None = None) -> None:
        """End it: BYE as soon as the ACK is there or will not come any more (§15, S9).

        Not yet answered, it is a `reject` with 480: there is no session to end.
        """
        if self._is_ended:
            return
        if self._success is None:
            self.reject(480, now)
            return
        self._bye_reason = check_text(reason) if reason is not None else None
        self._end(cause)
        if self._deadline is None:
            self._send_bye(self._dialog, now, reason)
        else:
            self._settle(self._dialog, now)

    def drop(self, now: float) -> None:
        """Forget it without a word, not even a 100; retransmissions are absorbed."""
        if self._is_final:
            return
        self._is_dropped = True
        self._finish(now)
        self._transaction.feed(Input.DROP, now)
        self._end(EndCause.LOCAL)
        self.leave()

    def receive_ack(self, request: Request, dialog: Dialog, now: float) -> None:
        """Take the ACK to our 2xx; with an offer in that, it has to bring the answer."""
        if request.cseq.number != self.request.cseq.number:
            super().receive_ack(request, dialog, now)
            return
        if self._deadline is None:
            return
        self.note(False, request, now)
        self._stop_resending()
        answer, initial = sdp_of(request), self._initial
        if self._is_ended:
            self._send_bye(dialog, now, self._bye_reason)
        elif initial.open is Open.OURS and answer is None:
            self.quit(EndCause.NO_ANSWER_SDP, now)
        else:
            if initial.open is Open.OURS:
                initial.open = None
                initial.remote = answer or b""
            self.emit(Acked(self, answer))
            initial.begin(now)

    def receive_cancel(self, request: Request, flow: Flow, now: float) -> None:
        """Take a CANCEL: 487, unless a final response is out already (§9.2, S3)."""
        if self._is_dropped:
            return
        super().receive_cancel(request, flow, now)
        if not self._is_final:
            self._refuse(EndCause.CANCELLED, 487, now, message=request)

    @property
    def _dialog_up(self) -> Dialog | None:
        return None if self._is_light or not self._dialog.is_confirmed else self._dialog

    @property
    def _way(self) -> tuple[Uri, Flow]:
        return self._dialog.next_hop, self._dialog.flow

    @property
    def _is_awaiting(self) -> bool:
        is_prack_due = self._reliable is not None and self._reliable.is_due
        if is_prack_due and self._transaction.state is not State.TERMINATED:
            return True
        return super()._is_awaiting

    @property
    def _is_final(self) -> bool:
        """Whether a final response is out, or none will ever be."""
        return self._is_ended or self._success is not None

    def _on_bye(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        request = transaction.request
        self.respond(transaction, 200, now)
        if self._is_ended:
            self._stop_resending()
            self._close(dialog, now)
        elif self._success is None:
            # The caller may end an early dialog with BYE too (§15); the INVITE gets 487 (S10).
            self._refuse(EndCause.BYE, 487, now, message=request)
        else:
            self._end(EndCause.BYE, message=request)
            self._finish(now)
        self.leave()

    def _on_reinvite(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        if self._success is None:
            # §14.2: the first is still pending, and the retry is to come after a random while.
            wait = str(int(self._core.draw() * 11))
            self.respond(transaction, 500, now, (("Retry-After", wait),))
            return
        super()._on_reinvite(transaction, dialog, now)

    def _on_prack(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        """Take a PRACK, with an answer to our offer or an offer of the peer's (RFC 3262 §5)."""
        request, initial, reliable = transaction.request, self._initial, self._reliable
        if reliable is None:
            super()._on_prack(transaction, dialog, now)
            return
        try:
            is_meant = reliable.matches(request)
        except RemoteProtocolError:
            self.respond(transaction, 400, now)
            return
        if not is_meant:
            self.respond(transaction, 481, now)
            return
        response, sdp = reliable.acknowledge(), sdp_of(request)
        if self._is_ended or sdp is None:
            self.respond(transaction, 200, now)
        elif initial.open is Open.OURS and response.body:
            initial.open = None
            initial.remote = sdp
            self.respond(transaction, 200, now)
            self.emit(ReofferAnswered(self, sdp))
        elif initial.open is None:
            initial.ask(transaction, sdp, now)
        else:
            self.respond(transaction, 491, now)
        if self._is_ended:
            self.leave()
            return
        initial.settle(now)
        if self._held is not None and not reliable.owes_sdp:
            self._accept(self._held, now)
        else:
            reliable.advance(now)

    def _is_overtaken(self, request: Request) -> bool:
        """A PRACK may be: it says by itself what it means, and comes no second time."""
        if request.method != "PRACK" or self._reliable is None:
            return False
        try:
            return self._reliable.matches(request)
        except RemoteProtocolError:
            return False

    def _send_progress(self, body: bytes | None, now: float) -> None:
        initial = self._initial
        is_required = TAG in self.request.require
        is_reliable = is_required or (self.is_reliable and supports(self.request, TAG))
        if initial.local:
            body = None  # RFC 3262 §5: it was said before, and would be an offer now
        elif is_reliable and self.offer is None and body is None:
            # The first reliable response has to bring our offer (RFC 3261 §13.2.1).
            if is_required:
                return
            is_reliable = False
        if not is_reliable:
            self._transaction.respond(self._build(self._status, body=body), now)
            return
        if body:
            initial.local = body
            initial.open = Open.OURS if self.offer is None else None
        if self._reliable is None:
            self._reliable = ReliableSender(
                self._core,
                self._transaction,
                build=lambda status, headers, body: self._build(status, headers=headers, body=body),
                on_expired=self._on_no_prack,
            )
        self._reliable.send(self._status, body, now)

    def _accept(self, body: bytes | None, now: float) -> None:
        """Send the 200."""
        initial = self._initial
        if initial.local:
            body = None
        elif body:
            initial.local = body
            initial.open = Open.OURS if self.offer is None else None
        self._held = None
        self._success = self._build(
            200, headers=(SUPPORTED, *self.timer.answer(self.request, now)), body=body
        )
        self._dialog.is_confirmed = True
        self._core.timers.stop(self._refresh)
        if self._reliable is not None:
            self._reliable.stop()
        self._transaction.respond(self._success, now)
        self._resend = self._core.timers.start(now + self._interval, self._on_resend)
        self._deadline = self._core.timers.start(now + 64 * T1, self._on_deadline)

    def _on_no_prack(self, now: float) -> None:
        """A response that had to arrive has not, for 64*T1 (RFC 3262 §3, S16)."""
        if not self._is_final:
            self._refuse(EndCause.NO_PRACK, 504, now)

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
        self._transaction.respond(response, now)
        self._end(cause, status, reason="" if message else response.reason, message=message)
        self._finish(now)

    def _build(
        self,
        status: int,
        reason: str | None = None,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
    ) -> Response:
        dialog_headers = (self.contact_header(self.flow), ALLOW) if status < 300 else ()
        return self.build(
            self.request, status, reason, headers=(*dialog_headers, *headers), body=body or b""
        )

    def _on_ack(self, request: Request, now: float) -> None:
        self.receive_ack(request, self._dialog, now)

    def _on_refresh(self, now: float) -> None:
        if self._reliable is not None:
            self._send_progress(None, now)
        else:
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

    def _finish(self, now: float) -> None:
        """Let go of the dialog and of every timer but the transactions'."""
        self._core.timers.stop(self._refresh)
        if self._reliable is not None:
            self._reliable.stop()
        self._stop_resending()
        self._close(self._dialog, now)

    def _owes(self) -> bool:
        return self._deadline is not None or super()._owes()

    def _lighten(self) -> None:
        super()._lighten()
        self._transaction.on_ack = None
        self._reliable = self._success = self._refresh = self._resend = None
        self._early_body = None
        del self.request, self.offer, self._initial, self._dialog, self._transaction

"""An INVITE session: what both ends of it have in common (RFC 3261 §12, §14, §15)."""

from __future__ import annotations

from gateway.errors import RemoteProtocolError
from gateway.sip.authenticator import Authenticator
from gateway.sip.core import Core
from gateway.sip.dialog import Dialog, DialogId
from gateway.sip.event import EndCause, Ended, Event, Gone, ReofferFailed, Signalled
from gateway.sip.farewell import Farewell
from gateway.sip.flow import Flow
from gateway.sip.grammar import check_text
from gateway.sip.header import parse_values
from gateway.sip.hunt import is_cut_off
from gateway.sip.info import Infos
from gateway.sip.inspection import ACCEPT, ALLOW, SUPPORTED, inspect_request
from gateway.sip.message import Message, Request, Response, build_response
from gateway.sip.refer import Refers
from gateway.sip.reoffer import Offer, Open, Proposal, Reoffers
from gateway.sip.replaces import name_dialog
from gateway.sip.session_timer import SessionTimer, SessionTimerOptions
from gateway.sip.transaction import ServerTransaction
from gateway.sip.uri import Uri


class Session:
    """One INVITE usage of ours: what became of an INVITE, sent or received, up to its end.

    It owns its transactions, and is gone when it has ended and the last of them has. Commands
    return at once, and what comes of them arrives as events; one that the state does not allow,
    or no longer allows, does nothing but what its docstring says.
    """

    is_caller: bool
    "Whether the INVITE was ours, and with it the Call-ID."

    def __init__(
        self,
        core: Core,
        flow: Flow | None,
        call_id: str,
        local_tag: str,
        session_timer: SessionTimerOptions | None,
    ) -> None:
        self.id = local_tag
        "Names the session: our tag, which nobody can guess and no other session has."
        self.call_id = call_id
        self.flow = flow
        "The way its INVITE took; None: there is none yet."
        self.timer = SessionTimer(
            session_timer, core.timers, refresh=self._on_refresh_due, expire=self._on_expired
        )
        self._core = core
        self._authenticator: Authenticator | None = None
        self._contact_user: str | None = None
        self._is_sips = False
        self._reoffers: dict[DialogId, Reoffers] = {}
        self._refers: Refers | None = None
        self._infos: Infos | None = None
        self._kept: Dialog | None = None
        "Is over but for the outcome of a REFER."
        self._transactions = self._pending = 0
        "All, and those among them that do not rest yet."
        self._is_ended = False
        self._is_light = False
        "Has let go of what only a session needs that is not settled."
        self._is_gone = False

    @property
    def is_ended(self) -> bool:
        """Whether the session is over for its user."""
        return self._is_ended

    @property
    def is_settled(self) -> bool:
        """Whether it has ended, and owes the peer only the answers to what comes once more.

        Whoever uses it may forget it. It is gone when the last transaction has timed out; until
        then it still acknowledges a late 200 and hangs up on who sent it.
        """
        return self._is_ended and not self._pending and not self._owes()

    @property
    def replaces_id(self) -> str | None:
        """What names the session to its peer in a Replaces (RFC 3891); None before the answer."""
        dialog = self._dialog_up
        return None if dialog is None else str(name_dialog(dialog.id))

    @property
    def remote_target(self) -> Uri | None:
        """Where the peer can be called within the session; None before the answer."""
        dialog = self._dialog_up
        return None if dialog is None else dialog.remote_target

    @property
    def takes_info(self) -> bool:
        """Whether the peer has said in an Allow that it takes INFO."""
        return any("INFO" in reoffers.peer_allows for reoffers in self._reoffers.values())

    @property
    def is_cut_off(self) -> bool:
        """Whether its connection is closed, and the peer has to come back to be reached again."""
        way = None if self._is_ended else self._way
        return way is not None and is_cut_off(self._core, *way)

    def bye(self, now: float, reason: str | None = None) -> None:
        """End it, whatever its state; once it has ended nothing happens.

        Args:
            reason: the value of a Reason header (RFC 3326), as 'Q.850;cause=16'.

        Raises:
            ValueError: the reason holds control characters.
        """
        self.quit(EndCause.LOCAL, now, reason)

    def reoffer(
        self,
        sdp: Offer | None,
        now: float,
        *,
        update: bool = False,
        dialog_id: DialogId | None = None,
    ) -> None:
        """Change the session: `ReofferAnswered` or `ReofferFailed` comes of it, or `Ended`.

        It waits behind other changes under way; a 491 makes it try again after a while (S11).

        Args:
            sdp: our offer, or what makes it each time that it is sent: better, for the peer may
                have changed the session meanwhile, and the number in the o= line has to go up.
                None has the peer make one, which `ack` then answers.
            update: by UPDATE if the peer takes that, which works before the answer too, once the
                first offer has been answered reliably. Else a re-INVITE, after the answer.
            dialog_id: the fork that is meant; None: the one that has answered, or the only one.
        """
        if self._is_ended:
            return
        reoffers = self._reoffers_of(dialog_id)
        if reoffers is None:
            self.emit(ReofferFailed(self, 491))
        else:
            reoffers.propose(Proposal(sdp, by_update=update and sdp is not None), now)

    def ack(self, answer: bytes | None, now: float) -> None:
        """Answer the offer of the peer's 2xx to an INVITE of ours that had none."""
        dialog = self._dialog_up
        if dialog is not None and not self._is_ended:
            self._reoffers[dialog.id].acknowledge(answer, now)

    def accept_reoffer(self, sdp: bytes, now: float, *, dialog_id: DialogId | None = None) -> bool:
        """Answer `Reoffered` with our answer; or with our offer, if it brought none.

        Returns:
            Whether it went out. False: the peer has taken it back meanwhile, or ended the session.
        """
        reoffers = None if self._is_ended else self._reoffers_of(dialog_id)
        return reoffers is not None and reoffers.accept(sdp, now)

    def refuse_reoffer(self, status: int, now: float, *, dialog_id: DialogId | None = None) -> None:
        """Answer `Reoffered` with a failure: the session stays as it is (S13)."""
        reoffers = None if self._is_ended else self._reoffers_of(dialog_id)
        if reoffers is not None:
            reoffers.refuse(status, now)

    def refer(
        self,
        target: Uri,
        now: float,
        *,
        replaces: str | None = None,
        referred_by: str | None = None,
    ) -> None:
        """Ask the peer to call somebody instead of us; `ReferDone` comes of it, once.

        Args:
            replaces: `replaces_id` of a session with the target, that the call shall replace.
            referred_by: value of the Referred-By header.

        Raises:
            ValueError: a value that may not be written.
        """
        check_text(f"{target}{replaces or ''}{referred_by or ''}")
        if not self._is_ended:
            self._referring().send(self._dialog_up, target, replaces, referred_by, now)

    def accept_refer(self, now: float) -> None:
        """Answer `ReferAsked`: we call the target. `notify_refer` is to tell how that goes."""
        if self._refers is not None:
            self._refers.accept(now)

    def refuse_refer(self, status: int, now: float) -> None:
        """Answer `ReferAsked` with a failure, as 403."""
        if self._refers is not None:
            self._refers.refuse(status, now)

    def notify_refer(self, status: int, reason: str, now: float) -> None:
        """Tell the peer what the target of its REFER says; a final status is the last.

        It works for `refer.AFTER_BYE_S` after the end too.

        Raises:
            ValueError: the reason holds control characters.
        """
        check_text(reason)
        if self._refers is not None:
            self._refers.notify(status, reason, now)

    def info(
        self, content_type: str, body: bytes, now: float, otherwise: tuple[str, bytes] | None = None
    ) -> bool:
        """Send an INFO, after those before it; `InfoAnswered` tells what the peer makes of it.

        Args:
            otherwise: content type and body for a peer that does not take the first (415).

        Returns:
            False where it is not sent: the session is not up, or too many wait.
        """
        dialog = self._dialog_up
        if dialog is None or self._is_ended:
            return False
        bodies = [(content_type, body), *([] if otherwise is None else [otherwise])]
        return self._informing().send(dialog, bodies, now)

    # What transactions tell their owner.

    def acquire(self) -> None:
        """A transaction has begun."""
        self._transactions += 1
        self._pending += 1

    def note(self, sent: bool, message: Message, now: float) -> None:
        """A message went out or was taken in."""
        self._core.events.append(Signalled(self, sent, now, message))

    def rest(self, now: float) -> None:
        """A transaction only answers what comes once more."""
        self._pending -= 1
        self.leave()

    def release(self, now: float) -> None:
        """A transaction has terminated."""
        self._transactions -= 1
        self.leave()

    # What the endpoint hands over.

    def receive(self, request: Request, dialog: Dialog, flow: Flow, now: float) -> None:
        """Take a request within a dialog, other than ACK and CANCEL."""
        is_invite = request.method == "INVITE"
        transaction = self._core.serve(
            request,
            flow,
            self,
            now,
            on_ack=(lambda ack, now: self.receive_ack(ack, dialog, now)) if is_invite else None,
        )
        self.note(False, request, now)
        refusal = inspect_request(request, is_initial=False)
        if (self._is_ended or dialog.is_closing) and not self._is_late_in_time(request, dialog):
            self.respond(transaction, 481, now)
        elif not dialog.accept_cseq(request.cseq.number) and not self._is_overtaken(request):
            self.respond(transaction, 500, now)
        elif refusal is not None:
            self.respond(transaction, refusal.status, now, refusal.headers)
        else:
            self._dispatch(transaction, dialog, now)

    def receive_ack(self, request: Request, dialog: Dialog, now: float) -> None:
        """Take an ACK within a dialog; one that nothing waits for is ignored."""
        reoffers = self._reoffers.get(dialog.id)
        if reoffers is not None:
            reoffers.receive_ack(request, now)

    def receive_cancel(self, request: Request, flow: Flow, now: float) -> None:
        """Take a CANCEL of an INVITE of the peer; one that comes too late does nothing (§9.2)."""
        meant = self._core.match_cancelled(request)
        transaction = self._core.serve(request, flow, self, now)
        self.note(False, request, now)
        self.respond(transaction, 200, now)
        for reoffers in self._reoffers.values():
            if meant is not None:
                reoffers.cancel(meant, now)

    # What its parts use.

    @property
    def core(self) -> Core:
        """The endpoint's tables and clock."""
        return self._core

    @property
    def authenticator(self) -> Authenticator | None:
        """Who answers challenges; None leaves them final."""
        return self._authenticator

    def emit(self, event: Event) -> None:
        """Report an event."""
        self._core.events.append(event)

    def contact_header(self, flow: Flow) -> tuple[str, str]:
        """Contact, in what forms or refreshes a dialog."""
        return self._core.contact_header(flow, self._contact_user, is_sips=self._is_sips)

    def respond(
        self,
        transaction: ServerTransaction,
        status: int,
        now: float,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
    ) -> None:
        """Answer a request within the session."""
        response = self.build(transaction.request, status, headers=headers, body=body)
        transaction.respond(response, now)

    def build(
        self,
        request: Request,
        status: int,
        reason: str | None = None,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes = b"",
    ) -> Response:
        """Make a response to a request of the session; a To without a tag gets ours."""
        return build_response(
            request,
            status,
            reason,
            to_tag=self.id,
            headers=(*self._core.server_header, *headers),
            body=body,
        )

    def quit(self, cause: EndCause, now: float, reason: str | None = None) -> None:
        """End it as `bye` does, for any cause."""
        raise NotImplementedError

    def leave(self) -> None:
        """Be gone when nothing is left to be sent, and nothing awaited."""
        if self._kept is not None and not self._is_awaiting:
            self._core.dialogs.pop(self._kept.id, None)
            self._kept = None
        if self._is_gone or not self.is_settled:
            return
        if not self._is_light and self._kept is None:
            self._is_light = True
            self._lighten()
        if not self._transactions:
            self._is_gone = True
            self.emit(Gone(self))

    # Inside.

    @property
    def _dialog_up(self) -> Dialog | None:
        """The dialog of the answered session; None before the answer."""
        raise NotImplementedError

    @property
    def _way(self) -> tuple[Uri, Flow] | None:
        """The next hop to the peer, and the flow there; None: there is none yet."""
        dialog = self._dialog_up
        return None if dialog is None else (dialog.next_hop, dialog.flow)

    @property
    def _is_awaiting(self) -> bool:
        """Whether the peer owes something that may still come after the end."""
        return self._refers is not None and self._refers.is_waiting

    def _referring(self) -> Refers:
        """Made when there is a REFER: most sessions see none."""
        if self._refers is None:
            self._refers = Refers(self)
        return self._refers

    def _informing(self) -> Infos:
        """Likewise."""
        if self._infos is None:
            self._infos = Infos(self)
        return self._infos

    def _reoffers_of(self, dialog_id: DialogId | None) -> Reoffers | None:
        """What a command means: the answered dialog, or else the only one."""
        if dialog_id is None and (dialog := self._dialog_up) is not None:
            dialog_id = dialog.id
        if dialog_id is None and len(self._reoffers) == 1:
            return next(iter(self._reoffers.values()))
        return None if dialog_id is None else self._reoffers.get(dialog_id)

    def _open(self, dialog: Dialog, open_: Open | None, message: Message) -> Reoffers:
        """Take the requests of a dialog from now on."""
        self._core.dialogs[dialog.id] = (self, dialog)
        reoffers = self._reoffers[dialog.id] = Reoffers(self, dialog, open_)
        reoffers.learn(message)
        return reoffers

    def _dispatch(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        reoffers = self._reoffers.get(dialog.id)
        if reoffers is not None:
            reoffers.learn(transaction.request)
        match transaction.request.method:
            case "BYE":
                self._on_bye(transaction, dialog, now)
            case "INVITE":
                self._on_reinvite(transaction, dialog, now)
            case "UPDATE" if reoffers is not None:
                reoffers.receive(transaction, now)
            case "PRACK":
                self._on_prack(transaction, dialog, now)
            case "REFER":
                self._referring().receive_refer(transaction, dialog, now)
            case "NOTIFY":
                self._referring().receive_notify(transaction, now)
            case "INFO":
                self._informing().receive(transaction, now)
            case _:
                self.respond(transaction, 200, now, (ALLOW, ACCEPT, SUPPORTED))

    def _on_bye(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        raise NotImplementedError

    def _on_reinvite(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        self._reoffers[dialog.id].receive(transaction, now)

    def _on_prack(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        """Nothing of ours is unacknowledged (RFC 3262 §3)."""
        self.respond(transaction, 481, now)

    def _is_late_in_time(self, request: Request, dialog: Dialog) -> bool:
        """Whether a request is still taken after the end: a BYE that crosses ours, a NOTIFY."""
        if request.method == "BYE":
            return dialog is not self._kept
        return self._is_awaiting and request.method in ("NOTIFY", "PRACK")

    def _is_overtaken(self, request: Request) -> bool:
        """Whether a request is taken though one of a higher number came before it."""
        return False

    def _on_refresh_due(self, now: float) -> None:
        dialog = self._dialog_up
        if dialog is not None and not self._is_ended:
            refresh = Proposal(None, by_update=True, is_refresh=True)
            self._reoffers[dialog.id].propose(refresh, now)

    def _on_expired(self, now: float) -> None:
        if not self._is_ended:
            self.quit(EndCause.SESSION_EXPIRED, now)

    def _send_bye(self, dialog: Dialog, now: float, reason: str | None) -> None:
        """End a dialog; it is kept until there is a final response (§15.1.1)."""
        dialog.is_closing = True
        self._settle(dialog, now)
        Farewell(self, dialog, reason, on_over=lambda now: self._close(dialog, now)).send(now)

    def _settle(self, dialog: Dialog, now: float) -> None:
        """Finish what is under way in a dialog that ends."""
        reoffers = self._reoffers.pop(dialog.id, None)
        if reoffers is not None:
            reoffers.close(now)
        if dialog is self._dialog_up:
            self.timer.stop()
            if self._infos is not None:
                self._infos.close()
            if self._refers is not None:
                self._refers.close(now)

    def _close(self, dialog: Dialog, now: float) -> None:
        """Forget a dialog, or all of it but what is awaited: all else gets 481 from now on."""
        self._settle(dialog, now)
        if self._is_awaiting and (self._dialog_up is None or self._dialog_up is dialog):
            self._kept = dialog
        else:
            self._core.dialogs.pop(dialog.id, None)

    def _end(
        self,
        cause: EndCause,
        status: int | None = None,
        *,
        reason: str = "",
        message: Message | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        """Report the end, once."""
        assert not self._is_ended
        self._is_ended = True
        self._core.sessions.discard(self)
        self.emit(
            Ended(
                self,
                cause,
                status,
                reason or (reason_text(message) if message is not None else ""),
                message.retry_after_s if message is not None else retry_after_s,
                message.headers if message is not None else None,
            )
        )

    def _owes(self) -> bool:
        """Whether something is still to be sent, or awaited, though no transaction runs."""
        return self._refers is not None and self._refers.is_open

    def _lighten(self) -> None:
        """Let go of what a settled session needs no more: some thousand of them wait to be gone.

        And of whatever points back at it, so that nothing of it is left to the collector.
        """
        del self.timer
        self._reoffers.clear()
        self._refers = self._infos = None


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

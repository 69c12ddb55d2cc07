"""The calling end of an INVITE session (RFC 3261 §9.1, §13.2)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.authenticator import Attempt, Authenticator
from gateway.sip.core import Core, is_sips
from gateway.sip.dialog import Dialog, DialogId
from gateway.sip.event import Answered, EndCause, Progressed
from gateway.sip.field import header_key
from gateway.sip.flow import Flow
from gateway.sip.grammar import check_text
from gateway.sip.hunt import Hunt
from gateway.sip.inspection import ACCEPT, ALLOW, SUPPORTED, SUPPORTED_UNRELIABLE, sdp_of
from gateway.sip.invite import InviteRequest
from gateway.sip.message import Headers, Request, Response, build_request, parse_message
from gateway.sip.reason import REASONS
from gateway.sip.reliable import PrackSender, rseq_of
from gateway.sip.reoffer import Open, Reoffers
from gateway.sip.session import Session
from gateway.sip.transaction import ClientTransaction, Failure, ServerTransaction, State
from gateway.sip.trial import Trial
from gateway.sip.uri import Uri, parse_uri
from gateway.sip.within import Ack, send_ack

MAX_FORKS = 16
"Callees kept of one INVITE; more phones do not ring together, and what the next say is dropped."

STRUCTURAL = frozenset(
    """via route record-route from to call-id cseq contact max-forwards max-breadth content-length
    content-type content-encoding content-disposition require proxy-require supported allow accept
    authorization proxy-authorization""".split()  # noqa: SIM905 - a list of 24 strings reads worse
)
"Headers that only the stack writes (A14)."


@dataclass(slots=True)
class Fork:
    """One callee that our INVITE reached."""

    dialog: Dialog
    trial: Trial
    "The INVITE that reached it."
    reoffers: Reoffers
    pracks: PrackSender | None = None
    "None as long as it has sent nothing reliably."
    last: tuple[int, bytes] = (0, b"")
    "Status and body of its last provisional response: the same again is a retransmission."
    ack: Ack | None = None
    "The ACK to its 2xx, for every retransmission of that; None while it is not sent."


class InviteClient(Session):
    """Our INVITE with its early dialogs, and the session that comes of it.

    Commands return at once; what comes of them arrives as events.
    """

    is_caller = True

    def __init__(self, core: Core, request: InviteRequest) -> None:
        for name, _ in request.headers:
            if header_key(name) in STRUCTURAL:
                raise ValueError(f"{name} is not a header to choose")
        super().__init__(
            core, request.flow, core.new_token(), core.new_token(), request.session_timer
        )
        self.request = request
        self._contact_user = request.contact_user
        self._is_sips = is_sips(str(request.target), request.route)
        if request.credentials is not None:
            self._authenticator = Authenticator(request.credentials, core.new_token)
        self._attempt = Attempt()
        self._cseq = 1
        self._hunt = Hunt(
            core,
            self,
            self._build,
            on_response=self._on_response,
            on_failure=self._on_failure,
            on_left=self._on_left,
            flow=request.flow,
            destination=request.destination,
            no_response_timeout_s=request.no_response_timeout_s,
            has_alternative=request.has_alternative,
        )
        self._forks: dict[str, Fork] = {}
        self._chosen: Fork | None = None
        self._acks: dict[str, Ack] = {}
        "By tag, once it is settled."
        # What cannot be written is found out now, not when there is a hop.
        Headers(request.headers)
        for value in (request.target, request.from_, request.to, *request.route):
            check_text(str(value))

    def start(self, now: float) -> None:
        """Send the INVITE."""
        self._hunt.start(now)

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
        check_text(reason or "")
        self._end(EndCause.LOCAL, 487, reason=REASONS[487])
        for fork in self._forks.values():
            self._settle(fork.dialog, now)
        self._hunt.cancel(now, reason)

    def ack(self, answer: bytes | None, now: float) -> None:
        """Answer the offer of the peer's 2xx. If the INVITE had one, the ACK goes by itself."""
        if self._chosen is not None and self._chosen.ack is None:
            self._acknowledge(self._chosen, answer, now)
        else:
            super().ack(answer, now)

    def prack(self, answer: bytes, dialog_id: DialogId, now: float) -> None:
        """Answer the offer of a `Progressed`: it goes into the PRACK (RFC 3262 §5)."""
        for fork in self._forks.values():
            if fork.dialog.id == dialog_id and fork.reoffers.open is Open.THEIRS:
                fork.reoffers.local = answer
                fork.reoffers.open = None
                self._pracks_of(fork).send(answer, now)

    def quit(self, cause: EndCause, now: float, reason: str | None = None) -> None:
        """End it: ACK if that is due, and BYE; not yet answered, it is a `cancel`."""
        if self._is_ended:
            return
        if self._chosen is None:
            self.cancel(now, reason)
            return
        check_text(reason or "")
        self._end(cause)
        self._hang_up(self._chosen, now, reason)

    def release(self, now: float) -> None:
        """A transaction has terminated; after that of an INVITE no more callees come of it."""
        for tag, fork in list(self._forks.items()):
            is_over = fork.trial.transaction.state is State.TERMINATED
            if is_over and not fork.dialog.is_confirmed:
                self._close(fork.dialog, now)
                del self._forks[tag]
        super().release(now)

    @property
    def _dialog_up(self) -> Dialog | None:
        return None if self._chosen is None else self._chosen.dialog

    @property
    def _way(self) -> tuple[Uri, Flow] | None:
        if self._chosen is not None or self.flow is None:
            return super()._way
        routes = self.request.route
        return routes[0].uri if routes else self.request.target, self.flow

    @property
    def _requirements(self) -> tuple[tuple[str, str], ...]:
        """Who would not understand Replaces would ring instead (RFC 3891 §6.2)."""
        is_replacing = any(header_key(name) == "replaces" for name, _ in self.request.headers)
        return (("Require", "replaces"),) if is_replacing else ()

    def _build(self, flow: Flow) -> Request:
        """The INVITE for a flow, with a new branch; after a challenge, its answer (§22.2)."""
        self.flow = flow
        request = self.request
        breadth = request.max_breadth
        message = build_request(
            "INVITE",
            request.target,
            via=self._core.new_via(flow),
            from_=request.from_.with_tag(self.id),
            to=request.to,
            call_id=self.call_id,
            cseq=self._cseq,
            max_forwards=request.max_forwards,
            headers=(
                *((("Max-Breadth", str(breadth)),) if breadth is not None else ()),
                *(("Route", str(route)) for route in request.route),
                self.contact_header(flow),
                ALLOW,
                ACCEPT,
                SUPPORTED if request.reliable else SUPPORTED_UNRELIABLE,
                *self._requirements,
                *self.timer.first_headers,
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
        is_late = failure is Failure.TIMEOUT
        cause, status = (EndCause.TIMEOUT, 408) if is_late else (EndCause.TRANSPORT, 503)
        self._end(cause, status, reason=REASONS[status], retry_after_s=self._hunt.retry_after_s)

    def _on_response(self, response: Response, trial: Trial, now: float) -> None:
        if response.status < 200:
            self._on_provisional(response, trial, now)
        elif response.status < 300:
            self._on_success(response, trial, now)
        else:
            self._on_final(response, trial, now)

    def _on_provisional(self, response: Response, trial: Trial, now: float) -> None:
        if response.status == 100:
            self.note(False, response, now)
            if not self._is_ended:
                self.emit(Progressed(self, 100, response.reason, None, None))
            return
        fork = self._fork(response, trial)
        if fork is None:
            return
        is_reliable = rseq_of(response) is not None
        if is_reliable:
            if not self._pracks_of(fork).accept(response):
                return
            fork.dialog.refresh_target(response)
        elif fork.last == (response.status, response.body):
            return
        fork.last = (response.status, response.body)
        self.note(False, response, now)
        fork.reoffers.learn(response)
        body = sdp_of(response)
        is_offer = is_reliable and body is not None and self._takes_offer(fork)
        if is_reliable and body is not None:
            fork.reoffers.remote = body
            fork.reoffers.open = Open.THEIRS if is_offer else None
        if is_reliable and (not is_offer or self._is_ended):
            self._pracks_of(fork).send(None, now)
        if not self._is_ended:
            self.emit(
                Progressed(self, response.status, response.reason, body, fork.dialog.id, is_offer)
            )

    def _on_success(self, response: Response, trial: Trial, now: float) -> None:
        fork = self._fork(response, trial)
        if fork is None:
            return
        if fork.dialog.is_confirmed:
            if fork.ack is not None:
                fork.ack.send(self, now)
            return
        self.note(False, response, now)
        fork.dialog.confirm(response)
        if self._is_ended or self._chosen is not None or trial.is_left:
            # Another callee answered as well, or this one after we gave it up (S3, S6, F2).
            self._hang_up(fork, now, None)
            return
        self._chosen = fork
        fork.reoffers.learn(response)
        self.timer.take_answer(response, now)
        body = sdp_of(response)
        is_offer = self._takes_offer(fork)
        fork.reoffers.remote = body or fork.reoffers.remote
        if is_offer:
            fork.reoffers.open = Open.THEIRS
        else:
            self._acknowledge(fork, None, now)
        self.emit(Answered(self, body, fork.dialog.id))

    def _on_final(self, response: Response, trial: Trial, now: float) -> None:
        self._on_left(response, trial, now)
        if self._is_ended:
            return
        if self._is_to_try_again(response):
            self._hunt.again(now)
            return
        self._end(EndCause.REJECTED, response.status, message=response)

    def _on_left(self, response: Response, trial: Trial, now: float) -> None:
        """No callee is to be had of this INVITE any more."""
        self.note(False, response, now)
        for tag, fork in list(self._forks.items()):
            if fork.trial is trial:
                self._cseq = max(self._cseq, fork.dialog.local_cseq)
                self._close(fork.dialog, now)
                del self._forks[tag]

    def _is_to_try_again(self, response: Response) -> bool:
        """Whether to send the INVITE again: with credentials, or for a longer session (S17, F9)."""
        is_challenged = self._authenticator is not None and self._authenticator.accept(
            response, self._attempt
        )
        if not is_challenged and not (
            response.status == 422 and self.timer.raise_minimum(response)
        ):
            return False
        self._cseq += 1
        return True

    def _on_bye(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        if not dialog.is_confirmed:
            # A callee has no session to end yet (§15); its INVITE goes on (S10).
            self.respond(transaction, 481, now)
            return
        request = transaction.request
        self.respond(transaction, 200, now)
        fork = self._chosen
        if fork is not None and fork.dialog is dialog and not self._is_ended:
            self._end(EndCause.BYE, message=request)
            if fork.ack is None:
                self._acknowledge(fork, None, now)
        self._close(dialog, now)
        self.leave()

    def _on_reinvite(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        if not dialog.is_confirmed:
            self.respond(transaction, 491, now)
            return
        super()._on_reinvite(transaction, dialog, now)

    def _fork(self, response: Response, trial: Trial) -> Fork | None:
        """The callee that speaks; None if it is one too many."""
        tag = response.to.tag or ""
        fork = self._forks.get(tag)
        if fork is None and len(self._forks) < MAX_FORKS:
            dialog = Dialog.of_client(trial.request, response, self.request.target, trial.flow)
            offer = self.request.offer
            reoffers = self._open(dialog, None if offer is None else Open.OURS, response)
            reoffers.local = offer or b""
            fork = self._forks[tag] = Fork(dialog, trial, reoffers)
        return fork

    def _pracks_of(self, fork: Fork) -> PrackSender:
        if fork.pracks is None:
            fork.pracks = PrackSender(self, fork.dialog, fork.reoffers.settle)
        return fork.pracks

    def _takes_offer(self, fork: Fork) -> bool:
        """Whether an SDP that is sure to arrive is the peer's offer: there was none before."""
        return self.request.offer is None and not fork.reoffers.remote

    def _acknowledge(self, fork: Fork, answer: bytes | None, now: float) -> None:
        """Acknowledge the 2xx; from then on the session may be changed."""
        fork.ack = send_ack(self, fork.dialog, fork.trial.request, answer, now)
        fork.reoffers.local = answer or fork.reoffers.local
        fork.reoffers.open = None
        fork.reoffers.begin(now)

    def _hang_up(self, fork: Fork, now: float, reason: str | None) -> None:
        if fork.ack is None:
            self._acknowledge(fork, None, now)
        self._send_bye(fork.dialog, now, reason)

    def _lighten(self) -> None:
        super()._lighten()
        trials = [fork.trial for fork in self._forks.values()]
        if self._hunt.trial is not None:
            trials.append(self._hunt.trial)
        for trial in trials:
            trial.transaction.wait_for_stragglers(self._on_straggler)
        for tag, fork in self._forks.items():
            self._core.dialogs.pop(fork.dialog.id, None)
            if fork.ack is not None:
                self._acks[tag] = fork.ack
        self._forks.clear()
        self._chosen = None
        del self.request, self._hunt, self._attempt

    def _on_straggler(self, transaction: ClientTransaction, response: Response, now: float) -> None:
        """Take a 2xx after the end: once more, its ACK was lost; or of one more callee (S6)."""
        tag = response.to.tag or ""
        if tag in self._acks:
            self._acks[tag].send(self, now)
        elif len(self._acks) < MAX_FORKS:
            # What we sent says all that has to be known of the INVITE.
            invite = parse_message(transaction.data)
            assert isinstance(invite, Request)
            target = parse_uri(invite.uri)
            dialog = Dialog.of_client(invite, response, target, transaction.flow)
            dialog.confirm(response)
            self._core.dialogs[dialog.id] = (self, dialog)
            self.note(False, response, now)
            self._acks[tag] = send_ack(self, dialog, invite, None, now)
            self._send_bye(dialog, now, None)

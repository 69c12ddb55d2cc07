"""Offers and answers within a dialog: re-INVITE and UPDATE, both ways (RFC 3261 §14, RFC 3311).

One `Reoffers` for each dialog of a session. It knows whose offer is open, and so what may be sent
and what has to be refused (RFC 6337 §4.3 gathers the rules of the other standards).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from gateway.errors import RemoteProtocolError
from gateway.sip.dialog import Dialog
from gateway.sip.event import EndCause, ReofferAnswered, Reoffered, ReofferFailed
from gateway.sip.inspection import ALLOW, SUPPORTED_UNRELIABLE, sdp_of
from gateway.sip.message import Message, Request, Response
from gateway.sip.reliable import PrackSender
from gateway.sip.timers import Alarm
from gateway.sip.transaction import T1, T2, ServerTransaction
from gateway.sip.within import DialogRequest

if TYPE_CHECKING:
    from gateway.sip.session import Session

MAX_QUEUED = 8
"Changes of ours that wait for their turn; a person who presses hold more often is not heard."
MAX_GLARES = 10
"Times that one change of ours gives way to the peer's (491): more is not chance."
PATIENCE_S = 30.0
"How long our user may think about a re-INVITE, then 500; and a peer about ours, then CANCEL."
PROMPT_S = 10.0
"Likewise about an UPDATE or PRACK, whose client gives up after 32 s: 504 (RFC 3311 §5.2)."
GLARE_OWNER_S = (2.1, 4.0)
"When who made the Call-ID tries again after a 491, in steps of 10 ms (RFC 3261 §14.1)."
GLARE_OTHER_S = (0.0, 2.0)
"When the other one does."


Offer = bytes | Callable[[], bytes]
"An offer, or what makes it when it is sent: after a glare the peer's may have come in between."


class Open(Enum):
    """Whose offer has no answer yet."""

    OURS = "ours"
    THEIRS = "theirs"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A re-INVITE or UPDATE of ours."""

    sdp: Offer | None
    "Our offer; None: the peer shall make one, or nothing changes if it is a refresh."
    by_update: bool = False
    "By UPDATE, if the peer takes that."
    is_refresh: bool = False
    "Of the session timer: nobody waits for its outcome."
    glares: int = 0


@dataclass(slots=True)
class Success:
    """A 2xx of ours to a re-INVITE, until its ACK is there."""

    transaction: ServerTransaction
    cseq: int
    response: Response
    is_offer: bool
    interval: float = T1
    resend: Alarm | None = None
    deadline: Alarm | None = None


class Reoffers:
    """The offers and answers of one dialog, after the INVITE that made it."""

    def __init__(self, session: Session, dialog: Dialog, open_: Open | None) -> None:
        """`open_`: whose offer the INVITE has; None: it has none."""
        self.dialog = dialog
        self.open = open_
        self.local = b""
        "What we said last, in force or still to be answered."
        self.remote = b""
        "What the peer said last."
        self._session = session
        self._timers = session.core.timers
        self.peer_allows: tuple[str, ...] = ()
        "Methods that the peer takes, as it said last; empty where it never did."
        self._peer_takes_update = False
        "By its Allow."
        self._is_update_refused = False
        "For all that."
        self._is_settled = False
        "The offer of the INVITE is answered for sure: UPDATE may offer again."
        self._is_up = False
        "The INVITE is acknowledged: another one may follow."
        self._queue: deque[Proposal] = deque()
        self._ours: Proposal | None = None
        self._request: DialogRequest
        self._pracks: PrackSender
        self._early_answer: bytes | None = None
        self._theirs: ServerTransaction | None = None
        self._success: Success | None = None
        self._pause: Alarm | None = None
        self._patience: Alarm | None = None
        "About the peer's request."
        self._give_up: Alarm | None = None
        "About ours."

    # What the INVITE tells.

    def learn(self, message: Message) -> None:
        """Note whether the peer takes UPDATE, of a message with an Allow."""
        try:
            allowed = message.allow
        except RemoteProtocolError:
            return
        if allowed:
            self.peer_allows = allowed
            self._peer_takes_update = "UPDATE" in allowed

    def settle(self, now: float) -> None:
        """The offer of the INVITE, if it was answered at all, is for sure: UPDATE may offer."""
        self._is_settled = self._is_settled or bool(self.remote)
        self._advance(now)

    def begin(self, now: float) -> None:
        """The INVITE is answered and acknowledged: changes may follow by either method."""
        self._is_up = self._is_settled = True
        self._advance(now)

    # Ours.

    def propose(self, proposal: Proposal, now: float) -> None:
        """Send a change as soon as nothing else is under way."""
        if len(self._queue) >= MAX_QUEUED:
            self._fail(proposal, 491, now)
            return
        self._queue.append(proposal)
        self._advance(now)

    def acknowledge(self, answer: bytes | None, now: float) -> None:
        """Answer the offer that the peer made in its 2xx to our re-INVITE."""
        if self._ours is None or self._request.is_pending or self.open is not Open.THEIRS:
            return
        self.local = answer or self.local
        self.open = None
        self._request.acknowledge(answer, now)
        self._finish(now)

    def _advance(self, now: float) -> None:
        """Send the next change of ours, if its time has come."""
        if (
            not self._queue
            or self._session.is_ended
            or self._pause is not None
            or self._ours is not None
            or self._theirs is not None
            or self._success is not None
            or self.open is not None
        ):
            return
        proposal = self._queue[0]
        if proposal.by_update and self._may_update:
            method = "UPDATE"
        elif self._is_up:
            method = "INVITE"
        else:
            return
        self._ours = self._queue.popleft()
        self._send(method, now)

    @property
    def _may_update(self) -> bool:
        """Whether an UPDATE may go out that has an offer."""
        return self._is_settled and self._peer_takes_update and not self._is_update_refused

    def _send(self, method: str, now: float) -> None:
        proposal = self._ours
        assert proposal is not None
        sdp = proposal.sdp() if callable(proposal.sdp) else proposal.sdp
        if proposal.is_refresh and method == "INVITE":
            sdp = self.local  # §14.1 and RFC 4028 §7.4: the same again says that nothing changes
        self._early_answer = None
        self._pracks = PrackSender(self._session, self.dialog)
        self._request = DialogRequest(
            self._session,
            self.dialog,
            method,
            self._on_reply,
            headers=(ALLOW, SUPPORTED_UNRELIABLE, *self._session.timer.headers),
            has_contact=True,
            body=sdp or b"",
        )
        self.open = Open.OURS if sdp else None
        self._give_up = None
        self._request.send(now)

    def _on_impatience(self, now: float) -> None:
        """A re-INVITE that rings for ever keeps every other change waiting."""
        self._request.cancel(now)
        self._give_up = self._timers.start(now + 64 * T1, self._on_silence)

    def _on_silence(self, now: float) -> None:
        self._on_reply(408, None, now)

    def _on_reply(self, status: int, response: Response | None, now: float) -> None:
        if status < 200:
            assert response is not None
            self._on_provisional(response, now)
            return
        self._timers.stop(self._give_up)
        if self._session.is_ended:
            # §15: our BYE has crossed it; a 2xx is acknowledged all the same (S14).
            if status < 300 and self._request.method == "INVITE":
                self._request.acknowledge(None, now)
        elif status < 300:
            assert response is not None
            self._on_success(response, now)
        else:
            self._on_refusal(status, response, now)

    def _on_provisional(self, response: Response, now: float) -> None:
        """See that it comes to an end, for an INVITE under way has no timer any more (§17.1.1.2).

        We do not ask for reliable ones here; a peer that sends them must have its PRACK.
        """
        if self._give_up is None and self._request.method == "INVITE":
            self._give_up = self._timers.start(now + PATIENCE_S, self._on_impatience)
        if self._pracks.accept(response):
            self._pracks.send(None, now)
            self._early_answer = sdp_of(response) or self._early_answer

    def _on_success(self, response: Response, now: float) -> None:
        proposal, request = self._ours, self._request
        assert proposal is not None
        self.dialog.refresh_target(response)
        self.learn(response)
        if self.dialog.is_confirmed:
            self._session.timer.take_answer(response, now)
        sdp = sdp_of(response) or self._early_answer
        if request.method == "INVITE" and not request.body:
            self.remote = sdp or self.remote
            if sdp is not None:
                self.open = Open.THEIRS
                self._tell(ReofferAnswered(self._session, sdp, is_offer=True))
                return  # the user acknowledges it with the answer
            request.acknowledge(None, now)
            self._tell(ReofferFailed(self._session, 488))
        else:
            if request.method == "INVITE":
                request.acknowledge(None, now)
            if request.body:
                self.local = request.body
            if not proposal.is_refresh or sdp not in (None, self.remote):
                self._tell(ReofferAnswered(self._session, sdp))
            self.remote = sdp or self.remote
            self.open = None
        self._finish(now)

    def _on_refusal(self, status: int, response: Response | None, now: float) -> None:
        """See whether it can be tried again; else nothing has changed (S13)."""
        proposal, method = self._ours, self._request.method
        assert proposal is not None
        self.open = None
        timer = self._session.timer
        if status in (408, 481) and self.dialog.is_confirmed:
            # RFC 3261 §12.2.1.2: there is nobody any more.
            cause = EndCause.SESSION_EXPIRED if proposal.is_refresh else EndCause.LOST
            self._ours = None
            self._session.quit(cause, now)
        elif status == 422 and response is not None and timer.raise_minimum(response):
            self._send(method, now)
        elif status in (405, 501) and method == "UPDATE":
            self._is_update_refused = True
            self._again(proposal, now)
        elif status == 491 and proposal.glares < MAX_GLARES:
            first, last = GLARE_OWNER_S if self._session.is_caller else GLARE_OTHER_S
            steps = int(self._session.core.draw() * (round((last - first) * 100) + 1))
            self._pause = self._timers.start(now + first + steps / 100, self._on_pause_over)
            self._again(replace(proposal, glares=proposal.glares + 1), now)
        else:
            self._ours = None
            self._fail(proposal, status, now)
            self._advance(now)

    def _again(self, proposal: Proposal, now: float) -> None:
        self._ours = None
        self._queue.appendleft(proposal)
        self._advance(now)

    def _on_pause_over(self, now: float) -> None:
        self._pause = None
        self._advance(now)

    def _fail(self, proposal: Proposal, status: int, now: float) -> None:
        if proposal.is_refresh:
            self._session.timer.retry(now)
        else:
            self._tell(ReofferFailed(self._session, status))

    def _finish(self, now: float) -> None:
        self._ours = None
        self._advance(now)

    # Theirs.

    def receive(self, transaction: ServerTransaction, now: float) -> None:
        """Take a re-INVITE or UPDATE of the peer."""
        request = transaction.request
        sdp = sdp_of(request)
        status = self._judge(request.method, sdp)
        too_short = self._session.timer.inspect(request)
        if status is not None:
            self._refuse(transaction, status, now)
        elif too_short is not None:
            self._session.respond(transaction, too_short.status, now, too_short.headers)
        elif request.method == "UPDATE" and sdp is None:
            self._accept_update(transaction, None, now)
        else:
            self.ask(transaction, sdp, now)

    def ask(self, transaction: ServerTransaction, sdp: bytes | None, now: float) -> None:
        """Ask our user about an offer of the peer, or for one."""
        is_invite = transaction.request.method == "INVITE"
        self._theirs = transaction
        if sdp is not None:
            self.open = Open.THEIRS
        patience = PATIENCE_S if is_invite else PROMPT_S
        self._patience = self._timers.start(now + patience, self._on_indecision)
        self._tell(Reoffered(self._session, sdp, not is_invite, self.dialog.id))

    def accept(self, sdp: bytes, now: float) -> bool:
        """Answer what `ask` asked with our answer, or offer. False: it asks no more."""
        transaction = self._theirs
        if transaction is None:
            return False
        self._theirs = None
        self._timers.stop(self._patience)
        offer = sdp_of(transaction.request)
        self.local = sdp
        self.remote = offer or self.remote
        self.open = None if offer is not None else Open.OURS
        if transaction.request.method == "INVITE":
            self._accept_invite(transaction, sdp, now)
        elif transaction.request.method == "UPDATE":
            self._accept_update(transaction, sdp, now)
        else:
            self._session.respond(transaction, 200, now, body=sdp)
            self._advance(now)
        return True

    def refuse(self, status: int, now: float) -> bool:
        """Leave the session as it is. False: nothing asks any more."""
        transaction = self._theirs
        if transaction is None:
            return False
        self._theirs = None
        self._timers.stop(self._patience)
        self.open = None
        self._session.respond(transaction, status, now)
        self._advance(now)
        return True

    def _on_indecision(self, now: float) -> None:
        assert self._theirs is not None
        self.refuse(500 if self._theirs.request.method == "INVITE" else 504, now)

    def cancel(self, transaction: ServerTransaction, now: float) -> None:
        """The peer takes its re-INVITE back."""
        if self._theirs is transaction:
            self.refuse(487, now)

    def receive_ack(self, request: Request, now: float) -> None:
        """Take the ACK to our 2xx to a re-INVITE; to an offer of ours it has to bring an answer."""
        success = self._success
        if success is None or request.cseq.number != success.cseq:
            return
        self._session.note(False, request, now)
        self._forget_success()
        if success.is_offer:
            answer = sdp_of(request)
            self.open = None
            if answer is None:
                self._session.quit(EndCause.NO_ANSWER_SDP, now)
                return
            self.remote = answer
            self._tell(ReofferAnswered(self._session, answer))
        self._advance(now)

    def close(self, now: float) -> None:
        """The dialog is over: what the peer has asked gets 487, nothing more is sent (§15.1.2)."""
        self._queue.clear()
        self._timers.stop(self._pause)
        self._forget_success()
        self.refuse(487, now)
        self._timers.stop(self._give_up)
        if self._ours is not None and self._request.is_pending:
            self._request.cancel(now)
        elif self._ours is not None:
            self._request.acknowledge(None, now)  # its answer will never be made

    def _judge(self, method: str, sdp: bytes | None) -> int | None:
        """The status that a request has to be refused with (RFC 6337 §4.3); None: it may ask."""
        theirs = self._theirs
        if method == "UPDATE" and sdp is None:
            return 500 if theirs is not None and theirs.request.method == "UPDATE" else None
        if theirs is not None or (self._success is not None and self._success.is_offer):
            return 500  # S12
        if method == "INVITE" and self._ours is not None:
            return 491  # S11
        if self.open is Open.OURS:
            return 491
        return 500 if self.open is Open.THEIRS else None

    def _refuse(self, transaction: ServerTransaction, status: int, now: float) -> None:
        """§14.2: after a 500 the peer is to try again after a random while."""
        wait = str(int(self._session.core.draw() * 11))
        headers = (("Retry-After", wait),) if status == 500 else ()
        self._session.respond(transaction, status, now, headers)

    def _accept_invite(self, transaction: ServerTransaction, sdp: bytes, now: float) -> None:
        self._forget_success()  # the peer has had that 2xx, or it could not ask again
        request = transaction.request
        response = self._build_success(request, sdp, now)
        success = self._success = Success(
            transaction, request.cseq.number, response, self.open is Open.OURS
        )
        transaction.respond(response, now)
        success.resend = self._timers.start(now + T1, self._on_resend)
        success.deadline = self._timers.start(now + 64 * T1, self._on_deadline)

    def _accept_update(self, transaction: ServerTransaction, sdp: bytes | None, now: float) -> None:
        transaction.respond(self._build_success(transaction.request, sdp, now), now)
        self._advance(now)

    def _build_success(self, request: Request, sdp: bytes | None, now: float) -> Response:
        self.dialog.refresh_target(request)  # only now: a refused one changes nothing (RFC 6141)
        # A session that is not answered has no time to expire: its INVITE will set that.
        is_up = self.dialog.is_confirmed
        timer = self._session.timer.answer(request, now) if is_up else ()
        return self._session.build(
            request,
            200,
            headers=(
                self._session.contact_header(self.dialog.flow),
                ALLOW,
                SUPPORTED_UNRELIABLE,
                *timer,
            ),
            body=sdp or b"",
        )

    def _on_resend(self, now: float) -> None:
        success = self._success
        assert success is not None
        success.transaction.respond(success.response, now)
        success.interval = min(2 * success.interval, T2)
        success.resend = self._timers.start(now + success.interval, self._on_resend)

    def _on_deadline(self, now: float) -> None:
        self._forget_success()
        self._session.quit(EndCause.NO_ACK, now)

    def _forget_success(self) -> None:
        if self._success is not None:
            self._timers.stop(self._success.resend)
            self._timers.stop(self._success.deadline)
            self._success = None

    def _tell(self, event: Reoffered | ReofferAnswered | ReofferFailed) -> None:
        if not self._session.is_ended:
            self._session.emit(event)

"""Provisional responses that arrive for sure, and the PRACK that says so (RFC 3262)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.errors import RemoteProtocolError
from gateway.sip.dialog import Dialog
from gateway.sip.grammar import parse_number
from gateway.sip.header import MAX_CSEQ
from gateway.sip.message import Request, Response
from gateway.sip.timers import Alarm
from gateway.sip.transaction import T1, ServerTransaction
from gateway.sip.within import DialogRequest

if TYPE_CHECKING:
    from gateway.sip.core import Core
    from gateway.sip.session import Session

TAG = "100rel"
MAX_PRACKS = 16
"PRACKs of one dialog that wait for their answer; what a callee says beyond that is not heard."
MAX_WAITING = 8
"Provisional responses that wait for the PRACK of one before them; of more, some are left out."


def rseq_of(response: Response) -> int | None:
    """The number of a provisional response that was sent reliably; None of any other."""
    text = response.headers.get("RSeq")
    if text is None or not 100 < response.status < 200:
        return None
    try:
        return parse_number(text) if TAG in response.require else None
    except RemoteProtocolError:
        return None


class PrackSender:
    """The UAC's side of one dialog: takes what comes in order, and acknowledges it."""

    def __init__(
        self,
        session: Session,
        dialog: Dialog,
        on_answered: Callable[[float], None] = lambda now: None,
    ) -> None:
        """`on_answered` is called when the peer has taken a PRACK."""
        self._session = session
        self._dialog = dialog
        self._on_answered = on_answered
        self._rseq: int | None = None
        self._due: str | None = None
        self._pending = 0

    def accept(self, response: Response) -> bool:
        """Whether a reliable response is the next one: to be processed, and then `send`."""
        rseq = rseq_of(response)
        if rseq is None or self._due is not None or self._pending >= MAX_PRACKS:
            return False
        if self._rseq is not None and rseq != self._rseq + 1:
            return False  # a retransmission, or one before it was lost (§4)
        self._rseq = rseq
        self._due = f"{rseq} {response.cseq.number} {response.cseq.method}"
        return True

    def send(self, answer: bytes | None, now: float) -> None:
        """Acknowledge what was accepted last; with our answer if it was an offer."""
        if self._due is None:
            return
        headers = (("RAck", self._due),)
        self._due = None
        self._pending += 1
        DialogRequest(
            self._session,
            self._dialog,
            "PRACK",
            self._on_reply,
            headers=headers,
            body=answer or b"",
        ).send(now)

    def _on_reply(self, status: int, response: Response | None, now: float) -> None:
        if status >= 200:
            # One that is refused leaves it to the callee to go on or to give up (§3).
            self._pending -= 1
            if status < 300:
                self._on_answered(now)


class ReliableSender:
    """The UAS's side of one INVITE: one response at a time, resent until its PRACK is there."""

    def __init__(
        self,
        core: Core,
        transaction: ServerTransaction,
        *,
        build: Callable[[int, tuple[tuple[str, str], ...], bytes | None], Response],
        on_expired: Callable[[float], None],
    ) -> None:
        """
        Args:
            build: makes a response of a status, headers and a body.
            on_expired: no PRACK came for 64*T1.
        """
        self._core = core
        self._transaction = transaction
        self._cseq = transaction.request.cseq
        self._build = build
        self._on_expired = on_expired
        # §3: between 1 and 2**31 - 1 at the beginning, one more each time.
        self._rseq = int(core.draw() * MAX_CSEQ)
        self._waiting: deque[tuple[int, bytes | None]] = deque()
        self._unacknowledged: Response | None = None
        self._data = b""
        self._interval = T1
        self._resend: Alarm | None = None
        self._deadline: Alarm | None = None

    @property
    def is_due(self) -> bool:
        """Whether a PRACK is still to come."""
        return self._unacknowledged is not None

    @property
    def owes_sdp(self) -> bool:
        """Whether a session description is not acknowledged: a 2xx has to wait for that."""
        return bool(
            (self._unacknowledged is not None and self._unacknowledged.body)
            or any(body for _, body in self._waiting)
        )

    def send(self, status: int, body: bytes | None, now: float) -> None:
        """Send a provisional response, after those before it."""
        if (status, body) in self._waiting:
            return
        if len(self._waiting) >= MAX_WAITING:
            if body is None:
                return
            self._waiting.popleft()
        self._waiting.append((status, body))
        self.advance(now)

    def advance(self, now: float) -> None:
        """Send the next that waits, if nothing is unacknowledged."""
        if self._unacknowledged is not None or not self._waiting:
            return
        status, body = self._waiting.popleft()
        self._rseq += 1
        headers = (("Require", TAG), ("RSeq", str(self._rseq)))
        response = self._unacknowledged = self._build(status, headers, body)
        self._data = bytes(response)
        self._transaction.respond(response, now)
        self._interval = T1
        self._resend = self._core.timers.start(now + T1, self._on_resend)
        self._deadline = self._core.timers.start(now + 64 * T1, self._on_deadline)

    def matches(self, request: Request) -> bool:
        """Whether a PRACK means what is unacknowledged.

        Raises:
            RemoteProtocolError: it has no RAck that can be read.
        """
        words = (request.headers.get("RAck") or "").split()
        if len(words) != 3:
            raise RemoteProtocolError("no RAck of three words")
        return (
            self._unacknowledged is not None
            and parse_number(words[0]) == self._rseq
            and parse_number(words[1], MAX_CSEQ) == self._cseq.number
            and words[2] == self._cseq.method
        )

    def acknowledge(self) -> Response:
        """What is unacknowledged has arrived. Then answer the PRACK, and `advance`."""
        response, self._unacknowledged = self._unacknowledged, None
        assert response is not None
        self._stop_timers()
        return response

    def stop(self) -> None:
        """The final response is out: nothing is resent any more, a late PRACK still matches."""
        self._waiting.clear()
        self._stop_timers()

    def _on_resend(self, now: float) -> None:
        self._core.send(self._data, self._transaction.flow)
        self._interval *= 2  # and not capped at T2, for a PRACK is resent by itself (§3)
        self._resend = self._core.timers.start(now + self._interval, self._on_resend)

    def _on_deadline(self, now: float) -> None:
        self._stop_timers()
        self._on_expired(now)

    def _stop_timers(self) -> None:
        self._core.timers.stop(self._resend)
        self._core.timers.stop(self._deadline)

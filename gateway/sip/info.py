"""INFO within a session: keys, as carriers without RFC 4733 send them (RFC 2976, not RFC 6086)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.errors import RemoteProtocolError
from gateway.sip.event import EndCause, InfoAnswered, Informed
from gateway.sip.message import Response
from gateway.sip.transaction import ServerTransaction
from gateway.sip.within import DialogRequest

if TYPE_CHECKING:
    from gateway.sip.dialog import Dialog
    from gateway.sip.session import Session

DIGIT_TYPES = ("application/dtmf-relay", "application/dtmf")
"Bodies of INFO that are taken."

Body = tuple[str, bytes]
"Content type and body of an INFO."

MAX_WAITING = 64
"INFOs that wait for the one before them: each is a key, and nobody presses them so fast."


class Infos:
    """The INFOs of one session, both ways.

    Ours go out one at a time: two under way may overtake each other, and then the peer has to
    refuse the one with the lower number (RFC 3261 §12.2.2), and a digit is lost.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._waiting: deque[tuple[Dialog, list[Body]]] = deque()
        self._sent: tuple[Dialog, list[Body]] | None = None
        self._refused: set[str] = set()
        "Content types that the peer does not take."

    def send(self, dialog: Dialog, bodies: Sequence[Body], now: float) -> bool:
        """Send one after those before it.

        Args:
            bodies: the same in several types: the first that the peer takes is the one.

        Returns:
            False where more than `MAX_WAITING` wait: it is left out.
        """
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append((dialog, list(bodies)))
        self._advance(now)
        return True

    def receive(self, transaction: ServerTransaction, now: float) -> None:
        """Take one of the peer, and answer it."""
        respond, request = self._session.respond, transaction.request
        try:
            kind = request.content_type
        except RemoteProtocolError:
            return respond(transaction, 400, now)
        if not request.body:
            return respond(transaction, 200, now)
        if kind is None or kind.name not in DIGIT_TYPES:
            return respond(transaction, 415, now, (("Accept", ", ".join(DIGIT_TYPES)),))
        self._session.emit(Informed(self._session, kind.name, request.body))
        return respond(transaction, 200, now)

    def close(self) -> None:
        """The session is over."""
        self._waiting.clear()

    def _advance(self, now: float) -> None:
        if self._sent is None and self._waiting:
            self._sent = self._waiting.popleft()
            self._try(*self._sent, now)

    def _try(self, dialog: Dialog, bodies: list[Body], now: float) -> None:
        while len(bodies) > 1 and bodies[0][0] in self._refused:
            del bodies[0]
        content_type, body = bodies[0]
        DialogRequest(
            self._session, dialog, "INFO", self._on_reply, content_type=content_type, body=body
        ).send(now)

    def _on_reply(self, status: int, response: Response | None, now: float) -> None:
        """What a peer has against an INFO ends nothing, unless it knows no such session."""
        if status < 200 or self._sent is None:
            return
        dialog, bodies = self._sent
        if status == 415:
            self._refused.add(bodies[0][0])
            if len(bodies) > 1 and not self._session.is_ended:
                self._try(dialog, bodies, now)
                return
        self._sent = None
        if self._session.is_ended:
            return
        if status == 481:
            self._session.quit(EndCause.LOST, now)
        else:
            self._session.emit(InfoAnswered(self._session, status))
            self._advance(now)

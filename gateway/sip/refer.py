"""REFER within a session, and the NOTIFYs that tell what came of it (RFC 3515, RFC 4488).

A subscription outlives the INVITE session by a little: who transfers may hang up before it is
told how that went (RFC 5057 §4.1, S20).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.errors import RemoteProtocolError
from gateway.sip.event import EndCause, ReferAsked, ReferDone, ReferProgress
from gateway.sip.grammar import clean, decode
from gateway.sip.header import parse_address, parse_values
from gateway.sip.inspection import ALLOW, SUPPORTED
from gateway.sip.message import Request, Response
from gateway.sip.reason import REASONS
from gateway.sip.timers import Alarm
from gateway.sip.transaction import T1, ServerTransaction
from gateway.sip.uri import Uri
from gateway.sip.within import DialogRequest

if TYPE_CHECKING:
    from gateway.sip.dialog import Dialog
    from gateway.sip.session import Session

EXPIRES_S = 180.0
"How long a transfer may take: a phone rings for a minute or two."
AFTER_BYE_S = 32.0
"How much longer its outcome is waited for once the session is over."
PROMPT_S = 10.0
"How long our user may think about a REFER, whose client gives up after 32 s; then 603."
NOTIFY_EACH_S = 1.0
"Shortest time between two NOTIFYs, but for the last (RFC 3515 §3.10)."
MAX_REASON_CHARACTERS = 128
"Of a reason phrase in a NOTIFY; it is for people only."
UNTOLD = 408
"What an outcome counts as that was never told."

SIPFRAG = "message/sipfrag;version=2.0"
_ALLOW_EVENTS = ("Allow-Events", "refer")
_SCHEMES = ("sip", "sips", "tel")


class Subscription:
    """A REFER of ours, until it is known what came of it."""

    def __init__(
        self,
        session: Session,
        dialog: Dialog,
        target: Uri,
        replaces: str | None,
        referred_by: str | None,
    ) -> None:
        if replaces is not None:
            target = replace(target, headers=(*target.headers, ("Replaces", replaces)))
        referred = (("Referred-By", referred_by),) if referred_by is not None else ()
        self.is_done = False
        self._session = session
        self._timers = session.core.timers
        self._is_told = False
        "Whether there was a NOTIFY."
        self._is_after = False
        "Whether the session is over."
        self._deadline: Alarm | None = None
        self._request = DialogRequest(
            session,
            dialog,
            "REFER",
            self._on_reply,
            headers=(("Refer-To", f"<{target}>"), *referred, ALLOW, SUPPORTED),
            has_contact=True,
        )

    def send(self, now: float) -> None:
        """Send the REFER."""
        self._request.send(now)

    def receive(self, transaction: ServerTransaction, event_id: str | None, now: float) -> None:
        """Take a NOTIFY of the event refer."""
        request = transaction.request
        if self.is_done or event_id not in (None, str(self._request.cseq)):  # §2.4.6
            self._session.respond(transaction, 481, now)
            return
        self._session.respond(transaction, 200, now)
        self._is_told = True
        status, reason = read_sipfrag(request)
        if status >= 200:
            self._finish(status)
        elif _is_terminated(request):
            self._finish(UNTOLD)
        else:
            if status:
                self._session.emit(ReferProgress(self._session, status, reason))
            if not self._is_after:
                self._wait(EXPIRES_S, now)

    def close(self, now: float) -> None:
        """The session is over: the outcome is waited for a little longer."""
        if not self._is_after:
            self._is_after = True
            self._wait(AFTER_BYE_S, now)

    def _on_reply(self, status: int, response: Response | None, now: float) -> None:
        if status < 200 or self.is_done:
            return
        if status >= 300:
            self._finish(status)
            if status == 481 and not self._session.is_ended:
                self._session.quit(EndCause.LOST, now)
        elif response is not None and _refuses_notify(response):
            self._finish(202)
        elif not self._is_told and not self._is_after:
            self._wait(64 * T1, now)

    def _wait(self, seconds: float, now: float) -> None:
        if not self.is_done:
            self._timers.stop(self._deadline)
            self._deadline = self._timers.start(now + seconds, lambda now: self._finish(UNTOLD))

    def _finish(self, status: int) -> None:
        if not self.is_done:
            self.is_done = True
            self._timers.stop(self._deadline)
            self._session.emit(ReferDone(self._session, status))
            self._session.leave()


class Notifier:
    """A REFER of the peer that we accepted, until the peer was told what came of it."""

    def __init__(self, session: Session, dialog: Dialog, refer: Request, *, is_first: bool) -> None:
        """`is_first`: in its dialog; a later one is named by its number (RFC 3515 §2.4.6)."""
        self.is_done = False
        self._session = session
        self._timers = session.core.timers
        self._dialog = dialog
        self._event = "refer" if is_first else f"refer;id={refer.cseq.number}"
        self._status, self._reason = 100, REASONS[100]
        self._is_news = False
        self._is_after = False
        "Whether the session is over."
        self._expires_at = 0.0
        self._sent: DialogRequest | None = None
        self._next_at = 0.0
        self._alarm: Alarm | None = None
        self._deadline: Alarm | None = None

    def start(self, now: float) -> None:
        """Tell at once that it is being tried."""
        self._expires_at = now + EXPIRES_S
        self._deadline = self._timers.start(self._expires_at, self._on_deadline)
        self._is_news = True
        self._advance(now)

    def notify(self, status: int, reason: str, now: float) -> None:
        """Tell how far it is; a final status is the last."""
        if self.is_done or self._status >= 200:
            return
        self._status, self._reason = status, reason
        self._is_news = True
        self._advance(now)

    def close(self, now: float) -> None:
        """The session is over: the outcome may still be told, for a little while."""
        if self._is_after:
            return
        self._is_after = True
        self._timers.stop(self._deadline)
        self._deadline = self._timers.start(now + AFTER_BYE_S, self._on_late)

    def _advance(self, now: float) -> None:
        """Send what is new, unless a NOTIFY is under way or was just sent."""
        if self.is_done or self._sent is not None or not self._is_news:
            return
        self._timers.stop(self._alarm)
        if self._status < 200 and now < self._next_at:
            self._alarm = self._timers.start(self._next_at, self._advance)
            return
        self._is_news = False
        self._next_at = now + NOTIFY_EACH_S
        self._send("noresource" if self._status >= 200 else None, now)

    def _send(self, ending: str | None, now: float) -> None:
        left = max(0, round(self._expires_at - now))
        state = f"terminated;reason={ending}" if ending else f"active;expires={left}"
        self._sent = DialogRequest(
            self._session,
            self._dialog,
            "NOTIFY",
            self._on_reply,
            headers=(("Event", self._event), ("Subscription-State", state), ALLOW, SUPPORTED),
            has_contact=True,
            content_type=SIPFRAG,
            body=write_sipfrag(self._status, self._reason),
        )
        if ending:
            self._timers.stop(self._alarm)
            self._status = max(self._status, 200)
        self._sent.send(now)

    def _on_reply(self, status: int, response: Response | None, now: float) -> None:
        if status < 200:
            return
        self._sent = None
        # Who does not want to hear it is not told any more (RFC 6665 §4.2.2).
        if status >= 300 or (self._status >= 200 and not self._is_news):
            self._finish()
        else:
            self._advance(now)

    def _on_deadline(self, now: float) -> None:
        """It has taken too long."""
        if self._sent is None:
            self._send("timeout", now)
        else:
            self._finish()

    def _on_late(self, now: float) -> None:
        if self._sent is not None:
            self._sent.cancel(now)
        self._finish()

    def _finish(self) -> None:
        self.is_done = True
        self._timers.stop(self._alarm)
        self._timers.stop(self._deadline)
        self._session.leave()


class Refers:
    """The REFERs of one session: one of ours and one of the peer at a time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._ours: Subscription | None = None
        self._asked: tuple[ServerTransaction, Dialog] | None = None
        self._patience: Alarm | None = None
        self._theirs: Notifier | None = None
        self._count = 0

    @property
    def is_open(self) -> bool:
        """Whether an outcome is still to be told, either way."""
        return self.is_waiting or (self._theirs is not None and not self._theirs.is_done)

    @property
    def is_waiting(self) -> bool:
        """Whether NOTIFYs may come."""
        return self._ours is not None and not self._ours.is_done

    def send(
        self,
        dialog: Dialog | None,
        target: Uri,
        replaces: str | None,
        referred_by: str | None,
        now: float,
    ) -> None:
        """Send a REFER. While there is one already, or no session yet, it has failed with 491."""
        if dialog is None or not dialog.is_confirmed or self.is_waiting:
            self._session.emit(ReferDone(self._session, 491))
            return
        self._ours = Subscription(self._session, dialog, target, replaces, referred_by)
        self._ours.send(now)

    def receive_refer(self, transaction: ServerTransaction, dialog: Dialog, now: float) -> None:
        """Take a REFER of the peer, and ask our user."""
        request = transaction.request
        is_busy = self._asked is not None or (self._theirs is not None and not self._theirs.is_done)
        if not dialog.is_confirmed or is_busy:
            self._session.respond(transaction, 491, now)
            return
        try:
            target, replaces = read_refer_to(request)
        except RemoteProtocolError as error:
            self._session.respond(transaction, error.status, now)
            return
        self._asked = (transaction, dialog)
        self._patience = self._session.core.timers.start(
            now + PROMPT_S, lambda now: self.refuse(603, now)
        )
        referred_by = request.headers.get("Referred-By")
        self._session.emit(
            ReferAsked(
                self._session,
                target,
                replaces,
                clean(referred_by) if referred_by is not None else None,
            )
        )

    def accept(self, now: float) -> None:
        """Answer it with 202, and tell that it is being tried."""
        asked = self._take_asked()
        if asked is None:
            return
        transaction, dialog = asked
        request = transaction.request
        self._count += 1
        contact = self._session.contact_header(dialog.flow)
        if _refuses_notify(request):
            self._session.respond(transaction, 202, now, (contact, ("Refer-Sub", "false")))
            return
        self._session.respond(transaction, 202, now, (contact,))
        self._theirs = Notifier(self._session, dialog, request, is_first=self._count == 1)
        self._theirs.start(now)

    def refuse(self, status: int, now: float) -> None:
        """Answer it with a failure."""
        asked = self._take_asked()
        if asked is not None:
            self._session.respond(asked[0], status, now)

    def notify(self, status: int, reason: str, now: float) -> None:
        """Tell the peer how far it is."""
        if self._theirs is not None:
            self._theirs.notify(status, reason[:MAX_REASON_CHARACTERS], now)

    def receive_notify(self, transaction: ServerTransaction, now: float) -> None:
        """Take a NOTIFY: 489 of another event, 481 of nothing that we asked for (RFC 6665)."""
        try:
            event = parse_values(transaction.request.headers.get("Event") or "")[0]
        except RemoteProtocolError:
            event = None
        if event is None or event.value.lower() != "refer":
            self._session.respond(transaction, 489, now, (_ALLOW_EVENTS,))
        elif self._ours is None:
            self._session.respond(transaction, 481, now)
        else:
            self._ours.receive(transaction, event.parameters.get("id"), now)

    def close(self, now: float) -> None:
        """The session is over; what is under way may still come to its end."""
        self.refuse(487, now)
        if self._ours is not None:
            self._ours.close(now)
        if self._theirs is not None and not self._theirs.is_done:
            self._theirs.close(now)

    def _take_asked(self) -> tuple[ServerTransaction, Dialog] | None:
        asked, self._asked = self._asked, None
        self._session.core.timers.stop(self._patience)
        return asked


def read_refer_to(request: Request) -> tuple[Uri, str | None]:
    """Whom a REFER means: the target without headers, and the value of a Replaces among these.

    Raises:
        RemoteProtocolError: not one Refer-To that can be read (400); of a scheme that is not
            dialled (416); of another method than INVITE (501).
    """
    values = request.headers.get_all("Refer-To")
    if len(values) != 1:
        raise RemoteProtocolError(f"{len(values)} Refer-To")
    uri = parse_address(values[0]).uri
    if uri.scheme not in _SCHEMES:
        raise RemoteProtocolError(f"Refer-To of {uri.scheme[:20]!r}", status=416)
    method = uri.parameters.get("method")
    if method is not None and method.upper() != "INVITE":
        raise RemoteProtocolError("Refer-To of another method", status=501)
    replaces = [value for name, value in uri.headers if name.lower() == "replaces"]
    if len(replaces) > 1:
        raise RemoteProtocolError("Refer-To with two Replaces")
    target = replace(uri, headers=(), parameters=uri.parameters.without("method"))
    return target, clean(replaces[0]) if replaces else None


def read_sipfrag(request: Request) -> tuple[int, str]:
    """Status and reason of the response that a NOTIFY tells of; (0, "") if it tells of none."""
    line = decode(request.body.lstrip(b"\r\n").partition(b"\n")[0]).rstrip("\r")
    version, _, rest = line.partition(" ")
    status, _, reason = rest.partition(" ")
    if version.upper() != "SIP/2.0" or len(status) != 3:
        return 0, ""
    if not (status.isascii() and status.isdigit()) or not 100 <= int(status) < 700:
        return 0, ""
    return int(status), clean(reason)[:MAX_REASON_CHARACTERS]


def write_sipfrag(status: int, reason: str) -> bytes:
    """The body of a NOTIFY (RFC 3515 §2.4.5)."""
    return f"SIP/2.0 {status} {reason}".encode("utf-8", "surrogateescape") + b"\r\n"


def _is_terminated(request: Request) -> bool:
    text = request.headers.get("Subscription-State") or ""
    return text.partition(";")[0].strip(" \t").lower() == "terminated"


def _refuses_notify(message: Request | Response) -> bool:
    """Whether there shall be no subscription (RFC 4488)."""
    text = message.headers.get("Refer-Sub") or ""
    return text.partition(";")[0].strip(" \t").lower() == "false"

"""Requests of ours within a dialog (RFC 3261 §12.2.1), sent again when challenged (§22.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.sip.authenticator import Attempt
from gateway.sip.core import follow_address
from gateway.sip.dialog import Dialog
from gateway.sip.flow import Destination, Flow
from gateway.sip.hunt import Hunt, hunt_within, is_reachable
from gateway.sip.message import Request, Response, parse_message
from gateway.sip.transaction import Failure
from gateway.sip.trial import Trial
from gateway.sip.uri import parse_uri

if TYPE_CHECKING:
    from gateway.sip.session import Session

STATUS_OF = {Failure.TIMEOUT: 408, Failure.TRANSPORT: 503}
"What a failure counts as (§8.1.3.1)."

Fields = tuple[tuple[str, str], ...]

Reply = Callable[[int, Response | None, float], None]
"Gets a status, the response unless there was none at all, and the time."


class DialogRequest:
    """A request within a dialog: where it goes, the credentials, and of an INVITE the ACK."""

    def __init__(
        self,
        session: Session,
        dialog: Dialog,
        method: str,
        on_reply: Reply,
        *,
        headers: Fields = (),
        has_contact: bool = False,
        content_type: str = "application/sdp",
        body: bytes = b"",
    ) -> None:
        """
        Args:
            on_reply: gets every response, provisional ones too, other than retransmissions and
                challenges that are answered; and once if there is none. It may be called from
                within `send`.
            has_contact: whether it refreshes the target.
        """
        self.method = method
        self.body = body
        self._session = session
        self._dialog = dialog
        self._on_reply = on_reply
        self._headers = headers
        self._has_contact = has_contact
        self._content_type = content_type
        self._attempt = Attempt()
        self._hunt: Hunt | None = None
        "While it may be cancelled: until there is a final response."
        self.cseq = 0
        "Of the last try."
        self._request: Request
        self._status = 0
        "Of the last response."
        self._ack: Ack | None = None

    def send(self, now: float) -> None:
        """Send it, the first time or with what answers the challenges met."""
        self._status = 0
        self.cseq = self._dialog.next_cseq()
        self._hunt = hunt_within(
            self._session.core,
            self._dialog,
            self._session,
            self._build,
            now,
            on_response=self._on_response,
            on_failure=self._on_failure,
        )

    @property
    def is_pending(self) -> bool:
        """Whether the final response is still to come."""
        return self._status < 200

    def acknowledge(self, answer: bytes | None, now: float) -> None:
        """Send the ACK to the 2xx of an INVITE; once."""
        if self._ack is None:
            self._ack = send_ack(self._session, self._dialog, self._request, answer, now)

    def cancel(self, now: float) -> None:
        """Take an INVITE back, or wait no longer for the response to anything else (§9.1).

        A response that crosses is reported all the same.
        """
        if self._hunt is not None:
            self._hunt.cancel(now)

    def _build(self, flow: Flow) -> Request:
        core = self._session.core
        contact = (self._session.contact_header(flow),) if self._has_contact else ()
        self._request = self._dialog.build(
            self.method,
            core.new_via(flow),
            cseq=self.cseq,
            headers=(*contact, *core.client_header, *self._headers),
            content_type=self._content_type,
            body=self.body,
        )
        if self._session.authenticator is not None:
            self._session.authenticator.authorize(self._attempt, self._request)
        return self._request

    def _on_response(self, response: Response, now: float) -> None:
        before, self._status = self._status, response.status
        if before >= 200:
            if self._ack is not None:  # a 2xx resent: its ACK was lost
                self._ack.send(self._session, now)
            return
        if before == response.status and "RSeq" not in response.headers:
            return
        self._session.note(False, response, now)
        if response.status >= 200:
            self._hunt = None
        authenticator = self._session.authenticator
        if (
            authenticator is not None
            and response.status in (401, 407)
            and authenticator.accept(response, self._attempt)
        ):
            self.send(now)
        else:
            self._reply(response, now)

    def _on_failure(self, failure: Failure, now: float) -> None:
        self._status = STATUS_OF[failure]
        self._hunt = None
        self._reply(None, now)

    def _reply(self, response: Response | None, now: float) -> None:
        on_reply = self._on_reply
        if self._status >= 200:
            # It was the last: who asked, and holds this, is let go.
            self._on_reply = _ignore
        on_reply(self._status, response, now)


def _ignore(status: int, response: Response | None, now: float) -> None:
    """Nobody waits any more."""


class Ack:
    """The ACK to a 2xx, which is sent again for each retransmission of that (§13.2.2.4)."""

    __slots__ = ("_data", "_flow")

    def __init__(self, data: bytes, flow: Flow) -> None:
        self._data = data
        self._flow = flow

    def send(self, session: Session, now: float) -> None:
        """Send it: over a new connection, if the one that it took is closed."""
        core = session.core
        if not core.is_closed(self._flow):
            core.send(self._data, self._flow)
            return
        ack = parse_message(self._data)
        assert isinstance(ack, Request)
        routes = [route.uri for route in ack.routes if route.uri.parameters.has("lr")]
        uri = routes[0] if routes else parse_uri(ack.uri)
        hunt = Hunt(
            core,
            session,
            lambda flow: self._move(session, ack, flow),
            on_response=_no_response,
            on_failure=_no_way,
            flow=core.follow(uri, self._flow),
            destination=Destination.of(uri) if is_reachable(uri) else None,
            permits=lambda hop: core.options.may_follow(hop.host, self._flow),
        )
        hunt.start(now)

    def _move(self, session: Session, ack: Request, flow: Flow) -> Request:
        """Make it one for another flow."""
        ack.headers.set("Via", str(session.core.new_via(flow)))
        self._data, self._flow = bytes(ack), flow
        return ack


def send_ack(
    session: Session, dialog: Dialog, invite: Request, answer: bytes | None, now: float
) -> Ack:
    """Acknowledge a 2xx end to end, with the credentials of the INVITE (§13.2.2.4)."""
    core = session.core
    uri = dialog.next_hop
    flow = follow_address(uri, core.follow(uri, dialog.flow), core.options.may_follow)
    message = dialog.build(
        "ACK",
        core.new_via(flow),
        cseq=invite.cseq.number,
        headers=core.client_header,
        body=answer or b"",
    )
    message.headers.copy_from(invite.headers, "Authorization", "Proxy-Authorization")
    session.note(True, message, now)
    ack = Ack(bytes(message), flow)
    ack.send(session, now)
    return ack


def _no_response(response: Response, trial: Trial, now: float) -> None:
    """Nobody answers an ACK."""


def _no_way(failure: Failure, now: float) -> None:
    """The peer will repeat its 2xx, and the ACK is tried again then."""

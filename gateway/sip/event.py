"""What the SIP endpoint reports: the events of sessions, as values.

Of every session there is one `Ended` and after it one `Gone`, with nothing but `Signalled`
between them: a cancelled INVITE still owes a late 200 its ACK and its BYE.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.sip.dialog import DialogId
    from gateway.sip.invite import Session
    from gateway.sip.invite_client import InviteClient
    from gateway.sip.invite_server import InviteServer
    from gateway.sip.message import Headers, Request, Response


class EndCause(Enum):
    """What ended a session."""

    LOCAL = "local"
    "Our own bye, cancel, reject or drop."
    REJECTED = "rejected"
    "The peer's final response, 300 to 699, to our INVITE."
    BYE = "bye"
    "The peer's BYE."
    CANCELLED = "cancelled"
    "The peer's CANCEL of its INVITE."
    TIMEOUT = "timeout"
    "Nothing at all came back on our INVITE (Timer B)."
    NO_ACK = "no-ack"
    "Our 200 was never acknowledged (RFC 3261 §13.3.1.4)."
    NO_ANSWER_SDP = "no-answer-sdp"
    "The ACK brought no answer to the offer in our 200."
    TRANSPORT = "transport"
    "The next hop cannot be reached."


@dataclass(frozen=True, slots=True)
class Incoming:
    """A new INVITE. 100 goes out by itself 200 ms later, unless the session is answered before."""

    session: InviteServer
    request: Request
    "As received, with `received` and `rport` noted in the topmost Via."


@dataclass(frozen=True, slots=True)
class Progressed:
    """A provisional response to our INVITE, 100 included."""

    session: InviteClient
    status: int
    "100 to 199."
    reason: str
    body: bytes | None
    "SDP of early media; None if there is none."
    dialog_id: DialogId | None
    "The early dialog, one for each fork; None for a 100."


@dataclass(frozen=True, slots=True)
class Answered:
    """The first 2xx to our INVITE: the session is up. With a late offer, call `session.ack`."""

    session: InviteClient
    body: bytes | None
    "The answer, or the peer's offer when our INVITE had none; None if the 2xx is bare."
    dialog_id: DialogId


@dataclass(frozen=True, slots=True)
class Acked:
    """The ACK to our 2xx came: now the session is up for both."""

    session: InviteServer
    body: bytes | None
    "The answer to the offer of our 2xx; None if we answered the offer of the INVITE."


@dataclass(frozen=True, slots=True)
class Informed:
    """An INFO within the session, answered 200 already (RFC 2976 usage: DTMF)."""

    session: Session
    content_type: str
    "Lower case, without parameters: application/dtmf-relay or application/dtmf."
    body: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over for its user; no command of it does anything any more."""

    session: Session
    cause: EndCause
    status: int | None
    "The final status of the INVITE, sent or received; None when a 2xx had been."
    reason: str
    "Reason phrase of that status, or the text of a Reason header of a BYE or CANCEL, or empty."
    retry_after_s: int | None = None
    "The peer's Retry-After; None if it sent none."
    headers: Headers | None = None
    "Of the message that ended it; None if no message did."


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing more of the session will be sent, and nothing of it is kept."""

    session: Session


@dataclass(frozen=True, slots=True)
class Signalled:
    """A message of the session went out or came in. Retransmissions are left out."""

    session: Session
    sent: bool
    at: float
    "Loop seconds."
    message: Request | Response


Event = Incoming | Progressed | Answered | Acked | Informed | Ended | Gone | Signalled

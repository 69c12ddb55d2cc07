"""What the SIP endpoint reports, as values: the events of sessions, and what belongs to none.

Of every session there is one `Ended` and after it one `Gone`, with nothing but `Signalled` and
the outcome of a REFER between them: a cancelled INVITE still owes a late 200 its ACK and its BYE,
and a transferor may hang up before it is told how the transfer went.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.sip.dialog import DialogId
    from gateway.sip.flow import Destination, Flow, Hop
    from gateway.sip.invite_client import InviteClient
    from gateway.sip.invite_server import InviteServer
    from gateway.sip.message import Headers, Request, Response
    from gateway.sip.replaces import Replaces
    from gateway.sip.session import Session
    from gateway.sip.transaction import Failure
    from gateway.sip.uri import Uri


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
    NO_PRACK = "no-prack"
    "A provisional response that had to arrive was never acknowledged (RFC 3262 §3)."
    LOST = "lost"
    "The peer has forgotten the session: 481, 408 or silence to a request within it (§12.2.1.2)."
    SESSION_EXPIRED = "session-expired"
    "The session was not refreshed in time (RFC 4028 §10)."


@dataclass(frozen=True, slots=True)
class Incoming:
    """A new INVITE. 100 goes out by itself 200 ms later, unless the session is answered before."""

    session: InviteServer
    request: Request
    "As received, with `received` and `rport` noted in the topmost Via."
    replaces: Replaces | None = None
    "What its Replaces header names; None if it has none."
    replaced: Session | None = None
    """The session of ours that it is to take the place of (RFC 3891), not yet ended.

    Whether this caller may is for the user to say. Answered, the old one is to be ended by `bye`;
    rejected, it stays as it is."""


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
    is_offer: bool = False
    "The body is the peer's offer, as our INVITE had none: answer it with `session.prack`."


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
class InfoAnswered:
    """The peer has answered an INFO of ours, or never will; they are answered in their order."""

    session: Session
    status: int
    "200 to 699; 408 where nothing came."


@dataclass(frozen=True, slots=True)
class Reoffered:
    """The peer wants the session changed: by re-INVITE, or by UPDATE or PRACK.

    Answer with `accept_reoffer` or `refuse_reoffer`, at once or soon: an UPDATE within
    `reoffer.PROMPT_S`, a re-INVITE within `reoffer.PATIENCE_S`, else it is refused.
    """

    session: Session
    sdp: bytes | None
    "Its offer; None: it wants ours, and its answer will come as `ReofferAnswered`."
    by_update: bool
    "By UPDATE or PRACK, which cannot wait for a person."
    dialog_id: DialogId
    "Of a fork, if the session is not yet answered."


@dataclass(frozen=True, slots=True)
class ReofferAnswered:
    """An offer after the first has its answer: the session is as changed from now on.

    With `is_offer` there is none yet: call `session.ack` with our answer.
    """

    session: Session
    sdp: bytes | None
    """The peer's answer to our offer, wherever we made it; None: it gave none, against RFC 3264.

    An answer to a session refresh is told only if it differs from the one before."""
    is_offer: bool = False
    "The peer's offer, for our re-INVITE had none."


@dataclass(frozen=True, slots=True)
class ReofferFailed:
    """The peer refused our re-INVITE or UPDATE: the session is as it was before (S13)."""

    session: Session
    status: int


@dataclass(frozen=True, slots=True)
class ReferAsked:
    """The peer asks us to call somebody (RFC 3515). Answer with `accept_refer` or `refuse_refer`.

    The target is anything a stranger may have written: it goes through the routes like a dialled
    number, if at all (A37).
    """

    session: Session
    target: Uri
    "Where to; without headers."
    replaces: str | None
    "Value of the Replaces header that the new INVITE is to carry; None for a blind transfer."
    referred_by: str | None
    "Value of the Referred-By header (RFC 3892); None if there is none."


@dataclass(frozen=True, slots=True)
class ReferProgress:
    """How far the transfer is that we asked for: a NOTIFY of a provisional response."""

    session: Session
    status: int
    "100 to 199."
    reason: str


@dataclass(frozen=True, slots=True)
class ReferDone:
    """The transfer that we asked for was done or has failed; once for each `refer`."""

    session: Session
    status: int
    """What the target gave, 200 to 699; or what refused the REFER.

    202: the peer took it and will not tell more. 408: it never told."""


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
    "The peer's Retry-After, or that of a hop before the one that failed; None if there is none."
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


class HopTrouble(Enum):
    """Why a hop was given up."""

    UNKNOWN = "unknown"
    "No address was found for the destination."
    UNREACHABLE = "unreachable"
    "Nobody takes what we send: refused, no TLS, unreachable (ICMP), or closed on us."
    SILENT = "silent"
    "It did not answer in time, or could not be connected to in time."
    OVERLOADED = "overloaded"
    "It answered 503 (RFC 3263 §4.3)."


@dataclass(frozen=True, slots=True)
class HopAnswered:
    """A hop gave its first response to a request of ours, and no 503. Once for each request."""

    destination: Destination
    hop: Hop
    flow: Flow
    "Over TCP to a UDP hop, if the request was too large for a datagram."


@dataclass(frozen=True, slots=True)
class HopFailed:
    """A hop was given up for a request of ours. Whether another is tried is not told here."""

    destination: Destination
    hop: Hop | None
    "None: there is no hop at all (`UNKNOWN`)."
    why: HopTrouble
    retry_after_s: int | None = None
    "Of a 503; None if it named none."


@dataclass(frozen=True, slots=True)
class Responded:
    """What became of an `OutgoingRequest`; once for each, challenges answered before."""

    id: str
    response: Response | None
    "The final response; None if there was none."
    failure: Failure | None
    "Why there was none."
    hop: Hop | None
    "That it went to last; None if it was sent on a given flow, or nowhere."
    flow: Flow | None
    "That it went out on last; None if nothing was sent."
    cseq: int
    "The last number used; a next request of the same Call-ID takes a higher one."


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """A request outside of dialogs, of a method that the options name. Answer with `respond`."""

    id: str
    request: Request
    "As received, with `received` and `rport` noted in the topmost Via."
    flow: Flow


SessionEvent = (
    Incoming
    | Progressed
    | Answered
    | Acked
    | Informed
    | InfoAnswered
    | Reoffered
    | ReofferAnswered
    | ReofferFailed
    | ReferAsked
    | ReferProgress
    | ReferDone
    | Ended
    | Gone
    | Signalled
)
"""What is told of a session: each has a `session`."""

EndpointEvent = HopAnswered | HopFailed | Responded | IncomingRequest
"""What is told of no session."""

Event = SessionEvent | EndpointEvent

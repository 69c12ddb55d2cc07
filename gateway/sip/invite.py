"""What an INVITE of ours is made of (RFC 3261 §13.2.1)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.authenticator import Credentials
from gateway.sip.flow import Destination, Flow
from gateway.sip.header import Address
from gateway.sip.hunt import NO_RESPONSE_S
from gateway.sip.session_timer import DEFAULT_SESSION_TIMER, SessionTimerOptions
from gateway.sip.uri import Uri

MAX_FORWARDS = 70
"Hops that a request which begins with us may take (RFC 3261 §8.1.1.6)."


@dataclass(frozen=True, slots=True)
class InviteRequest:
    """The INVITE to send."""

    target: Uri
    "Request-URI."
    from_: Address
    "A tag is set by the session."
    to: Address
    flow: Flow | None = None
    "The way to the next hop, if it is known: that of a registration. Or:"
    destination: Destination | None = None
    "Where the next hops are to be found; they are tried one after the other (RFC 3263 §4.3)."
    offer: bytes | None = None
    "SDP; None for a late offer, made by the peer in its 2xx."
    credentials: Credentials | None = None
    "Answer challenges to the requests of this session; None leaves 401 and 407 final."
    headers: tuple[tuple[str, str], ...] = ()
    "Further headers; structural ones (Via, Route, Contact, …) raise ValueError."
    max_forwards: int = MAX_FORWARDS
    "A B2BUA gives that of the other leg less one (RFC 7332)."
    max_breadth: int | None = None
    "Branches it may be forked into; a B2BUA gives that of the other leg (RFC 5393 §5.3)."
    route: tuple[Address, ...] = ()
    "Route set to begin with: a service route, or the path of a registration."
    contact_user: str | None = None
    "User part of our Contact."
    no_response_timeout_s: float = NO_RESPONSE_S
    "How long a hop may be silent while there is a further one."
    has_alternative: bool = False
    "Whether the call goes elsewhere if this fails: then no hop is waited for any longer than so."
    reliable: bool = True
    "Say that provisional responses may be sent reliably (RFC 3262); they are acknowledged anyway."
    session_timer: SessionTimerOptions | None = DEFAULT_SESSION_TIMER
    "The session timer to ask for; None asks for none."

    def __post_init__(self) -> None:
        if (self.flow is None) == (self.destination is None):
            raise ValueError("either a flow or a destination")

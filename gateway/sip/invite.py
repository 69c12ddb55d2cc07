"""What both ends of an INVITE session have in common (RFC 3261 §13 to §15)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.private import Secret
from gateway.sip.flow import Flow
from gateway.sip.header import Address
from gateway.sip.uri import Uri


@dataclass(frozen=True, slots=True)
class Login:
    """What answers a digest challenge (RFC 7616)."""

    username: str
    password: Secret
    realm: str | None = None
    "The only realm that may have it; None pins the first realm that asks."


@dataclass(frozen=True, slots=True)
class InviteRequest:
    """The INVITE to send."""

    target: Uri
    "Request-URI."
    from_: Address
    "Without a tag: the session makes its own."
    to: Address
    flow: Flow
    "The next hop."
    offer: bytes | None
    "SDP; None for a late offer, made by the peer in its 2xx."
    login: Login | None = None
    "Answers challenges to requests of this session; None leaves 401 and 407 final."
    headers: tuple[tuple[str, str], ...] = ()
    "Further headers; structural ones (Via, Route, Contact, …) raise ValueError."
    max_forwards: int = 70
    "A B2BUA gives that of the other leg less one (RFC 7332)."

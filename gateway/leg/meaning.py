"""What SIP says, in the words of legs: ends, reasons, and what may be shown to people."""

from __future__ import annotations

from gateway.errors import RemoteProtocolError
from gateway.leg.leg import Ended, EndReason, reason_of_status
from gateway.sip import event as sip
from gateway.sip.header import Address, parse_addresses
from gateway.sip.message import Headers, Request
from gateway.sip.reason import REASONS
from gateway.sip.uri import Uri

NO_MATTER_OF_THE_CALLER = frozenset({401, 407, 420, 421, 422, 423, 494})
"""What a trunk wants of us: our credentials, our extensions. A caller who is told so could do
nothing about it, and would have to be given a challenge with it (RFC 3261 §22, S17)."""

MAX_REASON_CHARACTERS = 256
"A line for a person; a reason phrase may be as long as the message."

MAX_METHOD_CHARACTERS = 16
"Longer than any that is registered."

MAX_CONTACTS = 5
"Contacts of a 3xx that are looked at; a hunt follows no more."

REASON_HEADERS = {
    # RFC 3326 §2: a phone that is told so keeps no missed call.
    EndReason.ANSWERED_ELSEWHERE: 'SIP;cause=200;text="Call completed elsewhere"',
    EndReason.SHUTDOWN: 'SIP;cause=503;text="The gateway stops"',
    EndReason.ICE_CONSENT: 'SIP;cause=408;text="ice_consent"',
    EndReason.AGENT_LOST: 'SIP;cause=503;text="agent_lost"',
}
"Why we hang up, where that is of use to a peer: the Reason of our CANCEL or BYE."

_REASON_OF_CAUSE = {
    sip.EndCause.BYE: EndReason.HANGUP,
    sip.EndCause.CANCELLED: EndReason.CANCELLED,
    sip.EndCause.TIMEOUT: EndReason.UNREACHABLE,
    sip.EndCause.TRANSPORT: EndReason.UNREACHABLE,
    sip.EndCause.NO_ACK: EndReason.NO_ACK,
    sip.EndCause.NO_PRACK: EndReason.NO_ACK,
    sip.EndCause.LOST: EndReason.UNREACHABLE,
    sip.EndCause.NO_ANSWER_SDP: EndReason.NO_COMMON_CODEC,
    sip.EndCause.SESSION_EXPIRED: EndReason.SESSION_EXPIRED,
}

_STATUS_OF_CAUSE = {sip.EndCause.TIMEOUT: 408, sip.EndCause.TRANSPORT: 503}


def told_end(event: sip.Ended, *, may_redirect: bool) -> Ended:
    """What it means that a session ended."""
    reason = _REASON_OF_CAUSE.get(event.cause)
    status = _STATUS_OF_CAUSE.get(event.cause, event.status or 0)
    if reason is None:
        reason = reason_of_status(status) if status >= 300 else EndReason.HANGUP
    is_redirected = may_redirect and 300 <= status < 400 and event.headers is not None
    return Ended(
        reason,
        status,
        words(event.reason),
        event.retry_after_s,
        contacts=_contacts(event.headers) if is_redirected and event.headers else (),
    )


def words(text: str) -> str:
    """A peer's own words as people, and JSON, can take them: no control characters (A15, A30)."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:MAX_REASON_CHARACTERS])


def rejection(reason: EndReason, status: int) -> int:
    """What a caller is told that a callee, or nobody, gave this status."""
    if status in NO_MATTER_OF_THE_CALLER:
        return 500
    # A redirection would need its Contact, which is not for the caller to know (A37).
    return status if status >= 400 else reason.status


def rung(event: sip.Signalled) -> str:
    """A method or a status, in words of ours: the peer's may name people and numbers."""
    message = event.message
    if isinstance(message, Request):
        method = message.method
        is_word = method.isalpha() and len(method) <= MAX_METHOD_CHARACTERS
        return method if is_word else "unknown method"
    return f"{message.status} {REASONS.get(message.status, '')}".rstrip()


def _contacts(headers: Headers) -> tuple[Uri, ...]:
    """Where a 3xx points, the best first (RFC 3261 §20.10: q)."""
    found: list[Address] = []
    for value in headers.get_all("Contact"):
        try:
            found += parse_addresses(value)
        except RemoteProtocolError:
            continue
    found.sort(key=_preference, reverse=True)
    return tuple(contact.uri for contact in found[:MAX_CONTACTS])


def _preference(contact: Address) -> float:
    text = contact.parameters.get("q") or "1"
    whole, _, fraction = text.partition(".")
    if whole not in ("0", "1") or not ((fraction.isascii() and fraction.isdigit()) or not fraction):
        return 0.0
    return float(f"{whole}.{fraction[:3] or '0'}")

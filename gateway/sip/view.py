"""Typed views of header fields, which requests and responses share (RFC 3261 §20)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.errors import RemoteProtocolError
from gateway.sip.field import Headers
from gateway.sip.grammar import MAX_NUMBER, is_token, parse_number
from gateway.sip.header import (
    Address,
    CSeq,
    MediaType,
    Via,
    parse_address,
    parse_addresses,
    parse_cseq,
    parse_media_type,
    parse_tokens,
    parse_vias,
)

MAX_MAX_FORWARDS = 255
"RFC 3261 §20.22."
MAX_MAX_BREADTH = 60
"What anybody may ask for at most (RFC 5393 §5.3.3)."


class MessageViews:
    """The typed views that requests and responses share; read on demand and kept.

    On a message out of `parse_message`, `vias from_ to call_id cseq max_forwards contacts routes
    record_routes` do not raise; the others raise RemoteProtocolError if the field is malformed.
    """

    __slots__ = ()
    headers: Headers
    body: bytes

    @property
    def vias(self) -> tuple[Via, ...]:
        """All hops, topmost first."""
        return self.headers.view("via", _read_vias)

    @property
    def via(self) -> Via:
        """The topmost hop."""
        vias = self.vias
        if not vias:
            raise RemoteProtocolError("no Via")
        return vias[0]

    @property
    def from_(self) -> Address:
        """The From."""
        return self.headers.view("from", _read_party)

    @property
    def to(self) -> Address:
        """The To."""
        return self.headers.view("to", _read_party)

    @property
    def call_id(self) -> str:
        """The Call-ID; compared byte by byte (RFC 3261 §20.8)."""
        return self.headers.view("call-id", _read_call_id)

    @property
    def cseq(self) -> CSeq:
        """The CSeq."""
        return self.headers.view("cseq", _read_cseq)

    @property
    def contacts(self) -> tuple[Address, ...]:
        """All contacts; none for `Contact: *`."""
        return self.headers.view("contact", _read_contacts)

    @property
    def is_contact_star(self) -> bool:
        """Whether the Contact is `*` (RFC 3261 §10.2.2)."""
        return self.headers.get("contact") == "*"

    @property
    def routes(self) -> tuple[Address, ...]:
        """The Route set that the request still has to visit."""
        return self.headers.view("route", _read_addresses)

    @property
    def record_routes(self) -> tuple[Address, ...]:
        """The Record-Route set, topmost first."""
        return self.headers.view("record-route", _read_addresses)

    @property
    def max_forwards(self) -> int | None:
        """Hops left; None when absent, as RFC 2543 elements leave it."""
        return self.headers.view("max-forwards", _read_max_forwards)

    @property
    def max_breadth(self) -> int | None:
        """Branches it may be forked into, 60 at most; None when absent or malformed (RFC 5393)."""
        return self.headers.view("max-breadth", _read_max_breadth)

    @property
    def content_type(self) -> MediaType | None:
        """The type of the body; None when absent."""
        return self.headers.view("content-type", _read_media_type)

    @property
    def require(self) -> tuple[str, ...]:
        """Option tags that must be understood."""
        return self.headers.view("require", _read_tokens)

    @property
    def supported(self) -> tuple[str, ...]:
        """Option tags the sender understands."""
        return self.headers.view("supported", _read_tokens)

    @property
    def allow(self) -> tuple[str, ...]:
        """Methods the sender takes; empty when it does not say."""
        return self.headers.view("allow", _read_tokens)

    @property
    def expires_s(self) -> int | None:
        """Expires in seconds, as large as 2**32 - 1; None when absent or malformed."""
        return self.headers.view("expires", _read_seconds)

    @property
    def retry_after_s(self) -> int | None:
        """Retry-After in seconds, as large as 2**32 - 1; None when absent or malformed."""
        return self.headers.view("retry-after", _read_seconds)


def _read_vias(values: list[str]) -> tuple[Via, ...]:
    return tuple(via for value in values for via in parse_vias(value))


def _read_addresses(values: list[str]) -> tuple[Address, ...]:
    return tuple(address for value in values for address in parse_addresses(value))


def _read_contacts(values: list[str]) -> tuple[Address, ...]:
    return () if values == ["*"] else _read_addresses(values)


def _read_party(values: list[str]) -> Address:
    """From or To. Its tag names a dialog, in a Replaces too: it is a token, or there is none."""
    if len(values) != 1:
        raise RemoteProtocolError(f"{len(values)} fields where one belongs")
    party = parse_address(values[0])
    if party.parameters.has("tag") and not is_token(party.tag or ""):
        raise RemoteProtocolError("a tag that is no token")
    return party


def _read_call_id(values: list[str]) -> str:
    if len(values) == 1:
        value = values[0]
        if value and value.isascii() and value.isprintable() and " " not in value:
            return value
    raise RemoteProtocolError("no Call-ID of one word")


def _read_cseq(values: list[str]) -> CSeq:
    if len(values) != 1:
        raise RemoteProtocolError(f"{len(values)} CSeqs")
    return parse_cseq(values[0])


def _read_max_forwards(values: list[str]) -> int | None:
    return parse_number(values[0], MAX_MAX_FORWARDS) if values else None


def _read_max_breadth(values: list[str]) -> int | None:
    breadth = _read_seconds(values)
    return None if breadth is None else min(breadth, MAX_MAX_BREADTH)


def _read_media_type(values: list[str]) -> MediaType | None:
    return parse_media_type(values[0]) if values else None


def _read_tokens(values: list[str]) -> tuple[str, ...]:
    return tuple(token for value in values for token in parse_tokens(value))


def _read_seconds(values: list[str]) -> int | None:
    """Delta-seconds, a comment or parameters after them ignored, capped (RFC 4475 §3.1.2.5)."""
    if not values:
        return None
    digits = values[0].partition(";")[0].partition("(")[0].strip(" \t")
    if not (digits.isascii() and digits.isdigit()):
        return None
    return MAX_NUMBER if len(digits.lstrip("0")) > 10 else min(MAX_NUMBER, int(digits))


HANDLED_BY: Mapping[str, Callable[[list[str]], object]] = {
    "via": _read_vias,
    "from": _read_party,
    "to": _read_party,
    "call-id": _read_call_id,
    "cseq": _read_cseq,
    "max-forwards": _read_max_forwards,
    "contact": _read_contacts,
    "route": _read_addresses,
    "record-route": _read_addresses,
}
"What every message is handled by, read with the message so that nobody later stumbles over it."

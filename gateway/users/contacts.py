"""Contacts: where the devices of a user are reached (RFC 3261 §10, RFC 3327, RFC 5626)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gateway.errors import RemoteProtocolError
from gateway.sip.flow import Flow
from gateway.sip.grammar import MAX_NUMBER, Quoted, parse_number
from gateway.sip.header import Address, parse_addresses
from gateway.sip.message import Request
from gateway.sip.uri import Parameters, Uri
from gateway.users.domain import is_address

DEFAULT_EXPIRES_S = 3600
"Asked for by who asks for nothing, or for no number (RFC 3261 §20.19)."
MAX_URI_CHARACTERS = 512
"Longest Contact kept: with its instance it must fit into a 200, ten times."
MAX_INSTANCE_CHARACTERS = 128
"A urn:uuid has 47."
MAX_PATH = 8
"Most proxies on the way to a contact."
MAX_PATH_CHARACTERS = 2048
"All of Path together: it goes into every INVITE to the contact."
MAX_REG_ID = 2**31 - 1
"RFC 5626 §4.2."

_COMPARED_ALWAYS = ("user", "ttl", "method", "maddr", "transport")
_SIP_PORT = 5060


class OutOfOrderError(Exception):
    """A REGISTER that a later one of the same device has overtaken (RFC 3261 §10.3 step 7)."""


@dataclass(frozen=True, slots=True)
class Contact:
    """One device of a user, bound until it expires or its connection closes."""

    id: int
    "Unlike any other of this process; kept over refreshes."
    uri: Uri
    "The Request-URI of requests to it, as it gave it."
    source: Flow
    "What its REGISTER came over."
    flow: Flow
    "What requests to it go over; the same, unless it listens on another port of its own."
    expires_at: float
    "Loop seconds."
    refreshed_at: float
    "Loop seconds."
    call_id: str
    cseq: int
    path: tuple[Address, ...] = ()
    "Proxies that requests to it have to visit: their Route."
    is_direct: bool = True
    "Whether no proxy was on the way: then the flow is the device's own."
    instance: str | None = None
    "Names the device itself (+sip.instance); None: it did not."
    reg_id: int | None = None
    "Which of the device's flows it is; None: it is not bound by flow (RFC 5626)."
    q: float = 1.0

    def to_address(self, now: float) -> Address:
        """As it stands in the Contact of a 200."""
        left = max(0, round(self.expires_at - now))
        pairs: list[tuple[str, str | None]] = [("expires", str(left))]
        if self.q != 1.0:
            pairs.append(("q", f"{self.q:g}"))
        if self.instance is not None:
            pairs.append(("+sip.instance", Quoted(f"<{self.instance}>")))
        if self.reg_id is not None:
            pairs.append(("reg-id", str(self.reg_id)))
        return Address("", self.uri, Parameters(pairs))


@dataclass(frozen=True, slots=True)
class Wish:
    """One Contact of a REGISTER: what a device asks for."""

    uri: Uri
    expires_s: int
    instance: str | None
    reg_id: int | None
    "None without an instance too: alone it means nothing (RFC 5626 §6)."
    q: float

    def is_for(self, contact: Contact) -> bool:
        """Whether it means a binding there is: the device's flow, or else the URI."""
        if self.reg_id is not None or contact.reg_id is not None:
            return (self.instance, self.reg_id) == (contact.instance, contact.reg_id)
        return is_same_uri(self.uri, contact.uri)


def read_wishes(request: Request) -> tuple[Wish, ...]:
    """The contacts of a REGISTER.

    Raises:
        RemoteProtocolError: one that is no SIP URI, or too long.
    """
    asked = request.expires_s
    default = DEFAULT_EXPIRES_S if asked is None else asked
    return tuple(_read_wish(address, default) for address in request.contacts)


def read_path(request: Request) -> tuple[Address, ...]:
    """The Path of a REGISTER (RFC 3327 §5.3).

    Raises:
        RemoteProtocolError: against the grammar, or too long.
    """
    values = request.headers.get_all("Path")
    if sum(map(len, values)) > MAX_PATH_CHARACTERS:
        raise RemoteProtocolError("Path too long")
    path = tuple(address for value in values for address in parse_addresses(value))
    if len(path) > MAX_PATH:
        raise RemoteProtocolError(f"Path of {len(path)} proxies")
    return path


def is_behind_nat(uri: Uri, source: Flow) -> bool:
    """Whether a datagram contact's own address is not where its datagrams come from."""
    return not source.is_reliable and not is_address(uri.host, source.remote[0])


def reach(uri: Uri, source: Flow) -> Flow:
    """How to reach a device of which no proxy and no RFC 5626 tells more.

    Over its connection; by datagrams at the very address its own came from. An honest device with
    an address of its own may listen on another port of it. Any other host a Contact names is
    never sent to: who logs in must not choose whom we call.
    """
    if source.is_reliable or not is_address(uri.host, source.remote[0]):
        return source
    return replace(source, remote=(source.remote[0], uri.port or _SIP_PORT))


def merge(
    contacts: Sequence[Contact], granted: Iterable[tuple[Wish, Contact]], call_id: str, cseq: int
) -> tuple[Contact, ...]:
    """The bindings after a REGISTER: all of what it asks, or nothing (RFC 3261 §10.3 step 7).

    Args:
        granted: each wish and what it becomes; a wish for 0 seconds removes.

    Raises:
        OutOfOrderError: a later request of the same device was there before.
    """
    after = list(contacts)
    for wish, contact in granted:
        place = next((n for n, old in enumerate(after) if wish.is_for(old)), None)
        if place is not None and after[place] in contacts:
            check_order(after[place], call_id, cseq)
        if place is None:
            after += [contact] if wish.expires_s else []
        elif wish.expires_s:
            after[place] = replace(contact, id=after[place].id)
        else:
            del after[place]
    return tuple(after)


def check_order(contact: Contact, call_id: str, cseq: int) -> None:
    """Refuse what was sent before that which made the binding.

    Raises:
        OutOfOrderError: it was.
    """
    if contact.call_id == call_id and cseq <= contact.cseq:
        raise OutOfOrderError


def choose_contacts(contacts: Iterable[Contact]) -> tuple[Contact, ...]:
    """Whom a call to a user rings: the preferred first; of one device one flow (RFC 5626 §7)."""
    chosen: list[Contact] = []
    for contact in sorted(contacts, key=lambda each: (-each.q, -each.refreshed_at, -each.id)):
        if contact.instance is None or all(c.instance != contact.instance for c in chosen):
            chosen.append(contact)
    return tuple(chosen)


def is_same_uri(one: Uri, other: Uri) -> bool:
    """Whether two SIP URIs are equivalent (RFC 3261 §19.1.4)."""
    if (one.scheme, one.user, one.password, one.host, one.port) != (
        other.scheme,
        other.user,
        other.password,
        other.host,
        other.port,
    ):
        return False
    names = {name for name, _ in one.parameters} | {name for name, _ in other.parameters}
    return all(
        _fold(one.parameters.get(name)) == _fold(other.parameters.get(name))
        for name in names
        if name in _COMPARED_ALWAYS or (one.parameters.has(name) and other.parameters.has(name))
    )


def _fold(value: str | None) -> str | None:
    return None if value is None else value.lower()


def _read_wish(address: Address, default_s: int) -> Wish:
    uri = replace(address.uri, headers=())  # a Request-URI has none (§19.1.1)
    if not uri.is_sip or len(str(uri)) > MAX_URI_CHARACTERS:
        raise RemoteProtocolError("a Contact that is no short SIP URI")
    parameters = address.parameters
    instance = _read_instance(parameters.get("+sip.instance"))
    return Wish(
        uri,
        _read_expires(parameters.get("expires"), default_s),
        instance,
        None if instance is None else _read_reg_id(parameters.get("reg-id")),
        _read_q(parameters.get("q")),
    )


def _read_instance(text: str | None) -> str | None:
    if text is None or len(text) > MAX_INSTANCE_CHARACTERS:
        return None
    # RFC 8141 §3.1: "urn:uuid" is the same in either case, and so are UUIDs.
    return text.removeprefix("<").removesuffix(">").lower() or None


def _read_reg_id(text: str | None) -> int | None:
    try:
        return parse_number(text or "", MAX_REG_ID) or None
    except RemoteProtocolError:
        return None


def _read_expires(text: str | None, default_s: int) -> int:
    if text is None:
        return default_s
    if not (text.isascii() and text.isdigit()):
        return DEFAULT_EXPIRES_S  # RFC 3261 §10.2.1.1
    digits = text.lstrip("0") or "0"
    return MAX_NUMBER if len(digits) > 9 else int(digits)


def _read_q(text: str | None) -> float:
    """A qvalue (RFC 3261 §25.1); one against the grammar says nothing."""
    whole, _, rest = (text or "1").partition(".")
    if whole not in ("0", "1") or len(rest) > 3 or not (rest.isascii() and f"0{rest}".isdigit()):
        return 1.0
    return min(1.0, float(f"{whole}.{rest or 0}"))

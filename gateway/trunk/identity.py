"""Who calls: what a peer says of it that may be believed, and what a trunk is shown.

RFC 3261 §8.1.1.3 (From), RFC 3323 (privacy), RFC 3325 (P-Asserted-Identity, which counts from a
trusted peer alone, A17), and Remote-Party-ID of draft-ietf-sip-privacy-04, which never became more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from gateway.errors import RemoteProtocolError, RoutingError
from gateway.private import Private
from gateway.sip.field import Headers
from gateway.sip.grammar import check_text
from gateway.sip.header import Address, parse_addresses
from gateway.sip.message import Request
from gateway.sip.uri import Uri
from gateway.trunk.diversion import Diversion, DiversionStyle, read_diversions
from gateway.trunk.numbers import NO_NUMBERS, NumberOptions, caller_of, is_anonymous
from gateway.trunk.route import is_dialable, is_number, matches

MAX_NAME_CHARACTERS = 128
"Longer than any display name a telephone shows."

NOT_TOLD = Private("")

CALLER = "caller"
"In `from_user` and `display_name`: that of who calls."

USERNAME = "username"
"In `from_user`: the trunk's."

MAX_ASSERTED = 2
"RFC 3325 §9.1: one sip and one tel URI."

_WITHHELD = frozenset({"id", "user", "header"})
"Privacy values by which a caller asks not to be shown (RFC 3323 §4.2, RFC 3325 §9.3)."


class Asserted(Enum):
    """Whose number an identity header carries."""

    OFF = "off"
    CALLER = "caller"
    TRUNK = "trunk"


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """What one trunk is told of callers."""

    caller_ids: tuple[str, ...] | None = None
    "Patterns of the callers' own numbers that may be shown. None: `caller_id`, else any."
    from_user: str = CALLER
    "`caller`, `username`, or what the From of every call begins with."
    from_domain: str = ""
    "Host of our From and of identity headers; empty: our address."
    to_domain: str = ""
    "Host of the To; empty: the trunk's."
    contact_user: str | None = None
    "User part of our Contact."
    display_name: str = ""
    "`caller`, or the name shown with every call; empty: none."
    pai: Asserted = Asserted.OFF
    "P-Asserted-Identity."
    ppi: Asserted = Asserted.OFF
    "P-Preferred-Identity."
    rpid: Asserted = Asserted.OFF
    "Remote-Party-ID."
    diversion: DiversionStyle = DiversionStyle.OFF
    "How it is told that a call was forwarded."


CALLERS_AS_THEY_ARE = IdentityOptions()
"Their numbers without names, in the From alone."


@dataclass(frozen=True, slots=True)
class CallerIdentity:
    """Who calls, as far as it may be believed."""

    number: Private = NOT_TOLD
    "E.164 where that can be known, else an extension or a name; empty: not known."
    name: Private = NOT_TOLD
    "Display name; empty: none."
    is_withheld: bool = False
    "It asked not to be shown to the called party."
    diversions: tuple[Diversion, ...] = ()
    "Forwardings before this call, the latest first."

    @property
    def label(self) -> str:
        """The number that a called party or an agent may see; `anonymous` if there is none."""
        number = self.number.value
        return number if number and not self.is_withheld else "anonymous"

    @property
    def shown_name(self) -> str:
        """The display name that a called party may see; empty if there is none."""
        return "" if self.is_withheld else self.name.value


NOBODY = CallerIdentity()
"A caller without a number: a page."


@dataclass(frozen=True, slots=True)
class Shown:
    """What one trunk is shown of one caller."""

    number: str | None
    "None: there is none that may be shown."
    name: str
    is_withheld: bool


def read_identity(
    request: Request,
    options: NumberOptions,
    *,
    trusted: bool,
    known_as: tuple[str, str] | None = None,
) -> CallerIdentity:
    """Who an INVITE comes from. Never raises: what makes no sense is as if it were not there.

    Args:
        options: how the peer writes numbers.
        trusted: whether P-Asserted-Identity, Remote-Party-ID, Diversion and History-Info of this
            peer count; of others they are as if they were not there (A17).
        known_as: number and display name of a peer that proved who it is; its From does not count.
    """
    headers = request.headers
    from_ = request.from_
    identity = CallerIdentity(
        caller_of(from_.uri, options),
        _name(from_.display_name),
        is_withheld=is_anonymous(from_.uri) or _asks_for_privacy(headers),
    )
    if known_as is not None:
        number, name = known_as
        return replace(identity, number=Private(number), name=Private(name))
    if not trusted:
        return identity
    asserted, is_hidden = _read_asserted(headers, options)
    if asserted is not None:
        identity = replace(
            identity,
            number=caller_of(asserted.uri, options),
            name=_name(asserted.display_name or from_.display_name),
        )
    return replace(
        identity,
        is_withheld=identity.is_withheld or is_hidden,
        diversions=read_diversions(headers, options),
    )


def choose_shown(
    caller: CallerIdentity,
    options: IdentityOptions,
    caller_id: str | None,
    *,
    numbers_only: bool = False,
) -> Shown:
    """What a trunk may be shown of a caller.

    Args:
        caller_id: the trunk's own number.
        numbers_only: whether it is a network of telephones, to which a name is no caller.

    Raises:
        RoutingError: 400, the number or the name holds what may not be written (A15).
    """
    number, name = caller.number.value, caller.name.value
    check_words(number, name)
    is_one = is_number(number) if numbers_only else is_dialable(number)
    if not is_one or not _may_show(number, options, caller_id):
        number = caller_id or ""
    if options.display_name != CALLER:
        name = options.display_name
    return Shown(number or None, name, caller.is_withheld)


def check_words(*texts: str) -> None:
    """Refuse words that would end the line they are written into. They are never repaired.

    Raises:
        RoutingError: 400.
    """
    for text in texts:
        try:
            check_text(text)
        except ValueError:
            raise RoutingError(
                "a line break or NUL in what is said of the caller", status=400
            ) from None
        if not text.isprintable() or len(text) > MAX_NAME_CHARACTERS:
            raise RoutingError("a caller's name or number cannot be written like this", status=400)


def asserted_headers(
    shown: Shown, options: IdentityOptions, uris: dict[Asserted, Uri | None]
) -> list[tuple[str, str]]:
    """P-Asserted-Identity, P-Preferred-Identity, Remote-Party-ID and Privacy for a trunk.

    Args:
        uris: of the caller and of the trunk's own number; None where there is none.
    """
    found = []
    for header, whose in (
        ("P-Asserted-Identity", options.pai),
        ("P-Preferred-Identity", options.ppi),
    ):
        if (uri := uris.get(whose)) is not None:
            found.append((header, str(Address(shown.name, uri))))
    if (uri := uris.get(options.rpid)) is not None:
        privacy = "full" if shown.is_withheld else "off"
        address = str(Address(shown.name, uri))
        found.append(("Remote-Party-ID", f"{address};party=calling;screen=yes;privacy={privacy}"))
    if shown.is_withheld:
        found.append(("Privacy", "id"))
    return found


def _may_show(number: str, options: IdentityOptions, caller_id: str | None) -> bool:
    if options.caller_ids is None:
        return caller_id is None
    return any(matches(pattern, number) for pattern in options.caller_ids)


def _read_asserted(headers: Headers, options: NumberOptions) -> tuple[Address | None, bool]:
    """The first identity with a number, and whether it asks not to be shown."""
    for header in ("P-Asserted-Identity", "Remote-Party-ID"):
        try:
            found = [a for value in headers.get_all(header) for a in parse_addresses(value)]
        except RemoteProtocolError:
            continue
        for address in found[:MAX_ASSERTED]:
            party = (address.parameters.get("party") or "calling").lower()
            if party == "calling" and caller_of(address.uri, options).value:
                privacy = (address.parameters.get("privacy") or "off").lower()
                return address, privacy != "off"
    return None, False


def _asks_for_privacy(headers: Headers) -> bool:
    words = {word.strip().lower() for v in headers.get_all("Privacy") for word in v.split(";")}
    return bool(words & _WITHHELD)


def _name(text: str) -> Private:
    """A peer's display name as people and JSON can take it; one that is not so is none."""
    is_one = text.isprintable() and len(text) <= MAX_NAME_CHARACTERS
    return Private(text if is_one and text.lower() not in NO_NUMBERS else "")

"""Headers of the users' own on calls in and out: by name, by permission, never the stack's.

Inside they are attributes of a call: a mapping of names in lower case to values. A trunk's
`headers_in` says what is taken from it, its `headers_out` what it is given (A14 to A16).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.errors import RoutingError
from gateway.sip.field import Headers, header_key
from gateway.sip.grammar import check_text, is_token
from gateway.sip.invite_client import STRUCTURAL

MAX_HEADERS = 16
"Most headers of one call; a message has room for 256, and every one costs."

MAX_NAME_CHARACTERS = 64
"Longest name."

MAX_VALUE_CHARACTERS = 256
"Longest value: an id, a name, a short note."

PRIVILEGED = frozenset(
    """p-asserted-identity p-preferred-identity remote-party-id privacy diversion history-info
    identity identity-info p-charging-vector p-called-party-id p-associated-uri p-charge-info
    refer-to referred-by refer-sub replaces target-dialog join reason session-expires min-se rseq
    rack event subscription-state allow-events path service-route www-authenticate
    proxy-authenticate authentication-info authentication-info security-client security-server
    security-verify user-agent server expires min-expires retry-after date timestamp mime-version
    content-language content-id max-breadth geolocation geolocation-routing resource-priority
    request-disposition accept-contact reject-contact accept-encoding accept-language unsupported
    warning error-info in-reply-to""".split()  # noqa: SIM905 - a list of these reads worse
)
"Headers that say who somebody is or steer a dialog: they have settings, or parts, of their own."

FORBIDDEN = STRUCTURAL | PRIVILEGED


@dataclass(frozen=True, slots=True)
class HeaderOptions:
    """What headers of the users' own a trunk brings and gets."""

    taken: tuple[str, ...] = ()
    "Names taken from its INVITEs; a `*` at the end stands for any rest."
    given: tuple[str, ...] = ()
    "Names given to it where a call has them as attributes."
    fixed: tuple[tuple[str, str], ...] = ()
    "Name and value of what every call to it has."


NO_HEADERS = HeaderOptions()
"None, in neither direction."


def check_name(name: str) -> None:
    """Refuse a name that no header of a user's own may have.

    Raises:
        ValueError: the message says why.
    """
    if not is_token(name) or len(name) > MAX_NAME_CHARACTERS:
        raise ValueError("write the name of a header, as X-Account")
    if header_key(name) in FORBIDDEN:
        raise ValueError(f"{name} is written by the gateway alone")


def check_name_pattern(pattern: str) -> None:
    """Refuse a pattern that is none, or would name everything.

    Raises:
        ValueError: the message says what would do.
    """
    fixed = pattern.removesuffix("*")
    if not fixed or "*" in fixed:
        raise ValueError('write the name of a header, or how names begin: "X-Account", "X-*"')
    if fixed == pattern:
        check_name(fixed)
    elif not is_token(fixed) or len(fixed) > MAX_NAME_CHARACTERS:
        raise ValueError("write how the names of some headers begin, as X-*")


def check_value(value: str) -> None:
    """Refuse a value that would not stay in its line. It is never repaired.

    Raises:
        ValueError: the message says why.
    """
    check_text(value)
    if not value.isprintable():
        raise ValueError("a header has printable characters only")
    if len(value) > MAX_VALUE_CHARACTERS:
        raise ValueError(f"a header has at most {MAX_VALUE_CHARACTERS} characters")


def check_attributes(attributes: Mapping[str, str]) -> None:
    """Refuse headers that somebody asks for and cannot have, such as an API's user.

    Raises:
        ValueError: the message says which, and why.
    """
    if len(attributes) > MAX_HEADERS:
        raise ValueError(f"a call has at most {MAX_HEADERS} headers")
    if len({name.lower() for name in attributes}) < len(attributes):
        raise ValueError("a header is given twice")
    for name, value in attributes.items():
        check_name(name)
        check_value(value)


def take_attributes(headers: Headers, options: HeaderOptions) -> dict[str, str]:
    """The attributes that an INVITE brings: names in lower case, `MAX_HEADERS` at most.

    One given twice is joined with a comma, as RFC 3261 §7.3.1 has it. What could not be handed
    on, because it is too long or not printable, is as if it were not there.
    """
    if not options.taken:
        return {}
    found: dict[str, str] = {}
    for key, _, value in headers.fields():
        if key in FORBIDDEN or not _is_named(key, options.taken):
            continue
        joined = f"{found[key]}, {value}" if key in found else value
        if _is_value(joined) and (key in found or len(found) < MAX_HEADERS):
            found[key] = joined
    return found


def give_headers(
    attributes: Mapping[str, str], options: HeaderOptions
) -> tuple[tuple[str, str], ...]:
    """The headers for a trunk: the fixed ones, and what of a call's attributes it may be given.

    Raises:
        RoutingError: 400, an attribute that may not be written.
    """
    fixed = {header_key(name) for name, _ in options.fixed}
    given = {
        name: value
        for name, value in attributes.items()
        if _is_named(name.lower(), options.given) and name.lower() not in fixed
    }
    try:
        check_attributes(given)
    except ValueError as error:
        raise RoutingError(f"headers: {error}", status=400) from None
    return (*options.fixed, *given.items())


def _is_named(key: str, patterns: Sequence[str]) -> bool:
    for pattern in patterns:
        fixed = pattern.removesuffix("*").lower()
        if key == fixed or (fixed != pattern.lower() and key.startswith(fixed)):
            return True
    return False


def _is_value(value: str) -> bool:
    try:
        check_value(value)
    except ValueError:
        return False
    return True

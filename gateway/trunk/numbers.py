"""Telephone numbers: how a trunk writes them, and what they mean (E.164, RFC 3966).

Inside, a number is `+` and the digits of E.164 wherever that can be known; short codes,
extensions and names stay as they are. Nothing outside the alphabet of `trunk.route` gets through,
in either direction (A13, A14).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from gateway.errors import RoutingError
from gateway.private import Private
from gateway.sip.uri import NO_PARAMETERS, Parameters, Uri
from gateway.trunk.route import is_dialable, is_number

MIN_E164_DIGITS = 7
"Country code and number of the smallest islands. What is shorter is a short code or an extension."

MAX_E164_DIGITS = 15
"ITU-T E.164 §6."

NORTH_AMERICA = "1"
"The country code whose national numbers have ten digits, the first of them neither 0 nor 1."

MAX_PREFIX_CHARACTERS = 16
"Longer than any account's prefix."

_PREFIX = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz*#")
_SEPARATORS = str.maketrans("", "", "-.()")
"RFC 3966 §5.1.1: they are for the eye and carry no meaning."


class NumberFormat(Enum):
    """How numbers are written on the wire; the examples are of a trunk in country 49."""

    UNCHANGED = "unchanged"
    "As they were dialled."
    E164 = "e164"
    "+4930123456, +442079460000."
    PLAIN = "plain"
    "4930123456, 442079460000: E.164 without its plus."
    INTERNATIONAL = "international"
    "004930123456, 00442079460000."
    NATIONAL = "national"
    "030123456, 00442079460000."


class NumberUri(Enum):
    """What kind of URI carries a number."""

    SIP = "sip"
    "sip:+4930123456@host."
    PHONE = "phone"
    "sip:+4930123456@host;user=phone."
    TEL = "tel"
    "tel:+4930123456, where it is E.164; else as PHONE."


@dataclass(frozen=True, slots=True)
class NumberOptions:
    """How one trunk writes numbers."""

    format: NumberFormat = NumberFormat.UNCHANGED
    uri: NumberUri = NumberUri.SIP
    country_code: str = ""
    "Of national numbers, without a plus; empty: they cannot be told from others."
    national_prefix: str = ""
    "What stands before a national number; may be empty."
    international_prefix: str = "00"
    "What stands before a country code."
    strip_prefix: str = ""
    "Taken off what was dialled before anything else, such as the 9 for an outside line."
    tech_prefix: str = ""
    "Put before every number sent, and taken off every one received."


ANONYMOUS = Uri("sip", "anonymous", host="anonymous.invalid")
"Who does not want to be known (RFC 3323 §4.1.1.3)."

NO_NUMBERS = frozenset({"anonymous", "restricted", "unavailable", "unknown", "private", "asserted"})
"What networks write where a number was."

UNCHANGED = NumberOptions()
"Of peers that are no trunk."


def check_prefix(text: str, *, digits_only: bool = True) -> None:
    """Refuse what cannot stand before a number.

    Raises:
        ValueError: the message says what can.
    """
    allowed = frozenset("0123456789") if digits_only else _PREFIX
    if len(text) > MAX_PREFIX_CHARACTERS or not allowed.issuperset(text):
        more = "" if digits_only else ", letters, * or #"
        raise ValueError(f"write up to {MAX_PREFIX_CHARACTERS} digits{more}")


def is_e164(number: str) -> bool:
    """Whether it is `+`, a country code and a number."""
    return (
        is_number(number)
        and number[0] == "+"
        and number[1] != "0"
        and MIN_E164_DIGITS <= len(number) - 1 <= MAX_E164_DIGITS
    )


def is_short(number: str) -> bool:
    """Whether it is a short code or an extension, which no country code belongs to."""
    return is_number(number) and number[0] != "+" and len(number) < MIN_E164_DIGITS


def read_dialled(dialled: str, options: NumberOptions) -> str:
    """What somebody dialled, in E.164 where this trunk's country says what it means."""
    return _read(_strip(dialled, options), options)


def read_received(received: str, options: NumberOptions) -> str:
    """A number as the trunk wrote it, called or calling, in E.164 where that can be known."""
    if options.tech_prefix:
        received = received.removeprefix(options.tech_prefix) or received
    is_plain = options.format is NumberFormat.PLAIN and received[:1] != "0"
    if is_plain and is_e164(f"+{received}"):
        return f"+{received}"
    return _read(received, options)


def write_called(dialled: str, options: NumberOptions) -> str:
    """The number to send to the trunk for what was dialled.

    Raises:
        RoutingError: 404, the trunk has no way to write it.
    """
    number = _strip(dialled, options)
    if not is_dialable(number):
        raise RoutingError("this is neither a number nor a name that can be dialled")
    if options.format is not NumberFormat.UNCHANGED:
        number = _read(number, options)
        if not (is_e164(number) or is_short(number)):
            raise RoutingError(
                "this trunk takes telephone numbers: dial + and the country code first"
            )
        number = _write(number, options)
    return options.tech_prefix + number


def write_caller(number: str, options: NumberOptions) -> str:
    """A caller's number as the trunk writes numbers; what is not in E.164 stays as it is."""
    return _write(number, options) if is_e164(number) else number


def number_uri(
    number: str, options: NumberOptions, host: str, port: int | None = None, *, scheme: str = "sip"
) -> Uri:
    """The URI that calls a number, as it was written for the trunk.

    Args:
        host: the trunk's.
    """
    if options.uri is NumberUri.TEL and is_e164(number):
        return Uri("tel", number)
    is_phone = options.uri is not NumberUri.SIP and is_number(number)
    parameters = Parameters([("user", "phone")]) if is_phone else NO_PARAMETERS
    return Uri(scheme, number, host=host, port=port, parameters=parameters)


def caller_uri(number: str, options: NumberOptions, host: str, *, scheme: str = "sip") -> Uri:
    """The URI of somebody on our side: never a tel URI, which would not say whose word it is."""
    is_tel = options.uri is NumberUri.TEL
    options = replace(options, uri=NumberUri.PHONE) if is_tel else options
    return number_uri(number, options, host, scheme=scheme)


def number_of(uri: Uri) -> str:
    """The number or name that a peer's URI stands for, as it wrote it; perhaps not dialable.

    Visual separators and the parameters of a number (`;npdi`, `;phone-context`) are left away
    where the URI says that it is a number: of scheme tel, or with user=phone.
    """
    user = uri.user or ""
    if uri.scheme == "tel" or (uri.parameters.get("user") or "").lower() == "phone":
        number = user.partition(";")[0]
        digits = number.translate(_SEPARATORS)
        return digits if is_number(digits) else number
    return user


def called_of(uri: Uri, options: NumberOptions) -> str:
    """What an INVITE of a trunk is for: its Request-URI's number, or whatever stands there."""
    return read_received(number_of(uri), options)


def is_anonymous(uri: Uri) -> bool:
    """Whether a peer's URI says that its user does not want to be known."""
    return uri.host == ANONYMOUS.host or (uri.user or "").lower() == ANONYMOUS.user


def caller_of(uri: Uri, options: NumberOptions) -> Private:
    """The number or name of a person that a peer's URI stands for; empty if it is none."""
    number = called_of(uri, options)
    is_one = is_dialable(number) and number.lower() not in NO_NUMBERS
    return Private(number if is_one and uri.host != ANONYMOUS.host else "")


def _strip(dialled: str, options: NumberOptions) -> str:
    rest = dialled.removeprefix(options.strip_prefix)
    return rest if is_number(rest) else dialled


def _read(number: str, options: NumberOptions) -> str:
    """E.164 by country code and prefixes; anything else as it is."""
    if not is_number(number) or number[0] == "+":
        return number
    abroad = number.removeprefix(options.international_prefix)
    if options.international_prefix and abroad != number and is_e164(f"+{abroad}"):
        return f"+{abroad}"
    home = _read_national(number, options)
    return home if is_e164(home) else number


def _read_national(number: str, options: NumberOptions) -> str:
    country, prefix = options.country_code, options.national_prefix
    if not country or is_short(number):
        return number
    if country == NORTH_AMERICA:
        # 1-212-555-0100 and 212-555-0100 are both in use, whatever the prefix.
        ten = number.removeprefix(NORTH_AMERICA) if len(number) == 11 else number
        return f"+1{ten}" if len(ten) == 10 and ten[0] not in "01" else number
    rest = number.removeprefix(prefix)
    return number if prefix and rest == number else f"+{country}{rest}"


def _write(number: str, options: NumberOptions) -> str:
    if not is_e164(number):
        return number
    digits = number[1:]
    match options.format:
        case NumberFormat.PLAIN:
            return digits
        case NumberFormat.INTERNATIONAL:
            return options.international_prefix + digits
        case NumberFormat.NATIONAL:
            country = options.country_code
            if country and digits.startswith(country):
                return options.national_prefix + digits.removeprefix(country)
            return options.international_prefix + digits
        case _:
            return number

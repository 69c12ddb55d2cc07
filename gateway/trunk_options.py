"""What [[trunk]] sections say of numbers, callers, headers and timers, made into options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.document import RouteSection, TrunkSection, nearest, place_of
from gateway.errors import RemoteProtocolError
from gateway.sip.session_timer import SessionTimerOptions
from gateway.sip.uri import parse_host_port
from gateway.trunk.diversion import DiversionStyle
from gateway.trunk.emergency import EmergencyNumbers
from gateway.trunk.headers import (
    MAX_HEADERS,
    HeaderOptions,
    check_name,
    check_name_pattern,
    check_value,
)
from gateway.trunk.identity import (
    CALLER,
    MAX_NAME_CHARACTERS,
    USERNAME,
    Asserted,
    IdentityOptions,
)
from gateway.trunk.numbers import (
    NORTH_AMERICA,
    NumberFormat,
    NumberOptions,
    NumberUri,
    check_prefix,
)
from gateway.trunk.profile import profile_names, with_profile
from gateway.trunk.route import RouteOptions, check_pattern, is_dialable
from gateway.trunk.trunk import Trunk

INTERNATIONAL_PREFIX = "00"
"ITU-T E.164 recommends it."

NORTH_AMERICAN_PREFIXES = ("1", "011")
"National and international."


class WrongKey(ValueError):
    """A key whose value cannot be used."""

    def __init__(self, key: str, value: object, remedy: str) -> None:
        super().__init__(remedy)
        self.key = key
        self.value = value
        "None: it is missing."
        self.remedy = remedy


def with_profiles(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document with each trunk on top of the profile it names.

    Raises:
        ValueError: there is no such profile.
    """
    rows = document.get("trunk")
    if not isinstance(rows, list):
        return document
    trunks = []
    for number, row in enumerate(rows):
        try:
            trunks.append(with_profile(row) if isinstance(row, dict) else row)
        except KeyError:
            name, near = row["profile"], nearest(row["profile"], profile_names())
            where = place_of("trunk", number)
            raise ValueError(
                f"{where}: profile = {name!r}: there is no such profile{near}"
            ) from None
    return {**document, "trunk": trunks}


def read_numbers(trunk: TrunkSection) -> NumberOptions:
    """How a trunk writes numbers.

    Raises:
        WrongKey: keys that do not fit each other, or the world.
    """
    country = trunk.country_code or ""
    if trunk.country_code is not None and not _is_country_code(country):
        raise WrongKey("country_code", country, 'write 1 to 3 digits without a plus, as "49"')
    is_american = country == NORTH_AMERICA
    national, abroad = trunk.national_prefix, trunk.international_prefix
    if national is None and country and not is_american:
        raise WrongKey(
            "national_prefix",
            None,
            "say what stands before a national number in that country: "
            '"0" in most of Europe, "" in Italy, Spain and where there is nothing',
        )
    wanted = NumberFormat(trunk.number_format)
    if wanted is NumberFormat.NATIONAL and not country:
        raise WrongKey("country_code", None, 'number_format = "national" needs it')
    if trunk.number_uri == "tel" and wanted not in (NumberFormat.E164, NumberFormat.UNCHANGED):
        raise WrongKey("number_uri", "tel", 'a tel URI needs number_format = "e164"')
    defaults = NORTH_AMERICAN_PREFIXES if is_american else ("", INTERNATIONAL_PREFIX)
    for key in ("national_prefix", "international_prefix", "strip_prefix", "tech_prefix"):
        text = getattr(trunk, key) or ""
        _check(key, text, lambda text: check_prefix(text, digits_only=key != "tech_prefix"))  # noqa: B023
    return NumberOptions(
        format=wanted,
        uri=NumberUri(trunk.number_uri),
        country_code=country,
        national_prefix=defaults[0] if national is None else national,
        international_prefix=defaults[1] if abroad is None else abroad,
        strip_prefix=trunk.strip_prefix,
        tech_prefix=trunk.tech_prefix,
    )


def read_identity(trunk: TrunkSection) -> IdentityOptions:
    """What a trunk is told of callers.

    Raises:
        WrongKey: what could not be written into a header.
    """
    for pattern in trunk.caller_ids or ():
        _check("caller_ids", pattern, check_pattern)
    if trunk.caller_id is not None and not is_dialable(trunk.caller_id):
        raise WrongKey("caller_id", trunk.caller_id, "write a number, as +15550100")
    if trunk.from_user == USERNAME and trunk.username is None:
        raise WrongKey("username", None, 'from_user = "username" needs it')
    for key in ("from_user", "contact_user"):
        _check_user(key, getattr(trunk, key))
    name = trunk.display_name
    if not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        raise WrongKey("display_name", name, f"write up to {MAX_NAME_CHARACTERS} characters")
    for key in ("pai", "ppi", "rpid"):
        if getattr(trunk, key) == "trunk" and not (trunk.caller_id or trunk.username):
            raise WrongKey("caller_id", None, f'{key} = "trunk" needs it')
    return IdentityOptions(
        caller_ids=trunk.caller_ids,
        from_user=trunk.from_user,
        from_domain=_read_domain("from_domain", trunk.from_domain),
        to_domain=_read_domain("to_domain", trunk.to_domain),
        contact_user=trunk.contact_user,
        display_name=name,
        pai=Asserted(trunk.pai),
        ppi=Asserted(trunk.ppi),
        rpid=Asserted(trunk.rpid),
        diversion=DiversionStyle(trunk.diversion),
    )


def read_headers(trunk: TrunkSection) -> HeaderOptions:
    """Headers of the users' own.

    Raises:
        WrongKey: a header that only the gateway writes, or that could not be written.
    """
    for key in ("headers_in", "headers_out"):
        for pattern in getattr(trunk, key):
            _check(key, pattern, check_name_pattern)
    if len(trunk.headers) > MAX_HEADERS:
        raise WrongKey("headers", len(trunk.headers), f"write {MAX_HEADERS} at most")
    return HeaderOptions(
        trunk.headers_in, trunk.headers_out, tuple(_read_header(line) for line in trunk.headers)
    )


def read_session_timer(trunk: TrunkSection) -> SessionTimerOptions | None:
    """The session timer to ask for.

    Raises:
        WrongKey: an interval shorter than the shortest.
    """
    if trunk.session_expires_s == 0:
        return None
    if trunk.session_expires_s < trunk.min_se_s:
        raise WrongKey(
            "session_expires_s",
            trunk.session_expires_s,
            f"write {trunk.min_se_s} (min_se_s) or more, or 0 for none",
        )
    return SessionTimerOptions(trunk.session_expires_s, trunk.min_se_s)


def read_route_options(route: RouteSection) -> RouteOptions:
    """How the calls of a route are made and ended."""
    return RouteOptions(
        ringing_timeout_s=route.ringing_timeout_s,
        max_call_duration_s=route.max_call_duration_s,
        failover_on=frozenset(route.failover_on),
        failover_after_progress=route.failover_after_progress,
    )


def emergency_numbers(more: Sequence[str], trunks: Sequence[Trunk]) -> EmergencyNumbers:
    """Those of the configuration too, dialled the ways that its trunks know."""
    numbers = [trunk.numbers for trunk in trunks]
    prefixes = {p for each in numbers for p in (each.strip_prefix, each.international_prefix) if p}
    countries = {each.country_code for each in numbers if each.country_code}
    return EmergencyNumbers(more, prefixes=sorted(prefixes), country_codes=sorted(countries))


def _read_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not value:
        raise WrongKey("headers", line, 'write "NAME: VALUE", as "X-Account: 42"')
    _check("headers", name, check_name)
    _check("headers", value, check_value)
    return name, value


def _is_country_code(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3 and text[0] != "0"


def _check(key: str, value: str, check: Callable[[str], None]) -> None:
    try:
        check(value)
    except ValueError as error:
        raise WrongKey(key, value, str(error)) from None


def _check_user(key: str, text: str | None) -> None:
    if text is not None and text not in (CALLER, USERNAME) and not is_dialable(text):
        more = "caller, username or " if key == "from_user" else ""
        raise WrongKey(key, text, f"write {more}a number or name")


def _read_domain(key: str, text: str | None) -> str:
    """A host, an IPv6 address without its brackets; empty where none is written."""
    if text is None:
        return ""
    try:
        host, port = parse_host_port(text)
    except RemoteProtocolError:
        host, port = "", None
    if not host or port is not None:
        raise WrongKey(key, text, "write a host name or an address, without a port")
    return host

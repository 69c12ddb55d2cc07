"""What [[trunk]] sections say, made into trunks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.codec import SPEECH
from gateway.document import RegisterSection, TrunkSection, nearest, place_of
from gateway.errors import RemoteProtocolError
from gateway.reader import Reader, is_host
from gateway.rtp.dtmf import DtmfMode
from gateway.sdp.crypto import SrtpPolicy
from gateway.sip.authenticator import Credentials
from gateway.sip.flow import Destination
from gateway.sip.session_timer import SessionTimerOptions
from gateway.sip.uri import Uri, parse_host_port
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
from gateway.trunk.registration import RegistrationOptions
from gateway.trunk.route import check_pattern, is_dialable
from gateway.trunk.trunk import Trunk

SHORTEST_PROBE_S = 5
"Trunks are asked no more often: the shortest of what they are asked at while they are down."

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


def read_trunk(reader: Reader, where: str, trunk: TrunkSection) -> Trunk:
    """One trunk.

    Args:
        where: what its section is called in errors.

    Raises:
        ConfigError: a key that cannot be used.
    """
    credentials = _credentials(reader, where, trunk)
    if 0 < trunk.probe_s < SHORTEST_PROBE_S:
        raise reader.wrong(
            where, "probe_s", trunk.probe_s, f"write 0 for never, or {SHORTEST_PROBE_S} or more"
        )
    uri = _with_transport(reader, where, reader.uri(where, "uri", trunk.uri), trunk.transport)
    try:
        numbers, identity = read_numbers(trunk), read_identity(trunk)
        headers, session_timer = read_headers(trunk), read_session_timer(trunk)
    except WrongKey as wrong:
        raise reader.wrong(where, wrong.key, wrong.value, wrong.remedy) from None
    proxy = None if trunk.proxy is None else _proxy(reader, where, trunk.proxy)
    return Trunk(
        name=trunk.name,
        uri=uri,
        username=None if credentials is None else credentials.username,
        password=None if credentials is None else credentials.password,
        realm=trunk.realm,
        caller_id=trunk.caller_id,
        allow=tuple(reader.network(where, "allow", text) for text in trunk.allow),
        trusted=trunk.trusted,
        proxy=proxy,
        probe_s=trunk.probe_s,
        max_calls=trunk.max_calls,
        max_cps=trunk.max_cps,
        registrations=tuple(
            _registration(
                reader, f"{where}: {place_of('trunk.register', number)}", trunk, section, uri, proxy
            )
            for number, section in enumerate(trunk.register)
        ),
        codecs=tuple(SPEECH[name] for name in trunk.codecs),
        dtmf=DtmfMode(trunk.dtmf),
        numbers=numbers,
        identity=identity,
        headers=headers,
        no_response_timeout_s=trunk.no_response_timeout_s,
        offer_100rel=trunk.offer_100rel,
        session_timer=session_timer,
        allow_transfer=trunk.allow_transfer,
        allow_redirect=trunk.allow_redirect,
        takes_refer=trunk.transfer == "refer",
        signals_hold=trunk.signal_hold,
        media_timeout_s=trunk.media_timeout_s,
        symmetric_rtp=trunk.symmetric_rtp,
        media_allow=tuple(reader.network(where, "media_allow", text) for text in trunk.media_allow),
        srtp=_srtp(reader, where, trunk, proxy or uri),
        srtp_without_tls=trunk.srtp_without_tls,
        rtcp_mux=trunk.rtcp_mux,
        profile=trunk.profile,
    )


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


def emergency_numbers(more: Sequence[str], trunks: Sequence[Trunk]) -> EmergencyNumbers:
    """Those of the configuration too, dialled the ways that its trunks know."""
    numbers = [trunk.numbers for trunk in trunks]
    prefixes = {p for each in numbers for p in (each.strip_prefix, each.international_prefix) if p}
    countries = {each.country_code for each in numbers if each.country_code}
    return EmergencyNumbers(more, prefixes=sorted(prefixes), country_codes=sorted(countries))


def _credentials(
    reader: Reader, where: str, section: TrunkSection | RegisterSection
) -> Credentials | None:
    password = reader.secret(where, "password_env", section.password_env)
    if section.username is not None and password is None:
        raise reader.wrong(where, "password_env", None, "name the variable that holds its password")
    if password is None:
        return None
    if section.username is None:
        raise reader.wrong(where, "username", None, "say whose password it is")
    return Credentials(section.username, password, section.realm)


def _registration(
    reader: Reader,
    where: str,
    trunk: TrunkSection,
    section: RegisterSection,
    uri: Uri,
    proxy: Uri | None,
) -> RegistrationOptions:
    """One registration of a trunk; what its section leaves out is the trunk's."""
    user = section.user or section.username or trunk.username
    if user is None:
        raise reader.wrong(where, "username", None, "say who registers")
    if section.domain is not None and not is_host(section.domain):
        raise reader.wrong(where, "domain", section.domain, "write a name, or an IP address")
    credentials = _credentials(reader, where, section)
    if credentials is None:
        credentials = _credentials(reader, where, trunk)
    return RegistrationOptions(
        registrar=uri
        if section.registrar is None
        else reader.uri(where, "registrar", section.registrar),
        user=user,
        credentials=credentials,
        domain=section.domain,
        proxy=proxy,
        expires_s=section.expires_s or trunk.register_expires_s,
    )


def _srtp(reader: Reader, where: str, trunk: TrunkSection, next_hop: Uri) -> SrtpPolicy:
    """What is asked for; without TLS nobody could be called."""
    is_tls = Destination.of(next_hop).is_over_tls
    policy = SrtpPolicy(trunk.srtp)
    if policy is SrtpPolicy.REQUIRED and not (is_tls or trunk.srtp_without_tls):
        raise reader.wrong(
            where,
            "srtp",
            trunk.srtp,
            'its keys need transport = "tls"; or write srtp_without_tls = true',
        )
    return policy


def _with_transport(reader: Reader, where: str, uri: Uri, transport: str | None) -> Uri:
    written = uri.parameters.get("transport") or ("tls" if uri.scheme == "sips" else None)
    if transport is None or written == transport:
        return uri
    if written is not None:
        raise reader.wrong(where, "transport", transport, f"the uri says {written}: leave it out")
    return replace(uri, parameters=uri.parameters.replace("transport", transport))


def _proxy(reader: Reader, where: str, text: str) -> Uri:
    """A place that requests go through: ;lr, or it would be taken for what is asked for."""
    uri = reader.uri(where, "proxy", text)
    return replace(uri, parameters=uri.parameters.replace("lr", None))


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

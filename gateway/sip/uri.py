"""SIP, SIPS and tel URIs (RFC 3261 §19.1, RFC 3966)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address

from gateway.errors import RemoteProtocolError
from gateway.sip.grammar import ALPHANUM, DIGIT, decode, encode, parse_number

MAX_URI_BYTES = 4096
"Longest URI that is read: 7 kB of Request-URI reach no trunk, and every copy of it costs."
MAX_REMEMBERED_BYTES = 200
"Texts this short are read once and remembered: a dialog says the same few in every message."
MAX_REMEMBERED = 2048
"Texts remembered, those seen last: some hundred dialogs; half a megabyte at most."

_UNRESERVED = ALPHANUM + b"-_.!~*'()"
_USER = _UNRESERVED + b"&=+$,;?/"
_PASSWORD = _UNRESERVED + b"&=+$,"
_PARAMETER = _UNRESERVED + b"[]/:&+$"
_HEADER = _UNRESERVED + b"[]/?:+$"
_HOST = ALPHANUM + b"-._"  # "_" is in no RFC and in many host names (docker, Windows)
_IPV6 = b"0123456789abcdefABCDEF:."
_SCHEME = ALPHANUM + b"+-."
_TELEPHONE = DIGIT + b"ABCDEFabcdef*#-.()"
_OPAQUE = _USER + b":@[]%#"
_HEX = "0123456789abcdefABCDEF"

HOST_PORT = r"(\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9\-._]++)(?>(?::([0-9]++))?)"
"Two groups: the host as written, the port."
_HOST_PORT = re.compile(HOST_PORT)
# A userinfo has one "@" at most: which of two ends the user is what injection plays with (A14).
# "#" must be escaped in a user, and phones that dial #31# do not.
_SIP_URI = re.compile(
    r"(?>(?:([A-Za-z0-9\-_.!~*'()&=+$,;?/%#]++)(?>(?::([A-Za-z0-9\-_.!~*'()&=+$,%]*+))?)@)?)"
    + HOST_PORT
    + r"(?>(?:;([^?]*+))?)(?>(?:\?(.*+))?)"
)


class Parameters(tuple[tuple[str, str | None], ...]):
    """Ordered parameters of a URI or a header: (name in lower case, value; None for a flag)."""

    __slots__ = ()

    def get(self, name: str) -> str | None:
        """The value of a parameter; None when it is absent or a flag."""
        for key, value in self:
            if key == name:
                return value
        return None

    def has(self, name: str) -> bool:
        """Whether a parameter is there, with or without a value."""
        for key, _ in self:  # noqa: SIM110 - half the time, and often asked
            if key == name:
                return True
        return False

    def replace(self, name: str, value: str | None) -> Parameters:
        """These parameters with one set: in its place if it is there, else at the end."""
        if not self.has(name):
            return Parameters((*self, (name, value)))
        return Parameters((key, value if key == name else old) for key, old in self)

    def without(self, name: str) -> Parameters:
        """These parameters with one left out."""
        return Parameters(pair for pair in self if pair[0] != name)


NO_PARAMETERS = Parameters()


@dataclass(frozen=True, slots=True)
class Uri:
    """A URI; `str(uri)` and `parse_uri` are inverses. Parts are held without their escapes.

    Of schemes other than sip, sips and tel only the scheme is understood: what follows the colon
    is kept as written in `user`.
    """

    scheme: str
    "Lower case."
    user: str | None
    "The user, or the number of a tel URI with its `+` and visual separators."
    password: str | None = None
    host: str = ""
    "Lower case, an IPv6 address without its brackets; empty unless the scheme is sip or sips."
    port: int | None = None
    parameters: Parameters = NO_PARAMETERS
    headers: tuple[tuple[str, str], ...] = ()
    _text: str | None = field(default=None, init=False, repr=False, compare=False)
    "As it is written, once it was: a dialog writes the same few again and again."

    @property
    def is_sip(self) -> bool:
        """Whether the scheme is sip or sips."""
        return self.scheme in ("sip", "sips")

    def __str__(self) -> str:
        """Write the URI with whatever escapes it needs.

        Raises:
            ValueError: a host, scheme, number or opaque part that no escape can carry.
        """
        text = self._text
        if text is None:
            text = self._write()
            object.__setattr__(self, "_text", text)
        return text

    def _write(self) -> str:
        if self.is_sip:
            return (
                f"{self.scheme}:{self._userinfo()}{format_host_port(self.host, self.port)}"
                f"{_format_parameters(self.parameters)}{_format_headers(self.headers)}"
            )
        user = self.user or ""
        if self.scheme == "tel":
            _check(user.removeprefix("+"), _TELEPHONE, "telephone number")
            return f"tel:{user}{_format_parameters(self.parameters)}"
        _check(self.scheme, _SCHEME, "scheme")
        _check(user, _OPAQUE, "URI")
        return f"{self.scheme}:{user}"

    def _userinfo(self) -> str:
        if self.user is None:
            return ""
        password = "" if self.password is None else f":{_escape(self.password, _PASSWORD)}"
        return f"{_escape(self.user, _USER)}{password}@"


def parse_uri(text: str) -> Uri:
    """Read a URI of any scheme.

    Raises:
        RemoteProtocolError: it is no URI, or a sip, sips or tel URI against its grammar.
    """
    if len(text) <= MAX_REMEMBERED_BYTES:
        return _remembered(text)
    if len(text) > MAX_URI_BYTES:
        raise RemoteProtocolError(f"URI of {len(text)} bytes")
    return _read(text)


def _read(text: str) -> Uri:
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if not colon or not rest or not text.isascii():
        raise RemoteProtocolError(f"not a URI: {text[:40]!r}")
    if scheme in ("sip", "sips"):
        return _parse_sip(scheme, rest)
    if scheme == "tel":
        return _parse_tel(rest)
    _expect(scheme, _SCHEME, "scheme")
    _expect(rest, _OPAQUE, "URI")
    return Uri(scheme, rest)


_remembered = lru_cache(MAX_REMEMBERED)(_read)


def parse_host_port(text: str) -> tuple[str, int | None]:
    """Read `host`, `host:port`, `[IPv6]` or `[IPv6]:port`; the host in lower case.

    Raises:
        RemoteProtocolError: anything else, or a port outside 1 to 65535.
    """
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise RemoteProtocolError(f"not a host: {text[:60]!r}")
    return make_host_port(match[1], match[2])


def make_host_port(host: str, port: str | None) -> tuple[str, int | None]:
    """The meaning of what `HOST_PORT` matched: the host in lower case without brackets, the port.

    Raises:
        RemoteProtocolError: a bracketed host that is no address, a port outside 1 to 65535.
    """
    if host[0] == "[":
        # RFC 5118 §4.10: the ABNF of RFC 3261 allows a colon too many before an IPv4 tail.
        host = host[1:-1].replace(":::", "::")
        try:
            IPv6Address(host)
        except ValueError:
            raise RemoteProtocolError(f"not an IPv6 address: {host[:60]!r}") from None
    if port is None:
        return host.lower(), None
    number = parse_number(port, 65535)
    if number == 0:
        raise RemoteProtocolError("port 0")
    return host.lower(), number


def format_host_port(host: str, port: int | None) -> str:
    """Write a host, in brackets if it is an IPv6 address, and its port if there is one.

    Raises:
        ValueError: not a host.
    """
    write = _write_host if len(host) > MAX_REMEMBERED_BYTES else _remembered_host
    return write(host) if port is None else f"{write(host)}:{port}"


def _write_host(host: str) -> str:
    if ":" in host:
        _check(host, _IPV6, "host")
        return f"[{host}]"
    _check(host, _HOST, "host")
    return host


_remembered_host = lru_cache(MAX_REMEMBERED)(_write_host)


def _parse_sip(scheme: str, rest: str) -> Uri:
    match = _SIP_URI.fullmatch(rest)
    if match is None:
        raise RemoteProtocolError(f"not a SIP URI: {rest[:60]!r}")
    user, password, raw_host, raw_port, parameters, headers = match.groups()
    host, port = make_host_port(raw_host, raw_port)
    return Uri(
        scheme,
        None if user is None else _unescape(user),
        None if password is None else _unescape(password),
        host,
        port,
        NO_PARAMETERS if parameters is None else _parse_parameters(parameters),
        () if headers is None else _parse_headers(headers),
    )


def _parse_tel(rest: str) -> Uri:
    number, semicolon, parameters = rest.partition(";")
    _expect(number.removeprefix("+"), _TELEPHONE, "telephone number")
    return Uri(
        "tel", number, parameters=_parse_parameters(parameters) if semicolon else NO_PARAMETERS
    )


def _parse_parameters(text: str) -> Parameters:
    _expect(text, _PARAMETER + b";=%", "URI parameter")
    found: list[tuple[str, str | None]] = []
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if not name or "=" in value:
            raise RemoteProtocolError(f"bad URI parameter: {part[:40]!r}")
        found.append((_unescape(name).lower(), _unescape(value) if equals else None))
    if len(found) > 1 and len({name for name, _ in found}) < len(found):
        raise RemoteProtocolError("URI parameter given twice")
    return Parameters(found)


def _parse_headers(text: str) -> tuple[tuple[str, str], ...]:
    _expect(text, _HEADER + b"&=%", "URI header")
    found = []
    for part in text.split("&"):
        name, equals, value = part.partition("=")
        if not name or not equals or "=" in value:
            raise RemoteProtocolError(f"bad URI header: {part[:40]!r}")
        found.append((_unescape(name), _unescape(value)))
    return tuple(found)


def _format_parameters(parameters: Parameters) -> str:
    if not parameters:
        return ""
    return "".join(
        f";{_escape(name, _PARAMETER)}"
        + ("" if value is None else f"={_escape(value, _PARAMETER)}")
        for name, value in parameters
    )


def _format_headers(headers: tuple[tuple[str, str], ...]) -> str:
    if not headers:
        return ""
    pairs = (f"{_escape(name, _HEADER)}={_escape(value, _HEADER)}" for name, value in headers)
    return "?" + "&".join(pairs)


def _unescape(text: str) -> str:
    """Undo the `%xx` of ASCII text whose characters are checked."""
    if "%" not in text:
        return text
    first, *rest = text.split("%")
    parts = [first.encode()]
    for piece in rest:
        if len(piece) < 2 or piece[0] not in _HEX or piece[1] not in _HEX:
            raise RemoteProtocolError(f"bad escape: {text[:40]!r}")
        parts.append(bytes((int(piece[:2], 16),)))
        parts.append(piece[2:].encode())
    return decode(b"".join(parts))


def _escape(text: str, allowed: bytes) -> str:
    data = encode(text)
    if not data.translate(None, allowed):
        return text
    return "".join(chr(byte) if byte in allowed else f"%{byte:02X}" for byte in data)


def _expect(text: str, allowed: bytes, what: str) -> None:
    if not text or text.encode("utf-8", "surrogateescape").translate(None, allowed):
        raise RemoteProtocolError(f"not a {what}: {text[:40]!r}")


def _check(text: str, allowed: bytes, what: str) -> None:
    if not text or encode(text).translate(None, allowed):
        raise ValueError(f"not a {what}: {text[:40]!r}")

"""Values of structured header fields: Via, addresses, CSeq, media types (RFC 3261 §20).

Each value is frozen, is read by its `parse_…` function and written by `str`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from gateway.errors import RemoteProtocolError
from gateway.sip.grammar import (
    QUOTED_STRING,
    TOKEN_CHAR,
    Quoted,
    clean,
    is_token,
    parse_number,
    quote,
    unescape,
)
from gateway.sip.uri import (
    MAX_REMEMBERED,
    MAX_REMEMBERED_BYTES,
    NO_PARAMETERS,
    Parameters,
    Uri,
    format_host_port,
    make_host_port,
    parse_uri,
)

MAX_CSEQ = 2**31 - 1
"RFC 3261 §8.1.1.5: the sequence number is less than 2**31."

# Unquoted values are read more widely than the ABNF has it: tags with "/", "=" or "@" are about.
_PLAIN_VALUE = r"[!#-+\-./0-9:=?@A-Z\[\]\^_`a-z{|}~]"
_PARAMETER = re.compile(
    rf"[ \t]*+;[ \t]*+({TOKEN_CHAR}++)"
    rf"(?>(?:[ \t]*+=[ \t]*+(?:({_PLAIN_VALUE}++)|{QUOTED_STRING}))?)",
    re.DOTALL,
)
_PLAIN = re.compile(rf"{_PLAIN_VALUE}++\Z")
_END_OF_ITEM = re.compile(r"[ \t]*+(?:(,)|\Z)")
_VIA = re.compile(
    rf"[ \t]*+SIP[ \t]*+/[ \t]*+2\.0[ \t]*+/[ \t]*+({TOKEN_CHAR}++)[ \t]++"
    r"(\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9\-._]++)(?>(?:[ \t]*+:[ \t]*+([0-9]++))?)",
    re.IGNORECASE | re.ASCII,
)
_NAME_ADDRESS = re.compile(
    rf"[ \t]*+(?:{QUOTED_STRING}[ \t]*+|([^\"<>,;:@\\\x00-\x08\x0a-\x1f\x7f]*+))<([^<>]*+)>",
    re.DOTALL,
)
# Without brackets a URI has no "?", ";" or ",": what follows them is the header's (§20.10).
_BARE_ADDRESS = re.compile(r'[ \t]*+([^<>",;? \t]++)')
_VALUE = re.compile(rf"[ \t]*+({_PLAIN_VALUE}++)")


@dataclass(frozen=True, slots=True)
class Via:
    """One hop of a Via header (RFC 3261 §20.42)."""

    transport: str
    "Upper case: UDP, TCP, TLS, WS, WSS."
    host: str
    port: int | None = None
    parameters: Parameters = NO_PARAMETERS

    @property
    def branch(self) -> str | None:
        """The transaction's name; None in requests of RFC 2543 elements."""
        return self.parameters.get("branch")

    @property
    def received(self) -> str | None:
        """The source address its receiver saw, without brackets (RFC 5118 §4.5 allows both)."""
        address = self.parameters.get("received")
        return address.strip("[]") if address else None

    @property
    def rport(self) -> int | None:
        """The source port its receiver saw (RFC 3581); None when absent, empty or no port."""
        try:
            return parse_number(self.parameters.get("rport") or "", 65535)
        except RemoteProtocolError:
            return None

    def __str__(self) -> str:
        sent_by = format_host_port(self.host, self.port)
        return f"SIP/2.0/{self.transport} {sent_by}{format_parameters(self.parameters)}"


@dataclass(frozen=True, slots=True)
class Address:
    """A name-addr or addr-spec with the header's parameters: From, To, Contact, Route …"""

    display_name: str
    "Without quotes and escapes; empty when there is none."
    uri: Uri
    parameters: Parameters = NO_PARAMETERS

    @property
    def tag(self) -> str | None:
        """The tag of a From or To."""
        return self.parameters.get("tag")

    def with_tag(self, tag: str) -> Address:
        """This address with a tag, in place of the one it may have."""
        return Address(self.display_name, self.uri, self.parameters.replace("tag", tag))

    def __str__(self) -> str:
        name = quote(self.display_name) + " " if self.display_name else ""
        return f"{name}<{self.uri}>{format_parameters(self.parameters)}"


@dataclass(frozen=True, slots=True)
class CSeq:
    """Command sequence (RFC 3261 §20.16)."""

    number: int
    method: str

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


@dataclass(frozen=True, slots=True)
class MediaType:
    """A Content-Type, or one range of an Accept (RFC 3261 §20.15)."""

    type: str
    "Lower case."
    subtype: str
    "Lower case."
    parameters: Parameters = NO_PARAMETERS

    @property
    def name(self) -> str:
        """`type/subtype` without parameters."""
        return f"{self.type}/{self.subtype}"

    def __str__(self) -> str:
        return self.name + format_parameters(self.parameters)


@dataclass(frozen=True, slots=True)
class ParameterValue:
    """A value with parameters: Reason, Event, Session-Expires, Replaces, Retry-After …"""

    value: str
    parameters: Parameters = NO_PARAMETERS

    def __str__(self) -> str:
        return self.value + format_parameters(self.parameters)


def parse_vias(text: str) -> tuple[Via, ...]:
    """Read one Via field, which may hold several hops.

    Raises:
        RemoteProtocolError: a hop against the grammar, or an empty one.
    """
    vias = []
    position: int | None = 0
    while position is not None:
        via, position = scan_via(text, position)
        vias.append(via)
    return tuple(vias)


def parse_via(text: str) -> Via:
    """Read a Via field of one hop.

    Raises:
        RemoteProtocolError: against the grammar, or several hops.
    """
    via, position = scan_via(text, 0)
    if position is not None:
        raise RemoteProtocolError("one Via expected")
    return via


def scan_via(text: str, position: int) -> tuple[Via, int | None]:
    """Read one hop and say where the next one of the field begins; None at its end."""
    match = _VIA.match(text, position)
    if match is None:
        raise RemoteProtocolError(f"bad Via: {text[position : position + 60]!r}")
    transport, raw_host, raw_port = match.groups()
    host, number = make_host_port(raw_host, raw_port)
    parameters, end = _scan_parameters(text, match.end())
    return Via(transport.upper(), host, number, parameters), _end_of_item(text, end)


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Read a field of one or more addresses: Contact, Route, Record-Route, P-Asserted-Identity.

    Raises:
        RemoteProtocolError: an address against the grammar, or an empty one.
    """
    if len(text) <= MAX_REMEMBERED_BYTES:
        return _remembered_addresses(text)
    return _read_addresses(text)


def parse_address(text: str) -> Address:
    """Read a field of one address: From, To, Refer-To, Reply-To.

    Raises:
        RemoteProtocolError: against the grammar, or several addresses.
    """
    addresses = parse_addresses(text)
    if len(addresses) != 1:
        raise RemoteProtocolError("one address expected")
    return addresses[0]


def parse_cseq(text: str) -> CSeq:
    """Read a CSeq.

    Raises:
        RemoteProtocolError: no number below 2**31 followed by a method.
    """
    words = text.split()
    if len(words) != 2 or not is_token(words[1]):
        raise RemoteProtocolError(f"bad CSeq: {text[:40]!r}")
    return CSeq(parse_number(words[0], MAX_CSEQ), words[1])


def parse_media_type(text: str) -> MediaType:
    """Read a Content-Type.

    Raises:
        RemoteProtocolError: no `type/subtype`, or bad parameters.
    """
    name, semicolon, _ = text.partition(";")
    kind, slash, subtype = name.partition("/")
    kind, subtype = kind.strip(" \t").lower(), subtype.strip(" \t").lower()
    if not (slash and is_token(kind) and is_token(subtype)):
        raise RemoteProtocolError(f"bad media type: {text[:40]!r}")
    if not semicolon:
        return MediaType(kind, subtype)
    parameters, position = _scan_parameters(text, len(name))
    if _end_of_item(text, position) is not None:
        raise RemoteProtocolError("one media type expected")
    return MediaType(kind, subtype, parameters)


def parse_values(text: str) -> tuple[ParameterValue, ...]:
    """Read a field of words with parameters: Reason, Event, Accept-Encoding, Session-Expires.

    Raises:
        RemoteProtocolError: an item without a word, or bad parameters.
    """
    values = []
    position: int | None = 0
    while position is not None:
        match = _VALUE.match(text, position)
        if match is None:
            raise RemoteProtocolError(f"bad value: {text[position : position + 40]!r}")
        parameters, end = _scan_parameters(text, match.end())
        values.append(ParameterValue(match[1], parameters))
        position = _end_of_item(text, end)
    return tuple(values)


def parse_tokens(text: str) -> tuple[str, ...]:
    """Read a list of tokens: Allow, Supported, Require. Empty items, which are seen, are left out.

    Raises:
        RemoteProtocolError: an item that is no token.
    """
    tokens = tuple(word for part in text.split(",") if (word := part.strip(" \t")))
    for token in tokens:
        if not is_token(token):
            raise RemoteProtocolError(f"not a token: {token[:40]!r}")
    return tokens


def format_parameters(parameters: Parameters) -> str:
    """Write header parameters, quoted where the value came so or needs it.

    Raises:
        ValueError: a name that is no token.
    """
    return "".join(_format_parameter(name, value) for name, value in parameters)


def _format_parameter(name: str, value: str | None) -> str:
    if not is_token(name):
        raise ValueError(f"not a parameter name: {name[:40]!r}")
    if value is None:
        return f";{name}"
    if isinstance(value, Quoted) or _PLAIN.match(value) is None:
        return f";{name}={quote(value)}"
    return f";{name}={value}"


def _read_addresses(text: str) -> tuple[Address, ...]:
    addresses = []
    position: int | None = 0
    while position is not None:
        address, position = _scan_address(text, position)
        addresses.append(address)
    return tuple(addresses)


_remembered_addresses = lru_cache(MAX_REMEMBERED)(_read_addresses)


def _scan_address(text: str, position: int) -> tuple[Address, int | None]:
    match = _NAME_ADDRESS.match(text, position)
    if match is not None:
        quoted, plain, uri = match.groups()
        name = clean(plain.strip(" \t") if quoted is None else unescape(quoted))
    else:
        match = _BARE_ADDRESS.match(text, position)
        if match is None:
            raise RemoteProtocolError(f"bad address: {text[position : position + 60]!r}")
        name, uri = "", match[1]
    parameters, end = _scan_parameters(text, match.end())
    return Address(name, parse_uri(uri), parameters), _end_of_item(text, end)


def _scan_parameters(text: str, position: int) -> tuple[Parameters, int]:
    """Read as many `;name=value` as follow; the caller judges what comes after them."""
    found: list[tuple[str, str | None]] = []
    while match := _PARAMETER.match(text, position):
        name, plain, quoted = match.groups()
        found.append((name.lower(), plain if quoted is None else Quoted(clean(unescape(quoted)))))
        position = match.end()
    if not found:
        return NO_PARAMETERS, position
    if len(found) > 1 and len({name for name, _ in found}) < len(found):
        raise RemoteProtocolError("parameter given twice")
    return Parameters(found), position


def _end_of_item(text: str, position: int) -> int | None:
    """Where the next item of a comma list begins; None at the end of the field."""
    match = _END_OF_ITEM.match(text, position)
    if match is None:
        raise RemoteProtocolError(f"trailing junk: {text[position : position + 40]!r}")
    return match.end() if match[1] else None

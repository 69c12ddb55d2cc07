"""Session descriptions: the text as values and back (RFC 8866, RFC 3264, RFC 8829 §5).

One module for every kind of leg: RTP/AVP, RTP/SAVP with a=crypto, UDP/TLS/RTP/SAVPF with ICE.
`parse_sdp` and `str` are inverses but for the spelling: a second round changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from string import hexdigits
from typing import Any

from gateway.codec import Codec
from gateway.errors import RemoteProtocolError
from gateway.sdp.attribute import (
    Reader,
    read_candidate,
    read_flag,
    read_milliseconds,
    read_nothing,
    read_rtcp_port,
    read_setup,
    read_text,
    read_token,
    read_tokens,
    read_word,
    understand,
)
from gateway.sdp.format import format_codecs, read_codecs
from gateway.sdp.grammar import (
    MAX_NUMBER,
    Attribute,
    Line,
    check_line,
    decode,
    first,
    is_address,
    is_token,
    parse_number,
    split_attributes,
    split_sections,
    split_words,
)

MAX_MEDIA = 16
"m= sections: a page that shares everything it has offers four."

MAX_FORMATS = 128
"Formats of one section: there are no more payload types."

UNBOUNDED = "0 0"
"The t= line of a session that is never over by itself: every one in offer and answer."

NULL_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104 - compared with, never bound
"In c=: send nothing, neither RTP nor RTCP (RFC 3264 §8.4)."


class Direction(Enum):
    """Who sends, as seen by the side that says it (RFC 8866 §6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        """Whether media goes out from the side that says it."""
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        """Whether media comes in to the side that says it."""
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @property
    def reversed(self) -> Direction:
        """The same stream as the other side would say it."""
        return _direction(self.receives, self.sends)

    def __and__(self, other: Direction) -> Direction:
        """What both allow."""
        return _direction(self.sends and other.sends, self.receives and other.receives)


class Keying(Enum):
    """How the packets of a stream are protected."""

    NONE = "none"
    SDES = "sdes"
    DTLS = "dtls"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The hash of a DTLS certificate (RFC 8122 §5)."""

    algorithm: str
    "Lower case: sha-256."
    value: str
    "Upper case hexadecimal, a colon between bytes."


@dataclass(frozen=True, slots=True)
class Origin:
    """The o= line: which session, and which version of its description (RFC 8866 §5.2)."""

    session_id: str
    "Digits; unique for this username and address."
    version: int
    address: str
    username: str = "-"


@dataclass(frozen=True, slots=True)
class Group:
    """Media sections that belong together (RFC 5888, RFC 8843)."""

    semantics: str
    "BUNDLE, LS and others."
    mids: tuple[str, ...]


@dataclass(slots=True)
class MediaDescription:
    """One m= section, with what it inherits from the session level already filled in."""

    kind: str = "audio"
    port: int = 0
    "0 rejects the stream, unless `bundle_only`; 9 stands for `see the candidates`."
    protocol: str = "RTP/AVP"
    formats: tuple[str, ...] = ()
    "As in the m= line. Where empty, the payload types of `codecs` are written."
    address: str | None = None
    "Where to send media; None where no c= line says it."
    codecs: tuple[Codec, ...] = ()
    "The formats that an rtpmap or RFC 3551 explains, in the order of the m= line."
    direction: Direction = Direction.SENDRECV
    ptime_ms: int | None = None
    "What its sender wants to receive, 10 to 60."
    maxptime_ms: int | None = None
    mid: str | None = None
    rtcp_port: int | None = None
    "Where to send RTCP; None means port + 1, or `port` with rtcp-mux."
    rtcp_mux: bool = False
    rtcp_rsize: bool = False
    rtcp_xr: tuple[str, ...] = ()
    "The extended reports that are wanted: voip-metrics, rcvr-rtt=all (RFC 3611 §5.1)."
    bundle_only: bool = False
    ice_ufrag: str | None = None
    ice_pwd: str | None = field(default=None, repr=False)
    ice_lite: bool = False
    ice_options: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    "As browsers give them to a page: `candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host`."
    end_of_candidates: bool = False
    fingerprints: tuple[Fingerprint, ...] = ()
    setup: str | None = None
    "active, passive, actpass or holdconn."
    crypto: tuple[str, ...] = field(default=(), repr=False)
    "Values of a=crypto, keys included."
    attributes: tuple[Attribute, ...] = field(default=(), repr=False)
    "All others, in order: (name, value; None for a flag)."

    @property
    def is_rejected(self) -> bool:
        """Whether the m= line says that there is no such stream (RFC 3264 §6)."""
        return self.port == 0 and not self.bundle_only

    @property
    def keying(self) -> Keying:
        """How packets are protected, by protocol and by what keys there are."""
        if "SAVP" not in self.protocol:
            return Keying.NONE
        # Some offer both: without ICE it is SDES that can be used of them.
        is_dtls = self.fingerprints and (self.ice_ufrag is not None or not self.crypto)
        return Keying.DTLS if is_dtls or "TLS" in self.protocol else Keying.SDES

    @property
    def is_muted(self) -> bool:
        """Whether c= is the null address, which asks for no packets at all (RFC 3264 §8.4).

        With ICE it means nothing: candidates say where to send.
        """
        return self.ice_ufrag is None and self.address in NULL_ADDRESSES

    def lines(self, *, shared_address: str | None = None) -> list[str]:
        """The section as lines, without c= where it is the session's."""
        formats = self.formats or tuple(str(codec.payload_type) for codec in self.codecs)
        lines = [f"m={self.kind} {self.port} {self.protocol} {' '.join(formats)}"]
        if self.address is not None and self.address != shared_address:
            lines.append(_format_connection(self.address))
        attributes = [
            *self._transport_attributes(),
            self.direction.value,
            *(f"crypto:{value}" for value in self.crypto),
            *format_codecs(self.codecs),
            *_valued("ptime", self.ptime_ms),
            *_valued("maxptime", self.maxptime_ms),
            *_format_attributes(self.attributes),
        ]
        return lines + [f"a={attribute}" for attribute in attributes]

    def _transport_attributes(self) -> Iterable[str]:
        """RTCP, ICE and DTLS, in the order that browsers write them."""
        yield from _valued("rtcp", self.rtcp_port)
        yield from self.candidates
        yield from ("end-of-candidates",) * self.end_of_candidates
        yield from _valued("ice-ufrag", self.ice_ufrag)
        yield from _valued("ice-pwd", self.ice_pwd)
        yield from _valued("ice-options", " ".join(self.ice_options) or None)
        for fingerprint in self.fingerprints:
            yield f"fingerprint:{fingerprint.algorithm} {fingerprint.value}"
        yield from _valued("setup", self.setup)
        yield from _valued("mid", self.mid)
        yield from ("rtcp-mux",) * self.rtcp_mux
        yield from ("rtcp-rsize",) * self.rtcp_rsize
        yield from _valued("rtcp-xr", " ".join(self.rtcp_xr) or None)
        yield from ("bundle-only",) * self.bundle_only


@dataclass(slots=True)
class SessionDescription:
    """A whole description; `str` writes it, or raises ValueError for a value with a line break."""

    origin: Origin
    media: list[MediaDescription] = field(default_factory=list)
    name: str = "-"
    address: str | None = None
    "The session's c= line, and so that of every section that has the same address."
    groups: tuple[Group, ...] = ()
    timing: str = UNBOUNDED
    "The t= line, which an answer repeats (RFC 3264 §6)."
    attributes: tuple[Attribute, ...] = ()
    "Session attributes that nothing else here holds, in order."

    @property
    def has_audio(self) -> bool:
        """Whether any audio is there that is not rejected or put to rest."""
        return any(m.kind == "audio" and not m.is_rejected for m in self.media)

    def __str__(self) -> str:
        origin = self.origin
        lines = [
            "v=0",
            f"o={origin.username} {origin.session_id} {origin.version}"
            f" {_format_address(origin.address)}",
            f"s={self.name}",
            *([] if self.address is None else [_format_connection(self.address)]),
            f"t={self.timing}",
            *(f"a=group:{' '.join((group.semantics, *group.mids))}" for group in self.groups),
            # RFC 8839 §5.3: ice-lite is said of the whole session only.
            *("a=ice-lite",) * any(media.ice_lite for media in self.media),
            *(f"a={attribute}" for attribute in _format_attributes(self.attributes)),
        ]
        for media in self.media:
            lines += media.lines(shared_address=self.address)
        return "".join(f"{check_line(line)}\r\n" for line in lines)

    def __bytes__(self) -> bytes:
        return str(self).encode("utf-8", "surrogateescape")


def parse_sdp(data: bytes | str) -> SessionDescription:
    """Read a session description.

    An attribute that is unknown or makes no sense has no effect and is kept in `attributes`; a
    line of another letter that we do not use is dropped.

    Raises:
        RemoteProtocolError: it is none, or goes beyond a limit above. Nothing else is raised.
    """
    lines, *sections = split_sections(decode(data))
    if lines[:1] != [("v", "0")]:
        raise RemoteProtocolError("SDP does not begin with v=0")
    if len(sections) > MAX_MEDIA:
        raise RemoteProtocolError(f"SDP with {len(sections)} m= lines")
    address = _read_connection(lines)
    shared, attributes = understand(split_attributes(lines), _INHERITED)
    groups, others = _read_groups(attributes)
    media = [_read_media(section, {"address": address} | shared) for section in sections]
    mids = [section.mid for section in media if section.mid is not None]
    if len(set(mids)) < len(mids):
        raise RemoteProtocolError("SDP names two m= sections alike (a=mid)")
    return SessionDescription(
        origin=_read_origin(first(lines, "o") or ""),
        media=media,
        name=first(lines, "s") or "-",
        address=address,
        groups=groups,
        timing=_read_timing(first(lines, "t") or ""),
        attributes=others,
    )


# ---- reading


def _read_origin(text: str) -> Origin:
    words = text.rsplit(" ", 5)  # there are devices with spaces in the username
    version = parse_number(words[2], MAX_NUMBER) if len(words) == 6 else None
    if version is None or not all(words) or not is_address(words[5]):
        raise RemoteProtocolError(f"not an o= line: {text[:60]!r}")
    return Origin(words[1], version, words[5], words[0])


def _read_connection(lines: list[Line]) -> str | None:
    """The address of the first c= line, without the TTL of a multicast one."""
    text = first(lines, "c")
    if text is None:
        return None
    words = split_words(text)
    if len(words) != 3 or words[0] != "IN" or words[1] not in ("IP4", "IP6"):
        raise RemoteProtocolError(f"not an address: {text[:60]!r}")
    address = words[2].partition("/")[0]
    if not is_address(address):
        raise RemoteProtocolError(f"not an address: {text[:60]!r}")
    return address


def _read_timing(text: str) -> str:
    words = split_words(text)
    is_timing = len(words) == 2 and all(parse_number(w, MAX_NUMBER) is not None for w in words)
    return " ".join(words) if is_timing else UNBOUNDED


def _read_groups(attributes: list[Attribute]) -> tuple[tuple[Group, ...], tuple[Attribute, ...]]:
    groups: list[Group] = []
    others: list[Attribute] = []
    for name, value in attributes:
        words = split_words(value or "") if name == "group" else []
        if words:
            groups.append(Group(words[0], tuple(words[1:])))
        elif name not in _INHERITED:  # else a second one, which must not come to count
            others.append((name, value))
    return tuple(groups), tuple(others)


def _read_media(lines: list[Line], shared: dict[str, Any]) -> MediaDescription:
    """One section; `shared` are the fields that the session level fills in for all."""
    kind, port, protocol, formats = _read_media_line(lines[0][1])
    attributes = split_attributes(lines)
    codecs: tuple[Codec, ...] = ()
    if "RTP/" in protocol:
        codecs, attributes = read_codecs(formats, attributes)
    found, others = understand(attributes, _ATTRIBUTES)
    media = MediaDescription(kind, port, protocol, formats, **(shared | found))
    media.address = _read_connection(lines) or media.address
    media.codecs = codecs
    media.attributes = tuple(others)
    return media


def _read_media_line(text: str) -> tuple[str, int, str, tuple[str, ...]]:
    words = split_words(text)
    kind, ports, protocol, *formats = words if len(words) > 3 else ("", "", "", "")
    port = parse_number(ports.partition("/")[0], 65535)
    if port is None or not all(map(is_token, (kind, *protocol.split("/"), *formats))):
        raise RemoteProtocolError(f"not an m= line: {text[:60]!r}")
    if len(formats) > MAX_FORMATS:
        raise RemoteProtocolError(f"m= line with {len(formats)} formats")
    return kind, port, protocol, tuple(formats)


def _fingerprint(text: str) -> Fingerprint | None:
    algorithm, _, value = text.partition(" ")
    pairs = value.strip(" ").split(":")
    if not is_token(algorithm) or len(pairs) > 64:
        return None
    if any(len(pair) != 2 or pair.strip(hexdigits) for pair in pairs):
        return None
    return Fingerprint(algorithm.lower(), ":".join(pairs).upper())


def _direction_reader(direction: Direction) -> Reader:
    return "direction", lambda text: None if text else direction


_INHERITED: dict[str, Reader] = {
    **{direction.value: _direction_reader(direction) for direction in Direction},
    "ice-ufrag": ("ice_ufrag", read_word),
    "ice-pwd": ("ice_pwd", read_word),
    "ice-lite": ("ice_lite", read_flag),
    "ice-options": ("ice_options", read_tokens),
    "end-of-candidates": ("end_of_candidates", read_flag),
    "fingerprint": ("fingerprints", _fingerprint),
    "setup": ("setup", read_setup),
    "rtcp-xr": ("rtcp_xr", read_tokens),
}
"What the session level says for every section that does not say it itself (Firefox does so)."

_ATTRIBUTES: dict[str, Reader] = {
    **_INHERITED,
    "ice-lite": ("", read_nothing),  # RFC 8839 §5.3: of the session only
    "candidate": ("candidates", read_candidate),
    "crypto": ("crypto", read_text),
    "ptime": ("ptime_ms", read_milliseconds),
    "maxptime": ("maxptime_ms", read_milliseconds),
    "mid": ("mid", read_token),
    "rtcp": ("rtcp_port", read_rtcp_port),
    "rtcp-mux": ("rtcp_mux", read_flag),
    "rtcp-rsize": ("rtcp_rsize", read_flag),
    "bundle-only": ("bundle_only", read_flag),
}


# ---- writing


def _format_address(address: str) -> str:
    return f"IN IP{6 if ':' in address else 4} {address}"


def _format_connection(address: str) -> str:
    return f"c={_format_address(address)}"


def _format_attributes(attributes: Iterable[Attribute]) -> Iterable[str]:
    return (name if value is None else f"{name}:{value}" for name, value in attributes)


def _valued(name: str, value: object) -> Iterable[str]:
    return () if value is None else (f"{name}:{value}",)


def _direction(sends: bool, receives: bool) -> Direction:
    if sends:
        return Direction.SENDRECV if receives else Direction.SENDONLY
    return Direction.RECVONLY if receives else Direction.INACTIVE

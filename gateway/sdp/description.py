"""Session descriptions: the text as values and back (RFC 8866, RFC 3264, RFC 8829 §5).

One module for every kind of leg: RTP/AVP, RTP/SAVP with a=crypto, UDP/TLS/RTP/SAVPF with ICE.
`parse_sdp` and `str` are inverses but for the spelling: a second round changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from gateway.codec import Codec


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
    rtcp_address: str | None = None
    rtcp_mux: bool = False
    rtcp_rsize: bool = False
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
    attributes: tuple[tuple[str, str | None], ...] = ()
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
        return Keying.DTLS if self.fingerprints or "TLS" in self.protocol else Keying.SDES

    @property
    def is_muted(self) -> bool:
        """Whether c= is the null address, which asks for no packets at all (RFC 3264 §8.4).

        With ICE it means nothing: candidates say where to send.
        """
        return self.ice_ufrag is None and self.address in ("0.0.0.0", "::")

    @property
    def rtcp_target(self) -> tuple[str | None, int]:
        """Address and port for RTCP (RFC 3605, RFC 5761)."""
        if self.rtcp_mux:
            return self.address, self.port
        return self.rtcp_address or self.address, self.rtcp_port or self.port + 1


@dataclass(slots=True)
class SessionDescription:
    """A whole description."""

    origin: Origin
    media: list[MediaDescription] = field(default_factory=list)
    name: str = "-"
    address: str | None = None
    "The session's c= line: written for each section that has the same address."
    groups: tuple[Group, ...] = ()
    timing: str = "0 0"
    "The t= line, which an answer repeats (RFC 3264 §6)."
    attributes: tuple[tuple[str, str | None], ...] = ()
    "Session attributes that nothing else here holds, in order."


def parse_sdp(data: bytes | str) -> SessionDescription:
    """Read a session description.

    Raises:
        RemoteProtocolError: it is not one, or goes beyond a limit above. Nothing else is raised.
    """
    raise NotImplementedError


def _direction(sends: bool, receives: bool) -> Direction:
    if sends:
        return Direction.SENDRECV if receives else Direction.SENDONLY
    return Direction.RECVONLY if receives else Direction.INACTIVE

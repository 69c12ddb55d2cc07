"""Digest access authentication, the server's side (RFC 7616, RFC 8760, RFC 3261 §22).

Challenges are made without keeping anything: a nonce carries when it was made, and a seal by which
we know it again. What is kept is how often each nonce has let somebody in, so that none does so
twice with the same count; strangers cannot fill that table.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from gateway.errors import RemoteProtocolError
from gateway.private import Secret
from gateway.sip.auth import HASHES, scan_parameters
from gateway.sip.grammar import encode, quote
from gateway.sip.message import Request
from gateway.sip.uri import Uri, parse_uri

NONCE_TTL_S = 60
"How long a nonce lets requests in (A10); after that its answer is stale, not wrong."

MAX_NONCES_KEPT = 16_384
"Nonces whose count is remembered: 270 logins a second for as long as a nonce lives."

MAX_CREDENTIALS = 8
"Authorization fields looked at; a phone sends one for each realm it knows."

_SEAL_CHARACTERS = 32
_DEFAULT_PORTS = {"sip": 5060, "sips": 5061}


class Outcome(Enum):
    """What the credentials of a request are worth."""

    OK = "ok"
    NONE = "none"
    "There are none for our realm: challenge."
    STALE = "stale"
    "For a nonce that is old, used, or none of ours: challenge anew, and count no failure."
    WRONG = "wrong"
    "For a good nonce, and they do not fit: somebody guesses."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found about a request."""

    outcome: Outcome
    username: str | None = None
    "Who proved to be who; None unless the outcome is OK."


@dataclass(frozen=True, slots=True)
class _Credentials:
    username: str
    nonce: str
    uri: str
    response: str
    algorithm: str
    qop: str
    cnonce: str
    nc: str


class Challenger:
    """Challenges requests and judges the answers. Pure: time and the key are given."""

    def __init__(
        self,
        key: bytes,
        realm: str,
        algorithms: Sequence[str] = ("SHA-256",),
        nonce_ttl_s: float = NONCE_TTL_S,
    ) -> None:
        """
        Args:
            key: Unguessable; a nonce is good only where the key is the same.
            algorithms: What is offered, the preferred first: SHA-256, and MD5 where it must be.
        """
        assert all(name.lower() in HASHES for name in algorithms)
        self.realm = realm
        self._key = key
        self._algorithms = tuple(algorithms)
        self._nonce_ttl_s = nonce_ttl_s
        self._serial = 0
        self._uses: OrderedDict[int, tuple[float, int]] = OrderedDict()
        "Highest count by which each nonce let somebody in, and when that nonce dies."
        self._forgotten = 0
        "Nonces up to this serial that are not in the table count as used."
        self._nobody = Secret(self._seal("nobody"))

    def challenge(
        self, now: float, *, stale: bool = False, source: str = ""
    ) -> tuple[tuple[str, str], ...]:
        """The headers of a 401: one WWW-Authenticate for each algorithm (RFC 8760 §2.3).

        Args:
            stale: The answer was right for a nonce that is no longer good.
            source: Who alone may use the nonce; whoever sends under another's address cannot.
        """
        self._serial += 1
        made = f"{int(now * 1000):x}-{self._serial:x}"
        nonce = f"{made}-{self._seal(made, source)}"
        rest = f'realm={quote(self.realm)}, nonce="{nonce}", qop="auth"'
        if stale:
            rest += ", stale=true"
        return tuple(
            ("WWW-Authenticate", f"Digest {rest}, algorithm={name}") for name in self._algorithms
        )

    def verify(
        self,
        request: Request,
        lookup: Callable[[str, str], Secret | None],
        now: float,
        *,
        source: str = "",
    ) -> Verdict:
        """Judge the Authorization of a request.

        Args:
            lookup: The secret of a username for an algorithm (lower case); None: there is no such
                user, or not by that algorithm. What is then done is the very same (A10).
            source: As given to `challenge`.
        """
        found = self._find(request)
        if found is None:
            return Verdict(Outcome.NONE)
        serial = self._read_nonce(found.nonce, source, now)
        if serial is None:
            return Verdict(Outcome.STALE)
        count = _read_count(found.nc)
        if count is None or not self._is_sound(found, request):
            return Verdict(Outcome.WRONG)
        secret = lookup(found.username, found.algorithm)
        expected = self._response(found, secret or self._nobody, request.method)
        is_right = hmac.compare_digest(encode(expected), encode(found.response))
        if not is_right or secret is None:
            return Verdict(Outcome.WRONG)
        if not self._use(serial, count, now):
            return Verdict(Outcome.STALE)
        return Verdict(Outcome.OK, found.username)

    def _find(self, request: Request) -> _Credentials | None:
        """The credentials for our realm; what cannot be read is no credentials."""
        for text in request.headers.get_all("Authorization")[:MAX_CREDENTIALS]:
            scheme, _, _ = text.partition(" ")
            if scheme.lower() != "digest":
                continue
            try:
                given, end = scan_parameters(text, len(scheme))
            except RemoteProtocolError:
                continue
            if given.get("realm") == self.realm and not text[end:].strip(" \t,"):
                return _Credentials(
                    username=given.get("username", ""),
                    nonce=given.get("nonce", ""),
                    uri=given.get("uri", ""),
                    response=given.get("response", ""),
                    algorithm=given.get("algorithm", "MD5").lower(),
                    qop=given.get("qop", "").lower(),
                    cnonce=given.get("cnonce", ""),
                    nc=given.get("nc", ""),
                )
        return None

    def _read_nonce(self, nonce: str, source: str, now: float) -> int | None:
        """The serial of a nonce that is ours, for this source, and young enough."""
        made, _, seal = nonce.rpartition("-")
        if not hmac.compare_digest(encode(seal), encode(self._seal(made, source))):
            return None
        at, _, serial = made.partition("-")
        if now - int(at, 16) / 1000 > self._nonce_ttl_s:
            return None
        return int(serial, 16)

    def _is_sound(self, found: _Credentials, request: Request) -> bool:
        """Whether the answer is of the kind we asked for, and for this request (RFC 7616 §3.4.6).

        Without qop there would be no count, and every answer could be used again.
        """
        return (
            found.qop == "auth"
            and found.cnonce != ""
            and any(found.algorithm == name.lower() for name in self._algorithms)
            and names_same_resource(found.uri, request.uri)
        )

    def _response(self, found: _Credentials, secret: Secret, method: str) -> str:
        digest = HASHES[found.algorithm]
        who = digest(encode(f"{found.username}:{self.realm}:{secret.value}"))
        what = digest(encode(f"{method}:{found.uri}"))
        return digest(encode(f"{who}:{found.nonce}:{found.nc}:{found.cnonce}:auth:{what}"))

    def _use(self, serial: int, count: int, now: float) -> bool:
        """Note that a nonce lets somebody in; False: by this count or a higher one it has."""
        used = self._uses.get(serial)
        if used is None and serial <= self._forgotten:
            return False
        if used is not None and count <= used[1]:
            return False
        self._uses[serial] = (now + self._nonce_ttl_s, count)
        while len(self._uses) > MAX_NONCES_KEPT or next(iter(self._uses.values()))[0] < now:
            forgotten, _ = self._uses.popitem(last=False)
            self._forgotten = max(self._forgotten, forgotten)
        return True

    def _seal(self, *parts: str) -> str:
        text = "\n".join((self.realm, *parts))
        return hmac.digest(self._key, encode(text), "sha256").hex()[:_SEAL_CHARACTERS]


def names_same_resource(text: str, request_uri: str) -> bool:
    """Whether a digest uri names the Request-URI: user, host and port; clients drop parameters."""
    if text == request_uri:
        return True
    try:
        given, wanted = parse_uri(text), parse_uri(request_uri)
    except RemoteProtocolError:
        return False
    return (given.scheme, given.user, given.host, _port_of(given)) == (
        wanted.scheme,
        wanted.user,
        wanted.host,
        _port_of(wanted),
    )


def _port_of(uri: Uri) -> int | None:
    return uri.port or _DEFAULT_PORTS.get(uri.scheme)


def _read_count(text: str) -> int | None:
    """8LHEX (RFC 7616 §3.4), from 1."""
    if len(text) != 8 or not set(text) <= set("0123456789abcdefABCDEF"):
        return None
    return int(text, 16) or None

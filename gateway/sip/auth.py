"""Digest access authentication, the client's side (RFC 7616, RFC 8760, RFC 3261 §22)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gateway.errors import RemoteProtocolError
from gateway.private import Secret
from gateway.sip.grammar import QUOTED_STRING, TOKEN_CHAR, check_text, encode, quote, unescape

MAX_CHALLENGES = 16
"Most challenges read from one response: a proxy chain sends two or three."

_SCHEME = re.compile(rf"[ \t,]*+({TOKEN_CHAR}++)(?:[ \t,]|\Z)")
_PARAMETER = re.compile(
    rf'[ \t]*+({TOKEN_CHAR}++)[ \t]*+=[ \t]*+(?:{QUOTED_STRING}|([^", \t]++))[ \t]*+(?:,|\Z)',
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """A Digest challenge."""

    realm: str
    nonce: str
    algorithm: str = "MD5"
    "As written; MD5 if the challenge names none."
    names_algorithm: bool = True
    "Whether it was named: an RFC 2069 server may choke on being told."
    qop: tuple[str, ...] = ()
    "Lower case; empty for an RFC 2069 server."
    opaque: str | None = None
    stale: bool = False
    "The nonce was too old and the credentials right: try again with this one."


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Read the fields of a WWW-Authenticate or Proxy-Authenticate, each of one or more challenges.

    Challenges of other schemes than Digest are left out.

    Raises:
        RemoteProtocolError: against the grammar, or a Digest challenge without realm or nonce.
    """
    challenges: list[Challenge] = []
    for text in values:
        position = 0
        while match := _SCHEME.match(text, position):
            parameters, position = scan_parameters(text, match.end())
            if match[1].lower() == "digest":
                challenges.append(_make_challenge(parameters))
            if len(challenges) > MAX_CHALLENGES:
                raise RemoteProtocolError("too many challenges")
        if text[position:].strip(" \t,"):
            raise RemoteProtocolError(f"bad challenge: {text[position : position + 40]!r}")
    return tuple(challenges)


def choose_challenge(challenges: Iterable[Challenge], realm: str | None = None) -> Challenge | None:
    """The strongest challenge we can answer; among equals the first (RFC 8760 §2.4).

    Where SHA-256 is offered, MD5 is not answered. `realm` admits only that one.

    Returns:
        None if there is none: an unknown algorithm or qop, or another realm.
    """
    able = [each for each in challenges if _is_answerable(each) and realm in (None, each.realm)]
    return max(able, key=strength_of, default=None)


def strength_of(challenge: Challenge) -> tuple[bool, bool]:
    """What tells the stronger of two challenges: SHA-256 before all, then a qop."""
    return challenge.algorithm.lower().startswith("sha-256"), bool(challenge.qop)


def answer_challenge(
    challenge: Challenge,
    username: str,
    password: Secret,
    *,
    method: str,
    uri: str,
    cnonce: str,
    nc: int = 1,
    body: bytes = b"",
) -> str:
    """The Authorization or Proxy-Authorization that answers a challenge (RFC 7616 §3.4).

    Args:
        challenge: One that `choose_challenge` gave.
        username: Whose name, without a colon.
        password: Its secret.
        method: Of the request that will carry the answer.
        uri: Its Request-URI as written.
        cnonce: Fresh token characters, unguessable.
        nc: How many requests have used this nonce, this one included.
        body: Hashed only where the server takes nothing but auth-int.
    """
    algorithm = challenge.algorithm.lower()
    digest = HASHES[algorithm]
    secret = digest(encode(f"{username}:{challenge.realm}:{password.value}"))
    if algorithm.endswith("-sess"):
        secret = digest(encode(f"{secret}:{challenge.nonce}:{cnonce}"))
    qop = "auth" if "auth" in challenge.qop else "auth-int" if challenge.qop else None
    request = f"{method}:{uri}" + (f":{digest(body)}" if qop == "auth-int" else "")
    count = f":{nc:08x}:{cnonce}:{qop}" if qop else ""
    response = digest(encode(f"{secret}:{challenge.nonce}{count}:{digest(encode(request))}"))
    pairs = [
        ("username", quote(username)),
        ("realm", quote(challenge.realm)),
        ("nonce", quote(challenge.nonce)),
        ("uri", quote(uri)),
        ("response", quote(response)),
        ("algorithm", challenge.algorithm if challenge.names_algorithm else None),
        ("opaque", None if challenge.opaque is None else quote(challenge.opaque)),
        # A session key is made with the cnonce, so it is told without qop too.
        ("cnonce", quote(cnonce) if qop or algorithm.endswith("-sess") else None),
        ("qop", qop),
        ("nc", f"{nc:08x}" if qop else None),
    ]
    return "Digest " + ", ".join(f"{name}={value}" for name, value in pairs if value is not None)


def scan_parameters(text: str, position: int) -> tuple[dict[str, str], int]:
    """Read `name=value` pairs up to the next scheme, if there is one.

    Returns:
        The values by their names in lower case, and where reading stopped.

    Raises:
        RemoteProtocolError: a name twice, or a value that could not be repeated.
    """
    parameters: dict[str, str] = {}
    while match := _PARAMETER.match(text, position):
        name, quoted, plain = match.groups()
        name = name.lower()
        if name in parameters:
            raise RemoteProtocolError(f"two {name[:20]} in a digest")
        parameters[name] = _echoable(plain if quoted is None else unescape(quoted))
        position = match.end()
    return parameters, position


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()  # what RFC 3261 servers ask for


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


HASHES: Mapping[str, Callable[[bytes], str]] = {
    "md5": _md5,
    "md5-sess": _md5,
    "sha-256": _sha256,
    "sha-256-sess": _sha256,
}
"By the algorithm's name in lower case."


def _is_answerable(challenge: Challenge) -> bool:
    qop = challenge.qop
    return challenge.algorithm.lower() in HASHES and (not qop or "auth" in qop or "auth-int" in qop)


def _echoable(value: str) -> str:
    """A value that our answer will repeat: hashed as it is, it must not be cleaned but refused."""
    try:
        return check_text(value)
    except ValueError as error:
        raise RemoteProtocolError(f"a digest with {error}") from None


def _make_challenge(parameters: Mapping[str, str]) -> Challenge:
    realm, nonce = parameters.get("realm"), parameters.get("nonce")
    if realm is None or not nonce:
        raise RemoteProtocolError("challenge without realm or nonce")
    qop = parameters.get("qop", "").split(",")
    return Challenge(
        realm=realm,
        nonce=nonce,
        algorithm=parameters.get("algorithm", "MD5"),
        names_algorithm="algorithm" in parameters,
        qop=tuple(word for each in qop if (word := each.strip(" \t").lower())),
        opaque=parameters.get("opaque"),
        stale=parameters.get("stale", "").lower() == "true",
    )

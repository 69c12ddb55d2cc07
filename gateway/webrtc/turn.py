"""TURN for browsers that UDP does not get to us from: credentials that run out by themselves.

The scheme is that of draft-uberti-behave-turn-rest-00, coturn's `use-auth-secret`: the user name
is the moment they run out at, the password its HMAC under a secret shared with the TURN server.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

from gateway.private import Secret

MAX_TTL_S = 3600
"Whoever takes credentials out of a page may relay for so long (behaviour A6)."


URI = re.compile(
    r"turns?:(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(\?transport=(udp|tcp))?"
)
"RFC 7065 §3.1."


def is_turn_uri(text: str) -> bool:
    """Whether browsers take it for a TURN server."""
    return URI.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """The TURN servers that browsers are told of."""

    urls: tuple[str, ...]
    "turn: and turns: URIs (RFC 7065), best first."
    secret: Secret
    "Shared with the servers (`static-auth-secret`)."
    ttl_s: int = MAX_TTL_S
    "How long credentials are good for."


@dataclass(frozen=True, slots=True)
class TurnCredentials:
    """What a browser logs in to a TURN server with."""

    username: str
    credential: str


def make_credentials(options: TurnOptions, user: str, now: float) -> TurnCredentials:
    """Credentials that are good for `ttl_s` from now on.

    Args:
        user: told to the server for its quota and log; names nobody.
        now: Unix seconds.
    """
    username = f"{int(now) + options.ttl_s}:{user}"
    # SHA-1 is what TURN servers take; nothing here rests on its resistance to collisions.
    digest = hmac.new(options.secret.value.encode(), username.encode(), hashlib.sha1).digest()
    return TurnCredentials(username, base64.b64encode(digest).decode())

"""Who answers digest challenges within a session, and who does not (RFC 3261 §22)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import RemoteProtocolError
from gateway.private import Secret
from gateway.sip.auth import (
    Challenge,
    answer_challenge,
    choose_challenge,
    parse_challenges,
    strength_of,
)
from gateway.sip.message import Request, Response

MAX_TRIES = 2
"Answers given for one request: a proxy's 407, then the callee's 401; or one stale nonce (S17)."
MAX_NONCES = 8
"Nonces whose use is counted in one session; a peer that changes them more often gets no more."

_ASKED = {401: "WWW-Authenticate", 407: "Proxy-Authenticate"}
_ANSWERED = {"WWW-Authenticate": "Authorization", "Proxy-Authenticate": "Proxy-Authorization"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """What answers the challenges of one trunk."""

    username: str
    password: Secret
    realm: str | None = None
    "The only realm that may have an answer (A9); None pins the first that asks."


class Attempt:
    """The challenges that one request has met so far."""

    __slots__ = ("challenges", "tries")

    def __init__(self) -> None:
        self.tries = 0
        self.challenges: dict[str, Challenge] = {}
        "What was answered last, by the header that asked."


class Authenticator:
    """Answers challenges with the credentials of one trunk, all of one realm (A9)."""

    def __init__(self, credentials: Credentials, new_token: Callable[[], str]) -> None:
        self._credentials = credentials
        self._new_token = new_token
        self._realm = credentials.realm
        self._uses: dict[str, int] = {}
        self._weakest = (False, False)
        "What may be asked for: less than SHA-256 no more, once it was that (A9)."

    def accept(self, response: Response, attempt: Attempt) -> bool:
        """Take the challenges of a response.

        Returns:
            Whether to send the request again; False leaves the 401 or 407 final.
        """
        if response.status not in _ASKED or attempt.tries >= MAX_TRIES:
            return False
        # A response may carry the challenge of a proxy and of the callee at once (§22.3).
        found = {}
        for name in _ASKED.values():
            challenge = self._choose(name, response)
            if challenge is not None and not self._is_refusal(challenge, attempt, name):
                found[name] = challenge
        if _ASKED[response.status] not in found:
            return False
        attempt.tries += 1
        attempt.challenges.update(found)
        self._realm = found[_ASKED[response.status]].realm
        asked = max(map(strength_of, found.values()))
        if asked[0]:
            self._weakest = max(self._weakest, asked)
        return True

    def authorize(self, attempt: Attempt, request: Request) -> None:
        """Add what answers the challenges met so far: Authorization, Proxy-Authorization."""
        for name, challenge in attempt.challenges.items():
            request.headers.add(_ANSWERED[name], self._answer(challenge, request))

    def _choose(self, name: str, response: Response) -> Challenge | None:
        values = response.headers.get_all(name)
        try:
            found = choose_challenge(parse_challenges(values), self._realm)
        except RemoteProtocolError:
            return None
        return found if found is not None and strength_of(found) >= self._weakest else None

    def _is_refusal(self, challenge: Challenge, attempt: Attempt, name: str) -> bool:
        """Whether our answer was not good enough: asking again would be a loop."""
        before = attempt.challenges.get(name)
        is_new = challenge.nonce in self._uses or len(self._uses) < MAX_NONCES
        return not is_new or (
            before is not None and (not challenge.stale or challenge.nonce == before.nonce)
        )

    def _answer(self, challenge: Challenge, request: Request) -> str:
        count = self._uses[challenge.nonce] = self._uses.get(challenge.nonce, 0) + 1
        return answer_challenge(
            challenge,
            self._credentials.username,
            self._credentials.password,
            method=request.method,
            uri=request.uri,
            cnonce=self._new_token(),
            nc=count,
            body=request.body,
        )

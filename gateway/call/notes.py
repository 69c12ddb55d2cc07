"""What was noted about one call: metadata, and keys that nobody in it may know."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.call.events import CallId, CallNoted
from gateway.errors import RoutingError
from gateway.leg.leg import LegId
from gateway.private import Secret

MAX_VALUES = 64
"Of metadata, for one call."

MAX_KEY_CHARACTERS, MAX_VALUE_CHARACTERS = 64, 1024

MAX_KEPT = 16
"Answers to secure input that wait to be fetched; then the oldest is forgotten."


class Notes:
    """Kept as long as the call."""

    def __init__(self, call_id: CallId, tell: Callable[[CallNoted], None]) -> None:
        self.values: dict[str, str] = {}
        self._call = call_id
        self._tell = tell
        self._kept: dict[str, Secret] = {}
        self._count = 0

    def add(self, values: Mapping[str, str], by: LegId | None, now: float) -> None:
        """Note something; what has a name already is replaced.

        Raises:
            RoutingError: 413, there is too much of it.
        """
        texts = {str(key): str(value) for key, value in values.items()}
        longest_key = max(map(len, texts), default=0)
        longest_value = max(map(len, texts.values()), default=0)
        if (
            len(self.values.keys() | texts.keys()) > MAX_VALUES
            or longest_key > MAX_KEY_CHARACTERS
            or longest_value > MAX_VALUE_CHARACTERS
        ):
            raise RoutingError("too much is noted about this call", status=413)
        self.values.update(texts)
        self._tell(CallNoted(self._call, now, by, texts))

    def put_away(self, digits: str) -> str:
        """Keep keys that nobody in the call may know; the token that they are fetched by."""
        self._count += 1
        token = f"{self._call}-keys-{self._count}"
        self._kept[token] = Secret(digits)
        while len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        return token

    def fetch(self, token: str) -> Secret:
        """What a token names, once.

        Raises:
            RoutingError: 404, nothing, or not any more.
        """
        kept = self._kept.pop(token, None)
        if kept is None:
            raise RoutingError("there are no keys by this token")
        return kept

    def close(self) -> None:
        """The call is over: nothing that is secret stays."""
        self._kept.clear()

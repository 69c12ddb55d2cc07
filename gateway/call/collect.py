"""Asking a party for keys, for an agent: told to it, or kept from everybody (secure input)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.agents.tool import AskDigits
from gateway.call.digits import Press
from gateway.call.party import Party, PartyState
from gateway.call.room import Room
from gateway.call.uses import Use
from gateway.leg.leg import LegId

VAULT: LegId = "vault"
"Who alone gets the keys of a secure input that an agent asked for: nobody in the call."

MAX_DIGITS = 64
"Of one answer: card numbers and account numbers are shorter."

MIN_TIMEOUT_S, MAX_TIMEOUT_S = 0.5, 120.0
"Between two keys."


class Collection:
    """Keys of one party that are being collected."""

    def __init__(
        self, room: Room, use: Use, tool: AskDigits, party: Party, keep: Callable[[str], str]
    ) -> None:
        """`keep` puts away what was keyed in secure input, and names it."""
        self.party = party
        self.agent = use.party
        self.at = 0.0
        "When the next key is too late."
        self.is_over = False
        self._room = room
        self._use = use
        self._keep = keep
        self._is_secure = tool.secure
        self._max = min(max(tool.max_digits, 1), MAX_DIGITS)
        self._timeout_s = min(max(tool.timeout_s, MIN_TIMEOUT_S), MAX_TIMEOUT_S)
        self._finish_on = tool.finish_on
        self._digits = ""

    def begin(self, now: float) -> None:
        """From now on keys count."""
        self.at = now + self._timeout_s
        if self._is_secure:
            self._room.secure(self.party, VAULT, now)

    def on_key(self, press: Press, now: float) -> None:
        """The party has pressed a key and let go of it.

        It counts if it was for who asks: what is keyed for another in secure input never is, nor
        what the agent would not have got by itself.
        """
        if self._is_secure:
            is_meant = press.secure_to == VAULT
        else:
            is_meant = press.secure_to is None and self.agent.leg.id in press.audience
        if not is_meant:
            return
        digit = press.digit
        self.at = now + self._timeout_s
        if digit in self._finish_on:
            self._finish("key", now)
            return
        self._digits += digit
        if len(self._digits) >= self._max:
            self._finish("max", now)

    def handle_timer(self, now: float) -> None:
        """The next key may be too late."""
        if now >= self.at:
            self._finish("timeout", now)

    def on_left(self, party: Party, now: float) -> None:
        """Somebody has left the call."""
        if party is self.party or party is self.agent:
            self.stop(now)

    def stop(self, now: float) -> None:
        """It is given up."""
        self._finish("left", now)

    def _finish(self, ended_by: str, now: float) -> None:
        if self.is_over:
            return
        self.is_over = True
        digits, self._digits = self._digits, ""
        if self.party.secure_to == VAULT and self.party.state is not PartyState.ENDED:
            self._room.secure(self.party, None, now)
        result: dict[str, Any] = {"count": len(digits), "ended_by": ended_by}
        if not self._is_secure:
            result["digits"] = digits
        elif digits:
            result["token"] = self._keep(digits)
        self._use.done(now, 200 if ended_by != "left" else 487, result=result)

"""Calls that come back to us: who we call routes them to us again (A38).

Nothing of one leg is in the next, but for Max-Forwards, which everybody on the way counts down
(RFC 7332 §4). The same caller and number with one less, and one less again, is a call in a circle.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.errors import RoutingError

MAX_TURNS = 9
"""How often a call may come by while it is not answered. Some pass twice, as forwarded from one
number to another; Max-Forwards alone would let a circle take 70 turns, with two legs for each."""


@dataclass(slots=True)
class Turns:
    """The calls from outside that nobody has answered yet, by who calls whom. Pure."""

    _under_way: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    "For each caller and number the hops that its calls may still take, by the call's id."
    _calls: dict[str, tuple[str, str]] = field(default_factory=dict)

    def enter(self, call: str, caller: str, dialled: str, max_forwards: int) -> None:
        """A call begins.

        Raises:
            RoutingError: 482, it has come by too often. It is not kept.
        """
        turns = self._under_way.setdefault((caller, dialled), {})
        # Calls side by side, of a switchboard whose people all show one number, have like hops.
        if len({hops for hops in turns.values() if hops > max_forwards}) >= MAX_TURNS:
            raise RoutingError("the call comes back to us time and again", status=482)
        turns[call] = max_forwards
        self._calls[call] = (caller, dialled)

    def leave(self, call: str) -> None:
        """It is answered, or over. One that is not known is no matter."""
        key = self._calls.pop(call, None)
        if key is None:
            return
        turns = self._under_way[key]
        del turns[call]
        if not turns:
            del self._under_way[key]

    def __len__(self) -> int:
        return len(self._calls)

"""How much one agent asks for in one call: what is dialled, and how often anything is (A39)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import RoutingError

MAX_DIALS = 10
"Numbers that an agent may try in one call, reached or not: who tries more was talked into it."

MAX_TOOLS_AT_ONCE, TOOLS_PER_S = 20, 5
"""That one agent may use: each is told to all who watch, and logged. No conversation comes near,
and what does is a loop, or an attack."""


@dataclass(slots=True)
class Ledger:
    """That of one agent."""

    dials: int = 0
    reached: int = 0
    asked: float = 0.0
    "Tools, less those that a while ago has made up for."
    asked_at: float = 0.0

    def asks_too_often(self, now: float) -> bool:
        """Note that a tool is wanted; True: it is one too many."""
        passed_s = now - self.asked_at
        self.asked = max(0.0, self.asked - passed_s * TOOLS_PER_S) + 1
        self.asked_at = now
        if self.asked <= MAX_TOOLS_AT_ONCE:
            return False
        self.asked -= 1
        return True

    def check_dials(self, max_reached: int) -> None:
        """Refuse another number.

        Raises:
            RoutingError: 403, it has reached as many as it may, or tried too many.
        """
        if self.reached >= max_reached:
            raise RoutingError("this agent may transfer no more in this call", status=403)
        if self.dials >= MAX_DIALS:
            raise RoutingError("this agent has tried too many numbers", status=403)

    def note_reached(self) -> None:
        """One that it dialled is there."""
        self.reached += 1

"""Waiting until an agent's words were played, so that no goodbye is cut off: with a cap."""

from __future__ import annotations

from gateway.call.party import Party, PartyState
from gateway.call.uses import Then

MIN_LOOK_S = 0.02
"How soon a queue that should be empty by now is looked at again."

MAX_WAIT_S = 60.0
"The longest that is waited, whatever an agent says: as long as its queue can be."


class _Wait:
    def __init__(self, party: Party, until: float, then: Then, now: float) -> None:
        self.party = party
        self.then = then
        self.at = now
        self._until = until
        self.look(now)

    def look(self, now: float) -> None:
        """Find out when it can be over; it is when that is not ahead."""
        playout = self.party.leg.playout
        queued_s = 0.0 if playout is None else playout.queued_ms / 1000
        is_over = queued_s <= 0 or now >= self._until
        self.at = now if is_over else min(self._until, now + max(queued_s, MIN_LOOK_S))


class Speech:
    """Who is waited for in one call."""

    def __init__(self) -> None:
        self._waits: list[_Wait] = []

    def when_said(self, party: Party, max_wait_s: float, then: Then, now: float) -> None:
        """Do something once all that an agent has said was played; at once if it has been."""
        wait = _Wait(party, now + min(max(max_wait_s, 0.0), MAX_WAIT_S), then, now)
        if wait.at <= now:
            then(now)
        else:
            self._waits.append(wait)

    def handle_timer(self, now: float) -> None:
        """Somebody may have said it all."""
        for wait in tuple(self._waits):
            if wait.party.state is PartyState.ENDED:
                self._waits.remove(wait)
            elif now >= wait.at:
                wait.look(now)
                if wait.at <= now:
                    self._waits.remove(wait)
                    wait.then(now)

    @property
    def is_awaited(self) -> bool:
        """Whether anybody is waited for."""
        return bool(self._waits)

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called."""
        return min((wait.at for wait in self._waits), default=None)

    def close(self) -> None:
        """The call is over."""
        self._waits.clear()

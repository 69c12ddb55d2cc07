"""Searches for somebody who is to come into a call that is up: guests, and whom agents dial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.call.hunt import Hunt
from gateway.call.party import Party
from gateway.leg.leg import Ended, EndReason, LegId


@dataclass(frozen=True, slots=True)
class Search:
    """One hunt, and whom it concerns."""

    hunt: Hunt
    on_answered: Callable[[Party, float], None]
    "Somebody is there. The others that rang were let go."
    on_failed: Callable[[Ended, float], None]
    "Nobody is to be reached."


class Searches:
    """Those of one call that are under way."""

    def __init__(self) -> None:
        self._all: list[Search] = []

    def __len__(self) -> int:
        return len(self._all)

    def begin(self, search: Search, now: float) -> None:
        """Ring the first; it may fail at once."""
        self._all.append(search)
        self._settle(search, search.hunt.start(now), now)

    def find(self, leg: LegId) -> Search | None:
        """The search that a leg rings for."""
        for search in self._all:
            if leg in search.hunt.ringing:
                return search
        return None

    def on_answered(self, search: Search, party: Party, now: float) -> None:
        """One that rang is there."""
        self._all.remove(search)
        search.hunt.on_answered(party.leg.id, now)
        search.on_answered(party, now)

    def on_ended(self, search: Search, leg: LegId, ended: Ended, now: float) -> None:
        """One that rang does no longer."""
        self._settle(search, search.hunt.on_ended(leg, ended, now), now)

    def cancel(self, search: Search, now: float) -> None:
        """Let go who rings; nobody is told anything."""
        if search in self._all:
            self._all.remove(search)
            search.hunt.stop(Ended(EndReason.CANCELLED), now)

    def handle_timer(self, now: float) -> None:
        """Whoever rings may have had its time."""
        for search in tuple(self._all):
            self._settle(search, search.hunt.handle_timer(now), now)

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called."""
        if not self._all:
            return None
        deadlines = (search.hunt.deadline for search in self._all)
        return min((at for at in deadlines if at is not None), default=None)

    def close(self) -> None:
        """The call is over, and lets go who rings."""
        self._all.clear()

    def _settle(self, search: Search, failure: Ended | None, now: float) -> None:
        if failure is not None and search in self._all:
            self._all.remove(search)
            search.on_failed(failure, now)

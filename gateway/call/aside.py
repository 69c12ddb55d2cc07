"""Dial: an agent lets another into its call and steps aside; when that one leaves, it is back."""

from __future__ import annotations

from gateway.agents.tool import Dial
from gateway.call.party import Party, PartyState
from gateway.call.room import Room
from gateway.call.search import Search, Searches
from gateway.call.uses import Use, words
from gateway.leg.leg import Ended, EndReason

MIN_TALK_S, MAX_TALK_S = 1.0, 86_400.0
"What an agent may say of how long the other stays."


class Aside:
    """One agent that has stepped aside."""

    def __init__(
        self, room: Room, searches: Searches, use: Use, tool: Dial, agent: Party, person: Party
    ) -> None:
        """`person` is whom the agent talks with."""
        self.agent = agent
        self.is_over = False
        self.until: float | None = None
        "When the other's time is up."
        self._room = room
        self._searches = searches
        self._use = use
        self._limit_s = tool.time_limit_s
        self._person = person
        self._search: Search | None = None
        self._other: Party | None = None
        self._since = 0.0

    @property
    def is_done(self) -> bool:
        """Whether the other is there."""
        return self._search is None

    def begin(self, search: Search, now: float) -> None:
        """Ring the other; the person hears it ring."""
        self._search = search
        self.agent.is_apart = True
        if self._person.is_person:
            self._room.ringing_for = self._person.leg.id
        self._searches.begin(search, now)
        self._room.lay_routes(now)

    def on_answered(self, other: Party, now: float) -> None:
        """The other is there."""
        self._search, self._room.ringing_for = None, None
        self._other, self._since = other, now
        self._room.unhold_of(self.agent, now)
        if self._limit_s is not None:
            self.until = now + min(max(self._limit_s, MIN_TALK_S), MAX_TALK_S)
        self._room.lay_routes(now)

    def replace(self, old: Party, new: Party) -> bool:
        """Another takes a party's place; False: not now."""
        if self._search is not None:
            return False
        self._person = new if self._person is old else self._person
        self._other = new if self._other is old else self._other
        return True

    def on_failed(self, ended: Ended, now: float) -> None:
        """The other is not to be reached: the agent is back."""
        self._use.fail(ended, now)
        self._back(now)

    def on_left(self, party: Party, now: float) -> None:
        """Somebody has left the call."""
        if party is self._other:
            self._finish(now, "hangup")
        elif party is self._person or (party is self.agent and self._search is not None):
            self.stop(now)
        elif party is self.agent:
            self.is_over, self.until = True, None

    def handle_timer(self, now: float) -> None:
        """The other's time may be up."""
        if self.until is not None and now >= self.until and self._other is not None:
            self._room.let_go(self._other, Ended(EndReason.TIME_LIMIT), now)
            self._finish(now, "time-limit")

    def stop(self, now: float) -> None:
        """It is given up: who rings or was let in is let go."""
        if self.is_over:
            return
        if self._search is not None:
            self._searches.cancel(self._search, now)
        if self._other is not None and self._other.state is not PartyState.ENDED:
            self._room.let_go(self._other, Ended(EndReason.HANGUP), now)
        self._use.done(now, 487, words(487))
        self._back(now)

    def _finish(self, now: float, ended_by: str) -> None:
        result = {"duration_s": round(now - self._since, 3), "ended_by": ended_by}
        self._use.done(now, 200, "the other has left", result)
        self._back(now)

    def _back(self, now: float) -> None:
        self.is_over, self.until = True, None
        self._room.ringing_for = None
        self.agent.is_apart = False
        self._room.lay_routes(now)

"""A warm transfer: the target is told first what it is about, while the person hears music.

ringing ──answered──▸ the agent talks to the target alone, or a file is played to it
   │                      └── the agent is done, or the file is ──▸ person and target talk
   └── busy, no answer ──▸ back to the agent ◂── the target hangs up, or the agent says so
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.agents.event import Told
from gateway.agents.tool import Transfer
from gateway.call.events import TransferEnded, TransferStarted
from gateway.call.party import Party, PartyState
from gateway.call.room import Room
from gateway.call.search import Search, Searches
from gateway.call.uses import Use, status_of
from gateway.errors import RoutingError
from gateway.leg.leg import Ended, EndReason, reason_of_status
from gateway.media.sound import Sound

CONSULT_S = 180.0
"How long an agent may talk to a target alone, before the two it brings together are: people wait."


class Consult:
    """One warm transfer under way."""

    def __init__(
        self,
        room: Room,
        searches: Searches,
        use: Use,
        tool: Transfer,
        agent: Party,
        person: Party,
        sound: Sound | None,
        on_reached: Callable[[], None],
        finish: Callable[[Ended, float], None],
    ) -> None:
        """
        Args:
            person: who is transferred.
            sound: what the target hears for a brief; None: the agent tells it.
            on_reached: is told when the target is there.
            finish: ends the call.
        """
        self.agent = agent
        self.is_over = False
        self.until: float | None = None
        self._room = room
        self._searches = searches
        self._use = use
        self._brief = tool.brief
        self._person = person
        self._sound = sound
        self._on_reached = on_reached
        self._finish = finish
        self._search: Search | None = None
        self._target: Party | None = None
        self._player: str | None = None

    @property
    def is_talking(self) -> bool:
        """Whether the target is there."""
        return self._target is not None and not self.is_over

    @property
    def is_ringing(self) -> bool:
        """Whether the target may come yet: the person waits for it, though the agent may leave."""
        return self._search is not None and not self.is_over

    @property
    def is_done(self) -> bool:
        """Whether the person and the target are together."""
        return self.is_over

    def begin(self, search: Search, now: float) -> None:
        """Ring the target; the person hears music, and the agent what the target's network says."""
        self._search = search
        self._person.is_waiting = True
        leg, by = self._person.leg.id, self.agent.leg.id
        self._room.tell(TransferStarted(self._room.id, now, leg, by))
        self._searches.begin(search, now)
        self._room.lay_routes(now)

    def on_answered(self, target: Party, now: float) -> None:
        """The target is there."""
        self._search, self._target = None, target
        self._on_reached()
        if self.agent.state is PartyState.ENDED:
            self.complete(now)
            return
        target.leg.inform(Told("brief", {"brief": self._brief}))
        if self._sound is not None:
            self._play(self._sound, target, now)
        else:
            self.until = now + CONSULT_S
            self.agent.alone_with, target.alone_with = target.leg.id, self.agent.leg.id
            self._room.lay_routes(now)
            told = {"state": "answered", "leg": target.leg.id, "brief": self._brief}
            self.agent.leg.inform(Told("transfer", told))

    def _play(self, sound: Sound, target: Party, now: float) -> None:
        self.agent.is_apart = True
        try:
            self._player = self._room.players.start(
                sound,
                self._brief,
                frozenset({target.leg.id}),
                now,
                by=self.agent.leg.id,
                on_done=self.complete,
            )
        except RoutingError:  # too much is being played: it goes without
            self.complete(now)
            return
        self._room.lay_routes(now)

    def complete(self, now: float) -> None:
        """Bring the two together; the agent is let go."""
        target = self._target
        if self.is_over or target is None:
            return
        self._conclude(200, target, now)
        self._use.done(now, 200, "transferred")
        if self.agent.state is not PartyState.ENDED:
            self._room.let_go(self.agent, Ended(EndReason.TRANSFERRED), now)
        self._room.lay_routes(now)

    def replace(self, old: Party, new: Party) -> bool:
        """Another takes a party's place; False: not now."""
        return False

    def on_failed(self, ended: Ended, now: float) -> None:
        """The target is not to be reached."""
        self._fail(status_of(ended), now)

    def on_left(self, party: Party, now: float) -> None:
        """Somebody has left the call."""
        if party is self._target:
            self._fail(603, now)
        elif party is self._person:
            self.stop(now)
        elif party is self.agent and self._target is not None:
            self.complete(now)
        # While it rings an agent that has left is not waited for: the target is.

    def handle_timer(self, now: float) -> None:
        """The agent may have talked long enough."""
        if self.until is not None and now >= self.until:
            self.complete(now)

    def stop(self, now: float, status: int = 487) -> None:
        """It is given up: the target is let go, and the agent is back with the person.

        Where the agent has left, who gives it up sees to the person.
        """
        if self.is_over:
            return
        if self._search is not None:
            self._searches.cancel(self._search, now)
        target, self._target = self._target, None
        if target is not None and target.state is not PartyState.ENDED:
            self._room.let_go(target, Ended(EndReason.CANCELLED), now)
        self._conclude(status, None, now)
        self._use.done(now, status)
        self._room.lay_routes(now)

    def _fail(self, status: int, now: float) -> None:
        if self.is_over:
            return
        self._conclude(status, None, now)
        self._use.done(now, status)
        if self.agent.state is PartyState.ENDED:
            # Nobody is left to come back to.
            self._finish(Ended(reason_of_status(status), status), now)
        self._room.lay_routes(now)

    def _conclude(self, status: int, to: Party | None, now: float) -> None:
        self.is_over, self.until = True, None
        if self._player is not None:
            self._room.players.stop(self._player, now)
        if self._target is not None:
            self._target.alone_with = None
        self.agent.alone_with, self.agent.is_apart = None, False
        self._person.is_waiting = False
        leg = None if to is None else to.leg.id
        self._room.tell(TransferEnded(self._room.id, now, self._person.leg.id, leg, status))

"""Sounds played into a call: a file or a tone, to those who are named, besides what they hear."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from gateway.call.events import CallId, PlayEnded, PlayStarted
from gateway.call.party import Names, Party, PartyState
from gateway.errors import RoutingError
from gateway.leg.leg import LegId
from gateway.media.hub import Hub, PartyId
from gateway.media.loop import AHEAD_MS, PIECE_TICKS, REFILL_S
from gateway.media.playout import Playout
from gateway.media.sound import TICKS_PER_MS, Sound

MAX_PLAYERS = 8
"Of one call at a time."

MIN_LOOP_MS = 1000
"What is played over and over lasts at least so long: pieces of less would fill every queue."

LATE_S = 5.0
"How much longer than its length a sound may take whose listener is not connected."

PREFIX = "play-"
"What ids of players begin with; no leg's does, which begins with the node's name and a dash."


class Player:
    """One sound that is being played."""

    def __init__(
        self,
        name: PartyId,
        sound: Sound,
        to: Names,
        gain: float,
        on_done: Callable[[float], None],
        now: float,
        *,
        loops: bool,
        by: LegId | None,
    ) -> None:
        """`on_done` is told once it has been played to its end; never of one that is stopped."""
        self.id = name
        self.to = to
        self.gain = gain
        self.playout = Playout()
        self.on_done = on_done
        self._sound = sound
        self.loops = loops
        self.by = by
        self._at = 0
        self._until = now + sound.duration / TICKS_PER_MS / 1000 + LATE_S
        self.at = now
        "When it is to be looked at."
        self.is_done = False

    def look(self, now: float) -> None:
        """Queue more where it is wanted, or note that it is over."""
        self._refill()
        queued_s = self.playout.queued_ms / 1000
        is_late = not self.loops and now >= self._until
        self.is_done = queued_s <= 0 or is_late
        self.at = now + min(REFILL_S, max(queued_s, 0.02))

    def _refill(self) -> None:
        sound, playout = self._sound, self.playout
        while playout.queued_ms < AHEAD_MS and self._at < sound.duration:
            size = min(PIECE_TICKS, sound.duration - self._at)
            playout.say_sound(sound, self._at, size)
            self._at += size
            if self.loops:
                self._at %= sound.duration


class Players:
    """What is being played in one call."""

    def __init__(
        self, call_id: CallId, hub: Hub, tell: Callable[[PlayStarted | PlayEnded], None]
    ) -> None:
        self._call = call_id
        self._hub = hub
        self._tell = tell
        self._players: dict[PartyId, Player] = {}
        self._count = 0

    def __contains__(self, name: object) -> bool:
        return name in self._players

    @property
    def ids(self) -> Collection[PartyId]:
        return self._players.keys()

    def start(
        self,
        sound: Sound,
        shown: str,
        to: Names,
        now: float,
        *,
        loops: bool = False,
        gain: float = 1.0,
        by: LegId | None = None,
        on_done: Callable[[float], None] = lambda now: None,
    ) -> PartyId:
        """Begin to play; it is heard from the next `lay_routes` on.

        Args:
            shown: what it is, for people.
            by: the agent that wants it.

        Raises:
            RoutingError: 409, it is too short to be played over and over; 503, there are
                `MAX_PLAYERS` already.
        """
        if loops and sound.duration < MIN_LOOP_MS * TICKS_PER_MS:
            raise RoutingError("what is looped lasts at least a second", status=409)
        if len(self._players) >= MAX_PLAYERS:
            raise RoutingError("too much is being played in this call", status=503)
        self._count += 1
        name = f"{PREFIX}{self._count}"
        player = Player(name, sound, to, gain, on_done, now, loops=loops, by=by)
        player.look(now)
        self._players[name] = player
        self._hub.join(name, playout=player.playout)
        self._tell(PlayStarted(self._call, now, name, shown, to, loops, by))
        return name

    def stop(self, name: PartyId, now: float, *, is_done: bool = False) -> bool:
        """Play it no more; False where it is not being played."""
        player = self._players.pop(name, None)
        if player is None:
            return False
        self._hub.leave(name)
        self._tell(PlayEnded(self._call, now, name, is_done))
        if is_done:
            player.on_done(now)
        return True

    def stop_loops_of(self, agent: LegId, now: float) -> None:
        """An agent has left: nobody is there who would stop what it plays over and over."""
        for player in tuple(self._players.values()):
            if player.by == agent and player.loops:
                self.stop(player.id, now)

    def stop_all(self, now: float) -> None:
        """The call is over."""
        for name in tuple(self._players):
            self.stop(name, now)

    def handle_timer(self, now: float) -> bool:
        """Go on playing; True where something was played to its end."""
        ended = False
        for player in tuple(self._players.values()):
            if now >= player.at:
                player.look(now)
                if player.is_done:
                    ended = self.stop(player.id, now, is_done=True) or ended
        return ended

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called."""
        if not self._players:
            return None
        return min(player.at for player in self._players.values())

    def add_to(
        self, hears: Mapping[PartyId, Mapping[PartyId, float]], parties: Collection[Party]
    ) -> dict[PartyId, dict[PartyId, float]]:
        """Routes, and who hears what is played: not who hears music already."""
        routes = {name: dict(speakers) for name, speakers in hears.items()}
        for party in parties:
            speakers = routes.get(party.leg.id)
            if speakers is None or party.hears_music or party.state is not PartyState.UP:
                continue
            for player in self._players.values():
                if party.is_of(player.to):
                    speakers[player.id] = player.gain
        return routes

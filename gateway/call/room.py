"""The parties of a call around its hub: who is there, who hears whom, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from gateway.agents.event import HoldChanged, Told
from gateway.call.audience import Audiences
from gateway.call.events import (
    CallEvent,
    CallId,
    LegAmplified,
    LegEnded,
    LegHeld,
    LegMeasured,
    LegMoved,
    LegMuted,
    LegRouted,
    LegSecured,
    LegStarted,
)
from gateway.call.hearing import MUSIC, RINGBACK, partners, routes
from gateway.call.monitor import MAX_MONITORS, Monitor, add_monitors, other_side_of
from gateway.call.party import EVERYBODY, Party, PartyState, quality_of
from gateway.call.players import Players
from gateway.errors import RoutingError
from gateway.leg.leg import Ended, LegId
from gateway.media.hub import Hub, PartyId
from gateway.media.loop import REFILL_S, Loop, hold_music, ringing_tone
from gateway.media.sound import Sound
from gateway.sdp.description import Direction

MEASURE_S = 10.0
"How often it is told how everybody's media fares."


class Room:
    """Everybody in one call. What happens to a party is told here, once."""

    def __init__(self, call_id: CallId, hub: Hub, *, music: Sound | None = None) -> None:
        """`music` is played on hold; None: a few notes of our own."""
        self.id = call_id
        self.hub = hub
        self.parties: dict[LegId, Party] = {}
        "Also those that have ended, in the order of their coming."
        self.ringing_for: LegId | None = None
        "Who waits for somebody that rings, and is to hear a ringing tone of ours."
        self.on_gone: Callable[[Party, float], None] = nobody_cares
        "Is told of everybody who is not in the call any more, or whose place another has taken."
        self.monitors: dict[PartyId, Monitor] = {}
        "Who is attached to the call without being a party of it."
        self._sounds = {MUSIC: music or hold_music(), RINGBACK: ringing_tone()}
        self._loops: dict[PartyId, Loop] = {}
        self._refill_at: float | None = None
        self._measure_at: float | None = None
        self._events: list[CallEvent] = []
        self.players = Players(call_id, hub, self._events.append)
        self._audiences = Audiences()

    # ---- who is there

    def join(self, party: Party, now: float) -> None:
        """Let a party in. It hears and is heard from the next `lay_routes` on."""
        leg = party.leg
        self.parties[leg.id] = party
        self.hub.join(leg.id, listener=leg.listener, playout=leg.playout)
        leg.on_frame = partial(self.hub.push, leg.id)
        self.tell(LegStarted(self.id, now, leg.id, leg.kind, party.role, party.target))

    def let_go(self, party: Party, why: Ended, now: float) -> None:
        """We let this party go."""
        self.mark_ended(party, why, now)
        party.leg.end(why.reason, why.status, why.text)

    def let_all_go(self, why: Ended, now: float) -> dict[LegId, Exception]:
        """The call is over. One broken leg keeps neither the others nor the call from their end.

        Returns:
            The legs that broke, and over what.
        """
        bugs: dict[LegId, Exception] = {}
        for party in self.parties.values():
            party.held_for = None  # who goes itself is not taken off hold before
        for leg, party in tuple(self.parties.items()):
            if party.state is not PartyState.ENDED:
                try:
                    self.let_go(party, why, now)
                except Exception as error:
                    bugs[leg] = error
        return bugs

    def mark_ended(self, party: Party, why: Ended, now: float) -> None:
        """The party is out of the call."""
        party.state = PartyState.ENDED
        self.hub.leave(party.leg.id)
        self._let_go(other_side_of(party.leg.id))
        self.free(party, now)
        party.quality = party.leg.quality()
        self._tell_quality(party, now, is_final=True)
        self.players.stop_loops_of(party.leg.id, now)
        self.unhold_of(party, now)
        self.on_gone(party, now)
        self.tell(LegEnded(self.id, now, party.leg.id, why.reason, why.status, why.text))

    def release(self, leg: LegId, to: CallId, now: float) -> Party:
        """Let a party go on in another call: out of this, its dialog and stream untouched."""
        party = self.parties.pop(leg)
        self.hub.leave(leg)
        self._let_go(other_side_of(leg))
        self.free(party, now)
        party.hears = party.heard_by = EVERYBODY
        party.yields_to = party.held_for = None
        party.is_guest = party.is_waiting = False
        if party.secure_to is not None:
            party.secure_to = None
            self.tell(LegSecured(self.id, now, leg, None))
        self.tell(LegMoved(self.id, now, leg, to))
        return party

    def present(self) -> list[Party]:
        """Those who have answered and are there."""
        return [party for party in self.parties.values() if party.state is PartyState.UP]

    def hosts(self) -> list[Party]:
        """Those of them to whom the call belongs: all but guests."""
        return [party for party in self.present() if not party.is_guest]

    def heard(self) -> list[Party]:
        """Those whose media takes part: who is there, or can be heard early."""
        open_states = (PartyState.UP, PartyState.EARLY)
        return [party for party in self.parties.values() if party.state in open_states]

    def find_present(self, leg: LegId) -> Party:
        """One of those.

        Raises:
            RoutingError: 404, there is no such party; 409, it has not answered.
        """
        party = self.parties.get(leg)
        if party is None or party.state is PartyState.ENDED:
            raise RoutingError("there is no such party in this call")
        if party.state is not PartyState.UP:
            raise RoutingError("this party has not answered", status=409)
        return party

    def find_named(self, name: str, *, besides: Party | None = None) -> Party:
        """One of those, by its leg's id or by another of its names.

        Raises:
            RoutingError: as `find_present`; 409, several go by that name.
        """
        if name in self.parties:
            return self.find_present(name)
        named = [each for each in self.present() if name in each.names and each is not besides]
        if len(named) > 1:
            raise RoutingError(f"several parties are {name}: name one by its id", status=409)
        if not named:
            raise RoutingError(f"there is no {name} in this call")
        return named[0]

    def free(
        self,
        party: Party,
        now: float,
        summary: Mapping[str, Any] | None = None,
        *,
        passes_on: bool = True,
    ) -> None:
        """Let nobody be bound to a party any more: neither alone with it, nor in its shadow.

        Args:
            summary: for an agent that gets its place back.
            passes_on: a place that another has taken from the party in turn stays that one's.
        """
        self.part(party)
        leg, heir = party.leg.id, party.yields_to if passes_on else None
        for other in self.parties.values():
            if other.yields_to == leg and other.state is not PartyState.ENDED:
                other.yields_to = heir
                if heir is None:
                    other.leg.inform(Told("handed-back", summary or {}))
                self.tell_routed(other, now)

    def part(self, party: Party) -> None:
        """Let nobody be alone with a party any more."""
        leg, party.alone_with = party.leg.id, None
        for other in self.parties.values():
            if other.alone_with == leg:
                other.alone_with = None

    # ---- hold

    def hold(self, party: Party, now: float, *, on: bool, by: Party | None = None) -> None:
        """We hold a party, or no longer.

        Args:
            by: the agent that wants it: nobody stays on hold for one that has left.
        """
        if party.is_on_hold == on:
            return
        party.is_on_hold = on
        party.held_for = by.leg.id if on and by is not None else None
        direction = Direction.SENDONLY if on else Direction.SENDRECV
        party.leg.hold(direction)
        told = LegHeld(self.id, now, party.leg.id, by_us=True, direction=direction.reversed)
        self.tell(told)
        self._inform_of_hold(party, on=on)
        self.lay_routes(now)

    def unhold_of(self, agent: Party, now: float) -> None:
        """Whom an agent has on hold talks with another from now on."""
        for party in tuple(self.parties.values()):
            if party.held_for == agent.leg.id and party.state is PartyState.UP:
                self.hold(party, now, on=False)

    def note_held(self, party: Party, direction: Direction | None, now: float) -> None:
        """A party holds us, in this direction, or no longer."""
        if party.held is direction:
            return
        party.held = direction
        ours = Direction.SENDRECV if direction is None else direction.reversed
        self.tell(LegHeld(self.id, now, party.leg.id, by_us=False, direction=ours))
        self._inform_of_hold(party, on=direction is not None)
        self.lay_routes(now)

    def _inform_of_hold(self, party: Party, *, on: bool) -> None:
        """Agents that talk with a party learn that it is on hold, or holds them."""
        for other in partners(party, self.parties.values()):
            if not other.is_person and party.is_open_to(other):
                other.leg.inform(HoldChanged(on))

    # ---- secure input

    def secure(self, party: Party, to: LegId | None, now: float) -> None:
        """Let one party alone hear another and get its keys; None: all do again.

        Until then nobody else does, also when that one has left.
        """
        if party.secure_to == to:
            return
        party.secure_to = to
        self.tell(LegSecured(self.id, now, party.leg.id, to))
        self.lay_routes(now)

    # ---- how loud

    def mute(self, party: Party, now: float, *, on: bool) -> None:
        """Let nobody hear a party, or all again. Its keys still count."""
        if party.is_muted == on:
            return
        party.is_muted = on
        self.tell(LegMuted(self.id, now, party.leg.id, on))
        self.lay_routes(now)

    def amplify(self, party: Party, gain_db: float, now: float) -> None:
        """Let the others hear a party so much louder than it is, or less loud."""
        gain = 10 ** (gain_db / 20)
        if party.gain == gain:
            return
        party.gain = gain
        self.tell(LegAmplified(self.id, now, party.leg.id, gain_db))
        self.lay_routes(now)

    # ---- who listens in

    def attach(self, monitor: Monitor, now: float) -> None:
        """Let somebody hear the call, or speak into it, who is no party of it.

        Raises:
            RoutingError: 409, its id is a party's; 503, there are `MAX_MONITORS` already.
        """
        name, old = monitor.id, self.monitors.get(monitor.id)
        if name in self.parties or name in self._sounds or name in self.players:
            raise RoutingError("a party of this call has this id", status=409)
        if old is None and len(self.monitors) >= MAX_MONITORS:
            raise RoutingError("too many listen to this call", status=503)
        self.monitors[name] = monitor
        if old is None or (old.listener, old.playout) != (monitor.listener, monitor.playout):
            self.hub.join(name, listener=monitor.listener, playout=monitor.playout, counts=False)
        self.lay_routes(now)

    def detach(self, name: PartyId, now: float) -> None:
        """Let a monitor go; one that is not there is ignored."""
        if self._let_go(name):
            self.lay_routes(now)

    def _let_go(self, name: PartyId) -> bool:
        """Whether there was such a monitor; the routes are to be laid anew then."""
        if self.monitors.pop(name, None) is None:
            return False
        self.hub.leave(name)
        return True

    def close(self, now: float) -> None:
        """The call is over: nothing is heard any more."""
        for name in tuple(self.monitors):
            self._let_go(name)
        self.players.stop_all(now)
        self.lay_routes(now)

    # ---- who hears whom

    def lay_routes(self, now: float) -> None:
        """Let everybody hear whom it should, as things stand."""
        hears = routes(self.parties.values(), ringing_for=self.ringing_for)
        self._audiences.tell_agents(self.parties.values())
        heard = {name for speakers in hears.values() for name in speakers}
        self._play(heard & self._sounds.keys(), now)
        if self.players.ids:
            hears = self.players.add_to(hears, self.parties.values())
        if self.monitors:
            hears = add_monitors(hears, self.monitors.values(), self.parties.values())
        self.hub.route(hears, keep=self._going_on(hears))
        if not hears:
            self._measure_at = None

    def _going_on(self, hears: Mapping[PartyId, Mapping[PartyId, float]]) -> set[PartyId]:
        """Who may go on with what it was saying. What we play is nobody's secret."""
        ours = {*self._loops, *self.players.ids}
        if not (ours or self.monitors or self._has_queues()):
            return ours  # nobody queues what it says
        return ours | self._audiences.going_on(hears, self.parties)

    def _has_queues(self) -> bool:
        return any(party.leg.playout is not None for party in self.parties.values())

    def handle_timer(self, now: float) -> None:
        """What we play may need more to play, and it may be time to tell how media fares."""
        if self._measure_at is not None and now >= self._measure_at:
            self._measure(now)
        if self.players.handle_timer(now):
            self.lay_routes(now)
        if self._refill_at is not None and now >= self._refill_at:
            self._refill_at = now + REFILL_S
            for loop in self._loops.values():
                loop.refill()

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called."""
        timers = (self._refill_at, self._measure_at, self.players.next_timer())
        return min((at for at in timers if at is not None), default=None)

    def measure(self, now: float) -> None:
        """From now on it is told how everybody's media fares, until nobody is there."""
        if self._measure_at is None:
            self._measure_at = now + MEASURE_S

    def _measure(self, now: float) -> None:
        heard = self.heard()
        self._measure_at = now + MEASURE_S if heard else None
        for party in heard:
            self._tell_quality(party, now, is_final=False)

    def _tell_quality(self, party: Party, now: float, *, is_final: bool) -> None:
        quality = quality_of(party)
        if quality is not None:
            self.tell(LegMeasured(self.id, now, party.leg.id, quality, is_final))

    def _play(self, wanted: Collection[PartyId], now: float) -> None:
        for name in [name for name in self._loops if name not in wanted]:
            del self._loops[name]
            self.hub.leave(name)
        for name in wanted:
            if name not in self._loops:
                loop = self._loops[name] = Loop(self._sounds[name])
                loop.refill()
                self.hub.join(name, playout=loop.playout)
        if not self._loops:
            self._refill_at = None
        elif self._refill_at is None:
            self._refill_at = now + REFILL_S

    # ---- what is told

    def tell(self, event: CallEvent) -> None:
        """Note what happened, for who asks next."""
        self._events.append(event)

    def tell_routed(self, party: Party, now: float, preset: str = "") -> None:
        """Note whom a party hears and who hears it."""
        policy = (party.hears, party.heard_by, party.alone_with, party.yields_to)
        self.tell(LegRouted(self.id, now, party.leg.id, *policy, preset))

    def take_events(self) -> list[CallEvent]:
        """What happened since it was last asked."""
        events = self._events.copy()
        self._events.clear()
        return events


def nobody_cares(party: Party, now: float) -> None:
    """Nobody wants to know."""

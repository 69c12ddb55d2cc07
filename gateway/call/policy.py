"""Who hears whom as it was asked for: presets and lists of names, laid on the parties of a call.

What was laid on a party stays on it, whoever comes and goes, until something else is.

    alone       talks with one party alone, and that one with it
    listen      hears all, is heard by nobody
    whisper     hears all, is heard by one side
    speak       hears all, is heard by all; also called barge
    mute        is heard by nobody, and goes on hearing whom it hears
    aside       hears nobody, is heard by nobody
    take-over   speaks in the place of another, which only listens from now on
    hand-back   gives that one its place back, and listens
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gateway.agents.event import Told
from gateway.call.events import LegAmplified
from gateway.call.party import EVERYBODY, NOBODY, Names, Party
from gateway.call.room import Room
from gateway.errors import RoutingError
from gateway.leg.leg import LegId

AI = "ai"
"Whose place is taken where nobody else is named."


class Preset(Enum):
    """How a party takes part."""

    ALONE = "alone"
    LISTEN = "listen"
    WHISPER = "whisper"
    SPEAK = "speak"
    BARGE = "barge"
    MUTE = "mute"
    ASIDE = "aside"
    TAKE_OVER = "take-over"
    HAND_BACK = "hand-back"


@dataclass(frozen=True, slots=True)
class Policy:
    """How a party takes part in a call: a preset, or whom it hears and who hears it."""

    preset: Preset | None = None
    side: str | None = None
    "Of a preset: the other party, by leg id, role or side; for whispering, a name that may come."
    hears: Names | None = None
    "None: as before."
    heard_by: Names | None = None
    gain_db: float | None = None
    "How much louder than it is the others hear it."
    summary: Mapping[str, Any] = field(default_factory=dict)
    "For who gets its place back."


LISTEN = Policy(Preset.LISTEN)


def lay(room: Room, policies: Sequence[tuple[str, Policy]], now: float) -> None:
    """Lay policies on parties, by leg id or another name; all at once, or none.

    Raises:
        RoutingError: 404, there is no such party; 409, it has not answered, several go by the name,
            or the preset makes no sense of it.
    """
    steps = [_Step(room, room.find_named(name), policy) for name, policy in policies]
    before = _let_hear(room)
    for step in steps:
        step.lay(now)
    for leg, audience in _let_hear(room).items():
        playout = room.parties[leg].leg.playout
        if playout is not None and not audience <= before[leg]:
            # What it has not said yet was for those who were let hear it, and for nobody else.
            playout.revoke()
    room.lay_routes(now)


def _let_hear(room: Room) -> dict[LegId, set[LegId]]:
    """Those who are let hear each that queues its words, by what was laid on that one."""
    present = room.present()
    return {
        party.leg.id: {each.leg.id for each in present if party.is_said_to(each)}
        for party in present
        if party.leg.playout is not None
    }


def check(policy: Policy) -> None:
    """Refuse a policy that wants another party and names none.

    Raises:
        RoutingError: 400.
    """
    if policy.preset in (Preset.ALONE, Preset.WHISPER) and policy.side is None:
        raise RoutingError(f"{policy.preset.value} wants a `side`: whom", status=400)


class _Step:
    """One policy for one party."""

    def __init__(self, room: Room, party: Party, policy: Policy) -> None:
        """Find whom it concerns; raises as `lay`."""
        check(policy)
        self._room = room
        self._party = party
        self._policy = policy
        self._others = self._find_others()

    def _find_others(self) -> Sequence[Party]:
        preset, to, leg = self._policy.preset, self._policy.side, self._party.leg.id
        if preset is Preset.HAND_BACK:
            yielding = [each for each in self._room.present() if each.yields_to == leg]
            if to is not None:
                yielding = [each for each in yielding if to in each.names]
            if not yielding:
                raise RoutingError("this party has taken nobody's place", status=409)
            return yielding
        if preset is Preset.TAKE_OVER:
            if to is None:
                # An agent that was let in to listen holds nobody's place.
                hosts = [each for each in self._room.hosts() if each.yields_to in (None, leg)]
                found = [each for each in hosts if each is not self._party and AI in each.names]
                if len(found) == 1:
                    return found
            to = to or AI
        elif preset is not Preset.ALONE:
            return ()
        assert to is not None
        other = self._room.find_named(to, besides=self._party)
        if other is self._party:
            raise RoutingError("that is the party itself: name another", status=409)
        return (other,)

    def lay(self, now: float) -> None:
        party, policy = self._party, self._policy
        if policy.preset is not None:
            gives_back = policy.preset is Preset.HAND_BACK
            self._room.free(party, now, policy.summary, passes_on=not gives_back)
            party.yields_to = None
            if policy.preset is Preset.ALONE:
                for other in self._others:
                    self._room.part(other)
            _LAY[policy.preset](party, self._others, policy)
        if policy.hears is not None:
            party.hears = policy.hears
        if policy.heard_by is not None:
            party.heard_by = policy.heard_by
        if policy.gain_db is not None:
            party.gain = 10 ** (policy.gain_db / 20)
            told = LegAmplified(self._room.id, now, party.leg.id, policy.gain_db)
            self._room.tell(told)
        if policy.preset is Preset.TAKE_OVER:
            for other in self._others:
                if other.leg.playout is not None:
                    # The rest of its sentence is for nobody, and not for later.
                    other.leg.playout.revoke()
                self._room.unhold_of(other, now)
                self._room.on_gone(other, now)
                data = {"by": party.target, "role": party.role.value}
                other.leg.inform(Told("taken-over", data))
                self._room.tell_routed(other, now)
        self._room.tell_routed(party, now, "" if policy.preset is None else policy.preset.value)


def _alone(party: Party, others: Collection[Party], policy: Policy) -> None:
    (other,) = others
    # When the other has left it is not heard by those who stay.
    party.hears = party.heard_by = frozenset({other.leg.id})
    party.alone_with, other.alone_with = other.leg.id, party.leg.id


def _listen(party: Party, others: Collection[Party], policy: Policy) -> None:
    party.hears, party.heard_by = EVERYBODY, NOBODY


def _whisper(party: Party, others: Collection[Party], policy: Policy) -> None:
    party.hears, party.heard_by = EVERYBODY, frozenset({policy.side or ""})


def _speak(party: Party, others: Collection[Party], policy: Policy) -> None:
    party.hears = party.heard_by = EVERYBODY


def _mute(party: Party, others: Collection[Party], policy: Policy) -> None:
    party.heard_by = NOBODY


def _aside(party: Party, others: Collection[Party], policy: Policy) -> None:
    party.hears = party.heard_by = NOBODY


def _take_over(party: Party, others: Collection[Party], policy: Policy) -> None:
    party.hears = party.heard_by = EVERYBODY
    party.is_guest = False
    for other in others:
        other.alone_with, other.yields_to = None, party.leg.id


def _hand_back(party: Party, others: Collection[Party], policy: Policy) -> None:
    party.hears, party.heard_by = EVERYBODY, NOBODY
    party.is_guest = True


_LAY: Mapping[Preset, Callable[[Party, Collection[Party], Policy], None]] = {
    Preset.ALONE: _alone,
    Preset.LISTEN: _listen,
    Preset.WHISPER: _whisper,
    Preset.SPEAK: _speak,
    Preset.BARGE: _speak,
    Preset.MUTE: _mute,
    Preset.ASIDE: _aside,
    Preset.TAKE_OVER: _take_over,
    Preset.HAND_BACK: _hand_back,
}

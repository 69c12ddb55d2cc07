"""Who is attached to a call without being a party of it: a recorder, a page that listens, a coach.

A monitor hears parties and is heard by some, as it says; no party is told of it, nobody's call ends
with it, and what is said to others does not wait for its ears.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateway.call.party import Party, PartyState
from gateway.leg.leg import LegId
from gateway.media.hub import Listener, PartyId
from gateway.media.playout import Playout

MAX_MONITORS = 8
"Of one call: a recorder of both sides, a transcript, an agent that helps, people who listen."


@dataclass(frozen=True, slots=True)
class Monitor:
    """What is attached, and who hears whom. To listen, to whisper and to barge in differ in that.

    One that is attached by the same id takes the place of the old; where its ears and its mouth are
    the same it goes on hearing and speaking without a gap.
    """

    id: PartyId
    "That of no party."
    listener: Listener | None = None
    "Its ears."
    playout: Playout | None = None
    "What it says; None: it says nothing, or speaks live (`Hub.push`)."
    hears: frozenset[LegId] | None = None
    "Whom it hears; None: everybody."
    beyond: LegId | None = None
    """Where set, it hears what those hear whom this party hears, but for them: the other side of
    an agent's call. `hears` means nothing then."""
    heard_by: frozenset[LegId] | None = frozenset()
    "Who hears it: nobody, those who are whispered to, or None: everybody."
    gain: float = 1.0
    "How loud it is heard."


def add_monitors(
    hears: Mapping[PartyId, Mapping[PartyId, float]],
    monitors: Collection[Monitor],
    parties: Collection[Party],
) -> dict[PartyId, dict[PartyId, float]]:
    """The routes of a call, and those of who is attached to it.

    Who is on hold, is muted, or is in secure input is not heard by monitors either: they hear
    silence of the same length. Who is on hold hears no monitor, but music.
    """
    routes = {name: dict(speakers) for name, speakers in hears.items()}
    by_name = {party.leg.id: party for party in parties}
    heard = [party for party in parties if party.leg.id in hears and _is_open(party)]
    for monitor in monitors:
        if monitor.beyond is not None:
            routes[monitor.id] = _other_side(monitor.beyond, hears, by_name)
        elif monitor.listener is not None:
            routes[monitor.id] = {
                party.leg.id: party.gain for party in heard if _is_of(monitor.hears, party)
            }
        for party in parties:
            name = party.leg.id
            if name in hears and not party.hears_music and _is_of(monitor.heard_by, party):
                routes[name][monitor.id] = monitor.gain
    return routes


def other_side_of(leg: LegId) -> PartyId:
    """The name by which an agent hears the other side of its call."""
    return f"{leg}.other-side"


def _other_side(
    name: LegId,
    hears: Mapping[PartyId, Mapping[PartyId, float]],
    parties: Mapping[PartyId, Party],
) -> dict[PartyId, float]:
    """What is heard by those whom a party hears, as loud as they hear it.

    Not what is said to them alone: in secure input, or by one who whispers.
    """
    near = hears.get(name, {})

    def may_hear(speaker: PartyId) -> bool:
        said_by = parties.get(speaker)
        if said_by is None or speaker == name:
            return True
        return said_by.secure_to is None and parties[name].is_of(said_by.heard_by)

    return {
        speaker: gain
        for listener in near
        for speaker, gain in hears.get(listener, {}).items()
        if speaker not in near and may_hear(speaker)
    }


def _is_open(party: Party) -> bool:
    """Whether who is not a party of the call may hear it."""
    return (
        party.state in (PartyState.UP, PartyState.EARLY)
        and party.secure_to is None
        and party.yields_to is None
        and not (party.hears_music or party.is_muted or party.holds_silently)
    )


def _is_of(names: frozenset[LegId] | None, party: Party) -> bool:
    return names is None or party.leg.id in names

"""Who hears whom in a call: from the state of its parties to the routes of its hub.

Those who are up hear each other, as far as they are let. One who is only dialled is heard by who
waits for it, and by nobody else. Instead of somebody on hold there is music, or what that party
plays itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from gateway.call.party import Party, PartyState
from gateway.leg.leg import LegId, LegKind
from gateway.media.hub import PartyId

MUSIC: PartyId = "music"
RINGBACK: PartyId = "ringback"
"What we ourselves play in a call; no leg has such an id."


def partners(party: Party, parties: Iterable[Party]) -> list[Party]:
    """Whom a party talks with now; on hold or not."""
    return [other for other in parties if other is not party and _are_together(party, other)]


def audience_of(party: Party, parties: Iterable[Party]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The roles that a party hears, and those that hear it, where nobody is on hold."""
    others = [other for other in partners(party, parties) if other.state is PartyState.UP]
    hears = {each.role.value for each in others if each.speaks_to(party)}
    heard_by = {each.role.value for each in others if party.speaks_to(each)}
    return tuple(sorted(hears)), tuple(sorted(heard_by))


def listeners_by_speaker(
    hears: Mapping[PartyId, Mapping[PartyId, float]],
) -> dict[PartyId, set[PartyId]]:
    """Listeners by speaker."""
    audiences: dict[PartyId, set[PartyId]] = {}
    for listener, speakers in hears.items():
        for name in speakers:
            audiences.setdefault(name, set()).add(listener)
    return audiences


def routes(
    parties: Collection[Party], *, ringing_for: LegId | None
) -> Mapping[PartyId, Mapping[PartyId, float]]:
    """For each listener, whom it hears.

    Args:
        ringing_for: who waits for somebody that we ring on its behalf, and hears our ringback
            while there is no media of theirs.
    """
    hears: dict[PartyId, dict[PartyId, float]] = {}
    for party in parties:
        if party.state not in (PartyState.UP, PartyState.EARLY):
            continue
        others = [other for other in partners(party, parties) if other.is_open_to(party)]
        heard = [other for other in others if not other.hears_music and not other.holds_silently]
        # Who may not hear another is sent silence instead: its time goes on.
        speakers = {other.leg.id: other.gain for other in heard if other.speaks_to(party)}
        if party.hears_music:
            speakers = _for_people(party, MUSIC)
        elif not others and party.leg.id == ringing_for:
            speakers = _for_people(party, RINGBACK)
        elif not heard and any(other.holds_silently for other in others) and party.listens:
            speakers = _for_people(party, MUSIC)
        hears[party.leg.id] = speakers
    return hears


def _for_people(party: Party, sound: PartyId) -> dict[PartyId, float]:
    """An agent hears silence: music would be words to it, and a tone an event."""
    return {} if party.leg.kind is LegKind.AGENT else {sound: 1.0}


def _are_together(one: Party, other: Party) -> bool:
    if one.is_apart or other.is_apart:
        return False
    if one.state is PartyState.UP and other.state is PartyState.UP:
        return True
    return _waits_for(one, other) or _waits_for(other, one)


def _waits_for(one: Party, other: Party) -> bool:
    return other.state is PartyState.EARLY and other.awaited_by == one.leg.id

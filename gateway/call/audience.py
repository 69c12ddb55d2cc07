"""To whom each of a call speaks: what it queued for some is not for others, and agents are told."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gateway.agents.event import AudienceChanged
from gateway.call.hearing import audience_of, listeners_by_speaker
from gateway.call.party import Party, PartyState
from gateway.leg.leg import LegId
from gateway.media.hub import PartyId


class Audiences:
    """Those of one call."""

    def __init__(self) -> None:
        self._said_to: dict[PartyId, set[PartyId]] = {}
        "Who hears whom, as the routes were laid last: listeners by speaker."
        self._told: dict[LegId, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        "What each agent knows of who hears whom."

    def going_on(
        self, hears: Mapping[PartyId, Mapping[PartyId, float]], parties: Collection[PartyId]
    ) -> set[PartyId]:
        """Who may go on with what it was saying, though another hears it from now on.

        An agent goes on as long as somebody hears it to whom it spoke: who listens in besides cuts
        nobody short. Whom it was not let speak to before is another matter: see `policy.lay`.
        """
        before, now = self._said_to, listeners_by_speaker(hears)
        # Whoever is heard by nobody spoke to those who heard it last.
        self._said_to = {name: before[name] for name in before if name in parties} | now
        return {name for name in now if before.get(name, now[name]) & now[name]}

    def tell_agents(self, parties: Collection[Party]) -> None:
        """Let an agent know whom it hears and who hears it, where that has changed."""
        for party in parties:
            if party.is_person or party.state is not PartyState.UP:
                continue
            audience = audience_of(party, parties)
            before = self._told.get(party.leg.id)
            self._told[party.leg.id] = audience
            if before is not None and before != audience:
                party.leg.inform(AudienceChanged(*audience))

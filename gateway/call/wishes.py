"""What one party tells of its media, and what an agent wants besides its tools."""

from __future__ import annotations

from gateway.call.events import LegAlerted, LegDisturbed, LegNoted
from gateway.call.hearing import partners
from gateway.call.monitor import Monitor, other_side_of
from gateway.call.party import Party, PartyState
from gateway.call.room import Room
from gateway.call.tools import Tools
from gateway.errors import RoutingError
from gateway.leg.leg import (
    Disturbed,
    HoldAsked,
    MediaChanged,
    MediaStopAsked,
    Noted,
    OtherSideAsked,
    Restored,
    ToolAsked,
)
from gateway.leg.quality import QualityAlert

MediaNews = Disturbed | Restored | QualityAlert | MediaChanged
Wish = HoldAsked | MediaStopAsked | ToolAsked | OtherSideAsked | Noted


def on_media_news(room: Room, party: Party, event: MediaNews, now: float) -> None:
    """How a party's media fares."""
    if isinstance(event, MediaChanged):
        room.hub.refresh(party.leg.id)
    elif isinstance(event, QualityAlert):
        room.tell(LegAlerted(room.id, now, party.leg.id, event))
    else:
        restored = isinstance(event, Restored)
        room.tell(LegDisturbed(room.id, now, party.leg.id, restored))


def on_wish(room: Room, tools: Tools, party: Party, event: Wish, now: float) -> None:
    """An agent wants something done, or something about it to be seen."""
    if isinstance(event, Noted):
        room.tell(LegNoted(room.id, now, party.leg.id, event.kind, event.data))
    elif isinstance(event, ToolAsked):
        tools.on_asked(party, event, now)
    elif isinstance(event, OtherSideAsked):
        _let_overhear(room, party, event, now)
    elif isinstance(event, MediaStopAsked) or tools.lets_use(party, "hold"):
        _on_asked(room, party, event, now)


def _let_overhear(room: Room, party: Party, event: OtherSideAsked, now: float) -> None:
    """Let an agent hear what is said to whom it hears, or no longer."""
    name = other_side_of(party.leg.id)
    if event.listener is None:
        room.detach(name, now)
        return
    try:
        room.attach(Monitor(name, event.listener, beyond=party.leg.id), now)
    except RoutingError as error:
        data = {"refused": str(error)}
        room.tell(LegNoted(room.id, now, party.leg.id, "other-side", data))


def _on_asked(room: Room, party: Party, event: HoldAsked | MediaStopAsked, now: float) -> None:
    """An agent wants something done to those who hear it."""
    for other in partners(party, room.parties.values()):
        if other.state is not PartyState.UP or not party.is_open_to(other):
            continue
        if isinstance(event, HoldAsked):
            room.hold(other, now, on=event.on, by=party)
        else:
            other.leg.stop_media()

"""What agents have done at once, to whom they talk with."""

from __future__ import annotations

from gateway.agents.tool import Hold, Mute, Play, Record, SendDigits, SetMetadata
from gateway.call.dial import CallOptions
from gateway.call.digits import Digits
from gateway.call.events import RecordAsked
from gateway.call.hearing import partners
from gateway.call.notes import Notes
from gateway.call.party import Party, PartyState
from gateway.call.room import Room
from gateway.call.uses import Use
from gateway.errors import RoutingError


class Deeds:
    """Those of one call. Each raises RoutingError where it cannot be done."""

    def __init__(self, room: Room, digits: Digits, notes: Notes, options: CallOptions) -> None:
        self._room = room
        self._digits = digits
        self._notes = notes
        self._options = options

    def do(self, use: Use, now: float) -> None:
        """Do what was asked."""
        match use.tool:
            case SendDigits():
                self._send_digits(use, use.tool, now)
            case Hold(on=on):
                for other in self.audience_of(use.party):
                    self._room.hold(other, now, on=on, by=use.party)
                use.done(now)
            case Play():
                self._play(use, use.tool, now)
            case Mute(on=on):
                self._room.mute(use.party, now, on=on)
                use.done(now)
            case Record(on=on):
                self._room.tell(RecordAsked(self._room.id, now, use.party.leg.id, on))
                use.done(now)
            case SetMetadata(values=values):
                self._notes.add(values, use.party.leg.id, now)
                use.done(now)
            case _:
                raise RoutingError(f"{use.name} cannot be done here", status=501)

    def _send_digits(self, use: Use, tool: SendDigits, now: float) -> None:
        others = self.audience_of(use.party)
        for other in others:
            done = use.done if other is others[-1] else None
            self._digits.press(other, tool.digits, now, on_done=done)

    def _play(self, use: Use, tool: Play, now: float) -> None:
        to = frozenset(other.leg.id for other in self.audience_of(use.party))
        sound = self._options.find_sound(tool.file)
        if sound is None:
            raise RoutingError("there is no such file among the sounds")
        players, leg = self._room.players, use.party.leg.id
        if tool.loop:
            name = players.start(sound, tool.file, to, now, loops=True, by=leg)
            use.done(now, result={"id": name})
        else:
            players.start(sound, tool.file, to, now, by=leg, on_done=use.done)
        self._room.lay_routes(now)

    def audience_of(self, agent: Party) -> list[Party]:
        """Who hears an agent, muted or not.

        Raises:
            RoutingError: 409, nobody.
        """
        others = partners(agent, self._room.parties.values())
        hearing = [o for o in others if o.state is PartyState.UP and agent.is_open_to(o)]
        if not hearing:
            raise RoutingError("nobody hears this agent", status=409)
        return hearing

    def person_of(self, agent: Party) -> Party:
        """The one party that an agent talks with.

        Raises:
            RoutingError: 409, there is none, or there are several.
        """
        hosts = [each for each in self.audience_of(agent) if not each.is_guest]
        if len(hosts) != 1:
            raise RoutingError("it is not clear which party is meant", status=409)
        return hosts[0]

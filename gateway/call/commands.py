"""What is asked of a call by who is in charge of it: the API, the page of an operator, a rule."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from gateway.agents.event import Told
from gateway.call.dial import Dialler
from gateway.call.digits import GAP_MS, PRESS_MS, Digits
from gateway.call.events import CallEnded, CallEvent, CallId, TransferEnded
from gateway.call.guests import Guests
from gateway.call.hunt import Hunt
from gateway.call.monitor import Monitor
from gateway.call.notes import Notes
from gateway.call.party import CallState, CallSummary, Names, Party, PartyState, describe_party
from gateway.call.policy import Policy, lay
from gateway.call.room import Room
from gateway.call.tools import Tools
from gateway.call.transfer import TransferMode, Transfers
from gateway.errors import RoutingError
from gateway.leg.leg import Ended, EndReason, Leg, LegId, LegKind, Role
from gateway.media.hub import PartyId
from gateway.media.sound import Sound
from gateway.private import Private, Secret
from gateway.sip.uri import Uri
from gateway.trunk.route import Plan


class Commands:
    """The commands of a call to its parties: each by its leg's id, or by another of its names."""

    id: CallId
    state: CallState
    numbers: tuple[Private, Private]
    started_at: float
    answered_at: float | None
    outcome: CallEnded | None
    _room: Room
    _digits: Digits
    _dialler: Dialler
    _plan: Plan
    _transfers: Transfers
    _guests: Guests
    _notes: Notes
    _tools: Tools

    def hold(self, leg: LegId, now: float, *, on: bool = True) -> None:
        """Put a party on hold, or take it off: it hears music and is heard by nobody.

        Raises:
            RoutingError: 404, it is not in the call; 409, it has not answered, or several go by
                the name.
        """
        self._room.hold(self._room.find_named(leg), now, on=on)

    def press(
        self, leg: LegId, digits: str, now: float, *, press_ms: int = PRESS_MS, gap_ms: int = GAP_MS
    ) -> None:
        """Press a dial string toward a party (`rtp.dial_string`).

        Raises:
            RoutingError: 404, it is not in the call; 409, it has not answered, or the last string
                is not done yet; 484, it is no dial string.
        """
        party = self._room.find_named(leg)
        self._digits.press(party, digits, now, press_ms=press_ms, gap_ms=gap_ms)

    def secure(self, leg: LegId, to: LegId | None, now: float) -> None:
        """Secure input: let `to` alone hear a party and get its keys; None: all do again.

        Raises:
            RoutingError: 404, one of them is not in the call; 409, one has not answered, or they
                are the same.
        """
        party = self._room.find_named(leg)
        other = None if to is None else self._room.find_named(to)
        if other is party:
            raise RoutingError("nobody is the only one to hear itself", status=409)
        self._room.secure(party, None if other is None else other.leg.id, now)

    def mute(self, leg: LegId, now: float, *, on: bool = True) -> None:
        """Let nobody hear a party, or all again.

        Raises:
            RoutingError: as for `hold`.
        """
        self._room.mute(self._room.find_named(leg), now, on=on)

    def amplify(self, leg: LegId, gain_db: float, now: float) -> None:
        """Let the others hear a party so much louder than it is, or less loud.

        Raises:
            RoutingError: as for `hold`.
        """
        self._room.amplify(self._room.find_named(leg), gain_db, now)

    def attach(self, monitor: Monitor, now: float) -> None:
        """Let somebody hear the call, or speak into it, who is no party of it.

        Raises:
            RoutingError: 404, the call is over; 409 and 503 as the room says.
        """
        if self.state is CallState.ENDED:
            raise RoutingError("there is no such call")
        self._room.attach(monitor, now)

    def detach(self, name: PartyId, now: float) -> None:
        """Let such a one go, or a guest whose ears broke; one that is not there is ignored."""
        party = self._room.parties.get(name)
        if party is None:
            self._room.detach(name, now)
        elif party.is_guest and party.state is not PartyState.ENDED:
            self._leave(party, Ended(EndReason.GATEWAY_ERROR), now)

    def can_spare(self, name: PartyId) -> bool:
        """Whether the call goes on without regard to somebody: a monitor, or a guest."""
        party = self._room.parties.get(name)
        return name in self._room.monitors or (party is not None and party.is_guest)

    @property
    def monitors(self) -> Collection[PartyId]:
        """Who is attached."""
        return self._room.monitors.keys()

    def transfer(
        self,
        leg: LegId,
        dialled: str,
        plan: Plan,
        now: float,
        *,
        mode: TransferMode = TransferMode.AUTO,
    ) -> None:
        """Bring a party together with whom a number leads to; the others are let go.

        Raises:
            RoutingError: 404 or 409 as for `hold`; 409, the party cannot be asked to call by
                itself; 483, the call was passed on too often; 491, a transfer is under way.
        """
        self._tools.check_idle()
        party = self._room.find_named(leg)
        self._transfers.command(party.leg.id, dialled, plan, now, mode=mode)

    def refer(self, leg: LegId, target: Uri, replaces: str, now: float) -> None:
        """Let a party call who is in another dialog of ours, in the place of that (RFC 5589 §7).

        Raises:
            RoutingError: as for `transfer`.
        """
        self._tools.check_idle()
        self._transfers.refer(leg, target, replaces, now)

    def release(self, leg: LegId, to: CallId, now: float) -> Party:
        """Let a party go on in another call, its dialog and its stream untouched.

        Raises:
            RoutingError: as for `hold`.
        """
        self._room.find_present(leg)
        self._transfers.stop(now)
        self._tools.stop(now)
        party = self._room.release(leg, to, now)
        self._room.lay_routes(now)
        return party

    def adopt(self, party: Party, role: Role, now: float) -> None:
        """Take in a party of another call."""
        party.role, party.state = role, PartyState.UP
        self._room.join(party, now)
        self._room.lay_routes(now)

    def exchange(self, keep: LegId, party: Party, now: float) -> None:
        """Bring one of ours together with a party of another call; all others are let go."""
        self._transfers.stop(now)
        self._tools.stop(now)
        leaving = [other for other in self._room.hosts() if other.leg.id != keep]
        self.adopt(party, leaving[0].role if leaving else Role.CALLEE, now)
        self._room.tell(TransferEnded(self.id, now, keep, party.leg.id, 200))
        for other in leaving:
            self._room.let_go(other, Ended(EndReason.TRANSFERRED), now)
        for other in self._room.present():
            self._room.hold(other, now, on=False)
        self._room.lay_routes(now)

    def replace(self, old: LegId, leg: Leg, target: str, now: float) -> None:
        """Let a new party take the place of one (RFC 3891 §3); it is answered.

        Raises:
            RoutingError: 481, that one is not there any more; 491, a transfer is under way.
        """
        party = self.parties.get(old)
        if party is None or party.state is PartyState.ENDED:
            raise RoutingError("the dialog to be replaced has ended", status=481)
        if self._transfers.is_active:
            raise RoutingError("a transfer is under way in this call", status=491)
        new = Party(leg, party.role, target, PartyState.UP, is_guest=party.is_guest)
        new.hears, new.heard_by, new.is_muted = party.hears, party.heard_by, party.is_muted
        hunt = self._hunt_of(party)
        if hunt is None:
            self._tools.replace(party, new)
        if hunt is not None:
            # It only rings there: whoever takes its place picks the call up.
            new.state, new.awaited_by = PartyState.DIALLED, hunt.waiting
            hunt.take_over(old, leg.id)
        self._room.join(new, now)
        self._room.secure(new, party.secure_to, now)
        leg.answer()
        if hunt is not None:
            self._on_answered(new, now)
        else:
            self._room.let_go(party, Ended(EndReason.TRANSFERRED), now)
            self._room.lay_routes(now)

    # ---- who else takes part

    def invite(
        self, dialled: str, plan: Plan, role: Role | None, policy: Policy, now: float
    ) -> tuple[LegId, ...]:
        """Ring somebody who is to be a guest of the call; see `Guests.invite`.

        Returns:
            The legs that ring.

        Raises:
            RoutingError: 409, the call has not been answered; 403, it is an emergency call; else
                as `Guests.invite`.
        """
        if self.state is not CallState.UP:
            raise RoutingError("this call has not been answered", status=409)
        if self._plan.called is not None:
            raise RoutingError("nobody is let into an emergency call", status=403)
        ringing = self._guests.invite(plan, dialled, role, policy, now, source="api")
        self._room.lay_routes(now)
        return ringing

    def route(self, policies: Sequence[tuple[str, Policy]], now: float) -> None:
        """Lay policies on parties, by leg id or another name; all at once, or none.

        Raises:
            RoutingError: as `policy.lay`.
        """
        lay(self._room, policies, now)

    def dismiss(self, name: str, now: float) -> None:
        """Let one party go, by leg id or another name; the call goes on where there is one left.

        Raises:
            RoutingError: 404, there is no such party; 409, several go by the name.
        """
        party = self._room.parties.get(name)
        if party is None or party.state is PartyState.ENDED:
            party = self._room.find_named(name)
        self._leave(party, Ended(EndReason.HANGUP), now)

    def play(
        self,
        sound: Sound,
        shown: str,
        to: Names,
        now: float,
        *,
        loops: bool = False,
        gain: float = 1.0,
    ) -> PartyId:
        """Play a sound to those who are named; its id.

        Raises:
            RoutingError: 409, the call is not up, or it cannot be looped; 503, too much is played.
        """
        if self.state is not CallState.UP:
            raise RoutingError("this call has not been answered", status=409)
        players = self._room.players
        name = players.start(sound, shown, to, now, loops=loops, gain=gain)
        self._room.lay_routes(now)
        return name

    def stop_playing(self, name: PartyId | None, now: float) -> None:
        """Play a sound no more; None: none at all.

        Raises:
            RoutingError: 404, it is not being played.
        """
        players = self._room.players
        if name is None:
            players.stop_all(now)
        elif not players.stop(name, now):
            raise RoutingError("this is not being played")
        self._room.lay_routes(now)

    # ---- what is told

    def message(self, name: str, told: Told) -> None:
        """Tell an agent something.

        Raises:
            RoutingError: as `Room.find_named`; 409, it is no agent.
        """
        party = self._room.find_named(name)
        if party.leg.kind is not LegKind.AGENT:
            raise RoutingError("this party is no agent: it takes no messages", status=409)
        party.leg.inform(told)

    def note(self, values: Mapping[str, str], now: float) -> None:
        """Note something about the call.

        Raises:
            RoutingError: 413, there is too much of it.
        """
        self._notes.add(values, None, now)

    def fetch_keys(self, token: str) -> Secret:
        """Keys of a secure input that an agent asked for, once.

        Raises:
            RoutingError: 404, there are none by this token.
        """
        return self._notes.fetch(token)

    # ---- what there is to see

    def take_events(self) -> Sequence[CallEvent]:
        """What happened since it was last asked."""
        return self._room.take_events()

    @property
    def parties(self) -> dict[LegId, Party]:
        """Everybody in it, also those who have ended."""
        return self._room.parties

    def heard_parties(self) -> list[Party]:
        """The parties whose media takes part now."""
        return self._room.heard()

    def summary(self, now: float, *, measured: bool = True) -> CallSummary:
        """What can be told about the call now, or after its end.

        Args:
            measured: how everybody's media fares too, which takes a moment for many calls.
        """
        ended_at = self.outcome.at if self.outcome is not None else now
        answered_at = self.answered_at
        return CallSummary(
            id=self.id,
            state=self.state,
            caller=self.numbers[0],
            called=self.numbers[1],
            age_s=ended_at - self.started_at,
            talked_s=0.0 if answered_at is None else ended_at - answered_at,
            legs=tuple(describe_party(party, measured=measured) for party in self.parties.values()),
            outcome=self.outcome,
            metadata=dict(self._notes.values),
        )

    # ---- what the call does

    def _leave(self, party: Party, why: Ended, now: float) -> None:
        """Let a party go as if it had hung up."""
        raise NotImplementedError

    def _on_answered(self, party: Party, now: float) -> None:
        """One that rings has answered."""
        raise NotImplementedError

    def _hunt_of(self, party: Party) -> Hunt | None:
        """The hunt that a party rings for."""
        raise NotImplementedError

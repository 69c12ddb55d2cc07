"""Guests of a call: agents, coaches and supervisors that are let into a call of others.

They hear and are heard as they are told to, and nobody's call ends with them.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from gateway.call.dial import Dialler
from gateway.call.events import GuestFailed
from gateway.call.party import EVERYBODY, Party, PartyState
from gateway.call.policy import LISTEN, Policy, Preset, check, lay
from gateway.call.room import Room
from gateway.call.search import Search, Searches
from gateway.errors import RoutingError
from gateway.leg.leg import Ended, LegId, Role
from gateway.private import Private
from gateway.trunk.route import Guest, Plan, TargetKind

MAX_LEGS = 256
"That one call may ever have had: each is remembered as long as the call."

MAX_GUESTS = 8
"Of one call, those that ring counted: more is no conversation, but somebody's mistake."


class Guests:
    """Those of one call."""

    def __init__(
        self,
        room: Room,
        dialler: Dialler,
        searches: Searches,
        numbers: tuple[Private, Private],
    ) -> None:
        """`numbers`: who called, and what was dialled."""
        self._room = room
        self._dialler = dialler
        self._searches = searches
        self._numbers = numbers

    def invite(
        self,
        plan: Plan,
        dialled: str,
        role: Role | None,
        policy: Policy,
        now: float,
        *,
        source: str,
    ) -> tuple[LegId, ...]:
        """Ring somebody; who answers takes part as the policy says.

        Args:
            source: who asks, in a route's words: where a 3xx may lead.

        Returns:
            The legs that ring.

        Raises:
            RoutingError: 503, there are `MAX_GUESTS`, or were `MAX_LEGS`; else as `policy.check`.
        """
        check(policy)
        guests = [each for each in self._room.parties.values() if each.is_guest]
        now_there = sum(each.state is not PartyState.ENDED for each in guests)
        if now_there >= MAX_GUESTS or len(self._room.parties) >= MAX_LEGS:
            raise RoutingError("this call has too many guests", status=503)
        if role is None:
            is_agent = plan.groups[0][0].kind is TargetKind.AGENT
            role = Role.AI if is_agent else Role.SUPERVISOR
        hunt = self._dialler.hunt(
            plan,
            (self._numbers[0], Private(plan.called or dialled)),
            waiting=None,
            source=source,
            role=role,
            is_guest=True,
        )
        search = Search(
            hunt,
            on_answered=partial(self._on_answered, policy),
            on_failed=partial(self._on_failed, str(plan.groups[0][0])),
        )
        self._searches.begin(search, now)
        return tuple(hunt.ringing)

    def invite_all(self, guests: Collection[Guest], now: float) -> None:
        """Let those in whom the route names."""
        for guest in guests:
            plan, name = Plan(((guest.target,),)), str(guest.target)
            policy = Policy(Preset(guest.preset), guest.side, gain_db=guest.gain_db)
            self.invite(plan, name, Role(guest.role), policy, now, source="api")

    def _on_answered(self, policy: Policy, party: Party, now: float) -> None:
        try:
            lay(self._room, [(party.leg.id, policy)], now)
        except RoutingError:
            # Whom it was to talk with has left meanwhile: it hears, until it is told otherwise.
            lay(self._room, [(party.leg.id, LISTEN)], now)

    def _on_failed(self, target: str, failure: Ended, now: float) -> None:
        status = failure.status if failure.status >= 300 else failure.reason.status
        self._room.tell(GuestFailed(self._room.id, now, target, failure.reason, status))


def goes_on(present: Collection[Party], left: Party) -> bool:
    """Whether there is still a call, now that one has left: two to whom it belongs.

    It is a guest's too that has taken somebody's place or talks with somebody alone, and a
    person's that all hear. When the last person has left, agents have nobody to talk with.
    """
    if left.is_person and not any(party.is_person for party in present):
        return False
    return sum(_holds(party) for party in present) >= 2


def _holds(party: Party) -> bool:
    if party.yields_to is not None:
        return False
    if not party.is_guest or party.alone_with is not None:
        return True
    return party.is_person and party.heard_by == EVERYBODY

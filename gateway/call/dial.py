"""Dialling from within a call: makes the legs that a hunt rings, and lets them go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gateway.call.hunt import Errand, Hunt
from gateway.call.party import Party, PartyState
from gateway.call.room import Room
from gateway.errors import RoutingError
from gateway.leg.leg import Ended, Leg, LegId, Role
from gateway.media.sound import Sound
from gateway.private import Private
from gateway.trunk.route import Plan, Target


def _anything(target: Target) -> bool:
    return True


def _nowhere(source: str, dialled: str) -> Plan:
    raise RoutingError("nothing leads elsewhere from here", status=403)


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What a call is given by its node."""

    is_available: Callable[[Target], bool] = _anything
    "Whether a target is worth trying now: not a trunk that is down."
    plan_for: Callable[[str, str], Plan] = _nowhere
    """Where a number leads for who asks, in a route's words; raises GatewayError. Asked of what a
    REFER or a 3xx names, as of any dialled number."""
    music: Sound | None = None
    "What is played on hold; None: a few notes of our own."


class Dialler:
    """Begins the hunts of one call."""

    def __init__(
        self,
        room: Room,
        dial: Callable[[Target, Errand], Leg],
        options: CallOptions,
        *,
        max_forwards: int,
        max_breadth: int | None,
    ) -> None:
        self.options = options
        self._room = room
        self._dial = dial
        self._max_forwards = max_forwards
        self._max_breadth = max_breadth

    def pass_on(self) -> None:
        """One more hop: a transfer makes a new call of an old one.

        Raises:
            RoutingError: 483, there have been too many (RFC 7332, A38).
        """
        if self._max_forwards <= 1:
            raise RoutingError("this call has been passed on too often", status=483)
        self._max_forwards -= 1

    def hunt(
        self,
        plan: Plan,
        numbers: tuple[Private, Private],
        *,
        waiting: Party,
        role: Role,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Hunt:
        """A hunt along a plan, not yet begun.

        Args:
            numbers: who calls, as it is shown, and what was dialled.
            waiting: on whose behalf: it hears them ring, and a 3xx leads where it may call.
            role: what who is dialled is in the call.
        """
        return Hunt(
            plan,
            Errand(
                self._room.id,
                numbers,
                self._max_forwards,
                self._max_breadth,
                headers,
                plan.options.max_call_duration_s,
                codecs=plan.options.codecs,
                heard=waiting.leg.quality().codec,
            ),
            waiting=waiting.leg.id,
            ring=partial(self._ring, waiting.leg.id, role),
            drop=self._drop,
            is_available=self.options.is_available,
            plan_for=partial(self.options.plan_for, waiting.target),
        )

    def _ring(
        self, waiting: LegId, role: Role, target: Target, errand: Errand, now: float
    ) -> LegId:
        leg = self._dial(target, errand)
        party = Party(leg, role, str(target), PartyState.DIALLED, awaited_by=waiting)
        self._room.join(party, now)
        leg.dial()
        return leg.id

    def _drop(self, leg: LegId, why: Ended, now: float) -> None:
        party = self._room.parties[leg]
        if party.state is not PartyState.ENDED:
            self._room.let_go(party, why, now)

"""Dialling from within a call: makes the legs that a hunt rings, and lets them go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from gateway.call.hunt import Errand, Hunt
from gateway.call.party import Party, PartyState
from gateway.call.room import Room
from gateway.errors import RoutingError
from gateway.leg.leg import Ended, Leg, LegId, Role
from gateway.media.sound import Sound
from gateway.private import Private
from gateway.trunk.route import Plan, Target

MIN_RING_S, MAX_RING_S = 1.0, 180.0
"What an agent may say of how long somebody rings: what a route may."


def _anything(target: Target) -> bool:
    return True


def _nowhere(source: str, dialled: str) -> Plan:
    raise RoutingError("nothing leads elsewhere from here", status=403)


@dataclass(frozen=True, slots=True)
class AgentRules:
    """What an agent may have done."""

    tools: frozenset[str] | None = None
    "By name; None: every tool."
    max_transfers: int = 1
    "How many it may bring into one call (A39)."

    def lets_use(self, tool: str) -> bool:
        """Whether it may use a tool."""
        return self.tools is None or tool in self.tools


def _any_tool(target: str) -> AgentRules:
    return AgentRules()


def _no_sound(name: str) -> Sound | None:
    return None


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
    rules_of: Callable[[str], AgentRules] = _any_tool
    "What an agent may have done, by its target."
    find_sound: Callable[[str], Sound | None] = _no_sound
    "A file of the folder of sounds, by its name."


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

    def plan_for(self, agent: Party, dialled: str, timeout_s: float | None) -> Plan:
        """Where what an agent dials leads.

        Args:
            timeout_s: how long it is to ring; None: as its route says.

        Raises:
            GatewayError: nowhere.
        """
        plan = self.options.plan_for(agent.target, dialled)
        if timeout_s is None:
            return plan
        timeout_s = min(max(timeout_s, MIN_RING_S), MAX_RING_S)
        return replace(plan, options=replace(plan.options, ringing_timeout_s=timeout_s))

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
        waiting: Party | None,
        role: Role,
        source: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        is_guest: bool = False,
    ) -> Hunt:
        """A hunt along a plan, not yet begun.

        Args:
            numbers: who calls, as it is shown, and what was dialled.
            waiting: on whose behalf: it hears them ring, and a 3xx leads where it may call. None:
                nobody hears them, and `source` says where a 3xx may lead.
            role: what who is dialled is in the call.
            is_guest: they are let into a call of others.
        """
        source = source if waiting is None else waiting.target
        waits_for = None if waiting is None else waiting.leg.id
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
                heard=None if waiting is None else waiting.leg.quality().codec,
            ),
            waiting=waits_for,
            ring=partial(self._ring, waits_for, role, is_guest),
            drop=self._drop,
            is_available=self.options.is_available,
            plan_for=partial(self.options.plan_for, source),
        )

    def _ring(
        self,
        waiting: LegId | None,
        role: Role,
        is_guest: bool,
        target: Target,
        errand: Errand,
        now: float,
    ) -> LegId:
        leg = self._dial(target, errand)
        party = Party(leg, role, str(target), PartyState.DIALLED, waiting, is_guest=is_guest)
        self._room.join(party, now)
        leg.dial()
        return leg.id

    def _drop(self, leg: LegId, why: Ended, now: float) -> None:
        party = self._room.parties[leg]
        if party.state is not PartyState.ENDED:
            self._room.let_go(party, why, now)

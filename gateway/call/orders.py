"""Commands to one call of a node, by its id: what the API and the pages of people ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gateway.call.call import Call, CallState, Party, PartyState, TransferMode
from gateway.call.digits import GAP_MS, PRESS_MS
from gateway.call.events import CallId
from gateway.call.monitor import Monitor
from gateway.call.party import partners_of_host
from gateway.errors import RoutingError
from gateway.leg.leg import LegId, Role
from gateway.trunk.route import Plan

Result = TypeVar("Result")


class Orders:
    """The commands; who has the calls carries them out."""

    def command(self, call_id: CallId, do: Callable[[Call, float], Result]) -> Result:
        """Have something done in a call that goes on; it is given the time.

        Raises:
            RoutingError: 404, there is no such call; 500, it broke over it; else as it says.
        """
        raise NotImplementedError

    def hold(self, call_id: CallId, *, leg: LegId | None = None, on: bool = True) -> None:
        """Put a party on hold, or take it off.

        Args:
            leg: who; None: the caller.

        Raises:
            RoutingError: 404, there is no such call or party; 409, it has not answered.
        """
        self.command(call_id, lambda call, now: call.hold(leg or caller_of(call), now, on=on))

    def press(
        self,
        call_id: CallId,
        digits: str,
        *,
        leg: LegId | None = None,
        press_ms: int = PRESS_MS,
        gap_ms: int = GAP_MS,
    ) -> None:
        """Press a dial string toward a party.

        Args:
            leg: who gets the keys; None: whom the caller talks with.

        Raises:
            RoutingError: as the call says.
        """
        self.command(
            call_id,
            lambda call, now: call.press(
                leg or callee_of(call), digits, now, press_ms=press_ms, gap_ms=gap_ms
            ),
        )

    def secure(self, call_id: CallId, to: LegId | None, *, leg: LegId | None = None) -> None:
        """Secure input: let one party alone hear another and get its keys.

        Args:
            to: who; None: all do again.
            leg: who is heard; None: the caller.

        Raises:
            RoutingError: as the call says.
        """
        self.command(call_id, lambda call, now: call.secure(leg or caller_of(call), to, now))

    def mute(self, call_id: CallId, *, leg: LegId | None = None, on: bool = True) -> None:
        """Let nobody hear a party, or all again.

        Args:
            leg: who; None: the caller.

        Raises:
            RoutingError: as for `hold`.
        """
        self.command(call_id, lambda call, now: call.mute(leg or caller_of(call), now, on=on))

    def amplify(self, call_id: CallId, gain_db: float, *, leg: LegId | None = None) -> None:
        """Let the others hear a party so much louder than it is, or less loud.

        Args:
            leg: who; None: the caller.

        Raises:
            RoutingError: as for `hold`.
        """
        self.command(call_id, lambda call, now: call.amplify(leg or caller_of(call), gain_db, now))

    def attach(self, call_id: CallId, monitor: Monitor) -> None:
        """Let somebody hear a call, or speak into it, who is no party of it: until the call ends.

        One whose ears raise is detached; the call goes on.

        Raises:
            RoutingError: 404, there is no such call; 409 and 503 as the room says.
        """
        self.command(call_id, lambda call, now: call.attach(monitor, now))

    def transfer(
        self,
        call_id: CallId,
        to: str,
        plan: Plan,
        *,
        leg: LegId | None = None,
        mode: TransferMode = TransferMode.AUTO,
    ) -> None:
        """Bring a party together with whom a number leads to; everybody else is let go.

        Args:
            to: what is dialled, and where that leads: `plan`.
            leg: who is transferred; None: the caller.

        Raises:
            RoutingError: 404, there is no such call or party; 409, it has not answered, or cannot
                be asked to call by itself; 483, 491 as the call says.
        """
        self.command(
            call_id,
            lambda call, now: call.transfer(leg or caller_of(call), to, plan, now, mode=mode),
        )


def caller_of(call: Call) -> LegId:
    """The party that called, or that now is in its place."""
    present = [p for p in call.parties.values() if p.state is not PartyState.ENDED]
    return next((p.leg.id for p in present if p.role is Role.CALLER), "")


def callee_of(call: Call) -> LegId:
    """Whom the caller talks with: the first of them."""
    caller = caller_of(call)
    hosts = [p for p in call.parties.values() if p.state is PartyState.UP and not p.is_guest]
    present = [p for p in hosts if p.yields_to is None] or hosts
    return next((p.leg.id for p in present if p.leg.id != caller), "")


def party_up(call: Call, leg: LegId) -> Party:
    party = call.parties.get(leg)
    if party is None or party.state is PartyState.ENDED:
        raise RoutingError("there is no such party in this call")
    if party.state is not PartyState.UP or call.state is not CallState.UP:
        raise RoutingError("this party has not answered", status=409)
    return party


def other_party(call: Call, leg: LegId) -> Party:
    """Whom a party talks with."""
    hosts = [p for p in call.parties.values() if p.state is PartyState.UP and not p.is_guest]
    others = partners_of_host(hosts, call.parties[leg])
    if len(others) != 1 or call.state is not CallState.UP:
        raise RoutingError("there is nobody to be transferred", status=403)
    return others[0]


def are_of_one(one: str, other: str) -> bool:
    """Whether two parties belong together: to one trunk, or both to the users (A37)."""
    return one == other or (one.startswith("user:") and other.startswith("user:"))

"""Transfers: one party of a call is brought together with another, and the rest is let go.

    dial    we ring the new party and, when it answers, let the old one go (RFC 5589 §6, by us)
    refer   the party that is transferred is asked to call by itself (REFER, RFC 3515)

Whoever asked for a transfer is told how it goes, and may have hung up meanwhile (S20). One that
fails leaves the call as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from gateway.call.dial import Dialler
from gateway.call.events import TransferEnded, TransferStarted
from gateway.call.hunt import Hunt
from gateway.call.party import Party, PartyState, partners_of_host
from gateway.call.room import Room
from gateway.errors import GatewayError, RoutingError
from gateway.leg.leg import (
    Ended,
    EndReason,
    LegId,
    LegKind,
    Role,
    TransferAsked,
    reason_of_status,
)
from gateway.private import Private
from gateway.sip.uri import Uri
from gateway.trunk.numbers import number_of
from gateway.trunk.route import Plan

REFER_TIMEOUT_S = 180.0
"""How long a party that we sent elsewhere may take to get there, its own ringing time included; a
subscription that nobody refreshes is over by then in most stacks (RFC 3515 §2.4.4)."""


class TransferMode(Enum):
    """Who makes the call to where a party is transferred."""

    AUTO = "auto"
    "The party, where it may be asked to; else we."
    REFER = "refer"
    DIAL = "dial"


class Transfers:
    """The transfers of one call, one at a time."""

    def __init__(
        self,
        room: Room,
        dialler: Dialler,
        numbers: tuple[Private, Private],
        *,
        finish: Callable[[Ended, float], None],
    ) -> None:
        """
        Args:
            numbers: who called, and what was dialled.
            finish: ends the call.
        """
        self._room = room
        self._dialler = dialler
        self._numbers = numbers
        self._finish = finish
        self._current: Transfer | None = None

    # ---- what is wanted

    def command(
        self, leg: LegId, dialled: str, plan: Plan, now: float, *, mode: TransferMode
    ) -> None:
        """Bring a party together with whom a number leads to; see `Call.transfer`."""
        party = self._room.find_present(leg)
        # agent:NAME and user:NAME mean something to us alone.
        can_refer = party.leg.can_refer and ":" not in dialled
        refers = mode is not TransferMode.DIAL and can_refer
        if mode is TransferMode.REFER and not refers:
            raise RoutingError("this party cannot be asked to call by itself", status=409)
        transfer = self._begin(party, None, now)
        if refers:
            transfer.refer(Uri("sip", dialled), None, now)
        else:
            self._search(transfer, plan, dialled, (), now)

    def refer(self, leg: LegId, target: Uri, replaces: str, now: float) -> None:
        """Let a party call who is in another dialog of ours; see `Call.refer`."""
        party = self._room.find_present(leg)
        if not party.leg.can_refer:
            raise RoutingError("this party cannot be asked to call by itself", status=409)
        self._begin(party, None, now).refer(target, replaces, now)

    def on_asked(
        self, party: Party, event: TransferAsked, now: float, *, check: Callable[[Party], None]
    ) -> None:
        """REFER, or the wish of an agent: as if the party had dialled it, where it may (A37).

        Args:
            check: raises GatewayError where the party may not.
        """
        dialled = number_of(event.target)
        others = partners_of_host(self._room.hosts(), party)
        try:
            is_there = party.state is PartyState.UP and not party.is_guest
            if len(others) != 1 or not is_there:
                raise RoutingError("there is nobody to be transferred", status=403)
            check(party)
            plan = self._dialler.options.plan_for(party.target, dialled)
            transfer = self._begin(others[0], party.leg.id, now)
        except GatewayError as error:
            party.leg.transfer_progress(error.status)
            return
        if party.leg.kind is LegKind.AGENT and others[0].leg.can_refer:
            # An agent speaks for us: whom we would ask to call by itself is asked to.
            transfer.refer(Uri("sip", dialled), None, now)
            return
        named = (("Replaces", event.replaces), ("Referred-By", event.referred_by))
        headers = tuple((name, value) for name, value in named if value is not None)
        self._search(transfer, plan, dialled, headers, now)

    def for_agent(
        self,
        agent: Party,
        person: Party,
        dialled: str,
        plan: Plan,
        report: Callable[[int, float], None],
        now: float,
    ) -> None:
        """Bring whom an agent talks with to where it may dial; see `Tools`.

        Args:
            report: is told how it goes, in statuses; the last is 200 or above.

        Raises:
            RoutingError: 491, a transfer is under way.
        """
        transfer = self._begin(person, agent.leg.id, now, report=report)
        if person.leg.can_refer and ":" not in dialled:
            transfer.refer(Uri("sip", dialled), None, now)
        else:
            self._search(transfer, plan, dialled, (), now)

    def stop(self, now: float) -> None:
        """Give up what is under way: the call ends, or goes another way."""
        transfer, self._current = self._current, None
        if transfer is not None:
            transfer.stop(now)

    # ---- what happens

    @property
    def hunt(self) -> Hunt | None:
        """The search that is under way."""
        return None if self._current is None else self._current.hunt

    @property
    def is_active(self) -> bool:
        """Whether one is under way."""
        return self._current is not None

    def on_progressed(self, status: int, now: float) -> None:
        """Who is dialled rings."""
        if self._current is not None:
            self._current.on_progressed(status, now)

    def on_answered(self, party: Party, now: float) -> None:
        """Who was dialled is there."""
        if self._current is not None:
            self._current.on_answered(party, now)
            self._forget()

    def on_progress(self, party: Party, status: int, now: float) -> None:
        """A party that calls by itself tells how far it has got."""
        if self._current is not None and self._current.party == party.leg.id:
            self._current.on_refer_progress(status, now)
            self._forget()

    def on_ended(self, party: Party, ended: Ended, now: float) -> None:
        """Somebody has left."""
        if self._current is not None:
            self._current.on_ended(party, ended, now)
            self._forget()

    def handle_timer(self, now: float) -> None:
        """Somebody may have had its time."""
        if self._current is not None:
            self._current.handle_timer(now)
            self._forget()

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called."""
        return None if self._current is None else self._current.next_timer()

    # ---- inside

    def _begin(
        self,
        party: Party,
        asked_by: LegId | None,
        now: float,
        *,
        report: Callable[[int, float], None] | None = None,
    ) -> Transfer:
        if self._current is not None:
            raise RoutingError("a transfer is under way in this call", status=491)
        if report is None:  # else it was counted already
            self._dialler.pass_on()
        transfer = Transfer(
            self._room, party.leg.id, asked_by=asked_by, finish=self._finish, report=report
        )
        self._current = transfer
        transfer.begin(now)
        return transfer

    def _search(
        self,
        transfer: Transfer,
        plan: Plan,
        dialled: str,
        headers: tuple[tuple[str, str], ...],
        now: float,
    ) -> None:
        """Look for the new party in the name of the one that is transferred."""
        party = self._room.parties[transfer.party]
        shown = self._numbers[0 if party.role is Role.CALLER else 1]
        hunt = self._dialler.hunt(
            plan,
            (shown, Private(plan.called or dialled)),
            waiting=party,
            role=transfer.role,
            headers=headers,
        )
        transfer.search(hunt, now)
        self._forget()

    def _forget(self) -> None:
        if self._current is not None and self._current.is_over:
            self._current = None


class Transfer:
    """One transfer under way."""

    def __init__(
        self,
        room: Room,
        party: LegId,
        *,
        asked_by: LegId | None,
        finish: Callable[[Ended, float], None],
        report: Callable[[int, float], None] | None = None,
    ) -> None:
        """
        Args:
            party: who is transferred.
            asked_by: who asked for it, and is told; None: we were told to.
            finish: ends the call.
            report: is told how it goes, in the place of the leg that asked for it.
        """
        self.party = party
        self.asked_by = asked_by
        self.hunt: Hunt | None = None
        "The search for the new party; None where the party calls by itself."
        self.deadline: float | None = None
        "When a party that calls by itself has had its time."
        self.is_over = False
        self._room = room
        self._finish = finish
        self._told = report
        self._leaving: list[LegId] = []

    @property
    def role(self) -> Role:
        """What the new party is in the call: what the first of those who leave was."""
        parties = [self._room.parties[leg] for leg in self._leaving if leg in self._room.parties]
        return parties[0].role if parties else Role.CALLEE

    @property
    def leaving(self) -> list[Party]:
        """Who is let go when it succeeds, as far as they are still there."""
        parties = (self._room.parties[leg] for leg in self._leaving if leg in self._room.parties)
        return [party for party in parties if party.state is not PartyState.ENDED]

    def begin(self, now: float) -> None:
        """It is taken on; who asked is told so."""
        self._leaving = [party.leg.id for party in self._room.hosts() if party.leg.id != self.party]
        self._report(100, now)
        self._room.tell(TransferStarted(self._room.id, now, self.party, self.asked_by))

    def refer(self, target: Uri, replaces: str | None, now: float) -> None:
        """Let the party call by itself."""
        self.deadline = now + REFER_TIMEOUT_S
        self._room.parties[self.party].leg.refer(target, replaces)

    def search(self, hunt: Hunt, now: float) -> None:
        """Look for the new party; the one that is transferred hears it ring."""
        self.hunt = hunt
        self._room.ringing_for = self.party
        for party in self.leaving:
            party.is_apart = True
        self._settle(hunt.start(now), now)
        self._room.lay_routes(now)

    def on_progressed(self, status: int, now: float) -> None:
        """The new party rings."""
        self._report(status, now)

    def on_answered(self, party: Party, now: float) -> None:
        """The new party is there: the old are let go, and the two talk."""
        assert self.hunt is not None
        self.hunt.on_answered(party.leg.id, now)
        self._report(200, now)
        self._conclude(200, party.leg.id, now)
        for old in self.leaving:
            self._room.let_go(old, Ended(EndReason.TRANSFERRED), now)
        self._room.lay_routes(now)

    def on_ended(self, party: Party, ended: Ended, now: float) -> None:
        """Somebody has left while it was under way.

        Who asked for it may: a BYE soon after the REFER is usual (RFC 5407 §3.3.3, S20).
        """
        leg = party.leg.id
        if self.hunt is not None and leg in self.hunt.ringing:
            self._settle(self.hunt.on_ended(leg, ended, now), now)
        elif leg == self.party:
            self._on_party_left(now)
        self._room.lay_routes(now)

    def on_refer_progress(self, status: int, now: float) -> None:
        """The party tells how far it has got by itself."""
        if self.hunt is not None or status < 200:
            return
        if status < 300:
            self._conclude(200, None, now)
            self._finish(Ended(EndReason.TRANSFERRED), now)
        else:
            self._settle(Ended(reason_of_status(status), status), now)

    def handle_timer(self, now: float) -> None:
        """The new party, or the one that calls by itself, may have had its time."""
        if self.hunt is not None:
            self._settle(self.hunt.handle_timer(now), now)
            self._room.lay_routes(now)
        elif self.deadline is not None and now >= self.deadline:
            self._settle(Ended(EndReason.NO_ANSWER, 408), now)

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called."""
        return self.deadline if self.hunt is None else self.hunt.deadline

    def stop(self, now: float) -> None:
        """The call ends, or goes another way."""
        if self.is_over:
            return
        if self.hunt is not None:
            self.hunt.stop(Ended(EndReason.CANCELLED), now)
        self._report(487, now)
        self._conclude(487, None, now)

    # ---- inside

    def _settle(self, failure: Ended | None, now: float) -> None:
        """It has failed, if there is a failure: all is as before, as far as it can be."""
        if failure is None:
            return
        status = failure.status if failure.status >= 300 else failure.reason.status
        self._report(status, now)
        self._conclude(status, None, now)
        if not self.leaving:
            # Who asked for it has hung up meanwhile: nobody is left to come back to.
            self._finish(failure, now)

    def _on_party_left(self, now: float) -> None:
        if self.hunt is None:
            # Many hang up on us as soon as they have begun to call: they are on their way.
            self._conclude(200, None, now)
            self._finish(Ended(EndReason.TRANSFERRED), now)
            return
        self.stop(now)

    def _report(self, status: int, now: float) -> None:
        """Tell who asked, which may have hung up: then its leg decides what is still said."""
        if self._told is not None:
            self._told(status, now)
            return
        asker = None if self.asked_by is None else self._room.parties.get(self.asked_by)
        if asker is not None:
            asker.leg.transfer_progress(status)

    def _conclude(self, status: int, to: LegId | None, now: float) -> None:
        self.is_over = True
        self.deadline = self._room.ringing_for = None
        for party in self.leaving:
            party.is_apart = False
        self._room.tell(TransferEnded(self._room.id, now, self.party, to, status))

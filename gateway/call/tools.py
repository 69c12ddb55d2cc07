"""What agents can have done in a call: the same as who is in charge, within what they are let.

Each use is told as an event, and answered once. Whom an agent dials it dials as `agent:NAME`: the
routes decide (A13, A39).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from gateway.agents.event import ToolDone
from gateway.agents.tool import AskDigits, Dial, HangUp, Transfer
from gateway.call.aside import Aside
from gateway.call.collect import Collection
from gateway.call.consult import Consult
from gateway.call.deeds import Deeds
from gateway.call.dial import AgentRules, Dialler
from gateway.call.digits import Digits, Press
from gateway.call.ledger import Ledger
from gateway.call.notes import Notes
from gateway.call.party import Party, PartyState
from gateway.call.room import Room, nobody_cares
from gateway.call.search import Search, Searches
from gateway.call.speech import Speech
from gateway.call.transfer import Transfers
from gateway.call.uses import NAMES, Use
from gateway.errors import GatewayError, RoutingError
from gateway.leg.leg import Ended, EndReason, LegId, Role, ToolAsked
from gateway.private import Private
from gateway.trunk.route import Plan

HANG_UP = NAMES[HangUp]

MAX_REASON_CHARACTERS = 200
"Of why an agent hangs up: a line of the record."


class Tools:
    """Those of one call, and what of them is under way."""

    def __init__(
        self,
        room: Room,
        dialler: Dialler,
        digits: Digits,
        searches: Searches,
        transfers: Transfers,
        notes: Notes,
        numbers: tuple[Private, Private],
        *,
        leave: Callable[[Party, Ended, float], None],
        finish: Callable[[Ended, float], None],
    ) -> None:
        """
        Args:
            leave: lets a party go as if it had hung up.
            finish: ends the call.
        """
        self._room = room
        self._dialler = dialler
        self._deeds = Deeds(room, digits, notes, dialler.options)
        self._searches = searches
        self._transfers = transfers
        self._notes = notes
        self._numbers = numbers
        self._leave = leave
        self._finish = finish
        self._speech = Speech()
        self._under_way: list[Aside | Consult] = []
        self._collections: list[Collection] = []
        self._ledgers: dict[LegId, Ledger] = {}
        self._uses: list[Use] = []
        "Those that may not be answered yet."
        room.on_gone = self._on_gone

    # ---- what is asked

    def on_asked(self, party: Party, event: ToolAsked, now: float) -> None:
        """An agent wants something done."""
        if self._ledger(party).asks_too_often(now):
            # Refused without a word to anybody else: there would be no end of words.
            refusal = ToolDone(event.id, NAMES[type(event.tool)], False, 429, "too often")
            party.leg.tool_done(refusal)
            return
        use = Use(self._room, party, event.id, event.tool, now)
        self._uses = [each for each in self._uses if not each.is_over]
        self._uses.append(use)
        try:
            # Nobody is kept in a call: an agent that may do nothing else can always leave.
            if use.name != HANG_UP and not self.lets_use(party, use.name):
                raise RoutingError(f"this agent may not use {use.name}", status=403)
            if party.state is not PartyState.UP and not isinstance(event.tool, HangUp):
                raise RoutingError("the call is not answered", status=409)
            do = _DO.get(type(event.tool))
            if do is None:
                self._deeds.do(use, now)
            else:
                do(self, use, now)
        except GatewayError as error:
            use.done(now, error.status, str(error))

    def lets_use(self, party: Party, tool: str) -> bool:
        """Whether a party may have something done: all but agents may."""
        return party.is_person or self._rules(party).lets_use(tool)

    def check_refer(self, party: Party) -> None:
        """Refuse a transfer that a party asks for by itself, where it may not.

        Raises:
            RoutingError: 403, 491 as for an agent's tool: one at a SIP URI sends REFER instead.
        """
        if party.is_person:
            self.check_idle()
            return
        if not self.lets_use(party, "transfer"):
            raise RoutingError("this agent may not use transfer", status=403)
        self._check_dials(party)
        self._ledger(party).dials += 1

    def check_idle(self) -> None:
        """Refuse to change who is in the call while an agent brings somebody in.

        Raises:
            RoutingError: 491, one does.
        """
        self._forget()
        if self._under_way:
            raise RoutingError(
                "an agent is bringing somebody in: let it end, or let the agent go", status=491
            )

    def replace(self, old: Party, new: Party) -> None:
        """Another takes a party's place.

        Raises:
            RoutingError: as `check_idle`.
        """
        if not all(each.replace(old, new) for each in self._under_way if not each.is_over):
            self.check_idle()
        for collection in self._collections:
            if collection.party is old:
                collection.party = new

    @property
    def is_bringing(self) -> bool:
        """Whether somebody waits for one who may come yet, though an agent has left."""
        return any(isinstance(each, Consult) and each.is_ringing for each in self._under_way)

    # ---- what happens

    def on_key(self, party: Party, press: Press, now: float) -> None:
        """A party has pressed a key."""
        for collection in tuple(self._collections):
            if collection.party is party:
                collection.on_key(press, now)
        self._forget()

    def on_left(self, party: Party, now: float) -> None:
        """Somebody has left the call by itself."""
        for each in tuple(self._under_way):
            each.on_left(party, now)
        self._forget()

    def _on_gone(self, party: Party, now: float) -> None:
        """Somebody is not in the call any more, also one that we let go, or its place is taken.

        Whose place is taken brings in nobody any more; who was let in already may stay.
        """
        for each in tuple(self._collections):
            each.on_left(party, now)
        for transfer in tuple(self._under_way):
            if transfer.agent is party and party.yields_to is not None and not transfer.is_done:
                transfer.stop(now)

    def stop(self, now: float) -> None:
        """Others come and go: what is under way is given up, and the call goes on."""
        for each in (*self._under_way, *self._collections):
            each.stop(now)
        self._forget()

    def handle_timer(self, now: float) -> None:
        """Somebody may have had its time."""
        self._speech.handle_timer(now)
        for each in (*self._under_way, *self._collections):
            each.handle_timer(now)
        self._forget()

    def next_timer(self) -> float | None:
        """When `handle_timer` is to be called."""
        if not (self._under_way or self._collections or self._speech.is_awaited):
            return None  # as in most calls
        self._forget()
        timers = [self._speech.next_timer()]
        timers += [each.until for each in self._under_way]
        timers += [each.at for each in self._collections]
        return min((at for at in timers if at is not None), default=None)

    def close(self, now: float) -> None:
        """The call is over."""
        self.stop(now)
        self._room.on_gone = nobody_cares
        self._speech.close()
        for use in self._uses:
            use.done(now, 487, "the call is over")
        self._uses.clear()

    def _forget(self) -> None:
        self._under_way = [each for each in self._under_way if not each.is_over]
        self._collections = [each for each in self._collections if not each.is_over]

    # ---- the end

    def _hang_up(self, use: Use, now: float) -> None:
        tool = use.tool
        assert isinstance(tool, HangUp)
        reason = "".join(c for c in tool.reason if c.isprintable())[:MAX_REASON_CHARACTERS]

        def leave(now: float) -> None:
            consult = self._consult_of(use.party)
            use.done(now)
            if consult is not None and consult.is_talking:
                consult.complete(now)
            elif use.party.state is not PartyState.ENDED:
                self._leave(use.party, Ended(EndReason.HANGUP, text=reason), now)

        wait_s = tool.max_wait_s if tool.after_speech else 0.0
        self._speech.when_said(use.party, wait_s, leave, now)

    # ---- bringing others in

    def _transfer(self, use: Use, now: float) -> None:
        tool = use.tool
        assert isinstance(tool, Transfer)
        if tool.mode in ("complete", "cancel"):
            self._end_consult(use, tool.mode, now)
            return
        if tool.mode not in ("blind", "warm"):
            raise RoutingError("a transfer is blind or warm", status=400)
        begin = self._begin_blind if tool.mode == "blind" else self._begin_warm
        self._deeds.person_of(use.party)
        self._check_dials(use.party)

        def then(now: float) -> None:
            try:
                begin(use, tool, now)
            except GatewayError as error:
                use.done(now, error.status, str(error))

        wait_s = tool.max_wait_s if tool.after_speech else 0.0
        self._speech.when_said(use.party, wait_s, then, now)

    def _begin_blind(self, use: Use, tool: Transfer, now: float) -> None:
        person = self._deeds.person_of(use.party)
        plan = self._dialler.plan_for(use.party, tool.to, tool.timeout_s)
        ledger = self._note_dial(use.party)

        def report(status: int, now: float) -> None:
            if status >= 200:
                ledger.reached += status < 300
                use.done(now, status, "transferred" if status < 300 else "")

        self._transfers.for_agent(use.party, person, tool.to, plan, report, now)

    def _begin_warm(self, use: Use, tool: Transfer, now: float) -> None:
        person = self._deeds.person_of(use.party)
        plan = self._dialler.plan_for(use.party, tool.to, tool.timeout_s)
        ledger = self._note_dial(use.party)
        consult = Consult(
            self._room,
            self._searches,
            use,
            tool,
            use.party,
            person,
            self._dialler.options.find_sound(tool.brief) if tool.brief else None,
            on_reached=ledger.note_reached,
            finish=self._finish,
        )
        self._under_way.append(consult)
        search = self._search(plan, tool.to, use.party, "", consult, shown=person)
        consult.begin(search, now)

    def _end_consult(self, use: Use, mode: str, now: float) -> None:
        consult = self._consult_of(use.party)
        if consult is None or (mode == "complete" and not consult.is_talking):
            raise RoutingError("there is no warm transfer to be ended", status=409)
        use.done(now)
        if mode == "complete":
            consult.complete(now)
        else:
            consult.stop(now)

    def _dial(self, use: Use, now: float) -> None:
        tool = use.tool
        assert isinstance(tool, Dial)
        if not tool.to:
            self._end_dial(use, now)
            return
        person = self._deeds.person_of(use.party)
        self._check_dials(use.party)
        plan = self._dialler.plan_for(use.party, tool.to, tool.timeout_s)
        if tool.caller_id and tool.caller_id not in [each.value for each in self._numbers]:
            raise RoutingError("only numbers of this call may be shown", status=403)
        ledger = self._note_dial(use.party)
        aside = Aside(self._room, self._searches, use, tool, use.party, person)
        self._under_way.append(aside)
        search = self._search(plan, tool.to, person, tool.caller_id, aside, shown=person)

        def on_answered(other: Party, now: float) -> None:
            ledger.note_reached()
            aside.on_answered(other, now)

        aside.begin(replace(search, on_answered=on_answered), now)

    def _end_dial(self, use: Use, now: float) -> None:
        found = [each for each in self._under_way if isinstance(each, Aside)]
        aside = found[0] if found else None  # there is one thing under way at a time
        if aside is None or aside.agent is not use.party:
            raise RoutingError("nobody was let into the call", status=409)
        use.done(now)
        aside.stop(now)
        self._forget()

    def _search(
        self,
        plan: Plan,
        dialled: str,
        waiting: Party,
        caller_id: str,
        whose: Aside | Consult,
        *,
        shown: Party,
    ) -> Search:
        """A hunt in the name of the person, along a plan that the agent may go."""
        number = self._numbers[0 if shown.role is Role.CALLER else 1]
        role = whose.agent.role
        hunt = self._dialler.hunt(
            plan,
            (Private(caller_id) if caller_id else number, Private(plan.called or dialled)),
            waiting=waiting,
            source=whose.agent.target,
            role=Role.AGENT if role is Role.AI else role,
        )
        return Search(hunt, whose.on_answered, whose.on_failed)

    def _check_dials(self, agent: Party) -> None:
        """Refuse what an agent may not dial any more.

        Raises:
            RoutingError: 403, it has transferred as often as it may, or tried too many numbers, or
                is a guest; 491, something of that kind is under way.
        """
        if agent.is_guest:
            raise RoutingError("a guest brings nobody into a call", status=403)
        self._forget()
        if self._under_way or self._transfers.is_active:
            raise RoutingError("a transfer is under way in this call", status=491)
        self._ledger(agent).check_dials(self._rules(agent).max_transfers)

    def _note_dial(self, agent: Party) -> Ledger:
        """One more number is tried; raises as `_check_dials`, and 483 as `Dialler.pass_on`."""
        self._check_dials(agent)
        self._dialler.pass_on()
        ledger = self._ledger(agent)
        ledger.dials += 1
        return ledger

    def _ledger(self, agent: Party) -> Ledger:
        return self._ledgers.setdefault(agent.leg.id, Ledger())

    def _consult_of(self, agent: Party) -> Consult | None:
        found = (each for each in self._under_way if isinstance(each, Consult))
        return next((each for each in found if each.agent is agent and not each.is_over), None)

    # ---- what is asked of people

    def _ask_digits(self, use: Use, now: float) -> None:
        assert isinstance(use.tool, AskDigits)
        person = self._deeds.person_of(use.party)
        if any(each.party is person for each in self._collections):
            raise RoutingError("keys of this party are asked for already", status=409)
        if person.secure_to is not None:
            raise RoutingError("this party is in secure input for another", status=409)
        collection = Collection(self._room, use, use.tool, person, self._notes.put_away)
        self._collections.append(collection)
        collection.begin(now)

    def _rules(self, agent: Party) -> AgentRules:
        return self._dialler.options.rules_of(agent.target)


_DO: Mapping[type, Callable[[Tools, Use, float], None]] = {
    HangUp: Tools._hang_up,
    Transfer: Tools._transfer,
    Dial: Tools._dial,
    AskDigits: Tools._ask_digits,
}

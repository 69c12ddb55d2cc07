"""What concerns two calls at a time: attended transfers, and taking somebody's place (A37)."""

from __future__ import annotations

import pytest

from gateway.call.call import Call, CallState, TransferMode
from gateway.call.events import CallEnded, LegMoved, TransferEnded
from gateway.errors import RoutingError
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Ended,
    EndReason,
    Gone,
    Leg,
    Phase,
    Progressed,
    TransferAsked,
    TransferProgress,
)
from gateway.sip.uri import parse_uri
from tests.support.exchange import Exchange, PromptLeg
from tests.support.legs import plan
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

DIALOG = "call-2;to-tag=ours;from-tag=theirs"
HERE = parse_uri("sip:gateway@192.0.2.1")


class Office(Exchange):
    """Ann has called in from `trunk:pbx` and talks to `trunk:x`; then she calls `trunk:y` too."""

    def __init__(self, loop: VirtualLoop, *, second_target: str = "user:ann") -> None:
        super().__init__(loop)
        self.first, self.ann = self._call("trunk:x", "user:ann")
        self.second, self.also_ann = self._call("trunk:y", second_target)
        self.dialogs[DIALOG] = self.also_ann.id

    def _call(self, to: str, source: str) -> tuple[Call, PromptLeg]:
        caller = self.new_leg("caller")
        call = self.place([to], caller=caller, source=source)
        self.tell(to, Answered())
        caller.did.clear()
        return call, caller

    def refer(self, replaces: str = DIALOG) -> None:
        """Ann's phone brings the two together."""
        self.ann.on_event(TransferAsked(HERE, replaces))

    def ended(self) -> list[tuple[str, EndReason]]:
        return [(e.call, e.reason) for e in self.events if isinstance(e, CallEnded)]

    async def finish(self) -> None:
        for call in self.registry.calls():
            self.registry.end(call.id, EndReason.SHUTDOWN)
        await elapse(0.01)
        assert self.registry.lingering == 0
        assert self.pacer.count == 0
        assert not len(self.registry._dispatcher)


@in_virtual_time
async def test_attended_transfer_moves_a_leg_from_one_call_to_the_other(loop: VirtualLoop) -> None:
    office = Office(loop)
    moved = office.legs["trunk:y"]

    office.refer()
    await elapse(0.01)

    assert office.ann.did == ["transfer 100", "transfer 200", "end transferred"]
    assert office.also_ann.did == ["end transferred"]
    assert moved.did == ["dial"]
    assert office.first.state is CallState.UP
    assert office.ended() == [(office.second.id, EndReason.TRANSFERRED)]
    assert [e.to for e in office.events if isinstance(e, LegMoved)] == [office.first.id]
    assert [e.status for e in office.events if isinstance(e, TransferEnded)] == [200]
    await office.finish()


@in_virtual_time
async def test_leg_that_was_moved_speaks_in_its_new_call(loop: VirtualLoop) -> None:
    office = Office(loop)
    office.refer()
    await elapse(0.01)

    office.tell("trunk:y", DigitPressed("5", Phase.START))
    office.tell("trunk:y", Ended(EndReason.HANGUP))
    office.tell("trunk:y", Gone())
    await elapse(0.01)

    assert office.legs["trunk:x"].did == ["dial", "digit 5 start", "end hangup"]
    assert office.ended()[-1] == (office.first.id, EndReason.HANGUP)
    await office.finish()


@in_virtual_time
async def test_a37_dialog_of_somebody_else_is_not_taken_over(loop: VirtualLoop) -> None:
    office = Office(loop, second_target="trunk:other")

    office.refer()

    assert office.ann.did == ["transfer 403"]
    assert len(office.registry.calls()) == 2
    await office.finish()


@in_virtual_time
async def test_dialog_that_is_over_cannot_be_replaced(loop: VirtualLoop) -> None:
    office = Office(loop)
    office.tell("trunk:y", Ended(EndReason.HANGUP))
    office.tell("trunk:y", Gone())
    await elapse(0.01)

    office.refer()

    assert office.ann.did == ["transfer 481"]
    await office.finish()


@in_virtual_time
async def test_second_call_has_to_be_answered(loop: VirtualLoop) -> None:
    office = Office(loop)
    caller = office.new_leg("caller")
    office.place(["trunk:z"], caller=caller, source="user:ann")
    office.dialogs["still-ringing"] = caller.id

    office.refer("still-ringing")

    assert office.ann.did == ["transfer 480"]
    await office.finish()


@in_virtual_time
async def test_dialog_that_is_not_ours_is_called_with_replaces(loop: VirtualLoop) -> None:
    office = Office(loop)

    office.refer("elsewhere;to-tag=1;from-tag=2")

    # As any transfer: no route leads there in this exchange.
    assert office.ann.did == ["transfer 403"]
    await office.finish()


# ---- commanded


@in_virtual_time
async def test_two_calls_are_joined_at_command(loop: VirtualLoop) -> None:
    office = Office(loop)

    office.registry.join(
        office.first.id,
        office.second.id,
        leg=office.legs["trunk:x"].id,
        other_leg=office.legs["trunk:y"].id,
    )
    await elapse(0.01)

    assert office.ann.did == office.also_ann.did == ["end transferred"]
    present = [party.target for party in office.first.heard_parties()]
    assert present == ["trunk:x", "trunk:y"]
    await office.finish()


@in_virtual_time
async def test_one_may_be_sent_into_the_place_of_the_other(loop: VirtualLoop) -> None:
    office = Office(loop)
    one, other = office.legs["trunk:x"], office.legs["trunk:y"]
    one.can_refer, other.dialog = True, (parse_uri("sip:y@192.0.2.9"), "y;to-tag=a;from-tag=b")

    office.registry.join(
        office.first.id,
        office.second.id,
        leg=one.id,
        other_leg=other.id,
        mode=TransferMode.REFER,
    )
    office.tell("trunk:x", TransferProgress(200))
    await elapse(0.01)

    assert one.did == ["dial", "refer y replaces y;to-tag=a;from-tag=b", "end transferred"]
    assert office.first.state is CallState.ENDED
    assert office.second.state is CallState.UP
    await office.finish()


@pytest.mark.parametrize("case", ["one call", "no such call", "no such leg", "not answered"])
@in_virtual_time
async def test_calls_that_cannot_be_joined(loop: VirtualLoop, case: str) -> None:
    office = Office(loop)
    second, leg = office.second.id, None
    if case == "one call":
        second = office.first.id
    elif case == "no such call":
        second = "gw-999"
    elif case == "no such leg":
        leg = "gw-999"
    else:
        second = office.place(["trunk:z"]).id

    with pytest.raises(RoutingError) as refusal:
        office.registry.join(office.first.id, second, leg=leg)

    assert refusal.value.status == (404 if case.startswith("no such") else 409)
    assert office.first.state is CallState.UP
    await office.finish()


# ---- an INVITE with Replaces


@in_virtual_time
async def test_new_leg_takes_the_place_of_an_old_one(loop: VirtualLoop) -> None:
    office = Office(loop)
    new = office.new_leg("new")

    office.registry.replace(office.ann.id, new, "user:ann")
    new.on_event(DigitPressed("7", Phase.START))
    await elapse(0.01)

    assert new.did == ["answer"]
    assert office.ann.did == ["end transferred"]
    assert office.legs["trunk:x"].did[-1] == "digit 7 start"
    assert office.first.state is CallState.UP
    await office.finish()


@in_virtual_time
async def test_call_is_picked_up_from_a_phone_that_rings(loop: VirtualLoop) -> None:
    exchange = Office(loop)
    call = exchange.place(["user:bob", "user:eve"], source="trunk:pbx")
    exchange.tell("user:bob", Progressed(180, "Ringing"))
    ringing, caller = exchange.legs["user:bob"], exchange.legs["caller"]
    new = exchange.new_leg("new")

    exchange.registry.replace(ringing.id, new, "user:dora")
    await elapse(0.01)

    assert new.did == ["answer"]
    assert caller.did == ["ringing", "answer"]
    assert ringing.did[-1] == exchange.legs["user:eve"].did[-1] == "end answered-elsewhere"
    assert call.state is CallState.UP
    await exchange.finish()


@pytest.mark.parametrize(("source", "status"), [("trunk:x", 403), ("user:eve", None)])
@in_virtual_time
async def test_a37_only_its_own_may_replace_a_dialog(
    loop: VirtualLoop, source: str, status: int | None
) -> None:
    office = Office(loop)
    new = office.new_leg("new")

    refused = _refusal(office, office.ann.id, new, source)

    assert refused == status
    await office.finish()


@in_virtual_time
async def test_leg_that_is_gone_cannot_be_replaced(loop: VirtualLoop) -> None:
    office = Office(loop)

    refused = _refusal(office, "gw-999", office.new_leg("new"), "user:ann")

    assert refused == 481
    await office.finish()


@in_virtual_time
async def test_leg_that_meets_a_bug_of_the_call_is_refused(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(loop)
    monkeypatch.setattr(office.first, "replace", None)
    new = office.new_leg("new")

    refused = _refusal(office, office.ann.id, new, "user:ann")

    assert refused == 500
    assert office.registry._dispatcher.owner(new.id) is None
    assert office.ended() == [(office.first.id, EndReason.GATEWAY_ERROR)]
    await office.finish()


def _refusal(office: Office, old: str, new: Leg, source: str) -> int | None:
    try:
        office.registry.replace(old, new, source)
    except RoutingError as error:
        return error.status
    return None


# ---- hold and transfer by the id of a call


@in_virtual_time
async def test_caller_is_meant_where_nobody_is_named(loop: VirtualLoop) -> None:
    office = Office(loop)

    office.registry.hold(office.first.id)
    office.registry.hold(office.first.id, on=False)
    office.ann.can_refer = True
    office.registry.transfer(office.first.id, "bob", plan(["trunk:bob"]))

    assert office.ann.did == ["hold sendonly", "hold sendrecv", "refer bob"]
    await office.finish()


@in_virtual_time
async def test_unknown_call_is_refused(loop: VirtualLoop) -> None:
    office = Office(loop)

    with pytest.raises(RoutingError) as refusal:
        office.registry.hold("gw-999")

    assert refusal.value.status == 404
    await office.finish()

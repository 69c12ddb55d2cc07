"""The calls of a node: what happens when, what a bug may break, and that nothing is kept."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref

import pytest

from gateway.call.call import Call, CallState
from gateway.call.events import CallEnded, CallEvent, CallStarted, LegSignalled, LegStarted
from gateway.call.registry import KEPT_ENDED_CALLS, RegistryOptions
from gateway.errors import CapacityError, Fault, RoutingError
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Ended,
    EndReason,
    Gone,
    Leg,
    Phase,
    Progressed,
    Signalled,
)
from gateway.trunk.route import Target
from tests.support.exchange import RINGING, Exchange, PromptLeg
from tests.support.loop import VirtualLoop, elapse, in_virtual_time


class BrokenLeg(PromptLeg):
    """A leg with a bug in one of its commands."""

    breaks = ""

    def dial(self) -> None:
        self._do("dial")
        super().dial()

    def progress(self, *, ringing: bool, early_media: bool) -> None:
        self._do("progress")

    def answer(self) -> None:
        self._do("answer")

    def digit(self, digit: str, phase: Phase, duration_ms: int = 0) -> None:
        self._do("digit")

    def end(self, reason: EndReason, status: int = 0, text: str = "") -> None:
        self._do("end")
        super().end(reason, status, text)

    def _do(self, command: str) -> None:
        if command == self.breaks:
            raise RuntimeError(f"bug in {command}")


def ends(exchange: Exchange) -> list[CallEnded]:
    return [event for event in exchange.events if isinstance(event, CallEnded)]


async def finish(exchange: Exchange) -> None:
    """End what goes on; no call, no timer and no place on the pacer is left."""
    for call in exchange.registry.calls():
        exchange.registry.end(call.id, EndReason.SHUTDOWN)
    await elapse(0.01)
    assert exchange.registry.lingering == 0
    assert exchange.pacer.count == 0


# ---- the order of things


@in_virtual_time
async def test_call_is_announced_before_anything_else_of_it(loop: VirtualLoop) -> None:
    exchange = Exchange(loop)

    exchange.place(["trunk:lab"])

    assert exchange.happened() == ["CallStarted", "LegStarted", "LegStarted", "LegSignalled"]
    await finish(exchange)


@in_virtual_time
async def test_who_wants_no_signalling_hears_all_else_until_it_stops(loop: VirtualLoop) -> None:
    exchange = Exchange(loop)
    heard: list[CallEvent] = []
    stop = exchange.registry.observe(heard.append, signalling=False)

    exchange.place(["trunk:lab"])
    stop()
    await finish(exchange)

    assert [type(event).__name__ for event in heard] == ["CallStarted", "LegStarted", "LegStarted"]
    assert "LegSignalled" in exchange.happened()


@in_virtual_time
async def test_what_the_caller_told_before_the_call_comes_ahead_of_the_invite(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange(loop)

    class EarlyLeg(PromptLeg):
        """Tells what it had to tell as soon as somebody listens, as a page's leg does."""

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "on_event" and hasattr(self, "loop"):
                self.on_event(Signalled(sent=False, text="offer"))
                self.on_event(Signalled(sent=True, text="answer"))

    caller = EarlyLeg("caller")
    caller.loop = loop
    exchange.legs["caller"] = caller
    exchange.place(["trunk:lab"], caller=caller)

    rungs = [event.text for event in exchange.events if isinstance(event, LegSignalled)]
    assert rungs == ["offer", "answer", "INVITE"]
    assert isinstance(exchange.events[0], CallStarted)
    await finish(exchange)


@in_virtual_time
async def test_event_from_inside_a_command_waits_for_the_command(loop: VirtualLoop) -> None:
    class HastyLeg(PromptLeg):
        def dial(self) -> None:
            self.on_event(Answered())
            self.did.append("dialled")

    def make(target: Target) -> Leg:
        leg = HastyLeg("hasty")
        leg.loop = loop
        exchange.legs[str(target)] = leg
        return leg

    exchange = Exchange(loop, make=make)

    call = exchange.place(["trunk:a", "trunk:b"])

    # Both were dialled before the first answer was looked at.
    assert exchange.happened()[:4] == ["CallStarted", "LegStarted", "LegStarted", "LegStarted"]
    assert call.state is CallState.UP
    await finish(exchange)


@in_virtual_time
async def test_event_of_one_call_inside_a_command_of_another_waits_too(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange(loop)
    first = exchange.place(["trunk:a"])
    first_callee = exchange.legs["trunk:a"]

    class Meddler(PromptLeg):
        def dial(self) -> None:
            first_callee.on_event(Answered())
            self.did.append(first.state.value)

    meddler = Meddler("meddler")
    meddler.loop = loop
    exchange._make = lambda _target: meddler
    exchange.place(["trunk:b"])

    assert meddler.did == ["dialling"]
    assert first.state is CallState.UP
    await finish(exchange)


# ---- bugs


@pytest.mark.parametrize("command", ["dial", "digit", "end"])
@in_virtual_time
async def test_bug_in_a_leg_ends_its_call_and_no_other(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture, command: str
) -> None:
    exchange = Exchange(loop)
    other = exchange.place(["trunk:a"])
    exchange.tell("trunk:a", Answered())
    callee = BrokenLeg("broken")
    callee.loop, callee.breaks = loop, command
    exchange._make = lambda _target: callee

    call = exchange.place(["trunk:b"])
    caller = exchange.legs["caller"]
    callee.on_event(Answered())
    caller.on_event(DigitPressed("5", Phase.START))
    exchange.registry.end(call.id, EndReason.HANGUP)
    await elapse(0.01)

    assert call.state is CallState.ENDED
    assert any(did.startswith("end") for did in caller.did)
    assert [event.call for event in ends(exchange)] == [call.id]
    if command != "end":
        assert (ends(exchange)[0].reason, ends(exchange)[0].fault) == (
            EndReason.GATEWAY_ERROR,
            Fault.GATEWAY,
        )
    assert other.state is CallState.UP
    assert "broke, and is ended" in caplog.text
    assert exchange.registry.lingering == 0
    await finish(exchange)


@in_virtual_time
async def test_caller_with_a_bug_lets_its_callee_go(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = Exchange(loop)
    caller = BrokenLeg("caller-1")
    caller.loop, caller.breaks = loop, "answer"
    call = exchange.place(["trunk:a"], caller=caller)

    exchange.tell("trunk:a", Answered())
    await elapse(0.01)

    assert call.state is CallState.ENDED
    assert exchange.legs["trunk:a"].did[-1] == "end gateway-error"
    assert exchange.registry.lingering == 0
    await finish(exchange)


@in_virtual_time
async def test_target_that_cannot_be_dialled_fails_over(loop: VirtualLoop) -> None:
    def make(target: Target) -> Leg:
        if target.name == "full":
            raise CapacityError("no RTP port is free")
        return exchange.new_leg(target)

    exchange = Exchange(loop, make=make)
    call = exchange.place(["trunk:full"], ["trunk:b"])
    exchange.tell("trunk:b", Answered())

    assert call.state is CallState.UP
    await finish(exchange)


@in_virtual_time
async def test_call_of_which_nothing_can_be_dialled_tells_why(loop: VirtualLoop) -> None:
    def make(target: Target) -> Leg:
        raise CapacityError("no RTP port is free")

    exchange = Exchange(loop, make=make)
    exchange.place(["trunk:a", "trunk:b"], ["trunk:c"])
    await elapse(0.01)

    (ended,) = ends(exchange)
    assert (ended.reason, ended.status, ended.fault) == (
        EndReason.OVERLOADED,
        503,
        Fault.GATEWAY,
    )
    assert exchange.legs["caller"].did == ["end overloaded"]
    await finish(exchange)


@in_virtual_time
async def test_rest_of_a_group_rings_when_one_of_it_cannot(loop: VirtualLoop) -> None:
    def make(target: Target) -> Leg:
        if target.name == "ann":
            raise RoutingError("user targets cannot be dialled", status=501)
        return exchange.new_leg(target)

    exchange = Exchange(loop, make=make)
    exchange.place(["user:ann", "user:bob"])
    exchange.tell("user:bob", Progressed(180, "Ringing"))

    assert exchange.legs["caller"].did == ["ringing"]
    await finish(exchange)


@in_virtual_time
async def test_observer_that_raises_disturbs_nobody(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = Exchange(loop)
    late: list[CallEvent] = []

    def broken(event: CallEvent) -> None:
        raise RuntimeError("bug")

    exchange.registry.observe(broken)
    exchange.registry.observe(late.append)
    call = exchange.place(["trunk:a"])
    exchange.tell("trunk:a", Answered())

    assert call.state is CallState.UP
    assert late == exchange.events
    assert "an observer of call events broke on CallStarted" in caplog.text
    await finish(exchange)


@in_virtual_time
async def test_observer_that_has_enough_hears_no_more(loop: VirtualLoop) -> None:
    exchange = Exchange(loop)
    heard: list[CallEvent] = []
    stop = exchange.registry.observe(heard.append)

    stop()
    exchange.place(["trunk:a"])

    assert not heard
    await finish(exchange)


# ---- capacity and drain


@in_virtual_time
async def test_node_that_is_full_refuses_and_does_not_touch_the_caller(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange(loop, options=RegistryOptions(max_calls=2))
    exchange.place(["trunk:a"])
    exchange.place(["trunk:b"])

    with pytest.raises(CapacityError):
        exchange.place(["trunk:c"])

    assert exchange.legs["caller"].did == []
    assert "trunk:c" not in exchange.legs
    await finish(exchange)


@in_virtual_time
async def test_call_that_has_ended_takes_no_place_though_its_legs_linger(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange(loop, options=RegistryOptions(max_calls=1, max_lingering=1))
    call = exchange.place(["trunk:a"])
    exchange.registry.end(call.id, EndReason.HANGUP)
    assert exchange.registry.lingering == 1

    exchange.place(["trunk:b"])

    assert len(exchange.registry.calls()) == 1
    await finish(exchange)


@in_virtual_time
async def test_calls_that_linger_are_bounded_too(loop: VirtualLoop) -> None:
    exchange = Exchange(loop, options=RegistryOptions(max_calls=1, max_lingering=1))
    for name in ("trunk:a", "trunk:b"):
        exchange.registry.end(exchange.place([name]).id, EndReason.HANGUP)

    with pytest.raises(CapacityError):
        exchange.place(["trunk:c"])

    await finish(exchange)


@in_virtual_time
async def test_drain_refuses_new_calls_and_waits_for_the_last(loop: VirtualLoop) -> None:
    exchange = Exchange(loop)
    calls = [exchange.place(["trunk:a"]), exchange.place(["trunk:b"])]
    exchange.registry.drain()
    emptied = asyncio.ensure_future(exchange.registry.emptied())

    with pytest.raises(CapacityError):
        exchange.place(["trunk:c"])
    exchange.registry.end(calls[0].id, EndReason.HANGUP)
    await elapse(1)
    assert not emptied.done()
    exchange.registry.end(calls[1].id, EndReason.HANGUP)
    await elapse(0.01)

    assert emptied.done()
    await finish(exchange)


@in_virtual_time
async def test_node_without_calls_is_empty_at_once(loop: VirtualLoop) -> None:
    exchange = Exchange(loop)

    await exchange.registry.emptied()

    await finish(exchange)


# ---- time


@in_virtual_time
async def test_group_that_does_not_answer_has_its_time(loop: VirtualLoop) -> None:
    exchange = Exchange(loop)
    call = exchange.place(["trunk:a"], ["trunk:b"], route=RINGING)

    await elapse(29.9)
    assert "trunk:b" not in exchange.legs
    await elapse(0.2)
    assert exchange.legs["trunk:b"].did == ["dial"]
    await elapse(30)

    assert call.state is CallState.ENDED
    assert ends(exchange)[0].at - exchange.events[0].at == pytest.approx(60.0)
    await finish(exchange)


@in_virtual_time
async def test_answered_call_is_not_timed(loop: VirtualLoop) -> None:
    exchange = Exchange(loop)
    call = exchange.place(["trunk:a"], route=RINGING)
    exchange.tell("trunk:a", Answered())

    await elapse(100)

    assert call.state is CallState.UP
    await finish(exchange)


@in_virtual_time
async def test_call_in_the_hub_is_ticked_until_it_is_over(loop: VirtualLoop) -> None:
    exchange = Exchange(loop)
    call = exchange.place(["trunk:a"])
    assert exchange.pacer.count == 1

    exchange.registry.end(call.id, EndReason.HANGUP)
    await elapse(0.01)

    assert exchange.pacer.count == 0
    await finish(exchange)


# ---- memory


@in_virtual_time
async def test_call_that_is_over_is_forgotten_with_its_legs(loop: VirtualLoop) -> None:
    exchange = Exchange(loop)
    call = exchange.place(["trunk:a", "trunk:b"])
    exchange.tell("trunk:a", Answered())
    exchange.tell("caller", Ended(EndReason.HANGUP))
    exchange.tell("caller", Gone())
    await elapse(0.01)
    call_id = call.id
    remains: list[weakref.ref[Call] | weakref.ref[PromptLeg]] = [weakref.ref(call)]
    remains += [weakref.ref(leg) for leg in exchange.legs.values()]

    del call
    exchange.legs.clear()
    gc.collect()

    assert [ref() for ref in remains] == [None] * len(remains)
    assert exchange.registry.find(call_id) is None
    await finish(exchange)


@in_virtual_time
async def test_call_that_is_over_can_be_looked_at_for_a_while(loop: VirtualLoop) -> None:
    exchange = Exchange(loop)
    ids = []
    for _ in range(KEPT_ENDED_CALLS + 5):
        call = exchange.place(["trunk:a"])
        ids.append(call.id)
        exchange.registry.end(call.id, EndReason.HANGUP)
        await elapse(0.001)

    summary = exchange.registry.summary(ids[-1])
    assert summary is not None
    assert summary.outcome is not None
    assert summary.outcome.reason is EndReason.HANGUP
    assert [exchange.registry.summary(each) is None for each in ids[:6]] == [True] * 5 + [False]
    await finish(exchange)


@in_virtual_time
async def test_end_of_a_call_that_is_not_there_is_no_end(loop: VirtualLoop) -> None:
    exchange = Exchange(loop)
    call = exchange.place(["trunk:a"])

    assert exchange.registry.end(call.id, EndReason.HANGUP)
    assert not exchange.registry.end(call.id, EndReason.HANGUP)
    assert not exchange.registry.end("nobody", EndReason.HANGUP)

    assert len(ends(exchange)) == 1
    await finish(exchange)


@in_virtual_time
async def test_log_of_a_call_shows_no_number(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    exchange = Exchange(loop)

    exchange.place(["trunk:a"])
    await finish(exchange)

    assert "started from …01 to …00" in caplog.text
    assert "1555" not in caplog.text
    assert len([e for e in exchange.events if isinstance(e, LegStarted)]) == 2


@in_virtual_time
async def test_signalling_is_logged_for_who_asks_for_it(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    exchange = Exchange(loop)

    call = exchange.place(["trunk:a"])
    await finish(exchange)

    assert f"call={call.id} leg={exchange.legs['trunk:a'].id} -> INVITE" in caplog.text

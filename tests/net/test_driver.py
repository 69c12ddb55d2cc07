"""The driver carries out what a machine says, in order, whatever its users do meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
import uvloop

from gateway.net.driver import MAX_ROUNDS, RETRY_S, Driver
from tests.support.loop import VirtualLoop, elapse, in_virtual_time


class Bell:
    """A machine that says what it is told, and rings at the times it is given."""

    def __init__(self) -> None:
        self.outputs: list[str] = []
        self.events: list[str] = []
        self.alarms: list[float] = []
        self.fired: list[float] = []
        self.breaks = False

    def say(self, *outputs: str) -> None:
        """Queue outputs."""
        self.outputs += outputs

    def tell(self, *events: str) -> None:
        """Queue events."""
        self.events += events

    def fail(self) -> None:
        """What a bug does."""
        raise LookupError("a bug")

    def handle_timer(self, now: float) -> None:
        """Ring for every alarm that is due."""
        self.fired.append(now)
        if self.breaks:
            self.fail()
        self.tell(*(f"rang {at}" for at in self.alarms if at <= now))
        self.alarms = [at for at in self.alarms if at > now]

    def next_timer(self) -> float | None:
        """The first alarm."""
        return min(self.alarms, default=None)

    def take_output(self) -> list[str]:
        """All outputs, once."""
        taken, self.outputs = self.outputs, []
        return taken

    def take_events(self) -> list[str]:
        """All events, once."""
        taken, self.events = self.events, []
        return taken


class Stage:
    """A bell, its driver, and what came out of it in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.bell = Bell()
        self.heard: list[str] = []
        self.on_event: Callable[[str], object] = lambda event: None
        self.driver = Driver(self.bell, loop=loop, send=self.send, on_event=self.take)

    def send(self, output: str) -> None:
        """Hear an output."""
        self.heard.append(f"sent {output}")

    def take(self, event: str) -> None:
        """Hear an event, then do what the test wants done."""
        self.heard.append(event)
        self.on_event(event)


@in_virtual_time
async def test_outputs_go_before_events(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    stage.bell.tell("1")

    stage.driver.change(stage.bell.say, "a", "b")

    assert stage.heard == ["sent a", "sent b", "1"]


@in_virtual_time
async def test_a_command_from_an_event_is_carried_out_after_it(loop: VirtualLoop) -> None:
    stage = Stage(loop)

    def answer(event: str) -> None:
        if event == "1":
            stage.driver.change(stage.bell.say, "answer")
            stage.bell.tell("3")
            stage.driver.flush()
            stage.heard.append("done")

    stage.on_event = answer

    stage.driver.change(stage.bell.tell, "1", "2")

    assert stage.heard == ["1", "done", "2", "sent answer", "3"]


@in_virtual_time
async def test_endless_answers_leave_the_loop_its_turn(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    stage.on_event = lambda event: stage.bell.tell("again") if len(stage.heard) < 200 else None

    stage.driver.change(stage.bell.tell, "first")

    assert len(stage.heard) == MAX_ROUNDS
    await elapse(0.001)
    assert len(stage.heard) == 200


@in_virtual_time
async def test_the_timer_fires_when_it_is_due(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    started_at = loop.time()
    stage.bell.alarms = [started_at + 2, started_at + 1]

    stage.driver.flush()
    await elapse(0.99)
    assert stage.heard == []
    await elapse(0.02)
    assert stage.heard == [f"rang {started_at + 1}"]
    await elapse(1)

    assert stage.bell.fired == [started_at + 1, started_at + 2]


@in_virtual_time
async def test_a_timer_that_stays_is_not_armed_again(loop: VirtualLoop) -> None:
    armed: list[float] = []
    call_at = loop.call_at

    def count(when: float, *args: object) -> asyncio.TimerHandle:
        armed.append(when)
        return call_at(when, *args)  # type: ignore[arg-type]

    loop.call_at = count  # type: ignore[assignment, method-assign]
    stage = Stage(loop)
    due = loop.time() + 1
    stage.bell.alarms = [due]

    for _ in range(10):
        stage.driver.change(stage.bell.say, "x")
    stage.bell.alarms = [due + 1]
    stage.driver.flush()

    assert armed == [due, due + 1]
    stage.driver.close()


@in_virtual_time
async def test_an_alarm_that_is_taken_back_does_not_ring(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    stage.bell.alarms = [loop.time() + 1]
    stage.driver.flush()

    stage.bell.alarms = []
    stage.driver.flush()
    await elapse(2)

    assert stage.bell.fired == []


@in_virtual_time
async def test_nothing_comes_after_close(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    stage.bell.alarms = [loop.time() + 1]
    stage.on_event = lambda event: stage.driver.close()

    stage.driver.change(stage.bell.tell, "1", "2")
    stage.driver.change(stage.bell.say, "late")
    await elapse(2)

    assert stage.heard == ["1"]
    assert stage.bell.fired == []


@in_virtual_time
async def test_close_also_stops_what_was_put_off(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    stage.on_event = lambda event: stage.bell.tell("again")
    stage.driver.change(stage.bell.tell, "first")

    stage.driver.close()
    await elapse(1)

    assert len(stage.heard) == MAX_ROUNDS


def fail(_item: str) -> None:
    """What a bug does."""
    raise LookupError("a bug")


@in_virtual_time
async def test_a_failing_handler_stops_nobody_else(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(loop)
    stage.on_event = fail

    with caplog.at_level(logging.ERROR, "gateway.net.driver"):
        stage.driver.change(stage.bell.tell, "1", "2")
        stage.driver.change(stage.bell.say, "still here")

    assert stage.heard == ["1", "2", "sent still here"]
    assert stage.driver.failures == 2
    assert [record.exc_info is not None for record in caplog.records] == [True]


@in_virtual_time
async def test_a_failing_step_still_flushes(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(loop)
    stage.bell.say("before the bug")

    stage.driver.change(stage.bell.fail)

    assert stage.heard == ["sent before the bug"]
    assert len(caplog.records) == 1


@in_virtual_time
async def test_a_failing_timer_does_not_spin(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    stage.bell.alarms = [loop.time() + 1]
    stage.bell.breaks = True
    stage.driver.flush()

    await elapse(2)

    assert stage.driver.failures == len(stage.bell.fired) == pytest.approx(1 / RETRY_S, abs=1)
    stage.driver.close()


@pytest.mark.real
def test_the_timer_is_never_early_on_uvloop() -> None:
    async def ring() -> tuple[list[float], list[float]]:
        loop = asyncio.get_running_loop()
        stage = Stage(loop)
        rung = asyncio.Event()
        stage.on_event = lambda event: None if stage.bell.alarms else rung.set()
        alarms = [loop.time() + step / 3000 for step in range(1, 31)]
        stage.bell.alarms = list(alarms)

        stage.driver.flush()
        await rung.wait()

        return alarms, stage.bell.fired

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        alarms, fired = runner.run(ring())

    assert len(fired) <= len(alarms)  # none was asked for in vain

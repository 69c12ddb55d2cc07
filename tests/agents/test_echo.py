"""The echo: what is said comes back, whole and soon."""

from __future__ import annotations

import pytest

from gateway.agents.echo import CUSHION_MS, Echo
from gateway.codec import PCMU
from gateway.leg.leg import Answered
from tests.media.parties import Relay
from tests.media.sound import delay_of, snr_db, speechlike
from tests.support.agents import AgentBench
from tests.support.loop import VirtualLoop, elapse, in_virtual_time


@in_virtual_time
async def test_echo_answers_at_once(loop: VirtualLoop) -> None:
    bench = AgentBench(loop, Echo())
    bench.leg.dial()
    await elapse(0.01)

    assert bench.at(Answered) == 0.0
    await bench.close()


@in_virtual_time
async def test_what_is_said_comes_back_within_three_ticks(loop: VirtualLoop) -> None:
    bench = AgentBench(loop, Echo())
    bench.leg.dial()
    await elapse(0.1)
    bench.person.forget()
    said = speechlike(2.0, 8000)

    await bench.says(said)
    await elapse(0.1)

    delay_ms = delay_of(bench.person.pcm, said, 8000)
    assert 0 < delay_ms <= CUSHION_MS + 40
    back = bench.person.pcm[round(delay_ms * 8) :][: len(said) - 800]
    assert snr_db(back, said[: len(back)]) > 30
    await bench.close()


@in_virtual_time
async def test_echo_is_as_soon_after_a_hold_as_before(loop: VirtualLoop) -> None:
    bench = AgentBench(loop, Echo())
    bench.leg.dial()
    await elapse(0.1)
    bench.hub.route({"agent": {}, "person": {}})
    await elapse(5)
    bench.route()
    bench.person.forget()
    said = speechlike(2.0, 8000)

    await bench.says(said)
    await elapse(0.3)

    assert 0 < delay_of(bench.person.pcm, said, 8000) <= CUSHION_MS + 40
    await bench.close()


@in_virtual_time
async def test_payloads_come_back_as_they_came(loop: VirtualLoop) -> None:
    bench = AgentBench(loop, Echo())
    relay = Relay()
    bench.hub.join("person", listener=relay)
    bench.route()
    bench.leg.dial()
    await elapse(0.1)

    await bench.says(speechlike(0.5, 8000))
    await elapse(0.1)

    back = [frame for frame in relay.frames if frame.codec == PCMU]
    assert len(back) == 25
    await bench.close()


@in_virtual_time
async def test_echo_of_nothing_is_silence(loop: VirtualLoop) -> None:
    bench = AgentBench(loop, Echo())
    bench.leg.dial()
    await elapse(1)

    assert bench.person.is_silent
    assert len(bench.person.pcm) == pytest.approx(8000, abs=320)
    await bench.close()

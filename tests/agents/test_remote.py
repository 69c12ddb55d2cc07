"""Agents over a wire: connected while it rings, kept, missed, replaced; in virtual time."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import pytest

from gateway.agents.agent import Agent, AgentCall
from gateway.agents.event import FarEndAnswered
from gateway.agents.protocol import AgentAddress, CallFacts, Message, Opening, Wish
from gateway.agents.remote import Clip, RemoteAgent, RemoteOptions
from gateway.agents.session import MAX_NOTES_PER_S
from gateway.agents.wire import audiosocket, openai
from gateway.agents.wire import gateway as wire
from gateway.errors import Fault
from gateway.leg.leg import (
    Answered,
    Ended,
    EndReason,
    Noted,
    Progressed,
    TransferAsked,
)
from gateway.media.playout import MAX_QUEUED_S
from gateway.media.tone import tone_level_dbfs
from gateway.net.agent_connection import ConnectError
from tests.media.sound import Pcm, tone
from tests.support.agent_line import Exchange
from tests.support.agents import AgentBench, Attendant
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

REFUSED = ConnectError("the agent answered 403", is_final=True)

MODULE: Any = wire

WAIT_SOUND = Clip(tone(400, 0.5, 16_000), 16_000)
APOLOGY = Clip(tone(2000, 0.5, 16_000), 16_000)


def attended(
    loop: VirtualLoop,
    exchange: Exchange,
    *,
    agents: dict[str, Agent] | None = None,
    is_caller: bool = False,
    module: Any = None,
    **options: Any,
) -> AgentBench:
    """A call that was offered to a remote agent of our own protocol, at 8 kHz."""
    remote = remote_agent(exchange, agents=agents, module=module, **options)
    bench = AgentBench(loop, remote, is_caller=is_caller)
    bench.leg.dial()
    return bench


def remote_agent(
    exchange: Exchange,
    *,
    agents: dict[str, Agent] | None = None,
    module: Any = None,
    **options: Any,
) -> RemoteAgent:
    return RemoteAgent(
        AgentAddress("sales", "wss://agent.example/"),
        module or MODULE,
        wire.Settings(rate=8000),
        RemoteOptions(**{"wait_sound": WAIT_SOUND, "apology": APOLOGY, **options}),
        dial=exchange,
        agents=agents,
    )


def speech(seconds: float, frequency: float = 1000) -> bytes:
    return tone(frequency, seconds, 8000).tobytes()


def notes(bench: AgentBench, kind: str) -> list[Any]:
    return [event.data for event in bench.all(Noted) if event.kind == kind]


def heard_since(bench: AgentBench, samples: int) -> Pcm:
    return bench.person.pcm[samples:]


def last_heard(bench: AgentBench, seconds: float) -> Pcm:
    """The last so many seconds in which there was a sound, without their edges."""
    pcm = bench.person.pcm
    end = int(np.flatnonzero(pcm)[-1])
    return pcm[end - round(seconds * 8000) + 400 : end - 400]


def first_sound_s(pcm: Pcm) -> float:
    """When it is first heard, of 8 kHz."""
    return float(np.flatnonzero(pcm)[0]) / 8000


# ---- early start


@in_virtual_time
async def test_agent_is_connected_while_the_call_rings_and_answers_when_ready(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange(is_ready=False)

    bench = attended(loop, exchange)
    await elapse(0.5)
    assert bench.all(Progressed) == [Progressed(180, "Ringing")]
    assert exchange.line.of("start")[0]["call"]["id"] == "call-1"
    assert not bench.all(Answered)
    exchange.line.tells("ready")
    await elapse(0.1)

    assert len(bench.all(Answered)) == 1
    await bench.close()


@in_virtual_time
async def test_agent_that_never_says_that_it_is_ready_answers_after_the_limit(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange(is_ready=False)

    bench = attended(loop, exchange, ready_timeout_s=3.0)
    await elapse(4)

    assert bench.at(Answered) == pytest.approx(3.0, abs=0.05)
    await bench.close()


@in_virtual_time
async def test_agent_that_speaks_before_it_says_that_it_is_ready_answers(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange(is_ready=False)
    bench = attended(loop, exchange)
    await elapse(0.5)

    exchange.line.says(speech(0.5))
    await elapse(1)

    assert bench.at(Answered) == pytest.approx(0.5, abs=0.05)
    assert tone_level_dbfs(bench.person.pcm[4400:7600], 8000, 1000) > -12
    await bench.close()


@in_virtual_time
async def test_call_can_be_answered_before_the_agent_is_there(loop: VirtualLoop) -> None:
    exchange = Exchange()
    exchange.outcomes.append(None)

    bench = attended(loop, exchange, answers_at_once=True)
    await elapse(2)

    assert bench.at(Answered) == 0
    assert first_sound_s(bench.person.pcm) == pytest.approx(1.0, abs=0.05)
    await bench.close()


@pytest.mark.parametrize("hears", [False, True])
@in_virtual_time
async def test_early_media_is_heard_where_the_agent_is_set_so(
    loop: VirtualLoop, hears: bool
) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange, is_caller=True, hears_early_media=hears)
    await elapse(0.5)

    bench.leg.inform(FarEndAnswered(is_early=True))
    await bench.says(tone(700, 0.2, 8000))
    early = len(exchange.line.heard)
    bench.leg.answer()
    await bench.says(tone(700, 0.2, 8000))

    assert (early > 5) is hears
    assert len(exchange.line.heard) - early == pytest.approx(10, abs=2)
    await bench.close()


# ---- never there


@in_virtual_time
async def test_f18_agent_that_refuses_ends_the_call_at_once(loop: VirtualLoop) -> None:
    exchange = Exchange()
    exchange.outcomes.append(REFUSED)

    bench = attended(loop, exchange)
    await elapse(1)

    (ended,) = bench.all(Ended)
    assert (ended.reason, ended.status, ended.fault) == (EndReason.AGENT_LOST, 503, Fault.AGENT)
    assert ended.text == "the agent answered 403"
    assert bench.at(Ended) == 0
    assert len(exchange.attempts) == 1
    assert not bench.person.pcm.any()
    await bench.close()


@in_virtual_time
async def test_f18_agent_that_takes_too_long_to_connect_is_given_up(loop: VirtualLoop) -> None:
    exchange = Exchange()
    exchange.outcomes.append(None)

    bench = attended(loop, exchange, ready_timeout_s=2.0)
    await elapse(3)

    assert bench.at(Ended) == pytest.approx(2.0, abs=0.05)
    assert bench.all(Ended)[0].text == "the agent takes too long to connect"
    await bench.close()


@in_virtual_time
async def test_f18_agent_that_starts_while_the_call_rings_is_reached(loop: VirtualLoop) -> None:
    exchange = Exchange()
    exchange.outcomes += [ConnectError("refused")] * 3

    bench = attended(loop, exchange)
    await elapse(2)

    assert len(exchange.lines) == 1
    assert bench.at(Answered) == pytest.approx(0.85, abs=0.05)
    await bench.close()


# ---- lost


@in_virtual_time
async def test_f18_connection_is_made_again_at_growing_distances(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(20)
    exchange.refuses = True

    exchange.line.drops()
    lost_at = loop.time()
    await elapse(8)

    after = [round(at - lost_at, 2) for at in exchange.attempts[1:]]
    assert after == [0.1, 0.35, 0.85, 1.85, 3.85]
    await bench.close()


@in_virtual_time
async def test_f18_attempts_that_hang_take_no_longer_than_the_outage_may(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(20)
    exchange.outcomes += [None] * 10

    exchange.line.drops()
    await elapse(7)

    (ended,) = bench.all(Ended)
    assert ended.reason is EndReason.AGENT_LOST
    assert bench.at(Ended) == pytest.approx(20 + 5 + APOLOGY.seconds, abs=0.2)
    await bench.close()


@in_virtual_time
async def test_f18_connection_made_again_carries_the_call_and_the_sequence(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(1)
    bench.presses("12")
    last = exchange.line.told[-1]["seq"]

    exchange.line.drops()
    await elapse(1)

    first, again = exchange.lines[0].of("start")[0], exchange.lines[1].of("start")[0]
    assert again["call"] == first["call"]
    assert (first["stream"], again["stream"]) == (0, 1)
    assert again["last_seq"] >= last
    assert notes(bench, "restored") == [{"after_ms": 100}]
    await bench.close()


@in_virtual_time
async def test_f18_caller_hears_the_waiting_sound_after_a_second(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(20)
    exchange.refuses = True
    before = len(bench.person.pcm)

    exchange.line.drops()
    await elapse(2)

    heard = heard_since(bench, before)
    assert first_sound_s(heard) == pytest.approx(1.0, abs=0.05)
    assert tone_level_dbfs(heard[8400:11_600], 8000, 400) > -12
    await bench.close()


@in_virtual_time
async def test_f18_what_a_lost_agent_was_saying_goes_on_until_then(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(20)
    exchange.refuses = True
    exchange.line.says(speech(10))
    await elapse(0.5)
    before = len(bench.person.pcm)

    exchange.line.drops()
    await elapse(3)

    heard = heard_since(bench, before)
    assert tone_level_dbfs(heard[800:7200], 8000, 1000) > -12
    assert tone_level_dbfs(heard[8800:11_600], 8000, 400) > -12
    assert not heard[13_600:].any()
    await bench.close()


@in_virtual_time
async def test_f18_nothing_stale_is_heard_when_the_agent_is_back(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(20)
    exchange.line.says(speech(10))
    exchange.line.tells("pause")
    await elapse(0.5)

    exchange.line.drops()
    await elapse(0.5)
    before = len(bench.person.pcm)
    exchange.line.says(speech(0.5, 700))
    await elapse(2)

    heard = heard_since(bench, before)
    assert tone_level_dbfs(heard[400:3600], 8000, 700) > -12
    assert not heard[4800:].any()
    await bench.close()


@in_virtual_time
async def test_f18_agent_that_is_back_hears_what_is_said_from_then_on(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(1)
    exchange.line.drops()
    await bench.says(tone(700, 0.06, 8000))
    await elapse(0.5)

    await bench.says(tone(700, 0.4, 8000))

    assert len(exchange.lines[1].heard) == pytest.approx(40, abs=6)  # with the silence before it
    await bench.close()


@pytest.mark.parametrize("talked_s", [0.5, 1.5, 6.0, 9.9])
@in_virtual_time
async def test_f18_agent_that_is_lost_soon_after_the_start_is_connected_again(
    loop: VirtualLoop, talked_s: float
) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange, ready_timeout_s=1.0)
    await elapse(talked_s)

    exchange.line.drops()
    await elapse(0.5)

    assert len(exchange.lines) == 2
    assert not bench.all(Ended)
    await bench.close()


@in_virtual_time
async def test_f18_agent_that_is_lost_again_and_again_is_given_up(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(20)

    for _ in range(20):
        exchange.line.drops()
        await elapse(0.4)

    assert len(exchange.attempts) <= 6
    assert bench.all(Ended)[0].reason is EndReason.AGENT_LOST
    await bench.close()


@in_virtual_time
async def test_f18_each_outage_has_its_own_five_seconds(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)

    for _ in range(5):
        await elapse(15)
        exchange.line.drops()

    await elapse(1)
    assert len(exchange.lines) == 6
    assert not bench.all(Ended)
    await bench.close()


# ---- who takes over


@in_virtual_time
async def test_f18_without_anybody_else_an_apology_is_said_and_the_call_ends(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(20)
    exchange.refuses = True

    exchange.line.drops()
    await elapse(6)

    (ended,) = bench.all(Ended)
    assert (ended.reason, ended.fault) == (EndReason.AGENT_LOST, Fault.AGENT)
    assert ended.reason.value == "agent_lost"
    assert tone_level_dbfs(last_heard(bench, 0.5), 8000, 2000) > -12
    assert bench.at(Ended) == pytest.approx(20 + 3.85 + 0.5, abs=0.1)
    await bench.close()


@in_virtual_time
async def test_f18_fallback_agent_takes_the_call_over(loop: VirtualLoop) -> None:
    async def work(call: AgentCall) -> None:
        await call.say(tone(700, 0.5, 8000), 8000)
        await call.played()
        await call.hang_up()

    exchange = Exchange()
    agents: dict[str, Agent] = {"backup": Attendant(work)}
    bench = attended(loop, exchange, agents=agents, fallback=("agent:backup",))
    await elapse(20)
    exchange.refuses = True

    exchange.line.drops()
    await elapse(6)

    (ended,) = bench.all(Ended)
    assert ended.reason is EndReason.HANGUP
    assert notes(bench, "fallback") == [{"to": "agent:backup"}]
    assert tone_level_dbfs(last_heard(bench, 0.5), 8000, 700) > -12
    await bench.close()


@in_virtual_time
async def test_f18_fallback_that_breaks_is_followed_by_the_next(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(call: AgentCall) -> None:
        raise RuntimeError("boom")

    exchange, third = Exchange(), Exchange()
    agents: dict[str, Agent] = {"second": Attendant(work), "third": remote_agent(third)}
    bench = attended(loop, exchange, agents=agents, fallback=("agent:second", "agent:third"))
    await elapse(20)
    exchange.outcomes.append(REFUSED)

    exchange.line.drops()
    await elapse(1)

    assert len(third.lines) == 1
    assert not bench.all(Ended)
    assert "boom" in caplog.text
    await bench.close()


@in_virtual_time
async def test_f18_fallback_over_a_wire_takes_over_and_is_followed_by_the_next(
    loop: VirtualLoop,
) -> None:
    exchange, second, third = Exchange(), Exchange(), Exchange()
    second.outcomes.append(REFUSED)
    agents: dict[str, Agent] = {"second": remote_agent(second), "third": remote_agent(third)}
    bench = attended(loop, exchange, agents=agents, fallback=("agent:second", "agent:third"))
    await elapse(20)
    exchange.outcomes.append(REFUSED)

    exchange.line.drops()
    await elapse(1)
    third.line.says(speech(0.5))
    await elapse(0.6)

    assert len(second.attempts) == len(third.lines) == 1
    assert third.line.of("start")[0]["call"]["id"] == "call-1"
    assert tone_level_dbfs(bench.person.pcm[-4000:-1600], 8000, 1000) > -12
    assert not bench.all(Ended)
    await bench.close()


@in_virtual_time
async def test_f18_fallback_number_is_dialled_as_by_the_agent(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange, fallback=("+15550100",))
    await elapse(20)
    exchange.outcomes.append(REFUSED)

    exchange.line.drops()
    await elapse(1)

    (asked,) = bench.all(TransferAsked)
    assert asked.target.user == "+15550100"
    assert not bench.all(Ended)
    bench.leg.transfer_progress(200)
    await bench.close()


@in_virtual_time
async def test_f18_fallback_number_that_is_busy_leads_to_the_apology(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange, fallback=("+15550100",))
    await elapse(20)
    exchange.outcomes.append(REFUSED)
    exchange.line.drops()
    await elapse(1)

    bench.leg.transfer_progress(486)
    await elapse(1)

    assert bench.all(Ended)[0].reason is EndReason.AGENT_LOST
    assert tone_level_dbfs(last_heard(bench, 0.5), 8000, 2000) > -12
    await bench.close()


@in_virtual_time
async def test_f18_fallback_at_a_sip_uri_is_dialled_too(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange, agents={}, fallback=("agent:elsewhere",))
    await elapse(20)
    exchange.outcomes.append(REFUSED)

    exchange.line.drops()
    await elapse(1)

    (asked,) = bench.all(TransferAsked)
    assert asked.target.user == "agent:elsewhere"
    bench.leg.transfer_progress(200)
    await bench.close()


@in_virtual_time
async def test_f18_agent_lost_during_its_transfer_does_not_end_that(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(20)
    exchange.outcomes.append(REFUSED)
    arguments = {"to": "+15550100"}
    exchange.line.tells("tool", id="t1", name="transfer", arguments=arguments)

    exchange.line.drops()
    await elapse(15)

    assert not bench.all(Ended)
    await bench.close()


@in_virtual_time
async def test_agent_that_closes_in_good_order_is_heard_to_its_end(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(1)
    exchange.line.says(speech(1))

    exchange.line.drops(is_finished=True)
    await elapse(2)

    (ended,) = bench.all(Ended)
    assert ended.reason is EndReason.HANGUP
    assert bench.at(Ended) == pytest.approx(2.0, abs=0.1)
    assert len(exchange.attempts) == 1
    await bench.close()


@in_virtual_time
@pytest.mark.parametrize(("ends_by_closing", "attempts"), [(True, 1), (False, 2)])
async def test_f18_audiosocket_that_is_closed_without_a_word_has_hung_up_or_is_lost(
    loop: VirtualLoop, ends_by_closing: bool, attempts: int
) -> None:
    exchange = Exchange(is_ready=False)
    module: Any = audiosocket
    remote = RemoteAgent(
        AgentAddress("pbx", "tcp://agent.example:9092"),
        module,
        audiosocket.Settings(ends_by_closing=ends_by_closing),
        dial=exchange,
    )
    bench = AgentBench(loop, remote)
    bench.leg.dial()
    await elapse(1)

    exchange.line.drops(is_finished=True)
    await elapse(1)

    assert len(exchange.attempts) == attempts
    assert bool(bench.all(Ended)) == ends_by_closing
    await bench.close()


@in_virtual_time
async def test_agent_that_has_finished_before_it_answered_declines_the_call(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange(is_ready=False)
    bench = attended(loop, exchange)
    await elapse(1)

    exchange.line.drops(is_finished=True)
    await elapse(0.1)

    (ended,) = bench.all(Ended)
    assert (ended.reason, ended.status) == (EndReason.DECLINED, 603)
    await bench.close()


@in_virtual_time
async def test_agent_is_told_when_the_other_side_hangs_up(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(1)

    await bench.close()

    assert exchange.line.of("stop")
    assert exchange.line.is_closed


# ---- floods and rubbish


@in_virtual_time
async def test_f19_five_seconds_of_speech_at_once_are_played_whole(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(1)
    before = len(bench.person.pcm)

    said = speech(5)
    for at in range(0, len(said), 320):
        exchange.line.says(said[at : at + 320])
    await elapse(6)

    heard = heard_since(bench, before)
    sounds = np.flatnonzero(heard)
    assert np.array_equal(heard[sounds[0] - 1 :][:40_000], np.frombuffer(said, "<i2"))
    assert not exchange.line.of("dropped")
    await bench.close()


@in_virtual_time
async def test_f19_flood_fills_the_queue_and_the_newest_is_dropped(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(1)

    for _ in range(90):
        exchange.line.says(speech(1))
    queued_ms = bench.leg.playout.queued_ms
    await elapse(20)

    assert queued_ms == MAX_QUEUED_S * 1000
    full, room = exchange.line.of("queue")
    assert (full["full"], room["full"]) == (True, False)
    dropped = exchange.line.of("dropped")
    assert sum(event["dropped_ms"] for event in dropped) == 30_000
    assert notes(bench, "flood")
    await bench.close()


@in_virtual_time
async def test_f19_one_message_longer_than_the_queue_is_played_as_far_as_it_fits(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(1)

    exchange.line.says(speech(70))

    assert bench.leg.playout.queued_ms == pytest.approx(60_000, abs=1000)
    await bench.close()


@in_virtual_time
async def test_f19_long_answer_of_a_model_that_waits_for_nobody_is_heard_to_its_end(
    loop: VirtualLoop,
) -> None:
    exchange = Exchange(is_ready=False)
    model = RemoteAgent(
        AgentAddress("model", "wss://model.example/"),
        cast(Any, openai),
        openai.Settings(audio="pcmu"),
        dial=exchange,
    )
    bench = AgentBench(loop, model)
    bench.leg.dial()
    await elapse(0.1)
    exchange.line.tells("session.updated", session={})

    second = base64.b64encode(b"\x55" * 8000).decode()
    for _ in range(205):
        exchange.line.tells("response.output_audio.delta", item_id="i", delta=second)

    assert bench.leg.playout.queued_ms == 205_000
    assert not notes(bench, "flood")
    await bench.close()


@in_virtual_time
async def test_f19_three_wrong_messages_close_the_connection(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(1)

    exchange.line.says("no json")
    exchange.line.says("nor this")
    await elapse(0.1)
    assert not exchange.line.is_closed
    exchange.line.says("[]")
    await elapse(2)

    assert exchange.line.is_closed
    assert len(notes(bench, "wrong")) == 3
    assert len(exchange.attempts) == 1
    assert bench.all(Ended)[0].reason is EndReason.AGENT_LOST
    await bench.close()


@in_virtual_time
async def test_flood_of_notes_is_cut_short(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(1)

    for second in range(2):
        for _ in range(5000):
            exchange.line.tells("note", kind="thinking", data={"second": second})
        await elapse(1.1)

    assert len(notes(bench, "thinking")) == 2 * MAX_NOTES_PER_S
    await bench.close()


@in_virtual_time
async def test_a19_note_that_is_nested_too_deeply_is_shown_to_nobody(loop: VirtualLoop) -> None:
    exchange = Exchange()
    bench = attended(loop, exchange)
    await elapse(1)

    for depth in (19, 20, 900):
        data = f'{{"x":{"[" * depth}{"]" * depth}}}'
        exchange.line.says(f'{{"type":"note","kind":"thinking","data":{data}}}')

    assert len(notes(bench, "thinking")) == 1
    assert len(notes(bench, "wrong")) == 2
    await bench.close()


class BrokenProtocol(wire.GatewayProtocol):
    """One with a bug."""

    def receive(self, message: Message) -> Iterable[Wish]:
        if message == "bug":
            raise RuntimeError("bug")
        return super().receive(message)

    def hear(self, audio: bytes) -> Message | None:
        if np.frombuffer(audio, np.int16).any():
            raise RuntimeError("bug")
        return audio


class BrokenModule:
    """A file of `wire/` with a bug."""

    Settings = wire.Settings
    IS_STREAM = False

    def opening(self, address: AgentAddress, settings: Any, call: CallFacts) -> Opening:
        return wire.opening(address, settings, call)

    def make(self, settings: Any) -> BrokenProtocol:
        return BrokenProtocol(settings)


@pytest.mark.parametrize("where", ["receive", "hear"])
@in_virtual_time
async def test_bug_of_a_protocol_costs_its_session_and_no_more(
    loop: VirtualLoop, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    exchange, backup = Exchange(), Exchange()
    agents: dict[str, Agent] = {"backup": remote_agent(backup)}
    bench = attended(
        loop, exchange, agents=agents, module=BrokenModule(), fallback=("agent:backup",)
    )
    await elapse(1)

    if where == "receive":
        exchange.line.says("bug")
    else:
        await bench.says(tone(1000, 0.1, 8000))
    await elapse(0.5)

    assert len(backup.lines) == 1
    assert bench.hub.faults == 0
    assert "bug" in caplog.text
    await bench.close()

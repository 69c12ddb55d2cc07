"""An agent as a party: what it may do with its call, and that nothing of it is left over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from gateway.agents.agent import AgentCall
from gateway.errors import Fault
from gateway.leg.agent_call import MAX_SAID_AHEAD_MS
from gateway.leg.agent_queues import MAX_DIGITS_WAITING, MAX_HEARD_BEHIND
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Ended,
    EndReason,
    Phase,
    Progressed,
)
from gateway.media.tone import tone_level_dbfs
from tests.media.sound import Pcm, tone
from tests.support.agents import AgentBench, Attendant
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

Work = Callable[[AgentCall], Awaitable[None]]

SECOND = tone(1000, 1.0, 8000)


def attended(loop: VirtualLoop, work: Work, *, is_routed: bool = True) -> AgentBench:
    """An agent that does `work`, dialled."""
    bench = AgentBench(loop, Attendant(work), is_routed=is_routed)
    bench.leg.dial()
    return bench


def names(bench: AgentBench) -> list[str]:
    return [type(event).__name__ for _, event in bench.told]


def audible(bench: AgentBench) -> Pcm:
    """What the person heard, from the first sound to the last."""
    pcm = bench.person.pcm
    sounds = np.flatnonzero(pcm)
    return pcm[sounds[0] : sounds[-1] + 1]


# ---- taking the call


@in_virtual_time
async def test_agent_that_hears_takes_the_call(loop: VirtualLoop) -> None:
    async def work(call: AgentCall) -> None:
        async for _ in call.hear():
            pass

    bench = attended(loop, work)
    await elapse(0.1)

    assert names(bench) == ["Answered"]
    await bench.close()


@in_virtual_time
async def test_agent_that_calls_speaks_when_the_far_end_has_answered(loop: VirtualLoop) -> None:
    async def work(call: AgentCall) -> None:
        await call.say(SECOND, 8000)
        await call.played()

    bench = AgentBench(loop, Attendant(work), is_caller=True)
    bench.leg.dial()
    await elapse(5)
    assert names(bench) == ["Answered"]
    assert not np.any(bench.person.pcm)

    bench.leg.answer()
    await elapse(1.5)

    assert len(audible(bench)) == pytest.approx(8000, abs=100)
    await bench.close()


@in_virtual_time
async def test_agent_that_speaks_takes_the_call(loop: VirtualLoop) -> None:
    async def work(call: AgentCall) -> None:
        await call.say(SECOND, 8000)
        await call.played()

    bench = attended(loop, work)
    await elapse(0.1)

    assert names(bench) == ["Answered"]
    await bench.close()


@in_virtual_time
async def test_agent_that_does_neither_leaves_the_call_ringing(loop: VirtualLoop) -> None:
    async def work(call: AgentCall) -> None:
        await asyncio.sleep(60)

    bench = attended(loop, work)
    await elapse(1)

    assert not bench.told
    await bench.close()


@in_virtual_time
async def test_ring_progress_and_answer_come_in_the_order_they_were_asked(
    loop: VirtualLoop,
) -> None:
    async def work(call: AgentCall) -> None:
        await call.ring()
        await call.progress()
        await call.answer()
        await call.answer()
        await asyncio.sleep(60)

    bench = attended(loop, work)
    await elapse(0.1)

    assert [event for _, event in bench.told] == [
        Progressed(180, "Ringing"),
        Progressed(183, "Session Progress", early_media=True),
        Answered(),
    ]
    await bench.close()


@in_virtual_time
async def test_early_media_is_opened_once_and_speech_in_it_takes_no_call(
    loop: VirtualLoop,
) -> None:
    async def work(call: AgentCall) -> None:
        await call.progress()
        await call.progress()
        await call.say(SECOND, 8000)
        await call.played()
        await asyncio.sleep(60)

    bench = attended(loop, work)
    await elapse(2)

    assert bench.all(Progressed) == [Progressed(183, "Session Progress", early_media=True)]
    assert not bench.all(Answered)
    assert tone_level_dbfs(bench.person.pcm, 8000, 1000) > -20
    await bench.close()


@in_virtual_time
async def test_agent_sees_who_calls_whom(loop: VirtualLoop) -> None:
    seen = []

    async def work(call: AgentCall) -> None:
        seen.append((call.id, call.caller, call.called))

    bench = attended(loop, work)
    await elapse(0.1)

    assert seen == [("call-1", "+15550001", "sales")]
    await bench.close()


# ---- hearing


@in_virtual_time
async def test_agent_hears_what_is_routed_to_it(loop: VirtualLoop) -> None:
    heard: list[np.int16] = []

    async def work(call: AgentCall) -> None:
        async for frame in call.hear():
            heard.extend(frame.pcm(8000))

    bench = attended(loop, work)
    await elapse(0.1)
    heard.clear()
    await bench.says(SECOND)

    assert len(heard) == 8000
    assert tone_level_dbfs(np.array(heard), 8000, 1000) == pytest.approx(-10, abs=0.5)
    await bench.close()


@in_virtual_time
async def test_slow_ears_lose_the_oldest_frames_and_no_more(loop: VirtualLoop) -> None:
    got = []

    async def work(call: AgentCall) -> None:
        async for frame in call.hear():
            got.append(frame.position)
            if len(got) == 1:
                await asyncio.sleep(10)

    bench = attended(loop, work)
    await bench.says(tone(1000, 9.9, 8000))
    await elapse(0.3)

    # The first, and then the newest 2 s of what came in the 10 s that it slept.
    assert got[1] - got[0] > 7 * 48_000
    backlog = got[1 : 1 + MAX_HEARD_BEHIND]
    assert np.diff(backlog).tolist() == [960] * (MAX_HEARD_BEHIND - 1)
    await bench.close()


@in_virtual_time
async def test_ears_that_were_closed_keep_nothing(loop: VirtualLoop) -> None:
    got = []

    async def work(call: AgentCall) -> None:
        frames = call.hear()
        await anext(frames)
        await frames.aclose()
        await asyncio.sleep(1)
        got.append(await anext(call.hear()))

    bench = attended(loop, work)
    await bench.says(tone(1000, 1.5, 8000))

    assert got[0].heard_at - loop.time() > -0.5
    await bench.close()


# ---- speaking


@in_virtual_time
async def test_say_waits_while_half_a_minute_is_queued(loop: VirtualLoop) -> None:
    said_at = []

    async def work(call: AgentCall) -> None:
        began_at = loop.time()
        for _ in range(34):
            await call.say(SECOND, 8000)
            said_at.append(loop.time() - began_at)
        await asyncio.sleep(60)

    bench = attended(loop, work)
    await elapse(5)

    assert said_at[:31] == [0.0] * 31
    assert np.diff(said_at[31:]) == pytest.approx(1.0, abs=0.05)
    assert bench.leg.playout.queued_ms <= MAX_SAID_AHEAD_MS + 1000
    await bench.close()


@in_virtual_time
@pytest.mark.parametrize(
    ("pcm", "rate", "error"),
    [
        (np.zeros(100, np.float32), 16_000, TypeError),
        (np.zeros((100, 2), np.int16), 16_000, TypeError),
        (b"\0\0", 16_000, TypeError),
        (np.zeros(100, np.int16), 44_100, ValueError),
        (np.zeros(100, np.int16), 0, ValueError),
    ],
)
async def test_speech_that_would_be_silence_or_noise_is_refused(
    loop: VirtualLoop, pcm: Pcm, rate: int, error: type[Exception]
) -> None:
    refused: list[Exception] = []

    async def work(call: AgentCall) -> None:
        try:
            await call.say(pcm, rate)
        except (TypeError, ValueError) as wrong:
            refused.append(wrong)

    bench = attended(loop, work)
    await elapse(0.1)

    assert [type(each) for each in refused] == [error]
    assert "Answered" not in names(bench)
    await bench.close()


@in_virtual_time
async def test_recording_longer_than_any_queue_is_said_to_its_end(loop: VirtualLoop) -> None:
    async def work(call: AgentCall) -> None:
        await call.say(np.concatenate([tone(1000, 89, 8000), tone(700, 1, 8000)]), 8000)
        await call.hang_up()

    bench = attended(loop, work)
    await elapse(95)

    assert bench.at(Ended) == pytest.approx(90, abs=0.2)
    last_word = audible(bench)[-7200:-800]
    assert tone_level_dbfs(last_word, 8000, 700) == pytest.approx(-10, abs=0.5)
    await bench.close()


@in_virtual_time
async def test_played_returns_when_the_last_of_it_was_sent(loop: VirtualLoop) -> None:
    played_at = []

    async def work(call: AgentCall) -> None:
        await call.say(SECOND, 8000)
        await call.played()
        played_at.append(loop.time())
        await asyncio.sleep(60)

    bench = attended(loop, work)
    began_at = loop.time()
    await elapse(2)

    assert played_at[0] - began_at == pytest.approx(1.0, abs=0.041)
    await bench.close()


@in_virtual_time
async def test_played_returns_when_the_rest_was_cleared(loop: VirtualLoop) -> None:
    played_at = []

    async def work(call: AgentCall) -> None:
        await call.say(SECOND, 8000)
        loop.call_later(0.3, call.clear)
        await call.played()
        played_at.append(loop.time())
        await asyncio.sleep(60)

    bench = attended(loop, work)
    began_at = loop.time()
    await elapse(2)

    assert played_at[0] - began_at == pytest.approx(0.3, abs=0.03)
    await bench.close()


@in_virtual_time
async def test_nobody_there_to_hear_does_not_hold_the_agent_for_ever(loop: VirtualLoop) -> None:
    async def work(call: AgentCall) -> None:
        await call.say(SECOND, 8000)

    bench = attended(loop, work, is_routed=False)
    await elapse(5)

    assert bench.at(Ended) == pytest.approx(3.0, abs=0.1)  # 2 s of waiting, 1 s unheard
    await bench.close()


# ---- keys


@in_virtual_time
async def test_keys_are_read_in_order_and_none_is_lost_between_two_calls(
    loop: VirtualLoop,
) -> None:
    read = []

    async def work(call: AgentCall) -> None:
        while True:
            read.append(await call.digit())
            await asyncio.sleep(0.5)

    bench = attended(loop, work)
    await elapse(0.1)
    bench.presses("12#")
    await elapse(2)

    assert read == ["1", "2", "#"]
    await bench.close()


@in_virtual_time
async def test_keys_that_nobody_reads_are_bounded(loop: VirtualLoop) -> None:
    read = []

    async def work(call: AgentCall) -> None:
        await asyncio.sleep(1)
        while True:
            read.append(await call.digit())

    bench = attended(loop, work)
    await elapse(0.1)
    bench.presses("1" * 100 + "9")
    await elapse(2)

    assert len(read) == MAX_DIGITS_WAITING
    assert read[-1] == "9"
    await bench.close()


@in_virtual_time
async def test_one_key_is_read_by_one_of_two_who_wait(loop: VirtualLoop) -> None:
    read = []

    async def work(call: AgentCall) -> None:
        async def wait() -> None:
            read.append(await call.digit())

        async with asyncio.TaskGroup() as group:
            group.create_task(wait())
            group.create_task(wait())

    bench = attended(loop, work)
    await elapse(0.1)
    bench.presses("7")
    await elapse(0.1)
    assert read == ["7"]
    bench.presses("8")
    await elapse(0.1)

    assert read == ["7", "8"]
    await bench.close()


@in_virtual_time
async def test_agent_presses_keys_with_both_edges_and_pauses(loop: VirtualLoop) -> None:
    async def work(call: AgentCall) -> None:
        await call.send_digits("1w2#")
        await asyncio.sleep(60)

    bench = attended(loop, work)
    await elapse(5)

    assert bench.pressed == "12#"
    starts = [at for at, e in bench.told if isinstance(e, DigitPressed) and e.phase is Phase.START]
    assert np.diff(starts) == pytest.approx([0.8, 0.3])
    await bench.close()


@in_virtual_time
async def test_no_key_stays_down_when_the_agent_is_interrupted(loop: VirtualLoop) -> None:
    async def work(call: AgentCall) -> None:
        try:
            async with asyncio.timeout(0.05):
                await call.send_digits("5")
        except TimeoutError:
            await asyncio.sleep(60)

    bench = attended(loop, work)
    await elapse(1)

    assert bench.pressed == "5"
    await bench.close()


@in_virtual_time
async def test_key_that_does_not_exist_is_the_agents_own_fault(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(call: AgentCall) -> None:
        await call.send_digits("1x")

    bench = attended(loop, work)
    await elapse(1)

    assert not bench.all(DigitPressed)
    assert [e.reason for e in bench.all(Ended)] == [EndReason.AGENT_FAILED]
    assert "no key 'x'" in caplog.text
    await bench.close()


# ---- leaving


@in_virtual_time
async def test_hang_up_lets_the_goodbye_be_heard(loop: VirtualLoop) -> None:
    async def work(call: AgentCall) -> None:
        await call.say(SECOND, 8000)
        await call.hang_up()

    bench = attended(loop, work)
    await elapse(3)

    assert bench.all(Ended) == [Ended(EndReason.HANGUP)]
    assert bench.at(Ended) == pytest.approx(1.0, abs=0.041)
    assert len(audible(bench)) == pytest.approx(len(SECOND), abs=8)
    assert names(bench)[-1] == "Gone"
    await bench.close()


@in_virtual_time
async def test_agent_that_returns_hangs_up_after_its_last_word(loop: VirtualLoop) -> None:
    async def work(call: AgentCall) -> None:
        await call.say(SECOND, 8000)

    bench = attended(loop, work)
    await elapse(3)

    assert bench.at(Ended) == pytest.approx(1.0, abs=0.041)
    assert names(bench) == ["Answered", "Ended", "Gone"]
    await bench.close()


@in_virtual_time
async def test_agent_that_breaks_ends_its_leg_once_and_is_gone(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(call: AgentCall) -> None:
        await call.answer()
        raise RuntimeError("bug")

    bench = attended(loop, work)
    await elapse(1)

    assert bench.all(Ended) == [Ended(EndReason.AGENT_FAILED, 500, fault=Fault.AGENT)]
    assert names(bench) == ["Answered", "Ended", "Gone"]
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1
    await bench.close()


@in_virtual_time
async def test_end_cancels_the_agent_and_nothing_but_gone_follows(loop: VirtualLoop) -> None:
    cancelled = []

    async def work(call: AgentCall) -> None:
        await call.answer()
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.append(True)
            await call.ring()

    bench = attended(loop, work)
    await elapse(1)
    bench.leg.end(EndReason.HANGUP)
    await elapse(0.1)

    assert cancelled == [True]
    assert names(bench) == ["Answered", "Gone"]
    await bench.close()


@in_virtual_time
async def test_leg_that_ends_before_its_agent_began_is_gone_too(loop: VirtualLoop) -> None:
    bench = attended(loop, lambda call: call.answer())

    bench.leg.end(EndReason.CANCELLED)
    await elapse(0.1)

    assert names(bench) == ["Gone"]
    await bench.close()


@in_virtual_time
async def test_leg_that_was_never_dialled_is_gone_when_it_ends(loop: VirtualLoop) -> None:
    bench = AgentBench(loop, Attendant(lambda call: call.answer()))

    bench.leg.end(EndReason.CANCELLED)
    assert not bench.told
    await elapse(0.1)

    assert names(bench) == ["Gone"]
    await bench.close()


@in_virtual_time
async def test_agent_that_takes_its_cancellation_for_a_return_is_gone_too(
    loop: VirtualLoop,
) -> None:
    async def work(call: AgentCall) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return

    bench = attended(loop, work)
    await elapse(1)
    bench.hub.leave("agent")
    bench.leg.end(EndReason.HANGUP)
    await elapse(1)

    assert names(bench) == ["Gone"]
    await bench.close()


@in_virtual_time
async def test_end_after_the_agents_own_hang_up_says_nothing_twice(loop: VirtualLoop) -> None:
    bench = attended(loop, lambda call: call.hang_up())
    await elapse(1)

    bench.leg.end(EndReason.HANGUP)
    bench.leg.end(EndReason.HANGUP)
    await elapse(1)

    assert names(bench) == ["Ended", "Gone"]
    await bench.close()

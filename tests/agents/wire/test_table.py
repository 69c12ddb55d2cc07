"""Every wire protocol under the same tests, each with a peer of its own on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from gateway.leg.leg import Ended, EndReason
from gateway.media.resample import resample
from gateway.media.tone import tone_level_dbfs
from gateway.net.agent_connection import MAX_AUDIO_WAITING
from tests.agents.wire.peer import Peer, peers
from tests.media.sound import Pcm, tone
from tests.support.agent_peer import WireBench, in_call, until

pytestmark = [pytest.mark.real, pytest.mark.beside]

Make = Callable[[], Peer]

EVERY = [pytest.param(make, id=name) for name, make in peers().items()]


def having(*what: str) -> list[object]:
    """The protocols that have words for all of it."""
    return [pytest.param(make, id=name) for name, make in peers().items() if {*what} <= make().can]


def audible(pcm: Pcm) -> Pcm:
    """From the first sound to the last."""
    sounds = np.flatnonzero(np.abs(pcm.astype(np.int32)) > 50)
    return pcm[sounds[0] : sounds[-1] + 1] if len(sounds) else pcm[:0]


async def said(peer: Peer, bench: WireBench, pcm: Pcm, chunk_bytes: int | None = None) -> Pcm:
    """Let the agent say something, and the person hear it: what was heard."""
    before = bench.leg.playout.said_ms
    await peer.say(pcm, chunk_bytes)
    expected = before + len(pcm) * 1000 / peer.rate
    await until(lambda: bench.leg.playout.said_ms > expected - 1)
    return await bench.listens(len(pcm) / peer.rate + 0.2)


@pytest.mark.parametrize("make", EVERY)
async def test_agent_hears_the_caller(make: Make) -> None:
    peer = make()
    async with in_call(peer) as bench:
        await bench.says(tone(1000, 1.0, 8000))
        await until(lambda: len(peer.heard()) >= 0.9 * peer.rate)

        heard = peer.heard()[peer.rate // 10 : peer.rate * 8 // 10]

    assert tone_level_dbfs(heard, peer.rate, 1000) == pytest.approx(-10, abs=1)


@pytest.mark.parametrize("make", EVERY)
async def test_caller_hears_the_agent(make: Make) -> None:
    peer = make()
    async with in_call(peer) as bench:
        heard = audible(await said(peer, bench, tone(700, 0.6, peer.rate)))

    assert len(heard) == pytest.approx(4800, abs=160)
    assert tone_level_dbfs(heard[800:4000], 8000, 700) == pytest.approx(-10, abs=1)


@pytest.mark.parametrize("chunk_bytes", [2, 77, 1001, 100_000])
@pytest.mark.parametrize("make", EVERY)
async def test_chunks_of_any_size_sound_the_same(make: Make, chunk_bytes: int) -> None:
    seconds = 0.06 if chunk_bytes == 2 else 0.4
    peer = make()
    async with in_call(peer) as bench:
        heard = audible(await said(peer, bench, tone(700, seconds, peer.rate), chunk_bytes))

    wanted = audible(resample(tone(700, seconds, peer.rate), peer.rate, 8000))
    assert len(heard) == pytest.approx(len(wanted), abs=24)
    middle = heard[80:-80]
    assert tone_level_dbfs(middle, 8000, 700) == pytest.approx(-10, abs=1)


@pytest.mark.parametrize("make", having("digits"))
async def test_agent_is_told_of_keys_in_order(make: Make) -> None:
    peer = make()
    async with in_call(peer) as bench:
        bench.presses("15*#0")

        await until(lambda: len(peer.digits) == 5)

    assert "".join(peer.digits) == "15*#0"


@pytest.mark.parametrize("make", having("marks"))
async def test_marks_come_when_what_was_said_before_them_was_played(make: Make) -> None:
    peer = make()
    async with in_call(peer) as bench:
        await peer.say(tone(700, 0.2, peer.rate))
        await peer.mark("a")
        await peer.say(tone(700, 0.2, peer.rate))
        await peer.mark("b")
        await until(lambda: bench.leg.playout.said_ms > 375)
        await bench.listens(0.1)
        assert peer.marks == []
        await bench.listens(0.2)
        await until(lambda: len(peer.marks) == 1)
        await bench.listens(0.2)
        await until(lambda: len(peer.marks) == 2)

    assert peer.marks == [("a", "played"), ("b", "played")]


@pytest.mark.parametrize("make", having("clear"))
async def test_agent_that_clears_is_silent_at_once_and_speaks_anew(make: Make) -> None:
    peer = make()
    async with in_call(peer) as bench:
        await peer.say(tone(700, 2.0, peer.rate))
        await until(lambda: bench.leg.playout.said_ms > 1900)
        await bench.listens(0.5)
        await peer.clear()
        await until(lambda: bench.leg.playout.queued_ms == 0)
        rest = await bench.listens(0.5)
        again = audible(await said(peer, bench, tone(700, 0.3, peer.rate)))

    assert len(audible(rest)) <= 40 + 8  # the 5 ms in which it fades
    assert len(again) == pytest.approx(2400, abs=160)


@pytest.mark.parametrize("kind", range(6))
@pytest.mark.parametrize("make", EVERY)
async def test_f19_one_wrong_message_ends_nothing(make: Make, kind: int) -> None:
    peer = make()
    if kind >= peer.garbage_kinds:
        pytest.skip("it knows fewer kinds of garbage")
    async with in_call(peer) as bench:
        await peer.garbage(kind)
        heard = audible(await said(peer, bench, tone(700, 0.3, peer.rate)))

        assert not bench.all(Ended)
    assert len(heard) == pytest.approx(2400, abs=320)


@pytest.mark.parametrize("make", EVERY)
async def test_f18_slow_reader_misses_the_oldest_and_delays_nobody(make: Make) -> None:
    peer = make()
    async with in_call(peer) as bench:
        peer.stop_reading()
        await asyncio.sleep(0.02)
        for _ in range(10):
            await bench.says(tone(1000, 60.0, 8000))
            if bench.notes("slow"):
                break
        heard = audible(await said(peer, bench, tone(700, 0.3, peer.rate)))

        assert bench.notes("slow")
        assert not bench.all(Ended)
        peer.drop()  # which would read nothing of a goodbye either
    assert len(heard) == pytest.approx(2400, abs=160)
    assert MAX_AUDIO_WAITING * 20 <= 2000


@pytest.mark.parametrize("make", EVERY)
async def test_f18_agent_whose_connection_drops_is_there_again(make: Make) -> None:
    peer = make()
    async with in_call(peer) as bench:
        await peer.say(tone(700, 2.0, peer.rate))
        await until(lambda: bench.leg.playout.said_ms > 1900)
        await bench.listens(0.5)

        peer.drop()
        await peer.connected()
        await until(lambda: bool(bench.notes("restored")))
        stale = await bench.listens(0.3)
        heard = audible(await said(peer, bench, tone(900, 0.3, peer.rate)))

        assert bench.notes("restored")[0]["after_ms"] < 1000
    assert len(audible(stale)) <= 40 + 8  # the 5 ms in which it fades
    assert tone_level_dbfs(heard[400:2000], 8000, 900) == pytest.approx(-10, abs=1)


@pytest.mark.parametrize("make", having("hang_up"))
async def test_agent_that_hangs_up_is_heard_to_its_end(make: Make) -> None:
    peer = make()
    async with in_call(peer) as bench:
        await peer.say(tone(700, 0.4, peer.rate))
        await until(lambda: bench.leg.playout.said_ms > 375)
        await peer.hang_up()
        heard = np.zeros(0, np.int16)
        async with asyncio.timeout(5):
            while not bench.all(Ended):
                heard = np.concatenate((heard, await bench.listens(0.02)))
                await asyncio.sleep(0.002)

    assert bench.all(Ended)[0].reason is EndReason.HANGUP
    assert len(audible(heard)) == pytest.approx(3200, abs=160)

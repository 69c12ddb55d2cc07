"""From the wire to the mix and back: one RTP stream; nothing is lost, said twice, or jumps."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.codec import OPUS, PCMU, Codec
from gateway.media.g711 import MU_LAW
from gateway.media.hub import Hub
from gateway.media.playout import Playout
from gateway.media.tone import tone_level_dbfs
from gateway.net.media import TransportState
from tests.leg.peer import StreamBench
from tests.media.parties import Talker
from tests.media.sound import Pcm, speechlike, tone
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

WIRE = {"ann": 1.0}
MIX = {"ann": 1.0, "bob": 1.0}
PHASES = 12
"Half a second each, one after the other in the wire and in the mix."


async def switch(bench: StreamBench, hub: Hub, ann: Talker, other: dict[str, float]) -> None:
    """Ann speaks all the time; `phone` hears her alone, and beside others, in turn."""
    bob = Talker(np.zeros(1600, np.int16))
    for number in range(PHASES * 25):
        if number % 25 == 0:
            hub.route({"phone": WIRE if number % 50 == 0 else other})
        # Everybody's clock is somewhere else in the 20 ms.
        await elapse(0.013)
        hub.push("ann", ann.next())
        await elapse(0.004)
        hub.push("bob", bob.next())
        await elapse(0.003)
        hub.tick(bench.loop.time())


def hub_with(bench: StreamBench) -> Hub:
    bench.stream.on_state(TransportState.CONNECTED)
    hub = Hub()
    hub.join("phone", listener=bench.stream)
    hub.join("ann")
    hub.join("bob")
    return hub


def sent_by(bench: StreamBench) -> Pcm:
    return np.concatenate([MU_LAW.decode(packet.payload) for packet in bench.transport.packets])


def said_by(talker: Talker) -> Pcm:
    return np.concatenate([MU_LAW.decode(payload) for payload in talker.payloads])


def continuous(bench: StreamBench, ticks: int) -> None:
    """Numbers and timestamps go on, as fast as time does."""
    packets = bench.transport.packets
    assert set(np.diff([packet.sequence for packet in packets])) == {1}
    assert set(np.diff([packet.timestamp for packet in packets])) == {ticks}
    assert len({packet.ssrc for packet in packets}) == 1
    assert len(packets) == pytest.approx(PHASES * 25, abs=2)


@in_virtual_time
async def test_all_samples_arrive_once_on_the_wire_and_in_the_mix(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    noise = np.random.default_rng(5).normal(0, 3000, 8000 * 7).astype(np.int16)
    ann = Talker(noise)

    await switch(bench, hub_with(bench), ann, MIX)

    sent, said = sent_by(bench), said_by(ann)[: len(sent_by(bench))]
    assert (sent == said).all()
    continuous(bench, 160)
    await bench.close()


@in_virtual_time
async def test_words_of_an_agent_go_on_through_the_changes(loop: VirtualLoop) -> None:
    bench = StreamBench(loop)
    hub = hub_with(bench)
    agent = Playout()
    hub.join("agent", playout=agent)
    words = np.random.default_rng(6).normal(0, 3000, 8000 * 7).astype(np.int16)
    words = MU_LAW.decode(MU_LAW.encode(words))
    agent.say_pcm(words, 8000)
    silent = Talker(np.zeros(1600, np.int16))
    other = {**MIX, "agent": 1.0}

    for number in range(PHASES * 25):
        if number % 25 == 0:
            heard = {"ann": 1.0, "agent": 1.0} if number % 50 == 0 else other
            hub.route({"phone": heard})
        await elapse(0.013)
        hub.push("ann", silent.next())
        hub.push("bob", silent.next())
        await elapse(0.007)
        hub.tick(bench.loop.time())

    sent = sent_by(bench)
    spoken = sent[sent != 0]
    assert len(spoken) > 5.8 * 8000
    assert (spoken == words[words != 0][: len(spoken)]).all()
    continuous(bench, 160)
    await bench.close()


@pytest.mark.parametrize(("codec", "ticks"), [(PCMU, 160), (OPUS, 960)])
@in_virtual_time
async def test_nothing_jumps_when_the_other_is_put_on_hold_and_back(
    loop: VirtualLoop, codec: Codec, ticks: int
) -> None:
    bench = StreamBench(loop, codec)
    hub = hub_with(bench)
    music = Playout()
    music.say_pcm(tone(700, 10.0, 8000, -20), 8000)
    hub.join("music", playout=music)
    ann = Talker(speechlike(0.4, 8000))

    await switch(bench, hub, ann, {"music": 1.0})

    continuous(bench, ticks)
    if codec is PCMU:
        on_hold = sent_by(bench)[-24 * 160 :]
        assert tone_level_dbfs(on_hold, 8000, 700) == pytest.approx(-20, abs=0.5)
    await bench.close()

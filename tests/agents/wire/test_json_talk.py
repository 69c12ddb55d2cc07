"""What agents of Twilio's kind, and Vonage's, are told in a call, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from gateway.codec import OPUS
from gateway.leg.leg import Ended, EndReason, OtherSideAsked
from gateway.media.coding import make_encoder
from gateway.media.opus import OpusDecoder
from gateway.media.tone import tone_level_dbfs
from tests.agents.wire.json_peer import JsonPeer
from tests.agents.wire.peer_exotel import ExotelPeer
from tests.agents.wire.peer_plivo import PlivoPeer
from tests.agents.wire.peer_telnyx import TelnyxPeer
from tests.agents.wire.peer_twilio import TwilioPeer
from tests.agents.wire.peer_vonage import VonagePeer
from tests.media.sound import tone
from tests.support.agent_peer import WireBench, in_call, until

pytestmark = [pytest.mark.real, pytest.mark.beside]


async def listen_until(bench: WireBench, claim: Callable[[], bool]) -> None:
    """Let the person listen until something holds."""
    async with asyncio.timeout(5):
        while not claim():
            await bench.listens(0.02)
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("make", [TwilioPeer, TelnyxPeer, ExotelPeer])
async def test_clear_sends_back_all_marks_that_wait(make: type[JsonPeer]) -> None:
    peer = make()
    async with in_call(peer) as bench:
        await peer.say(tone(700, 0.2, peer.rate))
        await peer.mark("a")
        await peer.say(tone(700, 1.0, peer.rate))
        await peer.mark("b")
        await peer.mark("c")
        await until(lambda: bench.leg.playout.said_ms > 1100)
        await bench.listens(0.4)
        await until(lambda: len(peer.marks) == 1)

        await peer.clear()
        await until(lambda: len(peer.marks) == 3)

    assert peer.marks == [("a", "played"), ("b", "cleared"), ("c", "cleared")]


@pytest.mark.parametrize(
    ("make", "word"), [(VonagePeer, "websocket:cleared"), (PlivoPeer, "clearedAudio")]
)
async def test_clear_is_confirmed_and_its_marks_do_not_come_back(
    make: type[VonagePeer | PlivoPeer], word: str
) -> None:
    peer = make()
    async with in_call(peer) as bench:
        await peer.say(tone(700, 1.0, peer.rate))
        await peer.mark("a")
        await until(lambda: bench.leg.playout.said_ms > 900)

        await peer.clear()
        await until(lambda: any(told["event"] == word for told in peer.told))
        await peer.mark("b")
        await listen_until(bench, lambda: bool(peer.marks))

    assert peer.marks == [("b", "played")]


@pytest.mark.parametrize("make", [TwilioPeer, TelnyxPeer, ExotelPeer, PlivoPeer, VonagePeer])
async def test_mark_with_nothing_before_it_comes_back_at_once(
    make: type[JsonPeer | VonagePeer],
) -> None:
    peer = make()
    async with in_call(peer) as bench:
        await peer.mark("a")
        await listen_until(bench, lambda: bool(peer.marks))

    assert peer.marks == [("a", "played")]


async def test_what_twilio_passes_over_ends_nothing_however_often_it_comes() -> None:
    peer = TwilioPeer()
    async with in_call(peer) as bench:
        for _ in range(5):
            for kind in range(3):
                await peer.garbage(kind)
        await peer.say(tone(700, 0.2, peer.rate))
        await until(lambda: bench.leg.playout.said_ms > 190)

        assert not bench.all(Ended)
        assert [note["what"] for note in bench.notes("ignored")] == [
            "a message that is not a JSON object",
            "a binary message",
            "a mark without a name",
        ]


async def test_f19_telnyx_is_told_what_was_wrong_and_given_up_at_the_third() -> None:
    peer = TelnyxPeer()
    async with in_call(peer) as bench:
        for _ in range(3):
            await peer.garbage(0)
        await listen_until(bench, lambda: bool(bench.all(Ended)))
        await until(lambda: peer.told[-1]["event"] == "stop")

    assert len(peer.errors) == 3
    assert bench.all(Ended)[0].reason is not EndReason.HANGUP


async def test_agent_of_telnyx_hears_and_says_opus() -> None:
    peer = TelnyxPeer("OPUS")
    encoder = make_encoder(OPUS, rate=16_000)
    async with in_call(peer) as bench:
        await bench.says(tone(400, 0.6, 8000))
        await until(lambda: peer.packets() >= 30)
        for piece in np.split(tone(700, 0.6, 16_000), 30):
            await peer.say_payload(encoder.encode(piece))
        await until(lambda: bench.leg.playout.said_ms > 590)
        said = await bench.listens(0.6)
        decoder = OpusDecoder(16_000)
        heard = np.concatenate([decoder.decode(packet) for packet in peer.payloads()])
    encoder.close()

    assert tone_level_dbfs(heard[4800:8000], 16_000, 400) == pytest.approx(-10, abs=1)
    assert tone_level_dbfs(said[1600:4000], 8000, 700) == pytest.approx(-10, abs=1)


async def test_agent_of_vonage_that_goes_away_has_hung_up() -> None:
    peer = VonagePeer()
    async with in_call(peer) as bench:
        assert peer.socket is not None
        await peer.socket.close(1001)
        await listen_until(bench, lambda: bool(bench.all(Ended)))

    assert bench.all(Ended)[0].reason is EndReason.HANGUP
    assert peer.connections == 1


async def test_f18_agent_of_twilio_that_goes_away_is_connected_with_again() -> None:
    peer = TwilioPeer()
    async with in_call(peer) as bench:
        first = peer.told[-1]["start"]
        assert peer.socket is not None
        await peer.socket.close(1001)
        await until(lambda: bool(bench.notes("restored")))
        await until(lambda: peer.told[-1]["start"] != first)

        again = peer.told[-1]["start"]

    assert again["callSid"] == first["callSid"]
    assert again["streamSid"] != first["streamSid"]


@pytest.mark.parametrize(
    ("track", "inbound_dbfs", "outbound_dbfs"),
    [("inbound_track", -10, -120), ("outbound_track", -120, -10), ("both_tracks", -10, -10)],
)
async def test_stream_of_twilio_listens_to_the_tracks_it_asks_for(
    track: str, inbound_dbfs: float, outbound_dbfs: float
) -> None:
    peer = TwilioPeer(track)
    async with in_call(peer) as bench:
        for asked in bench.all(OtherSideAsked):  # as a call does
            bench.hub.join("other-side", listener=asked.listener, counts=False)
            bench.hub.route(
                {
                    "agent": {"person": 1.0},
                    "person": {"agent": 1.0},
                    "other-side": {"agent": 1.0},
                }
            )
        bench.leg.playout.say_pcm(tone(900, 0.6, 8000), 8000)
        for _ in range(3):
            await bench.says(tone(400, 0.2, 8000))
            await bench.listens(0.2)
        await until(lambda: len(peer.heard()) >= 4000)

        inbound, outbound = peer.heard_on("inbound"), peer.heard_on("outbound")

    assert tone_level_dbfs(inbound[400:3600], 8000, 400) == pytest.approx(inbound_dbfs, abs=1)
    assert tone_level_dbfs(outbound[400:3600], 8000, 900) == pytest.approx(outbound_dbfs, abs=1)
    assert tone_level_dbfs(inbound, 8000, 900) < -60
    assert tone_level_dbfs(outbound, 8000, 400) < -60


async def test_agent_of_twilio_is_told_when_the_caller_has_gone() -> None:
    peer = TwilioPeer()
    async with in_call(peer) as bench:
        bench.leg.end(EndReason.HANGUP)
        await until(lambda: peer.told[-1]["event"] == "stop")

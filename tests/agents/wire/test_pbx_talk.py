"""What the protocols of PBXs have of their own, with agents that have the habits of real ones."""

from __future__ import annotations

import asyncio
import json
import struct
from base64 import b64encode

import numpy as np
import pytest

from gateway.leg.leg import Ended, EndReason, OtherSideAsked
from gateway.media.tone import tone_level_dbfs
from tests.agents.wire.peer_asterisk import AsteriskPeer
from tests.agents.wire.peer_audiosocket import AudioSocketPeer
from tests.agents.wire.peer_jambonz import JambonzPeer
from tests.media.sound import Pcm, tone
from tests.support.agent_peer import in_call, until

pytestmark = [pytest.mark.real, pytest.mark.beside]

KINDS = {0x10: 8000, 0x11: 12_000, 0x12: 16_000, 0x13: 24_000, 0x14: 32_000, 0x15: 44_100}
KINDS |= {0x16: 48_000, 0x17: 96_000, 0x18: 192_000}


def audible(pcm: Pcm) -> Pcm:
    sounds = np.flatnonzero(np.abs(pcm.astype(np.int32)) > 50)
    return pcm[sounds[0] : sounds[-1] + 1] if len(sounds) else pcm[:0]


# ---- AudioSocket


@pytest.mark.parametrize(("kind", "rate"), KINDS.items())
async def test_audiosocket_agent_may_speak_at_every_rate(kind: int, rate: int) -> None:
    peer = AudioSocketPeer()
    async with in_call(peer) as bench:
        audio = tone(700, 0.4, rate).astype("<i2").tobytes()
        size = rate // 50 * 2
        pieces = (audio[at : at + size] for at in range(0, len(audio), size))
        frames = b"".join(struct.pack(">BH", kind, len(piece)) + piece for piece in pieces)
        assert peer._writer is not None
        peer._writer.write(frames)
        await until(lambda: bench.leg.playout.said_ms > 390)

        heard = audible(await bench.listens(0.6))

    assert len(heard) == pytest.approx(3200, abs=80)
    assert tone_level_dbfs(heard[400:2800], 8000, 700) == pytest.approx(-10, abs=1)


async def test_audiosocket_agent_learns_the_calls_uuid_and_its_end() -> None:
    peer = AudioSocketPeer()
    async with in_call(peer) as bench:
        token = bench.leg._call.facts.token
    await until(lambda: peer.has_hung_up)

    assert [uuid.hex() for uuid in peer.uuids] == [token]


async def test_f19_audiosocket_agent_that_sends_wrong_kinds_three_times_is_given_up() -> None:
    peer = AudioSocketPeer()
    async with in_call(peer) as bench:
        for _ in range(3):
            await peer.garbage(0)

        async with asyncio.timeout(5):
            while not bench.all(Ended):
                await bench.listens(0.1)
                await asyncio.sleep(0.002)

        assert len(bench.notes("wrong")) == 3
        assert bench.all(Ended)[0].reason is EndReason.AGENT_LOST


# ---- chan_websocket


async def test_asterisk_app_is_stopped_and_let_go_on() -> None:
    peer = AsteriskPeer()
    async with in_call(peer) as bench:
        await peer.say(tone(700, 55.0, 8000))
        await until(lambda: "MEDIA_XOFF" in peer.told)
        while bench.leg.playout.queued_ms > 47_000:
            await bench.listens(0.5)
        await bench.says(np.zeros(160, np.int16))
        await until(lambda: "MEDIA_XON" in peer.told)

    assert [each for each in peer.told if each.startswith("MEDIA_X")] == ["MEDIA_XOFF", "MEDIA_XON"]


async def test_asterisk_app_pauses_goes_on_and_is_told_what_was_played() -> None:
    peer = AsteriskPeer()
    async with in_call(peer) as bench:
        await peer.say(tone(700, 0.4, 8000))
        await until(lambda: bench.leg.playout.said_ms > 390)
        await peer.send("PAUSE_MEDIA")
        await until(lambda: bench.leg.playout.is_paused)
        silence = await bench.listens(0.5)
        assert "MEDIA_BUFFERING_COMPLETED said" not in peer.told
        await peer.send("CONTINUE_MEDIA")
        await until(lambda: not bench.leg.playout.is_paused)
        heard = audible(await bench.listens(0.6))
        await until(lambda: "MEDIA_BUFFERING_COMPLETED said" in peer.told)

    assert not audible(silence).any()
    assert len(heard) == pytest.approx(3200, abs=80)


async def test_asterisk_app_that_flushes_waits_for_no_mark() -> None:
    peer = AsteriskPeer()
    async with in_call(peer) as bench:
        await peer.say(tone(700, 1.0, 8000))
        await peer.mark("flushed")
        await until(lambda: bench.leg.playout.said_ms > 990)
        await peer.clear()
        await peer.mark("after")
        await until(lambda: bench.leg.playout.queued_ms == 0)
        await bench.listens(0.1)
        await until(lambda: bool(peer.marks))

    assert peer.marks == [("after", "played")]


# ---- jambonz and FreeSWITCH


async def test_jambonz_app_hears_itself_on_the_right_when_its_caller_does() -> None:
    peer = JambonzPeer()
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
        await peer.say(tone(700, 0.5, 8000))
        await until(lambda: bench.leg.playout.said_ms > 490)
        for _ in range(20):
            await bench.listens(0.02)
            await bench.says(tone(1000, 0.02, 8000))
        await until(lambda: len(peer.heard()) >= 20 * 160)
        itself = peer.heard_itself()

    assert tone_level_dbfs(itself[400:2800], 8000, 700) == pytest.approx(-10, abs=1)
    assert tone_level_dbfs(itself[400:2800], 8000, 1000) < -50


class FilePeer(JambonzPeer):
    """It speaks in files, or pieces of JSON, and is told when they were played."""

    subprotocols = ()

    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.settings = {"streaming": False, **settings}
        self.told: list[dict[str, object]] = []

    async def on_message(self, message: str | bytes) -> None:
        if isinstance(message, str):
            told = json.loads(message)
            if "callSid" in told:
                self.begin()
            else:
                self.told.append(told)


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 32_000, 48_000, 64_000])
async def test_jambonz_file_of_every_rate_is_played_and_told(rate: int) -> None:
    peer = FilePeer()
    async with in_call(peer) as bench:
        audio = tone(700, 0.4, rate).astype("<i2").tobytes()
        await peer._tell(
            "playAudio",
            audioContentType="raw",
            sampleRate=rate,
            audioContent=b64encode(audio).decode(),
            id="welcome",
        )
        await until(lambda: bench.leg.playout.said_ms > 390)
        heard = audible(await bench.listens(0.6))
        await until(lambda: bool(peer.told))

    assert len(heard) == pytest.approx(3200, abs=80)
    assert tone_level_dbfs(heard[400:2800], 8000, 700) == pytest.approx(-10, abs=1)
    (done,) = peer.told
    assert done["type"] == "playDone"
    assert done["data"] == {
        "id": "welcome",
        "playbackMilliseconds": pytest.approx(400, abs=3),
        "interrupted": False,
    }


async def test_audio_stream_agent_that_is_interrupted_and_speaks_anew() -> None:
    peer = FilePeer(dialect="audio_stream", sample_rate=16_000)

    async def say(seconds: float) -> None:
        audio = tone(700, seconds, 16_000).astype("<i2").tobytes()
        for at in range(0, len(audio), 8192):
            piece = b64encode(audio[at : at + 8192]).decode()
            await peer._tell("streamAudio", audioDataType="raw", sampleRate=16_000, audioData=piece)

    async with in_call(peer) as bench:
        await say(2.0)
        await until(lambda: bench.leg.playout.said_ms > 1900)
        await bench.listens(0.5)
        await peer._tell("killAudio")
        await until(lambda: bench.leg.playout.queued_ms == 0)
        await bench.listens(0.1)
        assert peer.told == []
        before = bench.leg.playout.said_ms
        await say(0.4)
        await until(lambda: bench.leg.playout.said_ms > before + 390)
        heard = audible(await bench.listens(0.6))
        await until(lambda: bool(peer.told))
        await asyncio.sleep(0.02)

    assert len(heard) == pytest.approx(3200, abs=80)
    assert peer.told == [{"type": "playoutDone"}]

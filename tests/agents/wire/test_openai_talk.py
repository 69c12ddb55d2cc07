"""Talks with a model over a real socket: what was heard of it, and no transcoding of G.711."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from gateway.media.g711 import MU_LAW
from tests.agents.wire.peer_openai import OpenAiPeer, peer
from tests.media.sound import tone
from tests.support.agent_peer import in_call, until

pytestmark = [pytest.mark.real, pytest.mark.beside]


def greeting(model: OpenAiPeer) -> OpenAiPeer:
    model.settings = {**model.settings, "greeting": True}
    return model


async def test_model_is_asked_to_speak_first() -> None:
    model = greeting(peer())

    async with in_call(model):
        await asyncio.wait_for(model.asked.wait(), 5)

    assert [told["type"] for told in model.told] == ["session.update", "response.create"]


@pytest.mark.parametrize("audio", ["pcm", "pcmu", "pcma"])
@pytest.mark.parametrize("heard_s", [0.02, 0.5, 1.36])
async def test_model_is_told_the_very_sample_that_was_heard(audio: str, heard_s: float) -> None:
    model = peer(audio)
    async with in_call(model) as bench:
        await model.begin_response()
        await model.deltas(tone(700, 2.0, model.rate))
        await until(lambda: bench.leg.playout.said_ms > 1995)
        heard = await bench.listens(heard_s)

        await model.hear_speech()
        await until(lambda: len(model.truncated) == 1)

    assert len(heard) == heard_s * 8000
    assert model.truncated == [("item_1", round(heard_s * 1000))]


async def test_rest_of_what_was_interrupted_is_heard_by_nobody() -> None:
    model = peer()
    async with in_call(model) as bench:
        await model.begin_response()
        await model.deltas(tone(700, 1.0, model.rate))
        await until(lambda: bench.leg.playout.said_ms > 995)
        await bench.listens(0.2)

        event = {"audio_start_ms": 100, "item_id": "item_caller"}
        await model.event("input_audio_buffer.speech_started", **event)
        await model.deltas(tone(700, 1.0, model.rate))  # was on its way
        await model.finish()
        await until(lambda: len(model.truncated) == 1)
        await model.say(tone(900, 0.2, model.rate))
        await until(lambda: bench.leg.playout.queued_ms > 195)

        assert bench.leg.playout.queued_ms < 205


async def test_g711_reaches_the_model_as_the_caller_sent_it() -> None:
    model = peer("pcmu")
    said = tone(1000, 0.4, 8000)
    async with in_call(model) as bench:
        await bench.says(said)
        await until(lambda: len(model.heard()) >= len(said))

        heard = model.heard()

    assert np.array_equal(heard[: len(said)], MU_LAW.decode(MU_LAW.encode(said)))


async def test_a39_tool_that_is_none_is_answered_to_the_model() -> None:
    model = peer()
    async with in_call(model):
        await model.call("launch_rocket", {}, "call_1")
        await asyncio.wait_for(model.asked.wait(), 5)

    (answer,) = (told for told in model.told if told["type"] == "conversation.item.create")
    assert json.loads(answer["item"]["output"])["done"] is False

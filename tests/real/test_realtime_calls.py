"""A program written for OpenAI's SIP webhook, with OpenAI's own client, run against the gateway."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, ConflictError, NotFoundError

from gateway.media.tone import tone_level_dbfs
from tests.agents.wire.peer_openai import OpenAiPeer, peer
from tests.media.sound import tone
from tests.support.agent_peer import until
from tests.support.gateway import Gateway, running_gateway
from tests.support.web_server import Asked, http, running_web_server

pytestmark = [pytest.mark.real]

SECRET = "whsec_" + base64.b64encode(b"thirty-two bytes of randomness..").decode()
ECHO = "+15550100"

AGENTS = """
[[agent]]
name = "front"
protocol = "realtime-webhook"
url = "{hook}"
token_env = "HOOK_SECRET"

[[agent]]
name = "model"
protocol = "openai"
url = "{model}"
token_env = "MODEL_KEY"

[agent.settings]
greeting = false

[[route]]
from = "api"
match = "front"
to = ["agent:front"]

[[route]]
from = "agent:front"
match = "+*"
to = ["trunk:lab"]
"""


class Program:
    """What the customer has written."""

    def __init__(self, gateway: Gateway, model: OpenAiPeer) -> None:
        self.gateway = gateway
        self.model = model
        self.offers: list[Asked] = []
        self.client = AsyncOpenAI(
            api_key="sk-none", base_url=f"{gateway.url}/v1", webhook_secret=SECRET, max_retries=0
        )

    async def call(self) -> Any:
        """The lab's echo calls in; what the webhook says of it, by OpenAI's package."""
        status, _ = await self.gateway.request("POST", "/v1/calls", {"from": ECHO, "to": "front"})
        assert status == 200
        await until(lambda: len(self.offers) == 1)
        offer = self.offers[0]
        return self.client.webhooks.unwrap(offer.body, offer.headers)


@asynccontextmanager
async def running_program(directory: Path) -> AsyncIterator[Program]:
    offers: list[Asked] = []

    def answer(asked: Asked) -> bytes:
        offers.append(asked)
        return http()

    model = peer("pcmu")
    async with running_web_server(answer) as web, model.running() as url:
        more = AGENTS.format(hook=web.url("/hook"), model=url)
        secrets = {"HOOK_SECRET": SECRET, "MODEL_KEY": "sk-model"}
        async with running_gateway(directory, more, environment=secrets) as gateway:
            program = Program(gateway, model)
            program.offers = offers
            async with program.client:
                yield program


async def test_accepted_call_is_taken_by_a_model_with_the_programs_session(tmp_path: Path) -> None:
    async with running_program(tmp_path) as program:
        model, calls = program.model, program.client.realtime.calls
        event = await program.call()

        await calls.accept(event.data.call_id, type="realtime", instructions="You are Ann.")
        await model.connected()
        await until(lambda: model.appended > 20)
        await model.say(tone(1000, 1.0, 8000))
        await until(lambda: tone_level_dbfs(model.heard()[-4000:], 8000, 1000) > -20)

        assert model.session["instructions"] == "You are Ann."
        assert model.session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
        assert model.authorizations == ["Bearer sk-model"]
        with pytest.raises(ConflictError):
            await calls.accept(event.data.call_id, type="realtime")
        await calls.hangup(event.data.call_id)
        await program.gateway.wait_for_calls(0)
        with pytest.raises(NotFoundError):
            await calls.hangup(event.data.call_id)


async def test_program_hears_the_session_and_has_a_word_in_it(tmp_path: Path) -> None:
    async with running_program(tmp_path) as program:
        model, client = program.model, program.client
        event = await program.call()
        tool = {"type": "function", "name": "find_order", "parameters": {"type": "object"}}
        await client.realtime.calls.accept(event.data.call_id, type="realtime", tools=[tool])

        async with client.realtime.connect(call_id=event.data.call_id) as sideband:
            await sideband.response.create(response={"instructions": "Say hello."})
            await model.connected()
            await asyncio.wait_for(model.asked.wait(), 5)
            await model.say(tone(1000, 0.3, 8000))
            heard = await hear_until(sideband, "output_audio_buffer.stopped")
            await model.call("find_order", {"number": 7}, "call_7")
            heard += await hear_until(sideband, "response.function_call_arguments.done")
            await sideband.conversation.item.create(
                item={"type": "function_call_output", "call_id": "call_7", "output": "sent"}
            )
            await until(lambda: any(told.get("item") for told in model.told))
            await client.realtime.calls.hangup(event.data.call_id)
            await program.gateway.wait_for_calls(0)

        asked = [told for told in model.told if told["type"] == "response.create"]
        assert [told["response"] for told in asked] == [{"instructions": "Say hello."}]
        (output,) = [told["item"] for told in model.told if told.get("item")]
        assert output["output"] == "sent"
        # The first is there already where the program was quicker than the model.
        assert next(kind for kind in heard[:2] if kind != "session.created") == "session.updated"
        assert "output_audio_buffer.started" in heard
        assert "response.output_audio.delta" not in heard


async def hear_until(sideband: Any, kind: str) -> list[str]:
    """The types of what comes, up to the first of a kind."""
    heard: list[str] = []
    async with asyncio.timeout(5):
        while kind not in heard:
            heard.append((await sideband.recv()).type)
    return heard


async def test_referred_call_goes_where_the_routes_lead(tmp_path: Path) -> None:
    async with running_program(tmp_path) as program:
        model, calls = program.model, program.client.realtime.calls
        event = await program.call()
        await calls.accept(event.data.call_id, type="realtime")
        await model.connected()

        await calls.refer(event.data.call_id, target_uri=f"tel:{ECHO}")

        async with asyncio.timeout(10):
            while not await _talks_with_the_lab(program.gateway):
                await asyncio.sleep(0.05)


async def _talks_with_the_lab(gateway: Gateway) -> bool:
    """Whether the agent is gone and both parties are of the lab."""
    (call,) = (await gateway.get("/v1/calls"))["calls"]
    up = [leg["target"] for leg in call["legs"] if leg["state"] == "up"]
    return up == ["trunk:lab", "trunk:lab"]


async def test_rejected_call_ends(tmp_path: Path) -> None:
    async with running_program(tmp_path) as program:
        event = await program.call()

        await program.client.realtime.calls.reject(event.data.call_id, status_code=486)

        await program.gateway.wait_for_calls(0)
        assert program.model.connections == 0

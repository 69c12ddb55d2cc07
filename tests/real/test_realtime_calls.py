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

pytestmark = [pytest.mark.real, pytest.mark.beside]

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

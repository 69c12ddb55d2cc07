"""An agent is let into a call of Chromium and baresip: who hears whom, by the tone of each."""

from __future__ import annotations

import asyncio
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from tests.real.conftest import Sounds
from tests.real.test_baresip import TRUNK
from tests.real.test_page_call import calling_page
from tests.support.audio import Recording, record_page
from tests.support.baresip import NUMBER, Baresip, free_sip_port, running_baresip
from tests.support.browser import Browsers
from tests.support.gateway import Gateway, running_gateway

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

PAGE_HZ, PHONE_HZ, AGENT_HZ = 440, 700, 1700
HEARD_DBFS = -30.0
"Louder is heard; each says its tone at -12."

SETTLE_S, LISTEN_S = 0.5, 0.6
"What is heard first after a change is not measured: buffers of the two ends play on."

AGENT = """
[[agent]]
name = "tone"
protocol = "python"
class = "tone_agent:Tone"

[[route]]
from = "api"
match = "coach"
to = ["agent:tone"]
"""

CODE = f'''
import asyncio, json
from pathlib import Path
import numpy as np
from gateway.media.tone import sine, tone_level_dbfs

class Tone:
    """Says one tone, and writes down which it hears."""

    async def on_call(self, call):
        speaking = asyncio.create_task(self.speak(call))
        pieces = []
        try:
            async for frame in call.hear():
                pieces.append(frame.pcm(8000))
                if len(pieces) == 10:
                    pcm = np.concatenate(pieces)
                    pieces.clear()
                    tones = {PAGE_HZ}, {PHONE_HZ}
                    levels = {{hz: tone_level_dbfs(pcm, 8000, hz) for hz in tones}}
                    Path("heard.part").write_text(json.dumps(levels))
                    Path("heard.part").rename("heard.json")
        finally:
            speaking.cancel()

    async def speak(self, call):
        said = sine({AGENT_HZ}, 0.2, 8000, -12.0)
        while True:
            while call.queued_ms < 800:
                await call.say(said, 8000)
            await asyncio.sleep(0.1)
'''

WHO = {PAGE_HZ: "page", PHONE_HZ: "phone", AGENT_HZ: "agent"}


class Scene:
    """The call, with the agent in it."""

    def __init__(self, gateway: Gateway, page: Page, phone: Baresip, directory: Path) -> None:
        self._gateway = gateway
        self._page = page
        self._phone = phone
        self._directory = directory
        self.call = ""
        self.agent = ""

    async def post(self, path: str, body: Any) -> Any:
        status, told = await self._gateway.request("POST", f"/v1/calls/{self.call}/{path}", body)
        assert status in (200, 202), (status, told)
        return told

    async def begin(self) -> None:
        """Let the agent in, and wait until it is there."""
        (call,) = (await self._gateway.get("/v1/calls"))["calls"]
        self.call = call["id"]
        (self.agent,) = (await self.post("legs", {"to": "coach"}))["legs"]
        async with asyncio.timeout(10):
            while await self.state() != "up":
                await asyncio.sleep(0.05)

    async def state(self) -> str:
        told = await self._gateway.get(f"/v1/calls/{self.call}")
        (state,) = [leg["state"] for leg in told["legs"] if leg["id"] == self.agent]
        return str(state)

    async def leave(self) -> None:
        """Let the agent go."""
        path = f"/v1/calls/{self.call}/legs/{self.agent}"
        await self._gateway.request("DELETE", path)
        await asyncio.sleep(0.3)
        (self._directory / "heard.json").write_text("{}")

    async def lay(self, **part: Any) -> None:
        await self.post("route", {"legs": [{"leg": self.agent, **part}]})

    async def who_hears_whom(self) -> dict[str, set[str]]:
        """By their tones, a moment from now."""
        await asyncio.sleep(SETTLE_S)
        (_, page), phone = await asyncio.gather(
            record_page(self._page, LISTEN_S), self._phone.listen(LISTEN_S)
        )
        levels = json.loads((self._directory / "heard.json").read_text())
        return {
            "page": voices(page),
            "phone": voices(phone),
            "agent": {WHO[int(hz)] for hz, level in levels.items() if level > HEARD_DBFS},
        }


def voices(heard: Recording) -> set[str]:
    return {who for hz, who in WHO.items() if heard.level_at_dbfs(hz) > HEARD_DBFS}


def expect(page: str, phone: str, agent: str) -> dict[str, set[str]]:
    """Who hears whom, in words."""
    return {"page": {*page.split()}, "phone": {*phone.split()}, "agent": {*agent.split()}}


async def test_agent_joins_either_leg_in_turn(
    tmp_path: Path, browsers: Browsers, sounds: Sounds
) -> None:
    port = free_sip_port()
    (tmp_path / "tone_agent.py").write_text(textwrap.dedent(CODE))

    async with (
        running_gateway(tmp_path, TRUNK.format(port=port, codec="PCMU") + AGENT) as gateway,
        running_baresip(tmp_path / "baresip", port=port, says_hz=PHONE_HZ) as phone,
    ):
        async with calling_page(browsers, gateway, NUMBER, sounds.tone) as page:
            scene = Scene(gateway, page, phone, tmp_path)
            await scene.begin()
            told = {"listen": await scene.who_hears_whom()}
            for preset in ("whisper", "alone"):
                for side in ("caller", "callee"):
                    await scene.lay(preset=preset, side=side)
                    told[f"{preset} {side}"] = await scene.who_hears_whom()
            await scene.lay(preset="speak")
            told["speak"] = await scene.who_hears_whom()
            await scene.lay(preset="take-over", side="callee")
            told["take-over"] = await scene.who_hears_whom()
            await scene.lay(preset="hand-back", summary={"text": "done"})
            told["hand-back"] = await scene.who_hears_whom()
            await scene.leave()
            told["left"] = await scene.who_hears_whom()
        await gateway.wait_for_calls(0)

    assert told == {
        "listen": expect("phone", "page", "page phone"),
        "whisper caller": expect("phone agent", "page", "page phone"),
        "whisper callee": expect("phone", "page agent", "page phone"),
        "alone caller": expect("agent", "", "page"),
        "alone callee": expect("", "agent", "phone"),
        "speak": expect("phone agent", "page agent", "page phone"),
        "take-over": expect("agent", "page agent", "page"),
        "hand-back": expect("phone", "page", "page phone"),
        "left": expect("phone", "page", ""),
    }

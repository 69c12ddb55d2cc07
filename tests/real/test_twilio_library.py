"""Programs written for Twilio, with Twilio's own library, on calls of ours over the lab's trunk."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.agents.wire import peer_twilio
from tests.support.audio import Recording
from tests.support.gateway import ROOT, Gateway, running_gateway
from tests.support.phone import calling
from tests.support.web_server import Asked, WebServer, running_web_server, twiml

pytestmark = [pytest.mark.real]

PYTHON = ROOT / ".venv-pipecat/bin/python"
CUSTOMER = ROOT / "tests/twilio/customer.py"
ACCOUNT = "AC" + 32 * "5"
TOKEN = "token-of-the-tests"
EVENTS = ["initiated", "ringing", "answered", "completed"]

CONFIG = """
[twilio]
account_sid = "{account}"
auth_token_env = "TWILIO_AUTH_TOKEN"

[[agent]]
name = "ivr"
protocol = "twiml"
url = "{url}"

max_transfers = 5

[agent.settings]
status_callback = "{callback}"
trusted_urls = ["{bot}"]

[[agent]]
name = "bot"
protocol = "twilio"
url = "{bot}"

[[route]]
from = "sip"
match = "bot"
to = ["agent:bot"]

[[route]]
from = "sip"
match = "ivr"
to = ["agent:ivr"]

[[route]]
from = ["agent:ivr", "agent:bot"]
match = "+*"
to = ["trunk:lab"]
"""


class Customer:
    """The program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def __call__(self, do: str, **wish: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **wish}).encode() + b"\n")
        return json.loads(await asyncio.wait_for(self._process.stdout.readline(), 20))

    async def status(self, sid: str, status: str) -> dict[str, Any]:
        """Until the call is so."""
        async with asyncio.timeout(15):
            while True:
                call: dict[str, Any] = await self("fetch", sid=sid)
                if call["status"] == status:
                    return call
                await asyncio.sleep(0.1)


@dataclass
class Scene:
    gateway: Gateway
    web: WebServer
    customer: Customer


@asynccontextmanager
async def scene(
    directory: Path, answer: Callable[[Asked], bytes], bot: str = "ws://127.0.0.1:9"
) -> AsyncIterator[Scene]:
    """A gateway, the web server of its agent, and a program.

    Args:
        bot: the WebSocket of an agent of Media Streams.
    """
    async with running_web_server(answer) as web:
        config = CONFIG.format(
            account=ACCOUNT, url=web.url("/voice"), callback=web.url("/ended"), bot=bot
        )
        environment = {"TWILIO_AUTH_TOKEN": TOKEN}
        async with running_gateway(directory, config, environment=environment) as gateway:
            process = await asyncio.create_subprocess_exec(
                str(PYTHON),
                str(CUSTOMER),
                gateway.url,
                ACCOUNT,
                TOKEN,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                yield Scene(gateway, web, Customer(process))
            finally:
                process.kill()
                await process.wait()


WAITS = "<Pause length='60'/>"


@pytest.mark.twiml("REST: create a call by Url, StatusCallback with its events in order")
async def test_library_creates_follows_and_completes_a_call(tmp_path: Path) -> None:
    async with scene(tmp_path, lambda _: twiml(WAITS)) as s:
        web = s.web
        created = await s.customer(
            "create",
            to="+15550103",
            from_="+15550001",
            url=web.url("/out"),
            status_callback=web.url("/status"),
            status_callback_event=EVENTS,
        )
        live = await s.customer.status(created["sid"], "in-progress")
        (voice,) = await web.wait(1, "/out")
        completed = await s.customer("update", sid=created["sid"], status="completed")
        ended = await s.customer.status(created["sid"], "completed")
        told = await web.wait(4, "/status")
        valid = [
            await s.customer(
                "validate",
                url=web.url(asked.target),
                fields=asked.form,
                signature=asked.headers["x-twilio-signature"],
            )
            for asked in [voice, *told]
        ]
        await s.gateway.wait_for_calls(0)

    assert created["status"] == "queued"
    assert created["sid"].startswith("CA")
    assert (created["from"], created["to"]) == ("+15550001", "+15550103")
    assert created["direction"] == "outbound-api"
    assert abs(created["created"] - time.time()) < 60
    assert live["started"] is not None
    assert completed["sid"] == ended["sid"]
    assert ended["ended"] >= ended["started"]
    assert voice.form["CallSid"] == created["sid"]
    assert [asked.form["CallStatus"] for asked in told] == [
        "initiated",
        "ringing",
        "in-progress",
        "completed",
    ]
    assert [asked.form["SequenceNumber"] for asked in told] == ["0", "1", "2", "3"]
    assert "CallDuration" in told[-1].form
    assert valid == [True] * 5


@pytest.mark.twiml("REST: Timeout; statuses busy, no-answer, canceled")
async def test_library_learns_why_nobody_answered(tmp_path: Path) -> None:
    async with scene(tmp_path, lambda _: twiml(WAITS)) as s:
        wish = {"from_": "+15550001", "url": s.web.url("/out")}
        busy = await s.customer("create", to="+15550486", **wish)
        nobody = await s.customer("create", to="+15550109", timeout=2, **wish)
        canceled = await s.customer("create", to="+15550109", **wish)
        await s.customer.status(canceled["sid"], "ringing")
        await s.customer("update", sid=canceled["sid"], status="canceled")

        ended = [
            await s.customer.status(busy["sid"], "busy"),
            await s.customer.status(nobody["sid"], "no-answer"),
            await s.customer.status(canceled["sid"], "canceled"),
        ]

    assert [call["duration"] for call in ended] == ["0", "0", "0"]
    assert not s.web.of("/out")


@pytest.mark.twiml("REST: create a call by Twiml, update it by Twiml and by Url")
async def test_library_gives_a_live_call_other_twiml(tmp_path: Path) -> None:
    async with scene(tmp_path, lambda _: twiml(WAITS)) as s:
        created = await s.customer(
            "create",
            to="+15550100",
            from_="+15550001",
            twiml=f"<Response>{WAITS}</Response>",
        )
        sid = created["sid"]
        await s.customer.status(sid, "in-progress")
        first = await s.customer(
            "update", sid=sid, twiml=f"<Response><Redirect>{s.web.url('/a')}</Redirect></Response>"
        )
        await s.web.wait(1, "/a")
        second = await s.customer("update", sid=sid, url=s.web.url("/b"), method="GET")
        (asked,) = await s.web.wait(1, "/b")
        await s.customer("update", sid=sid, twiml="<Response><Hangup/></Response>")
        await s.customer.status(sid, "completed")
        gone = await s.customer("update", sid=sid, status="completed")

    assert first["status"] == second["status"] == "in-progress"
    assert asked.method == "GET"
    assert asked.query["CallSid"] == sid
    assert (gone["status"], gone["code"]) == (404, 20404)


@pytest.mark.twiml("REST: fetch and list, also of calls that came in")
async def test_library_sees_and_ends_a_call_that_came_in(tmp_path: Path) -> None:
    async with scene(tmp_path, lambda _: twiml("<Gather timeout='60'/>")) as s:
        async with calling(s.gateway.sip_port, "ivr") as phone:
            (voice,) = await s.web.wait(1, "/voice")
            sid = voice.form["CallSid"]
            live = await s.customer.status(sid, "in-progress")
            listed = await s.customer("list", status="in-progress", limit=5)
            await s.customer("update", sid=sid, status="completed")
            await asyncio.wait_for(phone.ended.wait(), 10)
        (ended,) = await s.web.wait(1, "/ended")

    assert live["direction"] == "inbound"
    assert [call["sid"] for call in listed] == [sid]
    assert ended.form["CallStatus"] == "completed"


@pytest.mark.twiml("REST: errors 20404, 21215, 21201, 20003")
async def test_library_is_refused_as_it_is_by_twilio(tmp_path: Path) -> None:
    async with scene(tmp_path, lambda _: twiml(WAITS)) as s:
        unknown = await s.customer("fetch", sid="CA" + 32 * "0")
        forbidden = await s.customer(
            "create", to="no-such-name", from_="+15550001", url=s.web.url("/out")
        )
        inside = await s.customer(
            "create", to="+15550100", from_="+15550001", url="http://169.254.169.254/latest"
        )
        machine = await s.customer(
            "create",
            to="+15550100",
            from_="+15550001",
            url=s.web.url("/out"),
            record=True,
        )

    assert (unknown["status"], unknown["code"]) == (404, 20404)
    assert (forbidden["status"], forbidden["code"]) == (400, 21215)
    assert (inside["status"], inside["code"]) == (400, 21205)
    assert (machine["status"], machine["code"]) == (400, 20001)


async def test_a_caller_goes_through_stream_menu_and_dial(tmp_path: Path) -> None:
    bot = peer_twilio.peer()
    async with bot.running() as url:

        def answer(asked: Asked) -> bytes:
            return twiml(
                {
                    "/voice": f"<Connect action='/menu'><Stream url='{url}' statusCallback='/s'>"
                    "<Parameter name='k' value='v'/></Stream></Connect>",
                    "/menu": "<Gather numDigits='1' action='/dial'/>",
                    "/dial": "<Dial action='/dialled'>+15550110</Dial>",
                }.get(asked.path, "")
            )

        async with (
            scene(tmp_path, answer, url) as s,
            calling(s.gateway.sip_port, "ivr") as phone,
        ):
            await bot.connected()
            phone.say_tone(600)
            async with asyncio.timeout(10):
                while len(bot.heard()) < 8000:
                    await asyncio.sleep(0.05)
            await bot.hang_up()
            await s.web.wait(1, "/menu")
            phone.media.press("5")
            (keys,) = await s.web.wait(1, "/dial")
            (dialled,) = await s.web.wait(1, "/dialled")
            await asyncio.wait_for(phone.ended.wait(), 10)
            streams = await s.web.wait(2, "/s")

    start = bot.told[1]["start"]
    assert start["accountSid"] == ACCOUNT
    assert start["callSid"] == keys.form["CallSid"]
    assert start["customParameters"]["k"] == "v"
    assert [asked.form["StreamEvent"] for asked in streams] == ["stream-started", "stream-stopped"]
    assert streams[0].form["StreamSid"] == start["streamSid"]
    heard = Recording(bot.heard()[-4000:] / 32768, 8000)
    assert heard.peak_hz == pytest.approx(600, abs=5)
    assert keys.form["Digits"] == "5"
    assert dialled.form["DialCallStatus"] == "completed"
    assert int(dialled.form["DialCallDuration"]) in (2, 3, 4)


@pytest.mark.twiml("REST: an agent of protocol twilio transfers its call by Twiml, and hangs up")
async def test_an_agent_of_media_streams_transfers_by_the_library(tmp_path: Path) -> None:
    bot = peer_twilio.peer()
    async with (
        bot.running() as url,
        scene(tmp_path, lambda _: twiml(""), url) as s,
        calling(s.gateway.sip_port, "bot") as phone,
    ):
        phone.say_tone(600)
        await bot.connected()
        start = bot.told[1]["start"]
        updated = await s.customer(
            "update", sid=start["callSid"], twiml="<Response><Dial>+15550100</Dial></Response>"
        )
        dialled = await until_parties(s.gateway, 3)
        # The echo, by way of the trunk: the bot has gone.
        before = len(phone.media.heard)
        await phone.media.wait_for_packets(100, after=before)
        echo = phone.media.recording(before + 50)
        await s.customer("update", sid=start["callSid"], twiml=f"<Response>{WAITS}</Response>")
        alone = await until_parties(s.gateway, 2)
        await s.customer("update", sid=start["callSid"], status="completed")
        await asyncio.wait_for(phone.ended.wait(), 10)

    assert start["accountSid"] == ACCOUNT
    assert echo.peak_hz == pytest.approx(600, abs=5)
    assert updated["status"] == "in-progress"
    assert bot.told[-1]["event"] == "stop"
    assert "trunk:lab" in dialled
    assert "trunk:lab" not in alone


async def until_parties(gateway: Gateway, count: int) -> list[str]:
    """Until so many are in the one call; who they are."""
    async with asyncio.timeout(10):
        while True:
            (call,) = (await gateway.get("/v1/calls"))["calls"]
            there = [leg["target"] for leg in call["legs"] if leg["state"] == "up"]
            if len(there) == count:
                return there
            await asyncio.sleep(0.05)

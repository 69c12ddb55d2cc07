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

from tests.support.gateway import ROOT, Gateway, running_gateway
from tests.support.phone import calling
from tests.support.web_server import Asked, WebServer, running_web_server, twiml

pytestmark = [pytest.mark.real, pytest.mark.beside]

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

[agent.settings]
status_callback = "{callback}"

[[route]]
from = "sip"
match = "ivr"
to = ["agent:ivr"]

[[route]]
from = "agent:ivr"
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
async def scene(directory: Path, answer: Callable[[Asked], bytes]) -> AsyncIterator[Scene]:
    """A gateway, the web server of its agent, and a program."""
    async with running_web_server(answer) as web:
        config = CONFIG.format(account=ACCOUNT, url=web.url("/voice"), callback=web.url("/ended"))
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

"""Keys of other makes over real sockets: SIPp's recordings, baresip, linphone. Each counts once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.baresip import Registration, free_sip_port, running_baresip
from tests.support.events import CallEvents, call_events
from tests.support.gateway import Gateway, running_gateway
from tests.support.linphone import running_linphone
from tests.support.sipp import running_sipp

# One gateway for the whole file.
pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

RECORDINGS = Path("/usr/share/sip-tester")
KEYS = "0123456789*#"
NAMES = {"*": "star", "#": "pound"}

PAUSE_MS = 300
"Between the beginnings of two of SIPp's presses, which last 140 ms."

MORE = """
[[trunk]]
name = "by-info"
uri = "sip:127.0.0.1:{port}"
dtmf = "info"
probe_s = 0

[[user]]
name = "ann"
password_env = "PASSWORD_OF_ANN"
allow_md5 = true

[[agent]]
name = "waits"
protocol = "script"
step = [{{ answer = true }}, {{ wait = inf }}]

[[route]]
from = ["api", "sip", "user"]
match = "waits"
to = ["agent:waits"]

[[route]]
from = ["api", "user"]
match = "+1888*"
to = ["trunk:by-info"]
"""


class Site:
    """A gateway, what it tells, and the port of a telephone that takes keys by INFO."""

    def __init__(self, gateway: Gateway, events: CallEvents, port: int, directory: Path) -> None:
        self.gateway, self.events, self.port, self.directory = gateway, events, port, directory

    def pressed(self, leg: str, phase: str = "start") -> str:
        """The keys that a party pressed, as subscribers were told."""
        told = [event for event in self.events.all if event["type"] == "call.digit"]
        return "".join(e["digit"] for e in told if (e["leg"], e["phase"]) == (leg, phase))

    async def until_pressed(self, leg: str, keys: str) -> None:
        """Until a party has pressed so many keys, and released them."""
        async with asyncio.timeout(20):
            while len(self.pressed(leg, "end")) < len(keys):
                await asyncio.sleep(0.02)

    async def legs(self) -> list[dict[str, Any]]:
        """The parties of the call that began last."""
        started = [event for event in self.events.all if event["type"] == "call.started"][-1]
        legs: list[dict[str, Any]] = (await self.gateway.get(f"/v1/calls/{started['call']}"))[
            "legs"
        ]
        return legs


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Gateway, int]]:
    port = free_sip_port()
    directory = tmp_path_factory.mktemp("gateway")
    more, secret = MORE.format(port=port), {"PASSWORD_OF_ANN": "an apple"}
    async with running_gateway(directory, more, environment=secret) as gateway:
        yield gateway, port


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: tuple[Gateway, int], tmp_path: Path) -> AsyncIterator[Site]:
    gateway, port = running
    async with call_events(gateway) as events:
        yield Site(gateway, events, port, tmp_path)


def recordings(keys: str) -> str:
    """SIPp's steps that play a press each."""
    steps = ""
    for key in keys:
        file = RECORDINGS / f"dtmf_2833_{NAMES.get(key, key)}.pcap"
        steps += f'<nop><action><exec play_pcap_audio="{file}"/></action></nop>\n'
        steps += f'<pause milliseconds="{PAUSE_MS}"/>\n'
    return steps


async def test_recorded_presses_are_heard_once_each_by_both_sides(site: Site) -> None:
    keys = KEYS + "0"  # the first once more: the same packets again

    async with running_sipp(
        site.directory / "sipp",
        "presses_keys",
        target=site.gateway.sip_port,
        values={"to": "+15550104", "keys": recordings(keys)},
    ) as sipp:
        await site.events.next("call.answered")
        caller, lab = (leg["id"] for leg in await site.legs())
        await site.until_pressed(lab, keys)
        await sipp.finish()

    assert site.pressed(caller) == site.pressed(caller, "end") == keys
    # The lab has got them all: it presses each back.
    assert site.pressed(lab) == keys
    qualities = [leg["quality"] for leg in await site.legs()]
    assert [(q["digits_received"], q["digits_sent"]) for q in qualities] == [(13, 13)] * 2


async def test_recorded_presses_cross_a_trunk_as_tones(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path, lab_trunk='dtmf = "inband"') as gateway,
        call_events(gateway) as events,
        running_sipp(
            tmp_path / "sipp",
            "presses_keys",
            target=gateway.sip_port,
            values={"to": "+15550104", "keys": recordings("17#")},
        ),
    ):
        site = Site(gateway, events, 0, tmp_path)
        await events.next("call.answered")
        caller, lab = (leg["id"] for leg in await site.legs())
        await site.until_pressed(lab, "17#")
        rungs = [e for e in events.all if e["type"] == "leg.signalled" and e["leg"] == lab]

    assert site.pressed(caller) == "17#"
    # Each was heard in the audio by the lab, which presses it back by INFO.
    assert site.pressed(lab) == "17#"
    assert [rung["text"] for rung in rungs if not rung["sent"]].count("INFO") == 3


async def test_baresip_gets_keys_by_info_also_those_behind_its_number(site: Site) -> None:
    async with running_baresip(
        site.directory / "baresip", port=site.port, says_hz=440, number="+18880000"
    ) as baresip:
        status, call = await site.gateway.request(
            "POST", "/v1/calls", {"from": "waits", "to": "+18880000w4#"}
        )
        await site.events.next("call.answered")
        phone = next(leg["id"] for leg in await site.legs() if leg["kind"] == "sip")
        await baresip.wait_for_log("received DTMF: '#'")
        await baresip.wait_for_audio(0.3)
        await site.gateway.request(
            "POST", f"/v1/calls/{call['id']}/digits", {"digits": "2", "leg": phone}
        )
        await baresip.wait_for_log("received DTMF: '2'")
        legs = await site.legs()
        await site.gateway.request("DELETE", f"/v1/calls/{call['id']}")

    assert status == 200
    assert call["to"] == "+18880000"
    assert baresip.log.count("received DTMF:") == 3
    assert [leg["quality"]["digits_sent"] for leg in legs if leg["kind"] == "sip"] == [3]


async def test_linphone_presses_keys_by_info(site: Site) -> None:
    registration = Registration("ann", "an apple", f"127.0.0.1:{site.gateway.sip_port}")

    async with running_linphone(
        site.directory / "linphone", registration=registration, says_hz=600, keys_by_info=True
    ) as linphone:
        async with asyncio.timeout(10):
            while not (await site.gateway.get("/v1/users"))["users"][0]["contacts"]:
                await asyncio.sleep(0.05)
        await linphone.say("call sip:waits@" + registration.registrar)
        await linphone.wait_for_log("Media streams established")
        phone = (await site.legs())[0]["id"]
        for count, key in enumerate("42#", 1):
            await linphone.say(key)
            await site.until_pressed(phone, "42#"[:count])
        await linphone.say("terminate")
        await site.events.next("call.ended")

    assert site.pressed(phone) == "42#"
    rungs = [e for e in site.events.all if e["type"] == "leg.signalled" and not e["sent"]]
    assert [rung["text"] for rung in rungs].count("INFO") == 3

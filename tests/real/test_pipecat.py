"""pipecat's own transports and serializers, unmodified, in processes of their own, against us.

The bot (`tests/pipecat/bot.py`) is what people write with pipecat; keys tell it what to do. All
six protocols are talked in at the same time, once; each test looks at one side of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from tests.support.audio import Recording, report
from tests.support.gateway import ROOT, Gateway, free_port, running_gateway
from tests.support.phone import Phone, calling
from tests.support.rtp import decode_pcmu

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

PYTHON = ROOT / ".venv-pipecat/bin/python"
BOT = ROOT / "tests/pipecat/bot.py"
IS_INSTALLED = PYTHON.exists()
TIMEOUT_S = 20.0

ACCOUNT = "AC" + 32 * "7"
TOKEN = "token-of-the-tests"

LEVEL_DBFS = -12.0
"Of every tone, the caller's and the bot's."

PROTOCOLS = {
    "twilio": f'account_sid = "{ACCOUNT}"',
    "telnyx": 'stream_codec = "PCMA"',
    "vonage": "",
    "plivo": "",
    "exotel": "",
    "pipecat": "",
}
"Each with its settings."

SERVERS = ("telephony", "vonage", "pipecat")
"Processes: one for all that come to pipecat's FastAPI transport, and one for each other server."

TWILIO = f"""
[twilio]
account_sid = "{ACCOUNT}"
auth_token_env = "TWILIO_AUTH_TOKEN"
"""

AGENT = """
[[agent]]
name = "{name}"
protocol = "{name}"
url = "ws://127.0.0.1:{port}/ws"
token_env = "TWILIO_AUTH_TOKEN"

[agent.settings]
{settings}

[[route]]
from = "sip"
match = "{name}"
to = ["agent:{name}"]
"""


class Bot:
    """A running bot, and what it told."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.told: list[dict[str, Any]] = []
        self._process = process
        self._folder = folder
        self._changed = asyncio.Event()

    @property
    def log(self) -> str:
        return (self._folder / "bot.log").read_text()

    def heard(self, kind: str) -> Recording:
        """All that it was sent in a call."""
        pcm = np.frombuffer((self._folder / f"{kind}.pcm").read_bytes(), "<i2")
        return Recording(pcm / 32768, 16_000)

    async def until(self, **what: str) -> dict[str, Any]:
        """Until it has told this; what it told."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                for told in self.told:
                    if what.items() <= told.items():
                        return told
                self._changed.clear()
                await self._changed.wait()

    async def read(self) -> None:
        """Read what it tells, to its end."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.told.append(json.loads(line))
            self._changed.set()


@asynccontextmanager
async def running_bot(kind: str, folder: Path, port: int, base_url: str) -> AsyncIterator[Bot]:
    """Start a bot, and end it."""
    environment = {
        **os.environ,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_BASE_URL": base_url,
    }
    with (folder / "bot.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *(PYTHON, BOT, kind, str(port), folder),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=environment,
        )
    bot = Bot(process, folder)
    reading = asyncio.ensure_future(bot.read())
    try:
        await bot.until(event="ready")
        yield bot
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await reading


@dataclass
class Talk:
    """What became of one call with a bot."""

    bot: Bot
    connected: dict[str, Any]
    digits: str = ""
    heard_by_bot: Recording = field(default_factory=lambda: Recording(np.zeros(0), 16_000))
    said: Recording = field(default_factory=lambda: Recording(np.zeros(0), 8000))
    "What the phone heard from the key on that made the bot speak for a second."
    stopped_after_s: float = 0.0
    "From when the bot interrupted itself to the last packet of its voice."
    was_long: Recording = field(default_factory=lambda: Recording(np.zeros(0), 8000))
    "What it said of twenty seconds, and the silence after."
    hung_up: bool = False


async def talk(kind: str, bot: Bot, phone: Phone) -> Talk:
    """Have the bot listen, speak, be interrupted, and hang up."""
    media = phone.media
    phone.say_tone(440)
    found = Talk(bot, await bot.until(event="connected", kind=kind))
    await media.wait_for_packets(1)

    media.press("45#")
    await bot.until(kind=kind, digit="#")
    before = len(media.heard)
    media.press("1")
    await bot.until(kind=kind, digit="1")
    await media.wait_for_packets(75, after=before)
    found.said = media.recording(before)

    before = len(media.heard)
    media.press("2")
    await bot.until(kind=kind, digit="2")
    await media.wait_for_packets(60, after=before)
    found.heard_by_bot = bot.heard(kind)
    media.press("3")
    interrupted = await bot.until(kind=kind, digit="3")
    await media.wait_for_packets(40, after=len(media.heard))
    found.was_long = media.recording(before)
    loud = [packet.at for packet in media.heard[before:] if level_of(packet.payload) > -40]
    found.stopped_after_s = loud[-1] - interrupted["at"]
    found.digits = "".join(told["digit"] for told in bot.told if is_digit(told, kind))

    media.press("9")
    await bot.until(kind=kind, event="ended")
    try:
        await asyncio.wait_for(phone.ended.wait(), 3)
        found.hung_up = True
    except TimeoutError:
        pass
    return found


def clearest(heard: Recording, hz: float) -> Recording:
    """The half second with the most of a tone: keys are silence, and busy machines late."""
    starts = np.arange(0, heard.seconds - 0.5, 0.1)
    parts = [heard.part(start, start + 0.5) for start in starts]
    return max(parts, key=lambda part: part.level_at_dbfs(hz))


def is_digit(told: dict[str, Any], kind: str) -> bool:
    return told.get("kind") == kind and "digit" in told


def level_of(payload: bytes) -> float:
    return Recording(decode_pcmu(payload), 8000).level_dbfs


@dataclass
class Site:
    """All talks, and the gateway's word on them."""

    talks: dict[str, Talk]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    assert IS_INSTALLED, "make .venv-pipecat/pipecat.stamp"
    folders = {name: tmp_path_factory.mktemp(name) for name in ("gateway", *SERVERS)}
    ports = {name: free_port(socket.SOCK_STREAM) for name in SERVERS}
    server = {name: name if name in SERVERS else "telephony" for name in PROTOCOLS}
    sections = TWILIO + "".join(
        AGENT.format(name=name, port=ports[server[name]], settings=settings)
        for name, settings in PROTOCOLS.items()
    )
    environment = {"TWILIO_AUTH_TOKEN": TOKEN}
    async with AsyncExitStack() as stack:
        running = running_gateway(folders["gateway"], sections, environment=environment)
        gateway = await stack.enter_async_context(running)
        starting = (
            stack.enter_async_context(running_bot(name, folders[name], ports[name], gateway.url))
            for name in SERVERS
        )
        bots = dict(zip(SERVERS, await asyncio.gather(*starting), strict=True))
        talks = await asyncio.gather(
            *(call(gateway, name, bots[server[name]]) for name in PROTOCOLS)
        )
        yield Site(dict(zip(PROTOCOLS, talks, strict=True)))


async def call(gateway: Gateway, name: str, bot: Bot) -> Talk:
    async with calling(gateway.sip_port, name) as phone:
        return await talk(name, bot, phone)


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_pipecat_knows_who_calls(site: Site, name: str) -> None:
    connected = site.talks[name].connected

    assert connected["kind"] == name


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_audio_goes_both_ways_as_loud_as_it_was(
    site: Site, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = site.talks[name]
    said, heard = clearest(talk.said, 1000), clearest(talk.heard_by_bot, 440)

    report(
        capsys,
        f"{name}: the bot hears {heard.peak_hz:.1f} Hz at {heard.level_dbfs:.2f} dBFS,"
        f" the phone {said.peak_hz:.1f} Hz at {said.level_dbfs:.2f} dBFS",
    )
    assert heard.peak_hz == pytest.approx(440, abs=1)
    assert heard.level_dbfs == pytest.approx(LEVEL_DBFS, abs=0.5)
    assert said.peak_hz == pytest.approx(1000, abs=1)
    assert said.level_dbfs == pytest.approx(LEVEL_DBFS, abs=0.5)


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_keys_reach_the_bot_once_and_in_order(site: Site, name: str) -> None:
    assert site.talks[name].digits == "45#123"


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_an_interruption_stops_what_the_bot_says(
    site: Site, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = site.talks[name]

    report(capsys, f"{name}: silent {talk.stopped_after_s * 1000:.0f} ms after the interruption")
    long = talk.was_long
    assert clearest(long, 600).peak_hz == pytest.approx(600, abs=1)
    assert long.part(long.seconds - 0.3, long.seconds).level_dbfs < -60
    assert talk.stopped_after_s < 0.3


@pytest.mark.parametrize("name", PROTOCOLS)
async def test_the_bot_ends_the_call(site: Site, name: str) -> None:
    assert site.talks[name].hung_up


async def test_the_bot_hangs_up_by_the_rest_interface_of_twilio(site: Site) -> None:
    talk = site.talks["twilio"]

    assert f"Successfully terminated Twilio call {talk.connected['call']}" in talk.bot.log

"""The lab's numbers that do something to a call that is up, and its registrar, as a page has them.

Chromium calls over the gateway's trunk; SIP and RTP cross real sockets.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from gateway.lab.lab import LAB_PASSWORD, LAB_USER
from gateway.media.tone import MELODY_HZ
from tests.real.test_page_call import leave
from tests.support.audio import Recording, record_page
from tests.support.browser import open_page
from tests.support.certificates import Authority
from tests.support.gateway import Gateway, running_gateway

# One browser, and where nothing else is asked for one gateway, for the whole file.
pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

REGISTERS = f'username = "{LAB_USER}"\npassword_env = "LAB_PASSWORD"\nregister = true'
RIGHT = {"LAB_PASSWORD": LAB_PASSWORD}

SAID_HZ = 440.0


@asynccontextmanager
async def page_that_calls(gateway: Gateway, to: str, browser: Browser) -> AsyncIterator[Page]:
    """A page that says a tone and has called a number."""
    url = f"{gateway.url}/?to={to.replace('+', '%2B')}&processing=off"
    async with open_page(browser, url) as page:
        await page.get_by_role("button", name="Call", exact=True).click()
        yield page
        await leave(page)


async def until_said(page: Page, words: str, timeout_s: float = 15.0) -> None:
    """Until the page says in words how the call goes."""
    await expect(page.locator("#state")).to_have_text(re.compile(words), timeout=timeout_s * 1000)


async def listen(page: Page, seconds: float) -> Recording:
    """What the page hears."""
    _, heard = await record_page(page, seconds)
    return heard


def melody_dbfs(heard: Recording) -> float:
    """The level of the loudest note: each fades, and where two meet neither fills the whole."""
    pieces = [heard.part(0.1 * at, 0.1 * at + 0.2) for at in range(int(heard.seconds / 0.1) - 1)]
    return max(piece.level_at_dbfs(hz) for piece in pieces for hz in MELODY_HZ)


def echoes(heard: Recording) -> bool:
    return heard.level_at_dbfs(SAID_HZ) > -30 and abs(heard.peak_hz / SAID_HZ - 1) < 0.01


async def legs_of(gateway: Gateway) -> list[list[str]]:
    """Whom each call of the gateway joins now."""
    calls = (await gateway.get("/v1/calls"))["calls"]
    return [[leg["target"] for leg in c["legs"] if leg["state"] == "up"] for c in calls]


# ---- numbers


async def test_0105_echoes_holds_and_echoes_again(
    gateway_of_file: Gateway, browser: Browser
) -> None:
    gateway = gateway_of_file
    async with page_that_calls(gateway, "+15550105", browser) as page:
        await until_said(page, "In call")
        await asyncio.sleep(0.5)
        before = await listen(page, 0.6)
        await until_said(page, "On hold")
        words = await page.locator("#detail").inner_text()
        # What was said before is still being echoed, and played, for a moment.
        held = (await listen(page, 1.2)).part(0.5, 1.2)
        await until_said(page, "In call")
        await asyncio.sleep(0.5)
        after = await listen(page, 1.0)
        ladder = await page.locator("#ladder").inner_text()

    assert echoes(before)
    assert "put you on hold" in words
    assert melody_dbfs(held) > -45
    assert held.level_at_dbfs(SAID_HZ) < -45
    assert echoes(after)
    assert ladder.count("INVITE") == 3
    await gateway.wait_for_calls(0)


async def test_0106_brings_the_caller_to_the_echo_by_refer(
    gateway_of_file: Gateway, browser: Browser
) -> None:
    gateway = gateway_of_file
    async with page_that_calls(gateway, "+15550106", browser) as page:
        await until_said(page, "In call")
        silent = await listen(page, 0.6)
        await expect(page.locator("#ladder")).to_contain_text("REFER")
        await asyncio.sleep(1.0)
        heard = await listen(page, 2.0)
        state = await page.locator("#state").inner_text()
        legs = await legs_of(gateway)
        ladder = await page.locator("#ladder").inner_text()

    assert silent.level_at_dbfs(SAID_HZ) < -45
    assert heard.peak_hz == pytest.approx(SAID_HZ, rel=0.01)
    assert heard.level_at_dbfs(SAID_HZ) > -30
    assert state == "In call"
    assert legs == [["browser", "trunk:lab"]]
    assert ladder.index("REFER") < ladder.index("NOTIFY") < ladder.rindex("BYE")
    await gateway.wait_for_calls(0)


async def test_0106_goes_on_without_us_where_transfers_are_not_allowed(
    tmp_path: Path, browser: Browser
) -> None:
    def forbid(text: str) -> str:
        return text.replace("allow_transfer = true", "allow_transfer = false")

    async with (
        running_gateway(tmp_path, edit=forbid) as gateway,
        page_that_calls(gateway, "+15550106", browser) as page,
    ):
        await until_said(page, "In call")
        await until_said(page, "hung up")
        ladder = await page.locator("#ladder").inner_text()

        assert "403" in ladder
        await gateway.wait_for_calls(0)


async def test_0107_falls_silent_and_the_gateway_hangs_up(tmp_path: Path, browser: Browser) -> None:
    async with (
        running_gateway(tmp_path, lab_trunk="media_timeout_s = 5") as gateway,
        page_that_calls(gateway, "+15550107", browser) as page,
    ):
        await until_said(page, "In call")
        await asyncio.sleep(0.5)
        before = await listen(page, 1.0)
        call_id = await page.evaluate("window.phone.gatewayId")
        await until_said(page, "no audio")
        words = await page.locator("#problem").inner_text()
        call = await gateway.get(f"/v1/calls/{call_id}")

        assert echoes(before)
        assert "No audio came from the far end" in words
        assert (call["outcome"]["reason"], call["outcome"]["fault"]) == ("media-timeout", "network")
        # 3 s of echo, 5 s of patience, and it is looked every 2 s.
        assert 8 <= call["talked_s"] <= 11
        await gateway.wait_for_calls(0)


# ---- the registrar


async def registration(gateway: Gateway) -> dict[str, Any]:
    """How the registration with the lab is, once it has been answered."""
    async with asyncio.timeout(10):
        while True:
            (trunk,) = (await gateway.get("/v1/trunks"))["trunks"]
            (found,) = trunk["registrations"]
            if found["last_status"] is not None:
                return dict(found)
            await asyncio.sleep(0.05)


def lab_over(transport: str, directory: Path) -> Callable[[str], str]:
    """Let the lab listen for another transport alone, and the trunk speak it."""
    tls = Authority(directory).options("127.0.0.1")
    shows = f'certificate = "{tls.certificate}"\nkey = "{tls.key}"\n'

    def edit(text: str) -> str:
        text = re.sub(r"(?<=\[lab\]\nlisten = \[\")udp", transport, text)
        text = re.sub(r"(uri = \"sip:127.0.0.1:\d+)", rf"\1;transport={transport}", text)
        if transport == "tls":
            text = text.replace("[lab]\n", f"[lab]\n{shows}")
            text = text.replace("[sip]\n", f'[sip]\nca = "{tls.ca}"\n')
        return text

    return edit


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_gateway_registers_and_is_called(
    tmp_path: Path, browser: Browser, transport: str
) -> None:
    edit = lab_over(transport, tmp_path)
    async with running_gateway(
        tmp_path, lab_trunk=REGISTERS, edit=edit, environment=RIGHT
    ) as gateway:
        known = await registration(gateway)

        async with page_that_calls(gateway, "+15550111", browser) as page:
            await until_said(page, "In call")
            await asyncio.sleep(1.0)
            heard = await listen(page, 2.0)
            legs = await legs_of(gateway)

        assert (known["state"], known["registered"], known["user"]) == (
            "registered",
            True,
            LAB_USER,
        )
        assert known["last_status"] == 200
        assert heard.peak_hz == pytest.approx(SAID_HZ, rel=0.01)
        assert heard.level_at_dbfs(SAID_HZ) > -30
        assert sorted(legs) == [["browser", "trunk:lab"], ["trunk:lab", "agent:echo"]]
        await gateway.wait_for_calls(0)


async def test_wrong_password_is_refused_and_nobody_is_called(
    tmp_path: Path, browser: Browser
) -> None:
    wrong = {"LAB_PASSWORD": "guess"}
    async with running_gateway(tmp_path, lab_trunk=REGISTERS, environment=wrong) as gateway:
        known = await registration(gateway)

        async with page_that_calls(gateway, "+15550111", browser) as page:
            await until_said(page, "Ended")
            text = await page.locator("#problem").inner_text()

        assert not known["registered"]
        assert known["last_status"] == 401
        assert "480" in text
        log = "".join(gateway.log)
        assert "guess" not in log

"""Chromium in a call whose signalling is lost, or whose page is reloaded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.audio import record_page, report
from tests.support.browser import open_page
from tests.support.gateway import Gateway
from tests.support.tcp_path import TcpPath, open_tcp_path

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

PATIENCE_MS = 15_000
"A browser starts a call within a second, but the machine may be busy."

INVITES = """() => [...document.querySelectorAll(".step")].filter(
  (step) => step.dataset.lane === "peer" && step.textContent.endsWith("INVITE")).length"""


@pytest.fixture
def gateway(gateway_of_file: Gateway) -> Gateway:
    return gateway_of_file


@asynccontextmanager
async def calling(browser: Browser, gateway: Gateway) -> AsyncIterator[tuple[Page, TcpPath]]:
    """A page in a call to the lab's echo, and the path of its signalling."""
    async with open_tcp_path(gateway.ports["http"]) as path:
        url = f"http://localhost:{path.port}/?to=%2B15550100&processing=off"
        async with open_page(browser, url) as page:
            page.set_default_timeout(PATIENCE_MS)
            await page.get_by_role("button", name="Call", exact=True).click()
            await in_call(page)
            yield page, path
    await gateway.wait_for_calls(0)


async def in_call(page: Page) -> None:
    await page.wait_for_function("() => phone.state === 'in-call' && phone.path === ''")


async def hears_itself(page: Page) -> None:
    """Until the tone comes back over the trunk."""
    async with asyncio.timeout(PATIENCE_MS / 1000):
        while True:
            _, heard = await record_page(page, 0.5)
            if heard.level_at_dbfs(440) > -40:
                return


async def legs_of(gateway: Gateway) -> list[Any]:
    (call,) = (await gateway.get("/v1/calls"))["calls"]
    return [call["id"], *((leg["id"], leg["state"]) for leg in call["legs"])]


async def hang_up(page: Page) -> None:
    await page.get_by_role("button", name="Hang up").click()


async def test_f16_reloaded_page_is_in_the_same_call_and_nobody_is_invited_again(
    browser: Browser, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    async with calling(browser, gateway) as (page, _):
        await hears_itself(page)
        before, gateway_id = await legs_of(gateway), await page.evaluate("() => phone.gatewayId")
        token = await page.evaluate("() => JSON.parse(sessionStorage.getItem('call')).token")

        for _ in range(2):
            reloaded_at = time.monotonic()
            await page.reload()
            await in_call(page)
            took_s = time.monotonic() - reloaded_at
            await expect(page.locator("#detail")).to_have_text("Back in the call after the reload")

        await hears_itself(page)
        report(capsys, f"reload: in the call again after {1000 * took_s:.0f} ms")
        assert await page.evaluate("() => phone.gatewayId") == gateway_id
        assert await legs_of(gateway) == before
        assert await page.evaluate(INVITES) == 1
        assert token != await page.evaluate("() => JSON.parse(sessionStorage.call).token")
        await hang_up(page)


async def test_f17_media_goes_on_while_there_is_no_signalling(
    browser: Browser, gateway: Gateway
) -> None:
    async with calling(browser, gateway) as (page, path):
        before = await legs_of(gateway)

        path.is_open = False
        path.cut()
        await expect(page.locator("#link-words")).to_have_text("reconnecting")
        await hears_itself(page)
        assert await page.evaluate("() => phone.state") == "in-call"
        path.is_open = True
        await expect(page.locator("#link-words")).to_have_text("connected")

        assert await legs_of(gateway) == before
        await hang_up(page)


async def test_f17_bye_on_a_path_that_swallows_everything_is_said_over_another(
    browser: Browser, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    async with calling(browser, gateway) as (page, path):
        opened = path.opened
        # The media would tell too: here only the word counts.
        await page.evaluate("() => { phone.pc.close = () => {}; }")

        path.swallow()
        hung_up_at = time.monotonic()
        await hang_up(page)
        await gateway.wait_for_calls(0)
        took_s = time.monotonic() - hung_up_at

        report(capsys, f"bye over a dead path: the call has ended after {1000 * took_s:.0f} ms")
        assert path.opened == opened + 1

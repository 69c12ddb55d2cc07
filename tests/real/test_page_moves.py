"""The page on a machine with two links, which come and go: its media, and its signalling."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support import browser as chromium
from tests.support.audio import report, tone, write_wav
from tests.support.browser import BrowserOptions, open_browser, open_page
from tests.support.gateway import Gateway, running_gateway
from tests.support.netns import GATEWAY, TwoLinks, can_make_namespaces
from tests.support.tcp_path import TcpPath, open_tcp_path

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

TALKS = "() => phone.state === 'in-call' && phone.path === '' && !!phone.pc.remoteDescription"

HEARD = """async () => {
  const stats = [...(await phone.pc.getStats()).values()];
  return stats.find((each) => each.type === "inbound-rtp")?.packetsReceived ?? 0;
}"""

INVITES = """() => [...document.querySelectorAll(".step")].filter(
  (step) => step.dataset.lane === "peer" && step.textContent.endsWith("INVITE")).length"""

HEARS = f"(least) => ({HEARD})().then((heard) => heard > least)"


@dataclass(frozen=True)
class Site:
    """The gateway on one machine, Chromium on the other."""

    net: TwoLinks
    gateway: Gateway
    browser: Browser
    path: TcpPath

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[Page]:
        """The page in a call to the lab's echo; both links are up again afterwards."""
        url = f"http://localhost:{self.path.port}/?to=%2B15550100&processing=off"
        try:
            async with open_page(self.browser, url) as page:
                page.set_default_timeout(20_000)
                await page.get_by_role("button", name="Call", exact=True).click()
                await page.wait_for_function(TALKS)
                await hears_more(page)
                yield page
            await self.gateway.wait_for_calls(0, timeout_s=15)
        finally:
            for link in (1, 2):
                self.net.bring_up(link)
                self.net.find(link)


async def hears_more(page: Page) -> None:
    """Until half a second of packets more has come."""
    heard = await page.evaluate(HEARD)
    await page.wait_for_function(HEARS, arg=heard + 25)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    if not can_make_namespaces():
        pytest.skip("network namespaces need root, and a container that allows them")
    directory = tmp_path_factory.mktemp("site")
    async with AsyncExitStack() as stack:
        net = stack.enter_context(TwoLinks())
        gateway = await stack.enter_async_context(
            running_gateway(
                directory,
                edit=lambda text: text.replace('listen = "0.0.0.0:', f'listen = "{GATEWAY}:'),
            )
        )
        path = await stack.enter_async_context(open_tcp_path(gateway.ports["http"], GATEWAY))
        options = BrowserOptions(
            executable=str(net.launcher(directory, chromium.EXECUTABLE)),
            speaks=write_wav(directory / "tone.wav", tone(440, 10)),
            repeats=True,
            hosts=(("localhost", GATEWAY),),
        )
        browser = await stack.enter_async_context(open_browser(options))
        yield Site(net, gateway, browser, path)


async def test_f17_page_hangs_up_over_the_other_link(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    async with site.calling() as page:
        opened = site.path.opened
        # Nothing is sent to it any more, and nobody tells the page.
        site.net.lose(1)
        await hears_more(page)
        assert await page.evaluate("() => phone.state") == "in-call"

        # The media could tell of the end as well: here only the word counts.
        await page.evaluate("() => { phone.pc.close = () => {}; }")
        # What is sent with the address of a link that is gone goes nowhere; new sockets get
        # the address of the one that is there.
        site.net.take_down(1)
        said_at = time.monotonic()
        await page.get_by_role("button", name="Hang up").click()
        await site.gateway.wait_for_calls(0)
        took_s = time.monotonic() - said_at

        report(capsys, f"bye after a change of links: ended after {1000 * took_s:.0f} ms")
        assert site.path.opened > opened


async def test_f16_page_reconnects_when_one_link_takes_the_place_of_the_other(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.net.take_down(2)
    async with site.calling() as page:
        call = await site.gateway.get("/v1/calls")
        token = await page.evaluate("() => JSON.parse(sessionStorage.call).token")

        changed_at = time.monotonic()
        site.net.take_down(1)
        await asyncio.sleep(0.5)
        site.net.bring_up(2)
        await hears_more(page)
        took_s = time.monotonic() - changed_at
        # The call goes on before the page can know; its signalling follows by itself.
        await page.wait_for_function(
            "(token) => JSON.parse(sessionStorage.call).token !== token", arg=token
        )

        report(capsys, f"one link for the other: hears again after {1000 * took_s:.0f} ms")
        after = await site.gateway.get("/v1/calls")
        assert after["calls"][0]["id"] == call["calls"][0]["id"]
        assert after["calls"][0]["legs"] == call["calls"][0]["legs"]
        await page.get_by_role("button", name="Hang up").click()


async def test_f16_page_without_a_network_says_so_and_is_back_when_there_is_one(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    async with site.calling() as page:
        call = await site.gateway.get("/v1/calls")

        for link in (1, 2):
            site.net.take_down(link)
        await expect(page.locator("#state")).to_have_text("Reconnecting", timeout=15_000)
        await expect(page.locator("#link-words")).to_have_text("reconnecting", timeout=15_000)
        for link in (1, 2):
            site.net.bring_up(link)
        up_at = time.monotonic()
        await page.wait_for_function(TALKS)
        took_s = time.monotonic() - up_at
        await expect(page.locator("#detail")).to_have_text("The connection is back")
        await hears_more(page)

        report(capsys, f"no network for a while: back {1000 * took_s:.0f} ms after there is one")
        await expect(page.locator("#link-words")).to_have_text("connected", timeout=15_000)
        after = await site.gateway.get("/v1/calls")
        assert after["calls"][0]["legs"] == call["calls"][0]["legs"]
        assert await page.evaluate(INVITES) == 1
        await page.get_by_role("button", name="Hang up").click()

"""A browser for all tests of the page; a gateway of paper, a page and a far end for each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page

from tests.support.browser import open_browser, open_page
from tests.web.call_flow import connected
from tests.web.fake_gateway import FakeGateway, open_gateway
from tests.web.far_end import FarEnd, open_far_end


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium whose microphone beeps."""
    async with open_browser() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="package")
async def gateway() -> AsyncIterator[FakeGateway]:
    """A gateway that only says what the test says."""
    async with open_gateway() as gateway:
        yield gateway


@pytest_asyncio.fixture(loop_scope="package")
async def page(browser: Browser, gateway: FakeGateway) -> AsyncIterator[Page]:
    """The phone, loaded and connected. It must not break, nor its policy be violated."""
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        # A lost gateway is told by the browser too; that is no fault of the page.
        if message.type == "error" and "WebSocket connection" not in message.text:
            complaints.append(message.text)

    def watch(page: Page) -> None:
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))

    async with open_page(browser, gateway.url, watch=watch) as page:
        await connected(page)
        yield page
        assert complaints == []


@pytest_asyncio.fixture(loop_scope="package")
async def far_end(browser: Browser, gateway: FakeGateway) -> AsyncIterator[FarEnd]:
    """Who answers with media."""
    async with open_far_end(browser, gateway) as far_end:
        yield far_end

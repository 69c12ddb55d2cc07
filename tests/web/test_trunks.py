"""The line at the foot of the page: how the gateway's trunks are."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from tests.support.browser import open_page
from tests.web.call_flow import connected
from tests.web.fake_gateway import FakeGateway, Message
from tests.web.test_access import assert_contrast

pytestmark = [pytest.mark.real, pytest.mark.beside, pytest.mark.asyncio(loop_scope="package")]


def trunk(name: str, state: str = "up", **rest: Any) -> Message:
    """A trunk as `GET /v1/trunks` tells it."""
    return {"name": name, "state": state, "reason": None, "wait_s": 0, "registrations": [], **rest}


def line(page: Page) -> Locator:
    """The trunks, in their order."""
    return page.get_by_role("list", name="Trunks").get_by_role("listitem")


async def test_gateway_without_trunks_has_no_line(page: Page) -> None:
    await expect(page.get_by_role("list", name="Trunks")).to_have_count(0)


async def test_trunks_are_told_in_words_those_with_a_problem_first(
    browser: Browser, gateway: FakeGateway
) -> None:
    gateway.trunks = [
        trunk("lab"),
        trunk("fresh", "unknown"),
        trunk("telnyx", "down", reason="no-answer"),
        trunk("twilio", wait_s=90),
        trunk("office", registrations=[{"registered": True}, {"registered": False}]),
    ]

    async with open_page(browser, gateway.url) as page:
        await expect(line(page)).to_have_text(
            [
                "telnyx does not answer",
                "twilio asks to wait",
                "office not registered",
                "fresh not heard of yet",
                "lab up",
            ]
        )
        await assert_contrast(page)


async def test_many_trunks_stay_one_line(browser: Browser, gateway: FakeGateway) -> None:
    gateway.trunks = [trunk(f"trunk-{n}") for n in range(30)] + [trunk("bad", "down")]

    async with open_page(browser, gateway.url, width=320) as page:
        await expect(line(page)).to_have_count(7)
        await expect(line(page).first).to_have_text("bad down")
        await expect(line(page).last).to_have_text("and 25 more")
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= 320


async def test_a_lost_gateway_says_nothing_of_its_trunks(page: Page, gateway: FakeGateway) -> None:
    gateway.trunks = [trunk("lab")]
    await page.reload()
    await connected(page)
    await expect(line(page)).to_have_text(["lab up"])
    gateway.refuses_pages = True

    await gateway.lose_page()

    await expect(line(page)).to_have_count(0)


async def test_names_of_trunks_are_shown_as_text(browser: Browser, gateway: FakeGateway) -> None:
    bad = "<img src=x onerror='document.title=\"owned\"'>"
    gateway.trunks = [trunk(bad, "down", reason=bad)]

    async with open_page(browser, gateway.url) as page:
        await expect(line(page)).to_have_text([f"{bad} down"])
        assert await page.locator("footer img").count() == 0

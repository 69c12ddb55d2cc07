"""The connection to the gateway: lost, found again, and what a call makes of it."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.web.call_flow import button, connected, destination, say_ended, state_of, talk
from tests.web.fake_gateway import FakeGateway
from tests.web.far_end import FarEnd

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="package")]

HURRY = """() => {
  window.waits = [];
  const wait = window.setTimeout;
  window.setTimeout = (then, ms) => {
    window.waits.push(ms);
    return wait(then, 10);
  };
}"""
"Timers are noted and made short."


async def test_lost_gateway_is_told_and_found_again(page: Page, gateway: FakeGateway) -> None:
    await gateway.lose_page()
    await expect(page.get_by_role("alert")).to_contain_text("The gateway cannot be reached")
    await expect(page.locator("#link-words")).to_have_text("lost")

    await gateway.greet_again(3)

    await expect(page.locator("#link-words")).to_have_text("connected")
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_back_off_grows_until_the_gateway_is_there(page: Page, gateway: FakeGateway) -> None:
    gateway.refuses_pages = True
    await page.evaluate(HURRY)

    await gateway.lose_page()
    await page.wait_for_function("() => window.waits.length >= 6")
    gateway.refuses_pages = False

    await expect(page.locator("#link-words")).to_have_text("connected")
    waits: list[float] = await page.evaluate("() => window.waits")
    for wait, longest in zip(waits, [500, 1000, 2000, 4000, 8000, 8000], strict=False):
        assert longest / 2 <= wait <= longest


async def test_calling_without_gateway_is_refused_in_words(
    page: Page, gateway: FakeGateway
) -> None:
    gateway.refuses_pages = True
    await gateway.lose_page()
    await expect(page.locator("#link-words")).to_have_text("lost")

    await destination(page).fill("+15550100")
    await button(page, "Call").click()

    await expect(page.locator("#problem")).to_contain_text("The gateway cannot be reached")
    await expect(state_of(page)).to_have_text("Ready")


async def test_call_outlives_the_lost_connection(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)

    await gateway.lose_page()

    await expect(page.get_by_role("alert")).to_contain_text("You can go on talking")
    await expect(state_of(page)).to_have_text("In call")
    await gateway.greet_again(3)
    await far_end.wait_for_sound()
    await say_ended(gateway, call)
    await expect(state_of(page)).to_have_text("Ended: they hung up")


async def test_bye_that_could_not_be_said_is_said_later(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)
    gateway.refuses_pages = True
    await gateway.lose_page()
    await expect(page.locator("#link-words")).to_have_text("lost")

    await button(page, "Hang up").click()
    await expect(state_of(page)).to_have_text("Ended: you hung up")
    gateway.refuses_pages = False

    assert (await gateway.hear("bye"))["call"] == call


async def test_unanswered_ping_means_lost(page: Page, gateway: FakeGateway) -> None:
    await page.clock.install()
    await page.reload()
    await connected(page)
    gateway.answers_pings = False

    await page.clock.fast_forward(10_000)
    await gateway.hear("ping")
    await expect(page.locator("#link-words")).to_have_text("connected")
    await page.clock.fast_forward(10_000)

    await expect(page.locator("#link-words")).to_have_text("lost")


async def test_answered_pings_keep_the_connection(page: Page, gateway: FakeGateway) -> None:
    await page.clock.install()
    await page.reload()
    await connected(page)
    greeted = gateway.greeted

    for number in range(3):
        await page.clock.fast_forward(10_000)
        await gateway.hear("ping")
        # In the order of the socket: when this error shows, the pong before it has arrived.
        await gateway.say("error", call=None, code="mark", text=f"mark {number}")
        await expect(page.get_by_text(f"mark {number}")).to_be_visible()

    await expect(page.locator("#link-words")).to_have_text("connected")
    assert gateway.greeted == greeted

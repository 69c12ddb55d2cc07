"""Calls that come in."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.web.call_flow import button, destination, say_ended, state_of, talk
from tests.web.fake_gateway import FakeGateway
from tests.web.far_end import FarEnd

pytestmark = [pytest.mark.real, pytest.mark.beside, pytest.mark.asyncio(loop_scope="package")]


async def ring(gateway: FakeGateway, call: str = "gw1-in-1") -> None:
    """Somebody calls this page."""
    await gateway.say("incoming", call=call, **{"from": "+15557654321", "to": "+15550001"})


async def test_accepted_call_talks(page: Page, gateway: FakeGateway, far_end: FarEnd) -> None:
    await ring(gateway)
    banner = page.get_by_role("region", name="Incoming call")
    await expect(banner).to_contain_text("+15557654321")

    await banner.get_by_role("button", name="Accept").click()
    offer = await gateway.hear("accept")
    await far_end.answer(gateway, offer)
    await gateway.say("answered", call=offer["call"], codec={"browser": "opus", "peer": "PCMU"})

    assert offer["call"] == "gw1-in-1"
    await expect(state_of(page)).to_have_text("In call")
    await expect(page.locator("#party")).to_have_text("+15557654321")
    await expect(banner).to_be_hidden()
    await far_end.wait_for_sound()
    await say_ended(gateway, offer["call"], fault="caller")
    await expect(state_of(page)).to_have_text("Ended: they hung up")


async def test_declined_call_is_said_so(page: Page, gateway: FakeGateway) -> None:
    await ring(gateway)

    await button(page, "Decline").click()

    assert await gateway.hear("decline") == {"type": "decline", "call": "gw1-in-1"}
    await expect(page.get_by_role("region", name="Incoming call")).to_be_hidden()
    await expect(state_of(page)).to_have_text("Ready")


async def test_caller_who_gives_up_takes_the_banner_along(page: Page, gateway: FakeGateway) -> None:
    await ring(gateway)
    await expect(page.get_by_role("region", name="Incoming call")).to_be_visible()

    await say_ended(gateway, "gw1-in-1", "cancelled", fault="caller")

    await expect(page.get_by_role("region", name="Incoming call")).to_be_hidden()


async def test_accepting_during_a_call_hangs_that_one_up(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    first = await talk(page, gateway, far_end)
    await ring(gateway)

    await button(page, "Hang up and accept").click()

    assert (await gateway.hear("bye"))["call"] == first
    assert (await gateway.hear("accept"))["call"] == "gw1-in-1"


async def test_second_incoming_call_is_declined(page: Page, gateway: FakeGateway) -> None:
    await ring(gateway, "gw1-in-1")
    await ring(gateway, "gw1-in-2")

    assert (await gateway.hear("decline"))["call"] == "gw1-in-2"
    await expect(page.get_by_role("region", name="Incoming call")).to_be_visible()


async def test_banner_is_reached_and_answered_by_keyboard(page: Page, gateway: FakeGateway) -> None:
    await destination(page).focus()
    await ring(gateway)
    await expect(button(page, "Accept")).to_be_visible()

    await page.keyboard.press("Shift+Tab")
    await expect(button(page, "Decline")).to_be_focused()
    await page.keyboard.press("Shift+Tab")
    await expect(button(page, "Accept")).to_be_focused()
    await page.keyboard.press("Escape")

    assert (await gateway.hear("decline"))["call"] == "gw1-in-1"

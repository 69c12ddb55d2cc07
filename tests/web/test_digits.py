"""Keys pressed in a call, by mouse and keyboard, and keys that the far end pressed."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.web.call_flow import button, destination, dial, talk
from tests.web.fake_gateway import FakeGateway
from tests.web.far_end import FarEnd

pytestmark = [pytest.mark.real, pytest.mark.beside, pytest.mark.asyncio(loop_scope="package")]

LISTEN = """() => {
  window.tones = "";
  const { dtmf } = phone.pc.getSenders()[0];
  dtmf.addEventListener("tonechange", ({ tone }) => { window.tones += tone; });
}"""


async def test_mouse_and_keyboard_send_telephone_events(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    await talk(page, gateway, far_end)
    await page.wait_for_function("() => phone.pc.getSenders()[0].dtmf.canInsertDTMF")
    await page.evaluate(LISTEN)

    await button(page, "5").click()
    await button(page, "star").click()
    await page.keyboard.press("1")
    await page.keyboard.press("#")

    await page.wait_for_function("() => window.tones === '5*1#'")
    await expect(page.get_by_role("definition").first).to_have_text("5*1#")
    assert not gateway.has_heard("digit")


async def test_keys_go_by_message_where_telephone_events_were_not_agreed(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end, digits=False)

    await page.keyboard.press("7")

    expected = {"type": "digit", "call": call, "digit": "7", "duration_ms": 120}
    assert await gateway.hear("digit") == expected


async def test_digits_typed_into_the_locked_field_are_keys(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end, digits=False)

    await destination(page).press("3")

    assert (await gateway.hear("digit"))["call"] == call
    await expect(destination(page)).to_have_value("+15550100")


async def test_shortcuts_and_other_keys_are_no_digits(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    await talk(page, gateway, far_end, digits=False)

    for key in ("Control+1", "a", "Alt+2", "F3", "4"):
        await page.keyboard.press(key)

    assert (await gateway.hear("digit"))["digit"] == "4"
    assert not gateway.has_heard("digit")


async def test_digits_typed_before_a_call_go_where_the_caret_is(
    page: Page, gateway: FakeGateway
) -> None:
    await destination(page).fill("23")
    await page.keyboard.press("Home")

    await page.keyboard.press("1")

    await expect(destination(page)).to_have_value("123")
    assert (await dial(page, gateway))["to"] == "+15550100"
    assert not gateway.has_heard("digit")


async def test_received_digit_is_shown_once(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)

    for digit in "42":
        await gateway.say("digit", call=call, digit=digit, phase="start")
        await gateway.say("digit", call=call, digit=digit, phase="end")

    await expect(page.locator("#digits-received")).to_have_text("42")

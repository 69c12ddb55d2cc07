"""Whom to call: the combobox and its suggestions."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.web.call_flow import button, connected, destination, dial
from tests.web.fake_gateway import DESTINATIONS, FakeGateway

pytestmark = [pytest.mark.real, pytest.mark.beside, pytest.mark.asyncio(loop_scope="package")]


async def test_click_shows_all_destinations_in_groups(page: Page) -> None:
    await destination(page).click()

    await expect(page.get_by_role("option")).to_have_count(len(DESTINATIONS))
    agents = page.get_by_role("group", name="Agents").get_by_role("option")
    await expect(agents).to_have_count(2)
    await expect(agents.first).to_contain_text("Receptionist")
    await expect(agents.first).to_contain_text("agent:receptionist")
    await expect(destination(page)).to_have_attribute("aria-expanded", "true")


async def test_typing_filters_by_name_number_and_description(page: Page) -> None:
    for text, found in (("recep", 1), ("0102", 1), ("puts you", 1), ("echo", 2), ("zzz", 0)):
        await destination(page).fill(text)
        await expect(page.get_by_role("option")).to_have_count(found)


async def test_arrows_and_enter_choose_without_calling(page: Page, gateway: FakeGateway) -> None:
    await destination(page).focus()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    option = page.get_by_role("option", selected=True)
    await expect(option).to_contain_text("Echo agent")
    await expect(destination(page)).to_have_attribute(
        "aria-activedescendant", await option.get_attribute("id") or "no id"
    )

    await page.keyboard.press("Enter")

    await expect(destination(page)).to_have_value("agent:echo")
    await expect(page.get_by_role("listbox")).to_be_hidden()
    assert not gateway.has_heard("call")

    await page.keyboard.press("Enter")
    assert (await gateway.hear("call"))["to"] == "agent:echo"


async def test_arrow_up_goes_round_to_the_last(page: Page) -> None:
    await destination(page).focus()

    await page.keyboard.press("ArrowUp")
    await expect(page.get_by_role("option", selected=True)).to_contain_text("Busy")
    await page.keyboard.press("ArrowDown")

    await expect(page.get_by_role("option", selected=True)).to_contain_text("Receptionist")


async def test_escape_closes_the_list_then_clears_the_field(page: Page) -> None:
    await destination(page).fill("echo")
    await expect(page.get_by_role("listbox")).to_be_visible()

    await page.keyboard.press("Escape")
    await expect(page.get_by_role("listbox")).to_be_hidden()
    await expect(destination(page)).to_have_value("echo")

    await page.keyboard.press("Escape")
    await expect(destination(page)).to_have_value("")


async def test_pointer_opens_and_chooses(page: Page) -> None:
    await page.get_by_label("Show destinations").click()
    await page.get_by_role("option", name="Early media").click()

    await expect(destination(page)).to_have_value("+15550102")
    await expect(page.get_by_role("listbox")).to_be_hidden()


async def test_call_stays_in_reach_while_the_list_is_open(page: Page, gateway: FakeGateway) -> None:
    await destination(page).fill("+1555")
    await expect(page.get_by_role("listbox")).to_be_visible()

    await button(page, "Call").click()

    assert (await gateway.hear("call"))["to"] == "+1555"


@pytest.mark.parametrize(
    ("entry", "to"),
    [
        ("receptionist", "agent:receptionist"),
        ("+1 (555) 010-0100", "+15550100100"),
        ("030.123 456", "030123456"),
        ("*97#", "*97#"),
        ("+1 555 0100, , 123#", "+15550100,,123#"),
        (" agent:echo ", "agent:echo"),
        ("front-desk", "front-desk"),
        ("sip:ann@example.org;transport=tcp", "sip:ann@example.org;transport=tcp"),
    ],
)
async def test_entry_is_understood(page: Page, gateway: FakeGateway, entry: str, to: str) -> None:
    assert (await dial(page, gateway, entry))["to"] == to


@pytest.mark.parametrize("entry", ["()", "sip:", "<b>", "agent: echo", "+" + 40 * "1", "1,x"])
async def test_entry_that_is_no_destination_is_refused(
    page: Page, gateway: FakeGateway, entry: str
) -> None:
    await destination(page).fill(entry)
    await button(page, "Call").click()

    await expect(page.get_by_role("alert")).to_contain_text("cannot be dialled")
    assert not gateway.has_heard("call")


async def test_keypad_dials_before_a_call(page: Page, gateway: FakeGateway) -> None:
    for key in ("star", "9", "7", "hash"):
        await button(page, key).click()

    await expect(destination(page)).to_have_value("*97#")
    await button(page, "Call").click()
    assert (await gateway.hear("call"))["to"] == "*97#"


async def test_last_destination_is_remembered(page: Page, gateway: FakeGateway) -> None:
    await dial(page, gateway, "+15550104")

    await page.reload()

    await expect(destination(page)).to_have_value("+15550104")


async def test_lists_and_notices_that_are_none_do_not_break_the_page(
    page: Page, gateway: FakeGateway
) -> None:
    gateway.destinations = []
    await page.reload()
    await connected(page)

    assert (await dial(page, gateway))["to"] == "+15550100"
    await expect(page.get_by_label("Show destinations")).to_be_hidden()


async def test_list_that_comes_late_is_shown_to_who_types_already(page: Page) -> None:
    loaded = asyncio.Event()

    async def hold_back(route: Route) -> None:
        await loaded.wait()
        await route.continue_()

    await page.route("**/v1/destinations", hold_back)
    await page.reload()
    await destination(page).fill("echo")
    await expect(page.get_by_role("listbox")).to_be_hidden()

    loaded.set()

    await expect(page.get_by_role("option")).to_have_count(2)

"""The page for everybody: names, keyboard, contrast, calm, small screens, text that stays text."""

from __future__ import annotations

import re
from typing import Literal

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser import open_page
from tests.web.call_flow import button, destination, dial, say_ended, state_of, talk
from tests.web.fake_gateway import FakeGateway
from tests.web.far_end import FarEnd

pytestmark = [pytest.mark.real, pytest.mark.beside, pytest.mark.asyncio(loop_scope="package")]

CONTROLS = "button|combobox|switch|meter|listbox|option|table|group|region|textbox|timer"

CONTRASTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => {
    const [r, g, b] = rgba(colour).slice(0, 3).map((value) => value / 255).map(
      (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (rgba(colour)[3] === 255) return colour;
    }
    return "white";
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest(":disabled, [aria-disabled=true], .unseen")) continue;
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([ratio, walker.currentNode.data.trim()]);
  }
  return found;
}"""


async def assert_contrast(page: Page) -> None:
    """WCAG 2.2 §1.4.3, level AA: 4.5 to 1 for all text."""
    ratios: list[tuple[float, str]] = await page.evaluate(CONTRASTS)
    assert len(ratios) > 30
    assert [text for text in ratios if text[0] < 4.5] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_text_stands_out(
    page: Page, gateway: FakeGateway, far_end: FarEnd, scheme: Literal["light", "dark"]
) -> None:
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await destination(page).fill("e")
    await page.keyboard.press("ArrowDown")
    await assert_contrast(page)

    call = await talk(page, gateway, far_end)
    for lane in ("browser", "peer"):
        await gateway.say("ladder", call=call, at_ms=1, lane=lane, sent=True, text=lane)
    await gateway.say("digit", call=call, digit="1", phase="start")
    await gateway.say("incoming", call="in", **{"from": "Ann", "to": "+15550001"})
    await expect(page.locator(".step")).to_have_count(2)
    await expect(page.get_by_role("region", name="Incoming call")).to_be_visible()
    await button(page, "Mute").click()
    await assert_contrast(page)

    await say_ended(gateway, call, "rejected", status=402, text="Pay first")
    await gateway.lose_page()
    await expect(page.get_by_role("alert")).to_have_count(2)
    await assert_contrast(page)


async def test_every_control_has_a_name(page: Page, gateway: FakeGateway, far_end: FarEnd) -> None:
    await destination(page).click()
    snapshots = [await page.locator("body").aria_snapshot()]
    await talk(page, gateway, far_end)
    await gateway.say("incoming", call="in", **{"from": "Ann", "to": "+15550001"})
    await expect(page.get_by_role("region", name="Incoming call")).to_be_visible()
    snapshots.append(await page.locator("body").aria_snapshot())

    lines = [line.strip() for snapshot in snapshots for line in snapshot.splitlines()]
    controls = [line for line in lines if re.match(rf"- ({CONTROLS})\b", line)]
    assert len(controls) > 40
    assert [line for line in controls if '"' not in line] == []


async def test_tab_goes_through_the_phone_in_reading_order(page: Page) -> None:
    order = ["theme", "destination", "place", *"123456789*0#", "processing", "ladder-scroller"]
    name = "() => document.activeElement.id || document.activeElement.dataset.digit"
    visited = []

    for _ in order:
        await page.keyboard.press("Tab")
        visited.append(await page.evaluate(name))

    assert visited == order


async def test_focus_is_seen(page: Page) -> None:
    outline = "() => getComputedStyle(document.activeElement).outline"

    for _ in range(17):
        await page.keyboard.press("Tab")
        style: str = await page.evaluate(outline)
        assert "solid 3px" in style


async def test_focus_follows_the_call(page: Page, gateway: FakeGateway) -> None:
    await destination(page).fill("+15550100")
    await destination(page).press("Enter")
    offer = await gateway.hear("call")
    await expect(button(page, "Hang up")).to_be_focused()

    await page.keyboard.press("Enter")

    assert (await gateway.hear("bye"))["call"] == offer["call"]
    await expect(button(page, "Call")).to_be_focused()


async def test_states_and_problems_are_announced(page: Page, gateway: FakeGateway) -> None:
    offer = await dial(page, gateway)
    await expect(page.get_by_role("status").filter(has_text="Connecting")).to_be_visible()

    await say_ended(gateway, offer["call"], "busy", status=486)

    await expect(page.get_by_role("status").filter(has_text="Ended: busy")).to_be_visible()
    await expect(page.get_by_role("alert").filter(has_text="busy")).to_be_visible()


async def test_nothing_moves_where_motion_is_not_wanted(page: Page, gateway: FakeGateway) -> None:
    await dial(page, gateway)
    animations = "() => document.getAnimations().length"
    await page.wait_for_function(f"() => ({animations})() > 0")

    await page.emulate_media(reduced_motion="reduce")

    await page.wait_for_function(f"() => ({animations})() === 0")


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
async def test_page_fits_the_screen(browser: Browser, gateway: FakeGateway, width: int) -> None:
    async with open_page(browser, gateway.url, width=width) as page:
        call = (await dial(page, gateway))["call"]
        text = "sips:" + 60 * "long" + "@example.org"
        await gateway.say("ladder", call=call, at_ms=99_999_999, lane="peer", sent=True, text=text)
        await say_ended(gateway, call, "rejected", status=499, text=text)
        await expect(page.get_by_role("alert")).to_contain_text(text)

        assert await page.evaluate("() => document.documentElement.scrollWidth") <= width
        scroller = "() => [ladderScroller.scrollWidth, ladderScroller.clientWidth]"
        script = scroller.replace("ladderScroller", "document.getElementById('ladder-scroller')")
        wide, visible = await page.evaluate(script)
        assert wide == visible


async def test_theme_goes_round_and_is_remembered(page: Page) -> None:
    await page.emulate_media(color_scheme="light")
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = await page.evaluate(background)
    theme = page.get_by_role("button", name="Theme")

    await theme.click()
    await expect(theme).to_have_accessible_name("Theme: light")
    assert await page.evaluate(background) == light
    await theme.click()
    await expect(theme).to_have_accessible_name("Theme: dark")
    dark = await page.evaluate(background)
    assert dark != light

    await page.reload()
    assert await page.evaluate(background) == dark
    await theme.click()
    await expect(theme).to_have_accessible_name("Theme: as the system")
    assert await page.evaluate(background) == light


async def test_words_of_others_are_shown_as_text(
    browser: Browser, gateway: FakeGateway, far_end: FarEnd
) -> None:
    bad = "<img src=x onerror='document.title=\"owned\"'><b>"
    gateway.destinations = [{"to": bad, "name": bad, "kind": "number", "description": bad}]
    gateway.notice = bad

    async with open_page(browser, gateway.url) as page:
        await expect(page.locator("#gateway-notice")).to_contain_text(bad)
        await destination(page).click()
        await expect(page.get_by_role("option")).to_contain_text(bad)
        call = (await dial(page, gateway))["call"]
        await gateway.say("ladder", call=call, at_ms=bad, lane=bad, sent=True, text=bad)
        await gateway.say("progress", call=call, status=bad, reason=bad, early_media=True)
        await expect(page.locator("#detail")).to_contain_text(bad)
        await gateway.say("digit", call=call, digit=bad, phase="start")
        await gateway.say("answered", call=call, codec={"browser": bad, "peer": bad})
        await gateway.say("incoming", call="in", **{"from": bad, "to": bad})
        await expect(page.get_by_role("region", name="Incoming call")).to_contain_text(bad)
        await gateway.say("error", call=None, code=bad, text=bad)
        await expect(page.get_by_role("alert")).to_contain_text(bad)
        await say_ended(gateway, call, bad, text=bad)
        await expect(state_of(page)).to_have_text("Ended: rejected")

        assert await page.locator("body img, body b").count() == 0
        assert "owned" not in await page.title()

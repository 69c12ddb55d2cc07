"""What goes wrong is told in plain words, with what to do about it."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser import BrowserOptions, open_browser, open_page
from tests.web.call_flow import button, connected, destination, dial, say_ended, state_of, talk
from tests.web.fake_gateway import FakeGateway
from tests.web.far_end import FarEnd

pytestmark = [pytest.mark.real, pytest.mark.beside, pytest.mark.asyncio(loop_scope="package")]


@pytest.mark.parametrize(
    ("reason", "words", "state", "title"),
    [
        ("busy", "486 Busy Here", "busy", "The line is busy"),
        ("not-found", "404 Not Found", "no route", "No route to this number"),
        ("declined", "603 Decline", "declined", "The call was declined"),
        ("no-answer", "408 Request Timeout", "no answer", "Nobody answered"),
        ("rejected", "402 Pay first", "rejected", "The call was rejected"),
        (
            "unreachable",
            "503 ",
            "carrier unreachable",
            "The carrier could not put the call through",
        ),
        ("agent-failed", "500 boom", "agent failed", "The agent broke down"),
        ("agent_lost", "503 gone", "agent lost", "The agent could not be reached any more"),
        ("of-the-future", "499 Odd", "rejected", "The call was rejected"),
    ],
)
async def test_end_is_explained(
    page: Page, gateway: FakeGateway, reason: str, words: str, state: str, title: str
) -> None:
    offer = await dial(page, gateway)
    status, _, text = words.partition(" ")

    await say_ended(gateway, offer["call"], reason, status=int(status), text=text)

    await expect(state_of(page)).to_have_text(f"Ended: {state}")
    alert = page.get_by_role("alert")
    await expect(alert.locator(".notice-title")).to_have_text(title)
    await expect(alert.locator(".notice-remedy")).not_to_be_empty()
    await expect(alert.locator(".notice-detail")).to_have_text(words.strip())


async def test_ordinary_end_is_no_problem(page: Page, gateway: FakeGateway) -> None:
    offer = await dial(page, gateway)

    await say_ended(gateway, offer["call"], status=480)

    await expect(state_of(page)).to_have_text("Ended: they hung up")
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_status_is_not_told_of_an_answered_call(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)

    await say_ended(gateway, call, "media-timeout", status=480, fault="network")

    await expect(state_of(page)).to_have_text("Ended: no audio")
    await expect(page.get_by_role("alert")).not_to_contain_text("480")


async def test_refused_message_does_not_end_a_call_that_runs(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)

    await gateway.say("error", call=call, code="unknown-call", text="There is no such call")

    await expect(page.get_by_role("alert")).to_contain_text("There is no such call")
    await expect(state_of(page)).to_have_text("In call")
    assert not gateway.has_heard("bye")


async def test_next_call_clears_the_last_problem(page: Page, gateway: FakeGateway) -> None:
    offer = await dial(page, gateway)
    await say_ended(gateway, offer["call"], "busy", status=486)
    await expect(page.get_by_role("alert")).to_be_visible()

    await button(page, "Call").click()

    await gateway.hear("call")
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_empty_destination_cannot_be_called(page: Page, gateway: FakeGateway) -> None:
    await expect(button(page, "Call")).to_be_disabled()
    await destination(page).fill("   ")
    await expect(button(page, "Call")).to_be_disabled()

    await destination(page).press("Enter")

    await expect(page.get_by_role("alert")).to_contain_text("Nobody to call yet")
    await expect(state_of(page)).to_have_text("Ready")
    assert not gateway.has_heard("call")


async def test_bad_number_is_refused_and_named(page: Page, gateway: FakeGateway) -> None:
    await destination(page).fill("call me maybe")
    await destination(page).press("Enter")

    await expect(page.get_by_role("alert")).to_contain_text("“call me maybe” cannot be dialled")
    assert not gateway.has_heard("call")

    await destination(page).fill("+1555")
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_refused_offer_ends_the_call_in_the_gateways_words(
    page: Page, gateway: FakeGateway
) -> None:
    offer = await dial(page, gateway)

    await gateway.say("error", call=offer["call"], code="bad-sdp", text="the offer has no audio")

    await expect(state_of(page)).to_have_text("Ended: refused")
    await expect(page.get_by_role("alert")).to_contain_text("the offer has no audio")


async def test_unusable_answer_ends_the_call(page: Page, gateway: FakeGateway) -> None:
    offer = await dial(page, gateway)

    await gateway.say("answer", call=offer["call"], id="x", sdp="v=0\r\n")

    await expect(state_of(page)).to_have_text("Ended: refused")
    assert (await gateway.hear("bye"))["call"] == offer["call"]


async def test_gateway_that_does_not_answer_is_told(page: Page, gateway: FakeGateway) -> None:
    await page.clock.install()
    offer = await dial(page, gateway)

    await page.clock.fast_forward(11_000)

    await expect(state_of(page)).to_have_text("Ended: no answer from the gateway")
    assert (await gateway.hear("bye"))["call"] == offer["call"]


@pytest.mark.parametrize(
    ("options", "title"),
    [
        (BrowserOptions(refuses=True), "The microphone was refused"),
        (BrowserOptions(microphone=False), "No microphone was found"),
    ],
)
async def test_call_without_microphone_is_explained(
    gateway: FakeGateway, options: BrowserOptions, title: str
) -> None:
    async with open_browser(options) as browser, open_page(browser, gateway.url) as page:
        await destination(page).fill("+15550100")
        await connected(page)
        await button(page, "Call").click()

        await expect(state_of(page)).to_have_text("Ended: no microphone")
        await expect(page.get_by_role("alert").locator(".notice-title")).to_have_text(title)
        assert not gateway.has_heard("call")
        assert not gateway.has_heard("bye")


async def test_insecure_origin_is_told_before_calling(gateway: FakeGateway) -> None:
    options = BrowserOptions(hosts=(("phone.test", "127.0.0.1"),))
    url = f"http://phone.test:{gateway.port}/"

    async with open_browser(options) as browser, open_page(browser, url) as page:
        await expect(page.get_by_role("alert")).to_contain_text("https://")
        await destination(page).fill("+15550100")
        await connected(page)
        await button(page, "Call").click()

        await expect(page.locator("#problem")).to_contain_text("cannot use the microphone")
        assert not gateway.has_heard("call")


async def test_notice_of_the_gateway_is_shown(browser: Browser, gateway: FakeGateway) -> None:
    gateway.notice = "Open this page over HTTPS, or the microphone stays off."

    async with open_page(browser, gateway.url) as page:
        await expect(page.locator("#gateway-notice")).to_contain_text(gateway.notice)


async def test_messages_that_are_none_are_ignored(page: Page, gateway: FakeGateway) -> None:
    for text in ("", "null", "{", "[]", '{"type": 3}', '{"type": "of-the-future"}', b"\x00\x01"):
        await gateway.say_raw(text)

    offer = await dial(page, gateway)

    await say_ended(gateway, offer["call"], "busy", status=486)
    await expect(state_of(page)).to_have_text("Ended: busy")

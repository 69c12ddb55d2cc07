"""The connection to the gateway: lost, found again, and what a call makes of it."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, expect

from tests.web.call_flow import button, connected, destination, dial, say_ended, state_of, talk
from tests.web.fake_gateway import FakeGateway
from tests.web.far_end import FarEnd

pytestmark = [pytest.mark.real, pytest.mark.beside, pytest.mark.asyncio(loop_scope="package")]

HURRY = """() => {
  window.waits = [];
  const wait = window.setTimeout;
  window.setTimeout = (then, ms) => {
    if (ms === 3000) return wait(then, ms);
    window.waits.push(ms);
    return wait(then, 10);
  };
}"""
"Timers are noted and made short, but for the patience with a socket that does not open."

KEPT_TOKEN = "() => JSON.parse(sessionStorage.getItem('call')).token"

LOSE_PATH = """(state) => {
  Object.defineProperty(phone.pc, "connectionState", { value: state, configurable: true });
  phone.pc.dispatchEvent(new Event("connectionstatechange"));
}"""

STANDING = {
    "id": "gw1-42",
    "to": "+15550100",
    "direction": "out",
    "state": "in-call",
    "answered_ms": 65_000,
    "held": None,
}


async def test_lost_gateway_is_told_and_found_again(page: Page, gateway: FakeGateway) -> None:
    await gateway.lose_page()
    await expect(page.get_by_role("alert")).to_contain_text("The gateway cannot be reached")
    await expect(page.locator("#link-words")).to_have_text("lost")

    await gateway.greet_again(2)

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
    await gateway.greet_again(2)
    await far_end.wait_for_sound()
    await say_ended(gateway, call)
    await expect(state_of(page)).to_have_text("Ended: they hung up")


async def test_bye_that_could_not_be_said_is_said_later(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)
    gateway.refuses_pages = True
    await gateway.lose_page()
    await expect(page.locator("#link-words")).to_have_text("reconnecting")

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


async def test_f17_page_comes_back_by_its_token_and_says_what_it_has_heard(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    await talk(page, gateway, far_end)
    await gateway.say(
        "held", call=await page.evaluate("() => phone.call.id"), who="you", by="far-end", n=7
    )
    await expect(state_of(page)).to_have_text("On hold")

    for _ in range(2):
        token, greeted = await page.evaluate(KEPT_TOKEN), gateway.greeted
        await gateway.lose_page()
        await gateway.greet_again(greeted + 1)
        await connected(page)
        assert gateway.attached[-1] == {"type": "attach", "token": token, "seen": 7}


async def test_unanswered_message_is_repeated_over_another_socket(
    page: Page, gateway: FakeGateway
) -> None:
    gateway.acknowledges = False
    greeted = gateway.greeted

    offer = await dial(page, gateway)
    await gateway.greet_again(greeted + 1)
    gateway.acknowledges = True
    await button(page, "Hang up").click()

    assert (await gateway.hear("bye"))["call"] == offer["call"]
    assert not gateway.has_heard("call")
    await expect(page.locator("#link-words")).to_have_text("connected")


async def test_what_was_told_twice_is_taken_once(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)

    for count in (5, 5, 6, 5):
        await gateway.say("digit", call=call, digit=str(count), phase="start", n=count)

    await expect(page.locator("#digits-received")).to_have_text("56")


async def test_gateway_that_forgot_the_page_has_ended_its_call(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    await talk(page, gateway, far_end)
    gateway.knows_pages = False

    await gateway.lose_page()

    await expect(state_of(page)).to_have_text("Ended: connection lost")
    await expect(page.locator("#problem")).to_contain_text("was restarted")
    await expect(page.locator("#link-words")).to_have_text("connected")


# ---- the path of the sound


async def test_f16_lost_path_is_told_and_a_restart_offered_until_it_is_back(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)
    first = await page.evaluate("() => phone.pc.localDescription.sdp")

    await page.evaluate(LOSE_PATH, "disconnected")
    await expect(state_of(page)).to_have_text("Reconnecting")
    await expect(page.locator("#detail")).to_contain_text("kept for half a minute")
    offer = await gateway.hear("offer")
    await far_end.restart(gateway, offer)
    await page.evaluate(LOSE_PATH, "connected")

    assert offer["call"] == call
    assert ufrag_of(offer["sdp"]) != ufrag_of(first)
    await expect(state_of(page)).to_have_text("In call")
    await expect(page.locator("#detail")).to_have_text("The connection is back")
    assert await page.evaluate("() => phone.path") == ""


async def test_page_on_another_network_looks_for_a_path_before_this_one_breaks(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)
    await page.wait_for_function("() => phone.pc.connectionState === 'connected'")

    await page.evaluate("() => dispatchEvent(new Event('online'))")

    assert (await gateway.hear("offer"))["call"] == call
    await expect(state_of(page)).to_have_text("In call")


async def test_restart_that_the_gateway_offers_is_answered(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)

    await gateway.say("offer", call=call, sdp=await far_end.offer_restart())
    answer = await gateway.hear("answer")
    await far_end.accept(answer)

    assert answer["call"] == call
    await far_end.wait_for_sound()
    await expect(state_of(page)).to_have_text("In call")


# ---- reloads


async def test_f16_reloaded_page_resumes_its_call(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)
    await button(page, "Mute").click()
    gateway.standing = [{**STANDING, "call": call}]

    await page.reload()
    offer = await gateway.hear("resume")
    await expect(state_of(page)).to_have_text("Resuming")
    await expect(page.locator("#detail")).to_contain_text("The page was reloaded")
    await far_end.answer(gateway, offer)

    await expect(state_of(page)).to_have_text("In call")
    await expect(page.locator("#detail")).to_have_text("Back in the call after the reload")
    await expect(page.locator("#party")).to_contain_text("+15550100")
    await expect(page.get_by_role("timer")).to_have_text(re.compile(r"^1:[01]\d$"))
    await expect(button(page, "Mute")).to_have_attribute("aria-pressed", "true")
    assert "seen" not in gateway.attached[0]
    await say_ended(gateway, call)
    await expect(state_of(page)).to_have_text("Ended: they hung up")


async def test_call_that_ended_during_the_reload_is_told(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    await talk(page, gateway, far_end)

    await page.reload()

    await expect(page.locator("#problem")).to_contain_text("The call has ended")
    await expect(state_of(page)).to_have_text("Ready")
    assert gateway.attached
    await page.reload()
    await connected(page)
    assert len(gateway.attached) == 1


async def test_duplicated_tab_leaves_the_call_where_it_is(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    await talk(page, gateway, far_end)
    kept = await page.evaluate("() => sessionStorage.getItem('call')")
    other = await page.context.new_page()
    await other.add_init_script(f"sessionStorage.setItem('call', JSON.stringify({kept}))")

    await other.goto(gateway.url)
    await connected(other)

    assert gateway.attached == []
    await expect(state_of(other)).to_have_text("Ready")
    await expect(state_of(page)).to_have_text("In call")


def ufrag_of(sdp: str) -> str:
    return sdp.partition("a=ice-ufrag:")[2].split()[0]

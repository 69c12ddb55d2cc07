"""A call as its person sees and hears it, from the click to the released microphone."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browser import open_page
from tests.web.call_flow import button, connected, destination, dial, say_ended, state_of, talk
from tests.web.fake_gateway import FakeGateway
from tests.web.far_end import FarEnd

pytestmark = [pytest.mark.real, pytest.mark.beside, pytest.mark.asyncio(loop_scope="package")]

COUNT_OSCILLATORS = """() => {
  window.oscillators = 0;
  const start = OscillatorNode.prototype.start;
  OscillatorNode.prototype.start = function () { window.oscillators += 1; start.call(this); };
}"""

ASK_UNTIL_ALLOWED = """() => {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    await new Promise((resolve) => { window.allow = resolve; });
    return ask(wanted);
  };
}"""

PROCESSING = """() => {
  const settings = phone.call.microphone.getAudioTracks()[0].getSettings();
  return [settings.echoCancellation, settings.noiseSuppression, settings.autoGainControl];
}"""

MICROPHONE_STATES = "() => phone.call.microphone.getTracks().map((track) => track.readyState)"


async def test_states_are_told_from_connecting_to_ended(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    offer = await dial(page, gateway, "+15550103")
    await expect(state_of(page)).to_have_text("Connecting")
    assert offer["to"] == "+15550103"
    assert offer["options"] == {}

    await far_end.answer(gateway, offer)
    await gateway.say(
        "progress", call=offer["call"], status=180, reason="Ringing", early_media=False
    )
    await expect(state_of(page)).to_have_text("Ringing")
    await expect(page.locator("#detail")).to_have_text("180 Ringing")

    await gateway.say("answered", call=offer["call"], codec={"browser": "opus", "peer": "PCMA"})
    await expect(state_of(page)).to_have_text("In call")
    await expect(page.locator("#detail")).to_have_text("opus ⇄ PCMA")
    await expect(page.get_by_role("timer")).to_have_text(re.compile(r"^0:0[1-9]$"))

    await say_ended(gateway, offer["call"])
    await expect(state_of(page)).to_have_text("Ended: they hung up")
    await expect(button(page, "Call")).to_be_enabled()
    await expect(button(page, "Hang up")).to_be_hidden()


async def test_offer_does_not_wait_for_candidates(page: Page, gateway: FakeGateway) -> None:
    offer = await dial(page, gateway)

    assert offer["sdp"].count("m=") == 1
    assert "m=audio" in offer["sdp"]
    assert "a=candidate" not in offer["sdp"]
    candidate = await gateway.hear("candidate")
    assert candidate["candidate"].startswith("candidate:")
    assert f"a=ice-ufrag:{candidate['ufrag']}\r\n" in offer["sdp"]


async def test_early_media_is_told_and_silences_the_own_ringback(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    await page.evaluate(COUNT_OSCILLATORS)
    offer = await dial(page, gateway, "+15550102")
    await far_end.answer(gateway, offer)

    await gateway.say(
        "progress", call=offer["call"], status=183, reason="Session Progress", early_media=True
    )
    await gateway.say(
        "progress", call=offer["call"], status=180, reason="Ringing", early_media=False
    )
    await gateway.say("ladder", call=offer["call"], at_ms=1, lane="peer", sent=False, text="last")

    await expect(page.get_by_text("last")).to_be_visible()
    await expect(state_of(page)).to_have_text("Early media")
    assert await page.evaluate("() => window.oscillators") == 0


async def test_ringback_sounds_while_it_rings_without_media(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    await page.evaluate(COUNT_OSCILLATORS)
    offer = await dial(page, gateway)
    await far_end.answer(gateway, offer)
    assert await page.evaluate("() => window.oscillators") == 0

    await gateway.say(
        "progress", call=offer["call"], status=180, reason="Ringing", early_media=False
    )

    await page.wait_for_function("() => window.oscillators === 2")


async def test_sound_flows_both_ways_and_moves_the_meters(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    meters = [page.get_by_role("meter", name=name, exact=True) for name in ("You", "Far end")]
    for meter in meters:
        await expect(meter).to_have_attribute("aria-valuetext", "silent")

    await talk(page, gateway, far_end)

    await far_end.wait_for_sound()
    for meter in meters:
        await expect(meter).not_to_have_attribute("aria-valuetext", "silent")
    assert await page.evaluate("() => !player.paused && player.srcObject === phone.remoteStream")


async def test_hanging_up_says_bye_and_gives_the_microphone_back(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)
    assert await page.evaluate(MICROPHONE_STATES) == ["live"]

    await button(page, "Hang up").click()

    assert await gateway.hear("bye") == {"type": "bye", "call": call}
    await expect(state_of(page)).to_have_text("Ended: you hung up")
    assert await page.evaluate(MICROPHONE_STATES) == ["ended"]
    assert await page.evaluate("() => phone.pc.connectionState") == "closed"


async def test_second_call_works_without_reload(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    first = await talk(page, gateway, far_end)
    await gateway.say("ladder", call=first, at_ms=1, lane="peer", sent=True, text="INVITE")
    await say_ended(gateway, first)
    await expect(state_of(page)).to_contain_text("Ended")

    second = await talk(page, gateway, far_end)

    assert second != first
    await far_end.wait_for_sound()
    await expect(page.locator(".step")).to_have_count(0)
    assert await page.evaluate(MICROPHONE_STATES) == ["live"]


async def test_second_call_is_refused_while_one_runs(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    await talk(page, gateway, far_end)

    await destination(page).press("Enter")

    await expect(page.get_by_role("alert")).to_contain_text("One call at a time")
    await expect(state_of(page)).to_have_text("In call")
    assert not gateway.has_heard("call")


async def test_late_messages_do_not_revive_an_ended_call(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)
    await button(page, "Hang up").click()

    await gateway.say("progress", call=call, status=180, reason="Ringing", early_media=False)
    await gateway.say("answered", call=call, codec={})
    await gateway.say("ladder", call=call, at_ms=9, lane="peer", sent=True, text="BYE")

    await expect(page.get_by_text("BYE")).to_be_visible()
    await expect(state_of(page)).to_have_text("Ended: you hung up")


async def test_cancelled_before_the_answer(page: Page, gateway: FakeGateway) -> None:
    offer = await dial(page, gateway)

    await button(page, "Hang up").click()

    assert (await gateway.hear("bye"))["call"] == offer["call"]
    await expect(state_of(page)).to_have_text("Ended: you cancelled")


async def test_mute_silences_the_microphone_and_back(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    await talk(page, gateway, far_end)
    enabled = "() => phone.pc.getSenders()[0].track.enabled"

    await button(page, "Mute").click()
    await expect(button(page, "Mute")).to_have_attribute("aria-pressed", "true")
    assert await page.evaluate(enabled) is False

    await button(page, "Mute").click()
    await expect(button(page, "Mute")).to_have_attribute("aria-pressed", "false")
    assert await page.evaluate(enabled) is True


@pytest.mark.parametrize(
    ("who", "by", "words"),
    [
        ("you", "far-end", "The far end has put you on hold"),
        ("you", "gateway", "You are on hold"),
        ("far-end", "gateway", "The far end is on hold"),
    ],
)
async def test_hold_is_told_in_words_until_it_is_over(
    page: Page, gateway: FakeGateway, far_end: FarEnd, who: str, by: str, words: str
) -> None:
    call = await talk(page, gateway, far_end)

    await gateway.say("held", call=call, who=who, by=by)
    await gateway.say("quality", call=call, legs={"browser": {"codec": "opus"}, "peer": {}})
    await expect(state_of(page)).to_have_text("On hold")
    await expect(page.locator("#detail")).to_contain_text(words)
    assert await page.evaluate("() => phone.state") == "in-call"

    await gateway.say("resumed", call=call)
    await expect(state_of(page)).to_have_text("In call")
    await expect(page.locator("#detail")).to_have_text("opus ⇄ PCMU")


async def test_call_that_ends_on_hold_has_ended(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)
    await gateway.say("held", call=call, who="you", by="far-end")

    await say_ended(gateway, call)

    await expect(state_of(page)).to_have_text("Ended: they hung up")
    await expect(page.locator("#detail")).to_have_text("")


async def test_figures_of_the_browser_and_of_both_legs(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)

    browser = {"rtt_ms": 3.14, "jitter_ms": 12, "loss_percent": 0}
    peer = {"codec": "G722", "rtt_ms": 41.4, "jitter_ms": None, "loss_percent": 0.32}
    await gateway.say("quality", call=call, legs={"browser": browser, "peer": peer})

    cells = {
        "browser codec": "opus", "peer codec": "G722",
        "browser rtt": "3.1 ms", "browser jitter": "12 ms", "browser loss": "0.0 %",
        "peer rtt": "41 ms", "peer jitter": "–", "peer loss": "0.3 %",
        "you loss": "0.0 %",
    }  # fmt: skip
    for cell, text in cells.items():
        await expect(page.locator(f'[data-of="{cell}"]')).to_have_text(text)
    await expect(page.locator('[data-of="you rtt"]')).to_contain_text("ms")


async def test_worst_of_both_legs_is_told_in_words(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)

    for yours, theirs, words, figure in (
        (4.4, 4.1, "Sounds good", "MOS 4.1"),
        (3.7, 4.4, "Sounds fair", "MOS 3.7"),
        (4.4, 2.3, "Sounds poor", "MOS 2.3"),
        (None, None, "", ""),
    ):
        leg: dict[str, object] = {"alerts": []}
        legs = {"browser": leg | {"mos": yours}, "peer": leg | {"mos": theirs}}
        await gateway.say("quality", call=call, legs=legs)
        await expect(page.locator("#verdict [role=status]")).to_have_text(words)
        await expect(page.locator("#verdict small")).to_have_text(figure)


async def test_one_way_audio_is_named_until_it_is_over(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    call = await talk(page, gateway, far_end)
    fine = {"browser": {"mos": 4.4, "alerts": []}, "peer": {"mos": 4.4, "alerts": []}}

    for leg, direction, words in (
        ("browser", "received", "Nothing of your voice reaches the gateway"),
        ("browser", "sent", "Nothing reaches your browser"),
        ("peer", "received", "Nothing comes from the far end"),
        ("peer", "sent", "The far end hears nothing"),
    ):
        alert = {"alert": "one-way-audio", "direction": direction}
        await gateway.say("quality", call=call, legs=fine | {leg: {"mos": 4.4, "alerts": [alert]}})
        await expect(page.locator("#verdict")).to_have_text(words)
        await expect(page.locator("#verdict")).to_have_attribute("data-level", "poor")

    await gateway.say("quality", call=call, legs=fine)
    await expect(page.locator("#verdict [role=status]")).to_have_text("Sounds good")


async def test_ladder_draws_who_said_what_to_whom(page: Page, gateway: FakeGateway) -> None:
    call = (await dial(page, gateway))["call"]
    steps = [
        (3, "browser", False, "offer", "right", "you to gateway: "),
        (8, "browser", True, "answer", "left", "gateway to you: "),
        (9, "peer", True, "INVITE", "right", "gateway to far end: "),
        (1234, "peer", False, "180 Ringing", "left", "far end to gateway: "),
    ]

    for at_ms, lane, sent, text, _, _ in steps:
        await gateway.say("ladder", call=call, at_ms=at_ms, lane=lane, sent=sent, text=text)
    await gateway.say("ladder", call="another", at_ms=1, lane="peer", sent=True, text="BYE")

    rows = page.locator(".step")
    await expect(rows).to_have_count(len(steps))
    for row, (at_ms, lane, _, text, points, words) in zip(await rows.all(), steps, strict=True):
        await expect(row).to_have_text(f"{at_ms / 1000:.3f} seconds, {words}{text}")
        await expect(row).to_have_attribute("data-lane", lane)
        await expect(row).to_have_attribute("data-points", points)


async def test_audio_processing_can_be_switched_off_for_good(
    page: Page, gateway: FakeGateway
) -> None:
    switch = page.get_by_role("switch", name="Audio processing")
    await expect(switch).to_be_checked()

    await switch.click()
    await page.reload()

    await expect(switch).not_to_be_checked()
    await dial(page, gateway)
    assert await page.evaluate(PROCESSING) == [False, False, False]


async def test_address_line_fills_in_number_and_processing(
    browser: Browser, gateway: FakeGateway
) -> None:
    url = f"{gateway.url}?to=%2B15550104&processing=off"

    async with open_page(browser, url) as page:
        await connected(page)
        await button(page, "Call").click()

        assert (await gateway.hear("call"))["to"] == "+15550104"
        assert await page.evaluate(PROCESSING) == [False, False, False]


async def test_processing_is_on_unless_switched_off(page: Page, gateway: FakeGateway) -> None:
    await dial(page, gateway)

    assert await page.evaluate(
        "() => phone.call.microphone.getAudioTracks()[0].getConstraints()"
    ) == {
        "echoCancellation": True,
        "noiseSuppression": True,
        "autoGainControl": True,
    }


async def test_leaving_page_says_so(page: Page, gateway: FakeGateway, far_end: FarEnd) -> None:
    await talk(page, gateway, far_end)

    await page.goto("about:blank")

    assert await gateway.hear("leaving") == {"type": "leaving"}


async def test_closed_media_path_ends_the_call_even_without_a_word(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    await talk(page, gateway, far_end)

    await far_end.hang_up()

    await expect(state_of(page)).to_have_text("Ended: closed by the gateway")
    assert await page.evaluate(MICROPHONE_STATES) == ["ended"]


async def test_debug_handle_tells_of_the_call(
    page: Page, gateway: FakeGateway, far_end: FarEnd
) -> None:
    assert await page.evaluate("() => [phone.state, phone.call, phone.pc]") == ["ready", None, None]

    await talk(page, gateway, far_end)

    assert await page.evaluate("() => [phone.state, phone.gatewayId]") == ["in-call", "gw1-42"]
    assert await page.evaluate("() => phone.remoteStream.getAudioTracks().length") == 1
    assert (await page.evaluate("() => phone.quality()"))["codec"] == "opus"
    await expect(page.locator("#call-id")).to_have_text("gw1-42")


async def test_muted_while_the_browser_asks_stays_muted(page: Page, gateway: FakeGateway) -> None:
    await page.evaluate(ASK_UNTIL_ALLOWED)
    await destination(page).fill("+15550100")
    await button(page, "Call").click()
    await expect(page.locator("#detail")).to_have_text("Waiting for your microphone…")
    await page.keyboard.press("5")
    await button(page, "Mute").click()

    await page.evaluate("() => window.allow()")

    await gateway.hear("call")
    assert await page.evaluate("() => phone.pc.getSenders()[0].track.enabled") is False
    assert not gateway.has_heard("digit")


async def test_cancelled_while_the_browser_asks_gives_the_microphone_back(
    page: Page, gateway: FakeGateway
) -> None:
    await page.evaluate(ASK_UNTIL_ALLOWED)
    await destination(page).fill("+15550100")
    await button(page, "Call").click()
    await button(page, "Hang up").click()

    await page.evaluate("() => window.allow()")

    await page.wait_for_function("() => phone.call.microphone !== null")
    assert await page.evaluate(MICROPHONE_STATES) == ["ended"]
    await expect(state_of(page)).to_have_text("Ended: you cancelled")
    assert not gateway.has_heard("call")
    assert not gateway.has_heard("bye")

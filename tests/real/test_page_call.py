"""Chromium calls through the page: over a SIP trunk to the lab, and to agents, measured by ear."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, TimeoutError

from tests.real.conftest import Sounds
from tests.support.audio import record_page, report
from tests.support.browser import BrowserOptions, Browsers, open_page
from tests.support.gateway import Gateway, running_gateway

# One gateway, and one browser for each sound, for the whole file.
pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

SHOWN = """() => [phone.state, phone.path,
  ...["#state", "#detail", "#problem", "#link-words", "#ladder"].map(
    (part) => document.querySelector(part)?.innerText ?? "")]"""
"What tells why a call is not where it should be."

SPEECH = Path(__file__).parents[2] / "gateway/lab/prompts/speech.wav"


@pytest_asyncio.fixture(loop_scope="session")
async def gateway(gateway_of_file: Gateway) -> AsyncIterator[Gateway]:
    """No test leaves a call behind."""
    yield gateway_of_file
    await gateway_of_file.wait_for_calls(0)


@asynccontextmanager
async def calling_page(
    browsers: Browsers, gateway: Gateway, to: str, speaks: Path, *, processing: bool = False
) -> AsyncIterator[Page]:
    """A page in a call that was answered, and is hung up at the end."""
    switch = "" if processing else "&processing=off"
    url = f"{gateway.url}/?to={to.replace('+', '%2B')}{switch}"
    browser = await browsers.get(BrowserOptions(speaks=speaks, repeats=True))
    async with open_page(browser, url) as page:
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "in-call")
        yield page
        await leave(page)


async def leave(page: Page) -> None:
    """Hang up, if it is in a call: a page that is closed might come back, and is waited for."""
    if not page.is_closed() and await page.evaluate("window.phone.state") == "in-call":
        await page.get_by_role("button", name="Hang up").click()
        await wait_for_state(page, "ended")


async def wait_for_state(page: Page, state: str, timeout_s: float = 15.0) -> None:
    """Until the page's call is there; what the page shows instead is told."""
    try:
        await page.wait_for_function(
            "state => window.phone.state === state", arg=state, timeout=timeout_s * 1000
        )
    except TimeoutError as error:
        now = await page.evaluate(SHOWN)
        raise AssertionError(f"the page is at {now}, not {state!r}") from error


async def test_page_hears_its_own_tone_over_the_trunk(
    gateway: Gateway, browsers: Browsers, sounds: Sounds
) -> None:
    speaks = sounds.tone

    async with calling_page(browsers, gateway, "+15550100", speaks) as page:
        await asyncio.sleep(1.0)
        said, heard = await record_page(page, 3)

    said, heard = said.part(1, 3), heard.part(1, 3)
    assert said.peak_hz == pytest.approx(440, rel=0.01)
    assert heard.peak_hz == pytest.approx(440, rel=0.01)
    assert heard.level_dbfs == pytest.approx(said.level_dbfs, abs=3)
    await gateway.wait_for_calls(0)


async def test_speech_comes_back_with_the_products_settings(
    gateway: Gateway, browsers: Browsers
) -> None:
    async with calling_page(browsers, gateway, "+15550100", SPEECH, processing=True) as page:
        await asyncio.sleep(1.0)
        _, heard = await record_page(page, 3)

    assert heard.level_dbfs > -45


async def test_round_trip_over_the_trunk_is_short(
    gateway: Gateway, browsers: Browsers, sounds: Sounds, capsys: pytest.CaptureFixture[str]
) -> None:
    speaks = sounds.bursts

    async with calling_page(browsers, gateway, "+15550100", speaks) as page:
        await asyncio.sleep(2.0)
        said, heard = await record_page(page, 6)

    delays = [
        later[0] - onset
        for onset in said.onsets_s()
        if (later := [each for each in heard.onsets_s() if each > onset])
    ]
    assert len(delays) >= 3
    typical = sorted(delays)[len(delays) // 2]
    report(capsys, f"page → trunk → echo → page: {1000 * typical:.0f} ms round trip")
    assert typical < 0.5, "a second of bursts would be mistaken for the next one"


async def test_page_reaches_an_agent_without_a_trunk(
    gateway: Gateway, browsers: Browsers, sounds: Sounds
) -> None:
    speaks = sounds.tone

    async with calling_page(browsers, gateway, "echo", speaks) as page:
        await asyncio.sleep(1.0)
        _, heard = await record_page(page, 2)
        calls = (await gateway.get("/v1/calls"))["calls"]

    assert heard.part(1, 2).peak_hz == pytest.approx(440, rel=0.01)
    assert [leg["target"] for leg in calls[0]["legs"]] == ["browser", "agent:echo"]


async def test_receptionist_takes_a_digit_and_hangs_up_after_its_goodbye(
    gateway: Gateway, browsers: Browsers, sounds: Sounds
) -> None:
    speaks = sounds.silence

    async with calling_page(browsers, gateway, "receptionist", speaks) as page:
        await asyncio.sleep(0.5)
        _, welcome = await record_page(page, 1.5)
        await page.keyboard.press("0")
        _, goodbye = await record_page(page, 2)
        await wait_for_state(page, "ended", timeout_s=8)

    assert welcome.level_dbfs > -40
    assert goodbye.level_dbfs > -40
    await gateway.wait_for_calls(0)


@pytest.mark.parametrize(
    ("number", "words"),
    [("+15550486", "busy"), ("+15550603", "declined"), ("agent:nobody", "route")],
)
async def test_refusal_is_told_in_plain_words(
    gateway: Gateway, browser: Browser, number: str, words: str
) -> None:
    url = f"{gateway.url}/?to={number.replace('+', '%2B')}"
    async with open_page(browser, url) as page:
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "ended")
        text = await page.locator("body").inner_text()

    assert words in text.lower()
    await gateway.wait_for_calls(0)


async def test_closed_page_ends_the_call(
    gateway: Gateway, browsers: Browsers, sounds: Sounds
) -> None:
    speaks = sounds.tone

    async with calling_page(browsers, gateway, "+15550100", speaks) as page:
        await gateway.wait_for_calls(1)
        await page.close()

    await gateway.wait_for_calls(0, timeout_s=15)  # five of them it might have come back in


async def test_keys_cross_the_trunk_and_come_back(
    gateway: Gateway, browsers: Browsers, sounds: Sounds
) -> None:
    pressed: list[str] = []

    def note(frame: str | bytes) -> None:
        message = json.loads(frame)
        if message["type"] == "digit" and message["phase"] == "end":
            pressed.append(message["digit"])

    url = f"{gateway.url}/?to=%2B15550104"
    browser = await browsers.get(BrowserOptions(speaks=sounds.silence, repeats=True))
    async with open_page(
        browser,
        url,
        watch=lambda page: page.on("websocket", lambda socket: socket.on("framereceived", note)),
    ) as page:
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "in-call")
        await asyncio.sleep(0.5)
        for key in "17#":
            await page.keyboard.press(key)
            await asyncio.sleep(0.6)
        async with asyncio.timeout(5):
            while len(pressed) < 3:
                await asyncio.sleep(0.05)
        await leave(page)

    assert pressed == ["1", "7", "#"]


async def test_early_media_is_heard_before_the_answer(gateway: Gateway, browser: Browser) -> None:
    url = f"{gateway.url}/?to=%2B15550102"
    async with open_page(browser, url) as page:
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "early-media")
        _, early = await record_page(page, 1.2)  # of the 3 s that there are
        state = await page.evaluate("window.phone.state")
        await wait_for_state(page, "in-call")
        await leave(page)

    assert state == "early-media"
    assert early.part(0.6, 1.2).peak_hz == pytest.approx(425, rel=0.01)


async def test_far_end_that_hangs_up_is_told(gateway: Gateway, browser: Browser) -> None:
    url = f"{gateway.url}/?to=%2B15550110"
    async with open_page(browser, url) as page:
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "in-call")
        await wait_for_state(page, "ended")
        text = await page.locator("#state").inner_text()

    assert "hung up" in text


async def test_gateway_that_goes_away_is_told(tmp_path: Path, browser: Browser) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        open_page(browser, f"{gateway.url}/?to=echo") as page,
    ):
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "in-call")

        gateway.process.terminate()
        await wait_for_state(page, "ended")
        await page.wait_for_selector("text=The gateway cannot be reached")
        # Until it is gone: a second signal, while it goes, would kill it.
        assert await asyncio.wait_for(gateway.process.wait(), 15) == 0

"""Chromium calls through the page: over a SIP trunk to the lab, and to agents, measured by ear."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.support.audio import bursts, record_page, report, tone, write_wav
from tests.support.browser import BrowserOptions, open_browser, open_page
from tests.support.gateway import Gateway, running_gateway

pytestmark = pytest.mark.real

SPEECH = Path(__file__).parents[2] / "gateway/lab/prompts/speech.wav"


@asynccontextmanager
async def calling_page(
    gateway: Gateway, to: str, speaks: Path, *, processing: bool = False
) -> AsyncIterator[Page]:
    """A page in a call that was answered."""
    switch = "" if processing else "&processing=off"
    url = f"{gateway.url}/?to={to.replace('+', '%2B')}{switch}"
    options = BrowserOptions(speaks=speaks, repeats=True)
    async with open_browser(options) as browser, open_page(browser, url) as page:
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "in-call")
        yield page


async def wait_for_state(page: Page, state: str, timeout_s: float = 15.0) -> None:
    await page.wait_for_function(
        "state => window.phone.state === state", arg=state, timeout=timeout_s * 1000
    )


async def test_page_hears_its_own_tone_over_the_trunk(gateway: Gateway, tmp_path: Path) -> None:
    speaks = write_wav(tmp_path / "tone.wav", tone(440, 10))

    async with calling_page(gateway, "+15550100", speaks) as page:
        await asyncio.sleep(1.0)
        said, heard = await record_page(page, 3)

    said, heard = said.part(1, 3), heard.part(1, 3)
    assert said.peak_hz == pytest.approx(440, rel=0.01)
    assert heard.peak_hz == pytest.approx(440, rel=0.01)
    assert heard.level_dbfs == pytest.approx(said.level_dbfs, abs=3)
    await gateway.wait_for_calls(0)


async def test_speech_comes_back_with_the_products_settings(gateway: Gateway) -> None:
    async with calling_page(gateway, "+15550100", SPEECH, processing=True) as page:
        await asyncio.sleep(1.0)
        _, heard = await record_page(page, 5)

    assert heard.level_dbfs > -45


async def test_round_trip_over_the_trunk_is_short(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speaks = write_wav(tmp_path / "bursts.wav", bursts(1000, 10))

    async with calling_page(gateway, "+15550100", speaks) as page:
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


async def test_page_reaches_an_agent_without_a_trunk(gateway: Gateway, tmp_path: Path) -> None:
    speaks = write_wav(tmp_path / "tone.wav", tone(440, 10))

    async with calling_page(gateway, "echo", speaks) as page:
        await asyncio.sleep(1.0)
        _, heard = await record_page(page, 2)
        calls = (await gateway.get("/v1/calls"))["calls"]

    assert heard.part(1, 2).peak_hz == pytest.approx(440, rel=0.01)
    assert [leg["target"] for leg in calls[0]["legs"]] == ["browser", "agent:echo"]


async def test_receptionist_takes_a_digit_and_hangs_up_after_its_goodbye(
    gateway: Gateway, tmp_path: Path
) -> None:
    speaks = write_wav(tmp_path / "silence.wav", tone(440, 2, level_dbfs=-120))

    async with calling_page(gateway, "receptionist", speaks) as page:
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
    gateway: Gateway, tmp_path: Path, number: str, words: str
) -> None:
    url = f"{gateway.url}/?to={number.replace('+', '%2B')}"
    async with open_browser() as browser, open_page(browser, url) as page:
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "ended")
        text = await page.locator("body").inner_text()

    assert words in text.lower()
    await gateway.wait_for_calls(0)


async def test_closed_page_ends_the_call(gateway: Gateway, tmp_path: Path) -> None:
    speaks = write_wav(tmp_path / "tone.wav", tone(440, 10))

    async with calling_page(gateway, "+15550100", speaks):
        await gateway.wait_for_calls(1)

    await gateway.wait_for_calls(0, timeout_s=15)  # five of them it might have come back in


async def test_keys_cross_the_trunk_and_come_back(gateway: Gateway, tmp_path: Path) -> None:
    speaks = write_wav(tmp_path / "silence.wav", tone(440, 2, level_dbfs=-120))
    pressed: list[str] = []

    def note(frame: str | bytes) -> None:
        message = json.loads(frame)
        if message["type"] == "digit" and message["phase"] == "end":
            pressed.append(message["digit"])

    url = f"{gateway.url}/?to=%2B15550104"
    options = BrowserOptions(speaks=speaks, repeats=True)
    async with open_browser(options) as browser, open_page(browser, url) as page:
        page.on("websocket", lambda socket: socket.on("framereceived", note))
        await page.reload()
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "in-call")
        await asyncio.sleep(0.5)
        for key in "17#":
            await page.keyboard.press(key)
            await asyncio.sleep(0.6)
        async with asyncio.timeout(5):
            while len(pressed) < 3:
                await asyncio.sleep(0.05)

    assert pressed == ["1", "7", "#"]


async def test_early_media_is_heard_before_the_answer(gateway: Gateway, tmp_path: Path) -> None:
    url = f"{gateway.url}/?to=%2B15550102"
    async with open_browser() as browser, open_page(browser, url) as page:
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "early-media")
        _, early = await record_page(page, 2)
        state = await page.evaluate("window.phone.state")
        await wait_for_state(page, "in-call")

    assert state == "early-media"
    assert early.part(1, 2).peak_hz == pytest.approx(425, rel=0.01)


async def test_far_end_that_hangs_up_is_told(gateway: Gateway) -> None:
    url = f"{gateway.url}/?to=%2B15550110"
    async with open_browser() as browser, open_page(browser, url) as page:
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "in-call")
        await wait_for_state(page, "ended")
        text = await page.locator("#state").inner_text()

    assert "hung up" in text


async def test_gateway_that_goes_away_is_told(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        open_browser() as browser,
        open_page(browser, f"{gateway.url}/?to=echo") as page,
    ):
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "in-call")

        gateway.process.terminate()
        await wait_for_state(page, "ended")
        await page.wait_for_selector("text=The gateway cannot be reached")

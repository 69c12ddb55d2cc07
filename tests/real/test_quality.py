"""The figures of a call between Chromium and the lab carrier, over sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.real.test_page_call import wait_for_state
from tests.support.browser import open_page
from tests.support.gateway import Gateway

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

REPORTED_WITHIN_S = 20.0
"Chromium reports every 5 s, give or take half of it, and a machine may be busy."


async def figures_of(gateway: Gateway, call: str) -> dict[str, Any]:
    """The quality of each leg once both sides have reported, by what the leg is."""
    async with asyncio.timeout(REPORTED_WITHIN_S):
        while True:
            legs = (await gateway.get(f"/v1/calls/{call}"))["legs"]
            quality = {leg["kind"]: leg["quality"] for leg in legs}
            known = [each for each in quality.values() if each is not None]
            # The way there and back is known once a report answers one of ours.
            if len(known) == 2 and all(
                None not in (each["sent"]["mos"], each["round_trip_ms"]) for each in known
            ):
                return quality
            await asyncio.sleep(0.2)


async def test_both_legs_are_measured_while_the_call_goes_on_and_kept_after_it(
    gateway_of_file: Gateway, browser: Browser
) -> None:
    gateway = gateway_of_file
    url = f"{gateway.url}/?to=%2B15550100&processing=off"

    async with open_page(browser, url) as page:
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "in-call")
        (call,) = (await gateway.get("/v1/calls"))["calls"]
        quality = await figures_of(gateway, call["id"])
        await expect(page.locator("#verdict [role=status]")).to_contain_text("Sounds")
        await page.get_by_role("button", name="Hang up").click()
        await gateway.wait_for_calls(0)
    after = await gateway.get(f"/v1/calls/{call['id']}")

    ours, trunk = quality["browser"], quality["sip"]
    assert (ours["codec"], trunk["codec"]) == ("opus", "PCMU")
    for leg in (ours, trunk):
        assert leg["round_trip_ms"] is not None
        assert leg["received"]["packets"] > 50
        assert leg["received"]["mos"] > 3
        assert leg["sent"]["packets"] > 50
        assert leg["sent"]["jitter_ms"] is not None
        assert not [each for each in leg["alerts"] if each["alert"] == "one-way-audio"]
    # The lab is asked for extended reports, and asks for them; Chromium sends none.
    assert trunk["sent"]["is_mos_told"]
    assert not ours["sent"]["is_mos_told"]
    # Opus was decoded for the trunk, so that it could be measured too.
    assert -40 < ours["received"]["level_dbov"] < 0
    assert -40 < trunk["received"]["level_dbov"] < 0
    kept = {leg["kind"]: leg["quality"] for leg in after["legs"]}
    assert kept["sip"]["received"]["packets"] >= trunk["received"]["packets"]

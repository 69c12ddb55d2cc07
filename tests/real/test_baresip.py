"""baresip at both ends of the gateway: called by a page over a trunk, and calling an agent."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.real.conftest import Sounds
from tests.real.test_page_call import calling_page, wait_for_state
from tests.support.audio import Recording, record_page
from tests.support.baresip import NUMBER, free_sip_port, running_baresip
from tests.support.browser import Browsers, open_page
from tests.support.events import CallEvents, call_events
from tests.support.gateway import Gateway, running_gateway

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

TRUNK = """
[[trunk]]
name = "baresip"
uri = "sip:127.0.0.1:{port}"
codecs = ["{codec}"]

[[route]]
from = "browser"
match = "+1888*"
to = ["trunk:baresip"]
"""


def assert_tone(heard: Recording, hz: float, level_dbfs: float, within_db: float) -> None:
    assert heard.peak_hz == pytest.approx(hz, rel=0.01)
    assert heard.level_dbfs == pytest.approx(level_dbfs, abs=within_db)


async def ended(gateway: Gateway, events: CallEvents) -> tuple[str, str, bool]:
    """Reason, fault and whether it was answered; nothing of the call goes on."""
    call = (await events.next("call.ended"))["call"]
    await gateway.wait_for_calls(0)
    outcome = (await gateway.get(f"/v1/calls/{call}"))["outcome"]
    return outcome["reason"], outcome["fault"], outcome["answered"]


async def test_page_and_baresip_hear_each_other(
    tmp_path: Path, browsers: Browsers, sounds: Sounds
) -> None:
    port = free_sip_port()

    async with (
        running_gateway(tmp_path, TRUNK.format(port=port, codec="PCMU")) as gateway,
        call_events(gateway) as events,
        running_baresip(tmp_path / "baresip", port=port, says_hz=700) as baresip,
    ):
        async with calling_page(browsers, gateway, NUMBER, sounds.tone) as page:
            _, heard = await record_page(page, 3)
            await baresip.wait_for_audio(3)
            await page.get_by_role("button", name="Hang up").click()
            await wait_for_state(page, "ended")
        await baresip.wait_for_log("terminated")
        outcome = await ended(gateway, events)

    assert_tone(heard.part(1.5, 3), 700, -12, within_db=3)
    assert_tone(baresip.heard.part(1.5, 3), 440, -12, within_db=3)
    assert outcome == ("hangup", "caller", True)


async def test_page_learns_that_baresip_hung_up(
    tmp_path: Path, browsers: Browsers, sounds: Sounds
) -> None:
    port = free_sip_port()

    async with (
        running_gateway(tmp_path, TRUNK.format(port=port, codec="PCMU")) as gateway,
        call_events(gateway) as events,
        running_baresip(tmp_path / "baresip", port=port, says_hz=700) as baresip,
        calling_page(browsers, gateway, NUMBER, sounds.tone) as page,
    ):
        await baresip.wait_for_audio(0.5)
        await baresip.quit()
        await wait_for_state(page, "ended")
        outcome = await ended(gateway, events)

    assert outcome == ("hangup", "callee", True)


async def test_page_learns_that_baresip_speaks_no_codec_of_the_trunk(
    tmp_path: Path, browser: Browser
) -> None:
    port = free_sip_port()

    async with (
        running_gateway(tmp_path, TRUNK.format(port=port, codec="PCMA")) as gateway,
        call_events(gateway) as events,
        running_baresip(tmp_path / "baresip", port=port, says_hz=700),
    ):
        url = f"{gateway.url}/?to={NUMBER.replace('+', '%2B')}"
        async with open_page(browser, url) as page:
            await page.get_by_role("button", name="Call", exact=True).click()
            await wait_for_state(page, "ended")
        outcome = await ended(gateway, events)

    assert outcome == ("no-common-codec", "caller", False)


async def test_baresip_hears_itself_from_the_echo(gateway_of_file: Gateway, tmp_path: Path) -> None:
    gateway = gateway_of_file
    echo = f"sip:echo@127.0.0.1:{gateway.sip_port}"

    async with (
        call_events(gateway) as events,
        running_baresip(tmp_path / "baresip", says_hz=620, dials=echo) as baresip,
    ):
        await baresip.wait_for_audio(3)
        await baresip.quit()
        outcome = await ended(gateway, events)

    assert_tone(baresip.heard.part(1, 3), 620, -12, within_db=1)
    assert outcome == ("hangup", "caller", True)

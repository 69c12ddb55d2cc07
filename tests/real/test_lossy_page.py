"""Chromium behind a path that loses packets: it reports that, is sent FEC, and hears by it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Page

from gateway.lab import lab
from tests.real.test_page_call import wait_for_state
from tests.support.browser import BrowserOptions, Browsers, open_page
from tests.support.gateway import Gateway
from tests.support.impair import Impairer, running_impairer

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

SPEECH = Path(lab.__file__).with_name("prompts") / "speech.wav"
LOSS = 0.15
MENDED_WITHIN_S = 40.0
"Chromium reports every 5 s, give or take half of it, and the gateway looks once a second."

ONLY_BY_THE_RELAY = """
(port) => {
  const hide = (sdp) => sdp?.replace(/a=candidate:.*\\r\\n/g, "");
  const theirs = /^(a=candidate:\\S+ \\d+ \\w+ \\d+ )\\S+ \\d+/gm;
  const lead = (sdp) => sdp.replace(theirs, `$1127.0.0.1 ${port}`);
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(...options) { super(...options); window.watched = this; }
    get localDescription() {
      const { type, sdp } = super.localDescription ?? {};
      return type ? { type, sdp: hide(sdp) } : null;
    }
    setRemoteDescription({ type, sdp }) {
      return super.setRemoteDescription({ type, sdp: lead(sdp) });
    }
    set onicecandidate(_) {}
  };
}
"""
"For the page: none of its candidates is told, and of the gateway it knows the relay alone."

HEARD = """
async () => {
  const stats = [...(await watched.getStats()).values()];
  const heard = stats.find((each) => each.type === "inbound-rtp") ?? {};
  const names = ["packetsReceived", "packetsLost", "totalSamplesReceived", "concealedSamples"];
  return names.map((name) => heard[name] ?? 0);
}
"""


async def heard_by(page: Page, seconds: float) -> tuple[float, float]:
    """Which share of packets was lost, and of samples made up, in some seconds."""
    before: list[int] = await page.evaluate(HEARD)
    await asyncio.sleep(seconds)
    after: list[int] = await page.evaluate(HEARD)
    received, lost, samples, concealed = (b - a for a, b in zip(before, after, strict=True))
    return lost / max(received + lost, 1), concealed / max(samples, 1)


async def test_f12_chromium_that_loses_packets_is_sent_fec_and_decodes_it(
    gateway_of_file: Gateway, browsers: Browsers
) -> None:
    target = ("127.0.0.1", gateway_of_file.ports["webrtc"])
    url = f"{gateway_of_file.url}/?to=%2B15550100&processing=off"
    # FEC is of speech: pauses and beeps have none. The lab says again what it hears.
    browser = await browsers.get(BrowserOptions(speaks=SPEECH, repeats=True))
    shares: list[tuple[float, float]] = []

    async with (
        running_impairer(target) as relay,
        open_page(browser, "about:blank") as page,
    ):
        await page.add_init_script(f"({ONLY_BY_THE_RELAY})({relay.address[1]})")
        await page.goto(url)
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "in-call")
        relay.down = Impairer(1, loss=LOSS)
        async with asyncio.timeout(MENDED_WITHIN_S):
            while not shares or shares[-1][1] > shares[-1][0] / 3:
                shares.append(await heard_by(page, 4.0))

    lost, made_up = shares[-1]
    assert lost > LOSS / 3
    assert made_up <= lost / 3

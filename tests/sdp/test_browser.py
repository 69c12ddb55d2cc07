"""A real Chromium takes our descriptions."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright

from gateway.sdp.description import parse_sdp
from gateway.sdp.negotiation import accept_answer, answer_offer, build_offer
from tests.sdp.media import BROWSER_CODECS, ORIGIN, webrtc_media

pytestmark = [pytest.mark.real, pytest.mark.beside]

OFFER = """async ([kinds, data]) => {
    globalThis.pc = new RTCPeerConnection();
    globalThis.tracks = [];
    pc.ontrack = event => tracks.push([event.track.kind, event.streams.length]);
    for (const kind of kinds) pc.addTransceiver(kind);
    if (data) pc.createDataChannel("x");
    await pc.setLocalDescription();
    return pc.localDescription.sdp;
}"""

ANSWER = """async sdp => {
    await pc.setRemoteDescription({type: "answer", sdp});
    const live = pc.getTransceivers().filter(t => t.currentDirection);
    return live.map(t => [t.mid, t.currentDirection]);
}"""

REOFFER = """async sdp => {
    await pc.setRemoteDescription({type: "offer", sdp});
    await pc.setLocalDescription();
    return pc.localDescription.sdp;
}"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"],
        )
        yield await browser.new_page()
        await browser.close()


@pytest.mark.parametrize(
    ("kinds", "data", "settled"),
    [
        (["audio"], False, [["0", "sendrecv"]]),
        (["audio", "video"], True, [["0", "sendrecv"]]),
        (["video", "audio", "audio"], False, [["1", "sendrecv"]]),
    ],
)
async def test_chromium_takes_our_answer_and_our_next_offer(
    page: Page, kinds: list[str], data: bool, settled: list[list[str]]
) -> None:
    offer = parse_sdp(await page.evaluate(OFFER, [kinds, data]))
    media = webrtc_media()

    answer, agreement = answer_offer(offer, media=media, codecs=BROWSER_CODECS, origin=ORIGIN)

    assert await page.evaluate(ANSWER, str(answer)) == settled
    assert await page.evaluate("tracks") == [["audio", 1]]

    again = build_offer(media, codecs=BROWSER_CODECS, origin=ORIGIN, previous=answer)
    answered = parse_sdp(await page.evaluate(REOFFER, str(again)))

    assert accept_answer(again, answered).index == agreement.index

"""The other side's media: a second page, whose peer connection answers the phone's offers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page

from tests.support.browser import open_page
from tests.web.fake_gateway import FakeGateway, Message

ANSWER = """async (offer) => {
  const pc = window.pc = new RTCPeerConnection();
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  pc.addTrack(microphone.getAudioTracks()[0], microphone);
  await pc.setRemoteDescription({ type: "offer", sdp: offer });
  await pc.setLocalDescription();
  while (pc.iceGatheringState !== "complete")
    await new Promise((resolve) =>
      pc.addEventListener("icegatheringstatechange", resolve, { once: true }));
  return pc.localDescription.sdp;
}"""

RESTART = """async (offer) => {
  await window.pc.setRemoteDescription({ type: "offer", sdp: offer });
  await window.pc.setLocalDescription();
  return window.pc.localDescription.sdp;
}"""

OFFER_RESTART = """async () => {
  window.pc.restartIce();
  await window.pc.setLocalDescription();
  while (window.pc.iceGatheringState !== "complete")
    await new Promise((resolve) =>
      window.pc.addEventListener("icegatheringstatechange", resolve, { once: true }));
  return window.pc.localDescription.sdp;
}"""

ACCEPT = """(sdp) => window.pc.setRemoteDescription({ type: "answer", sdp })"""

ADD_CANDIDATE = """async ({ candidate, ufrag }) => window.pc.addIceCandidate(
  candidate && { candidate, usernameFragment: ufrag, sdpMLineIndex: 0 })"""

AUDIBLE = """() => window.pc.getStats().then((report) => [...report.values()].find(
  (stats) => stats.type === "inbound-rtp")?.totalAudioEnergy ?? 0)"""


class FarEnd:
    """Speaks (the fake microphone's beeps) and hears, through the fake gateway's messages."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def answer(self, gateway: FakeGateway, offer: Message, *, digits: bool = True) -> None:
        """Bring the media path up: our answer to the page, its candidates to us.

        Args:
            gateway: whose page made the offer.
            offer: its `call` or `accept` message.
            digits: whether RTP telephone-events are agreed upon.
        """
        sdp: str = await self.page.evaluate(ANSWER, offer["sdp"])
        if not digits:
            sdp = without_digits(sdp)
        await gateway.say("answer", call=offer["call"], id="gw1-42", sdp=sdp)
        candidate = await gateway.hear("candidate")
        while candidate["candidate"]:
            assert candidate["call"] == offer["call"]
            assert candidate["ufrag"]
            await self.page.evaluate(ADD_CANDIDATE, candidate)
            candidate = await gateway.hear("candidate")

    async def restart(self, gateway: FakeGateway, offer: Message) -> None:
        """Answer a later offer of the same call."""
        sdp: str = await self.page.evaluate(RESTART, offer["sdp"])
        await gateway.say("answer", call=offer["call"], id="gw1-42", sdp=sdp)

    async def offer_restart(self) -> str:
        """Begin an ICE restart at this end."""
        sdp: str = await self.page.evaluate(OFFER_RESTART)
        return sdp

    async def accept(self, answer: Message) -> None:
        """Take the page's answer to that."""
        await self.page.evaluate(ACCEPT, answer["sdp"])

    async def hang_up(self) -> None:
        """Close the media path, which the phone can notice by itself."""
        await self.page.evaluate("() => window.pc.close()")

    async def wait_for_sound(self) -> None:
        """Wait until the phone's microphone is heard here."""
        await self.page.wait_for_function(f"async () => await ({AUDIBLE})() > 0")


def without_digits(sdp: str) -> str:
    """Take the telephone-event formats out of an answer."""
    lines = sdp.splitlines()
    formats = {line.split(":")[1].split(" ")[0] for line in lines if " telephone-event/" in line}
    kept = []
    for line in lines:
        if line.startswith("m=audio"):
            line = " ".join(word for word in line.split(" ") if word not in formats)
        elif line.startswith(("a=rtpmap:", "a=fmtp:", "a=rtcp-fb:")) and (
            line.split(":")[1].split(" ")[0] in formats
        ):
            continue
        kept.append(line)
    return "\r\n".join(kept) + "\r\n"


@asynccontextmanager
async def open_far_end(browser: Browser, gateway: FakeGateway) -> AsyncIterator[FarEnd]:
    """Open the page; its path is loopback's, where a microphone may be had."""
    async with open_page(browser, f"{gateway.url}far-end") as page:
        yield FarEnd(page)

"""The WebRTC port on real sockets under uvloop: Chromium, and set-ups under a spray."""

from __future__ import annotations

import asyncio
import datetime
import functools
import socket
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from gateway.codec import OPUS
from gateway.net.media import TransportState
from gateway.sdp.description import MediaDescription, Origin, parse_sdp
from gateway.sdp.negotiation import answer_offer
from gateway.webrtc.certificate import generate_certificate
from gateway.webrtc.options import DtlsRole, WebRtcOptions
from gateway.webrtc.port import WebRtcPort
from tests.support.browser import BrowserOptions, open_browser
from tests.webrtc.peers import End, negotiate, new_end, rtp
from tests.webrtc.test_hostile import SPRAY

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.real

PAGE = "http://localhost/"
"A secure context, where the microphone is to be had; answered by the test itself."

PLACE = """async () => {
    const pc = window.pc = new RTCPeerConnection();
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    pc.addTrack(stream.getTracks()[0], stream);
    await pc.setLocalDescription();
    return pc.localDescription.sdp;
}"""
"An offer at once, with no candidate in it: the gateway learns the address from the checks."

ANSWERED = """async (sdp) => {
    await window.pc.setRemoteDescription({ type: "answer", sdp });
    return window.pc.remoteDescription.sdp;
}"""

RESTART = """async () => {
    window.pc.restartIce();
    await window.pc.setLocalDescription();
    return window.pc.localDescription.sdp;
}"""

STATE = "() => window.pc.connectionState"

RECEIVED = """async () => {
    const stats = [...(await window.pc.getStats()).values()];
    return stats.find((each) => each.type === "inbound-rtp")?.packetsReceived ?? 0;
}"""


def on_uvloop(
    test: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., None]:
    """Run on the loop that the gateway runs on."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        uvloop.run(test(*args, **kwargs))

    return run


async def until(claim: Callable[[], bool], *, within: float) -> float:
    """Wait for what a socket will bring; the seconds that took."""
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    async with asyncio.timeout(within):
        while not claim():
            await asyncio.sleep(0.005)
    return loop.time() - started_at


def open_port(options: WebRtcOptions) -> WebRtcPort:
    return WebRtcPort.open(options, generate_certificate(datetime.datetime.now(datetime.UTC)))


def answer(end: End, offer: str) -> str:
    """Accept an offer and answer it with Opus."""
    session = parse_sdp(offer)
    end.transport.accept(session.media[0])
    media = end.transport.describe(MediaDescription())
    described, _ = answer_offer(
        session, media=media, codecs=(OPUS,), origin=Origin("1", 1, "127.0.0.1")
    )
    return str(described)


def are_connected(ends: tuple[End, ...]) -> bool:
    return all(end.state is TransportState.CONNECTED for end in ends)


def has_heard(end: End) -> bool:
    return end.packets == [rtp(1)]


async def place(page: Page, end: End) -> None:
    """A call from a page, as far as its media path."""
    await page.route(PAGE, lambda route: route.fulfill(body="<!doctype html>"))
    await page.goto(PAGE)
    await page.evaluate(ANSWERED, answer(end, await page.evaluate(PLACE)))
    await until(lambda: end.state is TransportState.CONNECTED, within=10)


@pytest.mark.parametrize(
    ("controlling", "role"), [(True, DtlsRole.PASSIVE), (False, DtlsRole.ACTIVE)]
)
@on_uvloop
async def test_chromium_connects_and_its_microphone_is_heard(
    controlling: bool, role: DtlsRole
) -> None:
    options = WebRtcOptions(
        listen="0.0.0.0:0", include_loopback=True, controlling=controlling, dtls_role=role
    )
    end = new_end(open_port(options))
    async with open_browser(BrowserOptions()) as browser:
        page = await browser.new_page()
        await place(page, end)

        await until(lambda: len(end.packets) > 50, within=5)
        for sequence in range(50):
            end.transport.send(rtp(sequence, b"\xf8\xff\xfe"))
            await asyncio.sleep(0.01)
        received = await page.evaluate(RECEIVED)

        assert await page.evaluate(STATE) == "connected"
        assert received > 40
        assert {packet[1] & 0x7F for packet in end.packets if packet[1] < 192} == {111}
        assert end.states == [TransportState.CONNECTED]
    await end.port.close()


@on_uvloop
async def test_chromium_restarts_ice_and_leaves() -> None:
    end = new_end(open_port(WebRtcOptions(listen="0.0.0.0:0", include_loopback=True)))
    async with open_browser(BrowserOptions()) as browser:
        page = await browser.new_page()
        await place(page, end)
        await until(lambda: len(end.packets) > 25, within=5)
        before = end.offer().ice_ufrag

        await page.evaluate(ANSWERED, answer(end, await page.evaluate(RESTART)))
        heard = len(end.packets)
        await until(lambda: len(end.packets) > heard + 100, within=5)
        sequences = [
            int.from_bytes(packet[2:4], "big") for packet in end.packets if packet[1] < 192
        ]
        lost = (sequences[-1] - sequences[0]) % 65536 + 1 - len(set(sequences))

        assert end.offer().ice_ufrag != before
        assert lost <= 1
        assert end.states == [TransportState.CONNECTED]

        await page.evaluate("() => window.pc.close()")
        await until(lambda: end.state is TransportState.CLOSED, within=2)
    await end.port.close()


@pytest.mark.parametrize("role", DtlsRole)
@on_uvloop
async def test_a4_twenty_set_ups_succeed_under_a_spray(role: DtlsRole) -> None:
    gateway = open_port(WebRtcOptions(listen="127.0.0.1:0", dtls_role=role))
    browser = open_port(WebRtcOptions(listen="127.0.0.1:0", controlling=False))
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    took: list[float] = []

    async def spray() -> None:
        while True:
            for datagram in SPRAY:
                stranger.sendto(datagram, ("127.0.0.1", gateway.port))
                stranger.sendto(datagram, ("127.0.0.1", browser.port))
            await asyncio.sleep(0.005)

    spraying = asyncio.ensure_future(spray())
    for _ in range(20):
        ends = new_end(gateway), new_end(browser)
        negotiate(ends[1], ends[0])
        took.append(await until(functools.partial(are_connected, ends), within=5))
        ends[1].transport.send(rtp(1))
        await until(functools.partial(has_heard, ends[0]), within=1)
        for end in ends:
            end.transport.close()
    spraying.cancel()

    assert len(took) == 20
    assert gateway.counters.unknown_source >= 20
    assert gateway.counters.oversize >= 20
    assert gateway.counters.faults == 0
    await gateway.close()
    await browser.close()
    stranger.close()

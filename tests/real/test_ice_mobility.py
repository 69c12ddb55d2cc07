"""A browser's network changes in the middle of a call, and the carrier must not notice.

Chromium on a machine of its own with two links, the gateway and a carrier on another. Gaps are
those between SRTP packets as the kernels saw them arrive: up at the gateway, down at the browser.
"""

from __future__ import annotations

import asyncio
import datetime
import itertools
import json
import re
import socket
import time
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from gateway.config import parse_config
from gateway.leg.browser import BrowserLeg
from gateway.net.media import TransportState
from gateway.net.pacer import Pacer
from gateway.node import Node
from gateway.sdp.description import parse_sdp
from gateway.webrtc.certificate import generate_certificate
from gateway.webrtc.transport import WebRtcTransport
from tests.support import browser as chromium
from tests.support import firefox as mozilla
from tests.support.browser import BrowserOptions, open_browser
from tests.support.firefox import Firefox, open_firefox
from tests.support.netns import GATEWAY, TwoLinks, Watch, can_make_namespaces
from tests.support.rtp import RtpPeer, rtp_peer
from tests.support.wire import SipSocket

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

STOOD_STILL_S = 0.05
"A loop that is held up for longer leaves out what it should have sent meanwhile."

BUDGET_S = 0.25
"What a lost link may cost where another is up."

CONFIG = f"""
[http]
listen = ""

[webrtc]
listen = "{GATEWAY}:0"

[sip]
listen = ["udp:127.0.0.1:0"]

[[trunk]]
name = "carrier"
uri = "sip:127.0.0.1:{{carrier}}"
probe_s = 0

[[route]]
from = "browser"
match = "+1*"
to = ["trunk:carrier"]
"""

PAGE = "http://localhost/"
"A secure context, where the microphone is to be had; answered by the test itself."

EMPTY = "<!doctype html>"

OFFER = """async () => {
    const pc = window.pc = new RTCPeerConnection();
    pc.onicecandidate = ({ candidate }) => {
        if (candidate) void window.trickle(candidate.candidate, candidate.usernameFragment);
    };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    pc.addTrack(stream.getTracks()[0], stream);
    await pc.setLocalDescription();
    return pc.localDescription.sdp;
}"""

RESTART = """async () => {
    window.pc.restartIce();
    await window.pc.setLocalDescription();
    return window.pc.localDescription.sdp;
}"""

TAKE_ANSWER = "async (sdp) => await window.pc.setRemoteDescription({ type: 'answer', sdp })"

TAKE_OFFER = """async (sdp) => {
    await window.pc.setRemoteDescription({ type: "offer", sdp });
    await window.pc.setLocalDescription();
    return window.pc.localDescription.sdp;
}"""

PATH = "() => window.pc.iceConnectionState"

STATS = """async () => {
    const stats = [...(await window.pc.getStats()).values()];
    const heard = stats.find((each) => each.type === "inbound-rtp");
    return { lost: heard.packetsLost };
}"""


class Carrier:
    """Answers every call, and keeps what it is sent: SIP and RTP."""

    def __init__(self, sip: SipSocket, media: RtpPeer) -> None:
        self.sip = sip
        self.media = media
        self.methods: list[str] = []
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.wait([self._reader])
        self.sip.__exit__(None, None, None)

    async def _read(self) -> None:
        while True:
            request = await self.sip.receive_any()
            method = request.text.partition(" ")[0]
            self.methods.append(method)
            if method == "INVITE":
                self._answer(request.text, request.source)
            elif method == "BYE":
                self.sip.respond(request, "200 OK")

    def _answer(self, invite: str, source: tuple[str, int]) -> None:
        copied = "".join(
            line + (";tag=carrier" if line.startswith("To:") else "") + "\r\n"
            for line in invite.split("\r\n")
            if re.match("(Via|From|To|Call-ID|CSeq):", line)
        )
        body = (
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=audio {self.media.port} RTP/AVP 0\r\n"
        )
        self.sip.send(
            f"SIP/2.0 200 OK\r\n{copied}Contact: <sip:carrier@127.0.0.1:{self.sip.port}>\r\n"
            f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}",
            source,
        )
        offered = parse_sdp(invite.partition("\r\n\r\n")[2]).media[0]
        self.media.say_tone(440, ("127.0.0.1", offered.port))


class MobilePage(Protocol):
    """A page, whichever browser it is in."""

    async def evaluate(self, expression: str, arg: Any = None) -> Any:
        """What a function in JavaScript returns."""

    async def expose_function(self, name: str, callback: Callable[..., Any]) -> object:
        """Have a function of the page's call one of ours."""


class FirefoxPage:
    """A page in Firefox. It says nothing by itself: its candidates are names (mDNS) anyway."""

    def __init__(self, firefox: Firefox) -> None:
        self._firefox = firefox

    async def evaluate(self, expression: str, arg: Any = None) -> Any:
        return await self._firefox.evaluate(f"({expression})({json.dumps(arg)})")

    async def expose_function(self, name: str, callback: Callable[..., Any]) -> None:
        await self._firefox.evaluate(f"void (window.{name} = () => {{}})")


class MobileCall:
    """A call of a page on a machine with two links."""

    def __init__(self, page: MobilePage, carrier: Carrier, up: Watch, down: Watch) -> None:
        self.page = page
        self.carrier = carrier
        self.up, self.down = up, down
        self.messages: list[dict[str, Any]] = []
        self.states: list[TransportState] = []
        self.relay: Relay | None = None
        self.leg: BrowserLeg
        self.stood_still: list[tuple[float, float]] = []
        "When the machine was too busy for the gateway, which is in this process: from and to."
        self._tasks: set[asyncio.Task[None]] = {asyncio.ensure_future(self._watch_loop())}

    @property
    def transport(self) -> WebRtcTransport:
        transport = self.leg.listener.transport
        assert isinstance(transport, WebRtcTransport)
        return transport

    @property
    def remote(self) -> str:
        """Where the gateway sends now."""
        return self.transport._address[0]

    async def place(self, node: Node) -> None:
        """Until both ends are heard."""
        await self.page.expose_function("trickle", self._trickle)
        offer = await self.page.evaluate(OFFER)
        self.leg, _ = node.call_from_page("+15550100", offer, "1", self._take)
        tell = self.transport.on_state

        def note(state: TransportState) -> None:
            self.states.append(state)
            tell(state)

        self.transport.on_state = note
        answer = next(each["sdp"] for each in self.messages if each["type"] == "answer")
        await self.page.evaluate(TAKE_ANSWER, self._via_relay(answer))
        await self.until(lambda: self.leg.listener.is_connected)
        await self.talk(50)

    async def restart(self) -> None:
        """The page restarts ICE."""
        answer = self.leg.reoffer(await self.page.evaluate(RESTART))
        await self.page.evaluate(TAKE_ANSWER, self._via_relay(answer))

    async def talk(self, packets: int) -> None:
        """Until so many more have arrived each way."""
        up, down = len(self.up.seen), len(self.down.seen)
        await self.until(
            lambda: len(self.up.seen) >= up + packets and len(self.down.seen) >= down + packets
        )

    async def until_moved_from(self, before: tuple[str, int]) -> None:
        """Until the gateway sends elsewhere."""
        await self.until(lambda: self.transport._address != before)

    async def until(self, claim: Callable[[], bool], within: float = 15.0) -> None:
        async with asyncio.timeout(within):
            while not claim():
                await asyncio.sleep(0.01)

    def gaps(self, since: float) -> tuple[float, float]:
        """The longest silence up and down in which anything was lost or moved, in seconds."""
        return self.up.gap(since), self.down.gap(since)

    def assert_carrier_heard_no_break(self) -> None:
        """One INVITE, and RTP whose sequence and timestamps never broke or stood still."""
        assert self.carrier.methods.count("INVITE") == 1
        heard = self.carrier.media.heard
        for earlier, later in itertools.pairwise(heard):
            assert (later.sequence - earlier.sequence) & 0xFFFF == 1
            step = (later.timestamp - earlier.timestamp) & 0xFFFF_FFFF
            assert step == len(earlier.payload) or self._stood_still(earlier.at, later.at)
        # Where the browser was silent, the gateway was not.
        seconds = heard[-1].at - heard[0].at
        seconds -= sum(end - start for start, end in self.stood_still)
        assert len(heard) * 0.02 > seconds - 1.5

    def _stood_still(self, start: float, end: float) -> bool:
        return any(since < end and until > start for since, until in self.stood_still)

    async def _watch_loop(self) -> None:
        while True:
            slept_at = time.time()
            await asyncio.sleep(0.01)
            if time.time() - slept_at > STOOD_STILL_S:
                self.stood_still.append((slept_at, time.time()))

    async def close(self) -> None:
        """No longer look at the loop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    def _trickle(self, candidate: str, ufrag: str) -> None:
        if self.relay is None:
            self.leg.add_candidate(candidate, ufrag)

    def _take(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        if message["type"] == "offer":
            task = asyncio.ensure_future(self._take_offer(message["sdp"]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _take_offer(self, sdp: str) -> None:
        self.leg.take_answer(await self.page.evaluate(TAKE_OFFER, sdp))

    def _via_relay(self, answer: str) -> str:
        """Our answer, with the relay's port in place of our own."""
        if self.relay is None:
            return answer
        port = str(self.transport._port.port)
        return re.sub(rf"(\budp \d+ \S+) {port} typ", rf"\g<1> {self.relay.port} typ", answer)


class Relay:
    """A NAT between a browser and the gateway, which can forget the port it has given."""

    def __init__(self, gateway: tuple[str, int]) -> None:
        self._gateway = gateway
        self._loop = asyncio.get_running_loop()
        self._inner = self._bind()
        self._outer = self._bind()
        self._browser: tuple[str, int] | None = None
        self.port = int(self._inner.getsockname()[1])
        self._loop.add_reader(self._inner, self._from_browser)
        self._loop.add_reader(self._outer, self._from_gateway)

    def rebind(self) -> None:
        """From now on the browser is seen with another port; what comes to the old one is lost."""
        self._loop.remove_reader(self._outer)
        self._outer.close()
        self._outer = self._bind()
        self._loop.add_reader(self._outer, self._from_gateway)

    def close(self) -> None:
        for each in (self._inner, self._outer):
            self._loop.remove_reader(each)
            each.close()

    def _bind(self) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.setblocking(False)
        bound.bind((GATEWAY, 0))
        return bound

    def _from_browser(self) -> None:
        data, self._browser = self._inner.recvfrom(2048)
        self._outer.sendto(data, self._gateway)

    def _from_gateway(self) -> None:
        data, _ = self._outer.recvfrom(2048)
        if self._browser is not None:
            self._inner.sendto(data, self._browser)


class Site:
    """A gateway, a browser on another machine, and calls between them."""

    def __init__(self, net: TwoLinks, browser: Browser) -> None:
        self.net, self.browser = net, browser

    @asynccontextmanager
    async def call(
        self, firefox: Firefox | None = None, *, via_relay: bool = False
    ) -> AsyncIterator[MobileCall]:
        """Place one, in Chromium unless in a Firefox that is given."""
        loop = asyncio.get_running_loop()
        certificate = generate_certificate(datetime.datetime.now(datetime.UTC))
        sip = SipSocket()
        config = parse_config(tomllib.loads(CONFIG.format(carrier=sip.port)), Path("node.toml"), {})
        node = Node(config, version="1", loop=loop, pacer=Pacer(loop), certificate=certificate)
        up, down = self.net.watch(self.net.gateway), self.net.watch(self.net.browser)
        async with rtp_peer() as media, self._page(firefox) as page:
            carrier = Carrier(sip, media)
            call = MobileCall(page, carrier, up, down)
            if via_relay:
                assert node.parties.webrtc is not None
                call.relay = Relay((GATEWAY, node.parties.webrtc.port))
            try:
                await call.place(node)
                yield call
            finally:
                up.close()
                down.close()
                await call.close()
                await node.close()
                await carrier.close()
                if call.relay is not None:
                    call.relay.close()

    @asynccontextmanager
    async def _page(self, firefox: Firefox | None) -> AsyncIterator[MobilePage]:
        if firefox is None:
            context = await self.browser.new_context()
            page = await context.new_page()
            await page.route(PAGE, lambda route: route.fulfill(body=EMPTY))
            await page.goto(PAGE)
            yield page
            await context.close()
            return
        listening = self.net.listen_at_browser()
        async with await asyncio.start_server(_serve_page, sock=listening):
            await firefox.goto(f"http://localhost:{listening.getsockname()[1]}/")
            yield FirefoxPage(firefox)
            await firefox.goto("about:blank")


async def _serve_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An empty page, at whatever address."""
    await reader.readuntil(b"\r\n\r\n")
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(EMPTY)}\r\nContent-Type: text/html\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n{EMPTY}".encode())
    await writer.drain()
    writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    if not can_make_namespaces():
        pytest.skip("network namespaces need root, and a container that allows them")
    async with AsyncExitStack() as stack:
        net = stack.enter_context(TwoLinks())
        launcher = net.launcher(tmp_path_factory.mktemp("chromium"), chromium.EXECUTABLE)
        options = BrowserOptions(executable=str(launcher))
        yield Site(net, await stack.enter_async_context(open_browser(options)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def firefox(site: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Firefox]:
    directory = tmp_path_factory.mktemp("firefox")
    launcher = str(site.net.launcher(directory, mozilla.EXECUTABLE))
    dial = site.net.dial_browser
    async with open_firefox(directory, executable=launcher, dial=dial) as running:
        yield running


def link_of(host: str) -> int:
    return int(host.split(".")[2])


def told(what: str, up: float, down: float) -> None:
    """Print what a change has cost."""
    print(f"\n{what}: {1000 * up:.0f} ms up, {1000 * down:.0f} ms down")  # noqa: T201 - a figure to look at, not to assert


async def test_lost_link_is_replaced_without_any_signalling(site: Site) -> None:
    net = site.net
    # Without an ICE restart Chromium takes up no interface that comes later: what was down stays
    # out of use, what was only a black hole does not.
    ways = (("black hole", net.lose, net.find),) * 2 + (("down", net.take_down, net.bring_up),)
    async with site.call() as call:
        gaps: list[tuple[float, float]] = []
        for what, cut, mend in ways:
            before, since = call.transport._address, time.time()
            cut(link_of(before[0]))
            try:
                await call.until_moved_from(before)
                await call.talk(40)
            finally:
                mend(link_of(before[0]))
            gaps.append(call.gaps(since))
            told(f"link {link_of(before[0])} lost ({what})", *gaps[-1])
            await call.talk(15)

    # The best of three: other work on this machine is no fault of the path.
    assert min(max(each) for each in gaps) <= BUDGET_S
    assert [each for each in call.messages if each["type"] == "offer"] == []
    assert call.states == [TransportState.CONNECTED]
    call.assert_carrier_heard_no_break()


async def test_restart_on_an_unchanged_path_costs_one_packet_at_most(site: Site) -> None:
    async with site.call() as call:
        before = await call.page.evaluate(STATS)
        since = time.time()

        for _ in range(3):
            await call.restart()
            await call.talk(50)

        told("three restarts", *call.gaps(since))
        after = await call.page.evaluate(STATS)

    assert after["lost"] - before["lost"] <= 1
    assert call.down.lost(since) <= 1
    assert call.up.lost(since) <= 1
    assert call.states == [TransportState.CONNECTED]
    call.assert_carrier_heard_no_break()


async def test_gateway_offers_a_restart_that_costs_nothing(site: Site) -> None:
    async with site.call() as call:
        before = await call.page.evaluate(STATS)

        call.leg.restart()
        await call.talk(75)

        after = await call.page.evaluate(STATS)
        assert len(call.transport._port.mux.by_ufrag) <= 2

    assert after["lost"] - before["lost"] <= 1
    assert call.states == [TransportState.CONNECTED]
    call.assert_carrier_heard_no_break()


async def test_call_goes_on_once_the_browser_sees_its_new_link(site: Site) -> None:
    site.net.take_down(2)
    try:
        async with site.call() as call:
            since = time.time()
            site.net.bring_up(2)
            site.net.take_down(1)

            await call.until(lambda: call.remote == "10.77.2.2")
            await call.talk(50)

            told("one link for the other", *call.gaps(since))
            call.assert_carrier_heard_no_break()
    finally:
        site.net.bring_up(1)
        site.net.bring_up(2)


async def test_nat_rebinding_costs_nothing(site: Site) -> None:
    await rebind_in(site.call(via_relay=True))


async def rebind_in(placed: AbstractAsyncContextManager[MobileCall]) -> None:
    """A NAT rebinds three times in a call."""
    async with placed as call:
        assert call.relay is not None
        since = time.time()
        lost: list[int] = []

        for _ in range(3):
            before, rebound_at = call.transport._address, time.time()
            call.relay.rebind()
            await call.until_moved_from(before)
            await call.talk(25)
            lost.append(call.down.lost(rebound_at - 0.1))

        told("three rebindings of a NAT", *call.gaps(since))

    assert call.up.lost(since) == 0
    assert min(lost) <= 1  # what is sent until the first packet comes from the new port
    assert call.states == [TransportState.CONNECTED]
    call.assert_carrier_heard_no_break()


async def test_rebinding_costs_firefox_nothing(site: Site, firefox: Firefox) -> None:
    await rebind_in(site.call(firefox, via_relay=True))


async def test_firefox_restarts_on_its_path_and_on_another(site: Site, firefox: Firefox) -> None:
    net = site.net
    async with site.call(firefox) as call:
        since = time.time()
        await call.restart()
        await call.talk(50)
        told("restart in Firefox", *call.gaps(since))
        assert call.up.lost(since) <= 1
        assert call.down.lost(since) <= 1

        # It gathers from the default route alone, so that nothing but a restart can help.
        since, before = time.time(), call.transport._address
        net.take_down(link_of(before[0]))
        try:
            while await call.page.evaluate(PATH) != "disconnected":
                await asyncio.sleep(0.01)
            await call.restart()
            await call.until_moved_from(before)
            await call.talk(50)
        finally:
            net.bring_up(link_of(before[0]))
        told("link lost, and restart, in Firefox", *call.gaps(since))

    call.assert_carrier_heard_no_break()

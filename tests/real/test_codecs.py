"""Codecs with telephones of other makes, and a browser's Opus that nobody touches."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.real.test_baresip import assert_tone
from tests.real.test_page_call import wait_for_state
from tests.support.audio import record_page, tone, write_wav
from tests.support.baresip import Baresip, Registration, free_sip_port, running_baresip
from tests.support.browser import BrowserOptions, open_browser, open_page
from tests.support.events import call_events
from tests.support.gateway import Gateway, running_gateway
from tests.support.linphone import running_linphone

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

PAGE_HZ, LINPHONE_HZ, PHONE_HZ = 4500, 5000, 6000
"Not to be heard in 8 kHz."

MORE = """
[[trunk]]
name = "baresip-g722"
uri = "sip:127.0.0.1:{g722}"
codecs = ["G722"]

[[trunk]]
name = "baresip-opus"
uri = "sip:127.0.0.1:{opus}"
codecs = ["opus"]

[[trunk]]
name = "ourselves"
uri = "sip:127.0.0.1:OURS"
codecs = ["opus", "PCMU"]

[[user]]
name = "lin-opus"
password_env = "PHONES"
allow_md5 = true
codecs = ["opus"]

[[user]]
name = "lin-g722"
password_env = "PHONES"
allow_md5 = true
codecs = ["G722"]

[[route]]
from = ["browser", "user"]
match = "+1722*"
to = ["trunk:baresip-g722"]

[[route]]
from = ["browser", "user"]
match = "+1678*"
to = ["trunk:baresip-opus"]

[[route]]
from = "browser"
match = "+1777*"
to = ["trunk:ourselves"]

[[route]]
from = "trunk:ourselves"
match = "+1777*"
to = ["agent:echo"]
"""

TO_G722, TO_OPUS, TO_OURSELVES = "+17225550100", "+16785550100", "+17775550100"

# What goes to the network and what comes from it, as Opus: neither encoder nor decoder between.
TAP = """
window.taps = { sent: [], received: [] };
const tap = (streams, list) => streams.readable
  .pipeThrough(new TransformStream({
    transform(frame, controller) {
      list.push(Array.from(new Uint8Array(frame.data), b => b.toString(16)).join(" "));
      controller.enqueue(frame);
    },
  }))
  .pipeTo(streams.writable);
const Native = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Native {
  constructor(options) {
    super({ ...options, encodedInsertableStreams: true });
    this.addEventListener("track", ({ receiver }) =>
      tap(receiver.createEncodedStreams(), window.taps.received));
  }
  addTrack(...given) {
    const sender = super.addTrack(...given);
    tap(sender.createEncodedStreams(), window.taps.sent);
    return sender;
  }
  addTransceiver(...given) {
    const transceiver = super.addTransceiver(...given);
    tap(transceiver.sender.createEncodedStreams(), window.taps.sent);
    return transceiver;
  }
};
"""


@dataclass
class Site:
    """The gateway, a browser that says a tone, and where telephones are expected."""

    directory: Path
    gateway: Gateway
    browser: Browser
    ports: dict[str, int]
    telephones: int = 0

    @asynccontextmanager
    async def baresip(self, codec: str) -> AsyncIterator[Baresip]:
        """The telephone of a trunk."""
        self.telephones += 1
        number = TO_G722 if codec == "g722" else TO_OPUS
        async with running_baresip(
            self.directory / f"baresip{self.telephones}",
            port=self.ports[codec],
            says_hz=PHONE_HZ,
            number=number,
            codec="opus/48000/1" if codec == "opus" else "g722/16000/1",
        ) as baresip:
            yield baresip

    @asynccontextmanager
    async def page(self, to: str, script: str = "") -> AsyncIterator[Page]:
        """A page in a call."""
        async with open_page(self.browser, "about:blank") as page:
            await page.add_init_script(script)
            await page.goto(f"{self.gateway.url}/?to={to.replace('+', '%2B')}&processing=off")
            await page.get_by_role("button", name="Call", exact=True).click()
            await wait_for_state(page, "in-call")
            yield page
            await page.get_by_role("button", name="Hang up").click()
            await wait_for_state(page, "ended")
        await self.gateway.wait_for_calls(0)

    async def codecs(self) -> dict[str, str]:
        """Of the legs of the only call, by their targets."""
        (listed,) = (await self.gateway.get("/v1/calls"))["calls"]
        call = await self.gateway.get(f"/v1/calls/{listed['id']}")
        return {leg["target"]: leg["quality"]["codec"] for leg in call["legs"]}

    async def is_there(self, user: str) -> bool:
        """Whether a user's phone is registered."""
        users = (await self.gateway.get("/v1/users"))["users"]
        return any(each["contacts"] for each in users if each["name"] == user)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("codecs")
    speaks = write_wav(directory / "tone.wav", tone(PAGE_HZ, 10))
    ports = {"g722": free_sip_port(), "opus": free_sip_port()}

    def edit(text: str) -> str:
        found = re.search(r'listen = \[?"udp:127\.0\.0\.1:(\d+)', text)
        assert found is not None, text
        return text.replace("OURS", found[1])

    async with (
        running_gateway(
            directory, MORE.format(**ports), edit=edit, environment={"PHONES": "secret"}
        ) as gateway,
        open_browser(BrowserOptions(speaks=speaks, repeats=True)) as browser,
    ):
        yield Site(directory, gateway, browser, ports)


async def test_page_and_baresip_hear_each_other_wideband_in_g722(site: Site) -> None:
    async with site.baresip("g722") as baresip, site.page(TO_G722) as page:
        await baresip.wait_for_audio(0.5)
        codecs = await site.codecs()
        (_, page_heard), phone_heard = await asyncio.gather(
            record_page(page, 1.5), baresip.listen(1.5)
        )

    assert codecs == {"browser": "opus", "trunk:baresip-g722": "G722"}
    assert_tone(page_heard.part(0.5, 1.5), PHONE_HZ, -12, within_db=3)
    assert_tone(phone_heard.part(0.5, 1.5), PAGE_HZ, -12, within_db=3)


async def test_page_and_baresip_hear_each_other_in_opus(site: Site) -> None:
    async with site.baresip("opus") as baresip, site.page(TO_OPUS) as page:
        await baresip.wait_for_audio(0.5)
        codecs = await site.codecs()
        (_, page_heard), phone_heard = await asyncio.gather(
            record_page(page, 1.5), baresip.listen(1.5)
        )

    assert codecs == {"browser": "opus", "trunk:baresip-opus": "opus"}
    assert_tone(page_heard.part(0.5, 1.5), PHONE_HZ, -12, within_db=3)
    assert_tone(phone_heard.part(0.5, 1.5), PAGE_HZ, -12, within_db=3)


async def test_the_browsers_opus_comes_back_byte_for_byte(site: Site) -> None:
    """By way of a trunk that leads to ourselves: four legs, and the echo at their end."""
    async with site.page(TO_OURSELVES, TAP) as page:
        await page.wait_for_function("() => window.taps.received.length > 100")
        taps: dict[str, Any] = await page.evaluate("window.taps")

    sent, received = taps["sent"], taps["received"][50:100]
    # Where a machine is too busy for a packet, what is filled in for it is ours, and no fullband.
    modes = {frame.split()[0] for frame in sent}
    relayed = [frame for frame in received if frame.split()[0] in modes]
    assert set(relayed) <= set(sent)
    assert len(set(relayed)) > 10


@pytest.mark.parametrize(("spoken", "called"), [("opus", "g722"), ("g722", "opus")])
async def test_linphone_and_baresip_hear_each_other(site: Site, spoken: str, called: str) -> None:
    registration = Registration(
        f"lin-{spoken}", "secret", f"127.0.0.1:{site.gateway.sip_port}", "udp", codec=spoken
    )
    async with (
        site.baresip(called) as baresip,
        running_linphone(
            site.directory / f"linphone-{spoken}", registration=registration, says_hz=LINPHONE_HZ
        ) as linphone,
    ):
        async with asyncio.timeout(10):
            while not await site.is_there(f"lin-{spoken}"):
                await asyncio.sleep(0.05)
        to = TO_G722 if called == "g722" else TO_OPUS
        await linphone.say(f"call sip:{to}@127.0.0.1:{site.gateway.sip_port}")
        await baresip.wait_for_audio(0.7)
        codecs = await site.codecs()
        there, here = await asyncio.gather(baresip.listen(1.0), linphone.listen(1.0))
        await linphone.say("terminate")
        await site.gateway.wait_for_calls(0)

    assert {name.lower() for name in codecs.values()} == {"opus", "g722"}
    # Linphone's G.722 is 6 dB off, lower when it speaks and louder when it hears; baresip's is not.
    off_db = 6 if spoken == "g722" else 0
    assert_tone(there, LINPHONE_HZ, -12 - off_db, within_db=3)
    assert_tone(here, PHONE_HZ, -12 + off_db, within_db=3)


async def test_g729_alone_is_refused_by_its_name(site: Site) -> None:
    sdp = (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=audio 4000 RTP/AVP 18 101\r\na=rtpmap:101 telephone-event/8000\r\n"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        phone.settimeout(5)
        host, port = phone.getsockname()
        invite = (
            "INVITE sip:echo@127.0.0.1 SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKg\r\n"
            f"From: <sip:old@{host}>;tag=g\r\nTo: <sip:echo@127.0.0.1>\r\nCall-ID: g729\r\n"
            f"CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:old@{host}:{port}>\r\n"
            f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}"
        )
        async with call_events(site.gateway) as events:
            await site.gateway.get("/healthz")  # by now it is heard what we subscribed to
            phone.sendto(invite.encode(), ("127.0.0.1", site.gateway.sip_port))
            answers = await asyncio.to_thread(_until_final, phone)
            refused = await events.next("call.refused")

    assert answers[0].startswith("SIP/2.0 488 ")
    assert 'Warning: 305 voice-gateway "no common codec: audio has G729' in answers[0]
    assert (refused["source"], refused["status"]) == ("sip", 488)
    assert "G.729 is not spoken here" in refused["text"]
    assert any("G.729 is not spoken here" in line for line in site.gateway.log)


def _until_final(phone: socket.socket) -> list[str]:
    """The final response, in a list of its own."""
    while True:
        response = phone.recv(4096).decode()
        if not response.startswith("SIP/2.0 1"):
            return [response]

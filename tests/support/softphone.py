"""JsSIP and SIP.js in a real browser: softphones that speak SIP over WebSocket."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from tests.support.audio import Recording, record_page
from tests.support.browser import WAIT_AT_MOST_MS
from tests.support.gateway import Gateway

FOLDER = Path(__file__).parents[1] / "softphone"
BUNDLES = FOLDER / ".made"
MAKES = ("jssip", "sipjs")

SETTLE_S = 0.4
"What is heard first is not measured: the jitter buffer of a browser stretches it."

# An oscillator in the place of the microphone, so that it can be told who is heard. The real one
# is opened too: a page that has it may play sound without having been clicked.
SAYS = """
({ hz, bursts }) => {
  window.realMicrophone ??= navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    await window.realMicrophone(wanted);
    await window.saying?.close();
    const context = (window.saying = new AudioContext());
    await context.resume();
    const tone = new OscillatorNode(context, { frequency: hz });
    const volume = new GainNode(context, { gain: 0.35 });
    const said = context.createMediaStreamDestination();
    tone.connect(volume).connect(said);
    if (bursts) {
      volume.gain.value = 0;
      for (let at = Math.ceil(context.currentTime) + 0.5; at < 60; at += 1) {
        volume.gain.setValueAtTime(0.35, at);
        volume.gain.setValueAtTime(0, at + 0.1);
      }
    }
    tone.start();
    return said.stream;
  };
}
"""

# What must not change while a call is held (RFC 8842 §5.5).
SECURITY = """
async () => {
  let reports, transport;
  do {
    reports = await phone.pc.getStats();
    transport = [...reports.values()].find((report) => report.type === "transport");
  } while (!reports.get(transport?.remoteCertificateId));
  const fingerprint = (id) => reports.get(id).fingerprint;
  return {
    state: transport.dtlsState,
    role: transport.dtlsRole,
    ours: fingerprint(transport.remoteCertificateId),
    theirs: fingerprint(transport.localCertificateId),
  };
}
"""

LIMIT = """
(bits) => {
  const sender = phone.pc.getSenders()[0];
  const parameters = sender.getParameters();
  parameters.encodings[0].maxBitrate = bits;
  return sender.setParameters(parameters);
}
"""

COUNTS = """
async () => {
  const counts = { sent: 0, sent_bytes: 0, received: 0, received_bytes: 0 };
  for (const report of (await phone.pc.getStats()).values()) {
    if (report.type === "outbound-rtp") {
      counts.sent += report.packetsSent;
      counts.sent_bytes += report.bytesSent;
    } else if (report.type === "inbound-rtp") {
      counts.received += report.packetsReceived;
      counts.received_bytes += report.bytesReceived;
    }
  }
  return counts;
}
"""


@dataclass(frozen=True, slots=True)
class Says:
    """What a softphone says in the place of a microphone."""

    hz: float
    in_bursts: bool = False
    "100 ms in each second, to measure delay by; else all the time."


@dataclass(frozen=True, slots=True)
class Counts:
    """RTP of a phone: packets, and bytes of payload."""

    sent: int
    sent_bytes: int
    received: int
    received_bytes: int

    def __sub__(self, before: Counts) -> Counts:
        """Since then."""
        return Counts(
            self.sent - before.sent,
            self.sent_bytes - before.sent_bytes,
            self.received - before.received,
            self.received_bytes - before.received_bytes,
        )

    @property
    def mean_sent(self) -> float:
        """Bytes of payload in a packet."""
        return self.sent_bytes / self.sent

    @property
    def mean_received(self) -> float:
        """Bytes of payload in a packet."""
        return self.received_bytes / self.received


@cache
def bundle(make: str) -> str:
    """The script of one make, in one file."""
    target = BUNDLES / f"{make}.js"
    subprocess.run(
        [
            str(FOLDER / "node_modules/.bin/esbuild"),
            str(FOLDER / f"{make}.js"),
            "--bundle",
            "--log-level=error",
            f"--outfile={target}",
        ],
        check=True,
        timeout=60,
    )
    return target.read_text(encoding="utf-8")


class Softphone:
    """One browser softphone."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def renew(self, says: Says) -> None:
        """Be a new phone, in the same page."""
        await self.page.evaluate(SAYS, {"hz": says.hz, "bursts": says.in_bursts})
        await self.page.evaluate("() => void newPhone()")

    async def register(
        self, gateway: Gateway, user: str, password: str, *, expect: str = "registered"
    ) -> None:
        """Register over the gateway's WebSocket, and wait for the outcome."""
        await self.page.evaluate(
            "(options) => void window.phone.start(options)",
            {
                "socket": gateway.url.replace("http", "ws") + "/v1/sip",
                "uri": f"sip:{user}@localhost",
                "password": password,
            },
        )
        await self.wait_for(expect)

    async def connect(self, socket: str) -> None:
        """Be nobody's phone (JsSIP alone): calls go through whoever has that WebSocket."""
        await self.page.evaluate(
            "(options) => void window.phone.start(options)",
            {"socket": socket, "uri": "sip:somebody@localhost", "register": False},
        )
        await self.wait_for("connected")

    async def dial(self, to: str) -> None:
        """Call; returns at once."""
        await self.page.evaluate("(to) => void window.phone.dial(to)", f"sip:{to}@localhost")

    async def do(self, command: str) -> None:
        """One of answer, hold, resume, hangUp, stop; waits for what it promises."""
        await self.page.evaluate(f"async () => void (await window.phone.{command}())")

    async def press(self, digits: str, command: str = "press") -> None:
        """Press keys, one after the other; returns at once."""
        await self.page.evaluate(f"(digits) => window.phone.{command}(digits)", digits)

    async def transfer(self, to: str) -> None:
        """Have us call somebody in its place: REFER."""
        await self.page.evaluate("(to) => void window.phone.transfer(to)", f"sip:{to}@localhost")

    async def wait_for(self, state: str) -> None:
        """Until the phone is there, or 8 s."""
        await self.wait_until(f"phone.state === {state!r}")

    async def until_up(self) -> None:
        """Until its call is answered and its media goes both ways."""
        await self.wait_for("up")
        await self.wait_until("phone.pc.connectionState === 'connected'")

    async def wait_until(self, expression: str) -> None:
        """Until a JavaScript expression is true, or 8 s."""
        try:
            await self.page.wait_for_function(
                f"() => {expression}", polling=10, timeout=WAIT_AT_MOST_MS
            )
        except Exception as error:
            now = await self.read("[phone.state, phone.failures.map(String)]")
            raise AssertionError(f"the softphone is {now}, not where {expression}") from error

    async def read(self, expression: str) -> Any:
        """The value of a JavaScript expression; of a function, what it returns."""
        return await self.page.evaluate(expression)

    # ---- what it hears, and how

    async def hear(self, seconds: float = 0.4) -> Recording:
        """What it hears, once that has settled."""
        _, heard = await record_page(self.page, SETTLE_S + seconds)
        return heard.part(SETTLE_S, SETTLE_S + seconds)

    async def direction(self) -> str:
        """What offer and answer let it do: sendrecv, sendonly, recvonly or inactive."""
        return str(await self.read("phone.pc.getTransceivers()[0].currentDirection"))

    async def security(self) -> dict[str, str]:
        """Its DTLS session, once there is one: state, role, and both fingerprints."""
        return dict(await self.read(SECURITY))

    async def limit(self, bits_per_s: int) -> None:
        """Let its encoder make less of what it says."""
        await self.page.evaluate(LIMIT, bits_per_s)

    async def counts(self) -> Counts:
        """RTP since the beginning of the call."""
        return Counts(**await self.read(COUNTS))


@asynccontextmanager
async def open_softphone(
    browser: Browser, gateway: Gateway, make: str, *, says: Says | None = None
) -> AsyncIterator[Softphone]:
    """A softphone in a page of the gateway's own origin, not yet registered."""
    context = await browser.new_context()
    try:
        page = await context.new_page()
        # A document that really came from this machine: one that the test makes up counts as of
        # the public Internet, which may open no socket to loopback.
        await page.goto(f"{gateway.url}/healthz")
        await page.evaluate(bundle(make))
        phone = Softphone(page)
        if says is not None:
            await phone.renew(says)
        yield phone
    finally:
        await context.close()

"""Firefox calls and is called through the page; its path is restarted, its page reloaded."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import hypercorn.asyncio
import hypercorn.config
import numpy as np
import pytest
import pytest_asyncio

from gateway.api.page import Send
from gateway.api.server import Access, OpenSockets, create_server
from gateway.api.signalling import Pages
from gateway.call.call import Call
from gateway.leg.browser import BrowserLeg
from gateway.node import Node
from gateway.private import Private
from tests.support.audio import Recording, report
from tests.support.caller import node_and_caller
from tests.support.firefox import Firefox, open_firefox
from tests.support.gateway import ROOT, free_port, running_gateway

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

RECORD = """(async () => {
  const recorder = new MediaRecorder(phone.remoteStream);
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.start();
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await new Promise((resolve) => { recorder.onstop = resolve; recorder.stop(); });
  const bytes = await new Blob(parts).arrayBuffer();
  const sound = await new OfflineAudioContext(1, 48000, 48000).decodeAudioData(bytes);
  const samples = Int16Array.from(sound.getChannelData(0), (sample) => 32767 * sample);
  let text = "";
  for (const byte of new Uint8Array(samples.buffer)) text += String.fromCharCode(byte);
  return btoa(text);
})()"""
"Without a sound device Firefox's AudioContext stands still; a recorder does not."

UFRAG = "phone.pc.currentRemoteDescription.sdp.match(/ice-ufrag:(.*)/)[1]"
TALKS = "phone.state === 'in-call' && phone.path === '' && phone.pc.connectionState === 'connected'"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def firefox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Firefox]:
    async with open_firefox(tmp_path_factory.mktemp("firefox")) as running:
        yield running


async def hears_itself(firefox: Firefox) -> None:
    """Until its microphone's tone has come back from the far end."""
    async with asyncio.timeout(20):
        while True:
            pcm = np.frombuffer(base64.b64decode(await firefox.evaluate(RECORD)), "<i2")
            heard = Recording(pcm.astype(np.float64) / 32768, 48_000)
            if heard.level_dbfs > -40:
                assert heard.part(0.3, 0.8).peak_hz == pytest.approx(440, rel=0.02)
                return


async def test_f16_firefox_calls_restarts_its_path_and_reloads(
    firefox: Firefox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_gateway(tmp_path) as gateway:
        await firefox.goto(f"{gateway.url}/?to=%2B15550100&processing=off")
        await firefox.wait_for("document.querySelector('#link').dataset.state === 'open'")
        await firefox.click("#place")
        await firefox.wait_for(TALKS)
        await hears_itself(firefox)
        name, ufrag = await firefox.evaluate(f"[phone.gatewayId, {UFRAG}]")

        await firefox.evaluate("phone.call.networkChanged()")
        await firefox.wait_for(f"{UFRAG} !== '{ufrag}' && {TALKS}")
        await hears_itself(firefox)
        await firefox.reload()
        await firefox.wait_for(TALKS)
        await hears_itself(firefox)

        (call,) = (await gateway.get("/v1/calls"))["calls"]
        assert call["id"] == name == await firefox.evaluate("phone.gatewayId")
        quality = await firefox.evaluate("phone.quality()")
        report(capsys, f"Firefox, restarted and reloaded: {quality['loss_percent']} % lost")
        await firefox.click("#hang-up")
        await gateway.wait_for_calls(0)


@asynccontextmanager
async def serving_pages(node: Node) -> AsyncIterator[tuple[str, Pages]]:
    """The page of a node in this process."""
    pages, shut = Pages(node), asyncio.Event()
    app = create_server(
        access=Access(None),
        web=ROOT / "web",
        version=node.version,
        operations=(),
        sockets={"/v1/signal": pages.serve},
        open_sockets=OpenSockets(),
    )
    port = free_port(socket.SOCK_STREAM)
    settings = hypercorn.config.Config()
    settings.bind, settings.graceful_timeout = [f"127.0.0.1:{port}"], 1
    listening = asyncio.Event()

    async def until_shut() -> None:  # asked for by hypercorn once it listens
        listening.set()
        await shut.wait()

    serving = asyncio.ensure_future(
        hypercorn.asyncio.serve(app, settings, shutdown_trigger=until_shut)
    )
    try:
        async with asyncio.timeout(10):
            await listening.wait()
        yield f"http://localhost:{port}/", pages
    finally:
        shut.set()
        await serving


async def test_firefox_is_called_and_accepts(firefox: Firefox) -> None:
    async with node_and_caller() as caller, serving_pages(caller.node) as (url, pages):
        node = caller.node
        await firefox.goto(f"{url}?processing=off")
        await firefox.wait_for("document.querySelector('#link').dataset.state === 'open'")

        def ring(send: Send) -> tuple[BrowserLeg, Call]:
            """The page is rung; when it accepts, the lab's echo is called for it."""
            plan = node.config.router.plan("browser", "+15550100")
            leg = node.parties.page(plan, send)
            numbers = (Private(""), Private("+15550100"))
            call = node.registry.place(
                leg, plan, caller_target="browser", numbers=numbers, dial_caller=True
            )
            return leg, call

        (page,) = pages
        page.ring("in-1", ring)
        await firefox.wait_for("!document.querySelector('#incoming').hidden")
        await firefox.click("#accept")
        await firefox.wait_for(TALKS)
        await hears_itself(firefox)

        await firefox.click("#hang-up")
        await firefox.wait_for("phone.state === 'ended'")
        async with asyncio.timeout(5):
            while caller.calls():
                await asyncio.sleep(0.05)
        await firefox.goto("about:blank")

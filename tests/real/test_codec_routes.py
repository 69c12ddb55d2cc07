"""A node, made of a configuration, that answers pages as their routes say; no browser."""

from __future__ import annotations

import asyncio
import datetime
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from gateway.codec import OPUS, PCMA, PCMU, TELEPHONE_EVENT, TELEPHONE_EVENT_48K, Codec
from gateway.config import DEFAULT_FILE, parse_config
from gateway.errors import CodecError
from gateway.leg.leg import EndReason
from gateway.media.effort import Effort
from gateway.net.load import LoadWatch
from gateway.net.pacer import Pacer
from gateway.node import Node
from gateway.sdp.description import MediaDescription, Origin, parse_sdp
from gateway.sdp.negotiation import build_offer
from gateway.webrtc.certificate import Certificate, generate_certificate
from gateway.webrtc.options import WebRtcOptions
from gateway.webrtc.port import WebRtcPort
from tests.support.gateway import config_text

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]

ROUTES = """
[[trunk]]
name = "narrow"
uri = "sip:127.0.0.1:9"
codecs = ["PCMA"]

[[route]]
from = "browser"
match = "auto"
to = ["trunk:narrow"]

[[route]]
from = "browser"
match = "never"
to = ["trunk:narrow"]
transcode = "never"

[[route]]
from = "browser"
match = "prefers"
to = ["trunk:narrow"]
codecs = ["PCMU"]
"""

CERTIFICATE: Certificate = generate_certificate(datetime.datetime.now(datetime.UTC))
ALL = (OPUS, PCMU, PCMA, TELEPHONE_EVENT_48K, TELEPHONE_EVENT)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    loop = asyncio.get_running_loop()
    text, _ = config_text(ROUTES)
    config = parse_config(tomllib.loads(text), DEFAULT_FILE, {})
    load = LoadWatch(loop=loop, max_cpu=0)
    node = Node(
        config, version="test", loop=loop, pacer=Pacer(loop), certificate=CERTIFICATE, load=load
    )
    yield node
    await node.close()
    load.close()


@asynccontextmanager
async def calling(
    node: Node, to: str, codecs: tuple[Codec, ...]
) -> AsyncIterator[list[dict[str, Any]]]:
    """What a page is told that calls there and offers these, while it calls."""
    port = WebRtcPort.open(WebRtcOptions(listen="127.0.0.1:0"), CERTIFICATE)
    try:
        media = port.new_transport().describe(MediaDescription(rtcp_mux=True))
        offer = build_offer(media, codecs=codecs, origin=Origin("1", 1, "127.0.0.1"))
        told: list[dict[str, Any]] = []
        _, call = node.call_from_page(to, str(offer), "", told.append)
        yield told
        node.registry.end(call.id, EndReason.HANGUP)
    finally:
        await port.close()


async def answer(node: Node, to: str, codecs: tuple[Codec, ...]) -> MediaDescription:
    """What a page is answered that calls there and offers these."""
    async with calling(node, to, codecs) as told:
        (sdp,) = (message["sdp"] for message in told if message["type"] == "answer")
        return parse_sdp(sdp).media[0]


@pytest.mark.parametrize(
    ("to", "spoken"), [("auto", "opus"), ("never", "PCMA"), ("prefers", "PCMU")]
)
async def test_a_page_is_answered_as_its_route_says(node: Node, to: str, spoken: str) -> None:
    media = await answer(node, to, ALL)

    assert media.codecs[0].name == spoken


async def test_a_page_that_could_not_be_heard_is_refused(node: Node) -> None:
    with pytest.raises(CodecError, match="audio has opus, allowed are PCMA"):
        await answer(node, "never", (OPUS, TELEPHONE_EVENT_48K))


async def test_opus_is_asked_for_narrowband_toward_a_narrow_trunk(node: Node) -> None:
    media = await answer(node, "auto", ALL)

    assert "maxplaybackrate=8000" in media.codecs[0].fmtp


async def test_the_encoder_of_a_call_is_told_to_spend_less(node: Node) -> None:
    workload = node.workload

    async with calling(node, "echo", ALL), asyncio.timeout(5):
        while not workload.count:
            await asyncio.sleep(0.01)
        workload.change(Effort.FRUGAL)

    assert node.effort is Effort.FRUGAL
    workload.change(Effort.FULL)
    assert workload.count == 0

"""A node and a caller in this process: real sockets, no browser, so that calls are quick."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from gateway.call.call import Call
from gateway.codec import OPUS, TELEPHONE_EVENT_48K
from gateway.config import DEFAULT_FILE, parse_config
from gateway.lab.lab import LAB_FILE, LAB_SECRETS, lab_document
from gateway.net.media import TransportState
from gateway.net.pacer import Pacer
from gateway.node import Node
from gateway.options import Config
from gateway.sdp.description import MediaDescription, Origin, parse_sdp
from gateway.sdp.negotiation import build_offer
from gateway.webrtc.certificate import Certificate, generate_certificate
from gateway.webrtc.options import WebRtcOptions
from gateway.webrtc.port import WebRtcPort
from gateway.webrtc.transport import WebRtcTransport
from tests.support.gateway import config_text


class PlacedCall:
    """One call as its page sees it."""

    def __init__(self, node: Node, certificate: Certificate, to: str, name: str) -> None:
        self.messages: list[dict[str, Any]] = []
        self.states: list[TransportState] = []
        self.packets = 0
        # As a browser does: each call has a port of its own.
        options = WebRtcOptions(listen="127.0.0.1:0", controlling=False)
        self._port = WebRtcPort.open(options, certificate)
        self.transport: WebRtcTransport = self._port.new_transport()
        self.transport.on_state = self.states.append
        self.transport.on_packet = self._on_packet
        offer = build_offer(
            self.transport.describe(MediaDescription(rtcp_mux=True)),
            codecs=(OPUS, TELEPHONE_EVENT_48K),
            origin=Origin("1", 1, "127.0.0.1"),
        )
        self.leg, self.call = node.call_from_page(to, str(offer), name, self.messages.append)
        answer = self.find("answer")
        if answer is not None:
            self.transport.accept(parse_sdp(answer["sdp"]).media[0])

    def find(self, kind: str) -> dict[str, Any] | None:
        """The first message of a type."""
        return next((each for each in self.messages if each["type"] == kind), None)

    async def until(self, kind: str, timeout_s: float = 10.0) -> dict[str, Any]:
        """Wait for a message of a type."""
        async with asyncio.timeout(timeout_s):
            while (found := self.find(kind)) is None:
                await asyncio.sleep(0.005)
        return found

    async def until_connected(self, timeout_s: float = 10.0) -> None:
        """Wait for the media path."""
        async with asyncio.timeout(timeout_s):
            while TransportState.CONNECTED not in self.states:
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        """Go without a word in signalling: DTLS says goodbye."""
        await self._port.close()

    def _on_packet(self, data: bytes, now: float) -> None:
        self.packets += 1


class Caller:
    """Calls a node as pages do."""

    def __init__(self, node: Node, lab: Node, certificate: Certificate) -> None:
        self.node = node
        self.lab = lab
        self._certificate = certificate
        self._names = (f"call-{number}" for number in itertools.count())

    def place(self, to: str) -> PlacedCall:
        return PlacedCall(self.node, self._certificate, to, next(self._names))

    def calls(self) -> list[Call]:
        return self.node.registry.calls()


@asynccontextmanager
async def node_and_caller() -> AsyncIterator[Caller]:
    """A node with its lab, and a caller, on free ports; nothing of them is left behind."""
    loop = asyncio.get_running_loop()
    pacer = Pacer(loop)
    text, ports = config_text()
    config = parse_config(tomllib.loads(text), DEFAULT_FILE, {})
    listen = f"udp:127.0.0.1:{ports['lab']}"
    lab_config = parse_config(lab_document(listen), LAB_FILE, LAB_SECRETS)
    certificate = generate_certificate(datetime.datetime.now(datetime.UTC))

    def open_node(config: Config) -> Node:
        return Node(config, version="test", loop=loop, pacer=pacer, certificate=certificate)

    lab, node = open_node(lab_config), open_node(config)
    try:
        yield Caller(node, lab, certificate)
    finally:
        await node.close()
        await lab.close()

"""SIP over WebSockets on the real HTTP server: frames, their limits, and no compression."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hypercorn.asyncio
import hypercorn.config
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.typing import Subprotocol

from gateway.api.server import Access, OpenSockets, create_server
from gateway.api.sip_socket import serve_sip
from gateway.app import MAX_SOCKET_BYTES
from gateway.net.connection import Closing
from gateway.net.transports import SipTransports
from gateway.sip.flow import Flow
from tests.api.site import WEB
from tests.sip.samples import request_bytes
from tests.support.gateway import free_port

pytestmark = [pytest.mark.real, pytest.mark.beside]

REGISTER = request_bytes(method="REGISTER").decode()


class Site:
    """A server with SIP on it, and what it heard."""

    def __init__(self) -> None:
        self.port = free_port(socket.SOCK_STREAM)
        self.heard: list[tuple[bytes, Flow]] = []
        self.transports = SipTransports(
            [],
            loop=asyncio.get_running_loop(),
            tls=None,
            receive=lambda data, flow: self.heard.append((data, flow)),
            on_closed=lambda flow: None,
            admit=lambda source: True,
        )

    async def until_heard(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.heard) < count:
                await asyncio.sleep(0.005)

    def connect(self) -> connect:
        """A phone that asks for compression, as browsers do."""
        return connect(
            f"ws://127.0.0.1:{self.port}/v1/sip",
            subprotocols=[Subprotocol("sip")],
            extensions=[ClientPerMessageDeflateFactory()],
            max_size=None,
        )


@asynccontextmanager
async def serving() -> AsyncIterator[Site]:
    site, listening, stop, sockets = Site(), asyncio.Event(), asyncio.Event(), OpenSockets()
    app = create_server(
        access=Access(None),
        web=WEB,
        version="1",
        operations=[],
        sockets={},
        open_sockets=sockets,
        sip=lambda: serve_sip(site.transports),
    )
    settings = hypercorn.config.Config()
    settings.bind = [f"127.0.0.1:{site.port}"]
    settings.accesslog = settings.errorlog = None
    settings.websocket_max_message_size = MAX_SOCKET_BYTES
    settings.graceful_timeout = 1

    async def until_stopped() -> None:
        listening.set()
        await stop.wait()

    server = asyncio.ensure_future(
        hypercorn.asyncio.serve(app, settings, shutdown_trigger=until_stopped)
    )
    await listening.wait()
    try:
        yield site
    finally:
        site.transports.close()
        await sockets.close()
        stop.set()
        await server


async def closing_of(phone: ClientConnection) -> int | None:
    """The code that a socket is closed with."""
    async with asyncio.timeout(5):
        while True:
            try:
                await phone.recv()
            except ConnectionClosed as closed:
                return None if closed.rcvd is None else closed.rcvd.code


async def test_a19_messages_go_both_ways_uncompressed() -> None:
    async with serving() as site, site.connect() as phone:
        await phone.send(REGISTER)
        await phone.send(b"")
        await phone.send(REGISTER.encode())
        await site.until_heard(2)
        flow = site.heard[0][1]
        site.transports.send(b"SIP/2.0 200 OK", flow)

        assert await phone.recv() == "SIP/2.0 200 OK"
        assert site.heard == [(REGISTER.encode(), flow)] * 2
        assert flow == Flow(
            "ws", ("127.0.0.1", site.port), phone.local_address[:2], flow.connection
        )
        assert phone.subprotocol == "sip"
        # Were this to fail, 64 KiB on the wire could become 64 MiB in memory.
        assert phone.protocol.extensions == []


async def test_a19_a_message_of_more_than_64_kb_ends_the_socket() -> None:
    async with serving() as site, site.connect() as phone:
        await phone.send("x" * (MAX_SOCKET_BYTES + 1))

        assert await closing_of(phone) == 1009
        assert site.heard == []


async def test_a23_a_phone_that_does_not_read_is_cut_off() -> None:
    async with serving() as site, site.connect() as phone:
        await phone.send(REGISTER)
        await site.until_heard(1)
        phone.transport.pause_reading()

        sent = 0
        while site.transports.send(bytes(16_000), site.heard[0][1]):
            sent += 1
            await asyncio.sleep(0)
            assert sent < 2000, "a queue without an end"

        assert site.transports.connections.closings[Closing.TOO_SLOW] == 1
        phone.transport.abort()

"""Who may connect to AudioSocket's port, and what becomes of those who may."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.agents import dialler
from gateway.agents.dialler import Dialler
from gateway.agents.protocol import Opening
from gateway.net import audiosocket
from gateway.net.agent_connection import AgentConnection, ConnectError, Lost, Message
from gateway.net.audiosocket import AudioSocketServer
from gateway.net.destination import Destinations
from gateway.net.tcp import open_tcp_socket

pytestmark = [pytest.mark.real, pytest.mark.beside]


class Taken:
    """A connection as its user has it."""

    def __init__(self, connection: AgentConnection) -> None:
        self.connection = connection
        self.received: list[Message] = []
        self.lost: list[Lost] = []
        connection.start(self.received.append, self.lost.append)


@asynccontextmanager
async def running(*, admits: bool = True) -> AsyncIterator[tuple[AudioSocketServer, list[Taken]]]:
    taken: list[Taken] = []
    server = AudioSocketServer(
        loop=asyncio.get_running_loop(),
        admit=lambda remote: admits,
        take=lambda connection: taken.append(Taken(connection)),
    )
    server.listen(open_tcp_socket("127.0.0.1", 0))
    try:
        yield server, taken
    finally:
        server.close()
        for each in taken:
            each.connection.close()
        async with asyncio.timeout(3):
            while len(server):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def connected(
    server: AudioSocketServer,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*server.addresses[0])
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def until(taken: list[Taken], count: int) -> None:
    async with asyncio.timeout(3):
        while len(taken) < count:
            await asyncio.sleep(0.005)


async def test_what_is_sent_before_anybody_listens_is_not_lost() -> None:
    async with running() as (server, taken), connected(server) as (_, writer):
        writer.write(b"first")
        await until(taken, 1)
        async with asyncio.timeout(3):
            while b"".join(m for m in taken[0].received if isinstance(m, bytes)) != b"first":
                await asyncio.sleep(0.005)


async def test_bytes_go_back() -> None:
    async with running() as (server, taken), connected(server) as (reader, _):
        await until(taken, 1)

        taken[0].connection.send(b"one")
        taken[0].connection.send_audio(b"two")
        taken[0].connection.close()

        assert await asyncio.wait_for(reader.read(), 3) == b"onetwo"


async def test_a18_who_may_not_connect_is_reset_before_a_byte_is_read() -> None:
    async with running(admits=False) as (server, taken):
        with pytest.raises(ConnectionError):
            async with connected(server) as (reader, _):
                await asyncio.wait_for(reader.readexactly(1), 3)

        assert (taken, server.refused) == ([], 1)


async def test_a23_no_more_are_taken_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiosocket, "MAX_CONNECTIONS", 2)
    async with running() as (server, taken), connected(server), connected(server):
        await until(taken, 2)

        with pytest.raises(ConnectionError):
            async with connected(server) as (reader, _):
                await asyncio.wait_for(reader.readexactly(1), 3)

        assert (len(taken), server.refused) == (2, 1)


@pytest.mark.parametrize("is_polite", [True, False])
async def test_who_ends_the_stream_has_finished_and_who_resets_it_has_not(is_polite: bool) -> None:
    async with running() as (server, taken), connected(server) as (_, writer):
        await until(taken, 1)

        if is_polite:
            writer.write_eof()
        else:
            reset(writer)
        async with asyncio.timeout(3):
            while not taken[0].lost:
                await asyncio.sleep(0.005)

        assert taken[0].lost[0].is_finished is is_polite


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection by RST, as a machine does that has no such connection."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_audiosocket_that_does_not_take_connections_is_given_up_after_2_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert dialler.STREAM_CONNECT_S == 2.0
    monkeypatch.setattr(dialler, "STREAM_CONNECT_S", 0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        host, port = full.getsockname()
        url = f"tcp://{host}:{port}"
        dial = Dialler(Destinations(nobody, trusted=[url]))
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as waiting:
            for _ in range(2):  # nobody accepts them: there is no room for a third
                sock = waiting.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex((host, port))
            await asyncio.sleep(0.05)
            began_at = loop.time()

            with pytest.raises(ConnectError):
                await dial(Opening(url), is_stream=True)

    assert 0.1 < loop.time() - began_at < 1.5


async def nobody(host: str, port: int) -> tuple[str, ...]:
    return ()

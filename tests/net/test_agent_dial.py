"""Connections to agents over real sockets: TCP, TLS, uvloop, and where nobody may be called."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gateway.agents.dialler import Dialler
from gateway.agents.protocol import Opening
from gateway.net import agent_dial
from gateway.net.agent_connection import AgentConnection, ConnectError, Lost, Message
from gateway.net.agent_dial import connect
from gateway.net.destination import Destinations, Pinned
from tests.support.certificates import Authority

pytestmark = [pytest.mark.real, pytest.mark.beside]

HOST = "127.0.0.1"


def place(port: int, scheme: str = "ws", host: str = HOST) -> Pinned:
    return Pinned(scheme, host, port, (HOST,), "/")


async def echo(socket: ServerConnection) -> None:
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed:
        pass


@asynccontextmanager
async def serving(
    handle: Callable[[ServerConnection], Coroutine[Any, Any, None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """A WebSocket server; gives its port."""
    async with serve(handle, HOST, 0, ssl=tls, close_timeout=0.2) as server:
        yield next(iter(server.sockets)).getsockname()[1]


class Taken:
    """What came over a connection."""

    def __init__(self, connection: AgentConnection) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.lost: asyncio.Future[Lost] = asyncio.get_running_loop().create_future()
        connection.start(self.messages.put_nowait, self.lost.set_result)

    async def next(self) -> Message:
        async with asyncio.timeout(5):
            return await self.messages.get()


async def talk_both_ways() -> None:
    async with serving(echo) as port:
        connection = await connect(place(port), is_stream=False)
        taken = Taken(connection)
        connection.send("hello")
        connection.send_audio(b"\x01" * 640)
        connection.send_audio(b"\x02" * 300_000)

        assert await taken.next() == "hello"
        assert await taken.next() == b"\x01" * 640
        assert await taken.next() == b"\x02" * 300_000
        connection.close()


async def drop_for_a_slow_reader(tls: ssl.SSLContext | None = None, host: str = HOST) -> None:
    stuck = asyncio.Event()

    async def read_nothing(socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        await stuck.wait()
        socket.transport.abort()

    async with serving(read_nothing, tls) as port:
        where = place(port, "ws" if tls is None else "wss", host)
        connection = await connect(where, is_stream=False)
        taken = Taken(connection)
        for _ in range(20_000):
            connection.send_audio(bytes(960))
            if connection.dropped > 500:
                break
        assert connection.dropped > 500
        stuck.set()
        async with asyncio.timeout(1):  # F18: a reset is noticed within a second
            assert not (await taken.lost).is_finished
        connection.close()


SCENES = [talk_both_ways, drop_for_a_slow_reader]


@pytest.mark.parametrize("scene", SCENES)
async def test_connection_works_on_asyncio(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await scene()


@pytest.mark.parametrize("scene", SCENES)
def test_connection_works_on_uvloop(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    uvloop.run(scene())


async def test_stream_is_connected_and_told_of_its_end() -> None:
    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(3))
        writer.close()

    async with await asyncio.start_server(attend, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        connection = await connect(place(port, "tcp"), is_stream=True)
        taken = Taken(connection)
        connection.send(b"abc")

        assert await taken.next() == b"abc"
        async with asyncio.timeout(1):
            assert (await taken.lost).is_finished
        connection.close()


# ---- TLS


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """An authority that this system trusts, for the time of the test."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    agent_dial._tls.cache_clear()
    monkeypatch.setattr(agent_dial, "_tls", agent_dial._tls.__wrapped__)
    return authority


def server_tls(authority: Authority, name: str) -> ssl.SSLContext:
    pair = authority.issue(name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


async def test_agent_over_tls_is_connected_by_its_name(trusted: Authority) -> None:
    async with serving(echo, server_tls(trusted, "agent.example")) as port:
        connection = await connect(place(port, "wss", "agent.example"), is_stream=False)
        taken = Taken(connection)
        connection.send_audio(b"\x01" * 640)

        assert await taken.next() == b"\x01" * 640
        connection.close()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_slow_reader_over_tls_misses_the_oldest_too(
    trusted: Authority, run: Callable[[Coroutine[Any, Any, None]], None]
) -> None:
    run(drop_for_a_slow_reader(server_tls(trusted, "agent.example"), "agent.example"))


async def test_a21_certificate_of_another_name_is_not_good(trusted: Authority) -> None:
    async with serving(echo, server_tls(trusted, "evil.example")) as port:
        with pytest.raises(ConnectError, match="its certificate is not good"):
            await connect(place(port, "wss", "agent.example"), is_stream=False)


# ---- nobody there, and nobody who may be called


async def test_port_that_nobody_listens_at_is_refused() -> None:
    async with await asyncio.start_server(lambda _r, _w: None, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]

    with pytest.raises(ConnectError, match="cannot be reached"):
        await connect(place(port), is_stream=False)


async def give_up_on_silence(scheme: str) -> None:
    gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass
        writer.close()
        gone.set()

    async with await asyncio.start_server(say_nothing, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connect(place(port, scheme), is_stream=False)
        async with asyncio.timeout(2):  # the connection is closed, not left behind
            await gone.wait()


@pytest.mark.parametrize("scheme", ["ws", "wss"])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_f18_server_that_never_answers_is_given_up_and_left(
    run: Callable[[Coroutine[Any, Any, None]], None], scheme: str
) -> None:
    run(give_up_on_silence(scheme))


@pytest.mark.parametrize(
    "url",
    [
        "ws://127.0.0.1:{port}/",
        "wss://127.0.0.1:{port}/",
        "wss://[::ffff:127.0.0.1]:{port}/",
        "wss://0x7f.1:{port}/",
        "wss://2130706433:{port}/",
        "wss://localhost:{port}/",
        "wss://rebound.example:{port}/",
        "wss://agent.example@127.0.0.1:{port}/",
    ],
)
async def test_a21_url_of_a_stranger_never_leads_to_this_machine(url: str) -> None:
    came = []

    async def look_up(host: str, port: int) -> tuple[str, ...]:
        return (HOST,)

    def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer)
        writer.close()

    async with await asyncio.start_server(take, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        dial = Dialler(Destinations(look_up, trusted=["wss://agent.example/"]))

        with pytest.raises(ConnectError):
            await dial(Opening(url.format(port=port)), is_stream=False)
        await asyncio.sleep(0.02)

    assert not came


async def test_a21_name_is_looked_up_once_and_not_again_for_the_connection() -> None:
    asked = []

    async def look_up(host: str, port: int) -> tuple[str, ...]:
        asked.append(host)
        return (HOST,) if len(asked) == 1 else ("192.0.2.1",)

    async with serving(echo) as port:
        url = f"ws://agent.example:{port}/"
        dial = Dialler(Destinations(look_up, trusted=[url]))
        connection = await dial(Opening(url), is_stream=False)
        connection.close()
        await asyncio.sleep(0.02)

    assert asked == ["agent.example"]

"""What waits for a peer that does not read is bounded; what came early is kept for who reads."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hypercorn.asyncio
import hypercorn.config
import pytest
from quart import Quart, websocket
from websockets.asyncio.client import connect

from gateway.api import audio_socket
from gateway.api.audio_socket import AudioSocketConnection
from gateway.api.peer_watch import watch_peers
from gateway.net.agent_connection import (
    MAX_AUDIO_WAITING,
    MAX_CONTROL_WAITING,
    MAX_EARLY,
    Lost,
    Message,
)
from tests.support.gateway import free_port


async def test_f18_of_audio_that_waits_the_oldest_is_dropped() -> None:
    connection = AudioSocketConnection()

    connection.send("start")
    for number in range(MAX_AUDIO_WAITING + 50):
        connection.send_audio(b"%d" % number)

    waiting = [message for _, message in connection._waiting]
    assert connection.dropped == 50
    assert waiting[:2] == ["start", b"50"]
    assert len(waiting) == MAX_AUDIO_WAITING + 1


async def test_a23_who_reads_nothing_at_all_is_let_go() -> None:
    connection = AudioSocketConnection()
    lost: list[Lost] = []
    connection.start(lambda message: None, lost.append)

    for _ in range(MAX_CONTROL_WAITING + 1):
        connection.send("mark")

    assert [each.is_finished for each in lost] == [False]
    assert not connection.is_open
    assert not connection._waiting


async def test_what_came_early_is_handed_over_and_bounded() -> None:
    connection = AudioSocketConnection()
    for number in range(MAX_EARLY + 5):
        connection._hand_over(str(number))
    received: list[Message] = []

    connection.start(received.append, lambda lost: None)

    assert received == [str(number) for number in range(MAX_EARLY)]


async def test_who_reads_on_gets_what_comes_from_then_on() -> None:
    connection = AudioSocketConnection()
    first: list[Message] = []
    second: list[Message] = []
    connection.start(first.append, lambda lost: None)
    connection._hand_over("one")

    connection.start(second.append, lambda lost: None)
    connection._hand_over("two")

    assert (first, second) == (["one"], ["two"])


async def test_end_is_told_once_and_not_to_who_ended_it() -> None:
    connection = AudioSocketConnection()
    lost: list[Lost] = []
    connection.start(lambda message: None, lost.append)

    connection.close()
    connection._lose(Lost(False, "gone"))
    connection.send("late")

    assert lost == []
    assert not connection._waiting


# ---- over a real socket


@asynccontextmanager
async def served() -> AsyncIterator[tuple[str, list[Lost]]]:
    """A server with one such socket; its URL, and how its peers were lost."""
    watch_peers()
    app, port = Quart("test"), free_port(socket.SOCK_STREAM)
    lost: list[Lost] = []

    @app.websocket("/")
    async def talk() -> None:
        connection = AudioSocketConnection()
        connection.start(lambda message: None, lost.append)
        await websocket.accept()
        await connection.serve()

    settings = hypercorn.config.Config()
    settings.bind = [f"127.0.0.1:{port}"]
    settings.accesslog = settings.errorlog = None
    stop, listens = asyncio.Event(), asyncio.Event()

    async def until_stopped() -> None:
        listens.set()
        await stop.wait()

    serving = asyncio.ensure_future(
        hypercorn.asyncio.serve(app, settings, shutdown_trigger=until_stopped)
    )
    await listens.wait()
    try:
        yield f"ws://127.0.0.1:{port}/", lost
    finally:
        stop.set()
        await serving


async def gone(lost: list[Lost]) -> Lost:
    async with asyncio.timeout(5):
        while not lost:
            await asyncio.sleep(0.01)
    return lost[0]


@pytest.mark.real
@pytest.mark.beside
@pytest.mark.parametrize(("code", "is_finished"), [(1000, True), (1001, False), (4000, False)])
async def test_who_closes_in_good_order_has_finished(code: int, is_finished: bool) -> None:
    async with served() as (url, lost):
        async with connect(url) as peer:
            await peer.close(code)

        assert (await gone(lost)).is_finished is is_finished


@pytest.mark.real
@pytest.mark.beside
async def test_who_breaks_off_is_lost() -> None:
    async with served() as (url, lost):
        async with connect(url) as peer:
            peer.transport.abort()

        assert not (await gone(lost)).is_finished


@pytest.mark.real
@pytest.mark.beside
async def test_f18_who_does_not_answer_pings_is_lost_and_who_does_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert audio_socket.SILENT_S < 2 * audio_socket.PING_S <= 10  # so long it takes at most
    monkeypatch.setattr(audio_socket, "PING_S", 0.1)
    monkeypatch.setattr(audio_socket, "SILENT_S", 0.35)
    async with served() as (url, lost), connect(url) as peer:
        await asyncio.sleep(0.8)
        assert lost == []

        peer.transport.pause_reading()

        assert (await gone(lost)).detail == "pings are not answered"
        peer.transport.abort()

"""Agents that dial us: who gets which call, and what becomes of those that come and go."""

from __future__ import annotations

import asyncio

import pytest

from gateway.agents.protocol import Opening
from gateway.agents.waiting import MAX_WAITING, Lobby, MediaRoom, WaitingRoom
from gateway.errors import CapacityError
from gateway.net.agent_connection import AgentConnection
from tests.support.line import MemoryConnection

HERE = Opening("")
CALL = Opening("/media/0b1f6a5e-9f0c-4a53-8e0c-1d2f3a4b5c6d")


async def wanted(room: WaitingRoom) -> asyncio.Task[AgentConnection]:
    """A call that wants a connection."""
    task = asyncio.ensure_future(room(HERE, is_stream=False))
    await asyncio.sleep(0)
    return task


async def test_the_connection_that_waits_longest_gets_the_call() -> None:
    room, first, second = WaitingRoom(), MemoryConnection(), MemoryConnection()
    room.offer(first)
    room.offer(second)

    assert await room(HERE, is_stream=False) is first
    assert await room(HERE, is_stream=False) is second


async def test_the_call_that_waits_longest_gets_the_connection() -> None:
    room, connection = WaitingRoom(), MemoryConnection()
    first, second = await wanted(room), await wanted(room)

    room.offer(connection)

    assert await first is connection
    assert not second.done()
    second.cancel()


async def test_connection_that_has_gone_gets_no_call() -> None:
    room, gone, there = WaitingRoom(), MemoryConnection(), MemoryConnection()
    room.offer(gone)
    room.offer(there)

    room.withdraw(gone)
    room.withdraw(gone)

    assert await room(HERE, is_stream=False) is there


async def test_call_that_is_given_up_takes_no_connection() -> None:
    room, connection = WaitingRoom(), MemoryConnection()
    first = await wanted(room)
    first.cancel()
    await asyncio.sleep(0)

    room.offer(connection)

    assert room.waiting == 1


async def test_connection_that_comes_in_the_moment_of_giving_up_waits_on() -> None:
    room, connection = WaitingRoom(), MemoryConnection()
    first = await wanted(room)

    room.offer(connection)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)

    assert room.waiting == 1


async def test_a23_no_more_connections_wait_than_may() -> None:
    room = WaitingRoom()
    for _ in range(MAX_WAITING):
        room.offer(MemoryConnection())

    with pytest.raises(CapacityError):
        room.offer(MemoryConnection())


async def test_call_waits_at_its_id_for_one_connection() -> None:
    room, connection, late = MediaRoom(), MemoryConnection(), MemoryConnection()
    task = asyncio.ensure_future(room(CALL, is_stream=False))
    await asyncio.sleep(0)
    assert room.is_awaited("0B1F6A5E9F0C4A538E0C1D2F3A4B5C6D")
    assert not room.is_awaited("0b1f6a5e-9f0c-4a53-8e0c-1d2f3a4b5c6e")

    room.arrive("0b1f6a5e-9f0c-4a53-8e0c-1d2f3a4b5c6d", connection)
    room.arrive("0b1f6a5e-9f0c-4a53-8e0c-1d2f3a4b5c6d", late)

    assert await task is connection
    assert late.is_closed
    assert not room.is_awaited("0b1f6a5e-9f0c-4a53-8e0c-1d2f3a4b5c6d")


async def test_call_that_is_over_waits_no_more() -> None:
    room = MediaRoom()
    task = asyncio.ensure_future(room(CALL, is_stream=False))
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert not room.is_awaited("0b1f6a5e-9f0c-4a53-8e0c-1d2f3a4b5c6d")


def test_agents_of_our_own_protocol_have_a_room_each() -> None:
    lobby = Lobby()

    one, two = lobby.dial_for("one", "gateway"), lobby.dial_for("two", "gateway")

    assert one is not two
    assert one is lobby.rooms["one"]
    assert lobby.dial_for("three", "asterisk") is lobby.media

"""The virtual loop itself: time, datagrams, and what it does not let pass."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.loop import START, StandstillError, VirtualLoop, elapse, in_virtual_time, until


@in_virtual_time
async def test_an_hour_passes_at_once(loop: VirtualLoop) -> None:
    fired: list[float] = []
    loop.call_later(1800, lambda: fired.append(loop.time()))

    await elapse(3600)

    assert fired == [START + 1800]
    assert loop.time() == START + 3600


@in_virtual_time
async def test_a_datagram_wakes_its_reader(loop: VirtualLoop) -> None:
    near = loop.network.open_socket("192.0.2.1", 0)
    far = loop.network.open_socket("192.0.2.2", 5000)
    heard: list[tuple[bytes, tuple[str, int]]] = []
    loop.add_reader(far.fileno(), lambda: heard.append(far.recvfrom(2048)))

    near.sendto(b"hello", ("192.0.2.2", 5000))
    await elapse(0)
    await elapse(0)

    assert heard == [(b"hello", near.getsockname())]
    loop.remove_reader(far.fileno())


@in_virtual_time
async def test_datagrams_can_be_late_and_lost(loop: VirtualLoop) -> None:
    near = loop.network.open_socket("192.0.2.1", 0)
    far = loop.network.open_socket("192.0.2.2", 5000)
    loop.network.delay_s = 0.5
    loop.network.passes = lambda datagram: datagram.data != b"lost"

    near.sendto(b"lost", ("192.0.2.2", 5000))
    near.sendto(b"late", ("192.0.2.2", 5000))
    took = await until(lambda: far.readable, within=1.0)

    assert took == pytest.approx(0.5, abs=0.011)
    assert far.recvfrom(2)[0] == b"la"
    assert not far.readable
    assert len(loop.network.sent_to("192.0.2.2")) == 2


def test_waiting_for_nothing_is_an_error() -> None:
    loop = VirtualLoop()

    with pytest.raises(StandstillError):
        loop.run_until_complete(loop.create_future())

    loop.close()


def test_a_task_left_running_fails_the_test() -> None:
    kept: list[asyncio.Task[None]] = []

    @in_virtual_time
    async def careless(_loop: VirtualLoop) -> None:
        kept.append(asyncio.ensure_future(elapse(5)))

    with pytest.raises(AssertionError, match="left running"):
        careless()


def test_an_exception_in_a_callback_fails_the_test() -> None:
    @in_virtual_time
    async def careless(loop: VirtualLoop) -> None:
        loop.call_soon(lambda: 1 / 0)
        await elapse(1)

    with pytest.raises(AssertionError, match="unhandled"):
        careless()


@in_virtual_time
async def test_an_address_in_use_cannot_be_bound_twice(loop: VirtualLoop) -> None:
    first = loop.network.open_socket("192.0.2.1", 5000)

    with pytest.raises(OSError, match="in use"):
        loop.network.open_socket("192.0.2.1", 5000)
    first.close()

    assert loop.network.open_socket("192.0.2.1", 5000).getsockname() == ("192.0.2.1", 5000)

"""The bad network: it is as bad as it says, and the same each time."""

from __future__ import annotations

import asyncio
from itertools import groupby, pairwise

import pytest

from tests.support.impair import Impairer, impair_network, running_impairer
from tests.support.loop import START, VirtualLoop, VirtualSocket, elapse, in_virtual_time

COUNT = 20_000


def passed(impairer: Impairer, count: int = COUNT) -> list[tuple[float, int]]:
    """When which of so many datagrams came out; one was sent each 20 ms from 100 s on."""
    return sorted(
        (due, int.from_bytes(data, "big"))
        for number in range(count)
        for due, data in impairer.send(number.to_bytes(4, "big"), 100 + number * 0.02)
    )


def test_a_perfect_path_passes_all_at_once() -> None:
    assert passed(Impairer(1), 100) == [(100 + number * 0.02, number) for number in range(100)]


def test_the_same_seed_is_the_same_path() -> None:
    first, again, other = (
        passed(Impairer(seed, loss=0.1, jitter_ms=50, reorder=0.1, duplicate=0.1))
        for seed in (7, 7, 8)
    )

    assert first == again != other


@pytest.mark.parametrize("burst", [1, 4])
def test_loss_is_as_frequent_and_as_long_as_asked_for(burst: int) -> None:
    impairer = Impairer(3, loss=0.1, burst=burst)

    came = {number for _, number in passed(impairer)}

    lost = [number not in came for number in range(COUNT)]
    rows = [len(list(row)) for is_lost, row in groupby(lost) if is_lost]
    assert sum(lost) == impairer.lost
    assert sum(lost) / COUNT == pytest.approx(0.1, rel=0.15)
    assert sum(rows) / len(rows) == pytest.approx(max(burst, 1 / 0.9), rel=0.15)


def test_jitter_delays_and_keeps_the_order() -> None:
    came = passed(Impairer(3, jitter_ms=60))

    delays = [due - (100 + number * 0.02) for due, number in came]
    assert [number for _, number in came] == list(range(COUNT))
    assert min(delays) >= 0
    assert 0.055 < max(delays) <= 0.06


def test_some_are_overtaken() -> None:
    impairer = Impairer(3, reorder=0.05)

    numbers = [number for _, number in passed(impairer)]

    assert sorted(numbers) == list(range(COUNT))
    assert impairer.reordered / COUNT == pytest.approx(0.05, rel=0.15)
    assert sum(later < earlier for earlier, later in pairwise(numbers)) > impairer.reordered / 2


def test_some_come_twice() -> None:
    impairer = Impairer(3, duplicate=0.05)

    assert len(passed(impairer)) == COUNT + impairer.duplicated
    assert impairer.duplicated / COUNT == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize("ppm", [-300, 300])
def test_a_clock_of_another_rate_drifts_away(ppm: int) -> None:
    came = passed(Impairer(3, rate_ppm=ppm), 180_001)

    assert came[-1][0] - 100 == pytest.approx(3600 / (1 + ppm / 1e6), abs=1e-6)


@in_virtual_time
async def test_datagrams_of_a_virtual_network_are_impaired_one_way(loop: VirtualLoop) -> None:
    near = loop.network.open_socket("192.0.2.1", 4000)
    far = loop.network.open_socket("192.0.2.2", 5000)
    heard: list[tuple[float, bytes]] = []

    def read(socket: VirtualSocket) -> None:
        heard.append((loop.time(), socket.recvfrom(99)[0]))

    for socket in (near, far):
        loop.add_reader(socket.fileno(), read, socket)
    impair_network(loop, Impairer(5, jitter_ms=40), to="192.0.2.2")

    near.sendto(b"there", far.getsockname())
    far.sendto(b"back", near.getsockname())
    await elapse(0.1)

    assert [data for _, data in heard] == [b"back", b"there"]
    assert heard[0][0] == START < heard[1][0] <= START + 0.04
    for socket in (near, far):
        loop.remove_reader(socket.fileno())


class Echo(asyncio.DatagramProtocol):
    """Sends back what comes; its other end keeps it."""

    def __init__(self, *, is_echo: bool) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self._is_echo = is_echo
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.heard.put_nowait(data)
        if self._is_echo and self._transport is not None:
            self._transport.sendto(data, addr)


@pytest.mark.real
async def test_datagrams_of_real_sockets_are_impaired_both_ways() -> None:
    loop = asyncio.get_running_loop()
    near, near_end = await loop.create_datagram_endpoint(
        lambda: Echo(is_echo=False), local_addr=("127.0.0.1", 0)
    )
    far, _ = await loop.create_datagram_endpoint(
        lambda: Echo(is_echo=True), local_addr=("127.0.0.1", 0)
    )
    up, down = Impairer(2, loss=0.3), Impairer(3, duplicate=0.99)

    async with running_impairer(far.get_extra_info("sockname")[:2], up=up, down=down) as relay:
        for number in range(50):
            near.sendto(bytes([number]), relay.address)
        heard: list[bytes] = []
        async with asyncio.timeout(10):
            while up.sent < 50 or len(heard) < down.sent + down.duplicated or not down.sent:
                heard.append(await near_end.heard.get())

    assert up.lost
    assert down.duplicated
    assert set(heard) < {bytes([number]) for number in range(50)}
    near.close()
    far.close()

"""A bad network of our own, the same one for the same seed: loss, bursts, jitter, reordering,
duplicates, and a sender whose clock runs at another rate.

Pure as `Impairer`; `impair_network` puts it under the sockets of a virtual loop, `running_impairer`
between real ones.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from tests.support.loop import Address, Datagram, VirtualLoop

OVERTAKEN_S = 0.03
"By how much a reordered datagram is late: those of 20 ms after it overtake it, of 60 ms do not."

DUPLICATE_S = 0.01
"A duplicate follows within this."


class Impairer:
    """One direction of a bad path. Without any impairment it is a perfect one."""

    def __init__(
        self,
        seed: int,
        *,
        loss: float = 0.0,
        burst: float = 1.0,
        jitter_ms: float = 0.0,
        reorder: float = 0.0,
        duplicate: float = 0.0,
        rate_ppm: float = 0.0,
    ) -> None:
        """
        Args:
            loss: which share of the datagrams is lost, on average: 0 to below 1.
            burst: how many are lost in a row, on average (Gilbert's model); 1: as if by dice.
            jitter_ms: each is delayed by 0 to this, evenly spread; none overtakes another by it.
            reorder: which share is `OVERTAKEN_S` later still, and may be overtaken.
            duplicate: which share comes twice.
            rate_ppm: by how much the sender's clock runs fast. What is sent by its clock is due by
                ours, and so before its `now`; a negative rate needs no such thought.
        """
        if not 0 <= loss < 1 or burst < 1:
            raise ValueError("loss is 0 to below 1, a burst at least 1")
        self.sent = self.lost = self.reordered = self.duplicated = 0
        self._random = random.Random(seed)
        self._leave_loss = 1 / burst
        self._enter_loss = min(loss / ((1 - loss) * burst), 1.0)
        self._is_losing = False
        self._burst = burst
        self._loss = loss
        self._jitter_s = jitter_ms / 1000
        self._reorder = reorder
        self._duplicate = duplicate
        self._rate = 1 + rate_ppm / 1e6
        self._start: float | None = None
        self._last_due = float("-inf")

    def send(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        """One datagram goes in at `now`: when it comes out, and with what, in order of time."""
        self.sent += 1
        if self._start is None:
            self._start = now
        if self._loses():
            self.lost += 1
            return []
        chance = self._random
        due = self._start + (now - self._start) / self._rate
        if self._jitter_s:
            due += chance.random() * self._jitter_s
        if self._reorder and chance.random() < self._reorder:
            self.reordered += 1
            due += OVERTAKEN_S
        else:
            due = self._last_due = max(due, self._last_due)
        out = [(due, data)]
        if self._duplicate and chance.random() < self._duplicate:
            self.duplicated += 1
            out.append((due + chance.random() * DUPLICATE_S, data))
        return out

    def _loses(self) -> bool:
        if not self._loss:
            return False
        if self._burst == 1:
            return self._random.random() < self._loss
        chance = self._leave_loss if self._is_losing else self._enter_loss
        if self._random.random() < chance:
            self._is_losing = not self._is_losing
        return self._is_losing


def impair_network(loop: VirtualLoop, impairer: Impairer, *, to: str | None = None) -> None:
    """Let `impairer` decide what of a virtual network arrives, and when.

    Args:
        to: impair what is sent toward this host alone. What the network lets through else stays
            as it was, so that several directions can be impaired, one after another.
    """
    network, passes = loop.network, loop.network.passes

    def carry(datagram: Datagram) -> bool:
        if to is not None and datagram.destination[0] != to:
            return passes(datagram)
        for due, _data in impairer.send(datagram.data, loop.time()):
            loop.call_at(max(due, loop.time()), network.deliver, datagram)
        return False

    network.passes = carry


class UdpImpairer(asyncio.DatagramProtocol):
    """A UDP port in front of another: what comes to it goes on there, and the answers come back."""

    def __init__(self, target: Address, up: Impairer, down: Impairer) -> None:
        self.up, self.down = up, down
        self._target = target
        self._source: Address | None = None
        self._transport: asyncio.DatagramTransport
        self._loop = asyncio.get_running_loop()

    @property
    def address(self) -> Address:
        """Where to send instead of to the target."""
        host, port = self._transport.get_extra_info("sockname")[:2]
        return str(host), int(port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if addr == self._target:
            if self._source is not None:
                self._pass_on(self.down, data, self._source)
        else:
            self._source = addr
            self._pass_on(self.up, data, self._target)

    def error_received(self, exc: Exception) -> None:
        """Nobody is there; datagrams get lost."""

    def _pass_on(self, impairer: Impairer, data: bytes, destination: Address) -> None:
        for due, each in impairer.send(data, self._loop.time()):
            self._loop.call_at(due, self._send, each, destination)

    def _send(self, data: bytes, destination: Address) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, destination)


@asynccontextmanager
async def running_impairer(
    target: Address, *, up: Impairer | None = None, down: Impairer | None = None
) -> AsyncIterator[UdpImpairer]:
    """A relay on a free port of loopback in front of `target`; `up` is the way toward that.

    The answers go to whoever sent last. A direction that is not given is perfect.
    """
    loop = asyncio.get_running_loop()
    transport, relay = await loop.create_datagram_endpoint(
        lambda: UdpImpairer(target, up or Impairer(0), down or Impairer(0)),
        local_addr=("127.0.0.1", 0),
    )
    try:
        yield relay
    finally:
        transport.close()

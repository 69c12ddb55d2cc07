"""Where a peer behind NAT really sends from (RFC 7362), and nobody else's word for it (A1).

The SDP of such a peer names an address of its own network. Its packets are believed when they
come from where its SIP comes from, or from the address in its SDP and another port: the first
source that sends a few in a row is it, for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from gateway.rtp.packet import is_rtcp
from gateway.sdp.target import Network

IN_A_ROW = 4
"Packets of one stream without a gap that it takes: a stray one, or a sprayed one, is not it."

MAX_SOURCES = 8
"Sources looked at together: beside the peer those that share its address, and whoever forges it."

PROBATION_S = 5.0
"So long a peer is sent to that speaks not: 250 packets, to whoever that is."

MAX_UNREACHABLE = 10
"ICMP errors after which nobody takes the packets, for sure."

_HEADER_BYTES = 12


class Latch:
    """Looks at packets until one source has proved to be the peer."""

    def __init__(self, hosts: frozenset[str], networks: Sequence[Network] = ()) -> None:
        """
        Args:
            hosts: addresses that it may come from, as `recvfrom` writes them.
            networks: others that it may come from: its media's (`media_allow`).
        """
        self._hosts = hosts
        self._networks = networks
        self.ssrc: bytes | None = None
        "Of the stream that proved it."
        self._runs: dict[tuple[Any, ...], _Run] = {}

    def look(self, data: bytes, source: tuple[Any, ...]) -> bool:
        """Whether this RTP packet proves its source to be the peer."""
        if len(data) < _HEADER_BYTES or data[0] >> 6 != 2 or not self.may_be(source[0]):
            return False
        if is_rtcp(data):
            return False
        run = self._runs.get(source)
        if run is None:
            if len(self._runs) >= MAX_SOURCES:
                self._runs.pop(next(iter(self._runs)))
            run = self._runs[source] = _Run()
        if run.take(data) < IN_A_ROW:
            return False
        self.ssrc = data[8:12]
        return True

    def may_be(self, host: str) -> bool:
        """Whether the peer may be at an address."""
        if host in self._hosts:
            return True
        return any(ip_address(host) in network for network in self._networks)


class Probation:
    """How long a target may be sent to of which nothing has come (A8)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, give_up: Callable[[], None]) -> None:
        self.is_over = False
        "Whether it was given up."
        self._loop = loop
        self._give_up = give_up
        self._is_limited = False
        self._unreachable = 0
        self._alarm: asyncio.TimerHandle | None = None

    def limit(self, is_limited: bool, *, anew: bool) -> bool:
        """Whether it is to speak before long; true if all begins anew, with the next packet.

        Args:
            anew: it is another target than before.
        """
        begins = anew or is_limited != self._is_limited
        if begins:
            self.end()
            self._is_limited = is_limited
        return begins

    def begin(self) -> None:
        """A first packet goes out."""
        if self._is_limited and self._alarm is None:
            self._alarm = self._loop.call_later(PROBATION_S, self._finish)

    def note_unreachable(self) -> None:
        """ICMP said that nobody is there."""
        self._unreachable += 1
        if self._is_limited and not self.is_over and self._unreachable >= MAX_UNREACHABLE:
            self._finish()

    def end(self) -> None:
        """Something has come from there, or it is not to be expected."""
        self.is_over = self._is_limited = False
        self._unreachable = 0
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def close(self) -> None:
        """Let go of who would be told."""
        self.end()
        self._give_up = _nothing

    def _finish(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self.is_over = True
        self._give_up()


class _Run:
    """Packets of one source that followed one another."""

    __slots__ = ("_count", "_next", "_stream")

    def __init__(self) -> None:
        self._stream = b""
        self._next = self._count = 0

    def take(self, data: bytes) -> int:
        """How many there are now, with this one."""
        stream = bytes((data[1] & 0x7F,)) + data[8:12]
        sequence = int.from_bytes(data[2:4], "big")
        follows = stream == self._stream and sequence == self._next
        self._count = self._count + 1 if follows else 1
        self._stream, self._next = stream, (sequence + 1) & 0xFFFF
        return self._count


def _nothing() -> None:
    """Nobody is told any more."""

"""Where a peer behind NAT really sends from (RFC 7362), and nobody else's word for it (A1).

The SDP of such a peer names an address of its own network. Its packets are believed when they
come from where its SIP comes from, or from the address in its SDP and another port: the first
source that sends a few in a row is it, for good.
"""

from __future__ import annotations

from typing import Any

from gateway.rtp.packet import is_rtcp

IN_A_ROW = 4
"Packets of one stream without a gap that it takes: a stray one, or a sprayed one, is not it."

MAX_SOURCES = 8
"Sources looked at together: beside the peer those that share its address, and whoever forges it."

_HEADER_BYTES = 12


class Latch:
    """Looks at packets until one source has proved to be the peer."""

    def __init__(self, hosts: frozenset[str]) -> None:
        """`hosts`: addresses that it may come from, as `recvfrom` writes them."""
        self.hosts = hosts
        self.ssrc: bytes | None = None
        "Of the stream that proved it."
        self._runs: dict[tuple[Any, ...], _Run] = {}

    def look(self, data: bytes, source: tuple[Any, ...]) -> bool:
        """Whether this RTP packet proves its source to be the peer."""
        if source[0] not in self.hosts or len(data) < _HEADER_BYTES or data[0] >> 6 != 2:
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

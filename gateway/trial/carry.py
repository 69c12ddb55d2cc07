"""A media transport over a bad line: what the line does to packets, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.net.media import MediaTransport, TransportState
from gateway.sdp.description import MediaDescription
from gateway.trial.line import Impairment


class ImpairedMedia:
    """Stands before the transport of a caller's stream."""

    def __init__(
        self,
        inner: MediaTransport,
        up: Impairment,
        down: Impairment,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`up` is what the caller sends, `down` what it is sent."""
        self.on_packet: Callable[[bytes, float], None] = _nothing
        self._inner = inner
        self._up = up
        self._down = down
        self._loop = loop
        self._is_closed = False
        inner.on_packet = self._arrived

    @property
    def on_state(self) -> Callable[[TransportState], None]:
        """Is told each change of the path."""
        return self._inner.on_state

    @on_state.setter
    def on_state(self, take: Callable[[TransportState], None]) -> None:
        self._inner.on_state = take

    def describe(self, media: MediaDescription, *, restart: bool = False) -> MediaDescription:
        return self._inner.describe(media, restart=restart)

    def accept(self, remote: MediaDescription) -> None:
        self._inner.accept(remote)

    def add_candidate(self, candidate: str, ufrag: str | None) -> None:
        self._inner.add_candidate(candidate, ufrag)

    def send(self, packet: bytes) -> None:
        """Send a packet, unless it is lost, when the line lets it out."""
        now = self._loop.time()
        due = self._up.pass_on(now)
        if due is None:
            return
        if due <= now:
            self._inner.send(packet)
        else:
            self._loop.call_at(due, self._send_late, bytes(packet))

    def close(self) -> None:
        """Give everything back; what is under way is lost."""
        self._is_closed = True
        self.on_packet = _nothing
        self._inner.close()

    def _send_late(self, packet: bytes) -> None:
        if not self._is_closed:
            self._inner.send(packet)

    def _arrived(self, packet: bytes, now: float) -> None:
        due = self._down.pass_on(now)
        if due is None:
            return
        if due <= now:
            self.on_packet(packet, now)
        else:
            self._loop.call_at(due, self._arrived_late, bytes(packet), due)

    def _arrived_late(self, packet: bytes, due: float) -> None:
        self.on_packet(packet, due)


def _nothing(packet: bytes, now: float) -> None:
    """Nobody listens yet, or any more."""

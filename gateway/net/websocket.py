"""A WebSocket of the HTTP server as a SIP connection (RFC 7118): one message in each frame."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from gateway.net.connection import Closing, ConnectionTable, Patience
from gateway.sip.flow import Flow
from gateway.sip.framing import CRLF, KeepAlive

KEEP_ALIVE_S = 25.0
"""Without traffic, before a CRLF goes to a phone that is registered: proxies on the way cut off
what is silent for 30 to 60 s, and browsers say nothing of themselves. It wants no answer."""


class WebSocketConnection:
    """One flow of SIP whose socket somebody else reads and writes."""

    is_counted = False
    "The HTTP server limits its WebSockets itself."

    def __init__(
        self,
        flow: Flow,
        table: ConnectionTable,
        *,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[bytes], bool],
        close: Callable[[Closing], object],
    ) -> None:
        """
        Args:
            send: takes one message to send; False: as much waits as may.
            close: ends the socket; `lost` is to follow, then or later.
        """
        self.flow = flow
        self._table = table
        self._loop = loop
        self._send = send
        self._close = close
        self._is_open = True
        self._alive_at = loop.time()
        self._patience = Patience(table.limits, self._alive_at, is_ours=False)
        table.add(self)
        table.open(self)

    def receive(self, data: bytes) -> None:
        """Take what one frame held."""
        if not self._is_open:
            return
        if not data.strip(CRLF):
            # RFC 7118 §6: the keep-alive of the other connections is usable here too.
            if data == KeepAlive.PING.value:
                self._send(KeepAlive.PONG.value)
        elif self._table.admit(self.flow.remote):
            self._alive_at = now = self._loop.time()
            self._patience.heard(now)
            self._table.receive(data, self.flow)
        else:
            self.close(Closing.REFUSED)

    def lost(self) -> None:
        """The socket is gone."""
        self._end(Closing.PEER)
        self._table.remove(self)

    def send(self, data: bytes) -> bool:
        """Send one message; whether it was taken. Never raises."""
        if not self._is_open:
            return False
        if not self._send(data):
            self.close(Closing.TOO_SLOW)
            return False
        self._alive_at = now = self._loop.time()
        self._patience.used(now)
        return True

    def sweep(self, now: float) -> None:
        """Do what is due."""
        if self._is_open:
            why = self._patience.overdue(now, partial(self._table.is_held, self.flow))
            if why is not None:
                self.close(why)
            elif now >= self._alive_at + KEEP_ALIVE_S:
                self._alive_at = now
                if self._table.is_held(self.flow):
                    self._send(KeepAlive.PONG.value)

    def close(self, why: Closing) -> None:
        """End it."""
        if self._is_open:
            self._end(why)
            self._close(why)

    def _end(self, why: Closing) -> None:
        if self._is_open:
            self._is_open = False
            self._table.end(self, why)

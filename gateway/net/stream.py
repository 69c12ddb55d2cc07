"""One SIP connection over TCP or TLS: bytes into messages, and a peer's patience (RFC 3261 §18)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import cast

from gateway.net.connection import PING_FROM_S, PING_TO_S, Closing, ConnectionTable, Patience
from gateway.net.tls import TlsError, TlsSession
from gateway.sip.flow import Flow
from gateway.sip.framing import KeepAlive, StreamFramer
from gateway.sip.message import MessageError, build_response

MAX_MESSAGES_PER_TURN = 16
"Handled per call of the loop: a full segment of small ones must not starve the media of calls."

LINGER_S = 2.0
"How long our last words wait for the peer to read them, with what it still sends unread."


class _State(Enum):
    OPENING = "opening"
    OPEN = "open"
    ENDING = "ending"
    CLOSED = "closed"


class StreamConnection(asyncio.Protocol):
    """A protocol of the loop's that is one flow of SIP.

    It is in the table from its making until the loop says that it is gone.
    """

    def __init__(
        self,
        flow: Flow,
        table: ConnectionTable,
        *,
        loop: asyncio.AbstractEventLoop,
        tls: TlsSession | None = None,
        is_ours: bool = False,
        spread: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """
        Args:
            tls: our end of it, not yet started; None: in the clear.
            is_ours: we opened it, and ping it.
            spread: gives 0 ≤ x < 1, so that pings do not come in step.
        """
        self.flow = flow
        self.is_ours = is_ours
        self._table = table
        self._limits = table.limits
        self._loop = loop
        self._tls = tls
        self._spread = spread
        self._state = _State.OPENING
        self._began_at = loop.time()
        self._transport: asyncio.Transport | None = None
        self._framer = StreamFramer()
        self._patience: Patience | None = None
        self._is_paused = False
        self._linger_until = 0.0
        self._ping_at = self._pong_by = float("inf")
        self._answers_pings = False
        self.opened: asyncio.Future[None] = loop.create_future()
        "Done once it can be used; an OSError if it never can."
        self.opened.add_done_callback(_look_at)
        table.add(self)

    @property
    def is_counted(self) -> bool:
        """Those that we opened have a limit of their own."""
        return not self.is_ours

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._state is _State.OPEN

    @property
    def identities(self) -> tuple[str, ...]:
        """The SIP domains that the peer has proved to be (RFC 5922 §7.1)."""
        return () if self._tls is None else self._tls.identities

    def send(self, data: bytes) -> bool:
        """Send one message; whether it was taken. Never raises."""
        if self._state is not _State.OPEN or self._patience is None:
            return False
        if not self._write(data):
            return False
        self._patience.used(self._loop.time())
        return True

    def sweep(self, now: float) -> None:
        """Do what is due."""
        if self._state is _State.OPENING and now >= self._began_at + self._limits.handshake_s:
            self.abort(Closing.NO_HANDSHAKE)
        elif self._state is _State.ENDING and now >= self._linger_until:
            self._let_go()
        elif self._state is _State.OPEN and self._patience is not None:
            why = self._patience.overdue(now, partial(self._table.is_held, self.flow))
            if now >= self._pong_by:
                why = Closing.NO_PONG
            if why is not None:
                self.close(why)
            elif now >= self._ping_at:
                self._ping(now)

    def close(self, why: Closing) -> None:
        """End it, after what waits to be sent, unless the peer takes too long over that."""
        if self._state is not _State.OPEN or self._transport is None:
            self.abort(why)
            return
        if self._tls is not None:
            self._tls.end()
            self._flush_tls()
        self._end(why)
        self._linger_until = self._loop.time() + LINGER_S
        if why is Closing.STOPPED:
            self._transport.close()
        elif not self._transport.is_closing():
            # Closing at once would reset it, and take our last words back, if the peer is still
            # sending: what it sends is thrown away for a while.
            self._transport.write_eof()
            self._resume()

    def abort(self, why: Closing) -> None:
        """End it now."""
        self._end(why)
        self._let_go()

    # ---- the loop's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is connected."""
        self._transport = cast(asyncio.Transport, transport)
        if self._state is not _State.OPENING:
            self._transport.abort()
        elif self._tls is None:
            self._open()
        elif self.is_ours:
            self._tls.start()
            self._flush_tls()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._state not in (_State.OPENING, _State.OPEN):
            return
        if self._tls is not None:
            try:
                data = self._tls.receive(data)
            except TlsError as error:
                self._fail(error)
                return
            self._flush_tls()
            if self._state is _State.OPENING:
                if not self._tls.is_established:
                    return
                self._open()
        self._pong_by = float("inf")  # whatever it says, it is there
        self._framer.feed(data)
        self._pump()
        if self._tls is not None and self._tls.is_ended and self._state is _State.OPEN:
            self.close(Closing.PEER)

    def eof_received(self) -> None:
        """The peer says no more; then neither do we."""

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._end(Closing.PEER, exc)
        self._state = _State.CLOSED
        self._transport = None
        self._table.remove(self)

    # ---- inside

    def _open(self) -> None:
        now = self._loop.time()
        self._state = _State.OPEN
        self._patience = Patience(self._limits, now, is_ours=self.is_ours)
        if self.is_ours:
            self._plan_ping(now)
        self._table.open(self)
        if not self.opened.done():
            self.opened.set_result(None)

    def _pump(self) -> None:
        """Hand over what is complete: so much of it that others get their turn."""
        for _ in range(MAX_MESSAGES_PER_TURN):
            if self._state is not _State.OPEN or self._patience is None:
                return
            try:
                item = self._framer.next()
            except MessageError as error:
                self._refuse(error)
                return
            if item is None:
                self._patience.waits(
                    self._loop.time(), within_message=self._framer.is_within_message
                )
                self._resume()
                return
            self._take(item, self._patience)
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._loop.call_soon(self._pump)

    def _take(self, item: bytes | KeepAlive, patience: Patience) -> None:
        if isinstance(item, bytes):
            if self.is_ours or self._table.admit(self.flow.remote):
                patience.heard(self._loop.time())
                self._table.receive(item, self.flow)
            else:
                self.abort(Closing.REFUSED)
        elif item is KeepAlive.PING:
            self._write(KeepAlive.PONG.value)
        else:
            self._answers_pings = True

    def _resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def _refuse(self, error: MessageError) -> None:
        """Answer, if there is anybody to answer, and close (behaviour A24, A25)."""
        if error.request is not None:
            token = secrets.token_hex(8)
            self._write(bytes(build_response(error.request, error.status, to_tag=token)))
        self.close(Closing.MALFORMED)

    def _ping(self, now: float) -> None:
        self._plan_ping(now)
        self._framer.expect_pong()
        # Most peers know nothing of pongs, and whether they are there TCP tells (see
        # USER_TIMEOUT_MS): one that has answered before has to go on answering.
        if self._answers_pings:
            self._pong_by = now + self._limits.pong_s
        self._write(KeepAlive.PING.value)

    def _plan_ping(self, now: float) -> None:
        self._ping_at = now + PING_FROM_S + self._spread() * (PING_TO_S - PING_FROM_S)

    def _write(self, data: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size() + len(data) > self._limits.queue_bytes:
            self.abort(Closing.TOO_SLOW)
            return False
        if self._tls is None:
            transport.write(data)
            return True
        try:
            self._tls.send(data)
        except TlsError as error:
            self._fail(error)
            return False
        self._flush_tls()
        return True

    def _flush_tls(self) -> None:
        assert self._tls is not None
        if (output := self._tls.take_output()) and self._transport is not None:
            self._transport.write(output)

    def _fail(self, error: TlsError) -> None:
        """TLS broke; the alert that says so goes out."""
        self._flush_tls()
        self._end(Closing.TLS, error)
        if self._transport is not None:
            self._transport.close()

    def _end(self, why: Closing, error: Exception | None = None) -> None:
        """It is of no use any more: said once."""
        if self._state not in (_State.OPENING, _State.OPEN):
            return
        self._state = _State.ENDING
        self._linger_until = self._loop.time() + LINGER_S
        if not self.opened.done():
            is_known = isinstance(error, OSError)
            self.opened.set_exception(error if is_known and error else _failure(why))
        self._table.end(self, why)

    def _let_go(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        else:
            self._table.remove(self)


def _failure(why: Closing) -> OSError:
    if why is Closing.NO_HANDSHAKE:
        return TimeoutError("no TLS handshake")
    return ConnectionResetError(f"connection closed: {why.value}")


def _look_at(opened: asyncio.Future[None]) -> None:
    """Nobody waits for a connection that a peer opened; that it failed is no surprise."""
    if not opened.cancelled():
        opened.exception()

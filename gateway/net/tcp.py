"""SIP over TCP and TLS: listening, connecting, and what is asked of the kernel (RFC 3261 §18)."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from gateway.net.connection import Closing, ConnectionTable
from gateway.net.stream import StreamConnection
from gateway.net.tls import TlsContexts, TlsSession
from gateway.net.udp import DSCP_SIGNALLING, Address, mark_traffic
from gateway.sip.flow import Flow, Hop

log = logging.getLogger(__name__)

MAX_ACCEPTS_PER_TURN = 16
"Per call of the loop: who connects in a flood must not starve the media of calls."

BACKLOG = 256
"Connections that wait in the kernel to be accepted."

ACCEPT_RETRY_S = 0.5
"How long nothing is accepted after the system had no descriptor or memory left (F24)."

USER_TIMEOUT_MS = 10_000
"Unacknowledged for so long, what we sent ends the connection: the peer is gone (RFC 5482)."

KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 60, 15, 4
"How the kernel finds out that a silent peer is gone."

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_RESET = struct.pack("ii", 1, 0)


def open_tcp_socket(host: str, port: int) -> socket.socket:
    """Listen on one address, non-blocking.

    Args:
        host: An IPv4 or IPv6 address of this machine.
        port: 0 lets the system choose.

    Raises:
        OSError: the address is not ours, or in use.
    """
    listening = _new_socket(host)
    try:
        # A restart must not wait for connections of the last run to be forgotten.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"tcp:{host}:{port}: {error.strerror}") from None
    return listening


class TcpListener:
    """One listening socket: its readable turns become calls of `take`."""

    def __init__(
        self,
        listening: socket.socket,
        *,
        loop: asyncio.AbstractEventLoop,
        admit: Callable[[Address], bool],
        take: Callable[[socket.socket, Address], object],
    ) -> None:
        """Start accepting.

        Args:
            listening: from `open_tcp_socket`; ours from now on.
            loop: whose reader it becomes.
            admit: whether a source may connect now, asked before a byte is read; others are reset.
            take: takes a connected socket and its peer.
        """
        self._socket = listening
        self._loop = loop
        self._admit = admit
        self._take = take
        self._rest: asyncio.TimerHandle | None = None
        self._closed = False
        self.local: Address = listening.getsockname()[:2]
        self.exhausted = 0
        "How often the system had nothing left to accept with."
        loop.add_reader(listening.fileno(), self._accept)

    def close(self) -> None:
        """Stop accepting; what was accepted stays."""
        if self._closed:
            return
        self._closed = True
        if self._rest is not None:
            self._rest.cancel()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    def _accept(self) -> None:
        for _ in range(MAX_ACCEPTS_PER_TURN):
            if self._closed:
                return
            try:
                accepted, source = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(error)
                    return
                continue  # the peer was gone before it came in (ECONNABORTED and its kin)
            remote: Address = (source[0], source[1])
            if self._admit(remote):
                self._take(accepted, remote)
            else:
                reset(accepted)

    def _pause(self, error: OSError) -> None:
        """Level-triggered, the loop would call again at once and for ever."""
        self.exhausted += 1
        if self.exhausted == 1:
            log.error("tcp %s:%s: %s, counted from now on", *self.local, error.strerror)
        self._loop.remove_reader(self._socket.fileno())
        self._rest = self._loop.call_later(ACCEPT_RETRY_S, self._resume)

    def _resume(self) -> None:
        self._loop.add_reader(self._socket.fileno(), self._accept)


class TcpTransport:
    """SIP's TCP and TLS: who connects to us, and whom we connect to."""

    def __init__(
        self,
        table: ConnectionTable,
        tls: TlsContexts,
        *,
        loop: asyncio.AbstractEventLoop,
        spread: Callable[[], float],
    ) -> None:
        """
        Args:
            table: of all connections; it knows the limits and who hears of them.
            spread: gives 0 ≤ x < 1, so that pings do not come in step.
        """
        self._table = table
        self._tls = tls
        self._loop = loop
        self._spread = spread
        self._listeners: list[TcpListener] = []
        self._opening: dict[Hop, asyncio.Task[StreamConnection]] = {}
        self._opened: dict[Hop, StreamConnection] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def listen(
        self, listening: socket.socket, *, is_secure: bool, verify_client: bool = False
    ) -> Address:
        """Accept connections on a socket of `open_tcp_socket`; returns its address."""

        def take(accepted: socket.socket, remote: Address) -> None:
            tls = self._tls.accept(verify_client=verify_client) if is_secure else None
            self._take(accepted, remote, tls)

        listener = TcpListener(listening, loop=self._loop, admit=self._table.admits, take=take)
        self._listeners.append(listener)
        return listener.local

    def opened_to(self, hop: Hop) -> Flow | None:
        """The flow of a connection of ours to that very hop, if there is one (RFC 5923)."""
        connection = self._opened.get(hop)
        return connection.flow if connection is not None and connection.is_open else None

    async def connect(self, hop: Hop) -> Flow:
        """Open a connection, or take the one that is there or being opened.

        Raises:
            OSError: it cannot be: refused, unreachable, not within `connect_s`, not the peer that
                TLS should have shown, or as many connections as the limits allow.
        """
        if (flow := self.opened_to(hop)) is not None:
            return flow
        task = self._opening.get(hop)
        if task is None:
            self._opened = {each: held for each, held in self._opened.items() if held.is_open}
            if len(self._opened) + len(self._opening) >= self._table.limits.opened:
                raise OSError(errno.EMFILE, "as many connections of ours as the limits allow")
            task = self._opening[hop] = self._spawn(self._open(hop))
            task.add_done_callback(lambda _: self._opening.pop(hop, None))
        # Whoever gives up waiting does so alone.
        connection = await asyncio.shield(task)
        return connection.flow

    def close(self) -> None:
        """Stop listening and connecting. Connections are the table's to end."""
        for listener in self._listeners:
            listener.close()
        for task in list(self._tasks):
            task.cancel()

    def _take(self, accepted: socket.socket, remote: Address, tls: TlsSession | None) -> None:
        try:
            prepare_connection(accepted)
            local: Address = accepted.getsockname()[:2]
        except OSError:
            accepted.close()  # it is gone already
            return
        name = "tcp" if tls is None else "tls"
        flow = Flow(name, local, remote, next(self._table.numbers))
        connection = StreamConnection(flow, self._table, loop=self._loop, tls=tls)
        self._spawn(self._attach(accepted, connection))

    async def _attach(self, accepted: socket.socket, connection: StreamConnection) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        except OSError as error:
            accepted.close()
            connection.connection_lost(error)

    async def _open(self, hop: Hop) -> StreamConnection:
        is_secure = hop.transport == "tls"
        tls = self._tls.connect(hop.server_name or hop.host) if is_secure else None
        connecting = _new_socket(hop.host)
        try:
            async with asyncio.timeout(self._table.limits.connect_s):
                prepare_connection(connecting)
                await self._loop.sock_connect(connecting, (hop.host, hop.port))
                local: Address = connecting.getsockname()[:2]
                flow = Flow(hop.transport, local, (hop.host, hop.port), next(self._table.numbers))
                connection = await self._begin(connecting, flow, tls)
        except BaseException:
            connecting.close()
            raise
        self._opened[hop] = connection
        return connection

    async def _begin(
        self, connected: socket.socket, flow: Flow, tls: TlsSession | None
    ) -> StreamConnection:
        connection = StreamConnection(
            flow, self._table, loop=self._loop, tls=tls, is_ours=True, spread=self._spread
        )
        try:
            await self._loop.create_connection(lambda: connection, sock=connected)
            await connection.opened
        except BaseException:
            connection.abort(Closing.NO_HANDSHAKE)
            raise
        return connection

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()  # an OSError is for whoever waits, if anybody still does
        if error is not None and not isinstance(error, OSError):
            log.error("a connection broke by a bug", exc_info=error)


def reset(connected: socket.socket) -> None:
    """Close a connection so that nothing of it is kept, by the kernel either."""
    with suppress(OSError):
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connected.close()


def _new_socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def prepare_connection(connected: socket.socket) -> None:
    """What every connection is to have; systems that refuse are let alone."""
    connected.setblocking(False)
    mark_traffic(connected, DSCP_SIGNALLING)
    keep_alive(connected)
    _set_options(connected, ("TCP_NODELAY", 1), ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS))


def keep_alive(watched: socket.socket) -> None:
    """Have the kernel find out when a peer is gone that has nothing to be told."""
    with suppress(OSError):
        watched.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    _set_options(
        watched,
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPALIVE", KEEPALIVE_IDLE_S),  # as macOS names it
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    )


def _set_options(changed: socket.socket, *options: tuple[str, int]) -> None:
    """Set what of TCP's options this system has."""
    for name, value in options:
        if hasattr(socket, name):
            with suppress(OSError):
                changed.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

"""The one UDP port of a node through which all browsers' media goes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError
from gateway.net.interface import is_loopback, listening_addresses
from gateway.webrtc.candidate import AddressPolicy
from gateway.webrtc.ice import IceSettings, local_candidates
from gateway.webrtc.mux import Counters, Mux, MuxSocket
from gateway.webrtc.transport import WebRtcTransport
from gateway.webrtc.udp import bind_all, open_media_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from gateway.webrtc.certificate import Certificate
    from gateway.webrtc.options import WebRtcOptions
    from gateway.webrtc.udp import UdpSocket

SWEEP_S = 0.1
"How often every transport looks at its clocks: 1 µs each, so that 300 take 0.3 % of a core."

CLOSE_TIMEOUT_S = 5.0
"What closing may take at most; it takes milliseconds."


class WebRtcPort:
    """One UDP port, the sockets on it, and the transports that share them."""

    def __init__(
        self,
        options: WebRtcOptions,
        certificate: Certificate,
        mux: Mux,
        ice_settings: IceSettings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.options = options
        self.certificate = certificate
        self.mux = mux
        self.ice_settings = ice_settings
        self._loop = loop
        self._transports: set[WebRtcTransport] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @classmethod
    def open(
        cls,
        options: WebRtcOptions,
        certificate: Certificate,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        open_socket: Callable[[str, int], UdpSocket] = open_media_socket,
        addresses: Callable[..., Sequence[str]] = listening_addresses,
    ) -> WebRtcPort:
        """Bind the port and start reading.

        Args:
            options: what the configuration says.
            certificate: shown to every browser.
            loop: the running one, unless given.
            open_socket: binds one address and port; a test brings its own network.
            addresses: what a listen address means on this machine.

        Raises:
            ConfigError: the address cannot be listened on, or an option makes no sense.
        """
        # Each check of each pair is a line of theirs at level info, with addresses of people.
        for library in ("aioice", "aiortc"):
            logging.getLogger(library).setLevel(logging.WARNING)
        loop = loop or asyncio.get_running_loop()
        host, port = _parse_listen(options.listen)
        loopback = options.include_loopback or is_loopback(host)
        policy = AddressPolicy(loopback=loopback, deny=options.ice_deny)
        mux = Mux(loop)
        mux.attach(bind_all(addresses(host, loopback=loopback), port, open_socket))
        try:
            local = local_candidates(_advertised(mux.sockets, options), mux.sockets)
        except ConfigError:
            mux.close()
            raise
        settings = IceSettings(local, policy, options.controlling, options.ice_timeout_s)
        return cls(options, certificate, mux, settings, loop)

    @property
    def port(self) -> int:
        """The UDP port number."""
        return self.mux.sockets[0].port

    @property
    def counters(self) -> Counters:
        """What went through."""
        return self.mux.counters

    @property
    def overflows(self) -> int:
        """Datagrams that the kernel dropped because a buffer was full."""
        return sum(socket.dropped() for socket in self.mux.sockets)

    @property
    def transports(self) -> int:
        """How many are open."""
        return len(self._transports)

    def new_transport(self) -> WebRtcTransport:
        """A transport for one more stream; it ends by `close`, its own or the port's."""
        assert not self._is_closed
        transport = WebRtcTransport(self)
        self._transports.add(transport)
        if self._timer is None:
            self._timer = self._loop.call_later(SWEEP_S, self._sweep)
        return transport

    async def close(self) -> None:
        """End every transport, wait for their tasks, and give the port back."""
        self._is_closed = True
        for transport in list(self._transports):
            transport.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=CLOSE_TIMEOUT_S)
        self.mux.close()

    # For its transports.

    def forget(self, transport: WebRtcTransport) -> None:
        """It is closed."""
        self._transports.discard(transport)

    def spawn(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        """Start a task that is kept until it ends, and whose exceptions stay in it."""
        task = self._loop.create_task(self._guard(work, what))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # What is cancelled before its first turn would complain that nobody has awaited it.
        task.add_done_callback(lambda _: work.close())
        return task

    async def _guard(self, work: Coroutine[Any, Any, None], what: str) -> None:
        try:
            await work
        except Exception as error:
            self.mux.contain(what, error)

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        for transport in list(self._transports):
            try:
                transport.sweep(now)
            except Exception as error:
                # One transport's bug, or its owner's: the others' clocks go on.
                self.mux.contain("timer", error)
        if self._transports and self._timer is None:
            self._timer = self._loop.call_later(SWEEP_S, self._sweep)


def _parse_listen(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port[:6]) > 65535:
        raise ConfigError(
            f"[webrtc] listen: {listen!r} is not address:port; write e.g. 0.0.0.0:10000"
        )
    return host.strip("[]"), int(port)


def _advertised(
    sockets: Sequence[MuxSocket], options: WebRtcOptions
) -> list[tuple[str, MuxSocket]]:
    """Which addresses to tell, and the socket behind each."""
    if not options.advertise:
        return [(socket.host, socket) for socket in sockets]
    told = [(host, _behind(host, sockets)) for host in options.advertise]
    if options.include_loopback:
        told += [(socket.host, socket) for socket in sockets if is_loopback(socket.host)]
    return told


def _behind(host: str, sockets: Sequence[MuxSocket]) -> MuxSocket:
    """The socket that packets to an advertised address will reach."""
    for socket in sockets:
        if socket.host == host:
            return socket
    for socket in sockets:
        if (":" in socket.host) == (":" in host):
            return socket
    raise ConfigError(
        f"[webrtc] advertise: {host!r} is of a family that is not listened on; change listen"
    )

"""Every SIP socket of a node behind one face: UDP, TCP, TLS, WebSocket (RFC 3261 §18)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from gateway.errors import ConfigError
from gateway.net.chance import spread
from gateway.net.connection import Closing, ConnectionLimits, ConnectionTable
from gateway.net.interface import Reachable, listening_addresses, open_on_each
from gateway.net.stream import StreamConnection
from gateway.net.tcp import TcpTransport, open_tcp_socket
from gateway.net.tls import TlsContexts, TlsOptions
from gateway.net.udp import Address, UdpTransport, open_udp_socket
from gateway.net.websocket import WebSocketConnection
from gateway.sip.flow import Flow, Hop
from gateway.sip.uri import MAX_REMEMBERED, NO_PARAMETERS, Parameters, Uri

URI_TRANSPORTS = {"tcp": "tcp", "tls": "tls", "ws": "ws", "wss": "ws"}
"The transport parameter of our Contact; UDP has none (RFC 3261 §19.1.1, RFC 7118 §5.2)."


class Listen(Protocol):
    """Where SIP is listened for."""

    @property
    def transport(self) -> str:
        """udp, tcp or tls."""

    @property
    def host(self) -> str:
        """An IP address of this machine, or a wildcard."""

    @property
    def port(self) -> int:
        """0 lets the system choose."""

    @property
    def verify_client(self) -> bool:
        """Of tls: whether who connects has to show a certificate that the CA vouches for."""


class SipTransports:
    """The sockets that SIP comes in by and goes out by.

    `receive` and `on_closed` are called from the loop, and `on_closed` may be called from inside
    `send`: with a peer that does not read.
    """

    def __init__(
        self,
        listens: Sequence[Listen],
        *,
        loop: asyncio.AbstractEventLoop,
        tls: TlsOptions | None,
        receive: Callable[[bytes, Flow], object],
        on_closed: Callable[[Flow], object],
        admit: Callable[[Address], bool],
        is_held: Callable[[Flow], bool] = lambda flow: False,
        limits: ConnectionLimits | None = None,
        reachable: Reachable | None = None,
    ) -> None:
        """Open everything.

        Args:
            listens: where to listen; a wildcard is every address of this machine.
            tls: our certificate, and whose we trust; None: none, and whom the system trusts.
            receive: takes one message, or over UDP one datagram.
            on_closed: told of a flow that cannot be used any more: once of a connection, and of
                UDP each time that ICMP says that the peer cannot be reached.
            admit: whether a source may be heard at all; asked before a byte is read.
            is_held: whether a silent connection is still needed: somebody is registered on it, we
                are, or a call runs over it. Others end when they are idle.
            reachable: what peers are told of where we are.

        Raises:
            ConfigError: an address cannot be listened on, or a certificate not be used.
        """
        self._loop = loop
        self._reachable = reachable or Reachable()
        self._contact = lru_cache(MAX_REMEMBERED)(self._write_contact)
        self._contexts = TlsContexts(tls)
        self._listening: list[tuple[str, Address]] = []
        self.connections = ConnectionTable(
            loop=loop,
            receive=receive,
            on_closed=on_closed,
            admit=admit,
            is_held=is_held,
            limits=limits or ConnectionLimits(),
        )
        "Every connection, and what became of those that ended."
        opened = self._open_sockets(listens)
        self._tcp = TcpTransport(self.connections, self._contexts, loop=loop, spread=spread)
        for listen, each in opened:
            if listen.transport != "udp":
                self._tcp.listen(
                    each,
                    is_secure=listen.transport == "tls",
                    verify_client=listen.verify_client,
                )
        self.udp = UdpTransport(
            [each for listen, each in opened if listen.transport == "udp"],
            loop=loop,
            receive=receive,
            admit=admit,
            on_unreachable=on_closed,
        )

    @property
    def locals(self) -> tuple[tuple[str, Address], ...]:
        """What is listened on: transport and address."""
        return tuple(self._listening)

    def send(self, data: bytes, flow: Flow) -> bool:
        """Send one message; whether it was taken: if not, the flow has failed. Never raises."""
        if flow.transport == "udp":
            return self.udp.send(data, flow)
        connection = self.connections.get(flow)
        return connection is not None and connection.send(data)

    def connect_now(self, hop: Hop) -> Flow | None:
        """The flow to a hop, where there is nothing to wait for: over UDP, or an open connection.

        Raises:
            OSError: over UDP, nothing is listened on in that family.
        """
        if hop.transport == "udp":
            return self.udp.flow_to((hop.host, hop.port))
        return self._tcp.opened_to(hop)

    async def connect(self, hop: Hop) -> Flow:
        """The flow to a hop: over an open connection to the very same, or a new one.

        Raises:
            OSError: refused, unreachable, too slow, not whom TLS should have shown, or no
                connection may be opened.
        """
        flow = self.connect_now(hop)
        return await self._tcp.connect(hop) if flow is None else flow

    def adopt_websocket(
        self,
        *,
        local: Address,
        remote: Address,
        is_secure: bool,
        send: Callable[[bytes], bool],
        close: Callable[[Closing], object],
    ) -> WebSocketConnection:
        """Make a WebSocket of the HTTP server a flow; see `WebSocketConnection` for the rest.

        Raises:
            ConnectionRefusedError: its source is not admitted.
        """
        if not self.connections.admit(remote):
            raise ConnectionRefusedError("this source is not admitted")
        number = next(self.connections.numbers)
        flow = Flow("wss" if is_secure else "ws", local, remote, number)
        return WebSocketConnection(flow, self.connections, loop=self._loop, send=send, close=close)

    def contact_of(self, flow: Flow) -> Uri:
        """Our Contact on a flow: where its peer can reach us, by the same transport."""
        return self._contact(flow.transport, flow.local, flow.remote[0])

    def _write_contact(self, transport: str, local: tuple[str, int], remote: str) -> Uri:
        named = URI_TRANSPORTS.get(transport)
        parameters = NO_PARAMETERS
        if named is not None:
            parameters = Parameters((("transport", named),))
        host, port = local
        return Uri(
            "sip",
            None,
            host=self._reachable.address_for(remote, host),
            port=self._port_of(transport, host, port),
            parameters=parameters,
        )

    def identities(self, flow: Flow) -> tuple[str, ...]:
        """The SIP domains that a TLS peer has proved to be (RFC 5922 §7.1); of others none."""
        connection = self.connections.get(flow)
        return connection.identities if isinstance(connection, StreamConnection) else ()

    def reload_tls(self) -> None:
        """Read certificates and CAs anew, for handshakes from now on; connections stay.

        Raises:
            ConfigError: a file cannot be used; what was read before stays in use.
        """
        self._contexts.reload()

    def close(self) -> None:
        """Close every socket. Nothing is received and no flow is told of after this."""
        self._tcp.close()
        self.connections.close()
        self.udp.close()

    def _port_of(self, transport: str, host: str, port: int) -> int:
        """Where that transport is listened for: a connection of ours leaves from any port."""
        ours = [local for name, local in self._listening if name == transport]
        if (host, port) in ours:
            return port
        same_host = [local[1] for local in ours if local[0] == host]
        same_family = [local[1] for local in ours if (":" in local[0]) == (":" in host)]
        return next(iter([*same_host, *same_family]), port)

    def _open_sockets(self, listens: Sequence[Listen]) -> list[tuple[Listen, socket.socket]]:
        opened: list[tuple[Listen, socket.socket]] = []
        try:
            for listen in listens:
                if listen.transport == "tls" and self._contexts.options.certificate is None:
                    raise ConfigError(
                        f"[sip] listen = '{listen}': TLS needs a certificate; name one in"
                        " certificate and key (`make certs` makes a pair for development)"
                    )
                open_socket = open_udp_socket if listen.transport == "udp" else open_tcp_socket
                hosts = listening_addresses(listen.host, loopback=True)
                for each in open_on_each(hosts, listen.port, open_socket):
                    opened.append((listen, each))
                    self._listening.append((listen.transport, each.getsockname()[:2]))
        except (OSError, ConfigError) as error:
            for _, each in opened:
                each.close()
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(
                f"[sip] listen = '{listen}': cannot be listened on ({error.strerror}); free the"
                " port or name another"
            ) from None
        return opened

"""Opens connections to agents: sockets, TLS, the first words."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from functools import cache

from gateway.net.agent_connection import (
    SILENT_S,
    AgentConnection,
    ConnectError,
    Connection,
    StreamConnection,
)
from gateway.net.agent_websocket import WebSocketConnection
from gateway.net.destination import Pinned

SEND_BUFFER_BYTES = 32 * 1024
"""Asked of the system, which takes twice that: what is in there cannot be dropped any more, and
at 24 kHz it is a second already."""


NEXT_ADDRESS_S = 1.0
"How long an address may take, before the next of the same name is tried."


def prepare() -> None:
    """Read what TLS needs, which takes some 20 ms: better at the start than during calls."""
    _tls()


async def connect(
    pinned: Pinned,
    *,
    is_stream: bool,
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = (),
) -> AgentConnection:
    """Connect to an agent at the first of its addresses that takes us.

    The caller limits the time. No redirection is followed: the handshake's answer is 101, or it
    was refused.

    Raises:
        ConnectError: nobody is there, or we were refused.
    """
    loop = asyncio.get_running_loop()
    error = ConnectError("the agent has no address")
    for address in pinned.addresses:
        limit_s = None if address == pinned.addresses[-1] else NEXT_ADDRESS_S
        try:
            async with asyncio.timeout(limit_s):
                opened = await _open_socket(address, pinned.port, loop)
        except OSError as failure:  # a TimeoutError too
            error = ConnectError(f"the agent cannot be reached ({failure.strerror or 'no answer'})")
            continue
        return await _speak(opened, pinned, is_stream, headers, subprotocols, loop)
    raise error


async def _speak(
    opened: socket.socket,
    pinned: Pinned,
    is_stream: bool,
    headers: Sequence[tuple[str, str]],
    subprotocols: Sequence[str],
    loop: asyncio.AbstractEventLoop,
) -> Connection:
    """TLS and the handshake over a socket that is connected."""

    def make() -> Connection:
        if is_stream:
            return StreamConnection(loop)
        return WebSocketConnection(pinned, headers, subprotocols, loop)

    try:
        _, connection = await loop.create_connection(
            make,
            sock=opened,
            ssl=_tls() if pinned.is_secure else None,
            server_hostname=pinned.host if pinned.is_secure else None,
        )
    except OSError as failure:
        opened.close()
        why = "its certificate is not good" if isinstance(failure, ssl.SSLError) else "no answer"
        raise ConnectError(f"the agent cannot be reached ({why})") from None
    except BaseException:
        opened.close()
        raise
    try:
        await connection.opened
    except BaseException:
        connection.close()
        raise
    return connection


async def _open_socket(address: str, port: int, loop: asyncio.AbstractEventLoop) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: what was sent and not acknowledged
            unheard_ms = int(SILENT_S * 1000)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unheard_ms)
        await loop.sock_connect(opened, (address, port))
    except BaseException:
        opened.close()
        raise
    return opened


@cache
def _tls() -> ssl.SSLContext:
    """Whom this system trusts (SSL_CERT_FILE says otherwise)."""
    return ssl.create_default_context()

"""The media port's sockets: bound, never connected, with room for bursts."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import socket
import struct
import sys
from typing import TYPE_CHECKING, Protocol

from gateway.errors import ConfigError
from gateway.net.udp import DSCP_VOICE, open_udp_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024
"The default of 208 KiB holds 256 packets: what 200 calls send in 25 ms."

MAX_PORT_TRIES = 8
"How often another port number is tried when any will do, but is taken on one of the addresses."

SO_RCVBUFFORCE = 33
"Linux: exceed net.core.rmem_max, if privileged (not named by the socket module)."

SO_MEMINFO = 55
"Linux: nine counters of a socket, the last being its drops."

Address = tuple[str, int]


class UdpSocket(Protocol):
    """What is needed of a socket, so that tests can bring their own network."""

    def fileno(self) -> int:
        """What the loop watches."""

    def getsockname(self) -> Address:
        """The address it is bound to; of IPv6 with two more items."""

    def recvfrom(self, size: int, /) -> tuple[bytes, Address]:
        """The next datagram; BlockingIOError if there is none."""

    def sendto(self, data: bytes, address: Address, /) -> int:
        """Send one datagram."""

    def getsockopt(self, level: int, name: int, size: int, /) -> bytes:
        """An option of the kernel's, as bytes."""

    def close(self) -> None:
        """Free the address."""


def open_media_socket(host: str, port: int) -> socket.socket:
    """A non-blocking UDP socket bound to one address, marked as voice, with a large buffer.

    Raises:
        OSError: it cannot be bound.
    """
    opened = open_udp_socket(host, port, dscp=DSCP_VOICE)
    _ask_for_buffer(opened)
    return opened


def bind_all(
    hosts: Sequence[str], port: int, open_socket: Callable[[str, int], UdpSocket]
) -> list[UdpSocket]:
    """A socket on each of `hosts`, all with the same port number; 0 chooses one.

    An address that is gone again, or not usable yet, is left out with a warning.

    Raises:
        ConfigError: the port is taken, or none of the addresses can be listened on.
    """
    for _ in range(MAX_PORT_TRIES if port == 0 else 1):
        try:
            bound = _bind(hosts, port, open_socket)
        except OSError as error:
            last = error
            continue
        if bound:
            return bound
        raise ConfigError(
            f"[webrtc] listen: none of {', '.join(hosts) or 'the addresses'} is an address of "
            "this machine; 0.0.0.0 means all it has"
        )
    raise ConfigError(
        f"[webrtc] listen: UDP port {port} cannot be listened on ({last.strerror}); stop what "
        "uses it or choose another"
    ) from last


def dropped(opened: UdpSocket) -> int:
    """Datagrams lost because the socket's buffer was full; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    counters = opened.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 9 * 4)
    drops: int = struct.unpack("9I", counters)[8]
    return drops


def _bind(
    hosts: Sequence[str], port: int, open_socket: Callable[[str, int], UdpSocket]
) -> list[UdpSocket]:
    bound: list[UdpSocket] = []
    try:
        for host in hosts:
            try:
                opened = open_socket(host, port)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise
                log.warning("address left out host=%s reason=%s", host, error.strerror)
                continue
            bound.append(opened)
            port = opened.getsockname()[1]
    except BaseException:
        for opened in bound:
            opened.close()
        raise
    return bound


def _ask_for_buffer(opened: socket.socket) -> None:
    """Room for bursts, as much as the system gives (once a process says if that is too little)."""
    with contextlib.suppress(OSError):
        if sys.platform == "linux":
            opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
            return
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    granted = opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    if granted < RECEIVE_BUFFER_BYTES:
        _warn_of_small_buffer(granted)


@functools.cache
def _warn_of_small_buffer(granted: int) -> None:
    limit = "net.core.rmem_max" if sys.platform == "linux" else "kern.ipc.maxsockbuf"
    log.warning(
        "udp receive buffer is small granted_bytes=%d wanted_bytes=%d remedy=%r",
        granted,
        RECEIVE_BUFFER_BYTES,
        f"sysctl -w {limit}={RECEIVE_BUFFER_BYTES}",
    )

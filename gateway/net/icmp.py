"""Which peers of a UDP socket cannot be reached: what ICMP said, from Linux's error queue."""

from __future__ import annotations

import select
import socket
from contextlib import suppress

IP_RECVERR, IPV6_RECVERR = 11, 25
MSG_ERRQUEUE = 0x2000
"Of Linux; the socket module does not name them."

MAX_ERRORS_PER_TURN = 64
"Read per call of the loop: ICMP can be forged in floods like anything else."

_FROM_ICMP, _FROM_ICMP6 = 2, 3

# RFC 3261 §18.4: host, network, port or protocol unreachable, parameter problem. Others, as TTL
# exceeded and "fragmentation needed", which the kernel acts on by itself, are ignored.
_UNREACHABLE, _TOO_BIG_CODE, _PARAMETER = 3, 4, 12
_UNREACHABLE6, _PARAMETER6 = 1, 4


class ErrorQueue:
    """What the kernel remembers of ICMP errors for one unconnected UDP socket.

    A socket with such errors is also ready for nothing but them, and libuv, on which uvloop
    stands, stops watching what is ready so (POLLERR) for good. So the loop watches this instead:
    an epoll descriptor around the socket is readable when the socket has datagrams or errors, and
    never broken.
    """

    def __init__(self, udp_socket: socket.socket) -> None:
        self._socket = udp_socket
        self._poll = select.epoll()
        self._poll.register(udp_socket.fileno(), select.EPOLLIN)

    @classmethod
    def open(cls, udp_socket: socket.socket) -> ErrorQueue | None:
        """Ask the kernel to remember; None where it cannot."""
        if not hasattr(select, "epoll"):
            return None
        level, name = _option(udp_socket)
        with suppress(OSError):
            udp_socket.setsockopt(level, name, 1)
            if udp_socket.getsockopt(level, name) == 1:
                return cls(udp_socket)
        with suppress(OSError):  # no descriptor is left for it: errors are not to break the socket
            udp_socket.setsockopt(level, name, 0)
        return None

    def fileno(self) -> int:
        """What the loop is to watch instead of the socket."""
        return self._poll.fileno()

    def take(self) -> list[tuple[str, int]]:
        """The peers found unreachable since last asked, each once."""
        found: dict[tuple[str, int], None] = {}
        for _ in range(MAX_ERRORS_PER_TURN):
            try:
                _, details, _, address = self._socket.recvmsg(0, 512, MSG_ERRQUEUE)
            except OSError:  # nothing is left
                break
            if address and any(_is_final(*each) for each in details):
                found[address[0], address[1]] = None
        return list(found)

    def close(self) -> None:
        """Stop watching; the socket stays."""
        self._poll.close()

    def stop(self) -> None:
        """Have nothing remembered any more, and close: the loop can watch the socket itself."""
        level, name = _option(self._socket)
        with suppress(OSError):
            self._socket.setsockopt(level, name, 0)  # forgets what was remembered
            self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # and so does this
        self._poll.close()


def _option(udp_socket: socket.socket) -> tuple[int, int]:
    if udp_socket.family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, IPV6_RECVERR
    return socket.IPPROTO_IP, IP_RECVERR


def _is_final(level: int, name: int, data: bytes) -> bool:
    """Whether one entry of the queue says that the peer cannot be reached."""
    if (level, name) not in ((socket.IPPROTO_IP, IP_RECVERR), (socket.IPPROTO_IPV6, IPV6_RECVERR)):
        return False
    origin, kind, code = data[4:7]  # of struct sock_extended_err: behind a number of 32 bits
    if origin == _FROM_ICMP:
        return (kind == _UNREACHABLE and code != _TOO_BIG_CODE) or kind == _PARAMETER
    return origin == _FROM_ICMP6 and kind in (_UNREACHABLE6, _PARAMETER6)

"""When each sender's next packet is due, and the timer and the sockets of the generator.

One timer of 250 µs does everything: it sends what is due and empties the sockets. Nothing wakes up
for a packet that came in, for the kernel has stamped it; so a packet costs the generator little,
and the system under test pays for no wake-up of ours when it sends.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import socket
import struct
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable

from bench.timing import FRAME_NS

SLOT_NS = 250_000
"Senders due in the same slot go out together: at 250 calls that is three packets each way."

MAX_BEHIND_FRAMES = 3
"A generator that was held up longer than this lets frames fall rather than send them in a burst."

SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the socket module does not name it
MAX_DATAGRAM_BYTES = 2048
ANCILLARY_BYTES = 64
RECEIVE_BUFFER_BYTES = 256 * 1024

Send = Callable[[], None]
Receive = Callable[[bytes, int, tuple[str, int]], None]
"Takes a datagram, the kernel's time of its arrival in Unix nanoseconds, and its source."


class Pacer:
    """A circle of senders, each at its phase of the 20 ms. Pure: the time is an argument."""

    def __init__(self, start_ns: int) -> None:
        self._base_ns = start_ns
        self._phases: list[tuple[int, int]] = []
        self._senders: list[Send] = []
        self._next = 0
        self._added = 0
        self.lateness_ns: array[int] | None = None
        "By how much each packet went later than due, while somebody wants to know."
        self.frames_fallen = 0
        "Times 20 ms that were left out for every sender."

    def add(self, phase_ns: int, send: Send) -> None:
        """Call `send` each 20 ms at this phase, from the next circle on or from this one."""
        self._added += 1
        key = (phase_ns % FRAME_NS, self._added)
        at = bisect_left(self._phases, key)
        self._phases.insert(at, key)
        self._senders.insert(at, send)
        if at < self._next:
            self._next += 1

    def remove(self, send: Send) -> None:
        """Call `send` no more."""
        at = self._senders.index(send)
        del self._phases[at], self._senders[at]
        if at < self._next:
            self._next -= 1

    def run(self, now_ns: int) -> None:
        """Send what is due at `now_ns`."""
        if now_ns - self._base_ns > MAX_BEHIND_FRAMES * FRAME_NS and self._senders:
            behind = (now_ns - self._base_ns) // FRAME_NS - 1
            self._base_ns += behind * FRAME_NS
            self.frames_fallen += behind
        lateness = self.lateness_ns
        while True:
            while self._next < len(self._senders):
                due_ns = self._base_ns + self._phases[self._next][0]
                if due_ns > now_ns:
                    return
                send = self._senders[self._next]
                self._next += 1
                if lateness is not None:
                    lateness.append(now_ns - due_ns)
                send()
            if self._base_ns + FRAME_NS > now_ns:
                return
            self._base_ns += FRAME_NS
            self._next = 0


class Intake:
    """Sockets that are emptied on the generator's own time."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._entries: dict[int, tuple[socket.socket, Receive]] = {}

    def open(self, host: str, receive: Receive, *, port: int = 0) -> socket.socket:
        """A UDP socket whose datagrams go to `receive`, each with its arrival.

        Raises:
            OSError: the port is taken.
        """
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        self._entries[sock.fileno()] = (sock, receive)
        self._epoll.register(sock, select.EPOLLIN)
        return sock

    def close(self, sock: socket.socket) -> None:
        """Close a socket that `open` gave."""
        if self._entries.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock)
            sock.close()

    def drain(self) -> None:
        """Take one datagram from each socket that has any: level-triggered, the rest comes next."""
        for fd, _ in self._epoll.poll(0, 1024):
            entry = self._entries.get(fd)
            if entry is None:
                continue
            sock, receive = entry
            try:
                data, ancillary, _, source = sock.recvmsg(MAX_DATAGRAM_BYTES, ANCILLARY_BYTES)
            except OSError:  # nothing there, or an ICMP error of something sent earlier
                continue
            seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
            receive(data, seconds * 1_000_000_000 + nanoseconds, source)

    def shut(self) -> None:
        """Close what is still open."""
        for sock, _ in list(self._entries.values()):
            self.close(sock)
        self._epoll.close()


class Clockwork:
    """Drives a pacer and an intake on the event loop, each slot."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.pacer = Pacer(time.monotonic_ns())
        self.intake = Intake()
        self._timer = _open_interval_timer(SLOT_NS)
        loop.add_reader(self._timer, self._on_slot)

    def _on_slot(self) -> None:
        os.read(self._timer, 8)
        self.pacer.run(time.monotonic_ns())
        self.intake.drain()

    def close(self) -> None:
        """Stop sending and close every socket."""
        self._loop.remove_reader(self._timer)
        os.close(self._timer)
        self.intake.shut()


class _Interval(ctypes.Structure):
    """struct itimerspec (timerfd_settime(2))."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


def _open_interval_timer(period_ns: int) -> int:
    """A file descriptor that becomes readable each period (timerfd; Python names it from 3.13).

    The event loop's own timers are whole milliseconds.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    timer: int = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    interval = _Interval(0, period_ns, 0, period_ns)
    if timer < 0 or libc.timerfd_settime(timer, 0, ctypes.byref(interval), None) < 0:
        raise OSError(ctypes.get_errno(), "timerfd")
    return timer

"""An asyncio event loop with virtual time and datagrams in memory.

Code that opens its sockets through a given `open_socket` and reads them with `add_reader` runs on
it unchanged: thirty seconds pass in a millisecond, and every run is the same run.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import inspect
import itertools
import selectors
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from _typeshed import FileDescriptorLike

P = ParamSpec("P")
Address = tuple[str, int]

START = 1000.0
"Loop seconds at which every test begins; not zero, so that a forgotten initial value shows."

FIRST_EPHEMERAL_PORT = 40_000

MAX_QUEUED = 512
"Datagrams that one socket holds unread, like a receive buffer."


class StandstillError(RuntimeError):
    """The loop waits for something that can never come."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram as it was sent."""

    sent_at: float
    source: Address
    destination: Address
    data: bytes


class VirtualSocket:
    """A bound, unconnected, non-blocking UDP socket on the virtual network."""

    _filenos = itertools.count(1 << 20)  # above every real descriptor

    def __init__(self, network: Network, address: Address) -> None:
        self._network = network
        self._address = address
        self._fileno = next(self._filenos)
        self._queue: deque[tuple[bytes, Address]] = deque(maxlen=MAX_QUEUED)
        self.closed = False

    def fileno(self) -> int:
        """A number that no real descriptor has."""
        return self._fileno

    def getsockname(self) -> Address:
        """Address and port it is bound to."""
        return self._address

    def setsockopt(self, _level: int, _name: int, _value: int | bytes) -> None:
        """Accepted and ignored."""

    def getsockopt(self, _level: int, _name: int, _size: int = 0) -> Any:
        """Nothing is known: 0, or zero bytes where a buffer is asked for."""
        return bytes(_size) if _size else 0

    def sendto(self, data: bytes, address: Address) -> int:
        """Put one datagram on the network."""
        if self.closed:
            raise OSError(errno.EBADF, "closed")
        self._network.carry(bytes(data), self._address, (address[0], address[1]))
        return len(data)

    def recvfrom(self, size: int) -> tuple[bytes, Address]:
        """The oldest datagram, cut to `size`; BlockingIOError if there is none."""
        if not self._queue:
            raise BlockingIOError
        data, source = self._queue.popleft()
        return data[:size], source

    def close(self) -> None:
        """Free the address."""
        self.closed = True
        self._queue.clear()
        self._network.forget(self._address)

    def arrive(self, data: bytes, source: Address) -> None:
        """Called by the network when a datagram gets here."""
        if not self.closed:
            self._queue.append((data, source))

    @property
    def readable(self) -> bool:
        """Whether `recvfrom` would return something."""
        return bool(self._queue)


class Network:
    """Every socket of one test, and the wire between them."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._sockets: dict[Address, VirtualSocket] = {}
        self._ports = itertools.count(FIRST_EPHEMERAL_PORT)
        self.delay_s = 0.0
        "One-way delay of every datagram."
        self.passes: Callable[[Datagram], bool] = lambda _datagram: True
        "What the wire lets through; replace it to lose datagrams."
        self.translate: Callable[[Datagram], Datagram] = lambda datagram: datagram
        "What becomes of what gets through; replace it to put a NAT in between."
        self.sent: list[Datagram] = []
        "Everything that was sent, lost or not, in order."

    def open_socket(self, host: str, port: int) -> VirtualSocket:
        """Bind `host` and `port` (0: any), as a socket opened by the system would be."""
        address = (host, port or next(self._ports))
        if address in self._sockets:
            raise OSError(errno.EADDRINUSE, f"{address} is in use")
        self._sockets[address] = VirtualSocket(self, address)
        return self._sockets[address]

    def carry(self, data: bytes, source: Address, destination: Address) -> None:
        """Take one datagram from `source` toward `destination`, also a forged one."""
        datagram = Datagram(self._loop.time(), source, destination, data)
        self.sent.append(datagram)
        if not self.passes(datagram):
            return
        datagram = self.translate(datagram)
        if self.delay_s:
            self._loop.call_later(self.delay_s, self.deliver, datagram)
        else:
            self.deliver(datagram)

    def deliver(self, datagram: Datagram) -> None:
        """Put a datagram before its reader, whatever the wire lets through."""
        socket = self._sockets.get(datagram.destination)
        if socket is not None:
            socket.arrive(datagram.data, datagram.source)

    def sent_to(self, host: str) -> list[Datagram]:
        """What was sent toward one host."""
        return [datagram for datagram in self.sent if datagram.destination[0] == host]

    def is_readable(self, fileno: int) -> bool:
        """Whether the socket of that number has something to read."""
        return any(each.fileno() == fileno and each.readable for each in self._sockets.values())

    def forget(self, address: Address) -> None:
        """A socket was closed."""
        self._sockets.pop(address, None)

    @property
    def open_addresses(self) -> set[Address]:
        """Addresses that are bound now."""
        return set(self._sockets)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time stands still while there is something to do, and else jumps to the next timer."""

    def __init__(self) -> None:
        self._virtual_now = START
        self.unhandled: list[dict[str, Any]] = []
        "What would have been logged as an unhandled exception."
        self.network = Network(self)
        super().__init__(_VirtualSelector(self._pass, self.network.is_readable))
        self.set_exception_handler(lambda _loop, context: self.unhandled.append(context))

    def time(self) -> float:
        """Virtual loop seconds."""
        return self._virtual_now

    def advance(self, seconds: float) -> None:
        """Let virtual time pass, from outside any coroutine."""
        self.run_until_complete(asyncio.sleep(seconds))

    def finish(self) -> None:
        """Close the loop, having made sure that nothing is left running and nothing was raised."""
        try:
            self.run_until_complete(asyncio.sleep(0))
            leaked = asyncio.all_tasks(self)
            assert not leaked, f"left running: {leaked}"
            assert not self.unhandled, f"unhandled: {self.unhandled}"
        finally:
            self.close()

    def _pass(self, seconds: float) -> None:
        self._virtual_now += seconds


class _VirtualSelector(selectors.BaseSelector):
    """Knows virtual sockets; waiting is done by moving the clock."""

    def __init__(self, wait: Callable[[float], None], is_readable: Callable[[int], bool]) -> None:
        self._wait = wait
        self._is_readable = is_readable
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        fileno = _fileno(fileobj)
        if fileno in self._keys:
            raise KeyError(f"{fileobj!r} is already registered")
        self._keys[fileno] = selectors.SelectorKey(fileobj, fileno, events, data)
        return self._keys[fileno]

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._keys.pop(_fileno(fileobj))

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._ready()
        if not ready and timeout is None:
            raise StandstillError("no timer is set and no datagram is under way")
        if not ready and timeout is not None and timeout > 0:
            self._wait(timeout)
        return ready

    def get_key(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._keys[_fileno(fileobj)]

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return {key.fileobj: key for key in self._keys.values()}

    def close(self) -> None:
        self._keys.clear()

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        return [
            (key, selectors.EVENT_READ)
            for key in list(self._keys.values())
            if self._is_readable(key.fd)
        ]


def _fileno(fileobj: FileDescriptorLike) -> int:
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()


def in_virtual_time(
    test: Callable[Concatenate[VirtualLoop, P], Coroutine[Any, Any, None]],
) -> Callable[P, None]:
    """Run a coroutine test on a `VirtualLoop`, given as its first argument; nothing may be left.

    The other arguments stay what they were: fixtures and parameters.
    """

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = VirtualLoop()
        try:
            loop.run_until_complete(test(loop, *args, **kwargs))
        except BaseException:
            loop.close()  # the test's own failure is the one to read
            raise
        loop.finish()

    signature = inspect.signature(test)
    fixtures = list(signature.parameters.values())[1:]
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=fixtures, return_annotation=None
    )
    return run


async def elapse(seconds: float) -> None:
    """Let virtual time pass, from inside a coroutine on a `VirtualLoop`."""
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)
    await asyncio.sleep(seconds)


async def until(claim: Callable[[], bool], *, within: float) -> float:
    """Wait until `claim` holds, looking every 10 ms; the virtual seconds that took."""
    loop = asyncio.get_running_loop()
    started_at = loop.time()
    while not claim():
        assert loop.time() - started_at < within, f"not within {within} s"
        await elapse(0.01)
    return loop.time() - started_at

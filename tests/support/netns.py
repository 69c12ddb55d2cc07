"""A browser's machine with two links, beside a gateway's, as network namespaces (Linux, root).

    gateway 10.77.0.1 ── 10.77.1.1 ══ link 1 ══ 10.77.1.2 ── browser
                      └─ 10.77.2.1 ══ link 2 ══ 10.77.2.2 ─┘

Each link of the browser leads to the gateway's one address by a route of its own, as Wi-Fi and a
mobile network would.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

GATEWAY = "10.77.0.1"
LINKS = (1, 2)

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
PACKET_HOST = 0
SO_TIMESTAMPNS = 35
NOBODY = "02:00:00:00:00:99"
"A hardware address that nobody has: what is sent there is gone."


def can_make_namespaces() -> bool:
    """Whether this process may: it is root, and not in a container that forbids it."""
    name = f"probe{os.getpid()}"
    try:
        made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True)
    except OSError:
        return False
    if made.returncode == 0:
        _ip("netns", "del", name)
    return made.returncode == 0


class TwoLinks:
    """Both machines, while it is entered; this process is on the gateway's then."""

    def __init__(self) -> None:
        self.gateway = f"gw{os.getpid()}"
        self.browser = f"br{os.getpid()}"
        self._home = -1

    def __enter__(self) -> Self:
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self) -> None:
        for name in (self.gateway, self.browser):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", self.gateway, "addr", "add", f"{GATEWAY}/32", "dev", "lo")
        for link in LINKS:
            self._lay(link)
        _enter_named(self.gateway)

    def __exit__(self, *_: object) -> None:
        _enter(self._home)
        os.close(self._home)
        for name in (self.gateway, self.browser):
            if Path(f"/run/netns/{name}").exists():
                _ip("netns", "del", name)

    def launcher(self, directory: Path, executable: str) -> Path:
        """A command that starts `executable` on the browser's machine."""
        script = directory / "launch"
        script.write_text(f'#!/bin/sh\nexec ip netns exec {self.browser} {executable} "$@"\n')
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return script

    def take_down(self, link: int) -> None:
        """The browser's interface loses its link, and its machine knows at once."""
        _ip("-n", self.browser, "link", "set", f"b{link}", "down")

    def bring_up(self, link: int) -> None:
        """It is there again, with its address and its route."""
        _ip("-n", self.browser, "link", "set", f"b{link}", "up")
        self._route(link)

    def lose(self, link: int) -> None:
        """A black hole: what is sent over the link is gone, either way, and nobody is told."""
        for name, peer, device in (
            (self.gateway, f"10.77.{link}.2", f"a{link}"),
            (self.browser, f"10.77.{link}.1", f"b{link}"),
        ):
            self._neighbour(name, peer, device, NOBODY)

    def find(self, link: int) -> None:
        """What `lose` did is over."""
        for name, other, peer, device in (
            (self.gateway, self.browser, f"10.77.{link}.2", f"a{link}"),
            (self.browser, self.gateway, f"10.77.{link}.1", f"b{link}"),
        ):
            self._neighbour(name, peer, device, _hardware_address(other, device, link))

    def dial_browser(self, port: int) -> socket.socket:
        """A connection to a port of the loopback of the browser's machine."""
        with _inside(self.browser, back_to=self.gateway):
            return socket.create_connection(("127.0.0.1", port))

    def listen_at_browser(self, host: str = "127.0.0.1") -> socket.socket:
        """A socket that listens on the browser's machine: on its loopback, or one of its links."""
        with _inside(self.browser, back_to=self.gateway):
            return socket.create_server((host, 0))

    def watch(self, name: str) -> Watch:
        """See the media that arrives at one of the machines."""
        with _inside(name, back_to=self.gateway):
            return Watch()

    def _lay(self, link: int) -> None:
        a, b = f"a{link}", f"b{link}"
        ends = ("type", "veth", "peer", "name", b, "netns", self.browser)
        _ip("-n", self.gateway, "link", "add", a, *ends)
        for name, device, host in ((self.gateway, a, 1), (self.browser, b, 2)):
            _ip("-n", name, "addr", "add", f"10.77.{link}.{host}/24", "dev", device)
            _ip("-n", name, "link", "set", device, "up")
        rule = ("from", f"10.77.{link}.2", "lookup", str(100 + link))
        _ip("-n", self.browser, "rule", "add", *rule)
        # What has the address of a link that is down goes nowhere, not over the other.
        nowhere = ("unreachable", "default", "metric", "9000", "table", str(100 + link))
        _ip("-n", self.browser, "route", "add", *nowhere)
        self._route(link)
        self.find(link)

    def _route(self, link: int) -> None:
        way = ("default", "via", f"10.77.{link}.1", "dev", f"b{link}")
        _ip("-n", self.browser, "route", "replace", *way, "table", str(100 + link))
        # The preferred one of both is the first.
        _ip("-n", self.browser, "route", "replace", *way, "metric", str(100 * link))

    def _neighbour(self, name: str, peer: str, device: str, address: str) -> None:
        entry = (peer, "lladdr", address, "dev", device, "nud", "permanent")
        _ip("-n", name, "neigh", "replace", *entry)


@dataclass(frozen=True, slots=True)
class Seen:
    """One SRTP packet that arrived."""

    at: float
    "Unix time in seconds, by the kernel."
    sequence: int
    ssrc: bytes
    path: bytes
    "Source and destination: addresses and ports."


class Watch:
    """The SRTP packets that arrive at a machine, over whichever link."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        kind, protocol = socket.SOCK_DGRAM, socket.htons(ETH_P_ALL)
        self._socket = socket.socket(socket.AF_PACKET, kind, protocol)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def gap(self, since: float) -> float:
        """The longest silence from then on, in seconds, in which packets were lost or moved.

        Any other is of a sender that was not given the processor in time.
        """
        heard = self._heard(since - 1)
        return max(
            (
                later.at - earlier.at
                for earlier, later in itertools.pairwise(heard)
                if later.at > since
                and (later.path != earlier.path or later.sequence != earlier.sequence + 1 & 0xFFFF)
            ),
            default=0.0,
        )

    def lost(self, since: float) -> int:
        """Packets missing among those that arrived after that."""
        numbers = [each.sequence for each in self._heard(since)]
        return sum(
            (later - earlier & 0xFFFF) - 1
            for earlier, later in itertools.pairwise(numbers)
            if 0 < (later - earlier & 0xFFFF) < 0x8000
        )

    def _heard(self, since: float) -> list[Seen]:
        """What came of the stream that is there now: an earlier one may take a while to end."""
        ssrc = self.seen[-1].ssrc
        return [each for each in self.seen if each.at > since and each.ssrc == ssrc]

    def _read(self) -> None:
        for _ in range(256):
            try:
                data, ancillary, _, (device, _, kind, *_) = self._socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            if device == "lo" or kind != PACKET_HOST or data[0] != 0x45 or data[9] != 17:
                continue
            first, second = data[28], data[29]
            if 127 < first < 192 and not 192 <= second <= 223:
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                sequence = int.from_bytes(data[30:32], "big")
                at, ssrc, path = seconds + nanoseconds / 1e9, data[36:40], data[12:24]
                self.seen.append(Seen(at, sequence, ssrc, path))


def _hardware_address(name: str, device: str, link: int) -> str:
    """That of the other end of a link."""
    other = ("b" if device.startswith("a") else "a") + str(link)
    shown = subprocess.run(
        ["ip", "-n", name, "-o", "link", "show", other], check=True, capture_output=True, text=True
    )
    return shown.stdout.split("link/ether ")[1].split()[0]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def _inside(name: str, *, back_to: str) -> Iterator[None]:
    """On another machine: sockets made meanwhile stay there."""
    _enter_named(name)
    try:
        yield
    finally:
        _enter_named(back_to)


def _enter_named(name: str) -> None:
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        _enter(descriptor)
    finally:
        os.close(descriptor)


def _enter(descriptor: int) -> None:
    """Have this thread, and what it starts, on another machine (os.setns comes with 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")

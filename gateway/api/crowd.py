"""How many WebSockets are open, and from where: nobody gets more than a share (behaviour A23)."""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.errors import CapacityError
from gateway.net.interface import Network, is_ip_address, is_loopback, neighbourhood

log = logging.getLogger(__name__)

MAX_FORWARDED = 16
"Proxies that a request may tell it came through."


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """WebSockets of all kinds that may be open at a time."""

    per_address: int = 16
    "Of one address, of IPv6 one network of 64 bits; this machine itself is not limited."
    total: int = 2048


class Crowd:
    """Counts the WebSockets that are open."""

    def __init__(self, limits: SocketLimits | None = None) -> None:
        self._limits = limits or SocketLimits()
        self._places: Counter[str] = Counter()
        self.refused = 0
        "Sockets for which there was no room."

    def __len__(self) -> int:
        return self._places.total()

    @contextmanager
    def place_for(self, address: str, *, is_known: bool = False) -> Iterator[None]:
        """Let one in from that address, and hold its place.

        Args:
            is_known: it has shown who it is: others of its address do not count.

        Raises:
            CapacityError: 503, there is no room.
        """
        place = neighbourhood(address)
        is_limited = not (is_known or is_loopback(address))
        if self._places.total() >= self._limits.total or (
            is_limited and self._places[place] >= self._limits.per_address
        ):
            self.refused += 1
            if self.refused == 1:
                log.warning(
                    "http: a WebSocket is refused, %d are open from there and %d in all; more from"
                    " an address are taken by [http] sockets_per_address, and behind a proxy by"
                    " trusted_proxies; counted from now on",
                    self._places[place],
                    self._places.total(),
                )
            raise CapacityError("As many WebSockets are open as may be; close some and try again")
        self._places[place] += 1
        try:
            yield
        finally:
            self._places[place] -= 1
            if not self._places[place]:
                del self._places[place]


def client_address(remote: str, forwarded: str, proxies: Sequence[Network]) -> str:
    """Who really connects, where it was a proxy of ours that did.

    Args:
        remote: the address that connected.
        forwarded: X-Forwarded-For: to its end each proxy has added who connected to it.
        proxies: whose word is taken; others may have written what they like.
    """
    hosts = [host.strip() for host in forwarded.split(",")][-MAX_FORWARDED:]
    for host in reversed(hosts):
        if not _is_in(remote, proxies) or not is_ip_address(host):
            break
        remote = host
    return remote


def _is_in(host: str, networks: Sequence[Network]) -> bool:
    if not networks or not is_ip_address(host):
        return False
    address = ipaddress.ip_address(host)
    return any(address in network for network in networks)

"""The addresses of this machine, as far as others may reach them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from socket import socket

import ifaddr

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_PORT_TRIES = 16
"Ports tried until one is free on every address, when the system is asked to choose."

WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104 - names to be replaced by addresses, not bound to


def listening_addresses(host: str, *, loopback: bool) -> tuple[str, ...]:
    """What listening on `host` means: itself, or for a wildcard each interface's addresses.

    One socket for each of them, not one for all: an answer then leaves from the address that the
    request came to, also on a machine with several.

    Args:
        host: an IP address; `0.0.0.0` stands for every IPv4 address, `::` for those of IPv6 too.
        loopback: whether a wildcard takes in 127.0.0.1 (and ::1), which come last. Where there is
            nothing else, it does in any case.

    Returns:
        IP addresses, IPv4 before IPv6, never link-local ones.
    """
    if host not in WILDCARDS:
        return (host,)
    versions = {4, 6} if host == "::" else {4}
    found = [address for address in _interface_addresses() if address.version in versions]
    outside = sorted((a for a in found if not a.is_loopback), key=lambda a: a.version)
    inside = sorted((a for a in found if a.is_loopback), key=lambda a: a.version)
    chosen = outside + inside if loopback or not outside else outside
    return tuple(map(str, chosen))


def open_on_each(
    hosts: Sequence[str], port: int, open_socket: Callable[[str, int], socket]
) -> list[socket]:
    """Open a socket on each address, all on one port; 0 becomes one that is free on all of them.

    Raises:
        OSError: an address is not ours, or in use; nothing is open then.
    """
    for tries_left in reversed(range(MAX_PORT_TRIES)):
        opened: list[socket] = []
        try:
            for host in hosts:
                bound_to = opened[0].getsockname()[1] if opened else port
                opened.append(open_socket(host, bound_to))
        except OSError:
            for each in opened:
                each.close()
            if port or not tries_left or not opened:
                raise
        else:
            break
    return opened


@lru_cache(maxsize=4096)
def is_ip_address(host: str) -> bool:
    """Whether it is a literal address: a name would be looked up, which blocks the loop."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=4096)
def is_loopback(host: str) -> bool:
    """Whether this is an IP address that only this host itself can reach."""
    return is_ip_address(host) and ipaddress.ip_address(host).is_loopback


@dataclass(frozen=True, slots=True)
class Reachable:
    """How peers are told to reach us, where a 1:1 NAT stands between us and most of them."""

    advertise: tuple[str, ...] = ()
    "Public IP addresses, one of each family is used; the port is that of the socket."
    local_networks: tuple[Network, ...] = ()
    "Whose peers see our own address. Loopback is always one of them."

    def address_for(self, peer: str, ours: str) -> str:
        """The address of ours that a peer is told.

        Args:
            peer: its IP address; one that is not known yet is taken to be beyond the NAT.
            ours: the IP address that it is spoken to from.
        """
        if not self.advertise or _is_local(peer, self.local_networks):
            return ours
        is_six = ":" in ours
        return next((each for each in self.advertise if (":" in each) == is_six), ours)


@lru_cache(maxsize=4096)
def _is_local(host: str, networks: tuple[Network, ...]) -> bool:
    """Whether an address is loopback or in a network; what is no address is not."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or any(address in network for network in networks)


@lru_cache(maxsize=4096)
def neighbourhood(host: str) -> str:
    """What counts as one peer where peers are counted: an address; of IPv6 its network.

    Whoever has one IPv6 address has the 2⁶⁴ beside it too.
    """
    if ":" not in host:
        return host
    try:
        network = ipaddress.IPv6Network((host.partition("%")[0], 64), strict=False)
    except ValueError:
        return host
    return str(network.network_address)


def _interface_addresses() -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    addresses = (
        ipaddress.ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0].partition("%")[0])
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    )
    # A link-local address means something only together with an interface.
    return [address for address in addresses if not address.is_link_local]

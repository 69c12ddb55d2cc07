"""The addresses of this machine, as far as others may reach them."""

from __future__ import annotations

import ipaddress

import ifaddr

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


def _interface_addresses() -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    addresses = (
        ipaddress.ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0].partition("%")[0])
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    )
    # A link-local address means something only together with an interface.
    return [address for address in addresses if not address.is_link_local]

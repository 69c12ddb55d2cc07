"""The domains that are ours: names and addresses that people reach us by (RFC 3261 §10.3)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from gateway.sip.uri import Uri


class Domains:
    """Hosts of URIs that mean us."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self._hosts = frozenset(map(_plain, hosts))

    def names(self, uri: Uri) -> bool:
        """Whether a URI is of a domain of ours; its port and parameters do not matter."""
        return uri.is_sip and _plain(uri.host) in self._hosts


def is_address(host: str, other: str) -> bool:
    """Whether two hosts are the same IP address; names are none."""
    try:
        return ip_address(host) == ip_address(other)
    except ValueError:
        return False


def _plain(host: str) -> str:
    """One spelling for each host: an IPv6 address has many."""
    if ":" not in host:
        return host.lower()
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return host.lower()

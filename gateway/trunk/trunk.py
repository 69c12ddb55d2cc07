"""Trunks: carriers and PBXs, and who a SIP source is."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.codec import PCMA, PCMU, Codec
from gateway.errors import RoutingError
from gateway.private import Secret
from gateway.sip.uri import Uri

log = logging.getLogger(__name__)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SIP_PORT = 5060

MAX_REMEMBERED_SOURCES = 4096
"Verdicts kept on source addresses: a flood from forged ones must not grow it."


@dataclass(frozen=True, slots=True)
class Trunk:
    """One carrier or PBX."""

    name: str
    uri: Uri
    "Where calls to it go: sip:HOST or sip:HOST:PORT."
    username: str | None = None
    "Answers its challenges (401, 407)."
    password: Secret | None = None
    realm: str | None = None
    "The only realm that is answered; None: the first that asks."
    caller_id: str | None = None
    "The number shown on calls to it; None: the caller's own."
    allow: tuple[Network, ...] = ()
    "Who may call in as this trunk, beside the address of its uri."
    codecs: tuple[Codec, ...] = (PCMU, PCMA)
    "What it is offered and may use, in this order."


class Peers:
    """Says of a source address who it is: a trunk, an allowed stranger, or nobody."""

    def __init__(self, trunks: Sequence[Trunk], allow: Sequence[Network]) -> None:
        """
        Args:
            allow: who may call in without being a trunk: their routes are `from = "sip"`.
        """
        self._trunks = tuple(trunks)
        self._allow = tuple(allow)
        self._addresses = {trunk.name: _resolve(trunk) for trunk in trunks}
        self._admitted: dict[str, bool] = {}

    def address_of(self, trunk: Trunk) -> tuple[str, int]:
        """Where a trunk takes calls.

        Raises:
            RoutingError: 503, its name is not known to the DNS.
        """
        address = self._addresses[trunk.name]
        if address is None:
            raise RoutingError(f"trunk {trunk.name} has no address", status=503)
        return address

    def is_admitted(self, host: str) -> bool:
        """Whether an address may send us SIP at all; asked for every datagram."""
        admitted = self._admitted.get(host)
        if admitted is None:
            if len(self._admitted) >= MAX_REMEMBERED_SOURCES:
                self._admitted.clear()
            admitted = self._admitted[host] = self._decide(host)
        return admitted

    def source_of(self, remote: tuple[str, int]) -> str:
        """Who an admitted address is, in a route's words: `trunk:NAME` or `sip`.

        The very address of a trunk beats a network; a network of a trunk beats `allow`.
        """
        for trunk in self._trunks:
            if self._addresses[trunk.name] == remote:
                return f"trunk:{trunk.name}"
        address = ipaddress.ip_address(remote[0])
        for trunk in self._trunks:
            if any(address in network for network in trunk.allow):
                return f"trunk:{trunk.name}"
        if any(address in network for network in self._allow):
            return "sip"
        for trunk in self._trunks:
            known = self._addresses[trunk.name]
            if known is not None and known[0] == remote[0]:
                return f"trunk:{trunk.name}"
        raise RoutingError("this source may not call", status=403)

    def _decide(self, host: str) -> bool:
        if any(known is not None and known[0] == host for known in self._addresses.values()):
            return True
        address = ipaddress.ip_address(host)
        networks = [*self._allow, *(n for trunk in self._trunks for n in trunk.allow)]
        return any(address in network for network in networks)


def _resolve(trunk: Trunk) -> tuple[str, int] | None:
    """The trunk's first address. Asked once, at start, when blocking harms nobody."""
    port = trunk.uri.port or SIP_PORT
    try:
        found = socket.getaddrinfo(trunk.uri.host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:  # the latter of a name with an empty or long label
        log.warning("trunk=%s has no address now: %s", trunk.name, error)
        return None
    host, found_port = found[0][4][:2]
    return str(host), int(found_port)

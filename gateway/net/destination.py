"""Where the URL of an agent or a webhook may lead: checked, looked up once, and pinned (A21).

What the operator's configuration names may be anywhere. A URL that comes by the API, or in what an
agent answers, is a stranger's: it leads to public addresses over TLS, or nowhere, whatever its
name resolves to the next time somebody asks.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from gateway.errors import GatewayError
from gateway.net.dns import Resolver
from gateway.sip.flow import Destination

MAX_URL_CHARACTERS = 4096
"No URL of an agent is longer; what a stranger sends may be."

PORTS = {"https": 443, "http": 80, "wss": 443, "ws": 80, "tcp": 0}
"Schemes that we connect by, with the port where a URL names none; 0: it has to."

SECURE = frozenset({"https", "wss"})

UNUSUAL = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # of protocols (RFC 6890), and metadata of Oracle Cloud
            "64:ff9b::/96",  # NAT64: an IPv4 address in other clothes (RFC 6052)
            "64:ff9b:1::/48",
            "2001::/32",  # Teredo
            "2002::/16",  # 6to4
            "::/96",  # IPv4-compatible, long given up
            "fec0::/10",  # site-local, likewise
        ),
    )
)
"Beside what is not global: of no use to a stranger's server, and ways around a look at it."

LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"The IP addresses of a host's name, in the order to try them; empty: there are none."


class DestinationError(GatewayError):
    """Nobody will be connected to there. The message names neither path nor query."""

    status = 403


@dataclass(frozen=True, slots=True)
class Pinned:
    """A URL that may be connected to, at these addresses and no other."""

    scheme: str
    host: str
    "As a certificate and a Host header have it, without IPv6 brackets."
    port: int
    addresses: tuple[str, ...]
    target: str
    "Path and query as an HTTP request asks for them; begins with a slash."

    @property
    def is_secure(self) -> bool:
        """Whether it is TLS."""
        return self.scheme in SECURE

    @property
    def authority(self) -> str:
        """What a Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def check_url(url: str) -> None:
    """Refuse what is no URL that could ever be connected to.

    Raises:
        DestinationError: it is none.
    """
    _split(url)


class Destinations:
    """Says where URLs may lead."""

    def __init__(
        self, look_up: LookUp, *, trusted: Iterable[str] = (), own: Iterable[str] = ()
    ) -> None:
        """
        Args:
            trusted: URLs of the operator's configuration: their hosts, at these ports, may be
                anywhere.
            own: addresses of ours, by which a stranger would reach what listens here.
        """
        self._look_up = look_up
        self._own = frozenset(own)
        self._trusted = {_site(_split(url)) for url in trusted}

    def trust(self, url: str) -> None:
        """Take one more URL as the operator's.

        Raises:
            DestinationError: it is no URL that can be connected to.
        """
        self._trusted.add(_site(_split(url)))

    def check(self, url: str) -> None:
        """Whether a URL could be used, as far as its text tells.

        Raises:
            DestinationError: it could not.
        """
        self._admit(_split(url))

    async def pin(self, url: str) -> Pinned:
        """Look a URL's host up, once.

        Raises:
            DestinationError: it is no URL that we connect to, leads where it must not, or there
                is no such host.
        """
        parts = _split(url)
        host, port = _site(parts)
        is_trusted = self._admit(parts)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        addresses: Sequence[str]
        if _is_address(host):
            addresses = (host,)
        else:
            addresses = await self._look_up(host, port)
        if not addresses:
            raise DestinationError(f"the host {host} is not found")
        allowed = tuple(a for a in addresses if is_trusted or self._is_public(a))
        if not allowed:
            raise DestinationError(f"the host {host} is not a public one, and not configured")
        return Pinned(parts.scheme, host, port, allowed, target)

    def _admit(self, parts: SplitResult) -> bool:
        """Whether it is the operator's own.

        Raises:
            DestinationError: it is not, and does not lead to a public address over TLS.
        """
        host, port = _site(parts)
        if (host, port) in self._trusted:
            return True
        if parts.scheme not in SECURE:
            raise DestinationError("only https and wss lead to hosts that are not configured")
        if _is_address(host):
            if not self._is_public(host):
                raise DestinationError(f"the host {host} is not a public one, and not configured")
        elif _looks_numeric(host) or "." not in host:
            # 0x7f.1 and 2130706433 are 127.0.0.1 to the C library, and names to nobody.
            raise DestinationError(f"the host {host} is neither an address nor a whole name")
        return False

    def _is_public(self, text: str) -> bool:
        address = ipaddress.ip_address(text)
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return (
            address.is_global
            and not (address.is_multicast or address.is_reserved)
            and str(address) not in self._own
            and not any(address in network for network in UNUSUAL)
        )


def look_up_by(resolver: Resolver) -> LookUp:
    """Look up names as SIP's are: kept for as long as they hold, and never blocking."""

    async def look_up(host: str, port: int) -> Sequence[str]:
        hops = await resolver.resolve(Destination(host, port, "tcp"))
        return tuple(dict.fromkeys(hop.host for hop in hops))

    return look_up


def _split(url: str) -> SplitResult:
    """A URL's parts, if everybody who reads it would find the same ones.

    Raises:
        DestinationError: it is not plain, or of no scheme of ours.
    """
    if len(url) > MAX_URL_CHARACTERS:
        raise DestinationError("the URL is too long")
    if not (url.isascii() and url.isprintable()) or any(c in url for c in ' \\"<>^`{|}'):
        raise DestinationError("the URL has characters that have to be escaped")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise DestinationError("the URL is none") from None
    if parts.scheme not in PORTS:
        raise DestinationError("the URL must begin with https://, http://, wss://, ws:// or tcp://")
    if "@" in parts.netloc:
        # What stands before an @ is taken for the host by those who read carelessly.
        raise DestinationError("the URL must name no user: configure credentials beside it")
    if not parts.hostname or port == 0 or (port is None and not PORTS[parts.scheme]):
        raise DestinationError("the URL names no host and port")
    if not _is_address(parts.hostname) and not _is_name(parts.hostname):
        raise DestinationError("the URL names no host that could be looked up")
    return parts


def _site(parts: SplitResult) -> tuple[str, int]:
    host = (parts.hostname or "").rstrip(".")
    if _is_address(host):
        host = str(ipaddress.ip_address(host))
    return host, parts.port or PORTS[parts.scheme]


def _is_address(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.version == 4 or address.scope_id is None


def _is_name(host: str) -> bool:
    labels = host.rstrip(".").split(".")
    return len(host) <= 253 and all(
        0 < len(label) <= 63 and label.replace("-", "").replace("_", "").isalnum()
        for label in labels
    )


def _looks_numeric(host: str) -> bool:
    """Whether its last label is a number to inet_aton (URL standard: "ends in a number")."""
    last = host.rpartition(".")[2]
    digits = last[2:] if last.startswith("0x") else last
    return last.isdigit() or (
        last.startswith("0x") and all(c in "0123456789abcdef" for c in digits)
    )

"""Where media may be sent on a peer's word alone, without ICE to prove that it is wanted (A8)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from gateway.errors import NegotiationError

METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # most clouds
        "169.254.170.2",  # AWS containers
        "169.254.170.23",
        "fd00:ec2::254",
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure
        "192.0.0.192",  # Oracle
    )
)
"Where clouds hand out credentials: no configuration allows these."

FIRST_PORT = 1024
"Below it live services that answer, not phones."

Network = IPv4Network | IPv6Network

_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
"Means another machine in each network (RFC 1918, RFC 6598, RFC 4193)."

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def check_media_target(
    address: str | None,
    port: int,
    *,
    allow_local: bool = False,
    peer: str | None = None,
    allow: Sequence[Network] = (),
) -> None:
    """Whether RTP may be sent where a peer's SDP says.

    Ask only where packets would go out: a null address is hold (`MediaDescription.is_muted`), and
    with ICE candidates decide.

    Args:
        allow_local: also to loopback and link-local addresses.
        peer: where the SIP of the peer comes from: a private address has to be that one. None: it
            may be any, for nothing is sent there before it was proved.
        allow: networks of the peer's media, which may be private or local.

    Raises:
        NegotiationError: no address but a name, or none that is ours to send to.
    """
    try:
        ip = ipaddress.ip_address((address or "").replace("%", "/"))  # no interface of ours
    except ValueError:
        raise NegotiationError(f"media address {address!r} is no IP address") from None
    if not FIRST_PORT <= port <= 65535:
        raise NegotiationError(f"media port {port} is below {FIRST_PORT}")
    is_allowed = any(ip in network for network in allow)
    for inner in (ip, *_embedded(ip)):
        what = _objection(inner, allow_local or is_allowed)
        if what is None and is_private(inner) and not is_allowed and peer not in (None, str(ip)):
            what = "private, and not where the SIP comes from: name its network in media_allow"
        if what is not None:
            raise NegotiationError(f"media address {address} is {what}")


def is_private(ip: IPv4Address | IPv6Address) -> bool:
    """Whether an address means somebody else in every network."""
    return any(ip in network for network in _PRIVATE)


def _embedded(ip: IPv4Address | IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that packets to an IPv6 address may end up at."""
    if isinstance(ip, IPv4Address):
        return ()
    nat64 = IPv4Address(ip.packed[-4:]) if ip in _NAT64 else None
    return tuple(inner for inner in (ip.ipv4_mapped, ip.sixtofour, nat64) if inner is not None)


def _objection(ip: IPv4Address | IPv6Address, allow_local: bool) -> str | None:
    if ip in METADATA:
        return "a metadata service"
    if ip.is_multicast or ip.is_unspecified or (ip.version == 4 and ip.packed[0] == 0):
        return "not unicast"
    if ip.version == 4 and ip.is_reserved:
        return "reserved or broadcast"
    is_local = ip.is_loopback or ip.is_link_local
    return "local to this machine or link" if is_local and not allow_local else None

"""Remote ICE candidates: which are understood, and which addresses we will ever send to."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from aioice.candidate import Candidate

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_CANDIDATE_CHARS = 512
"A candidate line of a browser has 150; longer ones are not read."

MAX_PRIORITY = 2**31 - 1
"RFC 8445 §5.1.2."

NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # "this host" (RFC 1122 §3.2.1.3)
            "169.254.0.0/16",  # link-local, and the metadata service of most clouds
            "100.100.100.200/32",  # metadata of Alibaba Cloud
            "192.0.0.192/32",  # metadata of Oracle Cloud, in its older form
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
            "::/128",
            "fd00:ec2::/32",  # metadata of AWS
            "fe80::/10",  # link-local
            "ff00::/8",  # multicast
        ),
    )
)
"Networks in which no browser can be, and in which a check of ours could do harm."

LOOPBACK = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128")))


class AddressPolicy:
    """Says to which hosts connectivity checks may go: a candidate is a wish, not an order.

    Without it a page could make the gateway knock at anything that the gateway can reach.
    """

    def __init__(self, *, loopback: bool, deny: Iterable[str] = ()) -> None:
        """Refuse what is in `NEVER` and `deny`, and this host's loopback unless `loopback`.

        Raises:
            ConfigError: `deny` names something that is no network.
        """
        refused = [*NEVER, *map(_parse_network, deny)]
        if not loopback:
            refused += LOOPBACK
        self._refused: dict[int, list[Network]] = {4: [], 6: []}
        for network in refused:
            self._refused[network.version].append(network)

    def allows(self, host: str) -> bool:
        """Whether something may be sent to this IP address; never to a name."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return not any(address in network for network in self._refused[address.version])


def parse_candidate(text: str) -> Candidate | None:
    """A candidate as SDP or a page gives it (RFC 8839 §5.1); None if it is none for us.

    None are those of other transports than UDP and other components than 1 (rtcp-mux), names in
    place of addresses (mDNS: the browser will reach us, and is then known by its address), and
    whatever breaks the grammar.
    """
    text = text.removeprefix("a=").removeprefix("candidate:")
    if len(text) > MAX_CANDIDATE_CHARS:
        return None
    words = text.split()
    if len(words) < 8 or words[6] != "typ" or words[7] not in {"host", "srflx", "relay"}:
        return None
    foundation, component, transport, priority, host, port = words[:6]
    if component != "1" or transport.lower() != "udp":
        return None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if not (_is_number(priority, MAX_PRIORITY) and _is_number(port, 65535)):
        return None
    return Candidate(
        foundation=foundation,
        component=1,
        transport="udp",
        priority=int(priority),
        host=str(address),
        port=int(port),
        type=words[7],
    )


def ufrag_extension(text: str) -> str | None:
    """The generation a trickled candidate names itself by: browsers add `ufrag` to the line."""
    words = text[:MAX_CANDIDATE_CHARS].split()[8:]
    pairs = dict(zip(words[::2], words[1::2], strict=False))
    return pairs.get("ufrag")


def _is_number(text: str, largest: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= largest


def _parse_network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(
            f"[webrtc] ice_deny: {text!r} is no network; write an address or e.g. 10.0.0.0/8"
        ) from error

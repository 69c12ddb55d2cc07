"""Where a request goes, by the DNS (RFC 3263 §4, RFC 2782, RFC 3403, RFC 7984).

`locate` asks nobody itself: from what is known it tells the hops, or what is to be asked first.
Whoever can ask does so and comes again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import groupby

from gateway.sip.flow import Destination, Hop

MAX_HOPS = 16
"Places tried for one request: at 4 s of silence each, nobody waits for more."
MAX_RECORDS = 32
"""Looked at of one answer, and servers looked up for one destination: a zone may hold thousands,
each of them a question more."""
MAX_SERVICES = 4
"NAPTR records followed: there are three services that we know."

SIP_PORT = 5060
SIPS_PORT = 5061

TRANSPORT_OF_SERVICE = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
"RFC 3263 §4.1; SIPS over datagrams does not exist, and SCTP we have not."
PREFIX_OF_TRANSPORT = {"udp": "_sip._udp", "tcp": "_sip._tcp", "tls": "_sips._tcp"}


class RecordType(Enum):
    """What can be asked about a name."""

    A = "A"
    AAAA = "AAAA"
    SRV = "SRV"
    NAPTR = "NAPTR"


RECORD_TYPE_OF_FAMILY = {4: RecordType.A, 6: RecordType.AAAA}


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask the DNS."""

    name: str
    "Lower case, without the final dot."
    kind: RecordType


@dataclass(frozen=True, slots=True)
class Srv:
    """Where a service is (RFC 2782)."""

    priority: int
    "Lower is tried first."
    weight: int
    "Share among those of the same priority."
    port: int
    target: str
    "A name; `.` or nothing: the service is decidedly not there."


@dataclass(frozen=True, slots=True)
class Naptr:
    """Which services a domain has (RFC 3403 §4.1, RFC 3263 §4.1)."""

    order: int
    "Lower is processed first, and what it leads to is final."
    preference: int
    "Lower is better, among those of the same order."
    flags: str
    service: str
    regexp: str
    replacement: str


Record = Srv | Naptr | str
"An A or AAAA record is an address."

Known = Callable[[Question], Sequence[Record] | None]
"""What is known to a question: an empty sequence where there are no such records, or nobody can
tell; None: it is yet to be asked."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What can be used from here."""

    transports: tuple[str, ...] = ("udp", "tcp", "tls")
    "The first is preferred where a domain prefers none."
    families: tuple[int, ...] = (6, 4)
    "IP versions, those of RFC 6724's order first: tried in this order for each server."


@dataclass(frozen=True, slots=True)
class Located:
    """What is known about a destination."""

    hops: tuple[Hop, ...] = ()
    "In the order in which they are to be tried; nothing as long as questions are open."
    questions: tuple[Question, ...] = ()
    "What has to be asked before the hops can be told."


def locate(
    destination: Destination,
    known: Known,
    *,
    reach: Reach,
    spread: Callable[[], float],
    limit: int = MAX_HOPS,
    everywhere: bool = False,
) -> Located:
    """Find the hops to a destination.

    One transport is chosen as RFC 3263 §4.1 says; only where the domain puts services in the same
    NAPTR order are they all taken, one after the other. Never raises.

    Args:
        spread: gives 0 ≤ x < 1, to share load by weight; asked only when everything is known.
        limit: hops at most.
        everywhere: the servers of every transport, instead of the best: whoever may call from
            there, not whom to call.
    """
    search = _Search(destination, known, reach, spread, everywhere)
    hops = search.run()
    if search.missing:
        return Located(questions=tuple(dict.fromkeys(search.missing)))
    return Located(hops=tuple(dict.fromkeys(hops))[:limit])


def in_order(records: Iterable[Srv], spread: Callable[[], float]) -> list[Srv]:
    """SRV records in the order in which to try them (RFC 2782, "Usage rules").

    By priority; among equals each is drawn with a chance in proportion to its weight, those of
    weight 0 with a very small one.
    """
    ordered: list[Srv] = []
    by_priority = sorted(records, key=lambda record: record.priority)
    for _, equals in groupby(by_priority, key=lambda record: record.priority):
        # Those of weight 0 first: then they are reached by drawing exactly 0.
        left = sorted(equals, key=lambda record: record.weight > 0)
        while left:
            ordered.append(left.pop(_draw([record.weight for record in left], spread())))
    return ordered


def plain_name(name: str) -> str:
    """A name as `Question` has it."""
    return name.rstrip(".").lower()


class _Search:
    """One walk from a destination to its hops, noting what it could not find out."""

    def __init__(
        self,
        destination: Destination,
        known: Known,
        reach: Reach,
        spread: Callable[[], float],
        everywhere: bool,
    ) -> None:
        self._destination = destination
        self._host = plain_name(destination.host)
        self._known = known
        self._reach = reach
        self._spread = spread
        self._everywhere = everywhere
        self._servers_left = MAX_RECORDS
        self.missing: list[Question] = []

    def run(self) -> list[Hop]:
        """The hops, as far as they are known."""
        transport = self._transport()
        if transport is None:
            return []
        port = self._destination.port
        literal = _address(self._destination.host)
        if literal is not None:
            is_reached = literal.version in self._reach.families
            return [self._hop(transport, str(literal), port)] if is_reached else []
        if not self._host:
            return []
        if port is not None:
            return self._addresses(transport, self._host, port)
        return self._by_service(transport)

    def _transport(self) -> str | None:
        """The transport asked for, or taken where neither URI nor DNS names one; None: none."""
        asked, have = self._destination.transport, self._reach.transports
        if self._destination.secure:
            # RFC 3261 §26.2.2: transport=tcp of a sips URI is TLS over TCP.
            return "tls" if asked in (None, "tcp", "tls") and "tls" in have else None
        if asked is None:
            return "udp" if "udp" in have else next(iter(have), None)
        return asked if asked in have else None

    def _by_service(self, transport: str) -> list[Hop]:
        """RFC 3263 §4.1 and §4.2 for a name without a port."""
        is_chosen = self._destination.transport is not None and not self._everywhere
        naptr = [] if is_chosen else self._naptr()
        if naptr is None:
            return []
        if naptr:
            groups = _by_order(naptr)
            transport = groups[0][0][0]
        elif is_chosen:
            groups = [[self._service(transport)]]
        else:
            groups = [[self._service(each)] for each in self._usable()]
            # All at once, as nothing tells yet which there are.
            for [(_, name)] in groups:
                self._ask(Question(name, RecordType.SRV))
        return self._through(groups, transport)

    def _through(self, groups: Sequence[Sequence[tuple[str, str]]], transport: str) -> list[Hop]:
        """The hops of the first group that leads anywhere; of all of them if so wished."""
        hops: list[Hop] = []
        refused: set[str] = set()
        is_served = False
        for group in groups:
            if self.missing and not self._everywhere:
                return []
            for each, server in self._servers(group):
                if plain_name(server.target):
                    is_served = True
                    hops += self._addresses(each, plain_name(server.target), server.port)
                else:
                    refused.add(each)
            if hops and not self._everywhere:
                return hops
        if self.missing or is_served or transport in refused:
            return hops
        # §4.2: no SRV records; the name itself is the server's.
        return self._addresses(transport, self._host, None)

    def _naptr(self) -> list[Naptr] | None:
        """The NAPTR records that we can use, best first; None: not asked yet."""
        records = self._ask(Question(self._host, RecordType.NAPTR))
        if records is None:
            return None
        usable = set(self._usable())
        fit = [
            record
            for record in records
            if isinstance(record, Naptr)
            and record.flags.lower() == "s"
            and not record.regexp
            and TRANSPORT_OF_SERVICE.get(record.service.upper()) in usable
            and plain_name(record.replacement)
        ]
        fit.sort(key=lambda record: (record.order, record.preference))
        return fit[:MAX_SERVICES]

    def _usable(self) -> list[str]:
        """The transports that the destination leaves to us."""
        if self._destination.secure:
            return ["tls"]
        return [each for each in self._reach.transports if each in PREFIX_OF_TRANSPORT]

    def _service(self, transport: str) -> tuple[str, str]:
        prefix = PREFIX_OF_TRANSPORT.get(transport, "")
        return transport, f"{prefix}.{self._host}"

    def _servers(self, group: Sequence[tuple[str, str]]) -> list[tuple[str, Srv]]:
        """The servers of some services, each with its transport, in the order to try them."""
        found: list[tuple[str, Srv]] = []
        for transport, name in group:
            records = self._ask(Question(name, RecordType.SRV)) or ()
            servers = [record for record in records if isinstance(record, Srv)]
            # Before they are put in order: what is asked must not depend on the draw.
            servers = servers[: self._servers_left]
            self._servers_left -= len(servers)
            found += [(transport, server) for server in in_order(servers, self._draw)]
        return found

    def _addresses(self, transport: str, name: str, port: int | None) -> list[Hop]:
        """The hops to the addresses of one host."""
        hops: list[Hop] = []
        for family in self._reach.families:
            for record in self._ask(Question(name, RECORD_TYPE_OF_FAMILY[family])) or ():
                literal = _address(record) if isinstance(record, str) else None
                # Where a name is blocked, 0.0.0.0 is a common answer, and means this machine.
                if literal is None or literal.is_unspecified or literal.is_multicast:
                    continue
                hops.append(self._hop(transport, str(literal), port))
        return hops

    def _hop(self, transport: str, address: str, port: int | None) -> Hop:
        is_tls = transport == "tls"
        return Hop(
            transport,
            address,
            port or (SIPS_PORT if is_tls else SIP_PORT),
            # RFC 5922 §7.1: the domain asked for, whatever the DNS made of it.
            self._destination.host.rstrip(".") if is_tls else "",
        )

    def _ask(self, question: Question) -> Sequence[Record] | None:
        records = self._known(question)
        if records is None:
            self.missing.append(question)
            return None
        return records[:MAX_RECORDS]

    def _draw(self) -> float:
        """No chance is used up while questions are open: what is drawn then is thrown away."""
        return 0.0 if self.missing else self._spread()


def _by_order(records: Iterable[Naptr]) -> list[list[tuple[str, str]]]:
    """Transport and SRV name of each record, those of one order together."""
    return [
        [
            (TRANSPORT_OF_SERVICE[record.service.upper()], plain_name(record.replacement))
            for record in equals
        ]
        for _, equals in groupby(records, key=lambda record: record.order)
    ]


def _draw(weights: Sequence[int], chance: float) -> int:
    """Which of some weights is drawn; one of them by lot where none weighs anything."""
    total = sum(weights)
    if not total:
        return int(chance * len(weights))
    # RFC 2782: a number from 0 to the sum, both included; the first running sum that reaches it.
    wanted = int(chance * (total + 1))
    running = 0
    for index, weight in enumerate(weights):
        running += weight
        if running >= wanted:
            return index
    return len(weights) - 1


@lru_cache(maxsize=1024)
def _address(text: str) -> IPv4Address | IPv6Address | None:
    """What is written here, if it is an address: the same few are asked about for every call."""
    try:
        return ip_address(text.strip("[]"))
    except ValueError:
        return None

"""Asks nameservers and the hosts file. The one door to dnspython (RFC 1035, RFC 2782, RFC 3403)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from typing import Any

import dns.asyncbackend
import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.nameserver
import dns.resolver
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from gateway.sip.locate import (
    MAX_RECORDS,
    RECORD_TYPE_OF_FAMILY,
    Naptr,
    Question,
    Record,
    RecordType,
    Srv,
    plain_name,
)

log = logging.getLogger(__name__)

DNS_PORT = 53
LOOK_UP_S = 4.5
"A look-up that takes longer has failed: a little before those give up who wait for it."
TRY_S = 1.0
"What one nameserver is given for one packet: one that is lost costs the call this much."
UDP_PAYLOAD_BYTES = 1232
"Asked for with EDNS, so that NAPTR and SRV fit: what every path carries in one piece."
MAX_STREAM_BYTES = 8 * 1024
"""Taken of an answer over TCP: some 200 records, more than is looked at, and read within 15 ms, for
which nothing else runs. 64 KiB, which the protocol allows, would hold up the media."""

HOSTS_FILE = Path("/etc/hosts")
HOSTS_CHECK_S = 5.0
"How often it is looked whether the hosts file has changed."
MAX_HOSTS_BYTES = 256 * 1024
"Read of the hosts file: lists of advertisers' names, which are no carriers, can be megabytes."

LOOPBACK = {RecordType.A: ("127.0.0.1",), RecordType.AAAA: ("::1",)}


class LookUpError(Exception):
    """No nameserver has said what there is, or that there is nothing."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What nameservers said."""

    records: tuple[Record, ...]
    "Empty: there are none."
    ttl_s: float


class Nameservers:
    """The nameservers of the configuration, or those that the system uses."""

    def __init__(self, servers: Sequence[tuple[str, int]] = ()) -> None:
        """
        Args:
            servers: address and port of each; none: whatever /etc/resolv.conf names.
        """
        self._servers = tuple(servers)
        self._backend = dns.asyncbackend.get_backend("asyncio")
        self._resolver: dns.asyncresolver.Resolver | None = None

    async def look_up(self, question: Question) -> Reply:
        """Ask; at most `LOOK_UP_S` long.

        Raises:
            LookUpError: nobody could tell.
        """
        try:
            name = self._name(question)
        except (dns.exception.DNSException, UnicodeError):
            return Reply((), 0.0)  # what cannot be a name has no records
        try:
            resolver = self._resolver = self._resolver or self._open()
            # The library's own limit leaves out its pauses between two tries.
            async with asyncio.timeout(LOOK_UP_S):
                answer = await resolver.resolve(
                    name,
                    question.kind.value,
                    raise_on_no_answer=False,
                    lifetime=LOOK_UP_S,
                    # As every program does, where a host's name may be a short one.
                    search=question.kind in LOOPBACK,
                    backend=self._backend,
                )
        except dns.resolver.NXDOMAIN as error:
            return Reply((), _negative_ttl_s(error))
        except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
            # The system's nameservers may have changed: they are read anew the next time.
            self._resolver = None
            raise LookUpError(type(error).__name__) from error
        records = tuple(islice(_records(answer.rrset or ()), MAX_RECORDS))
        return Reply(records, float(answer.chaining_result.minimum_ttl))

    def _name(self, question: Question) -> dns.name.Name:
        name = dns.name.from_text(question.name, origin=None)
        if question.kind not in LOOPBACK:
            name = name.concatenate(dns.name.root)
        # A name too long to be sent is found out here.
        name.derelativize(dns.name.root)
        return name

    def _open(self) -> dns.asyncresolver.Resolver:
        resolver = dns.asyncresolver.Resolver(configure=not self._servers)
        found = [(str(each), resolver.port) for each in resolver.nameservers]
        resolver.nameservers = [_Nameserver(*each) for each in self._servers or found]
        resolver.timeout = TRY_S
        resolver.use_edns(0, 0, UDP_PAYLOAD_BYTES)
        return resolver


class _Nameserver(dns.nameserver.Do53Nameserver):
    """One nameserver, whose answers over TCP have a limit.

    EOFError tells the library that it is no good; others are asked.
    """

    async def async_query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,  # noqa: ASYNC109 - the library's signature
        source: str | None,
        source_port: int,
        max_size: bool,
        backend: Any,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        if not max_size:
            return await super().async_query(
                request, timeout, source, source_port, max_size, backend
            )
        async with asyncio.timeout(timeout):
            wire = await self._exchange(request.to_wire(prepend_length=True))
        response = dns.message.from_wire(wire)
        if not request.is_response(response):
            raise EOFError("the answer to another question")
        return response

    async def _exchange(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self.address, self.port)
        try:
            writer.write(request)
            length = int.from_bytes(await reader.readexactly(2), "big")
            if length > MAX_STREAM_BYTES:
                raise EOFError(f"an answer of {length} bytes")
            return await reader.readexactly(length)
        finally:
            writer.close()


class Hosts:
    """Names that this machine knows by itself: the hosts file, and localhost (RFC 6761 §6.3)."""

    def __init__(self, file: Path = HOSTS_FILE) -> None:
        self._file = file
        self._checked_at = float("-inf")
        self._state: tuple[int, int] | None = None
        self._addresses: dict[str, dict[RecordType, list[str]]] = {}

    def records(self, question: Question, now: float) -> Sequence[Record] | None:
        """The records of a name known here; None: it is not, the DNS is to be asked.

        A name that is known here has no services: neither the network nor the DNS, which may both
        be missing, are asked about it.
        """
        self._check(now)
        if question.kind in LOOPBACK:
            if _is_localhost(question.name):
                return LOOPBACK[question.kind]
            known = self._addresses.get(question.name)
            return None if known is None else known.get(question.kind, [])
        host = question.name
        if question.kind is RecordType.SRV and host.startswith("_"):
            host = host.split(".", 2)[-1]
        return () if _is_localhost(host) or host in self._addresses else None

    def _check(self, now: float) -> None:
        """Read the file when it has changed."""
        if now < self._checked_at + HOSTS_CHECK_S:
            return
        self._checked_at = now
        try:
            stat = self._file.stat()
            state = (stat.st_mtime_ns, stat.st_size)
            if state == self._state:
                return
            with self._file.open("rb") as file:
                text = file.read(MAX_HOSTS_BYTES).decode(errors="replace")
        except OSError:
            return  # what is not there says nothing; what was known stays
        self._state = state
        self._addresses = _parse_hosts(text)


def _records(records: Iterable[object]) -> Iterable[Record]:
    """dnspython's records as values of ours."""
    for record in records:
        if isinstance(record, A | AAAA):
            yield record.address
        elif isinstance(record, SRV):
            target = record.target.to_text(omit_final_dot=True)
            yield Srv(record.priority, record.weight, record.port, target)
        elif isinstance(record, NAPTR):
            yield Naptr(
                record.order,
                record.preference,
                record.flags.decode("latin-1"),
                record.service.decode("latin-1"),
                record.regexp.decode("latin-1"),
                record.replacement.to_text(omit_final_dot=True),
            )


def _negative_ttl_s(error: dns.resolver.NXDOMAIN) -> float:
    """How long it may be kept that there is no such name (RFC 2308 §5)."""
    responses: dict[dns.name.Name, dns.message.QueryMessage] = error.kwargs["responses"]
    try:
        return float(min(each.resolve_chaining().minimum_ttl for each in responses.values()))
    except (dns.exception.DNSException, ValueError):
        return 0.0


def _parse_hosts(text: str) -> dict[str, dict[RecordType, list[str]]]:
    """hosts(5): an address and its names on each line."""
    found: dict[str, dict[RecordType, list[str]]] = {}
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        try:
            kind = RECORD_TYPE_OF_FAMILY[ip_address(address).version]
        except ValueError:
            continue
        for name in names:
            found.setdefault(plain_name(name), {}).setdefault(kind, []).append(address)
    return found


def _is_localhost(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")

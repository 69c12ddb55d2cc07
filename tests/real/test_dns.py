"""RFC 3263 with a nameserver of another make: order, change, and silence that blocks nobody."""

from __future__ import annotations

import asyncio
import functools
import random
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.net.dns import Resolver, ResolverOptions
from gateway.net.nameserver import Hosts
from gateway.sip.flow import Destination, Hop
from gateway.sip.locate import MAX_HOPS, Reach
from tests.support.dnsmasq import running_dnsmasq

pytestmark = [pytest.mark.real, pytest.mark.beside]

ALL = Reach(("udp", "tcp", "tls"), (6, 4))
IPV4 = Reach(("udp", "tcp", "tls"), (4,))

MAX_BLOCKED_S = 0.25
"The loop is never held up longer. A look-up that blocked would, for the 0.5 s a nameserver has."

ZONE = [
    # name, target, port, priority, weight
    "srv-host=_sip._udp.example.test,a.example.test,5060,10,60",
    "srv-host=_sip._udp.example.test,b.example.test,5060,10,20",
    "srv-host=_sip._udp.example.test,c.example.test,5062,20,0",
    "host-record=a.example.test,192.0.2.1,2001:db8::1",
    "host-record=b.example.test,192.0.2.2",
    "host-record=c.example.test,192.0.2.3",
    "naptr-record=secure.test,10,10,S,SIPS+D2T,,_sips._tcp.secure.test",
    "naptr-record=secure.test,20,10,S,SIP+D2U,,_sip._udp.secure.test",
    "srv-host=_sips._tcp.secure.test,a.example.test,5061,1,1",
    "srv-host=_sip._udp.secure.test,b.example.test,5060,1,1",
    "cname=alias.test,b.example.test",
    "srv-host=_sip._udp.closed.test",
]


def on_uvloop(test: Callable[[Path], Coroutine[Any, Any, None]]) -> Callable[[Path], None]:
    """Run a test on the loop that the gateway runs on."""

    @functools.wraps(test)
    def run(tmp_path: Path) -> None:
        uvloop.run(test(tmp_path))

    return run


def resolver_at(server: tuple[str, int], reach: Reach = IPV4) -> Resolver:
    return Resolver(
        ResolverOptions((server,)),
        loop=asyncio.get_running_loop(),
        reach=reach,
        spread=random.Random(4).random,
        hosts=Hosts(Path("/nonexistent/hosts")),
    )


class Pulse:
    """How long the loop was held up at most: not by other processes of a busy machine."""

    def __init__(self) -> None:
        self.worst_s = 0.0

    async def beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, queued_s = loop.time() + 0.005, _queued_s()
            await asyncio.sleep(0.005)
            held_s = loop.time() - due - (_queued_s() - queued_s)
            self.worst_s = max(self.worst_s, held_s)


def _queued_s() -> float:
    """How long this thread has been ready to run, and others ran (proc(5): schedstat)."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


@asynccontextmanager
async def pulse() -> AsyncIterator[Pulse]:
    """Feel the loop's pulse meanwhile."""
    feeling = Pulse()
    task = asyncio.ensure_future(feeling.beat())
    try:
        yield feeling
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.rfc(2782, "Usage rules")
@on_uvloop
async def test_servers_come_by_priority_and_as_often_first_as_they_weigh(tmp_path: Path) -> None:
    async with running_dnsmasq(tmp_path, ZONE) as nameserver:
        resolver = resolver_at(nameserver.server)
        await resolver.resolve(Destination("example.test"))

        orders = [resolver.resolve_now(Destination("example.test")) for _ in range(2000)]

        firsts = Counter(hops[0].host for hops in orders if hops)
        assert {hops[-1] for hops in orders if hops} == {Hop("udp", "192.0.2.3", 5062)}
        assert firsts["192.0.2.1"] == pytest.approx(1500, abs=100)
        assert firsts["192.0.2.2"] == pytest.approx(500, abs=100)
        assert nameserver.questions("_sip._udp.example.test") == 1


@pytest.mark.rfc(3263, "4.1")
@on_uvloop
async def test_naptr_chooses_tls_and_both_families_are_found(tmp_path: Path) -> None:
    async with running_dnsmasq(tmp_path, ZONE) as nameserver:
        resolver = resolver_at(nameserver.server, ALL)

        hops = await resolver.resolve(Destination("secure.test"))
        sources = await resolver.addresses(Destination("secure.test"))

        assert hops == (
            Hop("tls", "2001:db8::1", 5061, "secure.test"),
            Hop("tls", "192.0.2.1", 5061, "secure.test"),
        )
        assert sources == {"2001:db8::1", "192.0.2.1", "192.0.2.2"}


@on_uvloop
async def test_an_alias_is_followed_and_a_closed_service_is_not(tmp_path: Path) -> None:
    async with running_dnsmasq(tmp_path, ZONE) as nameserver:
        resolver = resolver_at(nameserver.server)

        alias = await resolver.resolve(Destination("alias.test", 5060))

        assert alias == (Hop("udp", "192.0.2.2", 5060),)
        assert await resolver.resolve(Destination("closed.test")) == ()


@on_uvloop
async def test_what_is_not_there_is_known_at_once(tmp_path: Path) -> None:
    async with running_dnsmasq(tmp_path, ZONE) as nameserver:
        loop = asyncio.get_running_loop()
        resolver = resolver_at(nameserver.server)
        began_at = loop.time()

        hops = await resolver.resolve(Destination("nowhere.test"))

        assert hops == ()
        assert loop.time() - began_at < 0.2
        assert resolver.resolve_now(Destination("nowhere.test")) == ()


@on_uvloop
async def test_what_cannot_be_a_name_is_asked_nobody(tmp_path: Path) -> None:
    async with running_dnsmasq(tmp_path) as nameserver:
        resolver = resolver_at(nameserver.server)
        nonsense = ["a..b", "x" * 64 + ".test", ".".join(["x" * 60] * 5), "a\u0000b\\", "ü" * 300]

        for host in nonsense:
            assert await resolver.resolve(Destination(host, 5060)) == ()

        assert resolver.failures == 0


@on_uvloop
async def test_a_changed_record_is_seen_after_its_ttl(tmp_path: Path) -> None:
    async with running_dnsmasq(tmp_path, ttl_s=1) as nameserver:
        await nameserver.set_hosts("192.0.2.1 moving.test")
        resolver, moving = resolver_at(nameserver.server), Destination("moving.test", 5060)
        before = await resolver.resolve(moving)
        await nameserver.set_hosts("192.0.2.2 moving.test")

        within = await resolver.resolve(moving)
        async with asyncio.timeout(8):
            while (after := await resolver.resolve(moving)) == before:
                await asyncio.sleep(0.1)

        assert within == before == (Hop("udp", "192.0.2.1", 5060),)
        assert after == (Hop("udp", "192.0.2.2", 5060),)


@on_uvloop
async def test_a_nameserver_that_is_gone_costs_half_a_second_and_blocks_nobody(
    tmp_path: Path,
) -> None:
    async with running_dnsmasq(tmp_path, ZONE, ttl_s=1) as nameserver, pulse() as feeling:
        loop = asyncio.get_running_loop()
        resolver = resolver_at(nameserver.server)
        known = await resolver.resolve(Destination("b.example.test", 5060))
        await nameserver.stop()
        await asyncio.sleep(5.1)  # until what is known has run out

        began_at = loop.time()
        stale = await resolver.resolve(Destination("b.example.test", 5060))
        stale_s = loop.time() - began_at
        unknown = await resolver.resolve(Destination("c.example.test", 5060))
        unknown_s = loop.time() - began_at - stale_s
        await resolver.close()

        assert stale == known == (Hop("udp", "192.0.2.2", 5060),)
        assert stale_s < 1.0
        assert unknown == ()
        assert unknown_s < 5.5
        assert feeling.worst_s < MAX_BLOCKED_S


@on_uvloop
async def test_a_thousand_records_are_read_without_holding_up_the_loop(tmp_path: Path) -> None:
    many = [f"srv-host=_sip._udp.many.test,h{n}.example.test,5060,1,1" for n in range(150)]
    more = [f"srv-host=_sip._udp.more.test,h{n}.example.test,5060,1,1" for n in range(1000)]
    hosts = [f"host-record=h{n}.example.test,192.0.2.{n + 1}" for n in range(150)]
    async with running_dnsmasq(tmp_path, [*many, *more, *hosts]) as nameserver, pulse() as feeling:
        resolver = resolver_at(nameserver.server)

        of_many = await resolver.resolve(Destination("many.test", None, "udp"))
        of_more = await resolver.resolve(Destination("more.test", None, "udp"))

        assert len(of_many) == MAX_HOPS
        assert of_more == ()
        assert feeling.worst_s < MAX_BLOCKED_S


@on_uvloop
async def test_answers_that_are_none_are_dropped(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
        liar.bind(("127.0.0.1", 0))
        liar.settimeout(10)
        port = int(liar.getsockname()[1])
        stop = threading.Event()
        thread = threading.Thread(target=_lie, args=(liar, stop))
        thread.start()
        resolver = resolver_at(("127.0.0.1", port))

        hops = await resolver.resolve(Destination("sip.example.test", 5060))

        stop.set()
        await asyncio.to_thread(thread.join)
        assert hops == ()
        assert resolver.failures == 1


def _lie(liar: socket.socket, stop: threading.Event) -> None:
    """Answer each question with what is no answer: cut, of another id, or noise."""
    liar.settimeout(0.2)
    while not stop.is_set():
        try:
            query, source = liar.recvfrom(4096)
        except TimeoutError:
            continue
        for answer in (b"", query[:11], bytes([query[0] ^ 1]) + query[1:], b"\xff" * 600):
            liar.sendto(answer, source)

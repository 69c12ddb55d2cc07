"""The resolver: what it remembers, for how long, and what it does when nobody answers."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from gateway.net import dns
from gateway.net.dns import (
    FAILED_S,
    MAX_KEPT,
    MAX_NEGATIVE_TTL_S,
    MAX_RUNNING,
    MAX_TTL_S,
    MIN_TTL_S,
    RESOLVE_S,
    RETRY_S,
    STALE_S,
    STALE_WAIT_S,
    WATCH_S,
    AddressWatch,
    Resolver,
)
from gateway.net.nameserver import LOOK_UP_S, Hosts, LookUpError, Reply
from gateway.sip.flow import Destination, Hop
from gateway.sip.locate import Question, Reach, Record, RecordType, Srv
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

HOST = Destination("sip.example.com", 5060)
"Needs one question: its address."
DOMAIN = Destination("example.com")
"Needs them all."
ANSWER_S = 0.02


class Nameserver:
    """Answers of its zone, or stays silent."""

    def __init__(self) -> None:
        self.zone: dict[str, tuple[list[Record], float]] = {}
        "By type and name: the records and their TTL."
        self.is_up = True
        self.answer_s = ANSWER_S
        self.asked: list[str] = []

    async def look_up(self, question: Question) -> Reply:
        key = f"{question.kind.value} {question.name}"
        self.asked.append(key)
        if not self.is_up:
            await elapse(LOOK_UP_S)
            raise LookUpError("nobody")
        await elapse(self.answer_s)
        records, ttl_s = self.zone.get(key, ([], 300.0))
        return Reply(tuple(records), ttl_s)

    def has(self, key: str, *records: Record, ttl_s: float = 300.0) -> None:
        self.zone[key] = (list(records), ttl_s)


def resolver_of(loop: VirtualLoop, nameserver: Nameserver, hosts: str = "") -> Resolver:
    """A resolver without a hosts file but the given one."""
    return Resolver(
        loop=loop,
        reach=Reach(("udp", "tcp", "tls"), (4,)),
        spread=lambda: 0.0,
        look_up=nameserver.look_up,
        hosts=Hosts(Path(hosts or "/nonexistent/hosts")),
    )


def udp(host: str, port: int = 5060) -> tuple[Hop, ...]:
    return (Hop("udp", host, port),)


async def timed(loop: VirtualLoop, resolver: Resolver, destination: Destination) -> float:
    """How long it takes to resolve."""
    started_at = loop.time()
    await resolver.resolve(destination)
    return loop.time() - started_at


# ---- memory


@in_virtual_time
async def test_an_address_needs_nobody(loop: VirtualLoop) -> None:
    nameserver = Nameserver()
    resolver = resolver_of(loop, nameserver)

    assert resolver.resolve_now(Destination("192.0.2.1")) == udp("192.0.2.1")
    assert await resolver.resolve(Destination("192.0.2.1")) == udp("192.0.2.1")
    assert nameserver.asked == []


@in_virtual_time
async def test_a_name_is_asked_for_once_and_then_known(loop: VirtualLoop) -> None:
    nameserver = Nameserver()
    nameserver.has("A sip.example.com", "192.0.2.1")
    resolver = resolver_of(loop, nameserver)

    before = resolver.resolve_now(HOST)
    found = await resolver.resolve(HOST)

    assert before is None
    assert found == udp("192.0.2.1")
    assert resolver.resolve_now(HOST) == found
    assert nameserver.asked == ["A sip.example.com"]


@pytest.mark.rfc(3263, "4")
@in_virtual_time
async def test_naptr_srv_and_addresses_are_asked_for_in_three_steps(loop: VirtualLoop) -> None:
    nameserver = Nameserver()
    nameserver.has("SRV _sip._udp.example.com", Srv(0, 0, 5070, "a.example.com"))
    nameserver.has("A a.example.com", "192.0.2.1")
    resolver = resolver_of(loop, nameserver)

    took_s = await timed(loop, resolver, DOMAIN)

    assert resolver.resolve_now(DOMAIN) == udp("192.0.2.1", 5070)
    assert took_s == pytest.approx(3 * ANSWER_S)
    assert nameserver.asked[0] == "NAPTR example.com"
    assert len(nameserver.asked) == 5


@in_virtual_time
async def test_who_asks_the_same_shares_one_question(loop: VirtualLoop) -> None:
    nameserver = Nameserver()
    nameserver.has("A sip.example.com", "192.0.2.1")
    resolver = resolver_of(loop, nameserver)

    found = await asyncio.gather(*(resolver.resolve(HOST) for _ in range(50)))

    assert set(found) == {udp("192.0.2.1")}
    assert len(nameserver.asked) == 1


@in_virtual_time
async def test_one_who_gives_up_does_not_take_the_answer_from_the_others(
    loop: VirtualLoop,
) -> None:
    nameserver = Nameserver()
    nameserver.has("A sip.example.com", "192.0.2.1")
    resolver = resolver_of(loop, nameserver)
    impatient = asyncio.ensure_future(resolver.resolve(HOST))
    patient = asyncio.ensure_future(resolver.resolve(HOST))
    await elapse(ANSWER_S / 2)

    impatient.cancel()

    assert await patient == udp("192.0.2.1")


@pytest.mark.parametrize(
    ("ttl_s", "kept_s"), [(0.0, MIN_TTL_S), (60.0, 60.0), (1e6, MAX_TTL_S), (1e400, MAX_TTL_S)]
)
@in_virtual_time
async def test_an_answer_holds_as_long_as_its_ttl_within_limits(
    loop: VirtualLoop, ttl_s: float, kept_s: float
) -> None:
    nameserver = Nameserver()
    nameserver.has("A sip.example.com", "192.0.2.1", ttl_s=ttl_s)
    resolver = resolver_of(loop, nameserver)
    await resolver.resolve(HOST)
    nameserver.has("A sip.example.com", "192.0.2.2")

    await elapse(kept_s - 0.1)
    before = await resolver.resolve(HOST)
    await elapse(0.2)
    after = await resolver.resolve(HOST)

    assert (before, after) == (udp("192.0.2.1"), udp("192.0.2.2"))


@pytest.mark.rfc(2308, "5")
@in_virtual_time
async def test_that_there_is_nothing_is_soon_asked_again(loop: VirtualLoop) -> None:
    nameserver = Nameserver()
    nameserver.has("A sip.example.com", ttl_s=86_400.0)
    resolver = resolver_of(loop, nameserver)
    assert await resolver.resolve(HOST) == ()
    nameserver.has("A sip.example.com", "192.0.2.1")

    at_once = await resolver.resolve(HOST)
    await elapse(MAX_NEGATIVE_TTL_S + 0.1)

    assert at_once == ()
    assert await resolver.resolve(HOST) == udp("192.0.2.1")


@in_virtual_time
async def test_names_of_strangers_do_not_grow_the_memory(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns, "MAX_KEPT", 20)
    nameserver = Nameserver()
    nameserver.has("A sip.example.com", "192.0.2.1")
    resolver = resolver_of(loop, nameserver)
    await resolver.resolve(HOST)

    for number in range(100):
        await resolver.resolve(Destination(f"n{number}.example.net", 5060))
        assert resolver.resolve_now(HOST) == udp("192.0.2.1")

    assert MAX_KEPT <= 4096
    assert len(resolver._kept) == 20
    assert nameserver.asked.count("A sip.example.com") == 1


@in_virtual_time
async def test_names_of_strangers_do_not_grow_what_is_under_way(loop: VirtualLoop) -> None:
    nameserver = Nameserver()
    nameserver.is_up = False
    resolver = resolver_of(loop, nameserver)
    destinations = [Destination(f"n{number}.example.net", 5060) for number in range(1000)]

    found = await asyncio.gather(*map(resolver.resolve, destinations))

    assert set(found) == {()}
    assert len(nameserver.asked) == MAX_RUNNING


# ---- nobody answers (RFC 8767)


async def resolver_left_alone(
    loop: VirtualLoop, nameserver: Nameserver, destination: Destination = HOST
) -> Resolver:
    """One that knew the destination until its TTL ran out, and now cannot ask anybody."""
    nameserver.has("A sip.example.com", "192.0.2.1", ttl_s=60.0)
    nameserver.has("SRV _sip._udp.example.com", Srv(0, 0, 5070, "sip.example.com"))
    resolver = resolver_of(loop, nameserver)
    assert await resolver.resolve(destination) != ()
    nameserver.is_up = False
    await elapse(400.0)
    return resolver


@pytest.mark.parametrize("destination", [HOST, DOMAIN])
@in_virtual_time
async def test_what_was_known_last_is_used_when_nobody_answers(
    loop: VirtualLoop, destination: Destination
) -> None:
    nameserver = Nameserver()
    resolver = await resolver_left_alone(loop, nameserver, destination)

    took_s = await timed(loop, resolver, destination)
    hops = resolver.resolve_now(destination)

    assert hops == udp("192.0.2.1", 5060 if destination is HOST else 5070)
    assert took_s <= 3 * STALE_WAIT_S
    await resolver.close()


@in_virtual_time
async def test_only_the_first_call_waits_for_those_who_do_not_answer(loop: VirtualLoop) -> None:
    resolver = await resolver_left_alone(loop, Nameserver())
    await resolver.resolve(HOST)
    waits = []

    for _ in range(30):
        await elapse(1.0)
        waits.append(await timed(loop, resolver, HOST))

    assert waits == [0.0] * 30
    await resolver.close()


@in_virtual_time
async def test_nobody_is_asked_more_often_than_every_half_minute_while_all_are_silent(
    loop: VirtualLoop,
) -> None:
    nameserver = Nameserver()
    resolver = await resolver_left_alone(loop, nameserver)
    nameserver.asked.clear()

    for _ in range(300):
        await elapse(1.0)
        await resolver.resolve(HOST)

    assert len(nameserver.asked) == pytest.approx(300 / (RETRY_S + LOOK_UP_S), abs=1)
    await resolver.close()


@in_virtual_time
async def test_what_was_known_last_is_forgotten_in_the_end(loop: VirtualLoop) -> None:
    resolver = await resolver_left_alone(loop, Nameserver())

    await elapse(STALE_S)

    assert await resolver.resolve(HOST) == ()
    await resolver.close()


@in_virtual_time
async def test_the_new_is_used_as_soon_as_somebody_answers_again(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    nameserver = Nameserver()
    resolver = await resolver_left_alone(loop, nameserver)
    await resolver.resolve(HOST)
    await elapse(LOOK_UP_S)
    nameserver.is_up = True
    nameserver.has("A sip.example.com", "192.0.2.2")

    await elapse(RETRY_S + 1)

    assert await resolver.resolve(HOST) == udp("192.0.2.2")
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "example" not in caplog.text


@in_virtual_time
async def test_a_name_that_was_never_known_takes_5_s_and_then_no_time(loop: VirtualLoop) -> None:
    nameserver = Nameserver()
    nameserver.is_up = False
    resolver = resolver_of(loop, nameserver)

    first_s = await timed(loop, resolver, DOMAIN)
    second_s = await timed(loop, resolver, Destination("example.com", None, "udp"))
    nameserver.is_up = True
    nameserver.has("A example.com", "192.0.2.1")
    await elapse(FAILED_S + RESOLVE_S)

    assert first_s == pytest.approx(RESOLVE_S)
    assert second_s <= RESOLVE_S
    assert await resolver.resolve(Destination("example.com", 5060)) == udp("192.0.2.1")


@in_virtual_time
async def test_a_server_without_an_answer_does_not_hide_the_others(loop: VirtualLoop) -> None:
    nameserver = Nameserver()
    nameserver.has(
        "SRV _sip._udp.example.com", Srv(1, 0, 5060, "a.example"), Srv(2, 0, 5060, "b.example")
    )
    nameserver.has("A b.example", "192.0.2.2")

    async def look_up(question: Question) -> Reply:
        if question.name == "a.example":
            raise LookUpError("SERVFAIL")
        return await nameserver.look_up(question)

    resolver = Resolver(
        loop=loop, reach=Reach(("udp",), (4,)), look_up=look_up, hosts=Hosts(Path("/nonexistent"))
    )

    assert await resolver.resolve(DOMAIN) == udp("192.0.2.2")


@in_virtual_time
async def test_a_bug_in_reading_an_answer_is_one_failure(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    async def look_up(_question: Question) -> Reply:
        raise AttributeError("a bug")

    resolver = Resolver(loop=loop, look_up=look_up, hosts=Hosts(Path("/nonexistent")))

    assert await resolver.resolve(HOST) == ()
    assert resolver.failures == 2  # A and AAAA
    assert "a bug" in caplog.text


@in_virtual_time
async def test_closing_gives_up_what_is_under_way(loop: VirtualLoop) -> None:
    nameserver = Nameserver()
    nameserver.is_up = False
    resolver = resolver_of(loop, nameserver)
    waiting = asyncio.ensure_future(resolver.resolve(HOST))
    await elapse(1.0)

    await resolver.close()

    assert await waiting == ()
    assert loop.time() < 1002.0


# ---- names that this machine knows by itself


@in_virtual_time
async def test_localhost_and_the_hosts_file_need_no_nameserver(
    loop: VirtualLoop, tmp_path: Path
) -> None:
    file = tmp_path / "hosts"
    file.write_text(
        "127.0.0.1 localhost\n"
        "192.0.2.7\tCarrier.test pbx  # 192.0.2.8 commented.test\n"
        "192.0.2.9 carrier.test\n"
        "2001:db8::7 carrier.test\n"
        "nonsense pbx2\n"
        "\n"
    )
    nameserver = Nameserver()
    resolver = resolver_of(loop, nameserver, str(file))

    carrier = resolver.resolve_now(Destination("carrier.test"))

    assert carrier == (*udp("192.0.2.7"), *udp("192.0.2.9"))
    assert resolver.resolve_now(Destination("PBX", None, "tcp")) == (Hop("tcp", "192.0.2.7", 5060),)
    assert resolver.resolve_now(Destination("localhost")) == udp("127.0.0.1")
    assert resolver.resolve_now(Destination("sip.localhost")) == udp("127.0.0.1")
    assert resolver.resolve_now(Destination("pbx2")) is None
    assert nameserver.asked == []


def test_the_hosts_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("192.0.2.7 carrier.test\n")
    hosts, question = Hosts(file), Question("carrier.test", RecordType.A)
    before = hosts.records(question, 0.0)
    file.write_text("192.0.2.70 carrier.test\n")

    within = hosts.records(question, 4.0)
    after = hosts.records(question, 5.0)
    file.unlink()

    assert (before, within, after) == (["192.0.2.7"], ["192.0.2.7"], ["192.0.2.70"])
    assert hosts.records(question, 10.0) == ["192.0.2.70"]


# ---- watching


def watch(
    resolver: Resolver, told: list[tuple[str, set[str]]], destination: Destination = DOMAIN
) -> AddressWatch:
    def on_change(name: str, found: frozenset[str]) -> None:
        told.append((name, set(found)))

    return AddressWatch(resolver, {"carrier": destination}, on_change)


@in_virtual_time
async def test_a_watch_tells_every_address_that_may_call_and_each_change(
    loop: VirtualLoop,
) -> None:
    nameserver, told = Nameserver(), list[tuple[str, set[str]]]()
    nameserver.has("SRV _sip._udp.example.com", Srv(0, 0, 5060, "a.example.com"), ttl_s=60.0)
    nameserver.has("SRV _sips._tcp.example.com", Srv(0, 0, 5061, "b.example.com"))
    nameserver.has("A a.example.com", "192.0.2.1", ttl_s=60.0)
    nameserver.has("A b.example.com", "192.0.2.2")
    nameserver.has("A example.com", "192.0.2.80")
    watching = asyncio.ensure_future(watch(resolver_of(loop, nameserver), told).run())
    await elapse(50.0)
    at_first = list(told)

    nameserver.has("A a.example.com", "192.0.2.3", ttl_s=60.0)
    await elapse(60.0 + WATCH_S)

    assert at_first == [("carrier", {"192.0.2.1", "192.0.2.2"})]
    assert told[1:] == [("carrier", {"192.0.2.3", "192.0.2.2"})]
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


@in_virtual_time
async def test_calls_to_a_watched_name_never_wait(loop: VirtualLoop) -> None:
    nameserver = Nameserver()
    nameserver.has("A sip.example.com", "192.0.2.1", ttl_s=60.0)
    resolver = resolver_of(loop, nameserver)
    watching = asyncio.ensure_future(watch(resolver, [], HOST).run())
    await elapse(1.0)
    known = []

    for _ in range(600):
        await elapse(0.5)
        known.append(resolver.resolve_now(HOST))

    assert set(known) == {udp("192.0.2.1")}
    assert len(nameserver.asked) <= 1 + 300 / (60 - WATCH_S - 1)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


@in_virtual_time
async def test_a_bug_of_who_is_told_does_not_end_the_watch(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    told = list[str]()

    def on_change(name: str, _found: frozenset[str]) -> None:
        told.append(name)
        raise ValueError("a bug")

    destinations = {name: Destination("192.0.2.1") for name in ("one", "two")}
    watching = AddressWatch(resolver_of(loop, Nameserver()), destinations, on_change)

    await watching.refresh()

    assert sorted(told) == ["one", "two"]
    assert "a bug" in caplog.text

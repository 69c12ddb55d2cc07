"""RFC 3263 and RFC 2782: from what the DNS says to the places to try, in their order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.sip.flow import Destination, Hop
from gateway.sip.locate import (
    MAX_HOPS,
    MAX_RECORDS,
    Located,
    Naptr,
    Question,
    Reach,
    Record,
    RecordType,
    Srv,
    in_order,
    locate,
)
from gateway.sip.uri import parse_uri

ALL = Reach(("udp", "tcp", "tls"), (6, 4))
IPV4 = Reach(("udp", "tcp", "tls"), (4,))

THREE_SERVICES = [
    Naptr(50, 50, "s", "SIPS+D2T", "", "_sips._tcp.example.com."),
    Naptr(90, 50, "s", "SIP+D2T", "", "_sip._tcp.example.com"),
    Naptr(100, 50, "s", "SIP+D2U", "", "_sip._udp.example.com."),
]
"The example of RFC 3263 §4.1."

Zone = dict[tuple[str, str], Sequence[Record]]


def never() -> float:
    """Fails a test in which nothing is left to chance."""
    raise AssertionError("a draw")


def first() -> float:
    return 0.0


def unknown(_question: Question) -> None:
    """Nothing was asked yet."""


def look_up(
    uri: str,
    zone: Zone,
    reach: Reach = IPV4,
    *,
    spread: Callable[[], float] = first,
    everywhere: bool = False,
    limit: int = MAX_HOPS,
) -> tuple[tuple[Hop, ...], list[Question]]:
    """Ask as long as there are questions; the hops, and everything that was asked."""
    destination, asked = Destination.of(parse_uri(uri)), list[Question]()
    answers: dict[Question, Sequence[Record]] = {}
    while True:
        located = locate(
            destination, answers.get, reach=reach, spread=spread, everywhere=everywhere, limit=limit
        )
        if not located.questions:
            return located.hops, asked
        assert not set(located.questions) & set(answers), "asked again"
        asked += located.questions
        answers |= {each: zone.get((each.name, each.kind.value), ()) for each in located.questions}


def hops_of(uri: str, zone: Zone, reach: Reach = IPV4) -> list[str]:
    """The hops in short."""
    return [f"{hop.transport}:{hop.host}:{hop.port}" for hop in look_up(uri, zone, reach)[0]]


def asked_for(uri: str, zone: Zone, reach: Reach = IPV4) -> list[str]:
    """What was asked, in short."""
    return [f"{each.kind.value} {each.name}" for each in look_up(uri, zone, reach)[1]]


# ---- an address, a port, a transport in the URI


@pytest.mark.rfc(3263, "4.1")
@pytest.mark.parametrize(
    ("uri", "hop"),
    [
        ("sip:192.0.2.1", Hop("udp", "192.0.2.1", 5060)),
        ("sip:192.0.2.1:5070", Hop("udp", "192.0.2.1", 5070)),
        ("sip:192.0.2.1;transport=tcp", Hop("tcp", "192.0.2.1", 5060)),
        ("sip:192.0.2.1;transport=TLS", Hop("tls", "192.0.2.1", 5061, "192.0.2.1")),
        ("sips:192.0.2.1", Hop("tls", "192.0.2.1", 5061, "192.0.2.1")),
        ("sips:192.0.2.1;transport=tcp", Hop("tls", "192.0.2.1", 5061, "192.0.2.1")),
        ("sip:[2001:db8::1]", Hop("udp", "2001:db8::1", 5060)),
        ("sip:example.com;maddr=192.0.2.9", Hop("udp", "192.0.2.9", 5060)),
    ],
)
def test_an_address_is_asked_nobody(uri: str, hop: Hop) -> None:
    located = locate(Destination.of(parse_uri(uri)), unknown, reach=ALL, spread=never)

    assert located == Located((hop,), ())


@pytest.mark.parametrize(
    ("uri", "reach"),
    [
        ("sip:192.0.2.1;transport=sctp", ALL),
        ("sip:192.0.2.1;transport=ws", ALL),
        ("sips:192.0.2.1;transport=udp", ALL),
        ("sips:192.0.2.1", Reach(("udp", "tcp"), (4,))),
        ("sip:192.0.2.1;transport=tcp", Reach(("udp",), (4,))),
        ("sip:[2001:db8::1]", IPV4),
        ("sip:192.0.2.1", Reach(("udp",), (6,))),
        ("sip:192.0.2.1", Reach((), (4,))),
    ],
)
def test_what_cannot_be_reached_has_no_hops_and_no_questions(uri: str, reach: Reach) -> None:
    assert locate(Destination.of(parse_uri(uri)), unknown, reach=reach, spread=never) == Located()


def test_without_udp_the_first_transport_we_have_is_taken() -> None:
    assert hops_of("sip:192.0.2.1", {}, Reach(("tcp", "tls"), (4,))) == ["tcp:192.0.2.1:5060"]


@pytest.mark.rfc(3263, "4.2")
def test_a_port_leads_past_naptr_and_srv() -> None:
    zone: Zone = {("example.com", "A"): ["192.0.2.1", "192.0.2.2"]}

    assert asked_for("sip:example.com:5060", zone) == ["A example.com"]
    assert hops_of("sip:example.com:5060", zone) == ["udp:192.0.2.1:5060", "udp:192.0.2.2:5060"]
    assert hops_of("sips:example.com:5070", zone)[0] == "tls:192.0.2.1:5070"


@pytest.mark.rfc(3263, "4.2")
@pytest.mark.parametrize(
    ("uri", "service"),
    [
        ("sip:example.com;transport=udp", "_sip._udp.example.com"),
        ("sip:example.com;transport=tcp", "_sip._tcp.example.com"),
        ("sip:example.com;transport=tls", "_sips._tcp.example.com"),
        ("sips:example.com;transport=tcp", "_sips._tcp.example.com"),
    ],
)
def test_a_transport_leads_past_naptr(uri: str, service: str) -> None:
    zone: Zone = {(service, "SRV"): [Srv(0, 0, 5099, "a.example.net")]}

    asked = asked_for(uri, zone)

    assert asked == [f"SRV {service}", "A a.example.net"]


# ---- NAPTR


@pytest.mark.rfc(3263, "4.1")
@pytest.mark.parametrize(
    ("uri", "transports", "service"),
    [
        ("sip:example.com", ("udp", "tcp"), "_sip._tcp.example.com"),
        ("sip:example.com", ("udp", "tcp", "tls"), "_sips._tcp.example.com"),
        ("sip:example.com", ("udp",), "_sip._udp.example.com"),
        ("sips:example.com", ("udp", "tcp", "tls"), "_sips._tcp.example.com"),
    ],
)
def test_the_domain_chooses_among_the_transports_we_have(
    uri: str, transports: tuple[str, ...], service: str
) -> None:
    zone: Zone = {
        ("example.com", "NAPTR"): list(reversed(THREE_SERVICES)),
        (service, "SRV"): [Srv(0, 0, 5060, "a.example.com")],
        ("a.example.com", "A"): ["192.0.2.1"],
    }

    asked = asked_for(uri, zone, Reach(transports, (4,)))

    assert asked == ["NAPTR example.com", f"SRV {service}", "A a.example.com"]


def test_tls_has_to_prove_the_domain_that_was_asked_for() -> None:
    zone: Zone = {
        ("example.com", "NAPTR"): [Naptr(1, 1, "S", "sips+d2t", "", "_sips._tcp.example.net")],
        ("_sips._tcp.example.net", "SRV"): [Srv(0, 0, 5061, "a.example.net")],
        ("a.example.net", "A"): ["192.0.2.1"],
    }

    hops, _ = look_up("sip:example.com", zone)

    assert hops == (Hop("tls", "192.0.2.1", 5061, "example.com"),)


@pytest.mark.parametrize(
    "record",
    [
        Naptr(1, 1, "s", "SIPS+D2U", "", "_sips._udp.example.com"),
        Naptr(1, 1, "s", "SIP+D2W", "", "_ws._tcp.example.com"),
        Naptr(1, 1, "u", "E2U+sip", "!^.*$!sip:info@example.com!", "."),
        Naptr(1, 1, "u", "SIP+D2U", "!^.*$!sip:info@example.com!", "."),
        Naptr(1, 1, "s", "SIP+D2U", "!a!b!", "_sip._udp.evil.example"),
        Naptr(1, 1, "s", "SIP+D2U", "", "."),
        Naptr(1, 1, "", "SIP+D2U", "", "elsewhere.example.com"),
        Srv(1, 1, 1, "not.what.was.asked"),
    ],
)
def test_naptr_records_that_say_nothing_to_us_are_as_good_as_none(record: Record) -> None:
    zone: Zone = {
        ("example.com", "NAPTR"): [record],
        ("_sip._udp.example.com", "SRV"): [Srv(0, 0, 5060, "a.example.com")],
        ("a.example.com", "A"): ["192.0.2.1"],
    }

    assert hops_of("sip:example.com", zone) == ["udp:192.0.2.1:5060"]


@pytest.mark.rfc(3403, "4.1")
def test_services_of_one_order_are_tried_one_after_the_other() -> None:
    zone: Zone = {
        ("example.com", "NAPTR"): [
            Naptr(10, 20, "s", "SIP+D2U", "", "_sip._udp.example.com"),
            Naptr(10, 10, "s", "SIP+D2T", "", "_sip._tcp.example.com"),
            Naptr(20, 10, "s", "SIPS+D2T", "", "_sips._tcp.example.com"),
        ],
        ("_sip._udp.example.com", "SRV"): [Srv(0, 0, 5060, "a.example.com")],
        ("_sip._tcp.example.com", "SRV"): [Srv(9, 0, 5080, "a.example.com")],
        ("_sips._tcp.example.com", "SRV"): [Srv(0, 0, 5061, "a.example.com")],
        ("a.example.com", "A"): ["192.0.2.1"],
    }

    assert hops_of("sip:example.com", zone) == ["tcp:192.0.2.1:5080", "udp:192.0.2.1:5060"]


def test_a_service_that_leads_nowhere_gives_way_to_the_next_order() -> None:
    zone: Zone = {
        ("example.com", "NAPTR"): THREE_SERVICES,
        ("_sips._tcp.example.com", "SRV"): [Srv(0, 0, 5061, "gone.example.com")],
        ("_sip._udp.example.com", "SRV"): [Srv(0, 0, 5060, "a.example.com")],
        ("a.example.com", "A"): ["192.0.2.1"],
    }

    assert hops_of("sip:example.com", zone) == ["udp:192.0.2.1:5060"]


def test_without_srv_behind_it_naptr_still_names_the_transport() -> None:
    zone: Zone = {
        ("example.com", "NAPTR"): THREE_SERVICES,
        ("example.com", "A"): ["192.0.2.1"],
    }

    assert hops_of("sip:example.com", zone) == ["tls:192.0.2.1:5061"]


def test_a_sips_uri_never_leaves_tls() -> None:
    zone: Zone = {
        ("example.com", "NAPTR"): THREE_SERVICES[1:],
        ("_sip._tcp.example.com", "SRV"): [Srv(0, 0, 5060, "a.example.com")],
        ("_sip._udp.example.com", "SRV"): [Srv(0, 0, 5060, "a.example.com")],
        ("example.com", "A"): ["192.0.2.7"],
    }

    assert hops_of("sips:example.com", zone) == ["tls:192.0.2.7:5061"]


# ---- SRV


@pytest.mark.rfc(3263, "4.1")
def test_without_naptr_every_service_is_asked_for_at_once() -> None:
    zone: Zone = {
        ("_sip._tcp.example.com", "SRV"): [Srv(0, 0, 5080, "a.example.com")],
        ("a.example.com", "A"): ["192.0.2.1"],
    }
    located = locate(
        Destination("example.com"),
        {Question("example.com", RecordType.NAPTR): ()}.get,
        reach=IPV4,
        spread=never,
    )

    assert [each.name for each in located.questions] == [
        "_sip._udp.example.com",
        "_sip._tcp.example.com",
        "_sips._tcp.example.com",
    ]
    assert hops_of("sip:example.com", zone) == ["tcp:192.0.2.1:5080"]


@pytest.mark.rfc(3263, "4.2")
def test_without_any_record_the_name_itself_is_the_server() -> None:
    zone: Zone = {("example.com", "A"): ["192.0.2.1"]}

    assert hops_of("sip:example.com", zone) == ["udp:192.0.2.1:5060"]
    assert hops_of("sip:example.com;transport=tls", zone) == ["tls:192.0.2.1:5061"]
    assert hops_of("sips:example.com", zone) == ["tls:192.0.2.1:5061"]


@pytest.mark.rfc(2782, "Target")
def test_a_target_of_a_dot_says_that_the_service_is_not_there() -> None:
    zone: Zone = {
        ("_sip._udp.example.com", "SRV"): [Srv(0, 0, 0, ".")],
        ("example.com", "A"): ["192.0.2.1"],
    }

    assert hops_of("sip:example.com", zone) == []
    assert hops_of("sip:example.com;transport=udp", zone) == []
    assert hops_of("sip:example.com;transport=tcp", zone) == ["tcp:192.0.2.1:5060"]


def test_servers_without_an_address_are_passed_over_and_the_name_is_not_tried() -> None:
    zone: Zone = {
        ("_sip._udp.example.com", "SRV"): [
            Srv(0, 0, 5060, "gone.example.com"),
            Srv(1, 0, 5070, "a.example.com"),
        ],
        ("a.example.com", "A"): ["192.0.2.1"],
        ("example.com", "A"): ["192.0.2.80"],
    }

    assert hops_of("sip:example.com", zone) == ["udp:192.0.2.1:5070"]
    del zone["a.example.com", "A"]
    assert hops_of("sip:example.com", zone) == []


@pytest.mark.rfc(7984, "3")
def test_each_server_is_tried_on_both_families_before_the_next() -> None:
    zone: Zone = {
        ("_sip._udp.example.com", "SRV"): [
            Srv(1, 0, 5060, "a.example.com"),
            Srv(2, 0, 5060, "b.example.com"),
        ],
        ("a.example.com", "A"): ["192.0.2.1"],
        ("a.example.com", "AAAA"): ["2001:db8::1"],
        ("b.example.com", "AAAA"): ["2001:db8::2"],
        ("b.example.com", "A"): ["192.0.2.2"],
    }

    hosts = [hop.host for hop in look_up("sip:example.com", zone, ALL)[0]]
    of_ipv4 = [hop.host for hop in look_up("sip:example.com", zone, Reach(("udp",), (4, 6)))[0]]

    assert hosts == ["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"]
    assert of_ipv4 == ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2"]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.1.75", "ff02::1", "no address", ""])
def test_addresses_that_nobody_has_are_left_out(address: str) -> None:
    zone: Zone = {("example.com", "A"): [address], ("example.com", "AAAA"): [address]}

    assert hops_of("sip:example.com:5060", zone, ALL) == []


def test_the_same_place_is_tried_once() -> None:
    zone: Zone = {
        ("_sip._udp.example.com", "SRV"): [
            Srv(1, 0, 5060, "a.example.com"),
            Srv(2, 0, 5060, "b.example.com"),
        ],
        ("a.example.com", "A"): ["192.0.2.1"],
        ("b.example.com", "A"): ["192.0.2.1"],
    }

    assert hops_of("sip:example.com", zone) == ["udp:192.0.2.1:5060"]


# ---- who may call from there


def test_everywhere_are_the_servers_of_every_transport() -> None:
    zone: Zone = {
        ("_sip._udp.example.com", "SRV"): [Srv(0, 0, 5060, "a.example.com")],
        ("_sips._tcp.example.com", "SRV"): [Srv(0, 0, 5061, "b.example.com")],
        ("a.example.com", "A"): ["192.0.2.1"],
        ("b.example.com", "A"): ["192.0.2.2"],
        ("example.com", "A"): ["192.0.2.80"],
    }

    hops, _ = look_up("sip:example.com;transport=udp", zone, everywhere=True)

    assert {hop.host for hop in hops} == {"192.0.2.1", "192.0.2.2"}


# ---- limits


def test_a_zone_of_thousands_is_looked_at_in_part() -> None:
    names = [f"h{number}.example.com" for number in range(3000)]
    naptr = [Naptr(1, n, "s", "SIP+D2U", "", f"_sip._udp.{n}.example.com") for n in range(3000)]
    servers = [Srv(1, 0, 5060, name) for name in names]
    zone: Zone = {("example.com", "NAPTR"): naptr}
    zone |= {(record.replacement, "SRV"): servers for record in naptr}
    zone |= {(name, "A"): [f"198.18.{n // 250}.{n % 250}"] for n, name in enumerate(names)}

    hops, asked = look_up("sip:example.com", zone)

    assert len(hops) == MAX_HOPS
    assert len(asked) <= 1 + 4 + 2 * MAX_RECORDS
    assert len(look_up("sip:example.com", zone, limit=64)[0]) == MAX_RECORDS


# ---- the order of RFC 2782

SERVERS = st.lists(
    st.builds(
        Srv,
        st.integers(0, 3),
        st.sampled_from([0, 0, 1, 7, 65535]),
        st.integers(1, 65535),
        st.sampled_from(["a.example", "b.example", "c.example"]),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(SERVERS, st.integers())
def test_nothing_is_lost_and_priorities_come_first(servers: list[Srv], seed: int) -> None:
    ordered = in_order(servers, random.Random(seed).random)

    assert Counter(ordered) == Counter(servers)
    assert [each.priority for each in ordered] == sorted(each.priority for each in servers)


@settings(deadline=None)
@given(SERVERS, st.integers())
def test_the_order_is_that_of_the_draw_alone(servers: list[Srv], seed: int) -> None:
    assert in_order(servers, random.Random(seed).random) == in_order(
        servers, random.Random(seed).random
    )


@pytest.mark.rfc(2782, "Weight")
@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 100), min_size=2, max_size=4), st.integers(0, 1 << 32))
def test_each_is_first_as_often_as_its_weight_says(weights: list[int], seed: int) -> None:
    servers = [Srv(1, weight, 5060, str(n)) for n, weight in enumerate(weights)]
    spread, rounds = random.Random(seed).random, 4000

    firsts = Counter(in_order(servers, spread)[0].target for _ in range(rounds))

    for number, weight in enumerate(weights):
        share = weight / sum(weights)
        # Four standard deviations, and what drawing from sum + 1 numbers shifts.
        slack = 4 * (share * (1 - share) / rounds) ** 0.5 + 1 / sum(weights)
        assert abs(firsts[str(number)] / rounds - share) <= slack


@pytest.mark.rfc(2782, "Weight")
def test_weight_0_comes_first_only_by_the_smallest_chance() -> None:
    servers = [Srv(1, 99, 5060, "heavy"), Srv(1, 0, 5060, "light")]
    draws = [n / 1000 for n in range(1000)]

    firsts = Counter(in_order(servers, repeat(draw).__next__)[0].target for draw in draws)

    assert firsts == {"heavy": 990, "light": 10}


def test_where_nobody_weighs_anything_each_is_first_alike() -> None:
    servers = [Srv(1, 0, 5060, str(n)) for n in range(4)]

    firsts = Counter(in_order(servers, repeat(n / 100).__next__)[0].target for n in range(100))

    assert set(firsts.values()) == {25}


RECORDS = st.one_of(
    SERVERS,
    st.lists(st.sampled_from(["192.0.2.1", "2001:db8::1", "0.0.0.0", "x"]), max_size=3),
    st.lists(
        st.builds(
            Naptr,
            st.integers(0, 2),
            st.integers(0, 2),
            st.sampled_from(["s", "S", "u", ""]),
            st.sampled_from(["SIP+D2U", "SIP+D2T", "SIPS+D2T", "E2U"]),
            st.sampled_from(["", "!.*!x!"]),
            st.sampled_from(["_sip._udp.a.example", "_sips._tcp.b.example", "."]),
        ),
        max_size=4,
    ),
)


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.data())
def test_any_answers_lead_to_an_end(chance: random.Random, data: st.DataObject) -> None:
    destination = Destination(
        "a.example",
        data.draw(st.sampled_from([None, 5062])),
        data.draw(st.sampled_from([None, "udp", "tcp", "tls", "ws"])),
        data.draw(st.booleans()),
    )
    answers: dict[Question, Sequence[Record]] = {}
    for _ in range(8):
        located = locate(destination, answers.get, reach=ALL, spread=chance.random)
        if not located.questions:
            break
        answers |= {each: data.draw(RECORDS) for each in located.questions}

    assert not located.questions
    assert len(located.hops) == len(set(located.hops)) <= MAX_HOPS
    assert not destination.secure or all(hop.transport == "tls" for hop in located.hops)


def test_lookups_are_by_plain_names() -> None:
    answers = {Question("example.com", RecordType.A): ["192.0.2.1"]}

    located = locate(Destination("Example.COM.", 5060), answers.get, reach=IPV4, spread=never)

    assert located.hops == (Hop("udp", "192.0.2.1", 5060),)

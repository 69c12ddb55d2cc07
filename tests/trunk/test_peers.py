"""Who a SIP source is."""

from __future__ import annotations

import ipaddress

import pytest

from gateway.errors import RoutingError
from gateway.sip.uri import parse_uri
from gateway.trunk.registration import RegistrationOptions
from gateway.trunk.trunk import (
    MAX_PLACE_ADDRESSES,
    MAX_REMEMBERED_SOURCES,
    Peers,
    Trunk,
)

CARRIER = Trunk(
    "carrier",
    parse_uri("sip:198.51.100.1:5080"),
    allow=(ipaddress.ip_network("198.51.100.64/26"),),
)
LAB = Trunk("lab", parse_uri("sip:127.0.0.1:5070"))
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


def test_a_trunk_takes_calls_at_its_uri() -> None:
    peers = Peers([CARRIER, Trunk("plain", parse_uri("sip:198.51.100.2"))], [])

    assert peers.address_of(CARRIER) == ("198.51.100.1", 5080)
    assert peers.address_of(Trunk("plain", parse_uri("sip:198.51.100.2")))[1] == 5060


NAMED = Trunk(
    "named",
    parse_uri("sip:carrier.test"),
    proxy=parse_uri("sip:edge.test:5070"),
    registrations=(RegistrationOptions(parse_uri("sip:registrar.test"), "acme"),),
)


def test_a_trunk_of_unknown_address_cannot_be_dialled() -> None:
    peers = Peers([NAMED], [])

    with pytest.raises(RoutingError) as caught:
        peers.address_of(NAMED)

    assert caught.value.status == 503
    assert not peers.is_admitted("198.51.100.1")


def test_every_name_of_a_trunk_is_to_be_found() -> None:
    places = Peers([NAMED, CARRIER], []).destinations

    assert [str(place) for place in places.values()] == [
        "sip:edge.test:5070",
        "sip:carrier.test",
        "sip:registrar.test",
        "sip:198.51.100.1:5080",
    ]


def test_a_trunk_is_known_by_what_its_names_stand_for() -> None:
    peers = Peers([NAMED], [])
    edge, uri, _ = peers.destinations
    assert not peers.is_admitted("198.51.100.9")

    peers.set_addresses(edge, {"198.51.100.9", "2001:DB8::9"})
    peers.set_addresses(uri, {"203.0.113.1"})

    for host in ("198.51.100.9", "2001:db8::9", "203.0.113.1"):
        assert peers.is_admitted(host)
        assert peers.source_of((host, 40000)) == "trunk:named"
    assert peers.address_of(NAMED) == ("198.51.100.9", 5070)


def test_an_address_that_a_trunk_has_left_is_nobodys() -> None:
    peers = Peers([NAMED], [])
    edge, uri, _ = peers.destinations
    peers.set_addresses(edge, {"198.51.100.9"})
    peers.set_addresses(uri, {"203.0.113.1"})
    assert peers.is_admitted("198.51.100.9")

    peers.set_addresses(edge, {"198.51.100.10"})

    assert not peers.is_admitted("198.51.100.9")
    assert peers.is_admitted("198.51.100.10")
    assert peers.is_admitted("203.0.113.1")


def test_a_written_address_stays_whatever_the_dns_says() -> None:
    peers = Peers([CARRIER], [])
    (place,) = peers.destinations

    peers.set_addresses(place, ())

    assert peers.is_admitted("198.51.100.1")


def test_a_name_that_stands_for_half_the_internet_does_not() -> None:
    peers = Peers([NAMED], [])
    edge, *_ = peers.destinations

    peers.set_addresses(edge, [f"198.51.{n // 250}.{n % 250}" for n in range(1000)])

    admitted = [n for n in range(1000) if peers.is_admitted(f"198.51.{n // 250}.{n % 250}")]
    assert len(admitted) == MAX_PLACE_ADDRESSES


def test_two_trunks_of_one_host_are_told_apart_by_port() -> None:
    first = Trunk("first", parse_uri("sip:pbx.test:5060"))
    second = Trunk("second", parse_uri("sip:pbx.test:5080"))
    peers = Peers([first, second], [])
    for place in peers.destinations:
        peers.set_addresses(place, {"198.51.100.9"})

    assert peers.source_of(("198.51.100.9", 5080)) == "trunk:second"
    assert peers.source_of(("198.51.100.9", 5060)) == "trunk:first"
    assert peers.source_of(("198.51.100.9", 9999)) == "trunk:first"


def test_a_trunk_is_at_its_very_port_and_nowhere_else() -> None:
    peers = Peers([CARRIER, NAMED], [LOOPBACK])
    peers.set_addresses("named/0", ["198.51.100.9"])

    assert peers.is_at(("198.51.100.1", 5080))
    assert peers.is_at(("198.51.100.9", 5070))
    assert not peers.is_at(("198.51.100.1", 5060))
    assert not peers.is_at(("198.51.100.65", 5080))


def test_who_calls_at_a_contact_of_ours_was_told_it_in_a_registration() -> None:
    peers = Peers(
        [CARRIER, LAB],
        [LOOPBACK],
        called_at={"k3w9": "carrier"}.get,  # the only one who knows
    )

    assert peers.source_of(("127.0.0.1", 5070), "k3w9") == "trunk:carrier"
    assert peers.source_of(("127.0.0.1", 5070), "+15550100") == "trunk:lab"
    assert peers.source_of(("127.0.0.9", 5070), "") == "sip"


@pytest.mark.parametrize(
    ("host", "is_admitted"),
    [
        ("198.51.100.1", True),
        ("198.51.100.70", True),
        ("198.51.100.2", False),
        ("203.0.113.9", False),
        ("127.0.0.5", True),
        ("2001:db8::1", False),
    ],
)
def test_only_trunks_and_allowed_networks_are_admitted(host: str, is_admitted: bool) -> None:
    peers = Peers([CARRIER], [LOOPBACK])

    assert peers.is_admitted(host) == is_admitted
    assert peers.is_admitted(host) == is_admitted


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        (("198.51.100.1", 5080), "trunk:carrier"),
        (("198.51.100.1", 40000), "trunk:carrier"),
        (("198.51.100.70", 5060), "trunk:carrier"),
        (("127.0.0.1", 5070), "trunk:lab"),
        (("127.0.0.1", 5062), "sip"),
    ],
)
def test_a_source_is_named_as_routes_name_it(remote: tuple[str, int], source: str) -> None:
    assert Peers([CARRIER, LAB], [LOOPBACK]).source_of(remote) == source


def test_a_stranger_has_no_name() -> None:
    with pytest.raises(RoutingError) as caught:
        Peers([CARRIER], []).source_of(("203.0.113.9", 5060))

    assert caught.value.status == 403


def test_a_flood_of_forged_sources_does_not_grow_the_memory() -> None:
    peers = Peers([CARRIER], [])

    for number in range(MAX_REMEMBERED_SOURCES + 10):
        assert not peers.is_admitted(str(ipaddress.ip_address(0x0A000000 + number)))

    assert len(peers._admitted) <= MAX_REMEMBERED_SOURCES
    assert peers.is_admitted("198.51.100.1")

"""Who a SIP source is."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest

from gateway.errors import RoutingError
from gateway.sip.uri import parse_uri
from gateway.trunk.trunk import MAX_REMEMBERED_SOURCES, Peers, Trunk

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


def test_a_trunk_without_an_address_cannot_be_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    lost = Trunk("lost", parse_uri("sip:carrier.invalid"))
    peers = Peers([lost], [])

    with pytest.raises(RoutingError) as caught:
        peers.address_of(lost)

    assert caught.value.status == 503
    assert not peers.is_admitted("198.51.100.1")


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

"""Which addresses a wildcard stands for."""

from __future__ import annotations

import ipaddress
import socket

import ifaddr
import pytest

from gateway.net.interface import listening_addresses


def adapters(*addresses: str) -> list[ifaddr.Adapter]:
    ips = [ifaddr.IP(text if ":" not in text else (text, 0, 0), 24, "test0") for text in addresses]
    return [ifaddr.Adapter("test0", "test0", ips)]


def test_an_explicit_address_is_itself() -> None:
    assert listening_addresses("192.0.2.9", loopback=True) == ("192.0.2.9",)


def test_a_wildcard_is_every_address_that_others_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    found = adapters("127.0.0.1", "192.0.2.2", "10.0.0.5", "169.254.3.3", "2001:db8::2")
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: found)

    assert listening_addresses("0.0.0.0", loopback=False) == ("192.0.2.2", "10.0.0.5")


def test_loopback_comes_last_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = adapters("127.0.0.1", "192.0.2.2")
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: found)

    assert listening_addresses("0.0.0.0", loopback=True) == ("192.0.2.2", "127.0.0.1")


def test_a_machine_without_a_network_has_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: adapters("127.0.0.1"))

    assert listening_addresses("0.0.0.0", loopback=False) == ("127.0.0.1",)


def test_the_ipv6_wildcard_takes_in_both_families(monkeypatch: pytest.MonkeyPatch) -> None:
    found = adapters("fe80::1%test0", "2001:db8::2", "::1", "127.0.0.1", "192.0.2.2")
    monkeypatch.setattr(ifaddr, "get_adapters", lambda: found)

    addresses = listening_addresses("::", loopback=True)

    assert addresses == ("192.0.2.2", "2001:db8::2", "127.0.0.1", "::1")


@pytest.mark.real
def test_every_address_of_this_machine_can_be_bound() -> None:
    addresses = listening_addresses("0.0.0.0", loopback=True)

    assert "127.0.0.1" in addresses
    for address in addresses:
        assert not ipaddress.ip_address(address).is_unspecified
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            bound.bind((address, 0))

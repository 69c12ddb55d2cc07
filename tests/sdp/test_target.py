"""Where media may be sent (A8)."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import NegotiationError
from gateway.sdp.target import check_media_target


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "10.1.2.3", "203.0.113.7", "2001:db8::1", "fd12:3456::1"]
)
def test_unicast_addresses_are_sent_to(address: str) -> None:
    check_media_target(address, 4000)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.8.8.8", "::1", "169.254.1.1", "fe80::1", "::ffff:127.0.0.1"]
)
def test_local_addresses_are_sent_to_only_where_allowed(address: str) -> None:
    with pytest.raises(NegotiationError) as caught:
        check_media_target(address, 4000)
    assert caught.value.status == 488

    check_media_target(address, 4000, allow_local=True)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "240.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "",
        None,
        "phone.example",
        "0x7f.1",
        "127.1",
        "2130706433",
        "fe80::1%eth0",
    ],
)
def test_these_are_never_sent_to(address: str | None) -> None:
    with pytest.raises(NegotiationError):
        check_media_target(address, 4000, allow_local=True)


@pytest.mark.parametrize("port", [0, 22, 1023, 65536, -1])
def test_ports_of_services_are_not_sent_to(port: int) -> None:
    with pytest.raises(NegotiationError, match="port"):
        check_media_target("192.0.2.1", port)


@given(st.text())
def test_any_text_is_allowed_or_refused(address: str) -> None:
    with suppress(NegotiationError):
        check_media_target(address, 4000)


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "172.16.0.9", "192.168.1.20", "100.64.0.1", "fd12:3456::1"]
)
def test_a8_private_addresses_are_sent_to_where_the_sip_is_or_where_it_is_allowed(
    address: str,
) -> None:
    with pytest.raises(NegotiationError, match="media_allow") as refused:
        check_media_target(address, 4000, peer="192.0.2.1")
    assert refused.value.status == 488

    check_media_target(address, 4000, peer=address)
    check_media_target(address, 4000, peer="192.0.2.1", allow=(ip_network(address),))


@pytest.mark.parametrize("address", ["203.0.113.9", "198.51.100.7", "2001:db8::7"])
def test_public_addresses_are_sent_to_wherever_the_sip_is(address: str) -> None:
    check_media_target(address, 4000, peer="192.0.2.1")


@pytest.mark.parametrize(
    ("address", "port"),
    [("169.254.169.254", 4000), ("::ffff:169.254.169.254", 4000), ("10.0.0.1", 22)],
)
def test_a8_no_network_that_is_allowed_opens_metadata_services_or_low_ports(
    address: str, port: int
) -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))

    with pytest.raises(NegotiationError):
        check_media_target(address, port, allow=everything)

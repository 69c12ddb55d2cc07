"""Remote candidates: a page may name any address; few are contacted."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from gateway.webrtc.candidate import AddressPolicy, parse_candidate, ufrag_extension

CHROMIUM = (
    "candidate:1467250027 1 udp 2122260223 192.0.2.7 46243 typ host generation 0 "
    "ufrag EsAw network-id 1 network-cost 10"
)


def test_a_candidate_of_chromium_is_read() -> None:
    candidate = parse_candidate(CHROMIUM)

    assert candidate is not None
    assert (candidate.host, candidate.port) == ("192.0.2.7", 46243)
    assert (candidate.type, candidate.priority) == ("host", 2122260223)
    assert ufrag_extension(CHROMIUM) == "EsAw"


def test_a_reflexive_candidate_is_read() -> None:
    candidate = parse_candidate(
        "candidate:2 1 UDP 1685987071 203.0.113.5 3478 typ srflx raddr 0.0.0.0 rport 0"
    )

    assert candidate is not None
    assert candidate.type == "srflx"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "candidate:",
        "candidate:1 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active",
        "candidate:1 2 udp 2122260222 192.0.2.7 46244 typ host",
        "candidate:1 1 udp 1 4f1c1a2e-55b2-4d7c-9d52-0b9c0f8e3f1d.local 46243 typ host",
        "candidate:1 1 udp 1 printer 631 typ host",
        "candidate:1 1 udp 1 192.0.2.7 0 typ host",
        "candidate:1 1 udp 1 192.0.2.7 65536 typ host",
        "candidate:1 1 udp 1 192.0.2.7 ٣٣٣٣ typ host",
        "candidate:1 1 udp -1 192.0.2.7 5000 typ host",
        "candidate:1 1 udp 99999999999999999999 192.0.2.7 5000 typ host",
        "candidate:1 1 udp 1 192.0.2.7 5000 typ prflx",
        "candidate:1 1 udp 1 192.0.2.7 5000 type host",
        "candidate:1 1 udp 1 192.0.2 5000 typ host",
        "candidate:1 1 udp 1 192.0.2.7 5000 typ host" + " x y" * 500,
    ],
)
def test_what_is_not_for_us_is_dropped(text: str) -> None:
    assert parse_candidate(text) is None


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.1.1",
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "100.100.100.200",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "metadata.google.internal",
        "127.1",
        "",
    ],
)
def test_no_check_goes_where_no_browser_can_be(host: str) -> None:
    assert not AddressPolicy(loopback=False).allows(host)


@pytest.mark.parametrize("host", ["192.0.2.7", "10.0.0.1", "192.168.1.5", "2001:db8::7"])
def test_browsers_on_any_network_are_reached(host: str) -> None:
    assert AddressPolicy(loopback=False).allows(host)


def test_loopback_is_reached_when_it_is_offered() -> None:
    policy = AddressPolicy(loopback=True)

    assert policy.allows("127.0.0.1")
    assert policy.allows("::1")
    assert not policy.allows("169.254.169.254")


def test_configured_networks_are_refused_too() -> None:
    policy = AddressPolicy(loopback=False, deny=("10.0.0.0/8", "2001:db8:1::/48"))

    assert not policy.allows("10.0.0.1")
    assert not policy.allows("::ffff:10.0.0.1")
    assert not policy.allows("2001:db8:1::5")
    assert policy.allows("192.168.1.1")


def test_a_network_that_is_none_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"ice_deny: '10\.0\.0/8' is no network"):
        AddressPolicy(loopback=False, deny=("10.0.0/8",))

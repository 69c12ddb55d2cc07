"""A21: where a URL that a stranger gave may lead."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.net.destination import DestinationError, Destinations, Pinned

ZONE = {
    "agent.example.com": ("93.184.216.34",),
    "both.example.com": ("10.0.0.1", "93.184.216.34"),
    "inside.example.com": ("10.0.0.1",),
    "bot.internal": ("127.0.0.1",),
    "mapped.example.com": ("::ffff:169.254.169.254",),
    "me.example.com": ("203.0.114.9",),
    # Where a C library would be asked, these are 127.0.0.1.
    "0x7f.1": ("93.184.216.34",),
    "2130706433": ("93.184.216.34",),
}


async def look_up(host: str, port: int) -> Sequence[str]:
    return ZONE.get(host, ())


def destinations() -> Destinations:
    return Destinations(look_up, trusted=("http://bot.internal:9000/voice",), own=("203.0.114.9",))


async def test_a_public_host_is_pinned_with_its_port_and_path() -> None:
    pinned = await destinations().pin("https://agent.example.com/a/b?c=d#e")

    assert pinned == Pinned("https", "agent.example.com", 443, ("93.184.216.34",), "/a/b?c=d")
    assert pinned.authority == "agent.example.com"
    assert pinned.is_secure


async def test_a21_of_a_host_with_several_addresses_only_public_ones_are_used() -> None:
    pinned = await destinations().pin("wss://both.example.com:8443")

    assert pinned.addresses == ("93.184.216.34",)
    assert pinned.authority == "both.example.com:8443"


async def test_what_the_operator_configured_may_be_anywhere_and_without_tls() -> None:
    pinned = await destinations().pin("http://bot.internal:9000/other")

    assert pinned.addresses == ("127.0.0.1",)


@pytest.mark.parametrize(
    "url",
    [
        "https://inside.example.com/",
        "https://bot.internal/",  # another port than the configured one
        "https://nowhere.example.com/",
        "http://agent.example.com/",
        "ws://agent.example.com/",
        "tcp://agent.example.com:1",
        "file:///etc/passwd",
        "gopher://agent.example.com/",
        "//agent.example.com/",
        "https:///agent.example.com/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://2130706433/",
        "https://0/",
        "https://0.0.0.0/",
        "https://10.1.2.3/",
        "https://100.64.0.1/",
        "https://100.100.100.200/",
        "https://169.254.169.254/latest/meta-data",
        "https://192.0.0.192/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[::]/",
        "https://[::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1]/",
        "https://[fe80::1%25eth0]/",
        "https://[fd00:ec2::254]/",
        "https://mapped.example.com/",
        "https://localhost/",
        "https://me.example.com/",
        "https://203.0.114.9/",
        "https://[::ffff:203.0.114.9]/",
        "https://agent.example.com@169.254.169.254/",
        "https://@127.0.0.1/",
        "https://agent.example.com:80@127.0.0.1/",
        "https:////@127.0.0.1/",
        "https://agent.example.com\\@127.0.0.1/",
        "https://127.0.0.1\t.example.com/",
        "https://agent.example.com:0/",
        "https://agent.example.com:70000/",
        "https://agent.example.com/\r\nHost: x",
        "https://ａgent.example.com/",
        "https://١٢٧.0.0.1/",
        "https://agent.example.com/" + 5000 * "a",
    ],
)
async def test_a21_no_stranger_leads_us_into_our_own_network(url: str) -> None:
    with pytest.raises(DestinationError):
        await destinations().pin(url)

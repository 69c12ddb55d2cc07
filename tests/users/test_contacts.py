"""Contacts: what a REGISTER names, how it is reached, and whom a call rings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.sip.flow import Flow
from gateway.sip.uri import parse_uri
from gateway.users.contacts import (
    Contact,
    choose_contacts,
    is_behind_nat,
    is_same_uri,
    reach,
    read_path,
    read_wishes,
)
from gateway.users.domain import Domains
from tests.users.site import Phone, connection, flow

INSTANCE = "urn:uuid:00000000-0000-1000-8000-000a95a0e128"


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("sip:a@b", "sip:a@B", True),
        ("sip:a@b", "sip:A@b", False),
        ("sip:a@b", "sips:a@b", False),
        ("sip:a@b", "sip:a@b:5060", False),
        ("sip:a@b", "sip:a:secret@b", False),
        ("sip:%61@b", "sip:a@b", True),
        ("sip:a@b;transport=TCP", "sip:a@b;transport=tcp", True),
        ("sip:a@b;transport=tcp", "sip:a@b", False),
        ("sip:a@b;transport=tcp", "sip:a@b;transport=udp", False),
        ("sip:a@b;x=1", "sip:a@b", True),
        ("sip:a@b;x=1", "sip:a@b;x=2", False),
        ("sip:a@b;ob;x=1", "sip:a@b;x=1;ob", True),
        ("sip:a@b;user=phone", "sip:a@b", False),
        ("sip:a@b;maddr=c", "sip:a@b", False),
    ],
)
@pytest.mark.rfc(3261, "19.1.4")
def test_uris_are_compared_as_the_standard_says(one: str, other: str, is_same: bool) -> None:
    assert is_same_uri(parse_uri(one), parse_uri(other)) is is_same
    assert is_same_uri(parse_uri(other), parse_uri(one)) is is_same


@pytest.mark.parametrize(
    ("contact", "expires", "wanted"),
    [
        ("<sip:a@b>", "Expires: 600", 600),
        ("<sip:a@b>;expires=300", "Expires: 600", 300),
        ("<sip:a@b>", "", 3600),
        ("<sip:a@b>;expires=soon", "Expires: 600", 3600),
        ("<sip:a@b>;expires=-1", "Expires: 600", 3600),
        ('<sip:a@b>;expires="٣٠٠"', "", 3600),
        ("<sip:a@b>", "Expires: soon", 3600),
        ("<sip:a@b>;expires=0", "Expires: 600", 0),
        ("<sip:a@b>;expires=99999999999999999999", "", 2**32 - 1),
        ("<sip:a@b>;expires=" + "0" * 5000 + "60", "", 60),
    ],
)
@pytest.mark.rfc(3261, "10.2.1.1")
def test_expiry_that_is_asked_for(contact: str, expires: str, wanted: int) -> None:
    headers = [f"Contact: {contact}", *([expires] if expires else [])]

    (wish,) = read_wishes(Phone().register(*headers))

    assert wish.expires_s == wanted


@pytest.mark.parametrize(
    ("q", "wanted"),
    [
        ("", 1.0),
        (";q", 1.0),
        (";q=0.5", 0.5),
        (";q=0", 0.0),
        (";q=1.000", 1.0),
        (";q=7", 1.0),
        (";q=0.x", 1.0),
    ],
)
def test_preference_of_a_contact(q: str, wanted: float) -> None:
    (wish,) = read_wishes(Phone().register(f"Contact: <sip:a@b>{q}"))

    assert wish.q == wanted


@pytest.mark.parametrize(
    ("parameters", "instance", "reg_id"),
    [
        (f';+sip.instance="<{INSTANCE}>";reg-id=1', INSTANCE, 1),
        (f';+sip.instance="<{INSTANCE.upper()}>"', INSTANCE, None),
        (";reg-id=1", None, None),
        (f';+sip.instance="<{INSTANCE}>";reg-id=0', INSTANCE, None),
        (f';+sip.instance="<{INSTANCE}>";reg-id=2147483648', INSTANCE, None),
        (f';+sip.instance="<{INSTANCE}>";reg-id=one', INSTANCE, None),
        (';+sip.instance="";reg-id=1', None, None),
        (f';+sip.instance="<{"x" * 200}>";reg-id=1', None, None),
    ],
)
@pytest.mark.rfc(5626, "6")
def test_instance_and_flow_of_a_contact(
    parameters: str, instance: str | None, reg_id: int | None
) -> None:
    (wish,) = read_wishes(Phone().register(f"Contact: <sip:a@b>{parameters}"))

    assert (wish.instance, wish.reg_id) == (instance, reg_id)


@pytest.mark.parametrize("contact", ["<tel:+15550100>", "<mailto:a@b>", f"<sip:{'a' * 600}@b>"])
def test_contact_that_cannot_be_called_is_refused(contact: str) -> None:
    request = Phone().register(f"Contact: {contact}")

    with pytest.raises(RemoteProtocolError):
        read_wishes(request)


def test_headers_in_a_contact_are_left_out() -> None:
    (wish,) = read_wishes(Phone().register("Contact: <sip:a@b?Replaces=1%3Bto-tag%3D2>"))

    assert str(wish.uri) == "sip:a@b"


def test_path_is_read_in_order() -> None:
    request = Phone().register(
        "Path: <sip:p1.example.com;lr>, <sip:p2.example.com;lr>", "Path: <sip:p3;lr;ob>"
    )

    hosts = [address.uri.host for address in read_path(request)]

    assert hosts == ["p1.example.com", "p2.example.com", "p3"]


@pytest.mark.parametrize("path", ["<sip:p;lr>, " * 8 + "<sip:p;lr>", f"<sip:{'p' * 2048}>", "?"])
def test_path_is_bounded(path: str) -> None:
    with pytest.raises(RemoteProtocolError):
        read_path(Phone().register(f"Path: {path}"))


@pytest.mark.parametrize(
    ("uri", "remote"),
    [
        ("sip:a@203.0.113.7:5060", ("203.0.113.7", 5060)),
        ("sip:a@203.0.113.7:5080", ("203.0.113.7", 5080)),
        ("sip:a@203.0.113.7", ("203.0.113.7", 5060)),
        ("sip:a@192.168.1.5:5060", ("203.0.113.7", 61000)),
        ("sip:a@198.51.100.9:5060", ("203.0.113.7", 61000)),
        ("sip:a@phone.example.com", ("203.0.113.7", 61000)),
        ("sip:a@127.0.0.1:6379", ("203.0.113.7", 61000)),
    ],
)
def test_datagram_contact_is_never_reached_at_another_host(
    uri: str, remote: tuple[str, int]
) -> None:
    source = flow("203.0.113.7", 61000)

    assert reach(parse_uri(uri), source) == Flow("udp", source.local, remote)


def test_contact_on_a_connection_is_reached_over_it() -> None:
    source = connection(1, "tcp")

    assert reach(parse_uri("sip:a@203.0.113.7:5060;transport=tcp"), source) == source


def test_nat_shows_in_another_address() -> None:
    source = flow("203.0.113.7", 61000)

    assert is_behind_nat(parse_uri("sip:a@192.168.1.5"), source)
    assert not is_behind_nat(parse_uri("sip:a@203.0.113.7:5060"), source)
    assert not is_behind_nat(parse_uri("sip:a@df7jal23ls0d.invalid;transport=ws"), connection())


def bound(number: int, *, instance: str | None = None, q: float = 1.0, at: float = 0.0) -> Contact:
    """A binding; those of one instance differ by their flow."""
    return Contact(
        id=number,
        uri=parse_uri(f"sip:a@192.0.2.{number}"),
        source=flow(),
        flow=flow(),
        expires_at=100.0,
        refreshed_at=at,
        call_id="c",
        cseq=1,
        instance=instance,
        reg_id=number if instance else None,
        q=q,
    )


def test_call_rings_all_devices_the_preferred_first() -> None:
    found = choose_contacts([bound(1, q=0.1), bound(2, at=1.0), bound(3, at=2.0)])

    assert [contact.id for contact in found] == [3, 2, 1]


@pytest.mark.rfc(5626, "7")
def test_call_rings_one_flow_of_a_device_the_youngest() -> None:
    found = choose_contacts(
        [bound(1, instance="x", at=1.0), bound(2, instance="x", at=2.0), bound(3, instance="y")]
    )

    assert [contact.id for contact in found] == [2, 3]


@pytest.mark.parametrize(
    ("uri", "is_ours"),
    [
        ("sip:voice.example.com", True),
        ("sips:ann@VOICE.example.com:5061", True),
        ("sip:ann@192.0.2.1", True),
        ("sip:ann@[2001:db8:0::1]", True),
        ("sip:ann@example.com", False),
        ("sip:ann@192.0.2.2", False),
        ("tel:+15550100", False),
    ],
)
def test_our_domains(uri: str, is_ours: bool) -> None:
    domains = Domains(["Voice.Example.com", "192.0.2.1", "2001:DB8::1"])

    assert domains.names(parse_uri(uri)) is is_ours


@given(st.text(st.characters(codec="ascii", exclude_characters="\r\n\0"), max_size=60))
def test_any_contact_parameter_is_read_or_refused(text: str) -> None:
    try:
        request = Phone().register(f"Contact: <sip:a@b>;{text}")
        wishes = read_wishes(request)
    except RemoteProtocolError:
        return
    assert all(0 <= wish.q <= 1 and 0 <= wish.expires_s < 2**32 for wish in wishes)

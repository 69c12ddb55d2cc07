"""URIs: `parse_uri` and `str` are inverses, and nothing slips through between them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.sip.uri import MAX_URI_BYTES, Parameters, Uri, parse_host_port, parse_uri

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = TEXT.map(str.lower).filter(lambda name: bool(name) and name == name.lower())
HOSTS = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?", fullmatch=True),
    st.ip_addresses().map(str),
)


@st.composite
def sip_uris(draw: st.DrawFn) -> Uri:
    """SIP URIs of any content that can be escaped."""
    user = draw(st.none() | TEXT.filter(bool))
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    return Uri(
        draw(st.sampled_from(["sip", "sips"])),
        user,
        draw(st.none() | TEXT) if user is not None else None,
        draw(HOSTS),
        draw(st.none() | st.integers(1, 65535)),
        Parameters((name, draw(st.none() | TEXT)) for name in names),
        tuple(draw(st.lists(st.tuples(TEXT.filter(bool), TEXT), max_size=3))),
    )


@settings(deadline=None)
@given(sip_uris())
def test_what_is_written_is_read_back(uri: Uri) -> None:
    text = str(uri)

    assert text.isascii()
    assert parse_uri(text) == uri


@settings(deadline=None)
@given(st.text(max_size=80) | st.text("sip:tel@;=?&%[]0aF.#", max_size=40).map("sip:{}".format))
def test_any_text_is_a_uri_or_the_documented_error(text: str) -> None:
    try:
        uri = parse_uri(text)
    except RemoteProtocolError:
        return

    assert parse_uri(str(uri)) == uri


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("sip:example.com", Uri("sip", None, None, "example.com")),
        ("SIP:alice@Example.COM:5070", Uri("sip", "alice", None, "example.com", 5070)),
        ("sips:a:secret@h", Uri("sips", "a", "secret", "h")),
        ("sip:100@pbx1", Uri("sip", "100", None, "pbx1")),
        ("sip:100@my_pbx", Uri("sip", "100", None, "my_pbx")),
        ("sip:[2001:db8::10]:5070", Uri("sip", None, None, "2001:db8::10", 5070)),
        ("sip:u@[::ffff:192.0.2.2]", Uri("sip", "u", None, "::ffff:192.0.2.2")),
        ("sip:*98#@h", Uri("sip", "*98#", None, "h")),
        ("tel:+1-555-0100", Uri("tel", "+1-555-0100")),
        ("urn:service:sos", Uri("urn", "service:sos")),
    ],
)
def test_uris_as_they_are_seen(text: str, uri: Uri) -> None:
    assert parse_uri(text) == uri


@pytest.mark.rfc(4475, "3.1.1.4")
def test_an_escaped_user_is_not_structure() -> None:
    uri = parse_uri("sip:sips%3Auser%40example.com@example.net")

    assert (uri.user, uri.host) == ("sips:user@example.com", "example.net")
    assert str(uri) == "sip:sips%3Auser%40example.com@example.net"


@pytest.mark.rfc(4475, "3.1.1.5")
def test_an_escaped_nul_truncates_nothing() -> None:
    uri = parse_uri("sip:null-%00-null@example.com")

    assert uri.user == "null-\0-null"
    assert str(uri) == "sip:null-%00-null@example.com"


@pytest.mark.rfc(4475, "3.1.1.8")
def test_semicolons_and_question_marks_may_be_in_the_user() -> None:
    uri = parse_uri("sip:user;par=u%40example.net@example.com")

    assert uri.user == "user;par=u@example.net"
    assert not uri.parameters


def test_a_byte_that_is_no_utf8_survives() -> None:
    assert str(parse_uri("sip:%E9%80@h")) == "sip:%E9%80@h"


def test_parameters_are_found_whatever_their_case_and_escapes() -> None:
    uri = parse_uri("sip:h;TRANSPORT=tcp;%6C%72;n%61me=v%61lue%25%34%31")

    assert uri.parameters.get("transport") == "tcp"
    assert uri.parameters.has("lr")
    assert uri.parameters.get("lr") is None
    assert uri.parameters.get("name") == "value%41"


def test_replaces_in_a_refer_to_is_a_uri_header() -> None:
    uri = parse_uri("sip:bob@h?Replaces=12345%40192.0.2.1%3Bto-tag%3D1%3Bfrom-tag%3D2")

    assert uri.headers == (("Replaces", "12345@192.0.2.1;to-tag=1;from-tag=2"),)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "sip",
        "example.com",
        "sip:a@b@c",
        "sip:@h",
        "sip:u@",
        "sip:h:",
        "sip:h:0",
        "sip:h:65536",
        "sip:h:+5",
        "sip:h:" + "9" * 5000,
        "sip:h:٣",
        "sip:u%4@h",
        "sip:u%zz@h",
        "sip:a b@h",
        "sip: a@h",
        "<sip:a@h>",
        "sip:a<b@h",
        "sip:ä@h",
        "sip:h;",
        "sip:h;;lr",
        "sip:h;a=1;A=2",
        "sip:h;a=b=c",
        "sip:h?x",
        "sip:h?x=1&",
        "sip:2001:db8::10",
        "sip:[2001:db8::10",
        "sip:[2001:db8]",
        "sip:[1.2.3.4]",
        "sip:[fe80::1%25eth0]",
        "tel:",
        "tel:+",
        "tel:evil@example.com",
        "h\u2028:x",
        "sip:h\r\nX: y",
        "sip:" + "a" * MAX_URI_BYTES,
    ],
)
def test_what_is_no_uri_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_uri(text)


@pytest.mark.rfc(5118, "4.10")
def test_the_colon_too_many_of_the_old_abnf_is_left_out() -> None:
    assert str(parse_uri("sip:user@[2001:db8:::192.0.2.1]")) == "sip:user@[2001:db8::192.0.2.1]"


@pytest.mark.parametrize(
    "uri",
    [
        Uri("sip", "u", None, "evil.com>;x="),
        Uri("sip", "u", None, "a@b"),
        Uri("sip", "u", None, ""),
        Uri("sip", "u", None, "h\r\nVia: x"),
        Uri("tel", "+1555;phone-context=evil"),
        Uri("tel", ""),
        Uri("x y", "z"),
        Uri("urn", "a b"),
        Uri("sip", "\ud800", None, "h"),
    ],
)
def test_a_uri_that_no_escape_can_carry_is_not_written(uri: Uri) -> None:
    with pytest.raises(ValueError, match=r"^not a|surrogates"):
        str(uri)


@settings(deadline=None)
@given(st.text("0123456789+*#;@<>?%&=\"'\\ \r\n\0\u2028٣:[]aé", min_size=1, max_size=30))
def test_a_dialled_number_cannot_leave_the_user_part(dialled: str) -> None:
    text = str(Uri("sip", dialled, None, "trunk.example"))

    assert not set(text) & set('<>"\r\n\0\\ \u2028')
    assert parse_uri(text) == Uri("sip", dialled, None, "trunk.example")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("h", ("h", None)),
        ("192.0.2.1:5060", ("192.0.2.1", 5060)),
        ("[::1]", ("::1", None)),
        ("[::1]:1", ("::1", 1)),
    ],
)
def test_host_and_port(text: str, place: tuple[str, int | None]) -> None:
    assert parse_host_port(text) == place


def test_parameters_change_into_new_ones() -> None:
    parameters = Parameters([("a", "1"), ("lr", None)])

    assert parameters.replace("a", "2") == (("a", "2"), ("lr", None))
    assert parameters.replace("b", None) == (("a", "1"), ("lr", None), ("b", None))
    assert parameters.without("a") == (("lr", None),)

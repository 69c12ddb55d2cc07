"""Structured headers: what is written is read back, what breaks the grammar is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RemoteProtocolError
from gateway.sip.grammar import Quoted, check_text, parse_number
from gateway.sip.header import (
    Address,
    CSeq,
    MediaType,
    ParameterValue,
    Via,
    format_parameters,
    parse_address,
    parse_addresses,
    parse_cseq,
    parse_media_type,
    parse_tokens,
    parse_values,
    parse_via,
    parse_vias,
)
from gateway.sip.uri import NO_PARAMETERS, Parameters, Uri, parse_uri

TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0\u2028\u2029\x85"),
    max_size=20,
)
TOKENS = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=10)
VALUES = st.none() | TOKENS | TEXT.map(Quoted)
PARAMETERS = st.dictionaries(TOKENS.map(str.lower), VALUES, max_size=4).map(
    lambda found: Parameters(found.items())
)
URI = parse_uri("sip:a@example.com;lr")
SOUP = st.text('sip:a@h<>"\\;,= \t\0/2.0UDP[]*%é\u2028', max_size=60)


@settings(deadline=None)
@given(TEXT.map(lambda name: name.strip(" \t")), PARAMETERS)
def test_an_address_is_read_as_it_was_written(name: str, parameters: Parameters) -> None:
    address = Address(name, URI, parameters)

    assert parse_address(str(address)) == address


@settings(deadline=None)
@given(
    TOKENS.map(str.upper),
    st.sampled_from(["example.com", "192.0.2.1", "2001:db8::1"]),
    st.none() | st.integers(1, 65535),
    PARAMETERS,
)
def test_a_via_is_read_as_it_was_written(
    transport: str, host: str, port: int | None, parameters: Parameters
) -> None:
    via = Via(transport, host, port, parameters)

    assert parse_via(str(via)) == via


@settings(deadline=None)
@given(st.lists(st.builds(Address, TEXT.map(str.strip), st.just(URI), PARAMETERS), min_size=1))
def test_a_list_of_addresses_is_taken_apart_where_it_was_joined(addresses: list[Address]) -> None:
    assert parse_addresses(", ".join(map(str, addresses))) == tuple(addresses)


@settings(deadline=None)
@given(SOUP)
def test_any_text_is_a_value_or_the_documented_error(text: str) -> None:
    for parse in (parse_addresses, parse_vias, parse_values):
        try:
            values = parse(text)
        except RemoteProtocolError:
            continue

        assert parse(", ".join(map(str, values))) == values
        check_text(", ".join(map(str, values)))  # a peer's text never stops us from writing


@pytest.mark.parametrize(
    ("text", "name", "uri", "tag"),
    [
        ("sip:a@h;tag=1", "", "sip:a@h", "1"),
        ("<sip:a@h;x=y>;tag=1", "", "sip:a@h;x=y", "1"),
        ("caller<sip:a@h>;tag=1", "caller", "sip:a@h", "1"),
        ('"J Rosenberg \\\\\\""  <sip:a@h>  ;  tag = 98', 'J Rosenberg \\"', "sip:a@h", "98"),
        ("T. Watson\t<sip:a@h>", "T. Watson", "sip:a@h", None),
        ('"Bell, A; <x>" <sip:a@h>;tag=1', "Bell, A; <x>", "sip:a@h", "1"),
        ("Иван <sip:a@h>", "Иван", "sip:a@h", None),
        ("<tel:+1555>;tag=a/b=@c", "", "tel:+1555", "a/b=@c"),
        ("isbn:2983792873", "", "isbn:2983792873", None),
    ],
)
def test_addresses_as_they_are_seen(text: str, name: str, uri: str, tag: str | None) -> None:
    address = parse_address(text)

    assert (address.display_name, str(address.uri), address.tag) == (name, uri, tag)


def test_a_quoted_comma_separates_nothing() -> None:
    first, second = parse_addresses('"A, B" <sip:a@h>;q=0.5 , "C" <sip:c@h>;x=","')

    assert (first.display_name, second.display_name) == ("A, B", "C")


def test_a_question_mark_outside_brackets_belongs_to_no_uri() -> None:
    with pytest.raises(RemoteProtocolError):
        parse_addresses("sip:user@example.com?Route=%3Csip:sip.example.com%3E")


@pytest.mark.rfc(4475, "3.1.1.2")
def test_a_nul_between_quotes_cannot_reach_what_we_write() -> None:
    address = parse_address('"a\\\0b" <sip:a@h>;x="\\\0"')

    assert address.display_name == "a\N{REPLACEMENT CHARACTER}b"
    assert check_text(str(address)) == str(address)


def test_a_line_separator_hidden_in_escapes_cannot_reach_what_we_write() -> None:
    hidden = b'"\xe2\\\x80\\\xa8" <sip:a@h>'.decode("utf-8", "surrogateescape")

    assert parse_address(hidden).display_name == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        '"Mr. J. User <sip:a@h>',
        "Bell, Alexander <sip:a@h>",
        "< sip:a@h >",
        "<sip:a@h",
        "sip:a@h>",
        "<sip:a@h>;",
        "<sip:a@h>;;tag=1",
        "<sip:a@h>;tag=1;tag=2",
        "<sip:a@h>;tag=",
        '<sip:a@h>;tag="1',
        "<sip:a@h> junk",
        "<sip:a@h>, <sip:b@h>",
        "*",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_address(text)


@pytest.mark.rfc(4475, "3.1.1.1")
def test_a_via_may_have_spaces_nearly_everywhere() -> None:
    first, second = parse_vias(
        "SIP  / 2.0  / TCP     spindle.example.com   ; branch  =   z9hG4bK9ikj8  ,"
        " SIP  /    2.0   / UDP  192.168.255.111 : 5061  ; branch= z9hG4bK30239"
    )

    assert first == Via(
        "TCP", "spindle.example.com", None, Parameters([("branch", "z9hG4bK9ikj8")])
    )
    assert (second.host, second.port, second.branch) == ("192.168.255.111", 5061, "z9hG4bK30239")


@pytest.mark.rfc(5118, "4.5")
@pytest.mark.parametrize("received", ["[2001:db8::9:255]", "2001:db8::9:255"])
def test_received_may_have_brackets_or_not(received: str) -> None:
    via = parse_via(f"SIP/2.0/UDP [2001:db8::9:1];received={received};branch=z9hG4bKas3-111")

    assert (via.host, via.received) == ("2001:db8::9:1", "2001:db8::9:255")


@pytest.mark.rfc(3581, "3")
@pytest.mark.parametrize(
    ("parameter", "rport"), [("", None), (";rport", None), (";rport=9", 9), (";rport=99999", None)]
)
def test_rport_is_a_port_or_nothing(parameter: str, rport: int | None) -> None:
    assert parse_via(f"SIP/2.0/UDP h{parameter}").rport == rport


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SIP/2.0/UDP",
        "SIP/3.0/UDP h",
        "SIP/2.0/UDP h:",
        "SIP/2.0/UDP h:99999",
        "SIP/2.0/UDP [::1",
        "SIP/2.0/UDP [1.2.3.4]",
        "SIP/2.0/UDP h;;,;,,",
        "SIP/2.0/UDP h,",
        "SIP/2.0/UDP h;branch=1;branch=2",
        "\u017fIP/2.0/UDP h",
    ],
)
def test_what_is_no_via_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_vias(text)


def test_one_via_is_not_two() -> None:
    with pytest.raises(RemoteProtocolError):
        parse_via("SIP/2.0/UDP a, SIP/2.0/UDP b")


def test_quotes_are_kept_where_they_came() -> None:
    text = '<sip:a@h>;+sip.instance="<urn:uuid:1>";text="OK";q=0.5;ob'

    assert str(parse_address(text)) == text


def test_a_parameter_that_needs_quotes_gets_them() -> None:
    assert format_parameters(Parameters([("text", 'a "b"')])) == ';text="a \\"b\\""'


def test_a_parameter_name_must_be_a_token() -> None:
    with pytest.raises(ValueError, match="parameter name"):
        format_parameters(Parameters([("a b", None)]))


def test_a_tag_is_set_in_place() -> None:
    assert str(Address("", URI).with_tag("1").with_tag("2")) == "<sip:a@example.com;lr>;tag=2"


@pytest.mark.parametrize("text", ["0009   INVITE", "9\tINVITE"])
def test_a_cseq_is_a_number_and_a_method(text: str) -> None:
    assert parse_cseq(text) == CSeq(9, "INVITE")


def test_a_cseq_is_written_with_one_space() -> None:
    assert str(CSeq(9, "INVITE")) == "9 INVITE"


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "INVITE", "1 INVITE x", "-1 INVITE", "+1 INVITE", "1.0 INVITE", "٣ INVITE"),
        *("2147483648 INVITE", "36893488147419103232 REGISTER", "9" * 5000 + " INVITE", "1 A@B"),
    ],
)
def test_what_is_no_cseq_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_cseq(text)


def test_a_media_type_is_compared_without_case() -> None:
    media_type = parse_media_type('Application / SDP ; charset="utf-8"')

    assert media_type == MediaType("application", "sdp", Parameters([("charset", "utf-8")]))
    assert media_type.name == "application/sdp"
    assert str(media_type) == 'application/sdp;charset="utf-8"'


@pytest.mark.parametrize("text", ["", "sdp", "a/", "/b", "a/b;", "a/b, c/d", "a/b/c"])
def test_what_is_no_media_type_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_media_type(text)


@pytest.mark.rfc(3326, "2")
def test_reasons_are_values_with_parameters() -> None:
    reasons = parse_values('SIP ;cause=200 ;text="Call completed elsewhere", Q.850;cause=16')

    assert [reason.value for reason in reasons] == ["SIP", "Q.850"]
    assert reasons[0].parameters.get("text") == "Call completed elsewhere"
    assert str(reasons[1]) == "Q.850;cause=16"
    assert ParameterValue("100") == ParameterValue("100", NO_PARAMETERS)


def test_empty_items_of_a_token_list_are_left_out() -> None:
    assert parse_tokens(" timer, ,100rel,") == ("timer", "100rel")
    assert parse_tokens("") == ()


def test_a_token_list_holds_tokens_only() -> None:
    with pytest.raises(RemoteProtocolError):
        parse_tokens("timer, a b")


@pytest.mark.parametrize("text", ["", "+5", "-5", " 5", "5 ", "0x5", "5, 9", "٣", "²", "1_0"])
def test_only_digits_are_a_number(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_number(text)


def test_leading_zeros_are_no_size() -> None:
    assert parse_number("0" * 5000 + "68", 255) == 68


def test_a_host_is_checked_when_a_via_is_written() -> None:
    with pytest.raises(ValueError, match="host"):
        str(Via("UDP", "a b"))


def test_an_address_with_a_bad_uri_is_not_written() -> None:
    with pytest.raises(ValueError, match="host"):
        str(Address("x", Uri("sip", "u", None, "h>;x")))

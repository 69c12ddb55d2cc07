"""Telephone numbers as trunks write them, and what they mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RoutingError
from gateway.sip.uri import parse_uri
from gateway.trunk.numbers import (
    NumberFormat,
    NumberOptions,
    NumberUri,
    called_of,
    caller_of,
    caller_uri,
    check_prefix,
    is_e164,
    number_of,
    number_uri,
    read_dialled,
    read_received,
    write_called,
    write_caller,
)

GERMANY = NumberOptions(NumberFormat.E164, country_code="49", national_prefix="0")
AMERICA = NumberOptions(
    NumberFormat.E164, country_code="1", national_prefix="1", international_prefix="011"
)
ITALY = NumberOptions(NumberFormat.E164, country_code="39", national_prefix="")
FORMATS = list(NumberFormat)


@pytest.mark.parametrize(
    ("options", "dialled", "meant"),
    [
        (GERMANY, "+4930123456", "+4930123456"),
        (GERMANY, "030123456", "+4930123456"),
        (GERMANY, "00442079460000", "+442079460000"),
        (GERMANY, "4930123456", "4930123456"),
        (GERMANY, "112", "112"),
        (GERMANY, "0301", "0301"),
        (GERMANY, "echo", "echo"),
        (AMERICA, "12125550100", "+12125550100"),
        (AMERICA, "2125550100", "+12125550100"),
        (AMERICA, "01144207946000", "+44207946000"),
        (AMERICA, "5550100", "5550100"),
        (AMERICA, "0125550100", "0125550100"),
        (ITALY, "0612345678", "+390612345678"),
        (ITALY, "00442079460000", "+442079460000"),
        (NumberOptions(), "030123456", "030123456"),
        (NumberOptions(), "00442079460000", "+442079460000"),
        (replace(GERMANY, strip_prefix="9"), "9030123456", "+4930123456"),
        (replace(GERMANY, strip_prefix="9"), "9", "9"),
    ],
)
def test_what_is_dialled_is_read_by_the_country_of_the_trunk(
    options: NumberOptions, dialled: str, meant: str
) -> None:
    assert read_dialled(dialled, options) == meant


@pytest.mark.parametrize(
    ("form", "at_home", "abroad"),
    [
        (NumberFormat.E164, "+4930123456", "+442079460000"),
        (NumberFormat.PLAIN, "4930123456", "442079460000"),
        (NumberFormat.INTERNATIONAL, "004930123456", "00442079460000"),
        (NumberFormat.NATIONAL, "030123456", "00442079460000"),
    ],
)
def test_each_format_writes_numbers_and_reads_them_back(
    form: NumberFormat, at_home: str, abroad: str
) -> None:
    options = replace(GERMANY, format=form)

    assert write_called("030123456", options) == at_home
    assert write_called("+442079460000", options) == abroad
    assert read_received(at_home, options) == "+4930123456"
    assert read_received(abroad, options) == "+442079460000"


def test_unchanged_leaves_what_was_dialled() -> None:
    options = replace(GERMANY, format=NumberFormat.UNCHANGED)

    for dialled in ("030123456", "+4930123456", "101", "echo", "team-a.b~c_d"):
        assert write_called(dialled, options) == dialled


@pytest.mark.parametrize("form", [form for form in FORMATS if form is not NumberFormat.UNCHANGED])
@pytest.mark.parametrize(
    "dialled", ["echo", "123456789", "+0123456789", "+123", "+1234567890123456", "a1"]
)
def test_a_trunk_of_telephone_numbers_takes_nothing_else(form: NumberFormat, dialled: str) -> None:
    with pytest.raises(RoutingError, match="dial \\+ and the country code") as caught:
        write_called(dialled, NumberOptions(form))

    assert caught.value.status == 404
    assert dialled not in str(caught.value)


@pytest.mark.parametrize("form", FORMATS)
def test_short_codes_and_extensions_have_no_country(form: NumberFormat) -> None:
    assert write_called("411", replace(AMERICA, format=form)) == "411"


def test_a_tech_prefix_goes_out_before_the_number_and_is_taken_off_what_comes() -> None:
    options = replace(GERMANY, format=NumberFormat.PLAIN, tech_prefix="77#")

    assert write_called("+4930123456", options) == "77#4930123456"
    assert read_received("77#4930123456", options) == "+4930123456"
    assert read_received("4930123456", options) == "+4930123456"
    assert read_received("77#", options) == "77#"


def test_a_caller_is_written_like_the_called_party_but_without_prefixes() -> None:
    options = replace(GERMANY, format=NumberFormat.NATIONAL, tech_prefix="77#")

    assert write_caller("+4930123456", options) == "030123456"
    assert write_caller("acme", options) == "acme"
    assert write_caller("4930123456", options) == "4930123456"


@pytest.mark.parametrize(
    ("kind", "number", "written"),
    [
        (NumberUri.SIP, "+4930123456", "sip:+4930123456@carrier.example:5080"),
        (NumberUri.PHONE, "+4930123456", "sip:+4930123456@carrier.example:5080;user=phone"),
        (NumberUri.PHONE, "echo", "sip:echo@carrier.example:5080"),
        (NumberUri.TEL, "+4930123456", "tel:+4930123456"),
        (NumberUri.TEL, "112", "sip:112@carrier.example:5080;user=phone"),
    ],
)
def test_the_uri_of_a_number(kind: NumberUri, number: str, written: str) -> None:
    options = replace(GERMANY, uri=kind)

    assert str(number_uri(number, options, "carrier.example", 5080)) == written
    assert "tel:" not in str(caller_uri(number, options, "gateway.example"))


@pytest.mark.parametrize(
    ("uri", "number"),
    [
        ("sip:+4930123456@host", "+4930123456"),
        ("sip:%2B4930123456@host", "+4930123456"),
        ("tel:+49-30-(12)34.56", "+4930123456"),
        ("tel:030-123456;phone-context=+49", "030123456"),
        ("sip:+12125550100;npdi;rn=+12125550199@host;user=phone", "+12125550100"),
        ("sip:+12125550100;npdi@host", "+12125550100;npdi"),
        ("sip:team-a@host;user=phone", "team-a"),
        ("sip:host", ""),
    ],
)
def test_the_number_of_a_uri(uri: str, number: str) -> None:
    assert number_of(parse_uri(uri)) == number


def test_what_a_trunk_calls_is_e164_before_the_routes_see_it() -> None:
    for uri in ("sip:030123456@us", "tel:+49-30-123456", "sip:+4930123456;npdi@us;user=phone"):
        assert called_of(parse_uri(uri), GERMANY) == "+4930123456"
    assert called_of(parse_uri("sip:a;b@us"), GERMANY) == "a;b"


@pytest.mark.parametrize(
    "uri",
    ["sip:anonymous@host", "sip:+1555@anonymous.invalid", "sip:Restricted@h", "sip:a%20b@h",
     "sip:%D9%A3@h", "sip:1;x@h", "sip:h", "tel:*31"],
)  # fmt: skip
def test_nobody_calls_from_what_is_no_number(uri: str) -> None:
    assert caller_of(parse_uri(uri), NumberOptions()).value == ""


@pytest.mark.parametrize("text", ["+", "1-2", "٣", "1" * 17, "a"])
def test_a_prefix_has_digits(text: str) -> None:
    with pytest.raises(ValueError, match="write up to 16 digits"):
        check_prefix(text)


@given(
    st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True),
    st.sampled_from([form for form in FORMATS if form is not NumberFormat.NATIONAL]),
    st.sampled_from([GERMANY, AMERICA, ITALY]),
)
def test_what_is_e164_comes_back_from_every_format(
    number: str, form: NumberFormat, country: NumberOptions
) -> None:
    options = replace(country, format=form)

    assert read_received(write_called(number, options), options) == number


@given(st.text(max_size=40), st.sampled_from(FORMATS), st.sampled_from([GERMANY, AMERICA, ITALY]))
def test_reading_never_makes_a_number_of_what_is_none(
    text: str, form: NumberFormat, country: NumberOptions
) -> None:
    options = replace(country, format=form)

    for read in (read_received(text, options), read_dialled(text, options)):
        assert read == text or is_e164(read)

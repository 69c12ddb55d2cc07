"""Headers of the users' own: by permission, never the stack's."""

from __future__ import annotations

import pytest

from gateway.errors import RoutingError
from gateway.sip.field import Headers
from gateway.sip.invite_client import STRUCTURAL
from gateway.trunk.headers import (
    MAX_HEADERS,
    MAX_VALUE_CHARACTERS,
    PRIVILEGED,
    HeaderOptions,
    check_attributes,
    check_name,
    check_name_pattern,
    give_headers,
    take_attributes,
)
from tests.trunk.wire import make_trunk, send_invite

BREAKS = ["\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "a\u2028b", "a\u2029b", "a\u0085b", "a\x0bb"]


def take(patterns: tuple[str, ...], *headers: tuple[str, str]) -> dict[str, str]:
    return take_attributes(Headers(headers), HeaderOptions(taken=patterns))


def give(patterns: tuple[str, ...], attributes: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return give_headers(attributes, HeaderOptions(given=patterns))


def test_only_what_is_allowed_is_taken() -> None:
    headers = [("X-Account", "42"), ("x-other", "1"), ("User-to-User", "aa;encoding=hex")]

    assert take(("X-Acc*", "user-to-user"), *headers) == {
        "x-account": "42",
        "user-to-user": "aa;encoding=hex",
    }
    assert take((), *headers) == {}


def test_only_what_is_allowed_is_given() -> None:
    attributes = {"X-Account": "42", "x-other": "1"}

    assert give(("X-Account",), attributes) == (("X-Account", "42"),)
    assert give(("x-*",), attributes) == (("X-Account", "42"), ("x-other", "1"))
    assert give((), attributes) == ()


def test_a_fixed_header_is_not_overruled_by_a_call() -> None:
    options = HeaderOptions(given=("X-*",), fixed=(("X-Account", "42"),))

    assert give_headers({"x-account": "1", "X-B": "2"}, options) == (
        ("X-Account", "42"),
        ("X-B", "2"),
    )


@pytest.mark.parametrize("name", sorted(STRUCTURAL | PRIVILEGED))
def test_a14_no_header_of_the_stack_or_of_identity_is_taken_or_given(name: str) -> None:
    everything = tuple(f"{letter}*" for letter in "abcdefghijklmnopqrstuvwxyz")

    if name != "content-length":
        assert take(everything, (name.title(), "evil")) == {}
    with pytest.raises(RoutingError) as caught:
        give(everything, {name: "evil"})
    assert caught.value.status == 400


@pytest.mark.parametrize("name", ["v", "f", "t", "i", "m", "l", "c", "k", "r", "x", "y"])
def test_a16_a_compact_name_is_the_long_one(name: str) -> None:
    with pytest.raises(ValueError, match="written by the gateway alone"):
        check_name(name)


@pytest.mark.parametrize("code", range(256))
def test_a16_no_byte_in_a_name_lets_a_privileged_header_by(code: int) -> None:
    byte = chr(code)
    for name in (f"P-Asserted-Identity{byte}", f"{byte}Identity", f"X-Tenant{byte}"):
        try:
            given = give(("*", "P-*", "X-*", "Id*", f"{byte}*"), {name: "evil"})
        except RoutingError:
            continue
        assert not any(key.lower().strip() in PRIVILEGED for key, _ in given)
        assert all(byte.isascii() and (byte.isalnum() or byte in "-.!%*_+`'~") for _ in given)


@pytest.mark.parametrize("value", BREAKS)
def test_a15_a_value_with_a_line_break_is_refused_and_never_repaired(value: str) -> None:
    with pytest.raises(ValueError, match=r"line break|printable"):
        check_attributes({"X-A": value})
    with pytest.raises(RoutingError, match="headers: "):
        send_invite(
            make_trunk(headers=HeaderOptions(given=("X-*",))), "+15550100",
            attributes={"X-A": value},
        )  # fmt: skip


def test_a15_what_a_peer_sends_and_json_cannot_take_is_not_taken() -> None:
    raw = Headers.trusted(
        [("x-a", "X-A", "a\x0bb"), ("x-b", "X-B", "a\udcffb"), ("x-c", "X-C", "c")]
    )

    assert take_attributes(raw, HeaderOptions(taken=("X-*",))) == {"x-c": "c"}


def test_a16_a_header_given_twice_is_one_list() -> None:
    assert take(("X-*",), ("X-A", "1"), ("x-a", "2")) == {"x-a": "1, 2"}
    with pytest.raises(ValueError, match="given twice"):
        check_attributes({"X-A": "1", "x-a": "2"})


def test_a_call_has_so_many_headers_and_no_longer_ones() -> None:
    many = {f"X-{number}": "1" for number in range(MAX_HEADERS + 1)}
    long = "a" * (MAX_VALUE_CHARACTERS + 1)

    assert len(take(("X-*",), *many.items(), ("X-0", "2"))) == MAX_HEADERS
    assert take(("X-*",), ("X-A", long), ("X-B", "1")) == {"x-b": "1"}
    for attributes in (many, {"X-A": long}, {"X-" + long: "1"}):
        with pytest.raises(ValueError, match="header"):
            check_attributes(attributes)


@pytest.mark.parametrize("pattern", ["", "*", "X-**", "X-*-A", "X A", "X:*", "é*", "Via", "f"])
def test_a_pattern_that_names_everything_or_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"write|is written by the gateway alone"):
        check_name_pattern(pattern)


@pytest.mark.parametrize("pattern", ["X-*", "x-account", "User-to-User", "P-*"])
def test_a_pattern_is_a_name_or_how_names_begin(pattern: str) -> None:
    check_name_pattern(pattern)

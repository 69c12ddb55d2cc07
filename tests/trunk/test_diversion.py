"""Forwardings, in the words of RFC 5806 and of RFC 7044."""

from __future__ import annotations

import pytest

from gateway.private import Private
from gateway.sip.field import Headers
from gateway.sip.uri import Uri, parse_uri
from gateway.trunk.diversion import (
    MAX_DIVERSIONS,
    Diversion,
    DiversionStyle,
    read_diversions,
    write_diversions,
)
from gateway.trunk.numbers import NumberOptions

TARGET = parse_uri("sip:+49305@carrier.example")
ANN = Diversion(Private("+49301"), "user-busy")
BOB = Diversion(Private("+49302"), "no-answer", counter=2)
EVE = Diversion(Private("+49303"), "unconditional", is_private=True)
HIDDEN = Diversion(Private(""), "unconditional", is_private=True)


def uri_of(number: str) -> Uri:
    return Uri("sip", number, host="gateway.example")


def write(style: DiversionStyle, *latest_first: Diversion) -> list[str]:
    """The values of the headers, which are of one name."""
    headers = write_diversions(latest_first, style, TARGET, uri_of)
    assert len({name for name, _ in headers}) <= 1
    return [value for name, value in headers]


def read(*headers: tuple[str, str]) -> tuple[Diversion, ...]:
    return read_diversions(Headers(headers), NumberOptions())


def test_diversion_has_the_latest_first() -> None:
    assert write(DiversionStyle.DIVERSION, BOB, ANN) == [
        "<sip:+49302@gateway.example>;reason=no-answer;counter=2;privacy=off",
        "<sip:+49301@gateway.example>;reason=user-busy;counter=1;privacy=off",
    ]


def test_history_info_has_the_oldest_first_and_the_target_last() -> None:
    assert write(DiversionStyle.HISTORY_INFO, BOB, ANN) == [
        "<sip:+49301@gateway.example>;index=1",
        "<sip:+49302@gateway.example;cause=486>;index=1.1;mp=1",
        "<sip:+49305@carrier.example;cause=408>;index=1.1.1;mp=1.1",
    ]


@pytest.mark.parametrize("style", [DiversionStyle.DIVERSION, DiversionStyle.HISTORY_INFO])
def test_who_asked_not_to_be_shown_is_not(style: DiversionStyle) -> None:
    written = write(style, EVE)

    assert "+49303" not in "".join(written)
    assert written[0].startswith("<sip:anonymous@anonymous.invalid>")


@pytest.mark.parametrize(
    ("style", "name"),
    [(DiversionStyle.DIVERSION, "Diversion"), (DiversionStyle.HISTORY_INFO, "History-Info")],
)
def test_what_is_written_is_read_back(style: DiversionStyle, name: str) -> None:
    bob = Diversion(BOB.number, BOB.reason)

    found = read(*((name, value) for value in write(style, bob, EVE, ANN)))

    assert found == (bob, HIDDEN, ANN)


def test_several_in_one_field_and_bad_values_are_read() -> None:
    value = "<sip:+49301@x>;reason=USER-BUSY;counter=0, <tel:+49302>;reason=dunno;counter=x"

    assert read(("Diversion", value)) == (ANN, Diversion(Private("+49302")))


def test_privacy_inside_history_info_is_heeded() -> None:
    value = "<sip:+49303@x?Privacy=history>;index=1, <sip:+49305@x;cause=302>;index=1.1"

    assert read(("History-Info", value)) == (
        Diversion(Private("+49303"), "unconditional", is_private=True),
    )
    value = "<sip:+49301@x>;index=1, <sip:+49305@x;cause=486>;index=1.1;mp=1"
    (found,) = read(("History-Info", value), ("Privacy", "history"))
    assert found.is_private


def test_a_history_without_a_forwarding_is_none() -> None:
    value = "<sip:+49301@x>;index=1, <sip:+49305@y>;index=1.1;rc=1"

    assert read(("History-Info", value)) == ()


def test_a_call_forwarded_without_end_is_told_of_five_times() -> None:
    many = [("Diversion", "<sip:+49301@x>;reason=user-busy")] * 40

    assert len(read(*many)) == MAX_DIVERSIONS
    assert len(write(DiversionStyle.DIVERSION, *[ANN] * 40)) == MAX_DIVERSIONS


def test_nothing_is_written_of_nothing() -> None:
    for style in DiversionStyle:
        assert write(style) == []
    assert write(DiversionStyle.OFF, ANN) == []

"""Strings of keys with pauses, alone and behind a number."""

from __future__ import annotations

import pytest

from gateway.rtp.dial_string import MAX_KEYS, parse_dial_string, split_dialled


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", ()),
        ("1w2#", ("1", 0.5, "2", "#")),
        (",,123#", (2.0, 2.0, "1", "2", "3", "#")),
        ("p*;D", (1.0, "*", 2.0, "D")),
    ],
)
def test_keys_and_pauses_are_read_in_order(text: str, steps: tuple[str | float, ...]) -> None:
    assert parse_dial_string(text) == steps


@pytest.mark.parametrize("text", ["x", "1 2", "1-2", "d", "\u0665", "1\r\n", "1" * (MAX_KEYS + 1)])
def test_anything_else_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"no key|too many") as refused:
        parse_dial_string(text)

    assert text not in str(refused.value) or len(text) == 1


@pytest.mark.parametrize(
    ("dialled", "number", "digits"),
    [
        ("+15550100,,123#", "+15550100", ",,123#"),
        ("15550100;9", "15550100", ";9"),
        ("+15550100p22", "+15550100", "p22"),
        ("5550100w1", "5550100", "w1"),
        ("5550100w1,2", "5550100", "w1,2"),
        ("+15550100", "+15550100", ""),
        ("bob,12", "bob", ",12"),
        ("wpbob", "wpbob", ""),
        ("pop", "pop", ""),
        ("agent:echo", "agent:echo", ""),
        ("7up", "7up", ""),
        (",1", "", ",1"),
    ],
)
def test_dial_string_is_parted_from_what_is_called(dialled: str, number: str, digits: str) -> None:
    assert split_dialled(dialled) == (number, digits)

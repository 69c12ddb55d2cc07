"""Attributes of session descriptions: what the values of a= lines mean.

A reader makes a value of an attribute's text, or None where it makes no sense; such an attribute
then has no effect, as RFC 8866 §5.13 asks for unknown ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.sdp.grammar import (
    MAX_NUMBER,
    Attribute,
    is_token,
    is_word,
    parse_number,
    split_words,
)

MAX_REPEATED = 50
"Values of one repeated attribute: further candidates, each an address to be asked, are ignored."

PTIME_MS = range(10, 61)
"Packet durations that we and jitter buffers deal with; a peer's wish is clamped to it (A28)."

SETUP_ROLES = ("active", "passive", "actpass", "holdconn")
"Who opens the connection (RFC 4145 §4)."

REPEATED = frozenset({"candidates", "crypto", "fingerprints"})
"Fields that collect every line of their attribute."

Reader = tuple[str, Callable[[str], Any]]
"A field of MediaDescription, and what makes its value of an attribute's; None: no sense in it."


def understand(
    attributes: list[Attribute], readers: dict[str, Reader]
) -> tuple[dict[str, Any], list[Attribute]]:
    """The fields that attributes fill in, and the attributes that fill in none.

    The first that makes sense counts; those that may repeat make a tuple.
    """
    found: dict[str, Any] = {}
    rest: list[Attribute] = []
    for name, text in attributes:
        slot, read = readers.get(name, ("", read_nothing))
        value = read("" if text is None else text)
        if value is None or (slot in found and slot not in REPEATED):
            rest.append((name, text))
        elif slot not in REPEATED:
            found[slot] = value
        elif len(earlier := found.get(slot, ())) < MAX_REPEATED:
            found[slot] = (*earlier, value)
    return found, rest


def read_nothing(text: str) -> None:
    return None


def read_flag(text: str) -> bool | None:
    return None if text else True


def read_word(text: str) -> str | None:
    return text if is_word(text) else None


def read_token(text: str) -> str | None:
    return text if is_word(text) and is_token(text) else None


def read_tokens(text: str) -> tuple[str, ...] | None:
    words = tuple(split_words(text))
    return words if words and all(map(is_word, words)) else None


def read_milliseconds(text: str) -> int | None:
    """RFC 8866 §6.4 allows decimals; clamped to what can be dealt with (A28)."""
    number = parse_number(text.partition(".")[0], MAX_NUMBER)
    return None if number is None else min(max(number, PTIME_MS[0]), PTIME_MS[-1])


def read_rtcp_port(text: str) -> int | None:
    """The port; an address that follows it (RFC 3605) is not used: RTCP goes where RTP goes."""
    number = parse_number(text.partition(" ")[0], 65535)
    return number or None


def read_setup(text: str) -> str | None:
    return text.lower() if text.lower() in SETUP_ROLES else None


def read_candidate(text: str) -> str | None:
    return f"candidate:{text}" if text else None


def read_text(text: str) -> str | None:
    return text or None

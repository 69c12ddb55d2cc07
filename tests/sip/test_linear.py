"""Reading takes work in proportion to the bytes: by construction, and counted."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType, ModuleType
from typing import Any

import pytest

from gateway.errors import RemoteProtocolError
from gateway.sip import auth, field, framing, grammar, header, message, uri, view
from gateway.sip.auth import parse_challenges
from gateway.sip.message import parse_message
from tests.sip.samples import request_bytes


def patterns() -> Iterator[re.Pattern[str]]:
    """Every compiled pattern of the codec."""
    modules: list[ModuleType] = [auth, field, framing, grammar, header, message, uri, view]
    for module in modules:
        yield from (each for each in vars(module).values() if isinstance(each, re.Pattern))


def repeats(tree: Any, *, in_atomic_group: bool = False) -> Iterator[str]:
    """The repetitions of a parsed pattern that could be taken back."""
    for operation, value in tree:
        name = str(operation)
        # Python 3.11.2 and its kin cannot match `(?:…)?+` empty: there an atomic group holds it.
        is_held = name == "MAX_REPEAT" and value[:2] == (0, 1) and in_atomic_group
        if name in ("MAX_REPEAT", "MIN_REPEAT") and not is_held:
            yield name
        for part in value if isinstance(value, tuple) else (value,):
            if hasattr(part, "data"):
                alone = name == "ATOMIC_GROUP" and len(part) == 1
                yield from repeats(part, in_atomic_group=alone)
            elif isinstance(part, list) and all(hasattr(each, "data") for each in part):
                for branch in part:
                    yield from repeats(branch)


def test_no_pattern_of_the_codec_can_backtrack() -> None:
    parser = importlib.import_module("re._parser")
    seen = list(patterns())

    for pattern in seen:
        assert list(repeats(parser.parse(pattern.pattern, pattern.flags))) == [], pattern
    assert list(repeats(parser.parse("(a*)(?>b?c?)(?:d+|e)"))) == ["MAX_REPEAT"] * 4
    assert len(seen) >= 10


def count_calls(act: Callable[[], object]) -> int:
    """How many functions run, of Python and of C."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        with suppress(RemoteProtocolError):
            act()
    finally:
        sys.setprofile(before)
    return calls


LONG: dict[str, Callable[[int], tuple[str, str]]] = {
    "vias": lambda n: ("Via", ", ".join(["SIP/2.0/UDP h;a;b=1"] * n)),
    "commas": lambda n: ("Contact", "," * n),
    "quotes": lambda n: ("Contact", '"' * n),
    "open quote": lambda n: ("Contact", '"' + '\\"' * n),
    "escapes": lambda n: ("From", '"' + "\\a" * n + '" <sip:a@h>'),
    "brackets": lambda n: ("Contact", "<" * n),
    "parameters": lambda n: ("From", "<sip:a@h>" + "".join(f";a{i}" for i in range(n))),
    "open values": lambda n: ("From", "<sip:a@h>" + ';a="' * n),
    "spaces": lambda n: ("From", "<sip:a@h>" + " " * n + "x"),
    "uri escapes": lambda n: ("From", "<sip:" + "%41" * n + "@h>"),
    "uri parameters": lambda n: ("From", "<sip:h" + "".join(f";a{i}" for i in range(n)) + ">"),
    "uri colons": lambda n: ("From", "<sip:" + ":" * n + ">"),
    "uri ats": lambda n: ("From", "<sip:" + "a@" * n + ">"),
    "folds": lambda n: ("Subject", "\r\n x" * n),
    "digits": lambda n: ("CSeq", "9" * n + " INVITE"),
    "headers": lambda n: ("Subject", "x\r\nX:" * n),
}


@pytest.mark.parametrize("kind", LONG)
def test_twice_the_bytes_is_at_most_twice_the_work(kind: str) -> None:
    def work(count: int) -> int:
        name, value = LONG[kind](count)
        lines = request_bytes().decode().split("\r\n")[:-2]
        others = [line for line in lines if not line.startswith(f"{name}:")]
        data = "\r\n".join([*others, f"{name}: {value}", "", ""]).encode()
        return count_calls(lambda: parse_message(data))

    once, twice = work(100), work(200)

    assert twice <= 2 * once + 10


CHALLENGES: dict[str, Callable[[int], str]] = {
    "parameters": lambda n: "Digest " + ", ".join(f'a{i}="x"' for i in range(n)),
    "schemes": lambda n: "Negotiate, " * n,
    "commas": lambda n: "Digest " + "," * n,
    "open quotes": lambda n: 'Digest a="' * n,
    "escapes": lambda n: 'Digest realm="' + '\\"' * n,
    "doubled": lambda n: "Digest " + 'a="b", ' * n + "!",
}


@pytest.mark.parametrize("kind", CHALLENGES)
def test_twice_the_challenge_is_at_most_twice_the_work(kind: str) -> None:
    once, twice = (
        count_calls(lambda count=count: parse_challenges([CHALLENGES[kind](count)]))  # type: ignore[misc]
        for count in (500, 1000)
    )

    assert twice <= 2 * once + 10

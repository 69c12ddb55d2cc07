"""Whatever an agent sends, no protocol raises, and what it wishes is of the kinds there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.agents import wire
from gateway.agents.protocol import WireProtocol, Wish
from gateway.agents.protocols import find_wire, wire_names
from tests.agents.wire.facts import FACTS, Queue

WORDS = sorted(
    {
        word
        for file in Path(wire.__path__[0]).glob("*.py")
        for word in re.findall(r'"([a-zA-Z_.:]{2,60})"', file.read_text(encoding="utf-8"))
    }
)
"Whatever stands in quotes in the protocols: names of messages and keys among it."

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([*WORDS, "AAAA", "8000", "audio/l16;rate=16000"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=6)
NAMED = st.builds(
    lambda key, name, rest: {**rest, key: name},
    st.sampled_from(["type", "event", "command", "action"]),
    st.sampled_from(WORDS),
    OBJECTS,
)
MESSAGES: st.SearchStrategy[str | bytes] = (
    st.binary(max_size=64) | st.text(max_size=64) | (OBJECTS | NAMED).map(json.dumps)
)


def opened(name: str) -> WireProtocol:
    module: Any = find_wire(name)
    protocol: WireProtocol = module.make(module.Settings())
    list(protocol.open(FACTS, Queue()))
    return protocol


@pytest.mark.parametrize("name", wire_names())
@settings(max_examples=60, deadline=None)
@given(messages=st.lists(MESSAGES, max_size=6))
def test_no_message_breaks_a_protocol(name: str, messages: list[str | bytes]) -> None:
    protocol = opened(name)

    wishes = [wish for message in messages for wish in protocol.receive(message)]

    assert all(isinstance(wish, get_args(Wish)) for wish in wishes)

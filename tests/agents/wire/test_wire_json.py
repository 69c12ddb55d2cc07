from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agents.protocol import Note, WireModule, Wish
from gateway.agents.wire import exotel, plivo, telnyx, twilio
from gateway.agents.wire_json import (
    MAX_LESSONS,
    MAX_NAME_CHARS,
    MAX_TEXT_CHARS,
    PayloadReader,
    read_name,
    read_object,
    read_part,
)
from tests.agents.wire.facts import FACTS, Queue


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "null",
        '"media"',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":1} 2',
        "\ufeff{}",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"a":' + "9" * 10_000 + "}",
        '{"a":"' + "a" * MAX_TEXT_CHARS + '"}',
    ],
    ids=range(13),
)
def test_what_is_no_json_object_is_none(text: str) -> None:
    assert read_object(text) is None


def test_a_name_is_a_text_of_bounded_length() -> None:
    assert read_name({"name": "m1"}) == "m1"
    assert read_name({"name": "n" * MAX_NAME_CHARS}) != ""
    assert read_name({"name": "n" * (MAX_NAME_CHARS + 1)}) == ""
    assert read_name({"name": 7}) == read_name({}) == ""
    assert read_part({"mark": [1]}, "mark") == {}


def test_a_message_like_one_before_is_read_without_parsing() -> None:
    reader = PayloadReader()
    reader.learn('{"event": "media", "media": {"payload": "AAAA"}}', "AAAA")

    same = reader.read('{"event": "media", "media": {"payload": "AAEC"}}')

    assert same == b"\x00\x01\x02"


@pytest.mark.parametrize(
    "text",
    [
        '{"event": "media", "media": {"payload": ""}}',
        '{"event": "media", "media": {"payload": "AA"}}',
        '{"event": "media", "media": {"payload": "A\\u0041AA"}}',
        '{"event": "media", "media": {"payload": "AA", "payload": "AAEC"}}',
        '{"event": "media", "media": {"payload":  "AAEC"}}',
        '{"event": "media", "media": {"payload": "',
    ],
)
def test_what_differs_in_more_than_its_payload_is_parsed(text: str) -> None:
    reader = PayloadReader()
    reader.learn('{"event": "media", "media": {"payload": "AAAA"}}', "AAAA")

    assert reader.read(text) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"streamSid":"AAAA","event":"media","media":{"payload":"AAAA"}}',
        '{"streamSid":"AAAA","event":"media","media":{"payload":"\\u0041AAA"}}',
        '{"AAAA":1,"event":"media","media":{"payload":"AAAA"}}',
    ],
)
def test_nothing_is_learned_where_it_is_not_certain_what_is_the_payload(text: str) -> None:
    reader = PayloadReader()

    reader.learn(text, "AAAA")

    assert reader.read(text) is None


def test_a_peer_with_another_template_each_time_is_not_studied_for_ever() -> None:
    reader = PayloadReader()
    for number in range(MAX_LESSONS):
        reader.learn(f'{{"n":{number},"payload":"AAAA"}}', "AAAA")

    reader.learn('{"n":"last","payload":"AAAA"}', "AAAA")

    assert reader.read('{"n":"last","payload":"AAAA"}') is None


_PIECES = st.sampled_from(
    [
        "media",
        "playAudio",
        "mark",
        "clear",
        "payload",
        "AAAA",
        "AAEC",
        "AA==",
        "AB",
        "",
        "MZ1",
        "chunk",
        "1",
        "audio/x-mulaw",
    ]
)
_KEYS = st.sampled_from(["event", "media", "payload", "streamSid", "mark", "name", "AAAA", "chunk"])
_VALUES = st.recursive(
    _PIECES | st.integers(0, 9) | st.none(),
    lambda inner: st.dictionaries(_KEYS, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=6,
)


def _media(event: str, payload: str, **more: object) -> dict[str, object]:
    return {"event": event, "streamSid": "MZ1", "media": {"payload": payload, **more}}


_MEDIA = st.builds(
    _media,
    st.sampled_from(["media", "playAudio"]),
    st.binary(max_size=6).map(lambda audio: b64encode(audio).decode()) | _PIECES,
)
_TEXTS = st.builds(
    lambda value, spaced: json.dumps(value, separators=None if spaced else (",", ":")),
    _MEDIA | _MEDIA | st.dictionaries(_KEYS, _VALUES, max_size=4),
    st.booleans(),
) | st.text(max_size=20)


@pytest.mark.parametrize("wire", [twilio, telnyx, exotel, plivo])
@given(texts=st.lists(_TEXTS, max_size=8))
def test_reading_by_template_gives_what_parsing_gives(wire: WireModule, texts: list[str]) -> None:
    learned = wire.make(wire.Settings())
    learned.open(FACTS, Queue())

    for text in texts:
        fresh = wire.make(wire.Settings())
        fresh.open(FACTS, Queue())
        assert _meant(learned.receive(text)) == _meant(fresh.receive(text))


def _meant(wishes: Iterable[Wish]) -> list[Wish]:
    """Without what is said once only, and without replies: those are numbered."""
    return [wish for wish in wishes if not isinstance(wish, Note)]


@pytest.mark.parametrize("wire", [twilio, telnyx, exotel, plivo])
@given(message=st.text() | st.binary() | _TEXTS)
def test_whatever_comes_nothing_raises(wire: WireModule, message: str | bytes) -> None:
    stream = wire.make(wire.Settings())
    stream.open(FACTS, Queue())

    list(stream.receive(message))

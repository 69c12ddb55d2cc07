from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from gateway.agents.event import DigitHeard, Interrupted
from gateway.agents.protocol import (
    AgentAddress,
    AudioFormat,
    Clear,
    Mark,
    Message,
    Say,
    Wrong,
)
from gateway.agents.wire import vonage
from gateway.agents.wire.vonage import Settings, VonageSocket
from gateway.agents.wire_json import MAX_NAME_CHARS
from gateway.media.playout import Cleared, MarkReached
from gateway.private import Secret
from tests.agents.wire.facts import FACTS, Queue


def _open(settings: Settings | None = None) -> VonageSocket:
    socket = vonage.make(settings or Settings())
    socket.open(FACTS, Queue())
    return socket


def _read(messages: Iterable[Message]) -> list[Any]:
    return [json.loads(message) for message in messages]


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
def test_the_first_message_names_the_rate_and_carries_the_headers_flat(rate: Any) -> None:
    socket = vonage.make(Settings(rate=rate, headers={"language": "en"}))

    (connected,) = _read(socket.open(FACTS, Queue()))

    assert connected == {
        "event": "websocket:connected",
        "content-type": f"audio/l16;rate={rate}",
        "from": "+15550001",
        "to": "+15550100",
        "uuid": "n1-7",
        "tenant": "acme",
        "language": "en",
    }
    assert socket.heard == socket.said == AudioFormat(rate)


def test_no_header_of_a_caller_changes_what_the_message_is() -> None:
    facts = replace(FACTS, attributes={"event": "websocket:dtmf", "content-type": "audio/x"})

    (connected,) = _read(vonage.make(Settings()).open(facts, Queue()))

    assert connected["event"] == "websocket:connected"
    assert connected["content-type"] == "audio/l16;rate=16000"


def test_audio_is_binary_both_ways() -> None:
    socket = _open()

    assert socket.hear(b"\x01\x00" * 320) == b"\x01\x00" * 320
    assert list(socket.receive(b"\x02\x00\x03")) == [Say(b"\x02\x00\x03")]
    assert list(socket.receive(b"")) == []


def test_a_key_is_told_with_its_length() -> None:
    (told,) = _read(_open().notice(DigitHeard("5", 260)))

    assert told == {"event": "websocket:dtmf", "digit": "5", "duration": 260}


def test_a_clear_is_confirmed() -> None:
    socket = _open()

    wishes = list(socket.receive('{"action":"clear"}'))
    told = _read(socket.notice(Cleared(20.0, 40.0, ('{"n": 1}',))))

    assert wishes == [Clear()]
    assert told == [{"event": "websocket:cleared"}]


def test_barge_in_of_the_gateway_is_told_as_a_clear() -> None:
    socket = _open()

    assert _read(socket.notice(Interrupted("pause", None))) == []
    assert _read(socket.notice(Interrupted("clear", Cleared(20.0, 40.0, ())))) == [
        {"event": "websocket:cleared"}
    ]


@pytest.mark.parametrize("payload", [{"n": 1, "of": ["a", None]}, "text", 7, {}])
def test_a_notify_comes_back_as_it_was_sent(payload: Any) -> None:
    socket = _open()

    (mark,) = socket.receive(json.dumps({"action": "notify", "payload": payload}))
    assert isinstance(mark, Mark)
    told = _read(socket.notice(MarkReached(mark.name, 20.0, heard=True)))

    assert told == [{"event": "websocket:notify", "payload": payload}]


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        "[]",
        "{}",
        '{"action":"hangup"}',
        '{"action":["clear"]}',
        json.dumps({"action": "notify", "payload": "n" * MAX_NAME_CHARS}),
    ],
)
def test_what_is_not_in_the_protocol_is_wrong(message: str) -> None:
    assert [type(wish) for wish in _open().receive(message)] == [Wrong]


def test_a_secret_is_a_bearers_token_and_the_end_has_no_words() -> None:
    address = AgentAddress("bot", "wss://bot.example/ws", secret=Secret("k"))

    assert vonage.opening(address, Settings(), FACTS).headers == (("Authorization", "Bearer k"),)
    assert vonage.opening(AgentAddress("bot", "ws://b"), Settings(), FACTS).headers == ()
    assert list(_open().close("hung up")) == []

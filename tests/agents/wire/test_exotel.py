from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

import pytest

from gateway.agents.event import DigitHeard
from gateway.agents.protocol import AudioFormat, Clear, Mark, Message, Say, Wrong
from gateway.agents.wire import exotel
from gateway.agents.wire.exotel import ExotelStream, Settings
from gateway.media.playout import Cleared, MarkReached
from tests.agents.wire.facts import FACTS, TOKEN, Queue


def _open() -> ExotelStream:
    stream = exotel.make(Settings())
    stream.open(FACTS, Queue())
    return stream


def _read(messages: Iterable[Message]) -> list[Any]:
    return [json.loads(message) for message in messages]


def test_connected_and_start_come_first() -> None:
    stream = exotel.make(Settings(account_sid="acme", custom_parameters={"language": "en"}))

    connected, start = _read(stream.open(FACTS, Queue()))

    assert connected == {"event": "connected"}
    assert start == {
        "event": "start",
        "sequence_number": 1,
        "stream_sid": TOKEN,
        "start": {
            "stream_sid": TOKEN,
            "call_sid": TOKEN,
            "account_sid": "acme",
            "from": "+15550001",
            "to": "+15550100",
            "custom_parameters": {"tenant": "acme", "language": "en"},
            "media_format": {"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"},
        },
    }
    assert (stream.heard, stream.said) == (AudioFormat(8000, packet_ms=100), AudioFormat(8000))


def test_audio_comes_in_pieces_of_100_ms() -> None:
    stream = _open()
    stream.hear(bytes(1600))

    told = json.loads(stream.hear(bytes(1600)))

    assert told == {
        "event": "media",
        "sequence_number": 3,
        "stream_sid": TOKEN,
        "media": {"chunk": 2, "timestamp": "100", "payload": b64encode(bytes(1600)).decode()},
    }


def test_keys_marks_and_the_end_are_told_under_one_count() -> None:
    stream = _open()

    told = _read(
        [
            *stream.notice(DigitHeard("5", 260)),
            *stream.notice(MarkReached("m1", 20.0, heard=True)),
            *stream.notice(Cleared(20.0, 10.0, ("m2", "m3"))),
            *stream.close("hung up"),
        ]
    )

    assert [message["sequence_number"] for message in told] == [2, 3, 4, 5, 6]
    assert told[0]["dtmf"] == {"duration": "260", "digit": "5"}
    assert [message["mark"]["name"] for message in told[1:4]] == ["m1", "m2", "m3"]
    assert told[4]["stop"] == {"call_sid": TOKEN, "account_sid": "gateway", "reason": "callended"}


def test_the_agent_speaks_marks_and_clears() -> None:
    stream = _open()
    media = json.dumps({"event": "media", "stream_sid": TOKEN, "media": {"payload": "AAEC"}})

    assert list(stream.receive(media)) == list(stream.receive(media)) == [Say(b"\x00\x01\x02")]
    assert list(stream.receive('{"event":"mark","mark":{"name":"m"}}')) == [Mark("m")]
    assert list(stream.receive('{"event":"clear"}')) == [Clear()]


@pytest.mark.parametrize(
    "message",
    [b"\x00", "no json", "{}", '{"event":"media"}', '{"event":"media","media":{"payload":"!"}}',
     '{"event":"mark"}'],
)  # fmt: skip
def test_what_is_not_in_the_protocol_is_wrong(message: str | bytes) -> None:
    assert [type(wish) for wish in _open().receive(message)] == [Wrong]

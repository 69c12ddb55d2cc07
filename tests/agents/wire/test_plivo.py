from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from typing import Any

import pytest

from gateway.agents.event import DigitHeard
from gateway.agents.protocol import AudioFormat, Clear, Mark, Message, Say, SayAs, Wrong
from gateway.agents.wire import plivo
from gateway.agents.wire.plivo import PlivoStream, Settings
from gateway.codec import PCMU
from gateway.media.playout import Cleared, MarkReached
from tests.agents.wire.facts import FACTS, Queue

STREAM = "01234567-89ab-cdef-0123-456789abcdef"


def _open() -> PlivoStream:
    stream = plivo.make(Settings())
    stream.open(FACTS, Queue())
    return stream


def _read(messages: Iterable[Message]) -> list[Any]:
    return [json.loads(message) for message in messages]


def _play(**media: object) -> str:
    return json.dumps({"event": "playAudio", "media": {"payload": "AAECAw==", **media}})


def test_start_comes_first() -> None:
    stream = plivo.make(Settings(content_type="audio/x-l16;rate=16000", account_id="acme"))

    (start,) = _read(stream.open(FACTS, Queue()))

    headers = json.loads(start.pop("extra_headers"))
    assert headers == {"from": "+15550001", "to": "+15550100", "tenant": "acme"}
    assert start == {
        "sequenceNumber": 0,
        "event": "start",
        "start": {
            "callId": STREAM,
            "streamId": STREAM,
            "accountId": "acme",
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-l16", "sampleRate": 16000},
        },
    }
    assert stream.heard == stream.said == AudioFormat(16000)


def test_audio_is_numbered_and_told_in_base64() -> None:
    stream = _open()
    stream.hear(bytes(160))

    told = json.loads(stream.hear(bytes(160)))

    assert told == {
        "sequenceNumber": 2,
        "streamId": STREAM,
        "event": "media",
        "media": {
            "track": "inbound",
            "timestamp": "20",
            "chunk": 2,
            "payload": b64encode(bytes(160)).decode(),
        },
    }
    assert stream.heard.codec is PCMU


def test_keys_checkpoints_and_clears_are_told() -> None:
    stream = _open()

    told = _read(
        [
            *stream.notice(DigitHeard("5", 260)),
            *stream.notice(MarkReached("m1", 20.0, heard=True)),
            *stream.notice(Cleared(20.0, 10.0, ("m2",))),
            *stream.close("hung up"),
        ]
    )

    assert [message["sequenceNumber"] for message in told] == [1, 2, 3]
    assert told[0]["dtmf"] == {"track": "inbound", "digit": "5"}
    assert (told[1]["event"], told[1]["name"]) == ("playedStream", "m1")
    assert told[2]["event"] == "clearedAudio"


def test_the_agent_speaks_marks_and_clears() -> None:
    stream = _open()
    play = _play(contentType="audio/x-mulaw", sampleRate=8000)

    assert list(stream.receive(play)) == list(stream.receive(play)) == [Say(b"\x00\x01\x02\x03")]
    assert list(stream.receive('{"event":"checkpoint","name":"m"}')) == [Mark("m")]
    assert list(stream.receive('{"event":"clearAudio"}')) == [Clear()]


def test_each_piece_of_audio_names_its_format() -> None:
    stream = _open()

    linear = list(stream.receive(_play(contentType="audio/x-l16", sampleRate="16000")))

    assert linear == [SayAs(b"\x00\x01\x02\x03", AudioFormat(16000))]
    assert list(stream.receive(_play())) == [Say(b"\x00\x01\x02\x03")]


@pytest.mark.parametrize(
    "message",
    [
        b"\x00",
        "no json",
        "{}",
        '{"event":"playAudio"}',
        _play(payload="!"),
        _play(contentType="audio/x-mulaw", sampleRate=16000),
        _play(contentType=["audio/x-mulaw"], sampleRate=8000),
        _play(contentType="audio/mpeg"),
        '{"event":"checkpoint"}',
    ],
)
def test_what_is_not_in_the_protocol_is_wrong(message: str | bytes) -> None:
    assert [type(wish) for wish in _open().receive(message)] == [Wrong]

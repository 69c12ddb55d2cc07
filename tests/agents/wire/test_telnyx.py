from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from gateway.agents.event import DigitHeard, SpeechDropped
from gateway.agents.protocol import (
    AgentAddress,
    AudioFormat,
    Clear,
    Mark,
    Message,
    Reply,
    Say,
    Wish,
    Wrong,
)
from gateway.agents.wire import telnyx
from gateway.agents.wire.telnyx import MAX_WAITING, Settings, TelnyxStream
from gateway.codec import G722, OPUS, PCMA, PCMU
from gateway.media.playout import Cleared, MarkReached
from gateway.private import Secret
from tests.agents.wire.facts import FACTS, TOKEN, Queue

STREAM = "01234567-89ab-cdef-0123-456789abcdef"
CALL = "v3:" + TOKEN


def _open(settings: Settings | None = None) -> TelnyxStream:
    stream = telnyx.make(settings or Settings())
    stream.open(FACTS, Queue())
    return stream


def _read(messages: Iterable[Message]) -> list[Any]:
    return [json.loads(message) for message in messages]


def _media(audio: bytes, **more: object) -> str:
    payload = b64encode(audio).decode()
    return json.dumps({"event": "media", "media": {"payload": payload, **more}})


def _said(wishes: Iterable[Wish]) -> bytes:
    return b"".join(wish.audio for wish in wishes if isinstance(wish, Say))


def test_connected_and_start_come_first() -> None:
    settings = Settings(
        stream_codec="PCMA", client_state="c3RhdGU=", custom_parameters={"language": "en"}
    )

    connected, start = _read(telnyx.make(settings).open(FACTS, Queue()))

    assert connected == {"event": "connected", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequence_number": "1",
        "stream_id": STREAM,
        "start": {
            "user_id": "",
            "call_control_id": CALL,
            "call_session_id": STREAM,
            "from": "+15550001",
            "to": "+15550100",
            "tags": [],
            "client_state": "c3RhdGU=",
            "custom_parameters": {"tenant": "acme", "language": "en"},
            "media_format": {"encoding": "PCMA", "sample_rate": 8000, "channels": 1},
        },
    }


def test_audio_is_numbered_and_told_in_base64() -> None:
    stream = _open()

    first, second = (json.loads(stream.hear(bytes([n]) * 160)) for n in (1, 2))

    assert first == {
        "event": "media",
        "sequence_number": "2",
        "stream_id": STREAM,
        "media": {
            "track": "inbound",
            "chunk": "1",
            "timestamp": "0",
            "payload": b64encode(b"\x01" * 160).decode(),
        },
    }
    assert second["sequence_number"] == "3"
    assert second["media"]["chunk"] == "2"
    assert second["media"]["timestamp"] == "20"


@pytest.mark.parametrize(
    ("settings", "heard", "said"),
    [
        (Settings(), AudioFormat(8000, PCMU), AudioFormat(8000, PCMU)),
        (Settings(stream_codec="PCMA"), AudioFormat(8000, PCMA), AudioFormat(8000, PCMA)),
        (Settings(stream_codec="G722"), AudioFormat(16000, G722), AudioFormat(16000, G722)),
        (
            Settings(stream_codec="OPUS", stream_bidirectional_sampling_rate=16000),
            AudioFormat(16000, OPUS),
            AudioFormat(16000, OPUS),
        ),
        (
            Settings(stream_bidirectional_codec="L16", stream_bidirectional_sampling_rate=24000),
            AudioFormat(8000, PCMU),
            AudioFormat(24000),
        ),
    ],
)
def test_each_direction_has_its_codec(
    settings: Settings, heard: AudioFormat, said: AudioFormat
) -> None:
    stream = telnyx.make(settings)

    assert (stream.heard, stream.said) == (heard, said)


def test_linear_audio_is_in_network_order_both_ways() -> None:
    stream = _open(Settings(stream_codec="L16", stream_bidirectional_sampling_rate=16000))
    little = np.array([1, -2, 300], "<i2").tobytes()
    big = np.array([1, -2, 300], ">i2").tobytes()

    heard = b64decode(json.loads(stream.hear(little))["media"]["payload"])
    said = _said(stream.receive(_media(big)))

    assert heard == big
    assert said == little


def test_a_sample_may_be_split_between_messages() -> None:
    stream = _open(Settings(stream_codec="L16"))
    big = np.array([1, -2, 300], ">i2").tobytes()

    said = [_said(stream.receive(_media(piece))) for piece in (big[:1], big[1:4], big[4:])]

    assert b"".join(said) == np.array([1, -2, 300], "<i2").tobytes()
    assert all(len(piece) % 2 == 0 for piece in said)


def test_half_a_sample_does_not_outlive_a_clear() -> None:
    stream = _open(Settings(stream_codec="L16"))
    stream.receive(_media(b"\x01"))
    stream.receive('{"event":"clear"}')

    assert _said(stream.receive(_media(b"\x00\x05"))) == b"\x05\x00"


def test_keys_marks_and_the_end_are_told_under_one_count() -> None:
    stream = _open()

    told = _read(
        [
            *stream.notice(DigitHeard("#", 120)),
            *stream.notice(MarkReached("m1", 20.0, heard=True)),
            *stream.notice(Cleared(20.0, 10.0, ("m2", "m3"))),
            *stream.close("hung up"),
        ]
    )

    assert [message["event"] for message in told] == ["dtmf", "mark", "mark", "mark", "stop"]
    assert [message["sequence_number"] for message in told] == ["2", "3", "4", "5", "6"]
    assert {message["stream_id"] for message in told} == {STREAM}
    assert told[0]["dtmf"] == {"digit": "#"}
    assert [message["mark"]["name"] for message in told[1:4]] == ["m1", "m2", "m3"]
    assert told[4]["stop"] == {"user_id": "", "call_control_id": CALL}


def test_the_agent_speaks_marks_and_clears() -> None:
    stream = _open()

    assert list(stream.receive(_media(b"\x07" * 160))) == [Say(b"\x07" * 160)]
    assert list(stream.receive('{"event":"mark","mark":{"name":"m1"}}')) == [Mark("m1")]
    assert list(stream.receive('{"event":"clear"}')) == [Clear()]


@pytest.mark.parametrize(
    ("message", "title"),
    [
        (b"\x00\x01", "malformed_frame"),
        ("no json", "malformed_frame"),
        ('{"event":"hangup"}', "malformed_frame"),
        ('{"event":"mark","mark":{}}', "malformed_frame"),
        ('{"event":"media"}', "invalid_media"),
        ('{"event":"media","media":{"payload":"!"}}', "invalid_media"),
        ('{"event":"media","media":{"payload":"AAAA","chunk":"one"}}', "invalid_media"),
        ('{"event":"media","media":{"payload":"AAAA","chunk":true}}', "invalid_media"),
    ],
)
def test_what_is_wrong_is_answered_with_a_code(message: str | bytes, title: str) -> None:
    stream = _open()

    reply, wrong = stream.receive(message)

    assert isinstance(wrong, Wrong)
    assert isinstance(reply, Reply)
    error = json.loads(reply.message)
    assert error["event"] == "error"
    assert error["stream_id"] == STREAM
    assert error["payload"]["title"] == title
    assert isinstance(error["payload"]["code"], int)


def test_speech_that_was_dropped_is_told_as_an_error() -> None:
    (told,) = _read(_open().notice(SpeechDropped(1200.0)))

    assert told["payload"]["title"] == "rate_limit_reached"


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1, 3, 2, 4], [1, 2, 3, 4]),
        ([2, 1, 3], [1, 2, 3]),
        ([0, 1, 2], [0, 1, 2]),
        ([100, 101, 103, 102], [100, 101, 102, 103]),
        ([1, 3, 4, 5, 6], [1]),
        ([1, 3, 4, 5, 6, 7], [1, 3, 4, 5, 6, 7]),
        ([1, 3, 4, 5, 6, 7, 2, 8], [1, 3, 4, 5, 6, 7, 8]),
        ([1, 2, 1, 2], [1, 2, 1, 2]),
        ([50, 51, 1, 2], [50, 51, 1, 2]),
        ([1, 3, 90, 91], [1, 3, 90, 91]),
    ],
)
def test_chunks_are_said_in_the_order_of_their_numbers(numbers: list[int], said: list[int]) -> None:
    stream = _open()

    heard = b"".join(
        _said(stream.receive(_media(bytes([number]), chunk=str(number)))) for number in numbers
    )

    assert list(heard) == said


def test_packets_of_opus_that_waited_stay_apart() -> None:
    stream = _open(Settings(stream_codec="OPUS"))
    for number in (1, 3):
        stream.receive(_media(bytes([number]), chunk=number))

    assert list(stream.receive(_media(b"\x02", chunk=2))) == [Say(b"\x02"), Say(b"\x03")]


def test_a_mark_and_a_clear_wait_for_no_chunk() -> None:
    marked, cleared = _open(), _open()
    for stream in (marked, cleared):
        stream.receive(_media(b"\x01", chunk=1))
        stream.receive(_media(b"\x03", chunk=3))

    at_mark = list(marked.receive('{"event":"mark","mark":{"name":"m"}}'))
    cleared.receive('{"event":"clear"}')

    assert at_mark == [Say(b"\x03"), Mark("m")]
    for stream in (marked, cleared):
        assert _said(stream.receive(_media(b"\x04", chunk=4))) == b"\x04"


def test_no_more_chunks_wait_than_may() -> None:
    stream = _open()
    stream.receive(_media(b"\x01", chunk=1))

    said = [_said(stream.receive(_media(b"\x01", chunk=3 + n))) for n in range(MAX_WAITING + 1)]

    assert said == [*[b""] * MAX_WAITING, b"\x01" * (MAX_WAITING + 1)]


def test_a_secret_is_a_bearers_token() -> None:
    address = AgentAddress("bot", "wss://bot.example/ws", secret=Secret("k"))

    assert telnyx.opening(address, Settings(), FACTS).headers == (("Authorization", "Bearer k"),)
    assert telnyx.opening(AgentAddress("bot", "ws://b"), Settings(), FACTS).headers == ()

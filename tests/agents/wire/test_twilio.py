from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from gateway.agents.event import DigitHeard, Interrupted
from gateway.agents.protocol import AgentAddress, Clear, Mark, Message, Note, Say, Wrong
from gateway.agents.wire import twilio
from gateway.agents.wire.twilio import Settings, TwilioStream
from gateway.codec import PCMU
from gateway.media.playout import Cleared, MarkReached
from gateway.private import Secret
from tests.agents.wire.facts import FACTS, TOKEN, Queue

STREAM = "MZ" + TOKEN
CALL = "CA" + TOKEN
PAYLOAD = b64encode(bytes(160)).decode()


def _open(settings: Settings | None = None) -> TwilioStream:
    stream = twilio.make(settings or Settings())
    stream.open(FACTS, Queue())
    return stream


def _read(messages: Iterable[Message]) -> list[Any]:
    return [json.loads(message) for message in messages]


def test_connected_and_start_come_first() -> None:
    settings = Settings(account_sid="AC7", parameters={"language": "en"})

    connected, start = _read(twilio.make(settings).open(FACTS, Queue()))

    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": STREAM,
        "start": {
            "accountSid": "AC7",
            "streamSid": STREAM,
            "callSid": CALL,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {
                "from_number": "+15550001",
                "to_number": "+15550100",
                "tenant": "acme",
                "language": "en",
            },
        },
    }


def test_audio_is_numbered_and_told_in_base64() -> None:
    stream = _open()

    first, second = _read(stream.hear(bytes([n]) * 160) or "" for n in (1, 2))

    assert first == {
        "event": "media",
        "sequenceNumber": "2",
        "streamSid": STREAM,
        "media": {
            "track": "inbound",
            "chunk": "1",
            "timestamp": "0",
            "payload": b64encode(b"\x01" * 160).decode(),
        },
    }
    assert second["sequenceNumber"] == "3"
    assert second["media"]["chunk"] == "2"
    assert second["media"]["timestamp"] == "20"
    assert stream.heard.codec is stream.said.codec is PCMU


def test_keys_marks_and_the_end_are_told_under_one_count() -> None:
    stream = _open()
    stream.hear(bytes(160))

    digit = _read(stream.notice(DigitHeard("5", 120)))
    mark = _read(stream.notice(MarkReached("m1", 20.0, heard=True)))
    stop = _read(stream.close("hung up"))

    assert digit == [
        {
            "event": "dtmf",
            "sequenceNumber": "3",
            "streamSid": STREAM,
            "dtmf": {"track": "inbound_track", "digit": "5"},
        }
    ]
    assert mark == [
        {"event": "mark", "sequenceNumber": "4", "streamSid": STREAM, "mark": {"name": "m1"}}
    ]
    assert stop == [
        {
            "event": "stop",
            "sequenceNumber": "5",
            "streamSid": STREAM,
            "stop": {"accountSid": twilio.NO_ACCOUNT, "callSid": CALL},
        }
    ]


def test_marks_that_are_cleared_come_back_in_their_order() -> None:
    stream = _open()

    told = _read(stream.notice(Cleared(40.0, 100.0, ("b", "a"))))

    assert [message["mark"]["name"] for message in told] == ["b", "a"]


def test_barge_in_of_the_gateway_sends_marks_back_too() -> None:
    stream = _open()

    cleared = _read(stream.notice(Interrupted("clear", Cleared(40.0, 100.0, ("a",)))))
    paused = _read(stream.notice(Interrupted("pause", None)))

    assert [message["mark"]["name"] for message in cleared] == ["a"]
    assert paused == []


def test_the_agent_speaks_marks_and_clears() -> None:
    stream = _open()
    media = {"event": "media", "streamSid": "of another", "media": {"payload": PAYLOAD}}
    mark = {"event": "mark", "streamSid": STREAM, "mark": {"name": "m1"}}

    assert list(stream.receive(json.dumps(media))) == [Say(bytes(160))]
    assert list(stream.receive(json.dumps(media))) == [Say(bytes(160))]
    assert list(stream.receive(json.dumps(mark))) == [Mark("m1")]
    assert list(stream.receive('{"event":"clear"}')) == [Clear()]


@pytest.mark.parametrize(
    "message",
    [
        b"\x00\x01",
        "no json",
        "[]",
        '{"event":"media"}',
        '{"event":"media","media":{}}',
        '{"event":"media","media":{"payload":""}}',
        '{"event":"media","media":{"payload":7}}',
        '{"event":"media","media":"payload"}',
        '{"event":"mark"}',
        '{"event":"mark","mark":{"name":""}}',
        '{"event":["clear"]}',
        '{"event":"hangup"}',
        "{}",
    ],
)
def test_what_twilio_passes_over_is_passed_over_and_noted_once(message: str | bytes) -> None:
    stream = _open()

    first, again = list(stream.receive(message)), list(stream.receive(message))

    assert [type(wish) for wish in first] == [Note]
    assert again == []


def test_a_payload_that_is_not_base64_is_wrong() -> None:
    wishes = list(_open().receive('{"event":"media","media":{"payload":"!"}}'))

    assert [type(wish) for wish in wishes] == [Wrong]


@pytest.mark.parametrize(
    ("track", "names"),
    [
        ("inbound_track", ["inbound"]),
        ("outbound_track", ["outbound"]),
        ("both_tracks", ["inbound", "outbound"]),
    ],
)
def test_a_stream_of_tracks_only_listens(track: Any, names: list[str]) -> None:
    stream = twilio.make(Settings(track=track))

    start = _read(stream.open(FACTS, Queue()))[1]
    told = [stream.hear(bytes(160))]
    if stream.hears_other_side:
        told.append(stream.hear_other_side(bytes(160)))
    tracks = [json.loads(message)["media"]["track"] for message in told if message is not None]
    digit = list(stream.notice(DigitHeard("5", 120)))
    answer = list(stream.receive(json.dumps({"event": "media", "media": {"payload": PAYLOAD}})))

    assert start["start"]["tracks"] == names
    assert tracks == names
    assert digit == []
    assert [type(wish) for wish in answer] == [Note]


def test_tracks_count_their_chunks_apart_and_their_messages_together() -> None:
    stream = _open(Settings(track="both_tracks"))

    told = [stream.hear(bytes(160)), stream.hear_other_side(bytes(160)), stream.hear(bytes(160))]

    read = [json.loads(message) for message in told if message is not None]
    assert [message["sequenceNumber"] for message in read] == ["2", "3", "4"]
    assert [message["media"]["track"] for message in read] == ["inbound", "outbound", "inbound"]
    assert [message["media"]["chunk"] for message in read] == ["1", "1", "2"]
    assert [message["media"]["timestamp"] for message in read] == ["0", "0", "20"]


def test_another_connection_of_a_call_is_another_stream_of_it() -> None:
    stream = twilio.make(Settings())

    start = _read(stream.open(replace(FACTS, stream=1), Queue()))[1]

    assert start["start"]["callSid"] == CALL
    assert start["streamSid"] == f"MZ{int(TOKEN, 16) + 1:032x}"


def test_the_upgrade_is_signed_with_the_token() -> None:
    url = "wss://mycompany.com/myapp.php?foo=1&bar=2"
    address = AgentAddress("bot", url, secret=Secret("12345"))

    opening = twilio.opening(address, Settings(), FACTS)

    # openssl dgst -sha1 -hmac 12345 -binary | base64
    assert opening.headers == (("X-Twilio-Signature", "b3plRhGrh/DaMK9JgYYfERBwpcA="),)
    assert opening.url == url
    assert twilio.opening(AgentAddress("bot", url), Settings(), FACTS).headers == ()

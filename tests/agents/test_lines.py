"""chan_websocket as an application of Asterisk speaks it, and AudioSocket as its server does."""

from __future__ import annotations

import json

import pytest

from gateway.agents.lines.asterisk import AsteriskLine
from gateway.agents.lines.audiosocket import AudioSocketLine
from gateway.agents.lines.line import Begun, Broken, Flow, HungUp, Pressed, Said
from gateway.agents.protocol import AudioFormat
from gateway.agents.wire.audiosocket import write_frame
from gateway.codec import PCMU

START = (
    "MEDIA_START connection_id:c channel:WebSocket/gw channel_id:171.5 format:{format}"
    " optimal_frame_size:160 ptime:20"
)


def begun(format: str = "ulaw") -> AsteriskLine:
    line = AsteriskLine()
    list(line.receive(START.format(format=format)))
    return line


def test_plain_media_start_begins_the_line() -> None:
    line = AsteriskLine()

    assert list(line.receive(START.format(format="ulaw"))) == [Begun("171.5", {})]
    assert line.heard.codec == PCMU


def test_json_media_start_brings_variables_and_is_answered_in_json() -> None:
    line = AsteriskLine()
    variables = {"CALLERID": "+15550111", "deep": {"a": 1}, "bad": "a\nb", "n": 7}
    start = {"event": "MEDIA_START", "channel_id": "171.5", "format": "slin16"}

    told = list(line.receive(json.dumps({**start, "channel_variables": variables})))

    assert told == [Begun("171.5", {"CALLERID": "+15550111"})]
    assert line.heard == AudioFormat(16_000)
    assert list(line.answer()) == ['{"command": "ANSWER"}']
    assert list(line.hang_up()) == ['{"command": "HANGUP"}']


def test_a15_no_name_of_a_channel_breaks_a_line() -> None:
    start = {"event": "MEDIA_START", "channel_id": "1\r\nX-Evil: 1", "format": "ulaw"}

    assert list(AsteriskLine().receive(json.dumps(start))) == [Begun("", {})]


def test_it_answers_and_hangs_up_in_plain_text() -> None:
    line = begun()

    assert (list(line.answer()), list(line.hang_up())) == (["ANSWER"], ["HANGUP"])


def test_audio_is_raw_both_ways() -> None:
    line = begun("slin")

    assert list(line.receive(b"\x01\x02")) == [Said(b"\x01\x02", AudioFormat(8000))]
    assert line.hear(b"\x03\x04") == b"\x03\x04"


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("MEDIA_XOFF", Flow(False)),
        ("MEDIA_XON", Flow(True)),
        ("DTMF_END digit:#", Pressed("#")),
        ('{"event": "DTMF_END", "channel_id": "1", "digit": "7"}', Pressed("7")),
        ('{"event": "MEDIA_XOFF", "channel_id": "1"}', Flow(False)),
    ],
)
def test_events_of_asterisk(text: str, event: object) -> None:
    assert list(begun().receive(text)) == [event]


@pytest.mark.parametrize(
    "text",
    ["QUEUE_DRAINED", "STATUS queue_length:0", "MEDIA_MARK_PROCESSED x", "ERROR x", "DTMF_END x"],
)
def test_what_it_does_not_need_is_passed_over(text: str) -> None:
    assert list(begun().receive(text)) == []


@pytest.mark.parametrize("text", ["", "GET / HTTP/1.1", "{", "[]", '{"event": []}', "x" * 100_000])
def test_whatever_else_comes_is_broken_and_no_more(text: str) -> None:
    (event,) = begun().receive(text)

    assert isinstance(event, Broken)


@pytest.mark.parametrize(
    "first",
    [b"\xff" * 160, "MEDIA_XON", START.format(format="g729"), '{"event": "MEDIA_START"}'],
)
def test_a_line_begins_with_a_media_start_that_can_be_spoken_to(first: str | bytes) -> None:
    (event,) = AsteriskLine().receive(first)

    assert isinstance(event, Broken)


def test_audiosocket_has_no_words_for_an_answer_and_one_for_the_end() -> None:
    line = AudioSocketLine()

    assert (list(line.answer()), list(line.hang_up())) == ([], [b"\x00\x00\x00"])


def test_audiosocket_hears_at_the_rate_that_it_speaks_at() -> None:
    line = AudioSocketLine()
    list(line.receive(write_frame(0x01, bytes(16))))

    events = list(line.receive(write_frame(0x12, b"ab")))

    assert events == [Said(b"ab", AudioFormat(16_000))]
    assert line.heard == AudioFormat(16_000)
    assert line.hear(b"cd") == b"\x12\x00\x02cd"


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (write_frame(0x03, b"D"), Pressed("D")),
        (write_frame(0x00), HungUp()),
        (write_frame(0xFF, b"\x01"), HungUp()),
    ],
)
def test_audiosocket_events(frame: bytes, event: object) -> None:
    line = AudioSocketLine()
    list(line.receive(write_frame(0x01, bytes(16))))

    assert list(line.receive(frame)) == [event]


@pytest.mark.parametrize(
    "frame", [write_frame(0x03, b"x"), write_frame(0x03, b""), write_frame(0x01, bytes(16))]
)
def test_audiosocket_breaks(frame: bytes) -> None:
    line = AudioSocketLine()
    list(line.receive(write_frame(0x01, bytes(16))))

    (event,) = line.receive(frame)

    assert isinstance(event, Broken)

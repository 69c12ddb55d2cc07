"""chan_websocket as Asterisk speaks it toward its application, message by message."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from gateway.agents.event import DigitHeard, QueueState
from gateway.agents.protocol import (
    AgentAddress,
    Answer,
    Clear,
    Done,
    Mark,
    Pause,
    Ready,
    Reply,
    Resume,
    Say,
    Wish,
    Wrong,
)
from gateway.agents.wire import asterisk
from gateway.agents.wire.asterisk import Asterisk, Settings
from gateway.codec import PCMA, PCMU
from gateway.media.playout import Cleared, MarkReached
from gateway.private import Secret
from tests.support.wire_call import TOKEN_UUID, Queue, call_facts


def opened(**settings: Any) -> tuple[Asterisk, Queue]:
    protocol, queue = asterisk.make(Settings(**settings)), Queue()
    list(protocol.open(call_facts(), queue))
    return protocol, queue


def mark_in(wishes: list[Wish]) -> str:
    (mark,) = [wish for wish in wishes if isinstance(wish, Mark)]
    return mark.name


def said_of(protocol: Asterisk, name: str) -> list[Any]:
    return list(protocol.notice(MarkReached(name, 0.0, heard=True)))


def test_the_connection_is_asked_for_media_with_params_and_a_password() -> None:
    address = AgentAddress("sales", "ws://app.example/media?a=1", "gw", Secret("pw"))

    opening = asterisk.opening(address, Settings(params={"workflow": "7 8"}), call_facts())

    assert opening.url == "ws://app.example/media?a=1&workflow=7+8"
    assert opening.headers == (("Authorization", "Basic Z3c6cHc="),)
    assert opening.subprotocols == ("media",)


def test_media_start_in_plain_text() -> None:
    (first,) = asterisk.make(Settings()).open(call_facts(), Queue())

    assert first == (
        f"MEDIA_START connection_id:{TOKEN_UUID} channel:WebSocket/sales/00112233"
        " channel_id:gw1-c1.0 format:ulaw optimal_frame_size:160 ptime:20"
    )


def test_media_start_in_json() -> None:
    protocol = asterisk.make(Settings(format="json", codec="slin16", variables={"b": "2"}))

    (first,) = protocol.open(call_facts({"a": "1"}), Queue())

    assert json.loads(str(first)) == {
        "event": "MEDIA_START",
        "connection_id": TOKEN_UUID,
        "channel": "WebSocket/sales/00112233",
        "channel_id": "gw1-c1.0",
        "format": "slin16",
        "optimal_frame_size": 640,
        "ptime": 20,
        "channel_variables": {"a": "1", "b": "2"},
    }


@pytest.mark.parametrize(("codec", "wanted"), [("ulaw", PCMU), ("alaw", PCMA), ("slin", None)])
def test_audio_is_raw_in_the_codec_of_the_channel(
    codec: Literal["ulaw", "alaw", "slin"], wanted: object
) -> None:
    protocol, _ = opened(codec=codec)

    assert (protocol.heard.codec, protocol.said.codec) == (wanted, wanted)
    assert protocol.hear(b"\x7f" * 160) == b"\x7f" * 160
    assert list(protocol.receive(b"\x55" * 161)) == [Say(b"\x55" * 161)]


def test_who_is_answered_automatically_is_ready_at_once() -> None:
    protocol, _ = opened()

    assert not protocol.tells_ready
    assert list(protocol.receive("ANSWER")) == [Answer()]


def test_without_auto_answer_the_app_answers() -> None:
    protocol, _ = opened(no_auto_answer=True)

    assert protocol.tells_ready
    assert list(protocol.receive("ANSWER")) == [Ready(), Answer()]


def test_hangup_waits_for_nothing() -> None:
    protocol, _ = opened()

    assert list(protocol.receive("HANGUP")) == [Clear(), Done()]


def test_a_mark_is_acknowledged_when_it_is_reached() -> None:
    protocol, _ = opened()
    name = mark_in(list(protocol.receive("MARK_MEDIA 4f0e")))

    assert said_of(protocol, name) == ["MEDIA_MARK_PROCESSED 4f0e"]
    assert said_of(protocol, name) == []


def test_two_marks_of_one_name_are_two() -> None:
    protocol, _ = opened()

    first, second = (mark_in(list(protocol.receive("MARK_MEDIA x"))) for _ in range(2))

    assert first != second
    assert said_of(protocol, second) == said_of(protocol, first) == ["MEDIA_MARK_PROCESSED x"]


def test_in_json_a_mark_has_its_id_in_a_key() -> None:
    protocol, _ = opened(format="json")
    command = json.dumps({"command": "MARK_MEDIA", "correlation_id": "c1"})
    name = mark_in(list(protocol.receive(command)))

    (told,) = said_of(protocol, name)

    assert json.loads(told) == {
        "event": "MEDIA_MARK_PROCESSED",
        "channel_id": "gw1-c1.0",
        "correlation_id": "c1",
    }


def test_flush_forgets_marks_without_a_word() -> None:
    protocol, _ = opened()
    name = mark_in(list(protocol.receive("MARK_MEDIA x")))

    assert list(protocol.receive("FLUSH_MEDIA")) == [Clear()]
    assert list(protocol.notice(Cleared(0.0, 100.0, (name,)))) == []


def test_marks_that_something_else_cleared_are_acknowledged() -> None:
    protocol, _ = opened()
    name = mark_in(list(protocol.receive("MARK_MEDIA x")))

    assert list(protocol.notice(Cleared(0.0, 100.0, (name,)))) == ["MEDIA_MARK_PROCESSED x"]


def test_buffering_is_completed_when_it_was_played() -> None:
    protocol, _ = opened()
    assert list(protocol.receive("START_MEDIA_BUFFERING")) == []
    assert list(protocol.receive(b"\xff" * 1000)) == [Say(b"\xff" * 1000)]

    name = mark_in(list(protocol.receive("STOP_MEDIA_BUFFERING b1")))

    assert said_of(protocol, name) == ["MEDIA_BUFFERING_COMPLETED b1"]


def test_status_tells_of_the_queue_in_frames() -> None:
    protocol, queue = opened()
    queue.queued_ms, queue.is_paused = 1010.0, True
    list(protocol.receive("START_MEDIA_BUFFERING"))

    (reply,) = protocol.receive("GET_STATUS")

    assert reply == Reply(
        "STATUS queue_length:50 xon_level:800 xoff_level:900 queue_full:false bulk_media:true"
        " media_paused:true"
    )


def test_status_in_json() -> None:
    protocol, _ = opened(format="json")

    (reply,) = protocol.receive('{"command": "GET_STATUS"}')

    assert isinstance(reply, Reply)
    assert json.loads(str(reply.message)) == {
        "event": "STATUS",
        "channel_id": "gw1-c1.0",
        "queue_length": 0,
        "xon_level": 800,
        "xoff_level": 900,
        "queue_full": False,
        "bulk_media": False,
        "media_paused": False,
    }


def test_a_drained_queue_is_reported_once() -> None:
    protocol, _ = opened()
    name = mark_in(list(protocol.receive("REPORT_QUEUE_DRAINED")))

    assert said_of(protocol, name) == ["QUEUE_DRAINED"]
    assert list(protocol.receive(b"\xff" * 160)) == [Say(b"\xff" * 160)]


def test_what_is_said_later_puts_the_drained_report_off() -> None:
    protocol, _ = opened()
    first = mark_in(list(protocol.receive("REPORT_QUEUE_DRAINED")))
    second = mark_in(list(protocol.receive(b"\xff" * 160)))

    assert said_of(protocol, first) == []
    assert said_of(protocol, second) == ["QUEUE_DRAINED"]


def test_a_flushed_queue_is_drained() -> None:
    protocol, _ = opened()
    list(protocol.receive("REPORT_QUEUE_DRAINED"))

    name = mark_in(list(protocol.receive("FLUSH_MEDIA")))

    assert said_of(protocol, name) == ["QUEUE_DRAINED"]


def test_media_is_paused_and_continued() -> None:
    protocol, _ = opened()

    assert list(protocol.receive("PAUSE_MEDIA")) == [Pause()]
    assert list(protocol.receive("CONTINUE_MEDIA")) == [Resume()]


def test_a_full_queue_is_told_with_xoff_and_one_with_room_with_xon() -> None:
    protocol, _ = opened()

    told = [
        message
        for is_full in (True, True, False, False)
        for message in protocol.notice(QueueState(is_full, 0.0))
    ]

    assert told == ["MEDIA_XOFF", "MEDIA_XON"]


def test_a_digit_is_told_when_it_ends() -> None:
    plain, _ = opened()
    as_json, _ = opened(format="json")

    assert list(plain.notice(DigitHeard("5", 100))) == ["DTMF_END digit:5"]
    (told,) = as_json.notice(DigitHeard("5", 100))
    assert json.loads(str(told)) == {"event": "DTMF_END", "channel_id": "gw1-c1.0", "digit": "5"}


@pytest.mark.parametrize(
    ("direction", "hears", "speaks"),
    [("both", True, True), ("in", True, False), ("out", False, True)],
)
def test_the_direction_is_as_the_app_sees_it(direction: str, hears: bool, speaks: bool) -> None:
    protocol, _ = opened(format="json")
    command = json.dumps({"command": "SET_MEDIA_DIRECTION", "direction": direction})

    assert list(protocol.receive(command)) == []

    assert (protocol.hear(b"\xff" * 160) is not None) is hears
    assert bool(list(protocol.receive(b"\xff" * 160))) is speaks


@pytest.mark.parametrize("word", ["MARK_MEDIA x", "FLUSH_MEDIA", "REPORT_QUEUE_DRAINED"])
def test_passthrough_knows_no_commands_for_media(word: str) -> None:
    protocol, _ = opened(codec="opus")

    reply, wrong = protocol.receive(word)

    assert reply == Reply("ERROR error_text:no command for media in passthrough mode")
    assert isinstance(wrong, Wrong)


@pytest.mark.parametrize("text", ["", "   ", "SING a song", "x" * 100_000])
def test_an_unknown_command_gets_an_error(text: str) -> None:
    protocol, _ = opened()

    reply, wrong = protocol.receive(text)

    assert reply == Reply("ERROR error_text:unknown command")
    assert isinstance(wrong, Wrong)


@pytest.mark.parametrize(
    "text",
    ["MARK_MEDIA x", "[]", '{"command": 7}', "{" * 5000, '{"command": "' + "x" * 9000 + '"}'],
)
def test_in_json_whatever_is_no_command_gets_an_error(text: str) -> None:
    protocol, _ = opened(format="json")

    reply, wrong = protocol.receive(text)

    assert isinstance(reply, Reply)
    assert json.loads(str(reply.message))["event"] == "ERROR"
    assert isinstance(wrong, Wrong)


def test_a_correlation_id_is_cut_where_it_is_too_long_to_keep() -> None:
    protocol, _ = opened()
    name = mark_in(list(protocol.receive("MARK_MEDIA " + "y" * 110)))

    assert said_of(protocol, name) == ["MEDIA_MARK_PROCESSED " + "y" * 64]

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.agents.event import DigitHeard, Interrupted, ToolDone
from gateway.agents.protocol import (
    AudioFormat,
    Clear,
    Mark,
    Message,
    Note,
    Reply,
    Say,
    SayAs,
    Use,
    Wrong,
)
from gateway.agents.tool import HangUp
from gateway.agents.wire import pipecat
from gateway.agents.wire.pipecat import PipecatSocket, Settings
from gateway.agents.wire_protobuf import (
    MAX_FIELDS,
    read_fields,
    write_bytes,
    write_number,
    write_varint,
)
from gateway.media.playout import Cleared, MarkReached
from tests.agents.wire.facts import FACTS, Queue

# Made by pipecat 1.14's own ProtobufFrameSerializer.
AUDIO = bytes.fromhex(
    "1229080112154f7574707574417564696f5261774672616d6523301a08010002000300040020c0bb012801"
)
INTERRUPTION = bytes.fromhex("2a1708021213496e74657272757074696f6e4672616d652330")


def _open(settings: Settings | None = None) -> PipecatSocket:
    socket = pipecat.make(settings or Settings())
    socket.open(FACTS, Queue())
    return socket


def _message(value: object) -> bytes:
    return write_bytes(4, write_bytes(1, json.dumps(value).encode()))


def _read(message: Message) -> Any:
    assert isinstance(message, bytes)
    frame = read_fields(message)
    assert frame is not None
    part = read_fields(frame[4])  # type: ignore[arg-type]
    assert part is not None
    return json.loads(part[1])  # type: ignore[arg-type]


def test_the_call_is_told_first() -> None:
    (start,) = pipecat.make(Settings()).open(FACTS, Queue())

    assert _read(start) == {
        "label": "gateway",
        "type": "start",
        "data": {
            "id": "n1-7",
            "caller": "+15550001",
            "called": "+15550100",
            "direction": "inbound",
            "attributes": {"tenant": "acme"},
            "tools": [],
        },
    }


def test_audio_goes_as_a_frame_with_its_rate() -> None:
    socket = _open(Settings(rate=24000))

    told = [socket.hear(bytes(960)), socket.hear(b"\x01\x02" * 300)]

    frames = [read_fields(read_fields(message)[2]) for message in told]  # type: ignore[index, arg-type]
    assert frames == [
        {3: bytes(960), 4: 24000, 5: 1},
        {3: b"\x01\x02" * 300, 4: 24000, 5: 1},
    ]


def test_the_agent_speaks_at_any_rate_and_interrupts_itself() -> None:
    socket = _open()
    own = write_bytes(2, write_bytes(3, b"\x01\x02") + write_number(4, 16000) + write_number(5, 1))

    assert list(socket.receive(own)) == [Say(b"\x01\x02")]
    assert list(socket.receive(AUDIO)) == [
        SayAs(b"\x01\x00\x02\x00\x03\x00\x04\x00", AudioFormat(24000))
    ]
    assert list(socket.receive(INTERRUPTION)) == [Clear()]


def test_what_pipecat_has_no_words_for_goes_in_messages() -> None:
    socket = _open()

    told = [
        *socket.notice(DigitHeard("5", 100)),
        *socket.notice(MarkReached("a", 20.0, heard=True)),
        *socket.notice(Cleared(20.0, 10.0, ("b",))),
        *socket.notice(Interrupted("clear", Cleared(20.0, 10.0, ("c",)))),
        *socket.notice(ToolDone("t", "transfer", is_done=False, status=486)),
        *socket.close("hangup"),
    ]

    read = [_read(message) for message in told]
    assert {message["label"] for message in read} == {"gateway"}
    assert read[0]["data"] == {"digit": "5", "duration_ms": 100}
    assert [message["data"] for message in read[1:4]] == [
        {"name": "a", "event": "played"},
        {"name": "b", "event": "cleared"},
        {"name": "c", "event": "cleared"},
    ]
    assert (read[4]["type"], read[4]["data"]["id"]) == ("tool_done", "t")
    assert read[5] == {"label": "gateway", "type": "stop", "data": {"reason": "hangup"}}


def test_the_agent_marks_and_uses_tools_by_messages() -> None:
    socket = _open()
    tool = {"id": "t", "name": "hang_up", "arguments": {"after_speech": False}}

    def wishes(kind: str, data: object) -> list[object]:
        return list(socket.receive(_message({"label": "gateway", "type": kind, "data": data})))

    assert wishes("mark", {"name": "m"}) == [Mark("m")]
    assert wishes("tool", tool) == [Use(HangUp(after_speech=False), "t")]
    (refused,) = wishes("tool", {"id": "t", "name": "fly"})
    assert isinstance(refused, Reply)
    assert _read(refused.message)["data"]["status"] == 400


def test_messages_for_screens_are_passed_over_and_words_are_noted() -> None:
    socket = _open()
    rtvi = {"label": "rtvi-ai", "type": "bot-started-speaking"}

    assert list(socket.receive(_message(rtvi))) == []
    assert list(socket.receive(write_bytes(1, write_bytes(3, b"hello")))) == [
        Note("transcript", {"speaker": "agent", "text": "hello"})
    ]


@pytest.mark.parametrize(
    "message",
    [
        "text",
        b"",
        b"\x12",
        b"\x12\x05a",
        b"\xff" * 12,
        b"\x08\x01",
        write_bytes(9, b""),
        write_bytes(2, b"\x07"),
        write_bytes(2, write_bytes(3, b"ab") + write_number(4, 7)),
        write_bytes(2, write_bytes(3, b"ab") + write_number(4, 16000) + write_number(5, 2)),
        write_bytes(4, write_bytes(1, b"\xff")),
        write_bytes(4, write_bytes(1, b"[]")),
        _message({"label": "gateway"}),
        _message({"label": "gateway", "type": "mark"}),
        write_bytes(1, write_bytes(3, b"\xff")),
        write_bytes(2, b"") + write_bytes(5, b""),
    ],
)
def test_what_is_not_in_the_protocol_is_wrong(message: str | bytes) -> None:
    assert [type(wish) for wish in _open().receive(message)] == [Wrong]


@given(message=st.binary() | st.binary().map(lambda inner: write_bytes(2, inner)))
def test_whatever_comes_nothing_raises(message: bytes) -> None:
    list(_open().receive(message))


@given(
    fields=st.dictionaries(
        st.integers(1, 1000), st.integers(0, 2**63) | st.binary(), max_size=MAX_FIELDS
    )
)
def test_fields_are_read_as_they_were_written(fields: dict[int, int | bytes]) -> None:
    written = b"".join(
        write_number(number, value) if isinstance(value, int) else write_bytes(number, value)
        for number, value in fields.items()
    )

    assert read_fields(written) == fields


def test_no_more_fields_are_read_than_may_be() -> None:
    assert read_fields(write_number(1, 1) * MAX_FIELDS) == {1: 1}
    assert read_fields(write_number(1, 1) * (MAX_FIELDS + 1)) is None
    assert read_fields(write_varint(1 << 3 | 1) + bytes(8)) == {1: bytes(8)}
    assert read_fields(write_varint(1 << 3 | 3)) is None

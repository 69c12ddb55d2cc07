"""Whatever happens to an agent, every protocol can be told of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, cast, get_args

import pytest

from gateway.agents.event import (
    AgentEvent,
    AudienceChanged,
    Continued,
    DigitHeard,
    DigitHidden,
    FarEndAnswered,
    HoldChanged,
    Interrupted,
    ItemPlayed,
    MachineDetected,
    QueueState,
    SpeechDropped,
    SpeechStarted,
    SpeechStopped,
    Told,
    ToolDone,
)
from gateway.agents.protocol import Mark, Message, WireProtocol
from gateway.agents.protocols import wire_names
from gateway.media.playout import Cleared, MarkReached, Unheard
from tests.agents.wire.test_any_message import opened

EVENTS: list[AgentEvent] = [
    DigitHeard("5", 100),
    DigitHidden(),
    SpeechStarted(20.0),
    SpeechStopped(1020.5),
    Interrupted("clear", Cleared(100.0, 20.0, ("a", "b"))),
    Interrupted("pause", None),
    Continued(),
    ItemPlayed("item", 80.0, 100.0),
    ItemPlayed("", 0.0, 0.0),
    FarEndAnswered(),
    FarEndAnswered(is_early=True),
    HoldChanged(on=True),
    AudienceChanged(("caller",), ()),
    QueueState(is_full=True, queued_ms=55_000.0),
    SpeechDropped(400.0),
    ToolDone("id", "transfer", is_done=False, status=486, detail="busy", result={"a": 1}),
    MachineDetected("beep", 3000.0),
    Told("summary", {"text": "good day"}),
    MarkReached("a", 100.0, heard=True),
    Cleared(100.0, 20.0, ("a", "b")),
    Unheard(100.0),
]

MARKS: dict[str, str | bytes] = {
    "jambonz": json.dumps({"type": "mark", "data": {"name": "a"}}),
    "asterisk": "MARK_MEDIA a",
    "twilio": json.dumps({"event": "mark", "mark": {"name": "a"}}),
    "telnyx": json.dumps({"event": "mark", "mark": {"name": "a"}}),
    "exotel": json.dumps({"event": "mark", "mark": {"name": "a"}}),
    "gateway": json.dumps({"type": "mark", "name": "a"}),
}
"How an agent sets a mark, in the protocols that tell of each mark that was cleared."


class LaterEvent:
    """One that a protocol was written before."""


def test_every_kind_of_event_is_tried() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(AgentEvent))


@pytest.mark.parametrize("name", wire_names())
@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_every_protocol_can_be_told_of_every_event(name: str, event: AgentEvent) -> None:
    told = told_of(opened(name), event)

    assert all(isinstance(message, str | bytes) for message in told)


@pytest.mark.parametrize("name", wire_names())
def test_event_that_a_protocol_does_not_know_says_nothing(name: str) -> None:
    assert told_of(opened(name), cast(AgentEvent, LaterEvent())) == []


@pytest.mark.parametrize("name", sorted(MARKS))
def test_mark_that_barge_in_clears_is_told_of(name: str) -> None:
    protocol = opened(name)
    (mark,) = (wish for wish in protocol.receive(MARKS[name]) if isinstance(wish, Mark))

    told = told_of(protocol, Interrupted("clear", Cleared(0.0, 500.0, (mark.name,))))

    assert len(told) == 1
    assert "a" in str(told[0])


def told_of(protocol: WireProtocol, event: AgentEvent) -> list[Message]:
    messages: Iterable[Any] = protocol.notice(event)
    return list(messages)

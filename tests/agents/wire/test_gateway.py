"""Our own protocol: what is sent, what is understood, and that its page says the same."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

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
from gateway.agents.protocol import (
    AgentAddress,
    Answer,
    CallFacts,
    Clear,
    Done,
    JudgeBargeIn,
    Mark,
    Message,
    Note,
    Pause,
    Ready,
    Reply,
    Resume,
    Say,
    Use,
    Wish,
    Wrong,
)
from gateway.agents.tool import TOOLS, HangUp, Transfer
from gateway.agents.tool_json import FORMS
from gateway.agents.wire import gateway as wire
from gateway.media.playout import Cleared, MarkReached, Unheard
from gateway.private import Secret

PAGE = Path(__file__).parents[3] / "docs/agent-protocol.md"

FACTS = CallFacts(
    id="gw-5f0c2a7e91d34b68",
    caller="+15550123",
    called="+15550100",
    is_outbound=False,
    agent="helper",
    attributes={"x-account": "4711"},
    token="0" * 32,
    codec="PCMU",
    tools=("hang_up", "transfer"),
)

EVENTS: tuple[AgentEvent, ...] = (
    FarEndAnswered(),
    MarkReached("greeting", 1840.0, heard=True),
    ItemPlayed("answer-7", 920.04, 4000),
    Cleared(2760, 3080, ("end",)),
    Unheard(2760.0),
    QueueState(is_full=True, queued_ms=54_000),
    SpeechDropped(20.0),
    SpeechStarted(5120.0),
    SpeechStopped(6480.0),
    Interrupted("clear", Cleared(5240.0, 900.0, ())),
    Interrupted("pause", None),
    Continued(),
    DigitHeard("5", 160),
    DigitHidden(),
    AudienceChanged(("caller", "agent"), ("agent",)),
    HoldChanged(on=True),
    ToolDone("t1", "transfer", is_done=False, status=486, detail="busy"),
    ToolDone("t2", "ask_digits", is_done=True, result={"digits": "42", "ended_by": "#"}),
    MachineDetected("beep", 7300.0),
    Told("summary", {"text": "She wants a refund for order 4711."}),
)


class Silence:
    queued_ms = 0.0
    is_paused = False


def opened(settings: wire.Settings | None = None) -> wire.GatewayProtocol:
    protocol = wire.make(settings or wire.Settings())
    list(protocol.open(FACTS, Silence()))
    return protocol


def receive(message: Message) -> list[Wish]:
    return list(opened().receive(message))


def say(**message: Any) -> list[Wish]:
    return receive(json.dumps(message))


def chapter(title: str) -> list[dict[str, Any]]:
    """The messages of the page's chapter, in order."""
    text = PAGE.read_text(encoding="utf-8").partition(f"## {title}\n")[2].partition("\n## ")[0]
    blocks = [block.partition("```")[0] for block in text.split("```json\n")[1:]]
    return [json.loads(line) for block in blocks for line in block.splitlines()]


# ---- the page


def test_page_shows_each_message_as_it_is_sent() -> None:
    protocol = wire.make(wire.Settings())

    sent = [*protocol.open(FACTS, Silence())]
    for event in EVENTS:
        sent += protocol.notice(event)
    sent += protocol.close("hangup")

    told = [{**json.loads(str(text)), "seq": 0} for text in sent]
    shown = [{**message, "seq": 0} for message in chapter("From the gateway")]
    assert [message for message in told if message not in shown] == []
    assert {m["type"] for m in shown} == {m["type"] for m in told} | {"error"}


def test_every_event_has_words() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(AgentEvent))


@pytest.mark.parametrize("message", chapter("From the agent"), ids=lambda m: m["type"])
def test_page_shows_messages_that_are_understood(message: dict[str, Any]) -> None:
    wishes = say(**message)

    assert not any(isinstance(wish, Wrong | Reply) for wish in wishes)
    if message["type"] == "tool":
        (use,) = wishes
        assert isinstance(use, Use)
        assert type(use.tool) is TOOLS[message["name"]]
        assert set(message["arguments"]) <= set(FORMS[message["name"]]["parameters"]["properties"])


def test_page_shows_every_message_and_tool_that_is_understood() -> None:
    shown = chapter("From the agent")

    assert {m["type"] for m in shown} == set(wire._HANDLERS)
    assert {m["name"] for m in shown if m["type"] == "tool"} == set(TOOLS)


# ---- what is sent


def test_start_of_a_connection_made_anew_names_the_last_number() -> None:
    again = dataclasses.replace(FACTS, stream=1, last_sequence=17, attributes={}, tools=())
    protocol = wire.make(wire.Settings())

    (text,) = protocol.open(again, Silence())

    _, shown = (m for m in chapter("From the gateway") if m["type"] == "start")
    assert json.loads(str(text)) == shown


def test_what_is_heard_goes_out_as_it_is() -> None:
    audio = bytes(640)

    assert opened().hear(audio) is audio


def test_number_of_messages_counts_text_alone() -> None:
    protocol = opened()

    protocol.hear(bytes(640))
    (text,) = protocol.notice(DigitHidden())

    assert json.loads(str(text))["seq"] == 2


def test_speech_without_a_name_is_not_reported_as_an_item() -> None:
    assert list(opened().notice(ItemPlayed("", 10, 10))) == []


@pytest.mark.parametrize(
    ("username", "header"),
    [("", "Bearer s3cret"), ("gate", "Basic Z2F0ZTpzM2NyZXQ=")],
    ids=["token", "password"],
)
def test_secret_goes_into_the_request(username: str, header: str) -> None:
    address = AgentAddress("helper", "wss://agent.example.com/calls", username, Secret("s3cret"))

    opening = wire.opening(address, wire.Settings(), FACTS)

    assert opening.headers == (("Authorization", header),)
    assert opening.subprotocols == ("gateway-agent.v1",)
    assert opening.url == address.url


# ---- what is understood


def test_speech_belongs_to_the_item_named_before_it() -> None:
    protocol = opened()

    list(protocol.receive('{"type":"item","id":"answer-7"}'))
    first = list(protocol.receive(b"\1\2\3"))
    list(protocol.receive('{"type":"item","id":""}'))
    second = list(protocol.receive(b"\4"))

    assert first == [Say(b"\1\2\3", "answer-7")]
    assert second == [Say(b"\4", "")]


def test_rate_of_speech_can_change() -> None:
    protocol = opened()

    list(protocol.receive('{"type":"audio","rate":24000}'))

    assert protocol.said.rate == 24_000
    assert protocol.heard.rate == 16_000


@pytest.mark.parametrize(
    ("message", "wish"),
    [
        ({"type": "ready"}, Ready()),
        ({"type": "answer"}, Answer()),
        ({"type": "mark", "name": "m"}, Mark("m")),
        ({"type": "clear"}, Clear()),
        ({"type": "pause"}, Pause()),
        ({"type": "resume"}, Resume()),
        ({"type": "barge_in", "real": True}, JudgeBargeIn(is_real=True)),
        ({"type": "tool", "name": "hang_up"}, Use(HangUp(), "")),
        (
            {"type": "tool", "id": "7", "name": "transfer_call", "arguments": {"target": "+1555"}},
            Use(Transfer("+1555"), "7"),
        ),
        (
            {"type": "transcript", "speaker": "agent", "text": "Hello"},
            Note("transcript", {"speaker": "agent", "text": "Hello"}),
        ),
        ({"type": "done"}, Done(hang_up=True)),
        ({"type": "done", "hang_up": False}, Done(hang_up=False)),
    ],
    ids=str,
)
def test_message_becomes_a_wish(message: dict[str, Any], wish: Wish) -> None:
    assert say(**message) == [wish]


def test_type_of_a_newer_agent_is_passed_over() -> None:
    (answer,) = say(type="sing", song="la")

    assert isinstance(answer, Reply)
    assert json.loads(str(answer.message))["code"] == "unknown-type"


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "[]",
        '"ready"',
        "{}",
        '{"type":7}',
        "[" * 20_000,
        '{"type":"mark"}',
        '{"type":"mark","name":""}',
        '{"type":"mark","name":[]}',
        json.dumps({"type": "mark", "name": "m" * 129}),
        '{"type":"audio","rate":11025}',
        '{"type":"audio","rate":[]}',
        '{"type":"barge_in"}',
        '{"type":"transcript","speaker":{},"text":"x"}',
        '{"type":"note","kind":"x","data":7}',
        '{"type":"done","hang_up":"no"}',
        '{"type":"tool","id":{},"name":"hang_up"}',
        json.dumps({"type": "note", "kind": "x", "data": {"text": "x" * 70_000}}),
    ],
    ids=lambda m: m[:40],
)
def test_what_is_not_in_the_protocol_is_answered_and_counted(message: str) -> None:
    wishes = receive(message)

    reply, wrong = wishes
    assert isinstance(reply, Reply)
    assert json.loads(str(reply.message))["type"] == "error"
    assert isinstance(wrong, Wrong)


def test_tool_that_cannot_be_used_so_is_no_strike() -> None:
    (answer,) = say(type="tool", id="t9", name="transfer", arguments={})

    assert isinstance(answer, Reply)
    told = json.loads(str(answer.message))
    del told["seq"]
    assert told == {
        "type": "tool_done",
        "id": "t9",
        "name": "transfer",
        "done": False,
        "status": 400,
        "detail": "it needs to",
    }


def test_errors_are_not_answered_for_ever() -> None:
    protocol = opened()

    replies = [
        wish for _ in range(wire.MAX_ERRORS + 50) for wish in protocol.receive('{"type":"sing"}')
    ]

    assert len(replies) == wire.MAX_ERRORS

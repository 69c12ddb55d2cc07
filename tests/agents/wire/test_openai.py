"""OpenAI's Realtime: the session, speech and what was heard of it, tools; by OpenAI's own types."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable
from typing import Any

import pytest

from gateway.agents.event import (
    AgentEvent,
    DigitHeard,
    FarEndAnswered,
    Interrupted,
    ItemPlayed,
    MachineDetected,
    SpeechStarted,
    SpeechStopped,
    Told,
    ToolDone,
)
from gateway.agents.protocol import (
    AgentAddress,
    AudioFormat,
    CallFacts,
    Clear,
    JudgeBargeIn,
    Message,
    Note,
    Ready,
    Reply,
    Say,
    Use,
    Wish,
    Wrong,
)
from gateway.agents.tool import HangUp, Transfer
from gateway.agents.wire import openai as wire
from gateway.codec import PCMA, PCMU
from gateway.media.playout import Cleared
from gateway.private import Secret
from tests.agents.wire.facts import Queue
from tests.agents.wire.openai_types import check_client_event, check_server_event

FACTS = CallFacts(
    id="gw-5f0c2a7e91d34b68",
    caller="+15550123",
    called="+15550100",
    is_outbound=False,
    agent="helper",
    attributes={},
    token="0" * 32,
    tools=("hang_up", "transfer"),
)

SECOND = bytes(48_000)
"Of 24 kHz PCM."


class Talk:
    """One session, and what the gateway sent in it; every event of either side is checked."""

    def __init__(self, facts: CallFacts = FACTS, **settings: Any) -> None:
        self.protocol = wire.make(wire.Settings(**settings))
        self.sent: list[dict[str, Any]] = []
        self._events = 0
        self.queue = Queue()
        self.take(self.protocol.open(facts, self.queue))

    def take(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        told = [check_client_event(str(message)) for message in messages]
        self.sent += told
        return told

    def serve(self, kind: str, **values: Any) -> list[Wish]:
        """The server says this; what the gateway replies at once is in `sent`."""
        self._events += 1
        event = {"type": kind, "event_id": f"event_{self._events}", **values}
        check_server_event(event)
        return self.raw(json.dumps(event))

    def raw(self, text: Message) -> list[Wish]:
        wishes = list(self.protocol.receive(text))
        self.take(wish.message for wish in wishes if isinstance(wish, Reply))
        return [wish for wish in wishes if not isinstance(wish, Reply)]

    def notice(self, event: AgentEvent) -> list[dict[str, Any]]:
        return self.take(self.protocol.notice(event))

    def begin(self, **settings: Any) -> Talk:
        self.serve("session.updated", session={"type": "realtime"})
        return self

    def respond(self, response: str = "resp_1") -> None:
        self.serve("response.created", response={"id": response, "status": "in_progress"})

    def done(self, response: str = "resp_1", **values: Any) -> list[Wish]:
        told = {"id": response, "status": "completed", **values}
        return self.serve("response.done", response=told)

    def speak(self, audio: bytes, item: str = "item_1", response: str = "resp_1") -> list[Wish]:
        return self.serve(
            "response.output_audio.delta",
            response_id=response,
            item_id=item,
            output_index=0,
            content_index=0,
            delta=base64.b64encode(audio).decode(),
        )

    def spoken(self, item: str = "item_1", response: str = "resp_1") -> None:
        place = {"output_index": 0, "content_index": 0}
        self.serve("response.output_audio.done", response_id=response, item_id=item, **place)

    def interrupt(self) -> list[Wish]:
        return self.serve(
            "input_audio_buffer.speech_started", audio_start_ms=900, item_id="item_caller"
        )

    def call(self, name: str, arguments: str = "{}", call_id: str = "call_1") -> list[Wish]:
        return self.serve(
            "response.function_call_arguments.done",
            response_id="resp_1",
            item_id="item_f",
            output_index=1,
            call_id=call_id,
            name=name,
            arguments=arguments,
        )

    def sent_types(self) -> list[str]:
        return [message["type"] for message in self.sent]


def answering(**settings: Any) -> Talk:
    """A session in which the model has just begun to answer."""
    talk = Talk(greeting=False, **settings).begin()
    talk.respond()
    talk.sent.clear()
    return talk


# ---- the session


def test_session_is_made_of_the_settings() -> None:
    talk = Talk(
        instructions="You help {caller}.",
        voice="marin",
        speed=1.1,
        transcription="gpt-4o-mini-transcribe",
        noise_reduction="far_field",
        turn_detection={"type": "semantic_vad", "eagerness": "high"},
        session={"max_output_tokens": 400, "audio": {"output": {"voice": "cedar"}}},
    )

    (update,) = talk.sent
    session = update["session"]
    assert session["instructions"] == "You help +15550123."
    assert session["max_output_tokens"] == 400
    assert session["audio"] == {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "noise_reduction": {"type": "far_field"},
            "transcription": {"model": "gpt-4o-mini-transcribe"},
            "turn_detection": {"type": "semantic_vad", "eagerness": "high"},
        },
        "output": {
            "format": {"type": "audio/pcm", "rate": 24_000},
            "voice": "cedar",
            "speed": 1.1,
        },
    }
    assert [tool["name"] for tool in session["tools"]] == ["hang_up", "transfer"]


@pytest.mark.parametrize(
    ("codec", "setting", "name", "format_"),
    [
        ("PCMU", "auto", "audio/pcmu", AudioFormat(8000, PCMU)),
        ("PCMA", "auto", "audio/pcma", AudioFormat(8000, PCMA)),
        ("opus", "auto", "audio/pcm", AudioFormat(24_000)),
        ("", "auto", "audio/pcm", AudioFormat(24_000)),
        ("PCMU", "pcm", "audio/pcm", AudioFormat(24_000)),
        ("opus", "pcma", "audio/pcma", AudioFormat(8000, PCMA)),
    ],
)
def test_format_is_the_callers_where_that_is_g711(
    codec: str, setting: str, name: str, format_: AudioFormat
) -> None:
    talk = Talk(dataclasses.replace(FACTS, codec=codec), audio=setting)

    audio = talk.sent[0]["session"]["audio"]
    assert audio["input"]["format"]["type"] == audio["output"]["format"]["type"] == name
    assert (talk.protocol.heard, talk.protocol.said) == (format_, format_)


def test_model_speaks_in_the_format_that_the_server_says() -> None:
    talk = Talk(audio="pcmu")
    audio = {"output": {"format": {"type": "audio/pcm", "rate": 24_000}}}

    talk.serve("session.updated", session={"type": "realtime", "audio": audio})

    assert talk.protocol.said == AudioFormat(24_000)
    assert talk.protocol.heard == AudioFormat(8000, PCMU)


def test_agent_is_ready_when_its_session_is() -> None:
    talk = Talk(greeting=False)

    created = talk.serve("session.created", session={"type": "realtime"})
    updated = talk.serve("session.updated", session={"type": "realtime"})
    again = talk.serve("session.updated", session={"type": "realtime"})

    assert (created, updated, again) == ([], [Ready()], [])


def test_tool_of_the_session_goes_before_ours_of_that_name() -> None:
    own = {"type": "function", "name": "transfer", "parameters": {"type": "object"}}

    talk = Talk(session={"tools": [own]})

    tools = talk.sent[0]["session"]["tools"]
    assert tools[0] == own
    assert [tool["name"] for tool in tools] == ["transfer", "hang_up"]


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("wss://api.openai.com/v1/realtime", "wss://api.openai.com/v1/realtime?model=gpt-realtime"),
        ("wss://example.com/v1?a=b", "wss://example.com/v1?a=b&model=gpt-realtime"),
        ("wss://example.com/v1?model=mine", "wss://example.com/v1?model=mine"),
    ],
)
def test_model_is_named_in_the_url(url: str, opened: str) -> None:
    address = AgentAddress("helper", url, secret=Secret("sk-test"))

    opening = wire.opening(address, wire.Settings(), FACTS)

    assert opening.url == opened
    assert opening.headers == (("Authorization", "Bearer sk-test"),)


# ---- who speaks first


def test_model_speaks_first() -> None:
    talk = Talk().begin()

    assert talk.sent[1:] == [{"type": "response.create", "event_id": wire.OURS}]


def test_model_is_told_how_to_greet() -> None:
    talk = Talk(greeting="Say hello.").begin()

    assert talk.sent[1:] == [
        {
            "type": "response.create",
            "event_id": wire.OURS,
            "response": {"instructions": "Say hello."},
        }
    ]


def test_model_that_calls_somebody_waits_until_they_answer() -> None:
    talk = Talk(dataclasses.replace(FACTS, is_outbound=True)).begin()

    early = talk.notice(FarEndAnswered(is_early=True))
    answered = talk.notice(FarEndAnswered())

    assert talk.sent_types() == ["session.update", "response.create"]
    assert early == []
    assert [message["type"] for message in answered] == ["response.create"]


def test_model_that_is_ready_late_greets_who_has_answered() -> None:
    talk = Talk(dataclasses.replace(FACTS, is_outbound=True))

    talk.notice(FarEndAnswered())
    talk.begin()

    assert talk.sent_types() == ["session.update", "response.create"]


def test_f18_model_of_a_connection_made_anew_is_told_so() -> None:
    talk = Talk(dataclasses.replace(FACTS, stream=1), greeting=False).begin()

    (create,) = talk.sent[1:]
    assert "connection was lost" in create["response"]["instructions"]


# ---- speech


def test_what_is_heard_is_appended_as_base64() -> None:
    talk = Talk()

    (message,) = talk.take([str(talk.protocol.hear(b"\x00\x01\xff\xfe"))])

    assert message == {"type": "input_audio_buffer.append", "audio": "AAH//g=="}


@pytest.mark.parametrize("kind", ["response.output_audio.delta", "response.audio.delta"])
def test_speech_is_said_as_it_comes(kind: str) -> None:
    talk = answering()
    delta = {"type": kind, "item_id": "item_1", "response_id": "resp_1", "delta": "AAECAw=="}

    wishes = talk.raw(json.dumps(delta))

    assert wishes == [Say(b"\x00\x01\x02\x03", "item_1")]


def test_interrupted_speech_is_truncated_at_what_was_heard() -> None:
    talk = answering()
    talk.speak(SECOND)
    talk.speak(SECOND)

    wishes = talk.interrupt()
    told = talk.notice(ItemPlayed("item_1", 734.6, 2000.0))

    assert wishes == [Clear()]
    assert told == [
        {
            "type": "conversation.item.truncate",
            "item_id": "item_1",
            "content_index": 0,
            "audio_end_ms": 734,
        }
    ]
    assert talk.sent_types() == ["conversation.item.truncate"]


def test_server_that_hears_speech_judges_what_the_gateway_has_paused() -> None:
    talk = answering()
    talk.speak(SECOND)
    talk.queue.is_paused = True

    wishes = talk.interrupt()

    assert wishes == [JudgeBargeIn(is_real=True), Clear()]


def test_truncation_is_never_behind_what_came() -> None:
    talk = answering()
    talk.speak(SECOND)

    talk.interrupt()
    (told,) = talk.notice(ItemPlayed("item_1", 1000.4, 1001.0))

    assert told["audio_end_ms"] == 1000


def test_late_speech_of_an_interrupted_response_is_dropped() -> None:
    talk = answering()
    talk.speak(SECOND)
    talk.interrupt()

    late = talk.speak(SECOND)
    late_item = talk.speak(SECOND, item="item_2")
    talk.done(status="cancelled")
    talk.respond("resp_2")
    new = talk.speak(b"\1\2", item="item_3", response="resp_2")

    assert (late, late_item) == ([], [])
    assert new == [Say(b"\1\2", "item_3")]


def test_response_is_cancelled_where_the_server_does_not_by_itself() -> None:
    talk = answering(turn_detection={"type": "server_vad", "interrupt_response": False})
    talk.speak(SECOND)

    talk.interrupt()

    assert talk.sent == [{"type": "response.cancel", "response_id": "resp_1"}]


def test_speech_goes_on_where_the_caller_must_not_interrupt() -> None:
    talk = answering(interrupt=False)
    talk.speak(SECOND)

    wishes = talk.interrupt()
    more = talk.speak(b"\1\2")

    assert wishes == []
    assert more == [Say(b"\1\2", "item_1")]


def test_item_that_ran_dry_before_it_was_finished_is_truncated_at_once() -> None:
    talk = answering()
    talk.speak(SECOND)
    talk.notice(ItemPlayed("item_1", 1000.0, 1000.0))

    wishes = talk.interrupt()

    assert wishes == []
    assert [m["audio_end_ms"] for m in talk.sent] == [1000]


@pytest.mark.parametrize("order", [("spoken", "played"), ("played", "spoken")])
def test_item_that_was_heard_whole_is_not_truncated(order: tuple[str, str]) -> None:
    talk = answering()
    talk.speak(SECOND)
    for step in order:
        if step == "spoken":
            talk.spoken()
        else:
            talk.notice(ItemPlayed("item_1", 1000.0, 1000.0))
    talk.done()

    wishes = talk.interrupt()

    assert (wishes, talk.sent) == ([], [])


def test_all_that_is_queued_is_truncated_each_at_its_own() -> None:
    talk = answering()
    talk.speak(SECOND)
    talk.spoken()
    talk.speak(SECOND, item="item_2")
    talk.spoken("item_2")
    talk.done()

    talk.interrupt()
    talk.notice(ItemPlayed("item_1", 1000.0, 1000.0))
    talk.notice(ItemPlayed("item_2", 0.0, 1000.0))

    assert [(m["item_id"], m["audio_end_ms"]) for m in talk.sent] == [("item_2", 0)]


def test_what_the_gateway_itself_cleared_is_cancelled_and_truncated() -> None:
    talk = answering()
    talk.speak(SECOND)

    talk.notice(ItemPlayed("item_1", 200.0, 1000.0))
    talk.notice(Interrupted("clear", Cleared(200.0, 800.0, ())))
    late = talk.speak(SECOND)

    assert talk.sent_types() == ["response.cancel", "conversation.item.truncate"]
    assert late == []


def test_gateways_turns_count_where_the_server_listens_for_nobody() -> None:
    talk = Talk(greeting=False, turn_detection={"type": "none"}).begin()

    assert talk.sent[0]["session"]["audio"]["input"]["turn_detection"] is None
    talk.sent.clear()
    talk.notice(SpeechStarted(100.0))
    talk.notice(SpeechStopped(900.0))
    talk.respond()
    talk.notice(SpeechStarted(1500.0))

    assert talk.sent_types() == ["input_audio_buffer.commit", "response.create", "response.cancel"]


# ---- tools


def test_tool_is_used_and_its_outcome_told() -> None:
    talk = answering()

    wishes = talk.call("transfer", '{"to":"+15550142","mode":"warm"}')
    told = talk.notice(ToolDone("call_1", "transfer", is_done=False, status=486, detail="busy"))
    talk.done()

    assert wishes == [Use(Transfer("+15550142", "warm"), "call_1")]
    assert told[0]["item"]["call_id"] == "call_1"
    assert json.loads(told[0]["item"]["output"]) == {"done": False, "status": 486, "detail": "busy"}
    # Only when the response that asked for it is over may another be asked for.
    assert talk.sent_types() == ["conversation.item.create", "response.create"]


def test_tool_that_is_told_twice_is_used_once() -> None:
    talk = answering()
    function = {"type": "function_call", "call_id": "call_1", "name": "hang_up", "arguments": "{}"}

    first = talk.call("hang_up")
    second = talk.done(output=[function])

    assert first == [Use(HangUp(), "call_1")]
    assert second == []


def test_tool_that_only_the_end_of_the_response_tells_is_used() -> None:
    talk = answering()
    function = {"type": "function_call", "call_id": "call_1", "name": "hang_up", "arguments": ""}

    wishes = talk.done(output=[function])

    assert wishes == [Use(HangUp(), "call_1")]


def test_model_says_nothing_more_after_it_has_hung_up() -> None:
    talk = answering()
    talk.call("hang_up")
    talk.done()

    talk.notice(ToolDone("call_1", "hang_up", is_done=True))

    assert talk.sent_types() == ["conversation.item.create"]


def test_answers_of_two_tools_are_spoken_to_together() -> None:
    talk = answering()
    talk.call("mute", '{"on":true}', "call_1")
    talk.call("record", '{"on":true}', "call_2")
    talk.done()

    talk.notice(ToolDone("call_1", "mute", is_done=True))
    talk.notice(ToolDone("call_2", "record", is_done=True))

    created = "conversation.item.create"
    assert talk.sent_types() == [created, created, "response.create"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("sing", "{}"), ("transfer", "{}"), ("transfer", "{"), ("transfer", '["+1555"]')],
)
def test_a39_tool_that_cannot_be_used_is_answered_to_the_model(name: str, arguments: str) -> None:
    talk = answering()

    wishes = talk.call(name, arguments)
    talk.done()

    assert wishes == []
    assert json.loads(talk.sent[0]["item"]["output"])["status"] == 400
    assert talk.sent_types() == ["conversation.item.create", "response.create"]


# ---- what else happens


def test_keys_are_told_to_the_model() -> None:
    talk = answering()

    (told,) = talk.notice(DigitHeard("5", 120))

    assert told["item"]["content"] == [
        {"type": "input_text", "text": "The caller pressed the key 5."}
    ]


def test_model_answers_a_key_where_it_is_to() -> None:
    talk = Talk(greeting=False, digits="answer").begin()

    told = talk.notice(DigitHeard("5", 120))

    assert [m["type"] for m in told] == ["conversation.item.create", "response.create"]


def test_keys_stay_untold_where_they_are_to() -> None:
    assert answering(digits="ignore").notice(DigitHeard("5", 120)) == []


def test_model_speaks_after_the_beep_of_a_machine() -> None:
    talk = Talk(greeting=False).begin()

    machine = talk.notice(MachineDetected("machine", 2100.0))
    beep = talk.notice(MachineDetected("beep", 7300.0))

    assert [m["type"] for m in machine] == ["conversation.item.create"]
    assert [m["type"] for m in beep] == ["conversation.item.create", "response.create"]


def test_model_takes_over_with_a_summary() -> None:
    talk = Talk(greeting=False).begin()

    told = talk.notice(Told("handed-back", {"text": "She wants a refund."}))

    assert "She wants a refund." in told[0]["item"]["content"][0]["text"]
    assert told[1]["type"] == "response.create"


def test_model_briefs_whom_the_caller_is_transferred_to() -> None:
    talk = answering()
    talk.call("transfer", '{"to":"+15550142","mode":"warm"}')
    talk.done()

    told = talk.notice(Told("transfer", {"state": "answered", "brief": "A refund for 4711"}))

    assert "A refund for 4711" in told[0]["item"]["content"][0]["text"]
    assert told[1]["type"] == "response.create"


def test_transcripts_of_both_become_notes() -> None:
    talk = answering()
    place = {"item_id": "item_1", "content_index": 0}

    caller = talk.serve(
        "conversation.item.input_audio_transcription.completed",
        transcript="Hello? ",
        usage={"type": "duration", "seconds": 1.0},
        **place,
    )
    agent = talk.serve(
        "response.output_audio_transcript.done",
        transcript="Good morning!",
        response_id="resp_1",
        output_index=0,
        **place,
    )

    assert caller == [Note("transcript", {"speaker": "caller", "text": "Hello?", "item": "item_1"})]
    assert agent == [
        Note("transcript", {"speaker": "agent", "text": "Good morning!", "item": "item_1"})
    ]


def test_f18_refused_session_is_given_up_at_once() -> None:
    talk = Talk()
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": "No such voice"}

    wishes = talk.serve("error", error=error)

    assert wishes == [Note("error", error), *[Wrong("the session was refused")] * 3]


def test_error_of_a_running_session_is_noted() -> None:
    error = {"type": "server_error", "message": "x" * 900}

    (note,) = answering().serve("error", error=error)

    assert note == Note("error", {"type": "server_error", "message": "x" * 256})


def test_failed_response_is_noted() -> None:
    talk = answering()
    details = {"type": "failed", "error": {"type": "server_error", "code": "rate_limit"}}

    wishes = talk.done(status="failed", status_details=details)

    assert wishes == [Note("error", {"type": "server_error", "code": "rate_limit"})]


def test_cancel_that_crossed_the_end_is_no_error() -> None:
    (code,) = wire.HARMLESS
    error = {"type": "invalid_request_error", "code": code, "message": "none active"}

    assert answering().serve("error", error=error) == []


def test_response_asked_for_too_early_is_asked_for_again() -> None:
    talk = Talk(greeting=False).begin()
    talk.notice(Told("message", {"text": "Wrap up."}))
    error = {
        "type": "invalid_request_error",
        "code": wire.BUSY,
        "message": "busy",
        "event_id": wire.OURS,
    }

    talk.serve("error", error=error)
    talk.done()

    assert talk.sent_types()[1:] == [
        "conversation.item.create",
        "response.create",
        "response.create",
    ]


def test_event_that_is_not_known_is_passed_over() -> None:
    talk = answering()

    assert talk.raw('{"type":"rate_limits.updated","event_id":"e","rate_limits":[]}') == []
    assert talk.raw('{"type":"response.dream.delta","delta":"zzz"}') == []


@pytest.mark.parametrize(
    "message",
    [
        b"\0\0",
        "",
        "{",
        "[]",
        '{"type":[]}',
        "[" * 20_000,
        '{"type":"response.output_audio.delta"}',
        '{"type":"response.output_audio.delta","item_id":"i","delta":"A"}',
        '{"type":"response.output_audio.delta","item_id":"i","delta":"\u00e4\u00f6\u00fc=="}',
        '{"type":"response.output_audio.delta","item_id":7,"delta":"AAAA"}',
    ],
    ids=lambda m: repr(m[:50]),
)
def test_f19_what_is_not_in_the_protocol_is_a_strike(message: Message) -> None:
    (wish,) = answering().raw(message)

    assert isinstance(wish, Wrong)


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"response.created","response":7}',
        '{"type":"response.done","response":{"id":[],"output":{"a":1},"status":[]}}',
        '{"type":"response.done","response":{"output":[7,{"type":"function_call"}]}}',
        '{"type":"session.updated","session":[]}',
        '{"type":"error","error":[]}',
        '{"type":"error","error":{"code":[],"event_id":{}}}',
        '{"type":"response.output_audio.done","item_id":{}}',
        '{"type":"response.output_audio.delta","item_id":"i","delta":"AAAA","response_id":[]}',
        '{"type":"response.output_audio.delta","item_id":"i","delta":"AAAA","content_index":"x"}',
        '{"type":"response.function_call_arguments.done","call_id":"c","name":[],"arguments":7}',
        '{"type":"response.output_audio_transcript.done","transcript":7}',
        '{"type":"input_audio_buffer.speech_started"}',
    ],
)
def test_f19_odd_events_of_the_server_break_nothing(message: str) -> None:
    talk = answering()

    talk.raw(message)

    assert talk.speak(b"\1\2", item="item_9", response="resp_9") == [Say(b"\1\2", "item_9")]


def test_f19_tables_stay_bounded() -> None:
    talk = answering()

    for n in range(500):
        talk.respond(f"resp_{n}")
        talk.speak(b"\1\2", item=f"item_{n}", response=f"resp_{n}")
        talk.call("mute", '{"on":true}', f"call_{n}")
        talk.interrupt()

    protocol = talk.protocol
    assert len(protocol._calls) <= wire.MAX_CALLS
    assert len(protocol._dropped) <= wire.MAX_DROPPED
    assert len(protocol._spoken._items) <= 64

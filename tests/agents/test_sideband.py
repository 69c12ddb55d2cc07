"""A program beside the model: what it hears of the session, and what it may say in it."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from gateway.agents.agent import AgentCall
from gateway.agents.event import ItemPlayed, Told
from gateway.agents.protocol import Reply, Use, WireModule
from gateway.agents.sideband import MAX_EARLY, MAX_WATCHERS, Sideband
from gateway.agents.tool import HangUp
from gateway.agents.wire import openai
from gateway.errors import RoutingError
from tests.agents.wire.facts import FACTS, Queue

UPDATED = '{"type":"session.updated","event_id":"e1","session":{"type":"realtime"}}'
SPEECH = json.dumps(
    {
        "type": "response.output_audio.delta",
        "response_id": "resp_1",
        "item_id": "item_1",
        "delta": "AAAA",
    }
)
CREATE = '{"type":"response.create"}'


class Call:
    """What a sideband asks of the call."""

    def __init__(self) -> None:
        self.clears = 0

    def clear(self) -> None:
        self.clears += 1

    def watch(self, on_event: Any) -> None:
        """The call tells what happens itself."""


class Aside:
    """One call with a model, and a program beside it."""

    def __init__(self, **session: Any) -> None:
        self.call = Call()
        self.sideband = Sideband(cast(AgentCall, self.call), session)
        settings = openai.Settings(greeting=False)
        module = self.sideband.tap(cast(WireModule, openai))
        self.protocol = module.make(settings)
        self.sent = [str(text) for text in self.protocol.open(FACTS, Queue())]
        self.sideband.view(cast(AgentCall, self.call)).watch(self._on_event)
        self.heard: list[str | None] = []

    def _on_event(self, event: Any) -> None:
        self.sent += [str(text) for text in self.protocol.notice(event)]

    def model(self, text: str) -> list[Any]:
        wishes = list(self.protocol.receive(text))
        self.sent += [str(wish.message) for wish in wishes if isinstance(wish, Reply)]
        return [wish for wish in wishes if not isinstance(wish, Reply)]

    def watch(self) -> Any:
        return self.sideband.watch(self.heard.append)

    def heard_types(self) -> list[str]:
        return [json.loads(text)["type"] for text in self.heard if text is not None]

    def use(self, name: str) -> list[Any]:
        function = {"call_id": f"call_{name}", "name": name, "arguments": "{}"}
        kind = "response.function_call_arguments.done"
        return self.model(json.dumps({"type": kind, **function}))


def test_program_hears_everything_but_speech() -> None:
    aside = Aside()
    aside.watch()

    aside.model(UPDATED)
    aside.model(SPEECH)
    aside.model('{"type":"response.done","response":{"id":"resp_1"}}')

    assert aside.heard_types() == [
        "session.updated",
        "output_audio_buffer.started",
        "response.done",
    ]


def test_program_that_comes_late_hears_of_the_session_first() -> None:
    aside = Aside()
    aside.model(UPDATED)

    aside.watch()

    assert aside.heard == [UPDATED]


def test_program_hears_when_speech_was_heard_to_its_end_or_cut_off() -> None:
    aside = Aside()
    aside.watch()
    aside.model(SPEECH)
    aside.protocol.notice(ItemPlayed("item_1", 10.0, 10.0))
    aside.model(SPEECH.replace("_1", "_2"))
    aside.protocol.notice(ItemPlayed("item_2", 5.0, 10.0))

    started, stopped = "output_audio_buffer.started", "output_audio_buffer.stopped"
    assert aside.heard_types() == [started, stopped, started, "output_audio_buffer.cleared"]


def test_a23_ids_that_no_server_has_are_not_kept() -> None:
    aside = Aside()
    aside.sideband.watch(aside.heard.append)

    for n in range(10):
        aside.model(SPEECH.replace("item_1", f"{n}" * 300))

    assert aside.heard == []


def test_what_the_program_says_early_waits_for_the_session() -> None:
    aside = Aside()
    aside.sideband.tell(CREATE)
    assert CREATE not in aside.sent

    aside.model(UPDATED)
    aside.sideband.tell('{"type":"response.cancel"}')

    assert aside.sent[1:] == [CREATE, '{"type":"response.cancel"}']


def test_f18_what_the_program_says_waits_for_a_connection_made_anew() -> None:
    aside = Aside()
    aside.model(UPDATED)
    again = aside.sideband.tap(cast(WireModule, openai)).make(openai.Settings(greeting=False))

    aside.sideband.tell(CREATE)
    aside.protocol = again

    assert CREATE not in aside.sent
    aside.model(UPDATED)
    assert aside.sent[-1] == CREATE


def test_formats_of_audio_are_not_the_programs_to_change() -> None:
    aside = Aside()
    aside.model(UPDATED)
    audio = {"output": {"format": {"type": "audio/pcma"}, "voice": "cedar"}, "input": None}

    aside.sideband.tell(json.dumps({"type": "session.update", "session": {"audio": audio}}))

    assert json.loads(aside.sent[-1])["session"] == {
        "audio": {"output": {"voice": "cedar"}, "input": None}
    }


def test_program_stops_the_speech() -> None:
    aside = Aside()
    aside.model(UPDATED)

    aside.sideband.tell('{"type":"output_audio_buffer.clear"}')

    assert aside.call.clears == 1
    assert len(aside.sent) == 1


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"type":7}', '{"type":"input_audio_buffer.append","audio":"AA=="}']
)
def test_what_is_not_the_programs_to_say_is_refused(text: str) -> None:
    aside = Aside()
    aside.model(UPDATED)

    with pytest.raises(RoutingError):
        aside.sideband.tell(text)

    assert len(aside.sent) == 1


def test_functions_of_the_program_are_left_to_it_while_it_is_there() -> None:
    tools = [{"type": "function", "name": name} for name in ("find_order", "hangup")]
    aside = Aside(tools=tools)
    leave = aside.watch()

    assert aside.use("find_order") == []
    assert aside.use("hangup") == []
    assert aside.use("hang_up") == [Use(HangUp(), "call_hang_up")]
    leave()
    assert aside.use("end_call") == [Use(HangUp(), "call_end_call")]
    assert len(aside.sent) == 1


def test_function_that_nobody_answers_is_answered_by_us() -> None:
    aside = Aside(tools=[{"type": "function", "name": "find_order"}])

    aside.use("find_order")

    assert json.loads(aside.sent[1])["item"]["type"] == "function_call_output"


def test_program_is_told_when_the_call_is_over() -> None:
    aside = Aside()
    aside.watch()

    aside.sideband.publish(None)

    assert aside.heard == [None]


def test_few_may_watch_and_little_waits() -> None:
    aside = Aside()
    stops = [aside.watch() for _ in range(MAX_WATCHERS)]
    with pytest.raises(RoutingError):
        aside.watch()
    stops[0]()
    stops[0]()
    aside.watch()

    for _ in range(MAX_EARLY + 20):
        aside.sideband.tell(CREATE)
    aside.model(UPDATED)

    assert aside.sent.count(CREATE) == MAX_EARLY


def test_other_news_of_the_call_still_reach_the_model() -> None:
    aside = Aside()

    aside._on_event(Told("message", {"text": "Wrap up."}))

    assert "Wrap up." in aside.sent[1]

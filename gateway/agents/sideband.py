"""A program's own ear and word in the session of a model that attends its call.

OpenAI has it as a second WebSocket, `/v1/realtime?call_id=rtc_…`: the program hears every event of
the session but audio, and its own events go into it. Here they pass through the one connection
that the gateway has with the model.

model ▸ Tapped.receive ▸ the program        program ▸ Sideband.tell ▸ Tapped.notice ▸ model
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from gateway.agents.agent import AgentCall
from gateway.agents.event import AgentEvent, ItemPlayed
from gateway.agents.protocol import (
    AgentAddress,
    AudioFormat,
    CallFacts,
    Message,
    Opening,
    Player,
    Reply,
    WireModule,
    WireProtocol,
    Wish,
)
from gateway.agents.wire.openai import OpenAiProtocol, read_id
from gateway.agents.wire_json import read_object, read_part
from gateway.errors import RoutingError

MAX_WATCHERS = 4
"Programs that watch one call."

MAX_EARLY = 64
"Events of a program that wait until the session with the model has begun."

MAX_ITEMS = 64
"Items of speech whose response is remembered."

CLEAR = "output_audio_buffer.clear"
"What a program sends to stop the model's speech: of us, for the speech is queued here."

_AUDIO = 'audio.delta"'
"In an event of audio and in no other: within a text the quote would be escaped."


@dataclass(frozen=True, slots=True)
class FromProgram:
    """An event of the program, on its way to the connection by way of the agent's events."""

    text: str


Watcher = Callable[[str | None], None]
"Is told every event, as text; None: the call is over."


class Sideband:
    """What programs hear of one call's model, and say to it."""

    def __init__(self, call: AgentCall, session: Mapping[str, Any]) -> None:
        """`session`: what the program has accepted the call with."""
        self._call = call
        self._watchers: list[Watcher] = []
        self._early: list[str] = []
        self._greeting = ""
        self._on_event: Callable[[AgentEvent], None] | None = None
        self._responses: dict[str, str] = {}
        self._is_open = False
        self.tools: frozenset[str] = frozenset()
        "Names of the functions that the program has declared, and answers itself."
        self._learn_tools(session)

    # ---- the program's side

    def watch(self, watcher: Watcher) -> Callable[[], None]:
        """Hand over every event of the model from now on; what is returned ends that.

        Raises:
            RoutingError: 503, too many watch already.
        """
        if len(self._watchers) >= MAX_WATCHERS:
            raise RoutingError("too many programs watch this call", status=503)
        self._watchers.append(watcher)
        if self._greeting:
            watcher(self._greeting)
        return lambda: self._watchers.remove(watcher) if watcher in self._watchers else None

    def tell(self, text: str) -> None:
        """Pass an event of the program on to the model.

        Raises:
            RoutingError: 400, it is none, or one that only the gateway may send.
        """
        event = read_object(text)
        kind = None if event is None else event.get("type")
        if event is None or not isinstance(kind, str):
            raise RoutingError("an event is a JSON object with a type", status=400)
        if kind.startswith("input_audio_buffer."):
            raise RoutingError("the caller alone is heard in this session", status=400)
        if kind == CLEAR:
            self._call.clear()
            return
        if kind == "session.update":
            session = read_part(event, "session")
            self._learn_tools(session)
            event = {**event, "session": without_formats(session)}
            text = json.dumps(event)
        if self._is_open and self._on_event is not None:
            self._on_event(cast(AgentEvent, FromProgram(text)))
        elif len(self._early) < MAX_EARLY:
            self._early.append(text)

    # ---- the model's side

    def tap(self, module: WireModule) -> WireModule:
        """A protocol's file whose conversations can be watched."""
        return _TappedModule(module, self)

    def view(self, call: AgentCall) -> AgentCall:
        """The call, such that the program's events reach whoever attends it."""
        return cast(AgentCall, _View(call, self))

    @property
    def is_watched(self) -> bool:
        """Whether a program is there."""
        return bool(self._watchers)

    def attended_by(self, on_event: Callable[[AgentEvent], None] | None) -> None:
        self._on_event = on_event

    def begun(self, event: str) -> list[str]:
        """The session has begun: what the program has said before."""
        self._greeting, self._is_open = event, True
        early, self._early = self._early, []
        return early

    def interrupted(self) -> None:
        """The connection is new, and its session has not begun."""
        self._is_open = False

    def publish(self, text: str | None) -> None:
        """Tell all who watch."""
        for watcher in tuple(self._watchers):
            watcher(text)

    def began_to_speak(self, item: str, response: str) -> None:
        """The first speech of an item has come."""
        if not item or item in self._responses:
            return
        while len(self._responses) >= MAX_ITEMS:
            del self._responses[next(iter(self._responses))]
        self._responses[item] = response
        self._tell_buffer("started", response)

    def played(self, event: ItemPlayed) -> None:
        """An item was played, whole or in part."""
        response = self._responses.pop(event.item, None)
        if response is not None:
            is_whole = event.played_ms >= event.said_ms
            self._tell_buffer("stopped" if is_whole else "cleared", response)

    def _tell_buffer(self, what: str, response: str) -> None:
        event = {
            "type": f"output_audio_buffer.{what}",
            "event_id": f"event_{what}_{response}",
            "response_id": response,
        }
        self.publish(json.dumps(event))

    def _learn_tools(self, session: Mapping[str, Any]) -> None:
        tools = session.get("tools")
        if isinstance(tools, list):
            names = (tool.get("name") for tool in tools if isinstance(tool, Mapping))
            self.tools = frozenset(name for name in names if isinstance(name, str))


def without_formats(session: Mapping[str, Any]) -> dict[str, Any]:
    """A session without the formats of its audio: those are between the gateway and the model."""
    audio = session.get("audio")
    if not isinstance(audio, Mapping):
        return dict(session)
    parts = {
        name: {key: value for key, value in part.items() if key != "format"}
        if isinstance(part, Mapping)
        else part
        for name, part in audio.items()
    }
    return {**session, "audio": parts}


class _View:
    """A call whose events come from two sides."""

    def __init__(self, call: AgentCall, sideband: Sideband) -> None:
        self._call = call
        self._sideband = sideband

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def watch(self, on_event: Callable[[AgentEvent], None] | None) -> None:
        self._sideband.attended_by(on_event)
        self._call.watch(on_event)


class _TappedModule:
    """A protocol's file, of which programs hear."""

    def __init__(self, module: WireModule, sideband: Sideband) -> None:
        self._module = module
        self._sideband = sideband
        self.Settings = module.Settings
        self.IS_STREAM = module.IS_STREAM

    def opening(self, address: AgentAddress, settings: Any, call: CallFacts) -> Opening:
        return self._module.opening(address, settings, call)

    def make(self, settings: Any) -> WireProtocol:
        protocol = self._module.make(settings)
        assert isinstance(protocol, OpenAiProtocol)
        return cast(WireProtocol, _Tapped(protocol, self._sideband))


class _Tapped:
    """One conversation, of which programs hear."""

    tells_ready = OpenAiProtocol.tells_ready
    max_queued_s = OpenAiProtocol.max_queued_s

    def __init__(self, protocol: OpenAiProtocol, sideband: Sideband) -> None:
        self._protocol = protocol
        self._sideband = sideband
        sideband.interrupted()

    @property
    def heard(self) -> AudioFormat:
        return self._protocol.heard

    @property
    def said(self) -> AudioFormat:
        return self._protocol.said

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        return self._protocol.open(call, player)

    def hear(self, audio: bytes) -> Message | None:
        return self._protocol.hear(audio)

    def close(self, reason: str) -> Iterable[Message]:
        return self._protocol.close(reason)

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        if isinstance(event, FromProgram):
            return (event.text,)
        if isinstance(event, ItemPlayed):
            self._sideband.played(event)
        return self._protocol.notice(event)

    def receive(self, message: Message) -> Iterable[Wish]:
        sideband = self._sideband
        self._protocol.others_tools = sideband.tools if sideband.is_watched else frozenset()
        wishes = self._protocol.receive(message)
        if isinstance(message, str):
            if _AUDIO not in message:
                sideband.publish(message)
                if '"session.updated"' in message:
                    early = sideband.begun(message)
                    return (*wishes, *map(Reply, early))
            elif sideband.is_watched:
                read = read_object(message) or {}
                sideband.began_to_speak(read_id(read, "item_id"), read_id(read, "response_id"))
        return wishes

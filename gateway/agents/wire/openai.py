"""OpenAI's Realtime protocol, by the names of its general availability, as its client.

What the server sends of a response is said as it comes; what was heard of it is known by our own
clock, and told when the caller interrupts: `conversation.item.truncate`, at the sample heard.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

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
from gateway.agents.openai_session import FORMATS, build_session, describe_told, format_of
from gateway.agents.openai_session import Settings as Settings
from gateway.agents.openai_session import opening as opening
from gateway.agents.openai_speech import MAX_QUEUED_S, Spoken, Truncation
from gateway.agents.protocol import (
    AudioFormat,
    CallFacts,
    Clear,
    JudgeBargeIn,
    Message,
    Note,
    Player,
    Ready,
    Reply,
    Say,
    Use,
    Wish,
    Wrong,
)
from gateway.agents.tool_json import ToolError, describe_outcome, read_tool
from gateway.agents.wire_json import decode_audio, encode_audio, read_object, read_part

IS_STREAM = False

MAX_CALLS = 64
"Uses of tools that are remembered, so that one which is told twice is done once."

MAX_DROPPED = 16
"Responses that were interrupted, of which more may still come."

MAX_NOTE = 4000
"Characters of a transcript in a note: four minutes of speech."

MAX_ID = 256
"Characters of an id of the server's that is kept; its own have 30."

MAX_WRONG = 3
"So many and the connection is given up (F19)."

LEAVING = frozenset({"hang_up", "transfer"})
"Tools after which, where they were done, the agent has nothing more to say."

HARMLESS = frozenset({"response_cancel_not_active"})
"Errors that come of two messages that crossed."

OURS = "gateway"
"The event id of a response that we ask for: an error that names it is about that."

BUSY = "conversation_already_has_active_response"

AGAIN = (
    "The connection was lost for a moment, and what was said before is not known any more."
    " Apologise in a few words and ask the caller to go on."
)

_APPEND = '{"type":"input_audio_buffer.append","audio":"'
_END = '"}'


def make(settings: Settings) -> OpenAiProtocol:
    """One conversation."""
    return OpenAiProtocol(settings)


class OpenAiProtocol:
    """One session of a model."""

    tells_ready = True
    max_queued_s = MAX_QUEUED_S

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._set_audio("pcm" if settings.audio == "auto" else settings.audio)
        self._turns: Mapping[str, Any] | None = {}
        "How the server tells who speaks; None: it does not, and the gateway does."
        self._is_ready = False
        self._greeting: str | None = None
        "Told to the model when it is to speak first; None: it was, or is not to."
        self._waits_for_answer = False
        self._spoken = Spoken()
        self._player: Player | None = None
        self._active = ""
        "The response that is being made."
        self._dropped: deque[str] = deque(maxlen=MAX_DROPPED)
        self._is_asked = False
        "Whether a response was asked for that has not begun."
        self._wants_response = False
        "Whether one is to be asked for once none is being made."
        self._calls: dict[str, bool] = {}
        "Uses of tools by their call_id, and whether each has come to its end."
        self.others_tools: Collection[str] = ()
        "Functions that somebody else answers, and this passes over."

    def _set_audio(self, name: str) -> None:
        self._audio = name
        self.heard = AudioFormat(*FORMATS[name], packet_ms=self._settings.packet_ms)
        self.said = AudioFormat(*FORMATS[name])

    # ---- what is sent

    def open(self, call: CallFacts, player: Player) -> Iterable[Message]:
        settings, self._player = self._settings, player
        if settings.audio == "auto":
            self._set_audio(call.codec.lower() if call.codec in ("PCMU", "PCMA") else "pcm")
        self._waits_for_answer = call.is_outbound and call.stream == 0
        if call.stream:
            self._greeting = AGAIN
        elif settings.greeting is not False:
            self._greeting = "" if settings.greeting is True else settings.greeting
        session = build_session(settings, call, self._audio)
        self._turns = session["audio"]["input"].get("turn_detection", self._turns)
        return (_text("session.update", session=session),)

    def hear(self, audio: bytes) -> Message | None:
        return _APPEND + encode_audio(audio) + _END

    def notice(self, event: AgentEvent) -> Iterable[Message]:
        handler = _NOTICES.get(type(event))
        return () if handler is None else handler(self, event)

    def _on_digit(self, event: DigitHeard) -> tuple[Message, ...]:
        digits = self._settings.digits
        if digits == "ignore":
            return ()
        return self._tell(f"The caller pressed the key {event.digit}.", answers=digits == "answer")

    def _on_far_end(self, event: FarEndAnswered) -> tuple[Message, ...]:
        if event.is_early or not self._waits_for_answer:
            return ()
        self._waits_for_answer = False
        return self._greet() if self._is_ready else ()

    def _on_interrupted(self, event: Interrupted) -> tuple[Message, ...]:
        return () if event.cleared is None else self._cut_short()

    def _on_gateway_hears(self, event: SpeechStarted | SpeechStopped) -> tuple[Message, ...]:
        """The gateway's own word on who speaks counts where the server is to listen for nobody."""
        if self._turns is not None:
            return ()
        if isinstance(event, SpeechStopped):
            return (_text("input_audio_buffer.commit"), *self._respond())
        # What is being said is stopped by the gateway's `barge_in`; what is thought of, here.
        return () if self._spoken.is_queued or not self._settings.interrupt else self._cut_short()

    def _on_machine(self, event: MachineDetected) -> tuple[Message, ...]:
        return self._tell(f"Who answered: {event.kind}.", answers=event.kind == "beep")

    def _on_told(self, event: Told) -> tuple[Message, ...]:
        text, answers = describe_told(event)
        return self._tell(text, answers=answers)

    def close(self, reason: str) -> Iterable[Message]:
        return ()

    def _greet(self) -> tuple[Message, ...]:
        told, self._greeting = self._greeting, None
        if told is None:
            return ()
        return (self._create(**({"response": {"instructions": told}} if told else {})),)

    def _tell(self, text: str, *, answers: bool) -> tuple[Message, ...]:
        """Put a line into the conversation that nobody has said."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "system", "content": content}
        told = _text("conversation.item.create", item=item)
        return (told, *(self._respond() if answers else ()))

    def _respond(self) -> tuple[Message, ...]:
        """Have the model speak: now, or once it has finished what it is at."""
        if self._active or self._is_asked:
            self._wants_response = True
            return ()
        self._wants_response = False
        return (self._create(),)

    def _create(self, **values: Any) -> Message:
        self._is_asked = True
        return _text("response.create", event_id=OURS, **values)

    # ---- interruptions

    def _cut_short(self, *, cancel: bool = True) -> tuple[Message, ...]:
        """The caller has interrupted: nothing more is said of what is under way."""
        messages: list[Message] = []
        if self._active and self._active not in self._dropped:
            self._dropped.append(self._active)
            if cancel:
                messages.append(_text("response.cancel", response_id=self._active))
        return (*messages, *map(_truncate, self._spoken.cut()))

    def _on_played(self, event: ItemPlayed) -> tuple[Message, ...]:
        # The gateway has cleared it: its own barge-in, or others would have heard it.
        messages = self._cut_short() if self._spoken.is_cut_off(event) else ()
        truncation = self._spoken.played(event)
        return messages if truncation is None else (*messages, _truncate(truncation))

    # ---- what is received

    def receive(self, message: Message) -> Iterable[Wish]:
        read = read_object(message) if isinstance(message, str) else None
        kind = None if read is None else read.get("type")
        if read is None or not isinstance(kind, str):
            return (Wrong("no JSON object with a type"),)
        handler = _HANDLERS.get(kind)
        return () if handler is None else handler(self, read)

    def _on_audio(self, read: dict[str, Any]) -> tuple[Wish, ...]:
        item_id, delta = read_id(read, "item_id"), read.get("delta")
        audio = decode_audio(delta) if isinstance(delta, str) else None
        if not item_id or audio is None:
            return (Wrong("a piece of speech without item or base64"),)
        if read.get("response_id") in self._dropped:
            return ()
        index = read.get("content_index")
        duration_ms = len(audio) * 1000 / (self.said.rate * (1 if self.said.codec else 2))
        if not self._spoken.add(item_id, index if isinstance(index, int) else 0, duration_ms):
            return ()
        return (Say(audio, item_id),)

    def _on_audio_done(self, read: dict[str, Any]) -> tuple[Wish, ...]:
        self._spoken.finish(read_id(read, "item_id"))
        return ()

    def _on_speech_started(self, read: dict[str, Any]) -> tuple[Wish, ...]:
        if not self._settings.interrupt:
            return ()
        clears: tuple[Wish, ...] = (Clear(),) if self._spoken.is_queued else ()
        if self._player is not None and self._player.is_paused:
            clears = (JudgeBargeIn(is_real=True), *clears)
        cancels_itself = (self._turns or {}).get("interrupt_response", True)
        messages = self._cut_short(cancel=not cancels_itself)
        return (*clears, *map(Reply, messages))

    def _on_session(self, read: dict[str, Any]) -> tuple[Wish, ...]:
        name = format_of(read_part(read, "session"))
        # Servers that are like OpenAI's may have PCM alone.
        if name is not None and AudioFormat(*FORMATS[name]) != self.said:
            self.said = AudioFormat(*FORMATS[name])
        if self._is_ready:
            return ()
        self._is_ready = True
        greeting = () if self._waits_for_answer else self._greet()
        return (Ready(), *map(Reply, greeting))

    def _on_response(self, read: dict[str, Any]) -> tuple[Wish, ...]:
        self._active = read_id(read_part(read, "response"), "id")
        self._is_asked = False
        return ()

    def _on_response_done(self, read: dict[str, Any]) -> tuple[Wish, ...]:
        response = read_part(read, "response")
        self._active = ""
        output = response.get("output")
        wishes = [
            wish
            for item in (output if isinstance(output, list) else ())
            if isinstance(item, dict) and item.get("type") == "function_call"
            for wish in self._on_function(item)
        ]
        if response.get("status") == "failed":
            error = read_part(read_part(response, "status_details"), "error")
            wishes.append(_error_note(error))
        if self._wants_response:
            wishes += map(Reply, self._respond())
        return tuple(wishes)

    def _on_error(self, read: dict[str, Any]) -> tuple[Wish, ...]:
        error = read_part(read, "error")
        code = str(error.get("code"))
        if code in HARMLESS:
            return ()
        if error.get("event_id") == OURS:
            self._is_asked = False
            if code == BUSY:
                self._wants_response = True
                return ()
        if self._is_ready:
            return (_error_note(error),)
        # Of no use to wait for: without its session a model may not even speak our format.
        return (_error_note(error), *[Wrong("the session was refused")] * MAX_WRONG)

    def _on_transcript(self, read: dict[str, Any]) -> tuple[Wish, ...]:
        is_ours = str(read.get("type")).startswith("response.")
        text = read.get("transcript")
        if not isinstance(text, str) or not text.strip():
            return ()
        data = {
            "speaker": "agent" if is_ours else "caller",
            "text": text.strip()[:MAX_NOTE],
            "item": read_id(read, "item_id"),
        }
        return (Note("transcript", data),)

    # ---- tools

    def _on_function(self, read: dict[str, Any]) -> tuple[Wish, ...]:
        call_id = read_id(read, "call_id")
        if not call_id or call_id in self._calls or str(read.get("name")) in self.others_tools:
            return ()
        while len(self._calls) >= MAX_CALLS:
            del self._calls[next(iter(self._calls))]
        self._calls[call_id] = False
        arguments = read.get("arguments")
        given = read_object(arguments or "{}") if isinstance(arguments, str) else None
        try:
            return (Use(read_tool(read.get("name"), given), call_id),)
        except ToolError as error:
            refused = ToolDone(call_id, "", is_done=False, status=400, detail=str(error))
            return tuple(map(Reply, self._on_tool_done(refused)))

    def _on_tool_done(self, event: ToolDone) -> tuple[Message, ...]:
        if self._calls.get(event.id) is not False:
            return ()
        self._calls[event.id] = True
        output = json.dumps(describe_outcome(event), default=str)
        item = {"type": "function_call_output", "call_id": event.id, "output": output}
        told = _text("conversation.item.create", item=item)
        is_leaving = event.is_done and event.tool in LEAVING
        if is_leaving or not all(self._calls.values()):  # the last outcome is spoken to
            return (told,)
        return (told, *self._respond())


def _text(kind: str, /, **values: Any) -> str:
    return json.dumps({"type": kind, **values}, separators=(",", ":"))


def _truncate(truncation: Truncation) -> Message:
    return _text(
        "conversation.item.truncate",
        item_id=truncation.item,
        content_index=truncation.content_index,
        audio_end_ms=truncation.heard_ms,
    )


def read_id(read: Mapping[str, Any], key: str) -> str:
    value = read.get(key)
    return value if isinstance(value, str) and len(value) <= MAX_ID else ""


def _error_note(error: Mapping[str, Any]) -> Note:
    told = {key: str(error[key])[:MAX_ID] for key in ("type", "code", "message") if error.get(key)}
    return Note("error", told)


_HANDLERS: Mapping[str, Callable[[OpenAiProtocol, dict[str, Any]], tuple[Wish, ...]]] = {
    "session.updated": OpenAiProtocol._on_session,
    "response.created": OpenAiProtocol._on_response,
    "response.done": OpenAiProtocol._on_response_done,
    "response.output_audio.delta": OpenAiProtocol._on_audio,
    "response.audio.delta": OpenAiProtocol._on_audio,
    "response.output_audio.done": OpenAiProtocol._on_audio_done,
    "response.audio.done": OpenAiProtocol._on_audio_done,
    "response.output_audio_transcript.done": OpenAiProtocol._on_transcript,
    "response.audio_transcript.done": OpenAiProtocol._on_transcript,
    "conversation.item.input_audio_transcription.completed": OpenAiProtocol._on_transcript,
    "response.function_call_arguments.done": OpenAiProtocol._on_function,
    "input_audio_buffer.speech_started": OpenAiProtocol._on_speech_started,
    "error": OpenAiProtocol._on_error,
}
"By the type of the server's event, with the names of the beta; all others are passed over."

_NOTICES: Mapping[type[Any], Callable[[OpenAiProtocol, Any], tuple[Message, ...]]] = {
    ItemPlayed: OpenAiProtocol._on_played,
    ToolDone: OpenAiProtocol._on_tool_done,
    DigitHeard: OpenAiProtocol._on_digit,
    FarEndAnswered: OpenAiProtocol._on_far_end,
    Interrupted: OpenAiProtocol._on_interrupted,
    SpeechStarted: OpenAiProtocol._on_gateway_hears,
    SpeechStopped: OpenAiProtocol._on_gateway_hears,
    MachineDetected: OpenAiProtocol._on_machine,
    Told: OpenAiProtocol._on_told,
}
"By the kind of what happened; of the rest the model is told nothing."

"""The session object of OpenAI's Realtime: made of an agent's settings and the call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from gateway.agents.event import Told
from gateway.agents.protocol import AgentAddress, CallFacts, Opening
from gateway.agents.tool_json import FORMS
from gateway.codec import PCMA, PCMU, Codec

FORMATS: Mapping[str, tuple[int, Codec | None]] = {
    "pcm": (24_000, None),
    "pcmu": (8000, PCMU),
    "pcma": (8000, PCMA),
}
"By the name behind `audio/`: Hz and codec."

MAX_DEPTH = 16
"How deep a session is looked into: OpenAI's own is five deep."


ToolName = Literal[
    "hang_up",
    "transfer",
    "dial",
    "send_digits",
    "hold",
    "play",
    "mute",
    "record",
    "ask_digits",
    "set_metadata",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """[agent.settings] of `protocol = "openai"`."""

    model: str = "gpt-realtime"
    "Put into the URL, unless that names one."
    instructions: str = ""
    "What the model is told of its task; {caller} and {called} stand for the numbers."
    voice: str = ""
    "marin, cedar …; where left out, the server's choice."
    speed: float | None = None
    "0.25 to 1.5 of the usual."
    audio: Literal["auto", "pcm", "pcmu", "pcma"] = "auto"
    "On the wire: 24 kHz PCM or G.711; auto: G.711 where the caller speaks it: never transcoded."
    packet_ms: Literal[20, 40, 60, 100] = 20
    "How much of what is heard goes into one message."
    turn_detection: Mapping[str, Any] = field(default_factory=dict)
    """As OpenAI has it: type = "server_vad" or "semantic_vad", threshold …; where left out, the
    server's own; type = "none": by the gateway's `vad`."""
    interrupt: bool = True
    "Whether the caller's speech stops the model's."
    noise_reduction: Literal["", "near_field", "far_field"] = ""
    "Done by the server."
    transcription: str = ""
    "Model that writes down what the caller says; where left out, nobody does."
    greeting: bool | str = True
    "Whether the model speaks first; a text: what it is told for that."
    tools: tuple[ToolName, ...] = ("hang_up", "transfer")
    "Of the tools that the agent may use: those that the model is told of."
    digits: Literal["tell", "answer", "ignore"] = "tell"
    "Keys the caller presses: told to the model; answer: and it speaks to each."
    session: Mapping[str, Any] = field(default_factory=dict)
    "Anything else of OpenAI's session object; what is in it goes before the above."


def opening(address: AgentAddress, settings: Settings, call: CallFacts) -> Opening:
    """The URL with the model; the API key as a bearer token."""
    url = address.url
    parts = urlsplit(url)
    if not {"model", "call_id", "deployment"} & dict(parse_qsl(parts.query)).keys():
        model = settings.session.get("model") or settings.model
        query = urlencode({"model": model})
        url = parts._replace(query=f"{parts.query}&{query}".lstrip("&")).geturl()
    secret = address.secret
    headers = () if secret is None else (("Authorization", f"Bearer {secret.value}"),)
    return Opening(url, headers)


def build_session(settings: Settings, call: CallFacts, audio: str) -> dict[str, Any]:
    """What `session.update` says.

    Args:
        audio: pcm, pcmu or pcma, both ways, whatever the session's settings say.
    """
    heard: dict[str, Any] = {}
    if settings.noise_reduction:
        heard["noise_reduction"] = {"type": settings.noise_reduction}
    if settings.transcription:
        heard["transcription"] = {"model": settings.transcription}
    turns = _turn_detection(settings)
    if turns != {}:
        heard["turn_detection"] = turns
    said: dict[str, Any] = {}
    if settings.voice:
        said["voice"] = settings.voice
    if settings.speed is not None:
        said["speed"] = settings.speed
    session: dict[str, Any] = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {"input": heard, "output": said},
    }
    if settings.instructions:
        session["instructions"] = settings.instructions
    session = merge(session, {k: v for k, v in settings.session.items() if k != "model"})
    if isinstance(session.get("instructions"), str):
        session["instructions"] = _fill_in(session["instructions"], call)
    offered: list[str] = [name for name in settings.tools if name in call.tools]
    session["tools"] = _tools(session.get("tools"), offered)
    wanted = {"format": _format(audio)}
    session = merge(session, {"type": "realtime", "audio": {"input": wanted, "output": wanted}})
    turns = session["audio"]["input"].get("turn_detection")
    if turns is not None and not isinstance(turns, Mapping):
        del session["audio"]["input"]["turn_detection"]
    return session


ANSWERED = frozenset({"handed-back", "summary", "message"})
"What a model is told and answers by speaking: it is its turn."


def describe_told(told: Told) -> tuple[str, bool]:
    """What somebody in charge tells an agent, in words for a model; and whether it is to speak."""
    data = told.data
    if told.kind == "transfer" and data.get("state") == "answered":
        return (
            "You now talk, alone, with whom the caller is to be transferred to. Tell them the"
            f" brief: {data.get('brief') or 'who calls, and why'}. Then hang up: that brings the"
            " two together.",
            True,
        )
    text = data.get("text") or json.dumps(dict(data), default=str)
    return f"{told.kind}: {text}", told.kind in ANSWERED


def with_session(settings: Settings, session: Mapping[str, Any], greeting: bool | str) -> Settings:
    """An agent's settings, for a call that was accepted with a session."""
    part: Any = session
    for key in ("audio", "input", "turn_detection", "interrupt_response"):
        part = part.get(key) if isinstance(part, Mapping) else None
    return replace(
        settings,
        session=merge(settings.session, session),
        interrupt=settings.interrupt and part is not False,
        greeting=greeting,
    )


def merge(under: Mapping[str, Any], over: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """Two objects in one: of what both have, `over` counts; objects in them are merged likewise."""
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        is_deeper = isinstance(value, Mapping) and isinstance(old, Mapping) and depth < MAX_DEPTH
        merged[key] = merge(old or {}, value, depth + 1) if is_deeper else value
    return merged


def format_of(session: Mapping[str, Any]) -> str | None:
    """In what format a session says that the model speaks; None where it does not say."""
    part: Any = session
    for key in ("audio", "output", "format", "type"):
        part = part.get(key) if isinstance(part, Mapping) else None
    name = part.removeprefix("audio/") if isinstance(part, str) else None
    return name if name in FORMATS else None


def _turn_detection(settings: Settings) -> dict[str, Any] | None:
    turns = dict(settings.turn_detection)
    if turns.get("type") == "none":
        return None
    if not settings.interrupt:
        turns = {"type": "server_vad", "interrupt_response": False, **turns}
    elif turns:
        turns.setdefault("type", "server_vad")
    return turns


def _fill_in(instructions: str, call: CallFacts) -> str:
    return instructions.replace("{caller}", call.caller).replace("{called}", call.called)


def _tools(configured: Any, offered: Sequence[str]) -> list[Any]:
    """The session's own tools, and those of ours."""
    own = list(configured) if isinstance(configured, list | tuple) else []
    names = {tool.get("name") for tool in own if isinstance(tool, Mapping)}
    ours = [
        {"type": "function", "name": name, **FORMS[name]}
        for name in offered
        if name in FORMS and name not in names
    ]
    return own + ours


def _format(audio: str) -> dict[str, Any]:
    rate, codec = FORMATS[audio]
    return {"type": f"audio/{audio}", **({"rate": rate} if codec is None else {})}

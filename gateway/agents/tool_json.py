"""Tools in JSON: how models and programs are told of them, and how they ask for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gateway.agents.event import ToolDone
from gateway.agents.tool import TOOLS, Tool
from gateway.rtp.dial_string import parse_dial_string

MAX_TEXT = 256
"Characters of a text in an argument, where nothing else is said: a number, a name, a file."

MAX_BRIEF = 4000
"Characters of a brief: what is read aloud in four minutes."

MAX_VALUES = 32
"Values of `set_metadata` at once: they go into every event and the record."

_TO = {"type": "string", "description": "A number, as +15550100, or a name that can be dialled"}
_AFTER_SPEECH = {
    "type": "boolean",
    "description": "Whether what was said is played to its end before; true where left out",
}
_MAX_WAIT = {
    "type": "number",
    "minimum": 0,
    "maximum": 60,
    "description": "Seconds that what was said may take to be played; 8 where left out",
}
_ON = {"type": "boolean", "description": "false: no longer"}
_RINGS = {
    "type": "number",
    "minimum": 1,
    "maximum": 180,
    "description": "Seconds it may ring; as its route says where left out",
}


def _form(about: str, *required: str, **properties: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "description": about,
        "parameters": {
            "type": "object",
            "properties": properties,
            "required": list(required),
            "additionalProperties": False,
        },
    }


FORMS: Mapping[str, Mapping[str, Any]] = {
    "hang_up": _form(
        "End the call, once what you say has been heard. Say goodbye first.",
        after_speech=_AFTER_SPEECH,
        max_wait_s=_MAX_WAIT,
        reason={"type": "string", "description": "Why, for the record of the call"},
        status={
            "type": "integer",
            "minimum": 400,
            "maximum": 699,
            "description": "How a call is refused that was not answered: 486 busy, 603 else",
        },
    ),
    "transfer": _form(
        "Bring the caller to somebody else. Say so first. blind: you leave the call once they have"
        " answered. warm: they hear the brief before they talk; where nobody takes the call the"
        " caller comes back to you.",
        "to",
        to=_TO,
        mode={"type": "string", "enum": ["blind", "warm"], "description": "blind where left out"},
        brief={
            "type": "string",
            "maxLength": MAX_BRIEF,
            "description": "For warm: what they are told of the caller before they talk",
        },
        after_speech=_AFTER_SPEECH,
        max_wait_s=_MAX_WAIT,
        timeout_s=_RINGS,
    ),
    "dial": _form(
        "Bring somebody else into the call, and step aside until they have left it.",
        "to",
        to=_TO,
        timeout_s=_RINGS,
        time_limit_s={
            "type": "number",
            "minimum": 1,
            "maximum": 86_400,
            "description": "Seconds that they may talk; for ever where left out",
        },
        caller_id={"type": "string", "description": "Number that is shown to them"},
    ),
    "send_digits": _form(
        "Press keys toward whom you talk with, for the menu of a machine.",
        "digits",
        digits={
            "type": "string",
            "description": "0-9 * # A-D; w waits 0.5 s, p 1 s, a comma 2 s",
        },
    ),
    "hold": _form(
        "Put whom you talk with on hold: they hear music, and neither of you hears the other.",
        "on",
        on=_ON,
    ),
    "play": _form(
        "Play a sound file to whom you talk with.",
        "file",
        file={"type": "string", "description": "Its name in the folder of sounds"},
        loop={"type": "boolean", "description": "Whether it goes on until it is cleared"},
    ),
    "mute": _form("Let nobody hear you.", "on", on=_ON),
    "record": _form("Start a recording of the call, or stop it.", "on", on=_ON),
    "ask_digits": _form(
        "Wait for keys that the caller presses. Ask for them first.",
        max_digits={"type": "integer", "minimum": 1, "maximum": 64, "description": "How many"},
        timeout_s={
            "type": "number",
            "minimum": 1,
            "maximum": 60,
            "description": "Seconds between two keys; 8 where left out",
        },
        finish_on={
            "type": "string",
            "maxLength": 1,
            "description": "The key that ends it; # where left out, none where empty",
        },
        secure={
            "type": "boolean",
            "description": "For card numbers and the like: you are told a token, not the keys",
        },
    ),
    "set_metadata": _form(
        "Note something about the call, for people who look at it later.",
        "values",
        values={"type": "object", "additionalProperties": {"type": "string"}},
    ),
}
"""By name: what a model is told of a tool (`description`), and a JSON Schema of its arguments
(`parameters`), whose keys are the fields of the tool's class."""

ALIASES: Mapping[str, str] = {
    "hangup": "hang_up",
    "hangup_call": "hang_up",
    "end_call": "hang_up",
    "transfer_call": "transfer",
    "send_dtmf": "send_digits",
}
"Names that prompts and programs written for other platforms use."

_ALIASES_OF_KEYS = {"target": "to", "number": "to", "transfer_to": "to", "dtmf": "digits"}


class ToolError(ValueError):
    """A tool is not known, or an argument is wrong. The message is fixed words of ours."""


def read_tool(name: Any, arguments: Any) -> Tool:
    """A tool that was asked for in JSON. Unknown arguments are passed over.

    Raises:
        ToolError: there is no such tool, or it cannot be used so.
    """
    known = ALIASES.get(name, name) if isinstance(name, str) else ""
    if known not in TOOLS:
        raise ToolError("there is no such tool")
    if not isinstance(arguments, Mapping):
        raise ToolError("its arguments are no object")
    wanted = FORMS[known]["parameters"]
    given: dict[str, Any] = {}
    for alias, value in arguments.items():
        key = _ALIASES_OF_KEYS.get(str(alias), str(alias))
        if key in wanted["properties"] and value is not None:
            given[key] = _check(key, value, wanted["properties"][key])
    for key in wanted["required"]:
        if given.get(key, "") == "":
            raise ToolError(f"it needs {key}")
    if "digits" in given:
        _check_dial_string(given["digits"])
    tool: Tool = TOOLS[known](**given)
    return tool


def describe_outcome(done: ToolDone) -> dict[str, Any]:
    """What became of a tool, for a model or a program."""
    told: dict[str, Any] = {"done": done.is_done, "status": done.status}
    if done.detail:
        told["detail"] = done.detail
    if done.result:
        told["result"] = dict(done.result)
    return told


def _check(key: str, value: Any, form: Mapping[str, Any]) -> Any:
    kind = form["type"]
    if kind == "string" and isinstance(value, str):
        if len(value) > form.get("maxLength", MAX_TEXT):
            raise ToolError(f"{key} is too long")
        if value not in form.get("enum", (value,)):
            raise ToolError(f"{key} is one of {', '.join(form['enum'])}")
        return value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if kind in ("number", "integer") and isinstance(value, int | float):
        is_whole = kind == "number" or (math.isfinite(value) and value == int(value))
        if not isinstance(value, bool) and is_whole and form["minimum"] <= value <= form["maximum"]:
            return int(value) if kind == "integer" else float(value)
        raise ToolError(f"{key} is from {form['minimum']} to {form['maximum']}")
    if kind == "object" and isinstance(value, Mapping):
        return _check_values(key, value)
    raise ToolError(f"{key} is no {kind}")


def _check_values(key: str, values: Mapping[str, Any]) -> dict[str, str]:
    if len(values) > MAX_VALUES:
        raise ToolError(f"{key} has more than {MAX_VALUES} values")
    told = {str(name): str(value) for name, value in values.items() if _is_plain(value)}
    if len(told) < len(values) or any(len(t) > MAX_TEXT for pair in told.items() for t in pair):
        raise ToolError(f"{key} has a value that is no text, or too long")
    return told


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | bool | float) or (
        isinstance(value, int) and abs(value) < 10**MAX_TEXT
    )


def _check_dial_string(digits: str) -> None:
    try:
        parse_dial_string(digits)
    except ValueError:
        raise ToolError("digits are 0-9 * # A-D w p and commas") from None

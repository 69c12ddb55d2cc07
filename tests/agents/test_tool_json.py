"""Tools asked for in JSON: what becomes of good arguments and of bad ones."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gateway.agents.event import ToolDone
from gateway.agents.tool import (
    TOOLS,
    AskDigits,
    HangUp,
    SendDigits,
    SetMetadata,
    Tool,
    Transfer,
)
from gateway.agents.tool_json import FORMS, ToolError, describe_outcome, read_tool


@pytest.mark.parametrize("name", TOOLS)
def test_form_of_a_tool_names_its_fields(name: str) -> None:
    fields = dataclasses.fields(TOOLS[name])
    needed = {
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    parameters = FORMS[name]["parameters"]

    assert set(parameters["properties"]) == {field.name for field in fields}
    assert set(parameters["required"]) - {"values"} == needed


@pytest.mark.parametrize(
    ("name", "arguments", "tool"),
    [
        ("hang_up", {}, HangUp()),
        ("hangup_call", {"reason": "done", "mood": "good"}, HangUp(reason="done")),
        ("transfer_call", {"target": "+15550142"}, Transfer("+15550142")),
        (
            "transfer",
            {"to": "ann", "mode": "warm", "brief": "A refund", "timeout_s": 30},
            Transfer("ann", "warm", "A refund", timeout_s=30.0),
        ),
        ("send_dtmf", {"dtmf": "1w2#"}, SendDigits("1w2#")),
        ("ask_digits", {"max_digits": 4.0, "secure": True}, AskDigits(4, secure=True)),
        ("set_metadata", {"values": {"a": 1, "b": "x"}}, SetMetadata({"a": "1", "b": "x"})),
        ("hang_up", {"reason": None}, HangUp()),
    ],
)
def test_tool_is_read(name: str, arguments: dict[str, Any], tool: Tool) -> None:
    assert read_tool(name, arguments) == tool


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sing", {}),
        ([], {}),
        (None, None),
        ("hang_up", []),
        ("hang_up", {"after_speech": "yes"}),
        ("hang_up", {"max_wait_s": float("nan")}),
        ("hang_up", {"max_wait_s": float("inf")}),
        ("hang_up", {"max_wait_s": 10**400}),
        ("hang_up", {"max_wait_s": True}),
        ("hang_up", {"max_wait_s": -1}),
        ("transfer", {}),
        ("transfer", {"to": ""}),
        ("transfer", {"to": "x" * 300}),
        ("transfer", {"to": "x", "mode": "hot"}),
        ("transfer", {"to": "x", "mode": []}),
        ("send_digits", {"digits": "12E"}),
        ("send_digits", {"digits": "1" * 200}),
        ("ask_digits", {"max_digits": 2.5}),
        ("ask_digits", {"max_digits": float("inf")}),
        ("set_metadata", {"values": {"a": []}}),
        ("set_metadata", {"values": {"a": "x" * 300}}),
        ("set_metadata", {"values": {str(n): "x" for n in range(40)}}),
    ],
)
def test_a39_bad_argument_is_refused(name: Any, arguments: Any) -> None:
    with pytest.raises(ToolError):
        read_tool(name, arguments)


def test_outcome_is_told_without_what_is_empty() -> None:
    plain = describe_outcome(ToolDone("1", "hold", is_done=True))
    busy = describe_outcome(ToolDone("1", "transfer", is_done=False, status=486, detail="busy"))

    assert plain == {"done": True, "status": 200}
    assert busy == {"done": False, "status": 486, "detail": "busy"}

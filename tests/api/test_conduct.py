"""Guests, routes, sounds and messages over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Quart

from gateway.agents.event import Told
from gateway.agents.tool import AskDigits
from gateway.leg.leg import Answered, DigitPressed, Ended, EndReason, Gone, Phase, ToolAsked
from tests.api.site import FakeNode, new_app
from tests.api.test_call_control import talking
from tests.api.test_calls import ask
from tests.support.loop import VirtualLoop, in_virtual_time

COACH = "agent:coach"


def leg_of(node: FakeNode, name: str) -> str:
    return node.exchange.legs[name].id


async def with_coach(node: FakeNode, app: Quart, call: str, **part: Any) -> str:
    """An agent is let in, and answers: its leg."""
    status, told = await ask(app, "POST", f"/v1/calls/{call}/legs", {"to": COACH, **part})
    assert status == 202
    (leg,) = told["legs"]
    assert leg == leg_of(node, COACH)
    node.exchange.tell(COACH, Answered())
    return str(leg)


async def legs(app: Quart, call: str) -> dict[str, Any]:
    """Everybody in the call, by target."""
    _, told = await ask(app, "GET", f"/v1/calls/{call}")
    return {leg["target"]: leg for leg in told["legs"]}


@in_virtual_time
async def test_guest_listens_where_nothing_else_is_said(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    await with_coach(node, app, call)
    coach = (await legs(app, call))[COACH]

    assert coach["state"] == "up"
    assert coach["role"] == "ai"
    assert coach["guest"]
    assert (coach["hears"], coach["heard_by"]) == (["all"], [])
    await node.close()


@in_virtual_time
async def test_guest_hears_and_is_heard_as_it_is_said(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    part = {"hears": ["caller"], "heard_by": ["callee"], "role": "supervisor", "gain_db": -6}
    await with_coach(node, app, call, **part)
    coach = (await legs(app, call))[COACH]

    assert (coach["hears"], coach["heard_by"]) == (["caller"], ["callee"])
    assert coach["role"] == "supervisor"
    assert coach["gain_db"] == -6
    await node.close()


@in_virtual_time
async def test_routes_are_changed_all_at_once(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    leg = await with_coach(node, app, call)

    status, told = await ask(
        app,
        "POST",
        f"/v1/calls/{call}/route",
        {
            "legs": [
                {"leg": leg, "preset": "whisper", "side": "callee"},
                {"leg": "caller", "hears": []},
            ]
        },
    )
    by_target = {each["target"]: each for each in told["legs"]}

    assert status == 200
    assert by_target[COACH]["heard_by"] == ["callee"]
    assert by_target["agent:echo"]["hears"] == []
    events = [event for event in node.exchange.events if type(event).__name__ == "LegRouted"]
    assert len(events) == 3
    await node.close()


@in_virtual_time
async def test_hand_back_tells_the_agent_a_summary(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    leg = await with_coach(node, app, call, preset="take-over", side="callee")
    taken = (await legs(app, call))["trunk:lab"]["yields_to"]

    route = {"leg": leg, "preset": "hand-back", "summary": {"text": "a refund"}}
    status, _ = await ask(app, "POST", f"/v1/calls/{call}/route", {"legs": [route]})

    assert taken == leg
    assert status == 200
    told = [each for each in node.exchange.legs["trunk:lab"].informed if isinstance(each, Told)]
    assert [(each.kind, dict(each.data)) for each in told][1] == (
        "handed-back",
        {"text": "a refund"},
    )
    await node.close()


@in_virtual_time
async def test_guest_is_removed_and_the_call_goes_on(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    leg = await with_coach(node, app, call)

    status, _ = await ask(app, "DELETE", f"/v1/calls/{call}/legs/{leg}")
    again, problem = await ask(app, "DELETE", f"/v1/calls/{call}/legs/{leg}")

    assert status == 204
    assert (again, problem["code"]) == (404, "routing")
    assert node.registry.find(call) is not None
    await node.close()


@in_virtual_time
async def test_guest_that_does_not_come_is_told_of(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    await ask(app, "POST", f"/v1/calls/{call}/legs", {"to": COACH})

    node.exchange.tell(COACH, Ended(EndReason.BUSY, 486))
    node.exchange.tell(COACH, Gone())

    (failed,) = [e for e in node.exchange.events if type(e).__name__ == "GuestFailed"]
    assert failed.call == call
    await node.close()


@pytest.mark.parametrize(
    ("what", "body", "status"),
    [
        ("legs", {"to": "nowhere"}, 404),
        ("legs", {"to": COACH, "preset": "whisper"}, 400),
        ("legs", {"to": COACH, "preset": "listen", "side": "caller"}, 400),
        ("legs", {"to": COACH, "preset": "shout"}, 400),
        ("legs", {"to": COACH, "gain_db": 99}, 400),
        ("route", {"legs": []}, 400),
        ("route", {"legs": [{"leg": "nobody", "preset": "mute"}]}, 404),
        ("route", {"legs": [{"leg": "caller", "preset": "hand-back"}]}, 409),
        ("route", {"legs": [{"leg": "all", "preset": "mute"}]}, 409),
        ("play", {}, 400),
        ("play", {"file": "no.wav"}, 404),
        ("play", {"file": "../hi.wav"}, 404),
        ("play", {"tone_hz": 440, "duration_ms": 100, "loop": True}, 409),
        ("message", {"leg": "supervisor", "data": {}}, 404),
        ("message", {"leg": "callee", "data": {}}, 409),
        ("metadata", {"values": {"": "x"}}, 400),
        ("metadata", {"values": {"k": "v" * 2000}}, 400),
        ("secure-digits", {"token": "gw9-keys-1"}, 404),
    ],
)
@in_virtual_time
async def test_what_cannot_be_done_is_refused(
    loop: VirtualLoop, what: str, body: dict[str, Any], status: int
) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    refused, problem = await ask(app, "POST", f"/v1/calls/{call}/{what}", body)
    unknown, _ = await ask(app, "POST", f"/v1/calls/none/{what}", body)

    assert refused == status
    assert problem["text"]
    assert unknown in (400, 404)
    await node.close()


@in_virtual_time
async def test_sound_is_played_and_stopped(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    status, file = await ask(
        app, "POST", f"/v1/calls/{call}/play", {"file": "hi.wav", "to": ["caller"], "loop": True}
    )
    _, tone = await ask(app, "POST", f"/v1/calls/{call}/play", {"tone_hz": 440})
    stopped, _ = await ask(app, "DELETE", f"/v1/calls/{call}/play/{file['id']}")
    again, _ = await ask(app, "DELETE", f"/v1/calls/{call}/play/{file['id']}")
    rest, _ = await ask(app, "DELETE", f"/v1/calls/{call}/play")

    assert (status, stopped, again, rest) == (202, 204, 404, 204)
    assert file["id"] != tone["id"]
    await node.close()


@in_virtual_time
async def test_agent_is_told_a_message(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    leg = await with_coach(node, app, call)

    status, _ = await ask(
        app,
        "POST",
        f"/v1/calls/{call}/message",
        {"leg": leg, "kind": "hint", "data": {"text": "be brief"}},
    )

    assert status == 204
    assert node.exchange.legs[COACH].informed[-1] == Told("hint", {"text": "be brief"})
    await node.close()


@in_virtual_time
async def test_metadata_stays_with_the_call_after_its_end(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    _, noted = await ask(app, "POST", f"/v1/calls/{call}/metadata", {"values": {"order": "17"}})
    await ask(app, "DELETE", f"/v1/calls/{call}")
    await node.close()
    _, ended = await ask(app, "GET", f"/v1/calls/{call}")

    assert noted["metadata"] == ended["metadata"] == {"order": "17"}


@in_virtual_time
async def test_a31_secure_digits_are_fetched_by_their_token(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    node.exchange.tell("trunk:lab", ToolAsked("1", AskDigits(max_digits=2, secure=True)))
    for digit in "42":
        node.exchange.tell("first", DigitPressed(digit, Phase.START))
        node.exchange.tell("first", DigitPressed(digit, Phase.END, 100))
    token = node.exchange.legs["trunk:lab"].done[-1].result["token"]

    path = f"/v1/calls/{call}/secure-digits"
    _, keys = await ask(app, "POST", path, {"token": token})
    again, _ = await ask(app, "POST", path, {"token": token})

    assert keys == {"digits": "42"}
    assert again == 404
    assert "42" not in repr([e for e in node.exchange.events if "Digit" in type(e).__name__])
    await node.close()


@in_virtual_time
async def test_document_has_the_operations(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)

    _, document = await ask(app, "GET", "/v1/openapi.json")

    paths = document["paths"]
    for path in ("legs", "legs/{leg}", "route", "play", "play/{play}", "message", "metadata"):
        assert f"/v1/calls/{{id}}/{path}" in paths
    await node.close()


@in_virtual_time
async def test_guest_of_whom_only_ears_are_spoken_is_heard_by_nobody(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    await with_coach(node, app, call, hears=["caller"])
    coach = (await legs(app, call))[COACH]

    assert (coach["hears"], coach["heard_by"]) == (["caller"], [])
    await node.close()

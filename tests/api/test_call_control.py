"""Hold, resume and transfer over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from quart import Quart

from gateway.leg.leg import Answered, Ended, EndReason, Gone, Held, TransferProgress
from gateway.sdp.description import Direction
from tests.api.site import FakeNode, new_app, open_page
from tests.api.test_calls import NEW, ask
from tests.support.loop import VirtualLoop, in_virtual_time


async def talking(node: FakeNode, app: Quart) -> str:
    """A call that is up: its id."""
    _, call = await ask(app, "POST", "/v1/calls", NEW)
    node.exchange.tell("first", Answered())
    node.exchange.tell("trunk:lab", Answered())
    for leg in node.exchange.legs.values():
        leg.did.clear()
    return str(call["id"])


def flags(call: Any) -> list[tuple[bool, bool]]:
    return [(leg["on_hold"], leg["holds"]) for leg in call["legs"]]


@in_virtual_time
async def test_caller_is_put_on_hold_and_taken_off(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    status, held = await ask(app, "POST", f"/v1/calls/{call}/hold", {})
    _, resumed = await ask(app, "POST", f"/v1/calls/{call}/resume", {})

    assert status == 200
    assert flags(held) == [(True, False), (False, False)]
    assert flags(resumed) == [(False, False), (False, False)]
    assert node.exchange.legs["first"].did == ["hold sendonly", "hold sendrecv"]
    await node.close()


@in_virtual_time
async def test_party_is_named_by_its_id(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    callee = node.exchange.legs["trunk:lab"]
    callee.on_event(Held(Direction.SENDONLY))

    _, held = await ask(app, "POST", f"/v1/calls/{call}/hold", {"leg": callee.id})

    assert flags(held) == [(False, False), (True, True)]
    await node.close()


@in_virtual_time
async def test_transfer_is_taken_on_and_its_outcome_told(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    first = node.exchange.legs["first"]

    async with open_page(app, "/v1/events") as subscriber:
        status, told = await ask(app, "POST", f"/v1/calls/{call}/transfer", {"to": "bob"})
        node.exchange.tell("trunk:bob", Answered())
        await subscriber.read()

    assert status == 202
    assert told["id"] == call
    (started,) = subscriber.all("transfer.started")
    (ended,) = subscriber.all("transfer.ended")
    assert (started["leg"], started["by"]) == (first.id, None)
    assert (ended["status"], ended["to"]) == (200, node.exchange.legs["trunk:bob"].id)
    assert node.exchange.legs["trunk:lab"].did == ["end transferred"]
    await node.close()


@in_virtual_time
async def test_party_may_be_sent_by_refer(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    node.exchange.legs["first"].can_refer = True

    await ask(app, "POST", f"/v1/calls/{call}/transfer", {"to": "bob", "mode": "refer"})
    node.exchange.tell("first", TransferProgress(200))

    assert node.exchange.legs["first"].did == ["refer bob", "end transferred"]
    await node.close()


@in_virtual_time
async def test_two_calls_are_joined(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    first = node.exchange.legs["first"]
    other = await talking(node, app)
    second = node.exchange.legs["first"]

    async with open_page(app, "/v1/events") as subscriber:
        status, _ = await ask(app, "POST", f"/v1/calls/{call}/transfer", {"call": other})
        await subscriber.read()

    assert status == 202
    (moved,) = subscriber.all("leg.moved")
    assert (moved["leg"], moved["to"]) == (second.id, call)
    assert first.did == second.did == []
    await node.close()


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("hold", {"leg": "nobody"}, 404, "routing"),
        ("transfer", {"to": "nowhere"}, 404, "routing"),
        ("transfer", {"to": "bob", "mode": "refer"}, 409, "not-now"),
        ("transfer", {"to": "bob", "call": "gw-1"}, 400, "bad-request"),
        ("transfer", {}, 400, "bad-request"),
        ("transfer", {"to": "bob", "other_leg": "x"}, 400, "bad-request"),
        ("transfer", {"to": "bob", "mode": "beam"}, 400, "bad-request"),
        ("hold", {"party": "x"}, 400, "bad-request"),
    ],
)
@in_virtual_time
async def test_what_cannot_be_done_is_refused(
    loop: VirtualLoop, path: str, body: Any, status: int, code: str
) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    refused = await ask(app, "POST", f"/v1/calls/{call}/{path}", body)

    assert (refused[0], refused[1]["code"]) == (status, code)
    assert all(not leg.did for leg in node.exchange.legs.values())
    await node.close()


@in_virtual_time
async def test_call_that_is_over_or_not_answered_has_nobody_to_hold(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    _, ringing = await ask(app, "POST", "/v1/calls", NEW)
    early, _ = await ask(app, "POST", f"/v1/calls/{ringing['id']}/hold", {})
    node.exchange.tell("first", Ended(EndReason.DECLINED))
    node.exchange.tell("first", Gone())

    late, _ = await ask(app, "POST", f"/v1/calls/{ringing['id']}/hold", {})

    assert (early, late) == (409, 404)
    await node.close()


@in_virtual_time
async def test_openapi_knows_the_operations(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    _, document = await ask(new_app(node), "GET", "/v1/openapi.json")

    names = {path["post"]["operationId"] for path in document["paths"].values() if "post" in path}
    assert {"holdCall", "resumeCall", "transferCall"} <= names
    await node.close()

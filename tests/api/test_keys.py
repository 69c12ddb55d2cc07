"""Keys over HTTP: pressed toward a party, or told to one alone."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.leg.leg import DigitPressed, Phase
from tests.api.site import FakeNode, new_app, open_page
from tests.api.test_call_control import talking
from tests.api.test_calls import ask
from tests.support.loop import VirtualLoop, elapse, in_virtual_time


@in_virtual_time
async def test_digits_are_pressed_toward_the_called_party(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    body = {"digits": "1w#", "duration_ms": 200, "gap_ms": 100}
    status, told = await ask(app, "POST", f"/v1/calls/{call}/digits", body)
    at_once = list(node.exchange.legs["trunk:lab"].did)
    await elapse(2)

    assert status == 202
    assert told["id"] == call
    assert at_once == ["digit 1 start"]
    assert node.exchange.legs["trunk:lab"].did == [
        "digit 1 start",
        "digit 1 end",
        "digit # start",
        "digit # end",
    ]
    assert node.exchange.legs["first"].did == []
    await node.close()


@in_virtual_time
async def test_digits_are_pressed_toward_who_is_named(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    first = node.exchange.legs["first"]

    await ask(app, "POST", f"/v1/calls/{call}/digits", {"digits": "5", "leg": first.id})
    await elapse(1)

    assert first.did == ["digit 5 start", "digit 5 end"]
    await node.close()


@in_virtual_time
async def test_a31_readers_of_events_do_not_learn_secure_digits(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    first, lab = node.exchange.legs["first"], node.exchange.legs["trunk:lab"]

    async with open_page(app, "/v1/events") as subscriber:
        status, on = await ask(app, "POST", f"/v1/calls/{call}/secure-input", {"to": lab.id})
        first.on_event(DigitPressed("7", Phase.START))
        first.on_event(DigitPressed("7", Phase.END, 100))
        _, off = await ask(app, "POST", f"/v1/calls/{call}/secure-input", {"on": False})
        first.on_event(DigitPressed("8", Phase.START))
        await subscriber.read()

    assert status == 200
    assert [leg["secure_to"] for leg in on["legs"]] == [lab.id, None]
    assert [leg["secure_to"] for leg in off["legs"]] == [None, None]
    assert [event["to"] for event in subscriber.all("leg.secured")] == [lab.id, None]
    assert [event["digit"] for event in subscriber.all("call.digit")] == [None, None, "8"]
    assert lab.did == ["digit 7 start", "digit 7 end", "digit 8 start"]
    await node.close()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("digits", {}, 400),
        ("digits", {"digits": ""}, 400),
        ("digits", {"digits": "12x"}, 400),
        ("digits", {"digits": "1" * 65}, 400),
        ("digits", {"digits": "1", "duration_ms": 10}, 400),
        ("digits", {"digits": "1", "gap_ms": 20_000}, 400),
        ("digits", {"digits": "1", "leg": "nobody"}, 404),
        ("secure-input", {}, 400),
        ("secure-input", {"on": False, "to": "somebody"}, 400),
        ("secure-input", {"to": "nobody"}, 404),
    ],
)
@in_virtual_time
async def test_what_makes_no_sense_is_refused(
    loop: VirtualLoop, path: str, body: dict[str, Any], status: int
) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    refused, problem = await ask(app, "POST", f"/v1/calls/{call}/{path}", body)

    assert refused == status
    assert set(problem) == {"code", "text"}
    await node.close()


@in_virtual_time
async def test_second_string_has_to_wait_for_the_first(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    await ask(app, "POST", f"/v1/calls/{call}/digits", {"digits": "1,2"})
    status, problem = await ask(app, "POST", f"/v1/calls/{call}/digits", {"digits": "3"})

    assert (status, problem["code"]) == (409, "not-now")
    await node.close()

"""Mute and gain over HTTP."""

from __future__ import annotations

import pytest

from tests.api.site import FakeNode, new_app, open_page
from tests.api.test_call_control import talking
from tests.api.test_calls import ask
from tests.support.loop import VirtualLoop, in_virtual_time


@in_virtual_time
async def test_caller_is_muted_and_heard_again(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    async with open_page(app, "/v1/events") as subscriber:
        status, muted = await ask(app, "POST", f"/v1/calls/{call}/mute", {})
        _, heard = await ask(app, "POST", f"/v1/calls/{call}/mute", {"on": False})
        await subscriber.read()

    assert status == 200
    assert [leg["muted"] for leg in muted["legs"]] == [True, False]
    assert [leg["muted"] for leg in heard["legs"]] == [False, False]
    assert [event["on"] for event in subscriber.all("leg.muted")] == [True, False]
    await node.close()


@in_virtual_time
async def test_party_is_made_louder_by_its_id(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)
    wish = {"leg": node.exchange.legs["trunk:lab"].id, "gain_db": 6}

    async with open_page(app, "/v1/events") as subscriber:
        status, louder = await ask(app, "POST", f"/v1/calls/{call}/gain", wish)
        await subscriber.read()

    assert status == 200
    assert [leg["gain_db"] for leg in louder["legs"]] == [0, 6]
    assert [event["gain_db"] for event in subscriber.all("leg.gain")] == [6]
    await node.close()


@pytest.mark.parametrize(
    ("path", "wish", "expected"),
    [
        ("mute", {"leg": "nobody"}, 404),
        ("gain", {"leg": "nobody", "gain_db": 3}, 404),
        ("gain", {"gain_db": 21}, 400),
        ("gain", {"gain_db": "loud"}, 400),
        ("gain", {}, 400),
        ("mute", {"on": True, "who": "me"}, 400),
    ],
)
@in_virtual_time
async def test_what_makes_no_sense_is_refused(
    loop: VirtualLoop, path: str, wish: dict[str, object], expected: int
) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    call = await talking(node, app)

    status, _ = await ask(app, "POST", f"/v1/calls/{call}/{path}", wish)

    assert status == expected
    await node.close()

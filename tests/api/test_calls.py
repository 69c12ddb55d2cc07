"""Call control over HTTP, and the events of calls on a socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from quart import Quart

from gateway.api.calls import MAX_EVENTS_BEHIND
from gateway.api.outbox import CLOSE_WITHIN_S
from gateway.leg.leg import Answered, DigitPressed, Ended, EndReason, Gone, Phase, Progressed
from tests.api.site import FakeNode, new_app, open_page
from tests.support.loop import VirtualLoop, elapse, in_virtual_time


async def ask(app: Quart, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    response = await app.test_client().open(path, method=method, json=body)
    text = await response.get_data(as_text=True)
    return response.status_code, json.loads(text) if text else None


NEW = {"from": "agent:echo", "to": "+15550100"}


@in_virtual_time
async def test_call_that_is_placed_rings_who_is_to_be_first(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    status, call = await ask(new_app(node), "POST", "/v1/calls", NEW)

    assert status == 201
    assert (call["from"], call["to"], call["state"]) == ("agent:echo", "+15550100", "dialling")
    assert [leg["role"] for leg in call["legs"]] == ["caller"]
    assert node.exchange.legs["first"].did == ["dial"]
    await node.close()


@in_virtual_time
async def test_call_may_say_what_is_done_if_a_machine_answers(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)

    placed, _ = await ask(app, "POST", "/v1/calls", NEW | {"answering_machine": "wait-for-beep"})
    refused, _ = await ask(app, "POST", "/v1/calls", NEW | {"answering_machine": "maybe"})

    assert (placed, refused) == (201, 400)
    assert node.answering_machine == "wait-for-beep"
    await node.close()


@in_virtual_time
async def test_calls_are_listed_while_they_go_on(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    ids = [(await ask(app, "POST", "/v1/calls", NEW))[1]["id"] for _ in range(2)]

    await ask(app, "DELETE", f"/v1/calls/{ids[0]}")
    _, listed = await ask(app, "GET", "/v1/calls")

    assert [call["id"] for call in listed["calls"]] == ids[1:]
    await node.close()


@in_virtual_time
async def test_call_that_has_ended_can_be_looked_at_with_its_outcome(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)
    _, call = await ask(app, "POST", "/v1/calls", NEW)
    node.exchange.tell("first", Answered())
    node.exchange.tell("trunk:lab", Answered())
    await elapse(5)

    assert (await ask(app, "DELETE", f"/v1/calls/{call['id']}"))[0] == 204
    await elapse(5)
    _, ended = await ask(app, "GET", f"/v1/calls/{call['id']}")

    assert ended["state"] == "ended"
    assert ended["talked_s"] == 5
    assert (ended["outcome"]["reason"], ended["outcome"]["answered"]) == ("hangup", True)
    assert (await ask(app, "DELETE", f"/v1/calls/{call['id']}"))[0] == 404
    await node.close()


@in_virtual_time
async def test_subscriber_is_told_everything_in_order(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)

    async with open_page(app, "/v1/events") as subscriber:
        await ask(app, "POST", "/v1/calls", NEW)
        node.exchange.tell("first", Answered())
        node.exchange.tell("trunk:lab", Progressed(183, "Session Progress", early_media=True))
        node.exchange.tell("trunk:lab", Answered())
        node.exchange.tell("first", DigitPressed("5", Phase.START))
        node.exchange.tell("trunk:lab", Ended(EndReason.HANGUP))
        node.exchange.tell("trunk:lab", Gone())
        await subscriber.read()

    kinds = [event["type"] for event in subscriber.got if event["type"] != "leg.signalled"]
    assert kinds == [
        "call.started",
        "leg.started",
        "leg.started",
        "call.progressed",
        "call.answered",
        "call.digit",
        "leg.ended",
        "leg.ended",
        "call.ended",
    ]
    digit = next(event for event in subscriber.got if event["type"] == "call.digit")
    assert (digit["digit"], digit["phase"]) == ("5", "start")
    await node.close()


@in_virtual_time
async def test_subscriber_that_leaves_is_forgotten(loop: VirtualLoop) -> None:
    node = FakeNode(loop)

    async with open_page(new_app(node), "/v1/events"):
        assert len(node.registry._observers) == 2

    await node.close()


@in_virtual_time
async def test_what_a_subscriber_says_is_read_and_ignored(loop: VirtualLoop) -> None:
    node = FakeNode(loop)
    app = new_app(node)

    async with open_page(app, "/v1/events") as subscriber:
        for _ in range(100):
            await subscriber.say_text("x" * 1000)
        await ask(app, "POST", "/v1/calls", NEW)
        await subscriber.read()

    assert subscriber.all("call.started")
    await node.close()


class StuckSocket:
    """A WebSocket whose peer reads nothing after it was opened: sending blocks for ever."""

    def __init__(self, app: Quart, path: str) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.tried: list[str] = []
        self.scope = {
            "type": "websocket",
            "asgi": {"spec_version": "2.3"},
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "scheme": "ws",
            "headers": [(b"host", b"localhost")],
            "subprotocols": [],
            "http_version": "1.1",
            "root_path": "",
            "extensions": {},
            "state": {},
        }
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.task = asyncio.ensure_future(
            app(self.scope, self.incoming.get, self._send)  # type: ignore[arg-type]
        )

    async def _send(self, message: Any) -> None:
        self.tried.append(message["type"])
        if message["type"] != "websocket.accept":
            await asyncio.get_running_loop().create_future()

    async def close(self) -> None:
        """TCP gives up at last."""
        self.incoming.put_nowait({"type": "websocket.disconnect"})
        await self.task


@in_virtual_time
async def test_subscriber_that_does_not_read_is_cut_off_and_forgotten(
    loop: VirtualLoop,
) -> None:
    node = FakeNode(loop)
    socket = StuckSocket(new_app(node), "/v1/events")
    await elapse(0.1)
    assert len(node.registry._observers) == 2

    for _ in range(MAX_EVENTS_BEHIND):
        call = node.exchange.place(["trunk:a"])
        node.registry.end(call.id, EndReason.HANGUP)
        await elapse(0.001)
    await elapse(CLOSE_WITHIN_S + 1)

    assert len(node.registry._observers) == 1
    assert socket.tried[:3] == ["websocket.accept", "websocket.send", "websocket.close"]
    await socket.close()
    await node.close()


@in_virtual_time
async def test_page_that_does_not_read_is_cut_off_and_its_call_ends_later(
    loop: VirtualLoop,
) -> None:
    node = FakeNode(loop)
    socket = StuckSocket(new_app(node), "/v1/signal")
    for _ in range(6):
        for _ in range(99):
            socket.incoming.put_nowait({"type": "websocket.receive", "text": '{"type":"ping"}'})
        await elapse(1.1)
    await elapse(CLOSE_WITHIN_S + 1)

    assert len(node.registry._observers) == 1
    assert socket.tried[:3] == ["websocket.accept", "websocket.send", "websocket.close"]
    await socket.close()
    await node.close()

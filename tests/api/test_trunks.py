"""The trunks over HTTP, and what happens to them on the socket of events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from quart import Quart

from gateway.api.calls import serve_events
from gateway.api.server import Access, OpenSockets, create_server
from gateway.api.trunks import trunk_operations
from gateway.private import Private, Secret
from gateway.sip.event import HopFailed, HopTrouble
from gateway.sip.flow import Destination, Hop
from gateway.sip.uri import parse_uri
from gateway.trunk.event import (
    TrunkDown,
    TrunkEvent,
    TrunkObservers,
    TrunkRegistered,
    TrunkRegistrationFailed,
    TrunkUp,
)
from gateway.trunk.limits import CallLimits, Direction
from gateway.trunk.registration import RegistrationOptions
from gateway.trunk.status import TrunkStatus
from gateway.trunk.trunk import Trunk
from gateway.trunk.watch import TrunkWatch
from tests.api.site import WEB, FakeNode, open_page
from tests.support.loop import VirtualLoop, in_virtual_time
from tests.support.sip import tokens

HOP = Hop("udp", "198.51.100.1", 5060)
CARRIER = Trunk(
    "carrier",
    parse_uri("sip:carrier.test"),
    max_calls=30,
    registrations=(RegistrationOptions(parse_uri("sip:carrier.test"), "acme"),),
)
PBX = Trunk("pbx", parse_uri("sip:198.51.100.2;transport=tcp"), max_cps=2.5)


class Desk:
    """A node's trunks, nothing else of it, 90 seconds after its start."""

    def __init__(self) -> None:
        names = tokens("w")
        self.now = 90.0
        self.watch = TrunkWatch(
            [CARRIER, PBX], new_token=lambda: next(names), spread=lambda: 0.0, now=0.0
        )
        self.limits = CallLimits([CARRIER, PBX], max_cps=None, now=0.0)
        self.observers = TrunkObservers()

    def trunks(self) -> Sequence[TrunkStatus]:
        return self.watch.statuses(self.limits, self.now)

    def trunk(self, name: str) -> TrunkStatus | None:
        return self.watch.status(name, self.limits, self.now)

    def observe_trunks(self, observer: Callable[[TrunkEvent], None]) -> Callable[[], None]:
        return self.observers.observe(observer)


def new_app(desk: Desk, node: FakeNode | None = None, token: str | None = None) -> Quart:
    """A server of trunks, and of events where there is a node."""
    return create_server(
        access=Access(None if token is None else Secret(token)),
        web=WEB,
        version="9.9.9",
        operations=trunk_operations(desk),
        sockets={} if node is None else {"/v1/events": lambda: serve_events(node, desk)},
        open_sockets=OpenSockets(),
    )


async def ask(app: Quart, path: str) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    response = await app.test_client().get(path)
    return response.status_code, await response.get_json()


async def test_trunks_are_listed_as_they_are_configured() -> None:
    status, answer = await ask(new_app(Desk()), "/v1/trunks")

    assert status == 200
    assert [(trunk["name"], trunk["uri"], trunk["state"]) for trunk in answer["trunks"]] == [
        ("carrier", "sip:carrier.test", "unknown"),
        ("pbx", "sip:198.51.100.2;transport=tcp", "unknown"),
    ]
    assert [(trunk["max_calls"], trunk["max_cps"]) for trunk in answer["trunks"]] == [
        (30, None),
        (None, 2.5),
    ]


async def test_a_trunk_that_is_down_says_why_and_for_how_long() -> None:
    desk = Desk()
    desk.watch.resolved(Destination("carrier.test"), [HOP], 0.0)
    for second in (10, 20, 30):
        event = HopFailed(Destination("carrier.test"), HOP, HopTrouble.SILENT)
        desk.watch.hop_was_tried(event, second)

    _, trunk = await ask(new_app(desk), "/v1/trunks/carrier")

    assert (trunk["state"], trunk["reason"], trunk["for_s"]) == ("down", "no-answer", 60)
    assert trunk["servers"] == [
        {"address": "198.51.100.1:5060", "transport": "udp", "state": "down"}
    ]


async def test_a_trunk_that_asks_to_wait_says_for_how_long() -> None:
    desk = Desk()
    desk.watch.resolved(Destination("carrier.test"), [HOP], 0.0)
    event = HopFailed(Destination("carrier.test"), HOP, HopTrouble.OVERLOADED, 120)
    desk.watch.hop_was_tried(event, 60.0)

    _, trunk = await ask(new_app(desk), "/v1/trunks/carrier")

    assert trunk["wait_s"] == 90


async def test_the_calls_of_a_trunk_are_counted_by_direction() -> None:
    desk = Desk()
    for leg, direction in enumerate((Direction.IN, Direction.OUT, Direction.OUT)):
        desk.limits.enter("carrier", str(leg), direction, desk.now)

    _, trunk = await ask(new_app(desk), "/v1/trunks/carrier")

    assert (trunk["calls_in"], trunk["calls_out"]) == (1, 2)


async def test_a_registration_is_told_with_what_is_wrong_with_it() -> None:
    desk = Desk()
    desk.watch.handle_timer(0.0)
    desk.watch.handle_timer(60.0)

    _, trunk = await ask(new_app(desk), "/v1/trunks/carrier")

    assert trunk["registrations"] == [
        {
            "user": "acme",
            "registrar": "sip:carrier.test",
            "state": "waiting",
            "registered": False,
            "expires_in_s": 0,
            "last_status": None,
            "error": "no answer",
        }
    ]


async def test_a_trunk_that_is_not_there_is_not_found() -> None:
    status, answer = await ask(new_app(Desk()), "/v1/trunks/nobody")

    assert (status, answer["code"]) == (404, "unknown-trunk")


async def test_trunks_want_the_token() -> None:
    assert (await ask(new_app(Desk(), token="hunter2"), "/v1/trunks"))[0] == 401


async def test_the_document_describes_trunks_and_the_name_in_the_path() -> None:
    _, document = await ask(new_app(Desk()), "/v1/openapi.json")

    get = document["paths"]["/v1/trunks/{name}"]["get"]
    assert [parameter["name"] for parameter in get["parameters"]] == ["name"]
    properties = document["components"]["schemas"]["TrunkInfo"]["properties"]
    assert {"state", "reason", "wait_s", "servers", "registrations"} <= properties.keys()
    assert document["components"]["schemas"]["TrunkState"]["enum"] == ["unknown", "up", "down"]


@in_virtual_time
async def test_a_subscriber_of_events_hears_of_trunks(loop: VirtualLoop) -> None:
    desk, node = Desk(), FakeNode(loop)

    async with open_page(new_app(desk, node), "/v1/events") as subscriber:
        desk.observers.publish(TrunkUp("carrier", 1.0))
        desk.observers.publish(TrunkDown("carrier", 2.0, "no-answer"))
        desk.observers.publish(TrunkRegistered("carrier", 3.0, Private("acme"), 600))
        desk.observers.publish(
            TrunkRegistrationFailed("carrier", 4.0, Private("acme"), 403, "403 Forbidden", 30.0)
        )
        await subscriber.read()

    assert subscriber.got == [
        {"type": "trunk.up", "trunk": "carrier", "at": 1.0},
        {"type": "trunk.down", "trunk": "carrier", "at": 2.0, "reason": "no-answer"},
        {
            "type": "trunk.registered",
            "trunk": "carrier",
            "at": 3.0,
            "registration": "acme",
            "expires_s": 600,
        },
        {
            "type": "trunk.registration_failed",
            "trunk": "carrier",
            "at": 4.0,
            "registration": "acme",
            "status": 403,
            "reason": "403 Forbidden",
            "retry_s": 30.0,
        },
    ]
    assert desk.observers._observers == [], "forgotten with its socket"
    await node.close()


def test_an_observer_that_breaks_keeps_no_event_from_the_others() -> None:
    heard: list[TrunkEvent] = []
    observers = TrunkObservers()
    observers.observe(lambda event: 1 / 0)  # type: ignore[arg-type]
    stop = observers.observe(heard.append)

    observers.publish(TrunkUp("carrier", 1.0))
    stop()
    observers.publish(TrunkUp("carrier", 2.0))

    assert heard == [TrunkUp("carrier", 1.0)]


def test_the_log_of_a_registration_holds_nobodys_number(caplog: pytest.LogCaptureFixture) -> None:
    observers = TrunkObservers()
    caplog.set_level("INFO")

    observers.publish(TrunkRegistered("carrier", 1.0, Private("+493012345678"), 600))
    words = "403 +493012345678 \x1b[2J may not"
    observers.publish(
        TrunkRegistrationFailed("carrier", 1.0, Private("+493012345678"), 403, words, 30.0)
    )

    assert "trunk=carrier registered" in caplog.text
    assert "registration failed (403)" in caplog.text
    assert "1234" not in caplog.text

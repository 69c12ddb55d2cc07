"""The HTTP server over a registry of fake legs, asked in memory and in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quart import Quart

from gateway.api.calls import call_operations, serve_events
from gateway.api.conduct import conduct_operations
from gateway.api.page import LOST_S, Send
from gateway.api.server import Access, OpenSockets, create_server
from gateway.api.signalling import Pages
from gateway.call.call import Call, CallSummary, TransferMode
from gateway.call.events import CallEvent
from gateway.conduct import Conduct
from gateway.errors import GatewayError, RoutingError
from gateway.leg.browser import BrowserLeg
from gateway.leg.leg import EndReason
from gateway.media.answering import AnsweringPolicy
from gateway.media.folder import Sounds
from gateway.media.sound import Sound
from gateway.media.tone import beep
from gateway.private import Private, Secret
from gateway.trunk.route import Plan, parse_target
from tests.leg.test_browser_leg import CODECS
from tests.support.exchange import Exchange
from tests.support.legs import plan
from tests.support.loop import VirtualLoop, elapse
from tests.support.media import FakeTransport, new_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart.typing import TestWebsocketConnectionProtocol

WEB = Path(__file__).parents[2] / "web"
BEEP = Sound(beep(8000, 2.0), 8000)
Message = dict[str, Any]


class FakeNode:
    """What the API and the pages ask of a node; its trunks and agents are fake legs."""

    version = "9.9.9"
    name = "gw9"

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.exchange = Exchange(loop)
        self.registry = self.exchange.registry
        self.transports: list[FakeTransport] = []
        self.plan = ["trunk:lab"]
        self.breaks = False
        self.answering_machine: AnsweringPolicy | None = None
        self.pages = Pages(self)
        self.conduct = Conduct(self.registry, plan=self._plan, sounds=Sounds({"hi.wav": BEEP}))

    def call_from_page(self, to: str, offer: str, name: str, send: Send) -> tuple[BrowserLeg, Call]:
        """As a node does it."""
        if self.breaks:
            raise RuntimeError("bug")
        if to == "nowhere":
            raise RoutingError("no route leads from browser to this destination")
        leg = self._page_leg(send)
        try:
            leg.take_offer(offer)
            call = self.exchange.place(self.plan, caller=leg)
        except GatewayError:
            leg.end(EndReason.REJECTED)
            raise
        if call.outcome is None:
            leg.announce(call.id)
        return leg, call

    def ring(self, name: str) -> None:
        """Somebody calls the page that came last."""

        def place(send: Send) -> tuple[BrowserLeg, Call]:
            leg = self._page_leg(send)
            self.exchange._make = lambda _target: leg
            return leg, self.exchange.place(["user:ann"], source="trunk:lab")

        *_, page = self.pages
        page.ring(name, place)

    def _page_leg(self, send: Send) -> BrowserLeg:
        transport = self._new_transport()
        return BrowserLeg(
            f"page-{len(self.transports)}",
            stream=new_stream(self.loop, self.exchange.pacer, transport),
            codecs=CODECS,
            session_id="1",
            send=send,
            new_transport=self._new_transport,
            loop=self.loop,
        )

    def _new_transport(self) -> FakeTransport:
        transport = FakeTransport(is_webrtc=True)
        self.transports.append(transport)
        return transport

    def originate(
        self, from_: str, to: str, answering_machine: AnsweringPolicy | None = None
    ) -> CallSummary:
        self.answering_machine = answering_machine
        if to == "nowhere":
            raise RoutingError("no route leads from api to this destination")
        call = self.registry.place(
            self.exchange.new_leg("first"),
            Plan(((parse_target("trunk:lab"),),)),
            caller_target="agent:echo",
            numbers=(Private(from_), Private(to)),
            dial_caller=True,
        )
        return call.summary(self.loop.time())

    def calls(self) -> Sequence[CallSummary]:
        now = self.loop.time()
        return [call.summary(now, measured=False) for call in self.registry.calls()]

    def summary(self, call_id: str) -> CallSummary | None:
        return self.registry.summary(call_id)

    def hang_up(self, call_id: str) -> bool:
        return self.registry.end(call_id, EndReason.HANGUP)

    def hold(self, call_id: str, leg: str | None, *, on: bool) -> None:
        self.registry.hold(call_id, leg=leg, on=on)

    def mute(self, call_id: str, leg: str | None, *, on: bool) -> None:
        self.registry.mute(call_id, leg=leg, on=on)

    def amplify(self, call_id: str, gain_db: float, leg: str | None) -> None:
        self.registry.amplify(call_id, gain_db, leg=leg)

    def press(self, call_id: str, digits: str, leg: str | None, press_ms: int, gap_ms: int) -> None:
        self.registry.press(call_id, digits, leg=leg, press_ms=press_ms, gap_ms=gap_ms)

    def secure(self, call_id: str, to: str | None, leg: str | None) -> None:
        self.registry.secure(call_id, to, leg=leg)

    def transfer(self, call_id: str, to: str, leg: str | None, mode: TransferMode) -> None:
        if to == "nowhere":
            raise RoutingError("no route leads from api to this destination")
        self.registry.transfer(call_id, to, plan([f"trunk:{to}"]), leg=leg, mode=mode)

    def join(
        self,
        call_id: str,
        other_id: str,
        leg: str | None,
        other_leg: str | None,
        mode: TransferMode,
    ) -> None:
        self.registry.join(call_id, other_id, leg=leg, other_leg=other_leg, mode=mode)

    def observe(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]:
        return self.registry.observe(observer)

    def _plan(self, to: str) -> tuple[Plan, str]:
        if to == "nowhere":
            raise RoutingError("no route leads from api to this destination")
        return plan([to]), to

    async def close(self) -> None:
        """End all calls; nothing of them, and no observer but the bench's own, is left."""
        for call in self.registry.calls():
            self.registry.end(call.id, EndReason.SHUTDOWN)
        await elapse(LOST_S + 2)
        assert len(self.pages) == 0
        assert self.registry.lingering == 0
        assert self.exchange.pacer.count == 0
        assert all(transport.is_closed for transport in self.transports)
        assert len(self.registry._observers) == 1


def new_app(node: FakeNode, token: str | None = None, *hosts: str) -> Quart:
    """The server."""
    return create_server(
        access=Access(None if token is None else Secret(token), frozenset(hosts)),
        web=WEB,
        version=node.version,
        operations=[
            *call_operations(node),
            *conduct_operations(node.conduct, node.summary),
        ],
        sockets={
            "/v1/signal": node.pages.serve,
            "/v1/events": lambda: serve_events(node),
        },
        open_sockets=OpenSockets(),
    )


class Page:
    """A socket with its messages as JSON."""

    def __init__(self, socket: TestWebsocketConnectionProtocol) -> None:
        self._socket = socket
        self.got: list[Message] = []

    async def say(self, kind: str, **rest: Any) -> None:
        """Send a message, and read all that comes of it at once."""
        await self.say_text(json.dumps({"type": kind, **rest}))

    async def say_text(self, text: str | bytes) -> None:
        await self._socket.send(text)
        await self.read()

    async def read(self) -> None:
        """Read what has come, without waiting."""
        await elapse(0.001)
        while True:
            try:
                async with asyncio.timeout(0.001):
                    self.got.append(json.loads(await self._socket.receive()))
            except TimeoutError:
                return

    def all(self, kind: str) -> list[Message]:
        return [message for message in self.got if message["type"] == kind]

    def last(self, kind: str) -> Message:
        return self.all(kind)[-1]


@asynccontextmanager
async def open_page(app: Quart, path: str = "/v1/signal") -> AsyncIterator[Page]:
    """A page, or a subscriber of events, until its socket is lost."""
    async with app.test_client().websocket(path) as socket:
        page = Page(socket)
        await page.read()
        yield page

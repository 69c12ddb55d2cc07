"""Hold, transfer and redirection through a whole node, over sockets; the far ends are endpoints.

What a trunk may do is in its configuration: `pbx` may transfer and redirect, `carrier` may not.
"""

from __future__ import annotations

import asyncio
import itertools
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.call.call import CallState, TransferMode
from gateway.config import parse_config
from gateway.net.driver import Driver
from gateway.net.pacer import Pacer
from gateway.node import Node
from gateway.sdp.description import Direction, parse_sdp
from gateway.sip import event as sip
from gateway.sip.endpoint import Endpoint, EndpointOptions
from gateway.sip.flow import Flow, Output, Send
from gateway.sip.header import parse_address
from gateway.sip.invite import InviteRequest
from gateway.sip.invite_client import InviteClient
from gateway.sip.invite_server import InviteServer
from gateway.sip.uri import parse_uri
from tests.support.wire import SipSocket

pytestmark = [pytest.mark.real, pytest.mark.beside]

E = TypeVar("E", bound=sip.Event)

CONFIG = """
[http]
listen = ""

[webrtc]
listen = ""

[sip]
listen = ["udp:127.0.0.1:0"]

[[trunk]]
name = "pbx"
uri = "sip:127.0.0.1:{pbx}"
probe_s = 0
allow_transfer = true
allow_redirect = true
transfer = "refer"
signal_hold = true

[[trunk]]
name = "carrier"
uri = "sip:127.0.0.1:{carrier}"
probe_s = 0

[[agent]]
name = "echo"
protocol = "echo"

[[route]]
from = ["trunk:pbx", "trunk:carrier", "api"]
match = "echo"
to = ["agent:echo"]

[[route]]
from = ["trunk:pbx", "api"]
match = "+1*"
to = ["trunk:carrier"]

[[route]]
from = "trunk:carrier"
match = "+4*"
to = ["trunk:pbx"]
"""


def sdp(more: str = "") -> bytes:
    return (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        f"m=audio 29998 RTP/AVP 0\r\n{more}"
    ).encode()


class Far:
    """A PBX or carrier: an endpoint on a socket."""

    _names = itertools.count()

    def __init__(self) -> None:
        self.socket = SipSocket()
        self.events: list[sip.Event] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self.endpoint = Endpoint(
            EndpointOptions(), new_token=lambda: f"far{next(self._names):016x}"
        )
        self._driver: Driver[Output, sip.Event] = Driver(
            self.endpoint, loop=self._loop, send=self._send, on_event=self._take
        )
        self._reader = self._loop.create_task(self._read())

    @property
    def port(self) -> int:
        return int(self.socket.port)

    @property
    def now(self) -> float:
        return self._loop.time()

    def call(self, node: Node, to: str) -> InviteClient:
        host, port = node.sip_addresses[0][1]
        request = InviteRequest(
            target=parse_uri(f"sip:{to}@{host}:{port}"),
            from_=parse_address("<sip:+15550001@127.0.0.1>"),
            to=parse_address(f"<sip:{to}@127.0.0.1>"),
            flow=self._flow(host, port),
            offer=sdp(),
            session_timer=None,
        )
        session = self.endpoint.invite(request, self.now)
        self.flush()
        return session

    async def called(self) -> InviteServer:
        """The INVITE that comes next."""
        return (await self.next(sip.Incoming)).session

    async def next(self, kind: type[E]) -> E:
        """The next event of a kind; it is told once."""
        async with asyncio.timeout(5):
            while True:
                for event in self.events:
                    if isinstance(event, kind):
                        self.events.remove(event)
                        return event
                self._changed.clear()
                await self._changed.wait()

    def flush(self) -> None:
        """After each command."""
        self._driver.flush()

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.wait([self._reader])
        self._driver.close()
        self.socket.__exit__(None, None, None)

    def _flow(self, host: str, port: int) -> Flow:
        return Flow("udp", ("127.0.0.1", self.port), (host, port))

    def _send(self, output: Output) -> None:
        assert isinstance(output, Send)
        self.socket.send(output.data, output.flow.remote)

    def _take(self, event: sip.Event) -> None:
        self.events.append(event)
        self._changed.set()

    async def _read(self) -> None:
        while True:
            datagram = await self.socket.receive_any()
            flow = self._flow(*datagram.source)
            self._driver.change(self.endpoint.receive, datagram.text.encode(), flow, self.now)


class Site:
    """The node between the two."""

    def __init__(self, node: Node, pbx: Far, carrier: Far) -> None:
        self.node, self.pbx, self.carrier = node, pbx, carrier

    async def connect(self, far: Far, to: str = "echo") -> InviteClient:
        """A far end has called an agent, and is in the call."""
        session = far.call(self.node, to)
        await far.next(sip.Answered)
        return session

    async def until_ended(self, far: Far) -> sip.Ended:
        return await far.next(sip.Ended)


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    loop = asyncio.get_running_loop()
    pbx, carrier = Far(), Far()
    text = CONFIG.format(pbx=pbx.port, carrier=carrier.port)
    config = parse_config(tomllib.loads(text), Path("node.toml"), {})
    node = Node(config, version="1", loop=loop, pacer=Pacer(loop), certificate=None)
    try:
        yield Site(node, pbx, carrier)
    finally:
        await node.close()
        await pbx.close()
        await carrier.close()


@contextmanager
def said(far: Far) -> Iterator[None]:
    """Commands to a far end's sessions go out."""
    yield
    far.flush()


async def test_hold_and_resume_of_a_trunk() -> None:
    async with site() as at:
        session = await at.connect(at.pbx)
        answers = []
        for more in ("a=sendonly\r\n", "a=inactive\r\n", ""):
            with said(at.pbx):
                session.reoffer(sdp(more), at.pbx.now)
            answered = await at.pbx.next(sip.ReofferAnswered)
            answers.append(parse_sdp(answered.sdp or b""))

        directions = [answer.media[0].direction for answer in answers]
        assert directions == [Direction.RECVONLY, Direction.INACTIVE, Direction.SENDRECV]
        assert [answer.origin.version for answer in answers] == [2, 3, 4]


async def test_our_hold_is_signalled_where_the_trunk_is_set_so() -> None:
    async with site() as at:
        session = await at.connect(at.pbx)
        (call,) = at.node.calls()

        at.node.hold(call.id, None, on=True)
        asked = await at.pbx.next(sip.Reoffered)
        with said(at.pbx):
            session.accept_reoffer(sdp("a=recvonly\r\n"), at.pbx.now)

        assert parse_sdp(asked.sdp or b"").media[0].direction is Direction.SENDONLY


async def test_trunk_that_may_transfer_does() -> None:
    async with site() as at:
        session = await at.connect(at.pbx)
        with said(at.pbx):
            session.refer(parse_uri("sip:+15550123@anywhere.example"), at.pbx.now)
        invite = await at.carrier.called()
        with said(at.carrier):
            invite.answer(sdp(), at.carrier.now)

        done = await at.pbx.next(sip.ReferDone)
        ended = await at.until_ended(at.pbx)
        (call,) = at.node.registry.calls()
        assert done.status == 200
        assert ended.cause is sip.EndCause.BYE
        assert call.state is CallState.UP
        assert [party.target for party in call.heard_parties()] == ["agent:echo", "trunk:carrier"]


@pytest.mark.parametrize(
    ("trunk", "to", "status"), [("carrier", "+4930", 403), ("pbx", "+900123", 404)]
)
async def test_a37_transfer_is_refused_to_who_may_not_and_to_where_no_route_leads(
    trunk: str, to: str, status: int
) -> None:
    async with site() as at:
        far = at.pbx if trunk == "pbx" else at.carrier
        session = await at.connect(far)
        with said(far):
            session.refer(parse_uri(f"sip:{to}@premium.example"), far.now)

        done = await far.next(sip.ReferDone)
        assert done.status == status
        assert not session.is_ended


async def test_commanded_transfer_sends_refer_to_a_trunk_that_takes_it() -> None:
    async with site() as at:
        session = await at.connect(at.pbx)
        (call,) = at.node.calls()

        at.node.transfer(call.id, "+15550123", None, TransferMode.AUTO)
        asked = await at.pbx.next(sip.ReferAsked)
        with said(at.pbx):
            session.accept_refer(at.pbx.now)
            session.notify_refer(200, "OK", at.pbx.now)

        ended = await at.until_ended(at.pbx)
        assert asked.target.user == "+15550123"
        assert asked.target.port == at.pbx.port
        assert ended.cause is sip.EndCause.BYE


@pytest.mark.parametrize(
    ("first", "dialled", "status"), [("pbx", "+4930", 486), ("carrier", "+15550123", 480)]
)
async def test_a37_redirection_is_followed_only_of_who_may(
    first: str, dialled: str, status: int
) -> None:
    async with site() as at:
        caller, callee = (at.carrier, at.pbx) if first == "pbx" else (at.pbx, at.carrier)
        caller.call(at.node, dialled)
        invite = await callee.called()
        with said(callee):
            invite.reject(302, callee.now, headers=[("Contact", "<sip:+4931@127.0.0.1>")])
        if first == "pbx":
            again = await callee.called()
            with said(callee):
                again.reject(486, callee.now)

        ended = await at.until_ended(caller)
        assert ended.status == status

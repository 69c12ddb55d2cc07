"""SIP over a WebSocket of the HTTP server, and how many WebSockets there may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from quart import Quart
from quart.testing.connections import WebsocketDisconnectError, WebsocketResponseError

from gateway.api.crowd import Crowd, SocketLimits, client_address
from gateway.api.outbox import TOO_SLOW
from gateway.api.server import Access, OpenSockets, create_server
from gateway.api.sip_socket import GOING_AWAY, MAX_MESSAGES_PER_S, MAX_UNSENT_BYTES, serve_sip
from gateway.errors import CapacityError
from gateway.net.connection import Closing
from gateway.net.transports import SipTransports
from gateway.private import Secret
from gateway.sip.flow import Flow
from tests.api.site import WEB
from tests.sip.samples import request_bytes
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

if TYPE_CHECKING:
    from quart.typing import TestWebsocketConnectionProtocol as Socket

PEER, US = ("198.51.100.7", 40_000), ("192.0.2.1", 8443)
SCOPE: dict[str, Any] = {"client": PEER, "server": US}
# RFC 7118 §5: a message in a frame needs no Content-Length.
REGISTER = request_bytes(method="REGISTER").decode()


class Site:
    """Transports without sockets of their own behind an HTTP server."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, *, limits: SocketLimits | None = None
    ) -> None:
        self.heard: list[tuple[bytes, Flow]] = []
        self.closed: list[Flow] = []
        self.strangers: set[str] = set()
        self.held: set[Flow] = set()
        self.transports = SipTransports(
            [],
            loop=loop,
            tls=None,
            receive=lambda data, flow: self.heard.append((data, flow)),
            on_closed=self.closed.append,
            admit=lambda source: source[0] not in self.strangers,
            is_held=self.held.__contains__,
        )
        self.open_sockets = OpenSockets(limits)
        self.app: Quart = create_server(
            access=Access(
                Secret("s3cret"),
                proxies=(ip_network("10.0.0.0/8"),),
                origins=frozenset({"https://phone.example"}),
            ),
            web=WEB,
            version="1",
            operations=[],
            sockets={"/v1/events": wait_for_ever},
            open_sockets=self.open_sockets,
            sip=lambda: serve_sip(self.transports),
        )

    @property
    def flow(self) -> Flow:
        """Of the last message."""
        return self.heard[-1][1]

    def why(self) -> list[Closing]:
        """How connections ended."""
        return list(self.transports.connections.closings.elements())

    @asynccontextmanager
    async def socket(
        self,
        path: str = "/v1/sip",
        *,
        subprotocols: Sequence[str] = ("sip",),
        headers: dict[str, str] | None = None,
        scheme: str = "wss",
        **scope: Any,
    ) -> AsyncIterator[Socket]:
        """A phone's socket."""
        opened = self.app.test_client().websocket(
            path,
            headers=headers,
            scheme=scheme,
            scope_base={**SCOPE, "subprotocols": list(subprotocols), **scope},
        )
        async with opened as socket:
            await elapse(0.001)
            yield socket

    async def refusal(self, path: str = "/v1/sip", **options: Any) -> tuple[int, str]:
        """The status and code that a socket is refused with."""
        async with self.socket(path, **options) as socket:
            with pytest.raises(WebsocketResponseError) as caught:
                await socket.receive()
        body = await caught.value.response.get_json()
        return caught.value.response.status_code, body["code"]


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def closing_of(socket: Socket) -> int:
    """The code that a socket is closed with."""
    async with asyncio.timeout(1):
        while True:
            try:
                await socket.receive()
            except WebsocketDisconnectError as error:
                code: int = error.args[0]
                return code


@pytest.mark.rfc(7118, "4.2")
@in_virtual_time
async def test_frames_of_text_and_of_bytes_are_messages(loop: VirtualLoop) -> None:
    site = Site(loop)

    async with site.socket() as socket:
        await socket.send(REGISTER)
        await socket.send(REGISTER.encode())
        await elapse(0.01)

        flow = Flow("wss", US, PEER, site.flow.connection)
        assert site.heard == [(REGISTER.encode(), flow)] * 2


@pytest.mark.rfc(7118, "4.2")
@in_virtual_time
async def test_answers_are_text_unless_they_cannot_be(loop: VirtualLoop) -> None:
    site = Site(loop)

    async with site.socket() as socket:
        await socket.send(REGISTER)
        await elapse(0.01)
        site.transports.send("SIP/2.0 200 Größe".encode(), site.flow)
        site.transports.send(b"SIP/2.0 200 \xff", site.flow)

        assert await socket.receive() == "SIP/2.0 200 Größe"
        assert await socket.receive() == b"SIP/2.0 200 \xff"


@in_virtual_time
async def test_without_tls_it_is_ws(loop: VirtualLoop) -> None:
    site = Site(loop)

    async with site.socket(scheme="ws") as socket:
        await socket.send(REGISTER)
        await elapse(0.01)

        assert site.flow.transport == "ws"
        assert str(site.transports.contact_of(site.flow)) == "sip:192.0.2.1:8443;transport=ws"


@in_virtual_time
async def test_a_lost_socket_is_a_lost_flow(loop: VirtualLoop) -> None:
    site = Site(loop)

    async with site.socket() as socket:
        await socket.send(REGISTER)
        await elapse(0.01)
    await elapse(0.01)

    assert site.closed == [site.flow]
    assert not site.transports.send(b"late", site.flow)
    assert len(site.transports.connections) == 0
    assert len(site.open_sockets.crowd) == 0


@pytest.mark.rfc(7118, "6")
@in_virtual_time
async def test_a_ping_is_answered(loop: VirtualLoop) -> None:
    site = Site(loop)

    async with site.socket() as socket:
        await socket.send("\r\n")
        await socket.send("\r\n\r\n")

        assert await socket.receive() == "\r\n"
        assert site.heard == []


# ---- who may


@in_virtual_time
async def test_phones_log_in_by_sip_and_need_no_token(loop: VirtualLoop) -> None:
    site = Site(loop)

    async with site.socket() as socket:
        await socket.send(REGISTER)
        await elapse(0.01)

        assert len(site.heard) == 1
    assert await site.refusal("/v1/events", subprotocols=[]) == (401, "no-token")


@in_virtual_time
async def test_the_subprotocol_is_needed(loop: VirtualLoop) -> None:
    site = Site(loop)

    assert await site.refusal(subprotocols=["xmpp"]) == (400, "no-subprotocol")
    assert site.transports.connections.closings.total() == 0


@in_virtual_time
async def test_a19_pages_of_other_sites_and_other_names_are_refused(loop: VirtualLoop) -> None:
    site = Site(loop)

    for origin in ("https://evil.example", "https://phone.example:8443", "http://phone.example"):
        evil = {"Host": "192.0.2.1", "Origin": origin}
        assert await site.refusal(headers=evil) == (403, "wrong-origin")
    assert await site.refusal(headers={"Host": "evil.example"}) == (421, "unknown-host")


@in_virtual_time
async def test_page_of_a_site_that_is_named_may_connect(loop: VirtualLoop) -> None:
    site = Site(loop)
    headers = {"Host": "192.0.2.1", "Origin": "https://phone.example"}

    async with site.socket(headers=headers) as socket:
        await socket.send(REGISTER)
        await elapse(0.01)

        assert len(site.heard) == 1


@in_virtual_time
async def test_a_source_that_is_not_admitted_is_closed(loop: VirtualLoop) -> None:
    site = Site(loop)
    site.strangers.add(PEER[0])

    async with site.socket() as socket:
        assert await closing_of(socket) == TOO_SLOW

    assert site.heard == []


@in_virtual_time
async def test_a_source_that_is_banned_meanwhile_is_closed(loop: VirtualLoop) -> None:
    site = Site(loop)

    async with site.socket() as socket:
        await socket.send(REGISTER)
        await elapse(0.01)
        site.strangers.add(PEER[0])
        await socket.send(REGISTER)

        assert await closing_of(socket) == TOO_SLOW
    assert site.why() == [Closing.REFUSED]
    assert len(site.heard) == 1


@in_virtual_time
async def test_behind_a_proxy_of_ours_it_is_the_phone_that_counts(loop: VirtualLoop) -> None:
    site = Site(loop)
    headers = {"X-Forwarded-For": "203.0.113.9, 198.51.100.44"}

    async with site.socket(headers=headers, client=("10.0.0.2", 5555)) as socket:
        await socket.send(REGISTER)
        await elapse(0.01)

        assert site.flow.remote == ("198.51.100.44", 5555)


# ---- patience


@in_virtual_time
async def test_a23_a_socket_without_a_word_is_closed_after_ten_seconds(loop: VirtualLoop) -> None:
    site = Site(loop)

    async with site.socket() as socket:
        await elapse(9.9)
        assert site.why() == []
        await elapse(0.5)

        assert await closing_of(socket) == TOO_SLOW
    assert site.why() == [Closing.NO_MESSAGE]


@in_virtual_time
async def test_an_idle_socket_is_kept_while_a_phone_is_registered_on_it(
    loop: VirtualLoop,
) -> None:
    site = Site(loop)

    async with site.socket() as socket:
        await socket.send(REGISTER)
        await elapse(0.01)
        site.held.add(site.flow)
        await elapse(400)
        assert site.why() == []
        site.held.clear()
        await elapse(121)

        assert await closing_of(socket) == 1000
    assert site.why() == [Closing.IDLE]


@in_virtual_time
async def test_a_registered_phone_is_kept_through_proxies(loop: VirtualLoop) -> None:
    site = Site(loop)

    async with site.socket() as phone, site.socket() as stranger:
        await phone.send(REGISTER)
        await elapse(0.01)
        site.held.add(site.flow)
        await stranger.send(REGISTER)
        await elapse(60)

        assert [await phone.receive(), await phone.receive()] == ["\r\n"] * 2
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await stranger.receive()


@in_virtual_time
async def test_a23_a_phone_that_does_not_read_is_cut_off(loop: VirtualLoop) -> None:
    site = Site(loop)

    async with site.socket() as socket:
        await socket.send(REGISTER)
        await elapse(0.01)
        taken = [site.transports.send(bytes(10_000), site.flow) for _ in range(30)]

        assert taken == [True] * (MAX_UNSENT_BYTES // 10_000) + [False] * 4
        assert await closing_of(socket) == TOO_SLOW
    assert site.closed == [site.flow]


@in_virtual_time
async def test_a19_a_flood_of_messages_is_cut_off(loop: VirtualLoop) -> None:
    site = Site(loop)

    async with site.socket() as socket:
        for _ in range(MAX_MESSAGES_PER_S + 50):
            await socket.send(REGISTER)

        assert await closing_of(socket) == TOO_SLOW
    assert len(site.heard) == MAX_MESSAGES_PER_S


@in_virtual_time
async def test_the_gateway_says_good_bye(loop: VirtualLoop) -> None:
    site = Site(loop)

    async with site.socket() as socket:
        await socket.send(REGISTER)
        await elapse(0.01)
        site.transports.close()

        assert await closing_of(socket) == GOING_AWAY


# ---- how many (all WebSockets, not only those of SIP)


@in_virtual_time
async def test_a23_one_address_gets_a_share_of_the_sockets(loop: VirtualLoop) -> None:
    site = Site(loop)
    token = ["bearer.s3cret"]

    async with AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(site.socket())
            await stack.enter_async_context(site.socket("/v1/events", subprotocols=token))

        assert await site.refusal() == (503, "capacity")
        assert await site.refusal("/v1/events", subprotocols=token) == (503, "capacity")
        async with site.socket(client=("198.51.100.8", 1)) as other:
            await other.send("\r\n\r\n")
            assert await other.receive() == "\r\n"
    async with site.socket() as socket:
        await socket.send("\r\n\r\n")
        assert await socket.receive() == "\r\n"


@in_virtual_time
async def test_all_addresses_together_get_as_many_as_the_limit(loop: VirtualLoop) -> None:
    site = Site(loop, limits=SocketLimits(total=2))

    async with AsyncExitStack() as stack:
        for number in range(2):
            await stack.enter_async_context(site.socket(client=(f"198.51.100.{number}", 1)))

        assert await site.refusal(client=("198.51.100.9", 1)) == (503, "capacity")
        assert await site.refusal(client=("127.0.0.1", 1)) == (503, "capacity")


def test_of_ipv6_a_network_counts_as_one() -> None:
    crowd = Crowd(SocketLimits(per_address=1))

    with crowd.place_for("2001:db8:1:2::1"):
        with pytest.raises(CapacityError), crowd.place_for("2001:db8:1:2:ffff::2"):
            pass
        with crowd.place_for("2001:db8:1:3::1"):
            assert len(crowd) == 2
    assert len(crowd) == 0
    assert crowd.refused == 1


def test_this_machine_itself_has_no_share() -> None:
    crowd = Crowd(SocketLimits(per_address=1))

    with crowd.place_for("127.0.0.1"), crowd.place_for("127.0.0.1"), crowd.place_for("::1"):
        assert len(crowd) == 3


PROXIES = (ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("remote", "forwarded", "client"),
    [
        ("198.51.100.7", "203.0.113.1", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "203.0.113.1, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.1, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "2001:db8::7", "2001:db8::7"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.1, unknown", "10.0.0.1"),
        ("", "203.0.113.1", ""),
    ],
)
def test_only_proxies_of_ours_are_believed(remote: str, forwarded: str, client: str) -> None:
    assert client_address(remote, forwarded, PROXIES) == client

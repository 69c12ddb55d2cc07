"""SIP's sockets, really open: TCP and TLS in and out, their limits, ICMP, and where we are."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest
import uvloop

from gateway.errors import ConfigError
from gateway.net import tcp
from gateway.net.connection import Closing, ConnectionLimits
from gateway.net.interface import Reachable
from gateway.net.tls import TlsOptions
from gateway.net.transports import SipTransports
from gateway.net.udp import DSCP_SIGNALLING, open_udp_socket
from gateway.sip.flow import Flow, Hop
from tests.sip.samples import SDP, read_response, request_bytes
from tests.support.certificates import Authority, Pair

OPTIONS = request_bytes("Content-Length: 0", method="OPTIONS")
INVITE = request_bytes(f"Content-Length: {len(SDP)}", body=SDP)

Run = Callable[[Awaitable[None]], None]


@dataclass(frozen=True)
class Listen:
    """One line of [sip] listen."""

    transport: str
    host: str = "127.0.0.1"
    port: int = 0
    verify_client: bool = False


class Site:
    """A gateway's sockets, and what they told."""

    def __init__(
        self,
        *listens: Listen,
        tls: TlsOptions | None = None,
        limits: ConnectionLimits | None = None,
        reachable: Reachable | None = None,
        answers: bool = False,
    ) -> None:
        self.heard: list[tuple[bytes, Flow]] = []
        self.closed: list[Flow] = []
        self.strangers: set[str] = set()
        self.held: set[Flow] = set()
        self.answers = answers
        self.transports = SipTransports(
            listens,
            loop=asyncio.get_running_loop(),
            tls=tls,
            receive=self._receive,
            on_closed=self.closed.append,
            admit=lambda source: source[0] not in self.strangers,
            is_held=self.held.__contains__,
            limits=limits,
            reachable=reachable,
        )

    def _receive(self, data: bytes, flow: Flow) -> None:
        self.heard.append((data, flow))
        if self.answers:
            self.transports.send(data, flow)

    def port(self, number: int = 0) -> int:
        return self.transports.locals[number][1][1]

    def closings(self, why: Closing) -> int:
        return self.transports.connections.closings[why]


@asynccontextmanager
async def site(*listens: Listen, **options: object) -> AsyncIterator[Site]:
    """A site that leaves nothing open behind it."""
    opened = Site(*listens, **options)  # type: ignore[arg-type]
    try:
        yield opened
    finally:
        opened.transports.close()
        await until(lambda: len(opened.transports.connections) == 0)


async def until(claim: Callable[[], bool], within: float = 5.0) -> float:
    """Wait until something holds; the seconds it took."""
    started_at = time.monotonic()
    while not claim():
        assert time.monotonic() - started_at < within, f"not within {within} s"
        await asyncio.sleep(0.002)
    return time.monotonic() - started_at


@asynccontextmanager
async def connected(
    port: int, host: str = "127.0.0.1", *, source: str | None = None, **options: object
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A peer of Python's own making."""
    local = None if source is None else (source, 0)
    reader, writer = await asyncio.open_connection(
        host,
        port,
        local_addr=local,
        **options,  # type: ignore[arg-type]
    )
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def is_reset(port: int, source: str = "127.0.0.1", data: bytes = OPTIONS) -> bool:
    """Whether a connection from there is broken off, then or before it is made."""
    try:
        async with connected(port, source=source) as (reader, writer):
            writer.write(data)
            await read(reader)
    except ConnectionError:
        return True
    return False


async def read(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(5):
        return await reader.read(100_000)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run a coroutine on either loop."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run  # type: ignore[misc]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


pytestmark = pytest.mark.real

# ---- TCP


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_request_over_tcp_is_answered_on_its_connection(run: Run, host: str) -> None:
    async def converse() -> None:
        async with (
            site(Listen("tcp", host), answers=True) as ours,
            connected(ours.port(), host) as (reader, writer),
        ):
            writer.write(INVITE)

            assert await read(reader) == INVITE
            flow = ours.heard[0][1]
            assert flow.transport == "tcp"
            assert flow.local == (host, ours.port())
            assert flow.remote == writer.get_extra_info("sockname")[:2]
            assert flow.connection > 0

    run(converse())


def test_requests_are_put_together_from_any_segments(run: Run) -> None:
    async def converse() -> None:
        async with (
            site(Listen("tcp")) as ours,
            connected(ours.port()) as (_, writer),
        ):
            data = INVITE + OPTIONS + b"\r\n" + INVITE
            for start in range(0, len(data), 37):
                writer.write(data[start : start + 37])
                await writer.drain()
                await asyncio.sleep(0)

            await until(lambda: len(ours.heard) == 3)
            assert [each for each, _ in ours.heard] == [INVITE, OPTIONS, INVITE]

    run(converse())


def test_two_connections_of_one_peer_are_two_flows(run: Run) -> None:
    async def converse() -> None:
        async with (
            site(Listen("tcp")) as ours,
            connected(ours.port()) as (one, writer_one),
            connected(ours.port()) as (two, writer_two),
        ):
            writer_one.write(INVITE)
            writer_two.write(OPTIONS)
            await until(lambda: len(ours.heard) == 2)
            flows = dict(ours.heard)

            assert ours.transports.send(b"to one", flows[INVITE])
            assert ours.transports.send(b"to two", flows[OPTIONS])

            assert await read(one) == b"to one"
            assert await read(two) == b"to two"

    run(converse())


def test_a25_a_lying_length_gets_400_and_the_end(run: Run) -> None:
    async def converse() -> None:
        async with (
            site(Listen("tcp")) as ours,
            connected(ours.port()) as (reader, writer),
        ):
            writer.write(request_bytes("Content-Length: +5", body=OPTIONS))

            assert read_response(await read(reader)).status == 400
            assert await read(reader) == b""
            assert ours.heard == []

    run(converse())


def test_a24_ten_megabytes_of_headers_get_513_and_the_end(run: Run) -> None:
    async def converse() -> None:
        async with (
            site(Listen("tcp")) as ours,
            connected(ours.port()) as (reader, writer),
        ):
            writer.write(request_bytes()[:-2])
            for _ in range(640):
                writer.write(b"Subject: " + b"x" * 16_000 + b"\r\n")

            assert read_response(await read(reader)).status == 513
            assert ours.heard == []

    run(converse())


def test_a_lost_connection_is_told(run: Run) -> None:
    async def converse() -> None:
        async with site(Listen("tcp")) as ours:
            async with connected(ours.port()) as (_, writer):
                writer.write(OPTIONS)
                await until(lambda: bool(ours.heard))

            await until(lambda: bool(ours.closed))
            assert ours.closed == [ours.heard[0][1]]
            assert not ours.transports.send(b"late", ours.closed[0])

    run(converse())


# ---- connecting


def test_a_connection_to_a_hop_is_opened_once_and_used_again(run: Run) -> None:
    async def converse() -> None:
        async with site(Listen("tcp"), answers=True) as theirs, site() as ours:
            hop = Hop("tcp", "127.0.0.1", theirs.port())
            assert ours.transports.connect_now(hop) is None

            flows = await asyncio.gather(*(ours.transports.connect(hop) for _ in range(5)))

            assert len(set(flows)) == 1
            assert flows[0].remote == ("127.0.0.1", theirs.port())
            assert ours.transports.connect_now(hop) == flows[0]
            assert ours.transports.send(INVITE, flows[0])
            await until(lambda: bool(ours.heard))
            assert ours.heard == [(INVITE, flows[0])]
            assert len(theirs.transports.connections) == 1

    run(converse())


def test_a_connection_that_ended_is_opened_anew(run: Run) -> None:
    async def converse() -> None:
        async with site() as ours:
            async with site(Listen("tcp")) as theirs:
                hop = Hop("tcp", "127.0.0.1", theirs.port())
                first = await ours.transports.connect(hop)
            await until(lambda: ours.closed == [first])
            assert ours.transports.connect_now(hop) is None

            async with site(Listen("tcp", port=hop.port)):
                second = await ours.transports.connect(hop)

                assert second.connection != first.connection

    run(converse())


def test_f3_a_refused_connection_fails_at_once(run: Run) -> None:
    async def converse() -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            hop = Hop("tcp", *probe.getsockname())
        async with site() as ours:
            started_at = time.monotonic()

            with pytest.raises(ConnectionRefusedError):
                await ours.transports.connect(hop)

            assert time.monotonic() - started_at < 0.2

    run(converse())


@asynccontextmanager
async def full_listener() -> AsyncIterator[int]:
    """A port at which connections are neither taken nor refused: its queue is full."""
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        async with AsyncExitStack() as stack:
            for _ in range(3):
                filler = stack.enter_context(closing(socket.socket()))
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
            await asyncio.sleep(0.05)
            yield port


def test_a_hop_that_does_not_answer_is_given_up_after_four_seconds(run: Run) -> None:
    async def converse() -> None:
        async with full_listener() as port, site(limits=ConnectionLimits(connect_s=0.3)) as ours:
            started_at = time.monotonic()

            with pytest.raises(TimeoutError):
                await ours.transports.connect(Hop("tcp", "127.0.0.1", port))

            assert 0.29 < time.monotonic() - started_at < 0.6
            assert ConnectionLimits().connect_s == 4.0

    run(converse())


def test_who_gives_up_waiting_does_so_alone(run: Run) -> None:
    async def converse() -> None:
        async with site(Listen("tcp")) as theirs, site() as ours:
            hop = Hop("tcp", "127.0.0.1", theirs.port())
            impatient = asyncio.ensure_future(ours.transports.connect(hop))
            patient = asyncio.ensure_future(ours.transports.connect(hop))
            await asyncio.sleep(0)

            impatient.cancel()

            assert (await patient).transport == "tcp"

    run(converse())


def test_connections_of_ours_have_a_limit(run: Run) -> None:
    async def converse() -> None:
        limits = ConnectionLimits(opened=2)
        async with site(*[Listen("tcp")] * 3) as theirs, site(limits=limits) as ours:
            hops = [Hop("tcp", "127.0.0.1", theirs.port(number)) for number in range(3)]
            for hop in hops[:2]:
                await ours.transports.connect(hop)

            with pytest.raises(OSError, match="limits"):
                await ours.transports.connect(hops[2])

    run(converse())


def test_connections_of_ours_that_ended_make_room_for_others(run: Run) -> None:
    async def converse() -> None:
        async with site(limits=ConnectionLimits(opened=1)) as ours:
            async with site(Listen("tcp")) as theirs:
                first = await ours.transports.connect(Hop("tcp", "127.0.0.1", theirs.port()))
            await until(lambda: ours.closed == [first])

            async with site(Listen("tcp")) as others:
                hop = Hop("tcp", "127.0.0.1", others.port())

                assert (await ours.transports.connect(hop)).remote == ("127.0.0.1", hop.port)

    run(converse())


# ---- limits (A23)


def test_a23_one_address_gets_sixteen_connections(run: Run) -> None:
    async def converse() -> None:
        async with site(Listen("tcp"), answers=True) as ours, AsyncExitStack() as stack:
            for _ in range(16):
                await stack.enter_async_context(connected(ours.port()))
            await until(lambda: len(ours.transports.connections) == 16)

            assert await is_reset(ours.port())
            async with connected(ours.port(), source="127.0.0.2") as (reader, writer):
                writer.write(OPTIONS)
                assert await read(reader) == OPTIONS

            assert ours.transports.connections.refused == 1

    run(converse())


def test_a_place_that_is_left_can_be_taken_again(run: Run) -> None:
    async def converse() -> None:
        limits = ConnectionLimits(per_address=1)
        async with site(Listen("tcp"), answers=True, limits=limits) as ours:
            for _ in range(5):
                async with connected(ours.port()) as (reader, writer):
                    writer.write(OPTIONS)
                    assert await read(reader) == OPTIONS
                await until(lambda: len(ours.transports.connections) == 0)

    run(converse())


def test_a23_all_addresses_together_get_as_many_as_the_limit(run: Run) -> None:
    async def converse() -> None:
        limits = ConnectionLimits(total=3)
        async with site(Listen("tcp"), limits=limits) as ours, AsyncExitStack() as stack:
            for number in range(3):
                host = f"127.0.1.{number + 1}"
                await stack.enter_async_context(connected(ours.port(), source=host))
            await until(lambda: len(ours.transports.connections) == 3)

            assert await is_reset(ours.port(), "127.0.1.9")

    run(converse())


def test_a18_a_stranger_is_reset_before_a_byte_is_read(run: Run) -> None:
    async def converse() -> None:
        async with site(Listen("tcp")) as ours:
            ours.strangers.add("127.0.0.3")

            assert await is_reset(ours.port(), "127.0.0.3")
            assert ours.heard == []
            assert len(ours.transports.connections) == 0

    run(converse())


def test_a23_a_peer_that_does_not_read_is_cut_off_at_256_kb(run: Run) -> None:
    async def converse() -> None:
        async with site(Listen("tcp")) as ours:
            with closing(socket.socket()) as deaf:
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.setblocking(False)
                await asyncio.get_running_loop().sock_connect(deaf, ("127.0.0.1", ours.port()))
                deaf.send(OPTIONS)
                await until(lambda: bool(ours.heard))
                flow = ours.heard[0][1]

                sent = 0
                while ours.transports.send(bytes(16_000), flow):
                    sent += 1
                    await asyncio.sleep(0)
                    assert sent < 1000, "a queue without an end"

                assert sent * 16_000 > 256 * 1024  # the queue, beside what the kernel holds
                assert ours.closed == [flow]
                assert ours.closings(Closing.TOO_SLOW) == 1

    run(converse())


def test_a23_slow_connections_leave_the_others_alone() -> None:
    """500 peers that trickle a byte a second (slowloris)."""

    async def converse() -> None:
        loop = asyncio.get_running_loop()
        async with site(Listen("tcp"), answers=True) as ours:
            peers = []
            for number in range(500):
                peer = socket.socket()
                peer.setblocking(False)
                peer.bind((f"127.0.2.{number % 40 + 1}", 0))
                await loop.sock_connect(peer, ("127.0.0.1", ours.port()))
                peers.append(peer)
            await until(lambda: len(ours.transports.connections) == 500)
            waits = []

            async with connected(ours.port()) as (reader, writer):
                for round_ in range(100):
                    for peer in peers[round_ * 25 % 500 :][:25]:
                        peer.send(INVITE[:1])
                    asked_at = time.monotonic()
                    writer.write(OPTIONS)
                    assert await read(reader) == OPTIONS
                    waits.append(time.monotonic() - asked_at)
                    await asyncio.sleep(0.03)

            assert sorted(waits)[98] < 0.05
            for peer in peers:
                peer.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(converse())


def test_f24_running_out_of_descriptors_does_not_end_the_accepting(run: Run) -> None:
    async def converse() -> None:
        async with site(Listen("tcp"), answers=True) as ours:
            waiting = [socket.socket() for _ in range(3)]
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            used = max(int(name) for name in os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
            fillers = []
            try:
                while True:
                    fillers.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                pass
            try:
                for each in waiting:
                    each.setblocking(False)
                    each.connect_ex(("127.0.0.1", ours.port()))
                cpu = time.process_time()
                await asyncio.sleep(0.2)
                cpu = time.process_time() - cpu
            finally:
                for filler in fillers:
                    os.close(filler)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

            assert cpu < 0.1  # it does not spin
            await until(lambda: len(ours.transports.connections) == 3)
            for each in waiting:
                each.close()

    run(converse())


# ---- TLS


def client_context(authority: Authority, pair: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.file))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def test_a_request_over_tls_is_answered(run: Run, authority: Authority) -> None:
    async def converse() -> None:
        tls = authority.options("localhost")
        async with (
            site(Listen("tls"), tls=tls, answers=True) as ours,
            connected(ours.port(), ssl=client_context(authority), server_hostname="localhost") as (
                reader,
                writer,
            ),
        ):
            writer.write(INVITE)

            assert await read(reader) == INVITE
            assert ours.heard[0][1].transport == "tls"
            assert ours.transports.identities(ours.heard[0][1]) == ()

    run(converse())


def test_sites_call_each_other_over_tls(run: Run, authority: Authority) -> None:
    async def converse() -> None:
        listen = Listen("tls", verify_client=True)
        async with (
            site(listen, tls=authority.options("carrier.example"), answers=True) as theirs,
            site(tls=authority.options("sip:gw.example")) as ours,
        ):
            hop = Hop("tls", "127.0.0.1", theirs.port(), "carrier.example")

            flow = await ours.transports.connect(hop)
            ours.transports.send(INVITE, flow)
            await until(lambda: bool(ours.heard))

            assert ours.heard == [(INVITE, flow)]
            assert ours.transports.identities(flow) == ("carrier.example",)
            assert theirs.transports.identities(theirs.heard[0][1]) == ("gw.example",)

    run(converse())


def test_another_name_at_the_same_address_is_another_connection(
    run: Run, authority: Authority
) -> None:
    async def converse() -> None:
        async with (
            site(Listen("tls"), tls=authority.options("carrier.example")) as theirs,
            site(tls=TlsOptions(ca=authority.file)) as ours,
        ):
            hop = Hop("tls", "127.0.0.1", theirs.port(), "carrier.example")
            await ours.transports.connect(hop)

            with pytest.raises(ConnectionError, match=r"not for other\.example"):
                await ours.transports.connect(Hop("tls", hop.host, hop.port, "other.example"))

    run(converse())


def test_a_client_without_the_certificate_that_is_asked_for_is_refused(
    run: Run, authority: Authority
) -> None:
    async def converse() -> None:
        async with site(
            Listen("tls", verify_client=True), tls=authority.options("localhost")
        ) as ours:
            with suppress(OSError):  # of TLS 1.3 the client sees it when it reads first
                async with connected(
                    ours.port(), ssl=client_context(authority), server_hostname="localhost"
                ) as (reader, writer):
                    writer.write(OPTIONS)
                    await read(reader)

            assert ours.heard == []
            assert ours.closings(Closing.TLS) == 1

    run(converse())


async def serve_tls(pair: Pair, prepare: Callable[[ssl.SSLContext], None]) -> asyncio.Server:
    """A carrier of Python's own making."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    prepare(context)
    return await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)


def tls_1_0_only(context: ssl.SSLContext) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1


def as_it_is(context: ssl.SSLContext) -> None:
    """Nothing is wrong with the carrier but its certificate."""


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "prepare", "why"),
    [
        ("wrong name", as_it_is, "not for carrier"),
        ("wildcard", as_it_is, "not for carrier"),
        ("expired", as_it_is, "expired"),
        ("self-signed", as_it_is, "self-signed"),
        ("right", tls_1_0_only, "TLS failed|closed"),
    ],
)
def test_a35_a_carrier_that_is_not_who_it_should_be_is_refused(
    run: Run,
    authority: Authority,
    kind: str,
    prepare: Callable[[ssl.SSLContext], None],
    why: str,
) -> None:
    name = "carrier.example"
    pairs = {
        "wrong name": lambda: authority.issue("other.example", common_name=name),
        "wildcard": lambda: authority.issue("*.example"),
        "expired": lambda: authority.issue(name, is_expired=True),
        "self-signed": lambda: authority.issue(name, is_self_signed=True),
        "right": lambda: authority.issue(name),
    }

    async def converse() -> None:
        server = await serve_tls(pairs[kind](), prepare)
        port = server.sockets[0].getsockname()[1]
        async with site(tls=TlsOptions(ca=authority.file)) as ours:
            with pytest.raises(ConnectionError, match=why):
                await ours.transports.connect(Hop("tls", "127.0.0.1", port, name))

            assert ours.closed == []
        server.close()
        await server.wait_closed()

    run(converse())


def test_f28_a_new_certificate_is_shown_within_a_second_and_no_connection_dropped(
    run: Run, authority: Authority
) -> None:
    async def converse() -> None:
        pair, newer = authority.issue("old.example"), authority.issue("new.example")
        tls = TlsOptions(pair.certificate, pair.key)
        context = client_context(authority)
        async with (
            site(Listen("tls"), tls=tls, answers=True) as ours,
            connected(ours.port(), ssl=context, server_hostname="old.example") as (
                reader,
                writer,
            ),
        ):
            writer.write(OPTIONS)
            assert await read(reader) == OPTIONS

            pair.certificate.write_bytes(newer.certificate.read_bytes())
            pair.key.write_bytes(newer.key.read_bytes())
            ours.transports.reload_tls()

            async with connected(ours.port(), ssl=context, server_hostname="new.example"):
                writer.write(INVITE)
                assert await read(reader) == INVITE

    run(converse())


# ---- UDP and ICMP (F3)


def test_f3_a_closed_port_is_told_of_soon_and_the_socket_goes_on_hearing(run: Run) -> None:
    async def converse() -> None:
        for host in ("127.0.0.1", "::1"):
            gone = open_udp_socket(host, 0)
            target = gone.getsockname()[:2]
            gone.close()
            async with site(Listen("udp", host)) as ours:
                with closing(open_udp_socket(host, 0)) as peer:
                    flow = ours.transports.connect_now(Hop("udp", *target))
                    assert flow is not None

                    for _ in range(3):
                        assert ours.transports.send(b"anybody?", flow)
                        await asyncio.sleep(0.01)
                    took = await until(lambda: bool(ours.closed))
                    for number in range(3):
                        peer.sendto(b"%d" % number, flow.local)
                        await asyncio.sleep(0.01)

                    assert took < 0.2
                    assert set(ours.closed) == {flow}
                    assert [data for data, _ in ours.heard] == [b"0", b"1", b"2"]

    run(converse())


def test_what_is_sent_to_others_meanwhile_is_sent(run: Run) -> None:
    async def converse() -> None:
        gone = open_udp_socket("127.0.0.1", 0)
        target = gone.getsockname()[:2]
        gone.close()
        async with site(Listen("udp")) as ours:
            with closing(open_udp_socket("127.0.0.1", 0)) as peer:
                local = ours.transports.locals[0][1]
                dead = Flow("udp", local, target)
                alive = Flow("udp", local, peer.getsockname()[:2])

                for _ in range(10):
                    assert ours.transports.send(b"dead", dead)
                    assert ours.transports.send(b"alive", alive)

                for _ in range(10):
                    assert peer.recv(100) == b"alive"

    run(converse())


# ---- where we are


async def contact(flow: Flow, listens: Sequence[Listen], reachable: Reachable | None = None) -> str:
    async with site(*listens, reachable=reachable) as ours:
        uri = str(ours.transports.contact_of(flow))
        return uri.replace(f":{ours.port()}", ":LISTENED") if listens else uri


@pytest.mark.parametrize(
    ("transport", "contact_uri"),
    [
        ("udp", "sip:127.0.0.1:LISTENED"),
        ("tcp", "sip:127.0.0.1:LISTENED;transport=tcp"),
        ("ws", "sip:127.0.0.1:40001;transport=ws"),
        ("wss", "sip:127.0.0.1:40001;transport=ws"),
    ],
)
def test_our_contact_names_the_port_that_listens(transport: str, contact_uri: str) -> None:
    flow = Flow(transport, ("127.0.0.1", 40_001), ("127.0.0.1", 5060), 1)
    listens = [Listen(transport)] if transport in ("udp", "tcp") else [Listen("udp")]

    assert asyncio.run(contact(flow, listens)) == contact_uri


def test_a_transport_that_nobody_listens_for_keeps_the_port_it_left_from() -> None:
    flow = Flow("tcp", ("192.0.2.1", 40_001), ("198.51.100.1", 5060), 1)

    uri = asyncio.run(contact(flow, [Listen("udp")]))

    assert uri == "sip:192.0.2.1:40001;transport=tcp"


@pytest.mark.parametrize(
    ("peer", "ours", "told"),
    [
        ("198.51.100.1", "10.0.0.5", "203.0.113.7"),
        ("10.0.0.9", "10.0.0.5", "10.0.0.5"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("2001:db8::9", "2001:db8::5", "[2001:db8::99]"),
        ("192.168.1.1", "10.0.0.5", "203.0.113.7"),
    ],
)
def test_peers_beyond_the_nat_are_told_the_public_address(peer: str, ours: str, told: str) -> None:
    reachable = Reachable(("203.0.113.7", "2001:db8::99"), (ip_network("10.0.0.0/8"),))
    flow = Flow("udp", (ours, 5060), (peer, 5060))

    assert asyncio.run(contact(flow, [], reachable)) == f"sip:{told}:5060"


# ---- opening


def test_a_port_in_use_is_named_and_nothing_stays_open() -> None:
    async def converse() -> None:
        with closing(tcp.open_tcp_socket("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError, match=r"\[sip\] listen = .*cannot be listened on"):
                Site(Listen("udp"), Listen("tcp", port=port))

    asyncio.run(converse())


def test_tls_without_a_certificate_is_named() -> None:
    async def converse() -> None:
        with pytest.raises(ConfigError, match="`make certs`"):
            Site(Listen("tls"), tls=TlsOptions())

    asyncio.run(converse())


def test_connections_are_marked_for_the_network() -> None:
    async def converse() -> None:
        async with site(Listen("tcp")) as theirs, site() as ours:
            await ours.transports.connect(Hop("tcp", "127.0.0.1", theirs.port()))
            with closing(socket.socket()) as probe:
                tcp.prepare_connection(probe)

                tos = probe.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)
                timeout_ms = probe.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

                assert tos == DSCP_SIGNALLING << 2
                assert timeout_ms == tcp.USER_TIMEOUT_MS

    asyncio.run(converse())


def test_the_listening_address_of_ipv6_is_its_own(run: Run) -> None:
    async def converse() -> None:
        async with site(Listen("tcp", "::1"), Listen("tcp", "127.0.0.1")) as ours:
            hosts = [local[0] for _, local in ours.transports.locals]

            assert hosts == ["::1", "127.0.0.1"]

    run(converse())

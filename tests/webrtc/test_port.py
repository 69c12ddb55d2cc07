"""The one UDP port: where it listens, what it tells, how many datagrams it takes a turn."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from gateway.errors import ConfigError
from gateway.net.interface import listening_addresses
from gateway.net.media import TransportState
from gateway.sdp.description import MediaDescription
from gateway.webrtc.mux import MAX_READS, _local_ufrag
from gateway.webrtc.options import WebRtcOptions
from gateway.webrtc.port import WebRtcPort
from gateway.webrtc.udp import RECEIVE_BUFFER_BYTES, bind_all, dropped, open_media_socket
from tests.support.loop import VirtualLoop, VirtualSocket, elapse, in_virtual_time
from tests.webrtc.peers import CERTIFICATE, GATEWAY, new_end, open_browser, open_gateway

INSIDE, OUTSIDE = "10.0.0.5", "203.0.113.7"


def candidates(port: WebRtcPort) -> list[str]:
    described = port.new_transport().describe(MediaDescription())
    return [" ".join(candidate.split()[4:6]) for candidate in described.candidates]


@in_virtual_time
async def test_every_address_gets_the_same_port_number(loop: VirtualLoop) -> None:
    port = open_gateway(loop, WebRtcOptions(listen="0.0.0.0:0"), hosts=[GATEWAY, INSIDE])

    assert candidates(port) == [f"{GATEWAY} {port.port}", f"{INSIDE} {port.port}"]
    assert loop.network.open_addresses == {(GATEWAY, port.port), (INSIDE, port.port)}
    await port.close()


@in_virtual_time
async def test_a_port_number_that_is_taken_somewhere_is_not_chosen(loop: VirtualLoop) -> None:
    loop.network.open_socket(INSIDE, 40_000)

    port = open_gateway(loop, WebRtcOptions(listen="0.0.0.0:0"), hosts=[GATEWAY, INSIDE])

    assert loop.network.open_addresses == {(INSIDE, 40_000), (GATEWAY, 40_001), (INSIDE, 40_001)}
    await port.close()


@in_virtual_time
async def test_a_port_that_is_taken_is_an_error(loop: VirtualLoop) -> None:
    loop.network.open_socket(INSIDE, 10_000)

    with pytest.raises(ConfigError, match="UDP port 10000 cannot be listened on"):
        open_gateway(loop, WebRtcOptions(), hosts=[GATEWAY, INSIDE])

    assert loop.network.open_addresses == {(INSIDE, 10_000)}


@in_virtual_time
async def test_an_address_that_is_gone_is_left_out(loop: VirtualLoop) -> None:
    def open_socket(host: str, port: int) -> VirtualSocket:
        if host == INSIDE:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return loop.network.open_socket(host, port)

    bound = bind_all([INSIDE, GATEWAY], 10_000, open_socket)

    assert [each.getsockname() for each in bound] == [(GATEWAY, 10_000)]
    with pytest.raises(ConfigError, match=f"none of {INSIDE} is an address of this machine"):
        bind_all([INSIDE], 10_000, open_socket)


@in_virtual_time
async def test_the_advertised_address_is_told_instead(loop: VirtualLoop) -> None:
    options = WebRtcOptions(advertise=(OUTSIDE,))

    port = open_gateway(loop, options, hosts=[INSIDE])

    assert candidates(port) == [f"{OUTSIDE} 10000"]
    described = port.new_transport().describe(MediaDescription())
    assert described.address == OUTSIDE
    await port.close()


@in_virtual_time
async def test_loopback_is_told_beside_what_is_advertised(loop: VirtualLoop) -> None:
    options = WebRtcOptions(advertise=(OUTSIDE,), include_loopback=True)

    port = open_gateway(loop, options, hosts=[INSIDE, "127.0.0.1"])

    assert candidates(port) == [f"{OUTSIDE} 10000", "127.0.0.1 10000"]
    await port.close()


@in_virtual_time
async def test_advertising_a_family_that_is_not_listened_on_is_an_error(
    loop: VirtualLoop,
) -> None:
    with pytest.raises(ConfigError, match="advertise: '2001:db8::1' is of a family"):
        open_gateway(loop, WebRtcOptions(advertise=("2001:db8::1",)), hosts=[INSIDE])

    assert loop.network.open_addresses == set()


@pytest.mark.parametrize("listen", ["", "10000", ":10000", "0.0.0.0:", "0.0.0.0:x", "h:99999"])
def test_a_listen_address_that_is_none_is_an_error(listen: str) -> None:
    @in_virtual_time
    async def scenario(loop: VirtualLoop) -> None:
        with pytest.raises(ConfigError, match=r"\[webrtc\] listen: .* is not address:port"):
            open_gateway(loop, WebRtcOptions(listen=listen))

    scenario()


@in_virtual_time
async def test_one_turn_of_the_loop_reads_sixty_four_datagrams(loop: VirtualLoop) -> None:
    port = open_gateway(loop)
    for _ in range(MAX_READS + 1):
        loop.network.carry(b"\xff", ("203.0.113.9", 1), (GATEWAY, 10_000))

    port.mux.sockets[0]._read()
    after_one_turn = port.counters.received
    await elapse(0.01)

    assert after_one_turn == MAX_READS
    assert port.counters.received == MAX_READS + 1
    await port.close()


@in_virtual_time
async def test_a_bug_of_one_owner_leaves_the_others_clocks(loop: VirtualLoop) -> None:
    port, nowhere = open_gateway(loop), open_browser(loop)
    first, second = new_end(port), new_end(port)

    def broken(_state: TransportState) -> None:
        raise ZeroDivisionError

    first.transport.on_state = broken
    loop.network.passes = lambda _datagram: False
    for end in (first, second):
        end.transport.accept(new_end(nowhere).offer())

    await elapse(12.2)

    assert second.states == [TransportState.FAILED]
    assert port.counters.faults == 1
    await port.close()
    await nowhere.close()


@pytest.mark.parametrize(
    ("body", "ufrag"),
    [
        (b"\x00\x06\x00\x09ours:them\x00\x00\x00", b"ours"),
        (b"\x80\x22\x00\x03abc\x00\x00\x06\x00\x09ours:them\x00\x00\x00", b"ours"),
        (b"\x00\x06\x00\x04ours", b"ours"),
        (b"\x80\x22\x00\x00" * 15 + b"\x00\x06\x00\x05o:the\x00\x00\x00", b"o"),
        (b"\x80\x22\x00\x00" * 16 + b"\x00\x06\x00\x05o:the\x00\x00\x00", b""),
        (b"\x80\x22\xff\xffx", b""),
        (b"\x00\x06\xff\xffours:them", b"ours"),
        (b"\x00\x06", b""),
        (b"", b""),
    ],
)
def test_the_ufrag_is_found_among_the_attributes(body: bytes, ufrag: bytes) -> None:
    assert _local_ufrag(bytes(20) + body) == ufrag


# The real network of this machine.


@pytest.mark.real
async def test_a_wildcard_binds_every_address_of_this_machine() -> None:
    options = WebRtcOptions(listen="0.0.0.0:0", include_loopback=True)
    port = WebRtcPort.open(options, CERTIFICATE)

    hosts = [socket.host for socket in port.mux.sockets]

    assert hosts == list(listening_addresses("0.0.0.0", loopback=True))
    assert hosts[-1] == "127.0.0.1"
    assert {socket.port for socket in port.mux.sockets} == {port.port}
    assert candidates(port) == [f"{host} {port.port}" for host in hosts]
    await port.close()


@pytest.mark.real
async def test_a_reply_leaves_from_the_address_that_was_asked() -> None:
    options = WebRtcOptions(listen="0.0.0.0:0", include_loopback=True)
    port = WebRtcPort.open(options, CERTIFICATE)
    loop = asyncio.get_running_loop()
    described = port.new_transport().describe(MediaDescription())
    username = f"{described.ice_ufrag}:them".encode()
    attribute = b"\x00\x06" + len(username).to_bytes(2, "big") + username
    attribute += bytes(-len(username) % 4)
    request = b"\x00\x01" + len(attribute).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12)

    sources = []
    for asked in port.mux.sockets:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.setblocking(False)
            asking.bind((asked.host, 0))
            asking.sendto(request + attribute, (asked.host, asked.port))
            _, source = await asyncio.wait_for(loop.sock_recvfrom(asking, 2048), 2)
            sources.append(source)

    assert sources == [(each.host, each.port) for each in port.mux.sockets]
    await port.close()


@pytest.mark.real
def test_the_receive_buffer_is_large_or_the_remedy_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with open_media_socket("127.0.0.1", 0) as opened:
        granted = opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

        assert granted >= RECEIVE_BUFFER_BYTES or "rmem_max" in caplog.text


@pytest.mark.real
def test_what_the_kernel_drops_is_counted() -> None:
    with (
        open_media_socket("127.0.0.1", 0) as opened,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert dropped(opened) == 0

        for _ in range(200):
            sender.sendto(bytes(1000), opened.getsockname())

        assert dropped(opened) > 100

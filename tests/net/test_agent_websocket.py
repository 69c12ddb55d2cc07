"""WebSockets to agents: both ways at once, pings, slow readers, floods and ends."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from gateway.net.agent_connection import (
    MAX_CONTROL_WAITING,
    ConnectError,
    Lost,
    Message,
)
from gateway.net.agent_websocket import MAX_MESSAGE_BYTES, WebSocketConnection
from gateway.net.destination import Pinned
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

SILENT = logging.getLogger("tests.peer")
SILENT.disabled = True

PLACE = Pinned("ws", "agent.example", 80, ("192.0.2.1",), "/talk?a=1")


class Wire(asyncio.Transport):
    """Carries what is written to it to a peer, when the loop gets to it; the peer may not read."""

    def __init__(self, loop: asyncio.AbstractEventLoop, near: asyncio.Protocol) -> None:
        super().__init__()
        self.peer = ServerProtocol(max_size=None, logger=SILENT)
        self.answers_pings = True
        self.status = 101
        self.takes = True
        "Whether the peer reads."
        self.written: list[bytes] = []
        self.received: list[Message] = []
        self.request: Request | None = None
        self.is_closed = self.is_aborted = self.is_reading_paused = False
        self._loop = loop
        self._near = near
        self._waiting = 0

    # ---- as a transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closed
        self.written.append(bytes(data))
        if self.takes:
            self._loop.call_soon(self._arrive, bytes(data))
        else:
            if not self._waiting:
                self._near.pause_writing()
            self._waiting += len(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._loop.call_soon(self._near.connection_lost, None)

    def abort(self) -> None:
        self.is_aborted = True
        self.close()

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        self.is_reading_paused = False

    # ---- as the agent

    def reads_again(self) -> None:
        self.takes, self._waiting = True, 0
        self._near.resume_writing()

    def sends(self, message: Message) -> None:
        if isinstance(message, str):
            self.peer.send_text(message.encode())
        else:
            self.peer.send_binary(message)
        self.flush()

    def flush(self) -> None:
        data = b"".join(self.peer.data_to_send())
        if data:
            self._near.data_received(data)

    def _arrive(self, data: bytes) -> None:
        peer = self.peer
        peer.receive_data(data)
        for event in peer.events_received():
            if isinstance(event, Request):
                self._answer(event)
            elif isinstance(event, Frame):
                if event.opcode is Opcode.TEXT:
                    self.received.append(bytes(event.data).decode())
                elif event.opcode is Opcode.BINARY:
                    self.received.append(bytes(event.data))
                elif event.opcode is Opcode.PING and not self.answers_pings:
                    peer.data_to_send()
        if not self.is_closed:
            self.flush()

    def _answer(self, request: Request) -> None:
        self.request = request
        if self.status == 101:
            self.peer.send_response(self.peer.accept(request))
        else:
            response = self.peer.reject(self.status, "no")
            response.headers["Location"] = "ws://127.0.0.1:1/"
            self.peer.send_response(response)


class Talk:
    """A WebSocket with its wire, and what came over it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **kwargs: Any) -> None:
        self.connection = WebSocketConnection(PLACE, (("X-Key", "hunter2"),), (), loop)
        self.wire = Wire(loop, self.connection)
        for name, value in kwargs.items():
            setattr(self.wire, name, value)
        self.messages: list[Message] = []
        self.lost: list[tuple[float, Lost]] = []
        self._loop = loop

    async def open(self) -> Talk:
        self.connection.connection_made(self.wire)
        await self.connection.opened
        self.opened_at = self._loop.time()
        self.connection.start(
            self.messages.append,
            lambda lost: self.lost.append((self._loop.time() - self.opened_at, lost)),
        )
        return self

    async def close(self) -> None:
        self.connection.close()
        await asyncio.sleep(1.1)
        assert self.wire.is_closed


# ---- opening


@in_virtual_time
async def test_handshake_offers_no_compression_and_asks_for_the_whole_path(
    loop: VirtualLoop,
) -> None:
    talk = await Talk(loop).open()

    request = talk.wire.request
    assert request is not None
    assert request.path == "/talk?a=1"
    assert request.headers["Host"] == "agent.example"
    assert request.headers["X-Key"] == "hunter2"
    assert "Sec-WebSocket-Extensions" not in request.headers
    await talk.close()


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(302, True), (307, True), (401, True), (404, True), (429, False), (500, False), (503, False)],
)
@in_virtual_time
async def test_a21_every_other_answer_is_a_refusal_and_no_redirect_is_followed(
    loop: VirtualLoop, status: int, is_final: bool
) -> None:
    talk = Talk(loop, status=status)

    with pytest.raises(ConnectError, match=f"the agent answered {status}") as caught:
        await talk.open()

    assert caught.value.is_final is is_final
    await talk.close()


@in_virtual_time
async def test_answer_that_is_no_http_is_a_refusal(loop: VirtualLoop) -> None:
    talk = Talk(loop, takes=False)
    talk.connection.connection_made(talk.wire)

    talk.connection.data_received(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")

    with pytest.raises(ConnectError, match="did not answer as a WebSocket"):
        await talk.connection.opened
    await talk.close()


@in_virtual_time
async def test_secrets_of_the_handshake_are_in_no_log(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    talk = await Talk(loop).open()
    talk.connection.send("my number is 4111")
    await elapse(0.1)

    assert "hunter2" not in caplog.text
    assert "4111" not in caplog.text
    await talk.close()


# ---- messages


@in_virtual_time
async def test_message_is_on_the_wire_and_handed_over_in_the_same_callback(
    loop: VirtualLoop,
) -> None:
    talk = await Talk(loop).open()
    before = len(talk.wire.written)

    talk.connection.send_audio(b"\x01\x02")
    assert len(talk.wire.written) == before + 1
    talk.wire.sends("hello")
    assert talk.messages == ["hello"]
    await elapse(0.1)

    assert talk.wire.received == [b"\x01\x02"]
    await talk.close()


@in_virtual_time
async def test_message_in_pieces_is_put_together(loop: VirtualLoop) -> None:
    talk = await Talk(loop).open()

    talk.wire.peer.send_text("né".encode()[:2], fin=False)
    talk.wire.peer.send_ping(b"between")
    talk.wire.peer.send_continuation("né".encode()[2:], fin=True)
    talk.wire.flush()

    assert talk.messages == ["né"]
    await talk.close()


@in_virtual_time
async def test_what_comes_before_anybody_reads_is_kept(loop: VirtualLoop) -> None:
    talk = Talk(loop)
    talk.connection.connection_made(talk.wire)
    await talk.connection.opened
    talk.wire.sends("welcome")

    talk.connection.start(talk.messages.append, lambda lost: None)

    assert talk.messages == ["welcome"]
    await talk.close()


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1\x00",  # a reserved bit
        b"\x83\x00",  # a reserved opcode
        b"\x81\x02\xff\xff",  # text that is none
        b"\x82\x7f" + (MAX_MESSAGE_BYTES + 1).to_bytes(8, "big"),
        b"\x81\x82\x00\x00\x00\x00hi",  # masked by a server
        b"\x82\xfe\x00\x80" + bytes(132),  # likewise, and longer
        b"\x01\x02ab\x81\x02cd",  # a message within another
        b"\x80\x02ab",  # the end of none
    ],
)
@in_virtual_time
async def test_what_breaks_the_protocol_ends_the_connection(loop: VirtualLoop, data: bytes) -> None:
    talk = await Talk(loop).open()

    talk.connection.data_received(data)
    await elapse(0.1)

    assert [lost.is_finished for _, lost in talk.lost] == [False]
    assert talk.messages == []
    await talk.close()


# ---- who is still there


@in_virtual_time
async def test_f18_peer_that_answers_pings_is_there_for_ever(loop: VirtualLoop) -> None:
    talk = await Talk(loop).open()

    await elapse(120)

    assert talk.lost == []
    await talk.close()


@pytest.mark.parametrize("silent_after_s", [0.0, 0.1, 4.9, 5.1, 7.0, 33.3])
@in_virtual_time
async def test_f18_peer_that_answers_no_pings_is_lost_within_ten_seconds(
    loop: VirtualLoop, silent_after_s: float
) -> None:
    talk = await Talk(loop).open()
    await elapse(silent_after_s)
    talk.wire.answers_pings = False

    for _ in range(150):  # what it says meanwhile does not help it
        await elapse(0.1)
        if not talk.lost:
            talk.wire.sends(b"\0\0")

    ((at, lost),) = talk.lost
    assert at - silent_after_s <= 10.01
    assert not lost.is_finished
    await talk.close()


@pytest.mark.parametrize(
    ("code", "is_finished"), [(1000, True), (None, True), (1001, False), (1011, False)]
)
@in_virtual_time
async def test_close_tells_whether_the_agent_has_finished(
    loop: VirtualLoop, code: int | None, is_finished: bool
) -> None:
    talk = await Talk(loop).open()

    talk.wire.peer.send_close(code)
    talk.wire.flush()
    await elapse(0.1)

    assert [lost.is_finished for _, lost in talk.lost] == [is_finished]
    await talk.close()


@in_virtual_time
async def test_f18_connection_that_breaks_is_told_of_at_once_and_once(loop: VirtualLoop) -> None:
    talk = await Talk(loop).open()
    await elapse(1)

    talk.wire.is_closed = True
    talk.connection.connection_lost(ConnectionResetError())
    talk.connection.connection_lost(None)

    assert talk.lost == [(1.0, Lost(False, "the connection broke"))]
    talk.connection.send("nothing comes of this")
    await talk.close()


@in_virtual_time
async def test_peer_that_does_not_close_its_side_is_cut_off(loop: VirtualLoop) -> None:
    talk = await Talk(loop).open()
    talk.wire.takes = False

    talk.connection.close()
    talk.connection.close()
    await elapse(1.1)

    assert talk.wire.is_aborted
    assert talk.lost == []


# ---- who reads slowly, who talks too much


@in_virtual_time
async def test_f18_of_what_waits_the_oldest_audio_is_dropped(loop: VirtualLoop) -> None:
    talk = await Talk(loop).open()
    talk.connection.max_audio_waiting = 100
    talk.wire.takes = False
    talk.connection.send_audio(b"stuck in the system")

    for number in range(500):
        talk.connection.send_audio(number.to_bytes(2, "big"))
        if number % 100 == 50:
            talk.connection.send(f"mark {number}")
    before = len(talk.wire.written)
    talk.wire.reads_again()
    await elapse(0.1)

    assert talk.connection.dropped == 400
    assert len(talk.wire.written) - before == 105
    received = talk.wire.received
    audio = [int.from_bytes(each, "big") for each in received if isinstance(each, bytes)]
    assert audio == list(range(400, 500))
    texts = [each for each in received if isinstance(each, str)]
    assert texts == [f"mark {number}" for number in range(50, 500, 100)]
    await talk.close()


@in_virtual_time
async def test_peer_that_reads_nothing_at_all_is_given_up(loop: VirtualLoop) -> None:
    talk = await Talk(loop).open()
    talk.wire.takes = False
    talk.connection.send("stuck in the system")

    for _ in range(MAX_CONTROL_WAITING + 1):
        talk.connection.send("mark")

    assert [lost.detail for _, lost in talk.lost] == ["the agent does not read"]
    await talk.close()


async def test_f19_flood_of_tiny_messages_is_read_in_turns() -> None:
    loop = asyncio.get_running_loop()
    talk = await Talk(loop).open()
    flood = 100_000
    data = b"\x82\x01x" * flood

    talk.connection.data_received(data)
    at_once = len(talk.messages)
    assert talk.wire.is_reading_paused
    async with asyncio.timeout(20):
        while len(talk.messages) < flood:
            await asyncio.sleep(0.01)

    assert 0 < at_once < flood / 2
    assert not talk.wire.is_reading_paused
    talk.connection.close()
    talk.wire.abort()
    await asyncio.sleep(0)


@in_virtual_time
async def test_f19_flood_of_pings_from_who_does_not_read_is_given_up(loop: VirtualLoop) -> None:
    talk = await Talk(loop).open()
    talk.wire.takes = False
    talk.connection.send("stuck in the system")
    before = sum(map(len, talk.wire.written))

    for _ in range(10_000):
        talk.connection.data_received(b"\x89\x7d" + 125 * b"p")

    assert [lost.detail for _, lost in talk.lost] == ["the agent does not read"]
    assert sum(map(len, talk.wire.written)) - before < 20_000
    await talk.close()


@in_virtual_time
async def test_pings_are_answered_for_as_long_as_they_are_read(loop: VirtualLoop) -> None:
    talk = await Talk(loop).open()

    for _ in range(10):
        talk.wire.takes = False
        talk.connection.send("stuck in the system")
        for _ in range(50):
            talk.connection.data_received(b"\x89\x7d" + 125 * b"p")
        talk.wire.reads_again()

    assert talk.lost == []
    await talk.close()


@in_virtual_time
async def test_f19_message_in_endless_empty_pieces_takes_no_room(loop: VirtualLoop) -> None:
    talk = await Talk(loop).open()
    talk.connection.data_received(b"\x01\x01a")

    tracemalloc.start()
    for _ in range(20):
        talk.connection.data_received(b"\x00\x00" * 1000)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    talk.connection.data_received(b"\x80\x01b")

    assert talk.messages == ["ab"]
    assert grown < 50_000
    await talk.close()


@in_virtual_time
async def test_what_comes_after_the_end_is_kept_by_nobody(loop: VirtualLoop) -> None:
    talk = await Talk(loop).open()
    talk.connection.data_received(b"\x88\x02\x03\xe9")

    tracemalloc.start()
    for _ in range(100):
        talk.connection.data_received(bytes(100_000))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert [lost.is_leaving for _, lost in talk.lost] == [True]
    assert grown < 200_000
    await talk.close()


@in_virtual_time
async def test_peer_that_reads_nothing_does_not_keep_an_end_waiting(loop: VirtualLoop) -> None:
    talk = await Talk(loop).open()
    aborted_after: list[float] = []
    closing_since = loop.time()
    talk.wire.is_closing = lambda: True  # type: ignore[method-assign]
    talk.wire.abort = lambda: aborted_after.append(loop.time() - closing_since)  # type: ignore[method-assign]

    talk.connection.close()
    await elapse(1.1)

    assert aborted_after == [pytest.approx(1.0)]

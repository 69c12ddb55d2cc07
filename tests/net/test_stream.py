"""One connection over TCP or TLS in virtual time: messages, pings, and how long it lasts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.net.connection import (
    PING_FROM_S,
    PING_TO_S,
    Closing,
    ConnectionLimits,
    ConnectionTable,
)
from gateway.net.stream import LINGER_S, MAX_MESSAGES_PER_TURN, StreamConnection
from gateway.net.tls import TlsContexts, TlsOptions, TlsSession
from gateway.sip.flow import Flow
from tests.sip.samples import SDP, read_response, request_bytes
from tests.support.certificates import Authority
from tests.support.connection import Far, Pipe, join
from tests.support.loop import VirtualLoop, elapse, in_virtual_time

US, THEM = ("192.0.2.1", 5060), ("198.51.100.7", 40_001)
OPTIONS = request_bytes("Content-Length: 0", method="OPTIONS")
INVITE = request_bytes(f"Content-Length: {len(SDP)}", body=SDP)
PING, PONG = b"\r\n\r\n", b"\r\n"
SLACK_S = 0.3
"The clocks are looked at four times a second."


class Stage:
    """A table, one connection in it, and what came out."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        is_ours: bool = False,
        tls: TlsSession | None = None,
        limits: ConnectionLimits | None = None,
        spread: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.heard: list[bytes] = []
        self.closed: list[Flow] = []
        self.is_held = False
        self.admitted = True
        self.table = ConnectionTable(
            loop=loop,
            receive=lambda data, flow: self.heard.append(data),
            on_closed=self.closed.append,
            admit=lambda source: self.admitted,
            is_held=lambda flow: self.is_held,
            limits=limits or ConnectionLimits(),
        )
        self.flow = Flow("tcp" if tls is None else "tls", US, THEM, 7)
        self.connection = StreamConnection(
            self.flow, self.table, loop=loop, tls=tls, is_ours=is_ours, spread=spread
        )
        self.far = Far()
        self.pipe: Pipe = join(loop, self.connection, self.far)

    @property
    def why(self) -> list[Closing]:
        """Why connections ended."""
        return list(self.table.closings.elements())


@in_virtual_time
async def test_messages_come_with_their_flow_and_answers_go_back(loop: VirtualLoop) -> None:
    stage = Stage(loop)

    stage.far.say(INVITE[:100])
    await elapse(1)
    stage.far.say(INVITE[100:] + OPTIONS)
    await elapse(0.01)
    sent = stage.connection.send(b"answer")
    await elapse(0.01)

    assert stage.heard == [INVITE, OPTIONS]
    assert sent
    assert stage.far.heard == b"answer"
    assert stage.table.get(stage.flow) is stage.connection
    stage.connection.abort(Closing.STOPPED)


@in_virtual_time
async def test_a_lost_connection_is_told_once(loop: VirtualLoop) -> None:
    stage = Stage(loop)

    stage.far.pipe.close()
    await elapse(0.01)

    assert stage.closed == [stage.flow]
    assert stage.why == [Closing.PEER]
    assert len(stage.table) == 0
    assert not stage.connection.send(b"late")


@in_virtual_time
async def test_a_flood_in_one_segment_leaves_the_loop_its_turn(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    stage.far.say(OPTIONS * 40)
    counts: list[int] = []

    for _ in range(6):
        await asyncio.sleep(0)
        counts.append(len(stage.heard))

    assert counts[:4] == [16, 32, 40, 40]
    assert MAX_MESSAGES_PER_TURN == 16
    assert not stage.pipe.is_reading_paused
    stage.connection.abort(Closing.STOPPED)


@in_virtual_time
async def test_a_flood_is_not_read_on_while_it_is_handled(loop: VirtualLoop) -> None:
    stage = Stage(loop)

    stage.far.say(OPTIONS * 20)
    await asyncio.sleep(0)
    stage.far.say(OPTIONS)
    was_paused = stage.pipe.is_reading_paused
    await elapse(0.01)

    assert was_paused
    assert len(stage.heard) == 21
    stage.connection.abort(Closing.STOPPED)


@in_virtual_time
async def test_a_source_that_is_not_admitted_any_more_is_cut_off(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    stage.far.say(OPTIONS)
    await elapse(0.01)

    stage.admitted = False
    stage.far.say(OPTIONS)
    await elapse(0.01)

    assert stage.heard == [OPTIONS]
    assert stage.why == [Closing.REFUSED]
    assert stage.far.is_lost


class Broken:
    """A connection with a bug of ours in it."""

    flow = Flow("tcp", US, THEM, 99)
    is_counted = True

    def send(self, data: bytes) -> bool:
        return False

    def sweep(self, now: float) -> None:
        raise LookupError("a bug")

    def close(self, why: Closing) -> None:
        """Nothing to end."""


@in_virtual_time
async def test_a_bug_ends_one_connection_and_no_others_clock(
    loop: VirtualLoop, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(loop)
    broken = Broken()
    stage.table.add(broken)
    stage.table.open(broken)

    await elapse(10 + SLACK_S)

    assert stage.why == [Closing.BUG, Closing.NO_MESSAGE]
    assert stage.closed == [broken.flow, stage.flow]
    assert len(caplog.records) == 1
    await elapse(3)
    assert len(stage.table) == 0


# ---- what is malformed


@in_virtual_time
async def test_a25_a_length_that_lies_is_answered_and_the_connection_closed(
    loop: VirtualLoop,
) -> None:
    stage = Stage(loop)

    stage.far.say(request_bytes("Content-Length: 5, 9", body=OPTIONS))
    await elapse(0.01)

    answer = read_response(stage.far.heard)
    assert (answer.status, answer.cseq.method) == (400, "INVITE")
    assert answer.to.tag
    assert stage.heard == []
    assert stage.why == [Closing.MALFORMED]
    assert stage.far.has_ended
    await elapse(LINGER_S + SLACK_S)
    assert len(stage.table) == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request_bytes("Content-Length: 99999"), 413),
        (request_bytes(*["Subject: x"] * 300, "Content-Length: 0"), 513),
    ],
)
@in_virtual_time
async def test_a24_what_is_too_large_is_answered_and_the_connection_closed(
    loop: VirtualLoop, data: bytes, status: int
) -> None:
    stage = Stage(loop)

    stage.far.say(data)
    await elapse(0.01)

    assert read_response(stage.far.heard).status == status
    assert stage.why == [Closing.MALFORMED]
    stage.far.pipe.close()
    await elapse(0.01)
    assert len(stage.table) == 0


@in_virtual_time
async def test_what_still_comes_before_the_end_does_not_reset_the_answer(
    loop: VirtualLoop,
) -> None:
    stage = Stage(loop)
    stage.far.stays = True

    stage.far.say(request_bytes("Content-Length: 99999"))
    for _ in range(10):
        await elapse(0.1)
        stage.far.say(bytes(10_000))

    assert not stage.pipe.is_reset
    assert stage.heard == []
    await elapse(LINGER_S)
    assert stage.pipe.is_reset


@in_virtual_time
async def test_what_is_no_sip_is_closed_without_a_word(loop: VirtualLoop) -> None:
    stage = Stage(loop)

    stage.far.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await elapse(0.01)

    assert stage.far.heard == b""
    assert stage.far.has_ended
    stage.far.pipe.close()
    await elapse(0.01)


# ---- patience (A23)


@in_virtual_time
async def test_a23_who_connects_and_says_nothing_is_closed_after_ten_seconds(
    loop: VirtualLoop,
) -> None:
    stage = Stage(loop)

    await elapse(9.9)
    before = stage.why
    await elapse(0.1 + SLACK_S)

    assert (before, stage.why) == ([], [Closing.NO_MESSAGE])
    await elapse(LINGER_S + SLACK_S)
    assert len(stage.table) == 0


@in_virtual_time
async def test_keep_alives_are_no_first_message(loop: VirtualLoop) -> None:
    stage = Stage(loop)

    for _ in range(11):
        stage.far.say(PING)
        await elapse(1)

    assert stage.why == [Closing.NO_MESSAGE]
    await elapse(3)


@in_virtual_time
async def test_a23_a_message_that_trickles_is_closed_after_twenty_seconds(
    loop: VirtualLoop,
) -> None:
    stage = Stage(loop)
    stage.far.say(OPTIONS)

    for byte in range(19):
        stage.far.say(INVITE[byte : byte + 1])
        await elapse(1)
    before = stage.why
    for byte in range(19, 21):
        stage.far.say(INVITE[byte : byte + 1])
        await elapse(1)

    assert (before, stage.why) == ([], [Closing.SLOW_MESSAGE])
    await elapse(3)


@in_virtual_time
async def test_one_slow_message_after_another_is_patience_anew(loop: VirtualLoop) -> None:
    stage = Stage(loop)

    for _ in range(4):
        stage.far.say(INVITE[:9])
        await elapse(9)
        stage.far.say(INVITE[9:])
        await elapse(9)

    assert stage.heard == [INVITE] * 4
    assert stage.why == []
    stage.connection.abort(Closing.STOPPED)


@in_virtual_time
async def test_a23_an_idle_connection_ends_unless_something_holds_it(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    stage.far.say(OPTIONS)
    stage.is_held = True

    await elapse(500)
    while_held = stage.why
    stage.is_held = False
    await elapse(120 + SLACK_S)

    assert (while_held, stage.why) == ([], [Closing.IDLE])
    assert stage.closed == [stage.flow]
    await elapse(3)


@in_virtual_time
async def test_a_connection_in_use_is_not_idle(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    stage.far.say(OPTIONS)

    for _ in range(5):
        await elapse(100)
        stage.connection.send(b"answer")

    assert stage.why == []
    stage.connection.abort(Closing.STOPPED)


@in_virtual_time
async def test_a23_a_peer_that_does_not_read_is_cut_off(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    stage.pipe.is_read = False

    taken = [stage.connection.send(bytes(10_000)) for _ in range(30)]
    await elapse(0.01)

    assert taken == [True] * 26 + [False] * 4
    assert stage.why == [Closing.TOO_SLOW]
    assert stage.closed == [stage.flow]
    assert stage.far.is_lost


@in_virtual_time
async def test_a_peer_that_neither_reads_nor_closes_is_let_go(loop: VirtualLoop) -> None:
    stage = Stage(loop)
    stage.pipe.is_read = False

    stage.connection.send(b"unread")
    await elapse(10 + LINGER_S + 2 * SLACK_S)

    assert stage.why == [Closing.NO_MESSAGE]
    assert len(stage.table) == 0


# ---- pings (RFC 5626)


@pytest.mark.rfc(5626, "3.5.1")
@in_virtual_time
async def test_a_ping_is_answered(loop: VirtualLoop) -> None:
    stage = Stage(loop)

    stage.far.say(OPTIONS + PING)
    await elapse(0.01)

    assert stage.far.heard == PONG
    stage.connection.abort(Closing.STOPPED)


@pytest.mark.parametrize("spread", [0.0, 0.999])
@pytest.mark.rfc(5626, "4.4.1")
@in_virtual_time
async def test_we_ping_what_we_opened(loop: VirtualLoop, spread: float) -> None:
    stage = Stage(loop, is_ours=True, spread=lambda: spread)
    due = PING_FROM_S + spread * (PING_TO_S - PING_FROM_S)

    await elapse(due - 0.1)
    before = stage.far.heard
    await elapse(0.1 + SLACK_S)

    assert (before, stage.far.heard) == (b"", PING)
    stage.connection.abort(Closing.STOPPED)


@in_virtual_time
async def test_a_peer_that_knows_no_pongs_is_kept(loop: VirtualLoop) -> None:
    stage = Stage(loop, is_ours=True)

    await elapse(300)

    assert stage.far.heard == PING * 3
    assert stage.why == []
    stage.connection.abort(Closing.STOPPED)


@in_virtual_time
async def test_a_peer_that_stops_answering_pings_is_gone(loop: VirtualLoop) -> None:
    stage = Stage(loop, is_ours=True)

    await elapse(PING_FROM_S + SLACK_S)
    stage.far.say(PONG)
    await elapse(PING_FROM_S + 9)
    before = stage.why
    await elapse(1 + SLACK_S)

    assert (before, stage.why) == ([], [Closing.NO_PONG])
    await elapse(3)


@in_virtual_time
async def test_any_word_of_the_peer_is_as_good_as_a_pong(loop: VirtualLoop) -> None:
    stage = Stage(loop, is_ours=True)

    await elapse(PING_FROM_S + SLACK_S)
    stage.far.say(PONG)
    for _ in range(4):
        await elapse(PING_FROM_S + SLACK_S)
        stage.far.say(OPTIONS)

    assert stage.far.heard == PING * 5
    assert stage.why == []
    stage.connection.abort(Closing.STOPPED)


@in_virtual_time
async def test_what_we_opened_and_nobody_needs_ends_after_ten_minutes(loop: VirtualLoop) -> None:
    stage = Stage(loop, is_ours=True)

    await elapse(599)
    before = stage.why
    await elapse(1 + SLACK_S)

    assert (before, stage.why) == ([], [Closing.IDLE])
    await elapse(3)


# ---- TLS


@pytest.fixture
def contexts(tmp_path: Path) -> TlsContexts:
    return TlsContexts(Authority(tmp_path).options("gw.example"))


class TlsFar(Far):
    """A far end that speaks TLS."""

    def __init__(self, tls: TlsSession) -> None:
        super().__init__()
        self.tls = tls
        self.clear = b""

    def data_received(self, data: bytes) -> None:
        self.clear += self.tls.receive(data)
        self.flush()

    def flush(self) -> None:
        if output := self.tls.take_output():
            self.pipe.write(output)

    def say(self, data: bytes) -> None:
        self.tls.send(data)
        self.flush()


def secure(loop: VirtualLoop, contexts: TlsContexts) -> tuple[Stage, TlsFar]:
    stage = Stage(loop, tls=contexts.accept())
    stage.pipe.other = None  # nobody: its far end is replaced
    far = TlsFar(contexts.connect("gw.example"))
    stage.pipe.other = far.pipe = Pipe(loop, far)
    far.pipe.other = stage.pipe
    return stage, far


@in_virtual_time
async def test_messages_come_and_go_through_tls(loop: VirtualLoop, contexts: TlsContexts) -> None:
    stage, far = secure(loop, contexts)

    far.tls.start()
    far.flush()
    await elapse(0.01)
    far.say(INVITE + PING)
    await elapse(0.01)
    stage.connection.send(b"answer")
    await elapse(0.01)

    assert stage.heard == [INVITE]
    assert far.clear == PONG + b"answer"
    stage.connection.close(Closing.IDLE)
    await elapse(0.01)
    assert far.tls.is_ended
    await elapse(3)


@in_virtual_time
async def test_a23_a_handshake_that_does_not_come_ends_after_five_seconds(
    loop: VirtualLoop, contexts: TlsContexts
) -> None:
    stage, far = secure(loop, contexts)

    far.tls.start()
    hello = far.tls.take_output()
    for second in range(5):
        far.pipe.write(hello[second : second + 1])
        await elapse(0.99)
    before = stage.why
    await elapse(0.05 + SLACK_S)

    assert (before, stage.why) == ([], [Closing.NO_HANDSHAKE])
    assert stage.closed == []  # it never was open
    assert far.is_lost
    assert len(stage.table) == 0


@in_virtual_time
async def test_noise_instead_of_tls_closes_at_once(
    loop: VirtualLoop, contexts: TlsContexts
) -> None:
    stage, far = secure(loop, contexts)

    far.pipe.write(OPTIONS)
    await elapse(0.01)

    assert stage.why == [Closing.TLS]
    assert stage.heard == []
    with pytest.raises(ConnectionError):
        stage.connection.opened.result()


@in_virtual_time
async def test_we_say_nothing_before_the_peer_is_believed(
    loop: VirtualLoop, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    other = TlsContexts(authority.options("other.example"))
    ours = TlsContexts(TlsOptions(ca=authority.file))
    stage = Stage(loop, is_ours=True, tls=ours.connect("carrier.example"))
    far = TlsFar(other.accept())
    stage.far.pipe.other = None
    stage.pipe.other = far.pipe = Pipe(loop, far)
    far.pipe.other = stage.pipe
    await elapse(0.01)

    assert not stage.connection.send(b"INVITE")
    assert far.clear == b""
    assert stage.why == [Closing.TLS]
    error = stage.connection.opened.exception()
    assert isinstance(error, ConnectionError)
    assert "not for carrier.example" in str(error)

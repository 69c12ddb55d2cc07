"""One UDP port for every browser: reads datagrams and finds whose they are (RFC 7983 §7).

STUN goes by transaction id, else by the ufrag in USERNAME; everything else only by its source,
which must have proven itself by MESSAGE-INTEGRITY. What nobody owns is dropped and counted.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.webrtc.udp import dropped

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, TimerHandle
    from collections.abc import Callable, Iterable, Sequence

    from gateway.webrtc.udp import Address, UdpSocket

log = logging.getLogger(__name__)

MAX_DATAGRAM_BYTES = 1500
"Browsers keep to 1200; more than an Ethernet frame holds is no media packet."

MAX_READS = 64
"Datagrams of one turn of the loop, so that timers and HTTP get theirs."

MAX_STUN_ATTRIBUTES = 16
"Attributes looked through for USERNAME, which browsers put first."

MAX_ERROR_REPLIES = 10
"STUN error replies per second and source: what is forged may not make us a reflector."

MAX_ERROR_SOURCES = 4096
"Sources counted within one second; beyond that nobody gets an error reply."

RTP_HEADER_BYTES = 12
STUN_COOKIE = b"\x21\x12\xa4\x42"
STUN_HEADER_BYTES = 20
BINDING_REQUEST, BINDING_SUCCESS, BINDING_ERROR = 0x0001, 0x0101, 0x0111
USERNAME = 0x0006


class StunEnd(Protocol):
    """One generation's end on one socket: owns the transactions started there."""

    socket: MuxSocket

    def receive_response(self, data: bytes, address: Address, now: float) -> None:
        """Take a response or error to a request of ours."""


class StunServer(Protocol):
    """Owner of a ufrag: one ICE generation."""

    is_over: bool
    "Whether it has been given up."

    number: int
    "Higher than that of every older one."

    def ask(self, route: Route, *, nominate: bool) -> None:
        """Send one check there."""

    def told_paths(self) -> Iterable[tuple[MuxSocket, Address]]:
        """From which of our sockets to which addresses the peer has told of."""

    def receive_request(self, socket: MuxSocket, data: bytes, address: Address, now: float) -> None:
        """Take a request that names our ufrag; it is not authenticated yet."""


class Stream(Protocol):
    """Owner of validated addresses: what is not STUN goes to it."""

    def receive_media(self, data: bytes, route: Route, now: float) -> None:
        """Take an SRTP or SRTCP packet, of any length."""

    def receive_dtls(self, data: bytes, route: Route, now: float) -> None:
        """Take a DTLS record."""

    def receive_stray(self, socket: MuxSocket, data: bytes, address: Address, now: float) -> bool:
        """Take an RTP packet of its SSRC from an unknown address; whether it was authentic."""


class Route:
    """A peer's address on one of our sockets, known to be that of a stream."""

    __slots__ = (
        "address",
        "asked_at",
        "asks",
        "consented_at",
        "media_at",
        "server",
        "socket",
        "stream",
        "validated_at",
    )

    def __init__(
        self, socket: MuxSocket, address: Address, stream: Stream, server: StunServer
    ) -> None:
        self.socket = socket
        self.address = address
        self.stream = stream
        self.server = server
        "The newest generation in which it was validated."
        self.validated_at = float("-inf")
        self.media_at = float("-inf")
        "When the last authentic SRTP packet came from there."
        self.asked_at = float("-inf")
        "When it was last checked, after its pair was made."
        self.asks = 0
        "Checks since it last answered one."
        self.consented_at = float("-inf")
        "When it last answered such a check."


@dataclass(slots=True)
class Counters:
    """What went through the port since it was opened, in datagrams."""

    received: int = 0
    oversize: int = 0
    "Empty, or longer than MAX_DATAGRAM_BYTES."
    malformed: int = 0
    "Neither STUN, DTLS nor SRTP."
    unknown_source: int = 0
    "DTLS or SRTP from an address that has not proven itself, nor does so by being authentic."
    unknown_ufrag: int = 0
    "STUN requests that name no generation of ours."
    stray_responses: int = 0
    "STUN responses to nothing that we asked, or too late."
    denied_source: int = 0
    "STUN requests from networks that are never answered."
    errors_sent: int = 0
    errors_withheld: int = 0
    "STUN error replies, sent and left out."
    receive_errors: int = 0
    send_errors: int = 0
    "What the kernel refused."
    faults: int = 0
    "Datagrams or timers whose handling raised an exception: bugs, ours or a library's."


class MuxSocket:
    """One bound address of the port."""

    __slots__ = ("_is_wide", "_loop", "_recvfrom", "_socket", "host", "mux", "port", "routes")

    def __init__(self, mux: Mux, socket: UdpSocket, loop: AbstractEventLoop) -> None:
        self.mux = mux
        self._loop = loop
        self._socket = socket
        self._recvfrom = socket.recvfrom
        self.host, self.port = socket.getsockname()[:2]
        self._is_wide = ":" in self.host
        self.routes: dict[Address, Route] = {}
        "Validated peers by address."
        loop.add_reader(socket.fileno(), self._read)

    @property
    def sendto(self) -> Callable[[bytes, Address], int]:
        """The kernel's; may raise OSError."""
        return self._socket.sendto

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram; a refusal of the kernel is counted, never raised."""
        try:
            self._socket.sendto(data, address)
        except OSError as error:
            self.mux.refuse(error)

    def close(self) -> None:
        """Stop reading, then close: a reader left behind would deafen the next with that fd."""
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self.routes.clear()

    def dropped(self) -> int:
        """Datagrams that the kernel dropped because its buffer was full."""
        return dropped(self._socket)

    def _read(self) -> None:
        now = self._loop.time()
        counters = self.mux.counters
        recvfrom = self._recvfrom
        routes = self.routes
        for _ in range(MAX_READS):
            try:
                data, address = recvfrom(MAX_DATAGRAM_BYTES + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                counters.receive_errors += 1
                return
            if self._is_wide:
                address = address[:2]
            counters.received += 1
            try:
                route = routes.get(address)
                if route is not None and data and 127 < data[0] < 192:
                    route.stream.receive_media(data, route, now)
                else:
                    self._receive_other(data, address, route, now)
            except Exception as error:
                # One datagram, one bug, one line: the reader and every other call go on.
                self.mux.contain("datagram", error)

    def _receive_other(
        self, data: bytes, address: Address, route: Route | None, now: float
    ) -> None:
        """Take what is not media of a known peer, by its first byte (RFC 7983 §7)."""
        counters = self.mux.counters
        if not 0 < len(data) <= MAX_DATAGRAM_BYTES:
            counters.oversize += 1
        elif data[0] < 4:
            self.mux.receive_stun(self, data, address, now)
        elif not (19 < data[0] < 64 or 127 < data[0] < 192):
            counters.malformed += 1
        elif route is None:
            if not self.mux.receive_stray(self, data, address, now):
                counters.unknown_source += 1
        else:
            route.stream.receive_dtls(data, route, now)


class Mux:
    """The tables by which datagrams find their owners."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._errors = _ErrorBudget()
        self._complained_at: dict[str, float] = {}
        self.sockets: tuple[MuxSocket, ...] = ()
        self.by_ufrag: dict[bytes, StunServer] = {}
        self.transactions: dict[bytes, StunEnd] = {}
        self.by_ssrc: dict[bytes, Stream] = {}
        "Whose authentic media an SSRC was last."
        self.counters = Counters()

    def now(self) -> float:
        """Loop seconds."""
        return self._loop.time()

    def call_at(self, when: float, do: Callable[[float], None]) -> TimerHandle:
        """Call `do(now)` then; what it raises is counted and goes no further."""
        return self._loop.call_at(when, self._call, do)

    def attach(self, sockets: Sequence[UdpSocket]) -> None:
        """Start reading these."""
        self.sockets = tuple(MuxSocket(self, socket, self._loop) for socket in sockets)

    def close(self) -> None:
        """Stop reading and close every socket."""
        for socket in self.sockets:
            socket.close()
        self.by_ufrag.clear()
        self.transactions.clear()
        self.by_ssrc.clear()

    def receive_stun(self, socket: MuxSocket, data: bytes, address: Address, now: float) -> None:
        """Hand a STUN message to the generation it belongs to."""
        if len(data) < STUN_HEADER_BYTES or data[4:8] != STUN_COOKIE:
            self.counters.malformed += 1
            return
        kind = data[0] << 8 | data[1]
        if kind == BINDING_REQUEST:
            server = self.by_ufrag.get(_local_ufrag(data))
            if server is None:
                self.counters.unknown_ufrag += 1
            else:
                server.receive_request(socket, data, address, now)
        elif kind in (BINDING_SUCCESS, BINDING_ERROR):
            end = self.transactions.get(data[8:20])
            if end is None or end.socket is not socket:
                self.counters.stray_responses += 1
            else:
                end.receive_response(data, address, now)
        # Binding indications are a keep-alive and need no more than to have come (RFC 8445 §11).

    def receive_stray(self, socket: MuxSocket, data: bytes, address: Address, now: float) -> bool:
        """Hand media of an unknown source to the stream that knows its SSRC, if it is authentic.

        A NAT that has lost its memory gives a browser another port in the middle of a call.
        """
        # RTCP (RFC 5761 §4) has its SSRC elsewhere, and media tells soon enough.
        if data[0] < 128 or len(data) < RTP_HEADER_BYTES or 192 <= data[1] <= 223:
            return False
        stream = self.by_ssrc.get(data[8:12])
        return stream is not None and stream.receive_stray(socket, data, address, now)

    def may_send_error(self, host: str) -> bool:
        """Whether this source may get one more STUN error reply now."""
        allowed = self._errors.spend(host, self._loop.time())
        if allowed:
            self.counters.errors_sent += 1
        else:
            self.counters.errors_withheld += 1
        return allowed

    def _call(self, do: Callable[[float], None]) -> None:
        try:
            do(self._loop.time())
        except Exception as error:
            self.contain("timer", error)

    def refuse(self, error: OSError) -> None:
        """Count a datagram that the kernel would not send: on a dead path, fifty a second."""
        self.counters.send_errors += 1
        self.complain("udp send failed", error)

    def contain(self, what: str, error: Exception) -> None:
        """Count an exception that must not spread, and say where it came from."""
        self.counters.faults += 1
        self.complain(f"fault while handling a {what}", error)

    def complain(self, what: str, error: Exception) -> None:
        """Log one line, at most once a second for each `what`: counters know the number."""
        now = self._loop.time()
        if now - self._complained_at.get(what, float("-inf")) < 1.0:
            return
        self._complained_at[what] = now
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
        log.warning("%s error=%r at=%s", what, error, place)


class _ErrorBudget:
    """Counts replies by source over one second at a time."""

    def __init__(self) -> None:
        self._second_began_at = float("-inf")
        self._spent: dict[str, int] = {}

    def spend(self, host: str, now: float) -> bool:
        if now - self._second_began_at >= 1.0:
            self._second_began_at = now
            self._spent.clear()
        spent = self._spent.get(host, 0)
        if spent >= MAX_ERROR_REPLIES or len(self._spent) >= MAX_ERROR_SOURCES:
            return False
        self._spent[host] = spent + 1
        return True


def _local_ufrag(data: bytes) -> bytes:
    """Our half of USERNAME, which is `ours:theirs` in what we receive; empty if there is none."""
    position = STUN_HEADER_BYTES
    for _ in range(MAX_STUN_ATTRIBUTES):
        if position + 4 > len(data):
            break
        size = data[position + 2] << 8 | data[position + 3]
        if data[position] << 8 | data[position + 1] == USERNAME:
            return data[position + 4 : position + 4 + size].partition(b":")[0]
        position += 4 + (size + 3 & ~3)  # padded to 32 bits (RFC 8489 §14)
    return b""

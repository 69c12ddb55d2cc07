"""One ICE generation: an aioice connection on the shared port (RFC 8445).

aioice does the checks; what it would do with sockets of its own is replaced: where candidates come
from, who reads, consent, and what follows when a generation dies, which is nothing.
"""

from __future__ import annotations

import secrets
import struct
from typing import TYPE_CHECKING, Any, Protocol

from aioice import stun
from aioice.ice import CandidatePair, Connection, StunProtocol

from gateway.webrtc.candidate import parse_candidate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aioice.candidate import Candidate

    from gateway.webrtc.candidate import AddressPolicy
    from gateway.webrtc.mux import Mux, MuxSocket, Route
    from gateway.webrtc.udp import Address

MAX_REMOTE_CANDIDATES = 50
"Per generation, told and learned ones together: each costs checks from every address of ours."

MAX_CHECKS_OPEN = 48
"Consent checks of one generation that may still be answered: three rounds of every address."

MAX_EARLY_CHECKS = 64
"Authentic checks that may come before the peer's own credentials do."

FOR_EVER = float("inf")

COMPONENT = 1
"RTP; RTCP comes with it (RFC 5761)."


class Listener(Protocol):
    """The stream's ICE as its generations see it."""

    mux: Mux
    policy: AddressPolicy

    def hear(self, end: StunEnd, address: Address) -> None:
        """An authentic request came from there."""

    def consent(self, route: Route, now: float) -> None:
        """An authentic response to a consent check came."""

    def nominate(self, generation: Generation, pair: CandidatePair) -> None:
        """A pair was nominated."""


class StunEnd(StunProtocol):
    """One generation on one socket: what aioice takes for an endpoint of its own."""

    def __init__(self, generation: Generation, socket: MuxSocket, candidate: Candidate) -> None:
        super().__init__(generation)
        self.generation = generation
        self.socket = socket
        self.local_candidate = candidate

    async def request(
        self,
        request: stun.Message,
        addr: Address,
        integrity_key: bytes | None = None,
        retransmissions: int | None = None,
    ) -> tuple[stun.Message, Address]:
        """Execute a STUN transaction, known to the port while it lasts."""
        transactions = self.socket.mux.transactions
        transactions[request.transaction_id] = self
        try:
            return await super().request(request, addr, integrity_key, retransmissions)
        finally:
            transactions.pop(request.transaction_id, None)

    def send_stun(self, message: stun.Message, addr: Address) -> None:
        """Send a STUN message; a success response proves that the request was authentic."""
        if message.message_class == stun.Class.ERROR:
            if not self.socket.mux.may_send_error(addr[0]):
                return
        elif message.message_class == stun.Class.RESPONSE:
            self.generation.endpoint.hear(self, addr)
        self.socket.send(bytes(message), addr)

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        """Take one STUN message."""
        try:
            super().datagram_received(data, addr)
        except struct.error:  # aioice's for an attribute of a length that it cannot have
            self.socket.mux.counters.malformed += 1

    def receive_response(self, data: bytes, address: Address, now: float) -> None:
        """Take a response or error to a request of this end."""
        if not self.generation.take_consent(data, address, now):
            self.datagram_received(data, address)

    async def close(self) -> None:
        """Nothing to close: the socket is everybody's."""


class Generation(Connection):
    """One ICE session: a pair of ufrags and what is checked under them."""

    def __init__(
        self,
        endpoint: Listener,
        ufrag: str,
        number: int,
        *,
        controlling: bool,
        candidates: Mapping[MuxSocket, Candidate],
    ) -> None:
        super().__init__(controlling, local_username=ufrag)
        self.endpoint = endpoint
        self.mux = endpoint.mux
        self.number = number
        self.is_over = False
        self.ends_at = FOR_EVER
        "When it is given up, unless a pair is nominated, or after one was in a newer one."
        # Nominate one pair by a second check, not every pair that answers (RFC 8445 §8.1.1).
        self.remote_is_lite = True
        if controlling:
            # On top of any other, so that a browser which offered gives the role away.
            self._tie_breaker = 2**64 - 1 - secrets.randbits(20)
        self._ends = {
            socket: StunEnd(self, socket, candidate) for socket, candidate in candidates.items()
        }
        self._protocols = list(self._ends.values())
        self._local_candidates = [end.local_candidate for end in self._protocols]
        self._local_candidates_start = self._local_candidates_end = True
        self._open_checks: dict[bytes, Route] = {}
        self.mux.by_ufrag[ufrag.encode()] = self

    def add_candidate(self, text: str) -> None:
        """Check one more address of the peer, if it is one that we check at all."""
        candidate = parse_candidate(text)
        if candidate is None or not self.endpoint.policy.allows(candidate.host):
            return
        # End-of-candidates is never passed on: our own clock says when ICE has failed, and a peer
        # known by nothing but its checks may still come.
        if len(self._remote_candidates) < MAX_REMOTE_CANDIDATES:
            self._add_remote_candidate(candidate, candidate.host)

    def receive_request(
        self, socket: MuxSocket, data: bytes, address: Address, _now: float
    ) -> None:
        """Take a binding request that names our ufrag."""
        if not self.endpoint.policy.allows(address[0]):
            self.mux.counters.denied_source += 1
            return
        self._ends[socket].datagram_received(data, address)

    def ask(self, route: Route, *, nominate: bool) -> None:
        """Send one check, for consent or to find a path. An answer counts, however late it comes.

        aioice's own waits half a second, counts a slower answer as a failure, and closes after
        six of them.

        Args:
            nominate: with USE-CANDIDATE, if we control.
        """
        if self.is_over or self.remote_password is None:
            return
        end = self._ends[route.socket]
        # Of the pair only its component matters here.
        request = self.build_request(CandidatePair(end, end.local_candidate), nominate=nominate)
        request.add_message_integrity(self.remote_password.encode())
        if len(self._open_checks) >= MAX_CHECKS_OPEN:
            self._forget_check(next(iter(self._open_checks)))
        self._open_checks[request.transaction_id] = route
        self.mux.transactions[request.transaction_id] = end
        end.send_stun(request, route.address)

    def told_paths(self) -> Iterator[tuple[MuxSocket, Address]]:
        """From which of our sockets to which of the peer's candidates, the latest first."""
        for candidate in reversed(self._remote_candidates):
            for socket, end in self._ends.items():
                if end.local_candidate.can_pair_with(candidate):
                    yield socket, (candidate.host, candidate.port)

    def take_consent(self, data: bytes, address: Address, now: float) -> bool:
        """Whether `data` answers a consent check; if it is authentic, consent is fresh."""
        transaction_id = data[8:20]
        route = self._open_checks.get(transaction_id)
        if route is None:
            return False
        try:
            message = stun.parse_message(data)
        except (ValueError, struct.error):
            self.mux.counters.malformed += 1
            return True
        assert self.remote_password is not None
        if (
            message.message_class == stun.Class.RESPONSE
            and address == route.address
            and message.check_message_integrity(self.remote_password.encode())
        ):
            self._forget_check(transaction_id)
            self.endpoint.consent(route, now)
        return True

    def end(self) -> None:
        """Be found by nobody any more; `close` then stops what runs."""
        self.is_over = True
        self.mux.by_ufrag.pop(self.local_username.encode(), None)
        for transaction_id in list(self._open_checks):
            self._forget_check(transaction_id)

    async def close(self) -> None:
        """Stop the checks and break the cycles between connection, ends and pairs."""
        await super().close()
        self._check_list.clear()
        self._early_checks.clear()
        self._ends.clear()

    # What aioice calls.

    def request_received(
        self, message: stun.Message, addr: Address, protocol: StunProtocol
    ) -> None:
        """Answer a check. That of a browser which also wants to control is answered with success.

        487, as RFC 8445 §7.3.1.1 has it, Firefox answers by repeating itself for ever. Integrity
        was computed over the bytes, so that renaming an attribute does not break it.
        """
        if self.ice_controlling and "ICE-CONTROLLING" in message.attributes:
            message.attributes["ICE-CONTROLLED"] = message.attributes.pop("ICE-CONTROLLING")
        if len(self._early_checks) >= MAX_EARLY_CHECKS:
            del self._early_checks[0]
        super().request_received(message, addr, protocol)

    def check_incoming(self, message: stun.Message, addr: Address, protocol: StunProtocol) -> None:
        """Check back, unless this peer had more addresses than any honest one has."""
        if "PRIORITY" not in message.attributes:  # RFC 8445 §7.1.1 demands it
            return
        known = any(
            (candidate.host, candidate.port) == addr for candidate in self._remote_candidates
        )
        if known or len(self._remote_candidates) < MAX_REMOTE_CANDIDATES:
            super().check_incoming(message, addr, protocol)

    async def check_start(self, pair: CandidatePair) -> None:
        """Check a pair; a fault in there fails the pair and nothing else."""
        try:
            await super().check_start(pair)
        except Exception as error:
            self.mux.contain("connectivity check", error)
            pair.state = CandidatePair.State.FAILED
            pair.task = None

    def check_complete(self, pair: CandidatePair) -> None:
        """Learn at once of a nomination: `connect` would tell up to 20 ms later."""
        before = self._nominated.get(COMPONENT)
        super().check_complete(pair)
        nominated = self._nominated.get(COMPONENT)
        if nominated is not None and nominated is not before:
            self.endpoint.nominate(self, nominated)

    async def query_consent(self) -> None:
        """Nothing: consent has our own clock, see `ask_consent`."""

    def data_received(self, _data: bytes, _component: int) -> None:
        """Not STUN after all: it has the look, but does not parse."""
        self.mux.counters.malformed += 1

    def _forget_check(self, transaction_id: bytes) -> None:
        del self._open_checks[transaction_id]
        self.mux.transactions.pop(transaction_id, None)

"""A small ICE agent for one candidate pair (RFC 8445), as light as a client can be."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from aioice import stun

Address = tuple[str, int]

HOST_PRIORITY = (126 << 24) | (65535 << 8) | 255
"RFC 8445 §5.1.2.1 for the one host candidate of component 1."

TIE_BREAKER = 0
"""We offer, so we begin as the controlling agent; whoever else wants to be it wins the conflict
(RFC 8445 §7.3.1.1), as a gateway does that follows the browser's media."""

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


class IceClient:
    """Makes and answers checks on one socket, toward one remote candidate."""

    def __init__(self, send: Callable[[bytes, Address], None]) -> None:
        self._send = send
        self.ufrag = _token(4)
        self.pwd = _token(22)
        self.is_controlling = True
        self.remote: Address | None = None
        self._remote_ufrag = ""
        self._remote_key = b""
        self._pending: dict[bytes, bool] = {}  # whether each was sent as the controlling agent
        self._is_answered = False
        self._is_nominated = False
        self.on_established: Callable[[], None] = lambda: None
        self.is_established = False

    def start(self, remote: Address, ufrag: str, pwd: str) -> None:
        """Take the other side's candidate and credentials; `check` may then be called."""
        self.remote = remote
        self._remote_ufrag = ufrag
        self._remote_key = pwd.encode()

    def check(self) -> None:
        """Send one binding request: to connect, later to keep the consent (RFC 7675)."""
        assert self.remote is not None
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{self._remote_ufrag}:{self.ufrag}"
        request.attributes["PRIORITY"] = HOST_PRIORITY
        if self.is_controlling:
            request.attributes["ICE-CONTROLLING"] = TIE_BREAKER
            request.attributes["USE-CANDIDATE"] = None
        else:
            request.attributes["ICE-CONTROLLED"] = TIE_BREAKER
        request.add_message_integrity(self._remote_key)
        while len(self._pending) >= 8:  # the oldest will not be answered any more
            del self._pending[next(iter(self._pending))]
        self._pending[request.transaction_id] = self.is_controlling
        self._send(bytes(request), self.remote)

    def receive(self, data: bytes, source: Address) -> None:
        """Take one STUN message; what is not for us is dropped."""
        try:
            message = stun.parse_message(data)
        except ValueError:
            return
        if message.message_class == stun.Class.REQUEST:
            if message.check_message_integrity(self.pwd.encode()):
                self._answer(message, source)
        elif message.transaction_id in self._pending:
            was_controlling = self._pending.pop(message.transaction_id)
            if message.error_code == 487:
                # Several may be refused: the role changes from the one that was refused, once.
                self.is_controlling = not was_controlling
                self.check()
            elif message.check_message_integrity(self._remote_key):
                self._is_answered = True
        if self._is_answered and (self.is_controlling or self._is_nominated):
            self._establish()

    def _answer(self, request: stun.Message, source: Address) -> None:
        attributes = request.attributes
        if "ICE-CONTROLLING" in attributes:
            self.is_controlling = False  # a conflict, if there is one, is lost: see TIE_BREAKER
        response = stun.Message(
            stun.Method.BINDING, stun.Class.RESPONSE, transaction_id=request.transaction_id
        )
        response.attributes["XOR-MAPPED-ADDRESS"] = source
        response.add_message_integrity(self.pwd.encode())
        self._send(bytes(response), source)
        if "USE-CANDIDATE" in attributes:
            self._is_nominated = True

    def _establish(self) -> None:
        if not self.is_established:
            self.is_established = True
            self.on_established()


def _token(length: int) -> str:
    """Random ice-chars (RFC 8839 §5.4)."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))

"""A bare UDP socket that speaks SIP as text: for what no SIP stack would send or check."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

Address = tuple[str, int]

MAX_DATAGRAM_BYTES = 65_535


@dataclass(frozen=True, slots=True)
class Datagram:
    """One that came."""

    text: str
    source: Address

    @property
    def label(self) -> str:
        """`INVITE`, or the status of a response."""
        first = self.text.split(maxsplit=2)
        return first[1] if first[0].startswith("SIP/") else first[0]


class SipSocket:
    """Bound to an address of loopback while it is entered."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((host, port))
        self.host, self.port = self._socket.getsockname()[:2]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, data: bytes | str, target: Address) -> None:
        self._socket.sendto(data.encode() if isinstance(data, str) else data, target)

    def respond(self, request: Datagram, status_line: str, headers: str = "") -> None:
        """Answer with the headers that every response copies (RFC 3261 §8.2.6.2)."""
        copied = "".join(
            line + (";tag=socket" if line.startswith("To:") and "tag=" not in line else "") + "\r\n"
            for line in request.text.split("\r\n")
            if re.match("(Via|From|To|Call-ID|CSeq):", line)
        )
        text = f"SIP/2.0 {status_line}\r\n{copied}{headers}Content-Length: 0\r\n\r\n"
        self.send(text, request.source)

    async def receive(
        self, label: str, accept: Callable[[str], bool] = lambda text: True
    ) -> Datagram:
        """The next datagram of a kind; others are passed over."""
        async with asyncio.timeout(15):
            while True:
                datagram = await self.receive_any()
                if datagram.label == label and accept(datagram.text):
                    return datagram

    async def receive_any(self) -> Datagram:
        """The next datagram."""
        loop = asyncio.get_running_loop()
        data, source = await loop.sock_recvfrom(self._socket, MAX_DATAGRAM_BYTES)
        return Datagram(data.decode(errors="replace"), (str(source[0]), int(source[1])))

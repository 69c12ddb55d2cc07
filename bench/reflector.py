"""A trivial relay: what comes on one UDP port of a call leaves by the other. Nothing is looked at.

It shows what the generator, the kernel and Python's sockets alone cost, and how punctual the
generator is by itself. `python -m bench.reflector PORT`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from http import HTTPStatus
from typing import Any

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

Address = tuple[str, int]
HOST = "127.0.0.1"


class Relay:
    """One call: two ports, and where the packets of each go."""

    def __init__(self, page: Address, phone: Address) -> None:
        self._loop = asyncio.get_running_loop()
        self.page_side = _open()
        self.phone_side = _open()
        self._connect(self.page_side, self.phone_side, phone)
        self._connect(self.phone_side, self.page_side, page)

    def close(self) -> None:
        """Close both ports."""
        for sock in (self.page_side, self.phone_side):
            self._loop.remove_reader(sock)
            sock.close()

    def _connect(self, heard_by: socket.socket, said_by: socket.socket, to: Address) -> None:
        receive, send = heard_by.recv, said_by.sendto

        def on_readable() -> None:
            try:
                send(receive(2048), to)
            except OSError:
                return

        self._loop.add_reader(heard_by, on_readable)


async def serve_calls(socket: ServerConnection) -> None:
    """One signalling socket: one call, until it closes."""
    relay: Relay | None = None
    try:
        async for text in socket:
            message: dict[str, Any] = json.loads(text)
            if message["type"] != "call":
                break
            options = message["options"]
            relay = Relay(tuple(options["page"]), tuple(options["phone"]))
            answer = {
                "type": "answer",
                "call": message["call"],
                "page": relay.page_side.getsockname(),
            }
            answered = {
                "type": "answered",
                "call": message["call"],
                "phone": relay.phone_side.getsockname(),
            }
            await socket.send(json.dumps(answer))
            await socket.send(json.dumps(answered))
    finally:
        if relay is not None:
            relay.close()


def health(connection: ServerConnection, request: Request) -> Response | None:
    """Answers GET /healthz; any other path is a WebSocket's."""
    if request.path == "/healthz":
        return connection.respond(HTTPStatus.OK, "ok\n")
    return None


async def main(port: int) -> None:
    """Serve until interrupted."""
    async with serve(serve_calls, HOST, port, process_request=health, compression=None) as server:
        await server.serve_forever()


def _open() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((HOST, 0))
    return sock


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main(int(sys.argv[1])))

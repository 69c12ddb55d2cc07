"""A gateway of paper: it serves the page, keeps what the page says, and says what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import mimetypes
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

WEB = Path(__file__).parents[2] / "web"

HEAR_WITHIN_S = 8.0
"How long a test waits for a message of the page."

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; media-src 'self'; base-uri 'none'; form-action 'none'"
)
"As strict as the page can be served: nothing inline, nothing from elsewhere."

DESTINATIONS = [
    {"to": "agent:receptionist", "name": "Receptionist", "kind": "agent",
     "description": "Takes a message, or puts you through"},
    {"to": "agent:echo", "name": "Echo agent", "kind": "agent",
     "description": "Says back what you say"},
    {"to": "+15550100", "name": "Echo", "kind": "number",
     "description": "Answers and echoes"},
    {"to": "+15550102", "name": "Early media", "kind": "number",
     "description": "Three seconds of early media, then answers"},
    {"to": "+15550104", "name": "Digits", "kind": "number",
     "description": "Sends back each digit you press"},
    {"to": "+15550486", "name": "Busy", "kind": "number",
     "description": "Rejects with 486"},
]  # fmt: skip

Message = dict[str, Any]


class FakeGateway:
    """One page at a time: the newest WebSocket is the one spoken to."""

    def __init__(self) -> None:
        self.destinations: list[Message] = DESTINATIONS
        self.notice: str | None = None
        self.trunks: list[Message] = []
        self.refuses_pages = False
        "Whether WebSockets are turned away, as by a proxy whose gateway is down."
        self.answers_pings = True
        self.acknowledges = True
        "Whether what the page says is acknowledged."
        self.standing: list[Message] = []
        "The calls that a page finds when it comes back."
        self.knows_pages = True
        "Whether a page may come back."
        self.attached: list[Message] = []
        "How pages said that they are back."
        self.greeted = 0
        "How many WebSockets have been opened."
        self.port = 0
        self._heard: list[Message] = []
        self._changed = asyncio.Condition()
        self._page: ServerConnection | None = None
        self._count = 0
        "The page's count of what was heard last."

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.port}/"

    async def hear(self, kind: str) -> Message:
        """Return the oldest message of this type not yet returned, waiting for it if need be."""
        async with asyncio.timeout(HEAR_WITHIN_S), self._changed:
            await self._changed.wait_for(lambda: self._of(kind))
            message = self._of(kind)[0]
            self._heard.remove(message)
            return message

    def has_heard(self, kind: str) -> bool:
        """Whether such a message came that `hear` has not returned."""
        return bool(self._of(kind))

    async def say(self, kind: str, **values: object) -> None:
        """Send a message to the page."""
        assert self._page is not None
        await self._page.send(json.dumps({"type": kind, **values}))

    async def say_raw(self, text: str | bytes) -> None:
        """Send what may be no message at all."""
        assert self._page is not None
        await self._page.send(text)

    async def lose_page(self) -> None:
        """Cut the connection without a word."""
        assert self._page is not None
        self._page.transport.abort()
        await self._page.wait_closed()

    async def greet_again(self, times: int) -> None:
        """Wait until the page has come this many times."""
        async with asyncio.timeout(HEAR_WITHIN_S), self._changed:
            await self._changed.wait_for(lambda: self.greeted >= times)

    def _of(self, kind: str) -> list[Message]:
        return [message for message in self._heard if message["type"] == kind]

    async def talk(self, page: ServerConnection) -> None:
        """Serve one WebSocket until it closes."""
        token = f"gw1-token-{self.greeted + 1}"
        await page.send(json.dumps({"type": "hello", "version": "0.1.0", "page": token}))
        self._page = page
        heard, self._count = self._count, 0
        async with self._changed:
            self.greeted += 1
            self._changed.notify_all()
        with contextlib.suppress(ConnectionClosed):
            async for data in page:
                message = json.loads(data)
                if message["type"] == "ping" and self.answers_pings:
                    await page.send('{"type": "pong"}')
                if message["type"] == "attach":
                    await self._attach(page, message, token, heard)
                    continue
                count = message.pop("n", None)
                if count is not None:
                    if self.acknowledges:
                        await page.send(json.dumps({"type": "ack", "n": count}))
                    if count <= self._count:
                        continue
                    self._count = count
                async with self._changed:
                    self._heard.append(message)
                    self._changed.notify_all()

    async def _attach(
        self, page: ServerConnection, message: Message, token: str, heard: int
    ) -> None:
        self.attached.append(message)
        if not self.knows_pages:
            refusal = {
                "type": "error",
                "call": None,
                "code": "unknown-page",
                "text": "No such page",
            }
            await page.send(json.dumps(refusal))
            return
        self._count = heard if "seen" in message else 0
        told = {"page": f"{token}-again", "seen": self._count, "told": 0, "calls": self.standing}
        await page.send(json.dumps({"type": "attached", **told}))

    def serve_file(self, _connection: ServerConnection, request: Request) -> Response | None:
        """Answer plain requests; None lets a WebSocket through."""
        path = urlsplit(request.path).path
        if path == "/v1/signal":
            return _respond(HTTPStatus.SERVICE_UNAVAILABLE) if self.refuses_pages else None
        if path == "/v1/destinations":
            body = {"destinations": self.destinations, "notice": self.notice}
            return _respond(body=json.dumps(body).encode(), media_type="application/json")
        if path == "/v1/trunks":
            trunks = json.dumps({"trunks": self.trunks}).encode()
            return _respond(body=trunks, media_type="application/json")
        if path == "/far-end":
            return _respond(body=b"<!doctype html><title>Far end</title>")
        file = WEB / ("index.html" if path == "/" else path.removeprefix("/assets/"))
        if file.parent != WEB or not file.is_file():
            return _respond(HTTPStatus.NOT_FOUND)
        media_type, _ = mimetypes.guess_type(file.name)
        return _respond(body=file.read_bytes(), media_type=media_type or "text/plain")


def _respond(
    status: HTTPStatus = HTTPStatus.OK, *, body: bytes = b"", media_type: str = "text/html"
) -> Response:
    headers = Headers()
    headers["Content-Type"] = media_type
    headers["Content-Length"] = str(len(body))
    headers["Content-Security-Policy"] = POLICY
    headers["Cache-Control"] = "no-store"
    headers["Connection"] = "close"
    return Response(status.value, status.phrase, headers, body)


@asynccontextmanager
async def open_gateway() -> AsyncIterator[FakeGateway]:
    """Listen on a free port of loopback."""
    gateway = FakeGateway()
    server: Server = await serve(
        gateway.talk, "127.0.0.1", 0, process_request=gateway.serve_file, close_timeout=1
    )
    gateway.port = next(iter(server.sockets)).getsockname()[1]
    try:
        yield gateway
    finally:
        server.close()
        await server.wait_closed()

"""A web server for tests: answers, byte for byte, what it is told to, and keeps what was asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl


@dataclass
class Asked:
    """One request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """What was posted as a form."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def query(self) -> dict[str, str]:
        """What the URL said."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def path(self) -> str:
        """The URL without its query."""
        return self.target.partition("?")[0]


Answer = Callable[[Asked], bytes]


def http(body: str | bytes = b"", *, status: int = 200, headers: Sequence[str] = ()) -> bytes:
    """An HTTP response."""
    content = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + content


def twiml(verbs: str) -> bytes:
    """A TwiML document."""
    return http(f"<Response>{verbs}</Response>", headers=["Content-Type: text/xml"])


def redirect(url: str, status: int = 302) -> bytes:
    """A redirect."""
    return http(status=status, headers=[f"Location: {url}"])


@dataclass
class WebServer:
    """A server that is running."""

    port: int = 0
    scheme: str = "http"
    asked: list[Asked] = field(default_factory=list)
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str = "/") -> str:
        """Where it is."""
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    async def wait(self, count: int, path: str = "", *, timeout_s: float = 10) -> list[Asked]:
        """Until so many requests for a path have come, those first."""
        async with asyncio.timeout(timeout_s), self.came:
            await self.came.wait_for(lambda: len(self.of(path)) >= count)
        return self.of(path)

    def of(self, path: str) -> list[Asked]:
        """The requests whose path begins so."""
        return [asked for asked in self.asked if asked.path.startswith(path)]


@asynccontextmanager
async def running_web_server(
    answer: Answer, *, tls: ssl.SSLContext | None = None, port: int = 0
) -> AsyncIterator[WebServer]:
    """Serve on a port of loopback; 0: any."""
    web = WebServer(scheme="http" if tls is None else "https")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, target, _ = first.split(" ")
            asked = Asked(method, target, headers, body)
            async with web.came:
                web.asked.append(asked)
                web.came.notify_all()
            writer.write(answer(asked))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # who asked has had enough
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()

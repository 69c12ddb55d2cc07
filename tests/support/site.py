"""A web server without a network: what it answers is a table, and it keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from gateway.net.webhook import WebAnswer, WebhookError, WebRequest

Answer = str | bytes | int | Callable[[dict[str, str]], str]
"TwiML verbs, a file, a status, or what says verbs of the fields that were sent."


@dataclass
class Visit:
    """One request."""

    method: str
    path: str
    fields: dict[str, str]
    headers: Mapping[str, str]


@dataclass
class Site:
    """https://site.test: paths and what they answer."""

    pages: dict[str, Answer] = field(default_factory=dict)
    visits: list[Visit] = field(default_factory=list)
    delay_s: float = 0.0
    "How long it takes to answer."

    async def ask(self, request: WebRequest) -> WebAnswer:
        await asyncio.sleep(self.delay_s)
        parts = urlsplit(request.url)
        if parts.hostname != "site.test":
            raise WebhookError("there is no such host")
        text = parts.query if request.method == "GET" else request.body.decode()
        fields = dict(parse_qsl(text, keep_blank_values=True))
        self.visits.append(Visit(request.method, parts.path, fields, dict(request.headers)))
        answer = self.pages.get(parts.path, 404)
        if callable(answer):
            answer = answer(fields)
        if isinstance(answer, int):
            return WebAnswer(answer, "", b"", request.url)
        if isinstance(answer, bytes):
            return WebAnswer(200, "audio/wav", answer, request.url)
        body = f"<Response>{answer}</Response>" if not answer.startswith("<?") else answer
        return WebAnswer(200, "text/xml", body.encode(), request.url)

    def of(self, path: str) -> list[dict[str, str]]:
        """What was sent to a path."""
        return [visit.fields for visit in self.visits if visit.path == path]

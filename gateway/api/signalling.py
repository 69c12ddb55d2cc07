"""Signalling with pages: typed JSON on the WebSocket `/v1/signal`.

A page has one socket at a time. When its network changes it opens another and says which page it
is, by a token that is good for one time; after a reload it does the same (docs/signalling.md).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError
from quart import websocket

from gateway.api.call_watch import CallWatch
from gateway.api.ice_servers import IceServers
from gateway.api.messages import Attach, PageMessage, page_message
from gateway.api.outbox import Outbox, close
from gateway.api.page import Page, PageNode
from gateway.api.server import explain
from gateway.errors import GatewayError

MAX_MESSAGE_CHARACTERS = 64 * 1024
"An offer is the largest thing a page says."

MAX_MESSAGES_PER_S = 100
"More is no page of ours: its socket is closed."

MAX_UNSENT = 512
"Messages waiting for a page that does not read; then its socket is closed."

TOKEN_BYTES = 24
"Of chance: nobody guesses whose calls they could have."


class Pages:
    """The pages of a node, each found by the token it was given last."""

    def __init__(self, node: PageNode, ice_servers: IceServers | None = None) -> None:
        """
        Args:
            ice_servers: makes what is told to pages of TURN; None: there is none.
        """
        self.node = node
        self.ice_servers = ice_servers
        self._watch = CallWatch(node.observe)
        self._pages: dict[str, Page] = {}
        self._tokens: dict[Page, tuple[str, ...]] = {}

    def __len__(self) -> int:
        """How many there are, those included that may come back."""
        return len(self._tokens)

    def __iter__(self) -> Iterator[Page]:
        """Each of them."""
        return iter(list(self._tokens))

    async def serve(self) -> None:
        """Talk with one page until its socket ends."""
        socket = _Socket(self)
        try:
            await socket.outbox.serve(socket.read)
        finally:
            socket.close()

    def new_page(self) -> tuple[Page, str]:
        """A page that was never here, and its first token."""
        page = Page(self.node, self._watch, on_over=self._forget)
        token = self._new_token()
        self._pages[token] = page
        self._tokens[page] = (token,)
        return page, token

    def find(self, token: str) -> Page | None:
        """Whose token it is."""
        return self._pages.get(token)

    def spend(self, page: Page, token: str) -> str:
        """Its next token. The one it used is good for the same again until the page has shown
        that it has the next (`settle`): the answer may have been lost with its socket."""
        new = self._new_token()
        for each in self._tokens[page]:
            if each != token:
                del self._pages[each]
        self._tokens[page] = (token, new)
        self._pages[new] = page
        return new

    def settle(self, page: Page) -> None:
        """The page has its last token: all others are worth nothing."""
        *spent, last = self._tokens[page]
        for each in spent:
            del self._pages[each]
        self._tokens[page] = (last,)

    def _new_token(self) -> str:
        return f"{self.node.name}-{secrets.token_urlsafe(TOKEN_BYTES)}"

    def _forget(self, page: Page) -> None:
        for token in self._tokens.pop(page):
            del self._pages[token]


class _Socket:
    """One socket of a page."""

    def __init__(self, pages: Pages) -> None:
        self.outbox: Outbox[dict[str, Any]] = Outbox(MAX_UNSENT, lambda message: message)
        self._pages = pages
        self._loop = asyncio.get_running_loop()
        self._page, self._token = pages.new_page()
        self._page.attach(self.outbox)
        self._is_new = True
        "Whether the page has said nothing yet, and so may be another."
        self._is_unsettled = False
        self._window_at = 0.0
        self._window_count = 0
        self._refresh: asyncio.TimerHandle | None = None

    async def read(self) -> None:
        """Take messages until the socket ends. Bad ones get an error; the socket stays."""
        self._greet("hello", {"version": self._pages.node.version})
        while True:
            text = await websocket.receive()
            if self._is_flood():
                await close(1008, "too many messages")
                return
            try:
                message = _parse(text)
            except _BadMessage as error:
                self._page.refuse(error.code, str(error), error.call)
                continue
            if isinstance(message, Attach) and self._is_new:
                self._attach(message)
                continue
            self._is_new = False
            if self._is_unsettled:
                self._is_unsettled = False
                self._pages.settle(self._page)
            self._page.take(message)

    def close(self) -> None:
        """The socket has ended."""
        if self._refresh is not None:
            self._refresh.cancel()
        self._page.detach(self.outbox)

    def _attach(self, message: Attach) -> None:
        pages = self._pages
        page = pages.find(message.token)
        if page is None or page is self._page:
            self._page.refuse("unknown-page", "There is no such page, or it waited too long", None)
            return
        self._page.detach(self.outbox)
        self._page, self._is_unsettled = page, True
        page.attach(self.outbox)
        self._token = pages.spend(page, message.token)
        seen = 0 if message.seen is None else page.heard
        self._greet("attached", {"seen": seen, "told": page.told, "calls": page.snapshots()})
        for each in page.missed(message.seen):
            self.outbox.put(each)
        page.welcome(is_reloaded=message.seen is None)

    def _greet(self, kind: str, told: dict[str, Any]) -> None:
        self.outbox.put({"type": kind, "page": self._token, **told, **self._ice_servers()})

    def _ice_servers(self) -> dict[str, Sequence[dict[str, Any]]]:
        """What the page is to use for TURN, and again before that has run out."""
        servers = self._pages.ice_servers
        if servers is None:
            return {}
        if self._refresh is not None:
            self._refresh.cancel()
        self._refresh = self._loop.call_later(servers.ttl_s / 2, self._tell_ice_servers)
        return {"ice_servers": servers.make()}

    def _tell_ice_servers(self) -> None:
        self.outbox.put({"type": "ice-servers", **self._ice_servers()})

    def _is_flood(self) -> bool:
        now = self._loop.time()
        if now - self._window_at > 1.0:
            self._window_at, self._window_count = now, 0
        self._window_count += 1
        return self._window_count > MAX_MESSAGES_PER_S


class _BadMessage(GatewayError):
    status = 400

    def __init__(self, code: str, text: str, call: str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.call = call


def _parse(text: object) -> PageMessage:
    if not isinstance(text, str):  # bytes, or None for an empty binary frame
        raise _BadMessage("not-text", "Send text frames, not binary")
    if len(text) > MAX_MESSAGE_CHARACTERS:
        raise _BadMessage("too-long", f"A message has at most {MAX_MESSAGE_CHARACTERS} characters")
    try:
        return page_message.validate_json(text)
    except ValidationError as error:
        kind = error.errors(include_url=False, include_input=False)[0]["type"]
        code = "bad-json" if kind == "json_invalid" else "bad-message"
        raise _BadMessage(code, explain(error)) from None

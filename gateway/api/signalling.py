"""Signalling with pages: typed JSON on the WebSocket `/v1/signal`, one socket for each page."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from pydantic import ValidationError
from quart import websocket

from gateway.api.messages import (
    Accept,
    Bye,
    Candidate,
    Decline,
    Digit,
    Leaving,
    PageMessage,
    Ping,
    Place,
    page_message,
)
from gateway.api.server import explain
from gateway.call.call import Call
from gateway.call.events import CallEvent
from gateway.errors import GatewayError
from gateway.leg.browser import BrowserLeg
from gateway.leg.leg import EndReason, MediaQuality, Role, reason_of_status
from gateway.observe.ladder import Ladder

log = logging.getLogger(__name__)

MAX_MESSAGE_CHARACTERS = 64 * 1024
"An offer is the largest thing a page says."

MAX_CALLS_PER_PAGE = 4
"Calls at a time on one socket."

MAX_MESSAGES_PER_S = 100
"More is no page of ours: its socket is closed."

MAX_UNSENT = 512
"Messages waiting for a page that does not read; then its socket is closed."

QUALITY_EVERY_S = 2.0

SOCKET_LOST_GRACE_S = 30.0
"How long a call outlives its page's socket: its media may well be fine."


class PageNode(Protocol):
    """What signalling asks of the node."""

    version: str

    def call_from_page(self, to: str, offer: str, name: str, send: Send) -> tuple[BrowserLeg, Call]:
        """Place a call for a page.

        Raises:
            GatewayError: no route, no common codec, no room; nothing was placed.
        """

    def find(self, call_id: str) -> Call | None: ...
    def observe(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]: ...
    def end(self, call_id: str, reason: EndReason) -> None: ...


Send = Callable[[dict[str, Any]], None]


async def serve_page(node: PageNode) -> None:
    """Talk with one page until its socket ends."""
    page = _Page(node)
    writer = asyncio.ensure_future(page.write())
    try:
        await page.read()
    finally:
        writer.cancel()
        page.lost()
        await asyncio.gather(writer, return_exceptions=True)


class _PageCall:
    """One call of a page."""

    def __init__(self, leg: BrowserLeg, call: Call) -> None:
        self.leg = leg
        self.call = call
        self.ladder = Ladder()
        self.quality_timer: asyncio.TimerHandle | None = None
        self.is_ended = False

    def end(self) -> None:
        """The page was told; the last rungs of the ladder may still come."""
        self.is_ended = True
        if self.quality_timer is not None:
            self.quality_timer.cancel()


class _Page:
    """One page: its calls, and what is still to be sent to it."""

    def __init__(self, node: PageNode) -> None:
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._unsent: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_UNSENT)
        self._calls: dict[str, _PageCall] = {}
        self._stop_observing = node.observe(self._on_call_event)
        self._placing: list[CallEvent] | None = None
        self._window_at = 0.0
        self._window_count = 0
        self._is_lost = False

    async def write(self) -> None:
        """Send what is to be sent, in order."""
        while True:
            message = await self._unsent.get()
            await websocket.send(json.dumps(message))

    async def read(self) -> None:
        """Take messages until the socket ends. Bad ones get an error; the socket stays."""
        self._send({"type": "hello", "version": self._node.version})
        while True:
            text = await websocket.receive()
            if self._is_flood():
                await websocket.close(1008, "too many messages")
                return
            try:
                message = _parse(text)
            except _BadMessage as error:
                self._refuse(error.code, str(error), error.call)
                continue
            try:
                self._on_message(message)
            except GatewayError as error:
                self._refuse("refused", str(error), getattr(message, "call", None))
            except Exception:
                log.exception("a page's message broke")
                self._refuse("gateway-error", "The gateway broke on this message", None)

    def lost(self) -> None:
        """The socket ended: calls go on a while, for their media may be fine."""
        self._is_lost = True
        self._stop_observing()
        for entry in self._calls.values():
            if entry.quality_timer is not None:
                entry.quality_timer.cancel()
            end = partial(self._node.end, entry.call.id, EndReason.LEFT)
            self._loop.call_later(SOCKET_LOST_GRACE_S, end)
        self._calls.clear()

    # ---- what the page says

    def _on_message(self, message: PageMessage) -> None:
        match message:
            case Place():
                self._place(message)
            case Ping():
                self._send({"type": "pong"})
            case Leaving():
                for entry in list(self._calls.values()):
                    self._node.end(entry.call.id, EndReason.LEFT)
            case _:
                known = self._calls.get(message.call)
                if known is None or known.is_ended:
                    self._refuse("unknown-call", "There is no such call", message.call)
                else:
                    self._on_call_message(known, message)

    def _on_call_message(
        self, entry: _PageCall, message: Accept | Decline | Candidate | Digit | Bye
    ) -> None:
        leg = entry.leg
        match message:
            case Bye():
                leg.hang_up()
            case Candidate():
                leg.add_candidate(message.candidate, message.ufrag)
            case Digit():
                leg.press(message.digit, message.duration_ms)
            case Accept():
                leg.accept(message.sdp)
            case Decline():
                leg.decline()

    def _place(self, message: Place) -> None:
        name = message.call
        self._calls = {n: entry for n, entry in self._calls.items() if not entry.is_ended}
        if name in self._calls:
            self._refuse("call-exists", "There is a call of this name already", name)
            return
        if len(self._calls) >= MAX_CALLS_PER_PAGE:
            self._refuse("too-many-calls", f"At most {MAX_CALLS_PER_PAGE} calls at a time", name)
            return
        self._placing = []
        try:
            leg, call = self._node.call_from_page(
                message.to, message.sdp, name, partial(self._send_of_call, name)
            )
        except GatewayError as error:
            self._send(_ended_before_it_began(name, error))
            return
        finally:
            early, self._placing = self._placing, None
        entry = _PageCall(leg, call)
        self._calls[name] = entry
        for event in early:
            self._tell(name, entry, event)
        self._report_quality(name)

    # ---- what the node says

    def _on_call_event(self, event: CallEvent) -> None:
        if self._placing is not None:
            self._placing.append(event)
        for name, entry in self._calls.items():
            if entry.call.id == event.call:
                self._tell(name, entry, event)

    def _tell(self, name: str, entry: _PageCall, event: CallEvent) -> None:
        if event.call != entry.call.id:
            return
        rung = entry.ladder.fold(event)
        if rung is not None:
            self._send(
                {
                    "type": "ladder",
                    "call": name,
                    "at_ms": rung.at_ms,
                    "lane": rung.lane,
                    "sent": rung.sent,
                    "text": rung.text,
                }
            )

    def _send_of_call(self, name: str, message: dict[str, Any]) -> None:
        self._send({**message, "call": name})
        if message["type"] == "answered":
            self._report_quality(name)
        elif message["type"] == "ended":
            self._calls[name].end()

    def _report_quality(self, name: str) -> None:
        entry = self._calls.get(name)
        if entry is None or entry.is_ended or self._is_lost:
            return
        if entry.quality_timer is not None:
            entry.quality_timer.cancel()
        entry.quality_timer = self._loop.call_later(QUALITY_EVERY_S, self._report_quality, name)
        legs = {
            "browser" if party.role is Role.CALLER else "peer": _quality(party.leg.quality())
            for party in entry.call.heard_parties()
        }
        self._send({"type": "quality", "call": name, "legs": legs})

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._unsent.put_nowait(message)
        except asyncio.QueueFull:
            log.warning("a page does not read what it is sent; dropped a %s", message["type"])

    def _refuse(self, code: str, text: str, call: str | None) -> None:
        self._send({"type": "error", "call": call, "code": code, "text": text})

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


def _parse(text: str | bytes) -> PageMessage:
    if isinstance(text, bytes):
        raise _BadMessage("not-text", "Send text frames, not binary")
    if len(text) > MAX_MESSAGE_CHARACTERS:
        raise _BadMessage("too-long", f"A message has at most {MAX_MESSAGE_CHARACTERS} characters")
    try:
        return page_message.validate_json(text)
    except ValidationError as error:
        kind = error.errors(include_url=False, include_input=False)[0]["type"]
        code = "bad-json" if kind == "json_invalid" else "bad-message"
        raise _BadMessage(code, explain(error)) from None


def _ended_before_it_began(name: str, error: GatewayError) -> dict[str, Any]:
    return {
        "type": "ended",
        "call": name,
        "reason": reason_of_status(error.status).value,
        "status": error.status,
        "text": str(error),
        "fault": error.fault.value,
    }


def _quality(quality: MediaQuality) -> dict[str, Any]:
    return {
        "codec": quality.codec,
        "rtt_ms": quality.round_trip_ms,
        "jitter_ms": quality.jitter_ms,
        "loss_percent": quality.loss_percent,
    }

"""Signalling with pages: typed JSON on the WebSocket `/v1/signal`, one socket for each page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
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
from gateway.api.outbox import Outbox, close
from gateway.api.server import explain
from gateway.call.call import Call, Party, PartyState
from gateway.call.events import CallEvent
from gateway.errors import GatewayError
from gateway.leg.browser import BrowserLeg
from gateway.leg.leg import MediaQuality, reason_of_error
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

    def observe(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]: ...


Send = Callable[[dict[str, Any]], None]


async def serve_page(node: PageNode) -> None:
    """Talk with one page until its socket ends."""
    page = _Page(node)
    try:
        await page.outbox.serve(page.read)
    finally:
        page.lost()


class _PageCall:
    """One call of a page, from its first word to its last."""

    def __init__(self, name: str, tell: Callable[[dict[str, Any]], None]) -> None:
        """
        Args:
            tell: takes what is to be sent to the page.
        """
        self.name = name
        self.is_ended = False
        self._is_lost = False
        self._tell = tell
        self._held: list[dict[str, Any]] | None = []
        "What the leg says before it is sure that there will be a call."
        self._early: list[CallEvent] = []
        self._leg: BrowserLeg | None = None
        self._call: Call | None = None
        self._ladder: Ladder | None = None
        self._hold: tuple[str, str] | None = None
        "What the page was told last: who is on hold, and by whom."
        self._timer: asyncio.TimerHandle | None = None
        "Reports quality; once the page is lost, ends the call."

    @property
    def leg(self) -> BrowserLeg:
        assert self._leg is not None, "a call is known by its name once it was begun"
        return self._leg

    def begin(self, leg: BrowserLeg, call: Call) -> None:
        """The call is placed."""
        self._leg, self._call, self._ladder = leg, call, Ladder(leg.id)
        held, self._held = self._held or [], None
        for message in held:
            self.send(message)
        early, self._early = self._early, []
        for event in early:
            self.on_call_event(event)
        self.report_quality()

    def send(self, message: dict[str, Any]) -> None:
        """The leg has something to say to the page."""
        if self._held is not None:
            self._held.append(message)
            return
        self._tell({**message, "call": self.name})
        if message["type"] == "answered":
            self.report_quality()
        elif message["type"] == "ended":
            # The last rungs of the ladder may still come.
            self.is_ended = True
            self._stop_timer()

    def on_call_event(self, event: CallEvent) -> None:
        """Something happened in some call."""
        if self._call is None or self._ladder is None:
            self._early.append(event)
            return
        if event.call != self._call.id:
            return
        rung = self._ladder.fold(event)
        if rung is not None:
            told = {"at_ms": rung.at_ms, "lane": rung.lane, "sent": rung.sent, "text": rung.text}
            self._tell({"type": "ladder", "call": self.name, **told})
        self._look_at_hold(self._call)

    def _look_at_hold(self, call: Call) -> None:
        """Say when the person is put on hold and when no more, whatever brought it about."""
        party = call.parties.get(self.leg.id)
        if self.is_ended or (party is not None and party.state is not PartyState.UP):
            return
        hold = _hold_of(party, call)
        if hold == self._hold:
            return
        self._hold = hold
        if hold is None:
            self._tell({"type": "resumed", "call": self.name})
        else:
            self._tell({"type": "held", "call": self.name, "who": hold[0], "by": hold[1]})

    def report_quality(self) -> None:
        """Say how the media fares, now and every so often."""
        if self.is_ended or self._is_lost or self._call is None:
            return
        self._start_timer(QUALITY_EVERY_S, self.report_quality)
        legs = {
            "browser" if party.leg is self._leg else "peer": _quality(party.leg.quality())
            for party in self._call.heard_parties()
        }
        self._tell({"type": "quality", "call": self.name, "legs": legs})

    def lost(self) -> None:
        """The page's socket ended: the call goes on a while, for its media may be fine."""
        self._is_lost = True
        self._stop_timer()
        if not self.is_ended:
            self._start_timer(SOCKET_LOST_GRACE_S, self.leg.leave)

    def _start_timer(self, seconds: float, do: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, do)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Page:
    """One page: its calls, and what is still to be sent to it."""

    def __init__(self, node: PageNode) -> None:
        self.outbox: Outbox[dict[str, Any]] = Outbox(MAX_UNSENT, lambda message: message)
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._calls: dict[str, _PageCall] = {}
        self._stop_observing = node.observe(self._on_call_event)
        self._window_at = 0.0
        self._window_count = 0
        self._is_lost = False

    async def read(self) -> None:
        """Take messages until the socket ends. Bad ones get an error; the socket stays."""
        self._send({"type": "hello", "version": self._node.version})
        while True:
            text = await websocket.receive()
            if self._is_flood():
                await close(1008, "too many messages")
                return
            try:
                message = _parse(text)
            except _BadMessage as error:
                self._refuse(error.code, str(error), error.call)
                continue
            name = getattr(message, "call", None)
            try:
                self._on_message(message)
            except GatewayError as error:
                self._refuse("refused", str(error), name)
            except Exception:
                # A bug of ours on one message: its page is told, and its other calls go on.
                log.exception("a page's message broke")
                self._refuse("gateway-error", "The gateway broke on this message", name)

    def lost(self) -> None:
        """The socket ended; nobody is told anything any more."""
        self._is_lost = True
        self._stop_observing()
        for entry in self._calls.values():
            entry.lost()

    # ---- what the page says

    def _on_message(self, message: PageMessage) -> None:
        match message:
            case Place():
                self._place(message)
            case Ping():
                self._send({"type": "pong"})
            case Leaving():
                for entry in list(self._calls.values()):
                    entry.leg.leave()
            case _:
                known = self._calls.get(message.call)
                if known is None or known.is_ended:
                    self._refuse("unknown-call", "There is no such call", message.call)
                else:
                    self._on_call_message(known.leg, message)

    def _on_call_message(
        self, leg: BrowserLeg, message: Accept | Decline | Candidate | Digit | Bye
    ) -> None:
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
        entry = self._calls[name] = _PageCall(name, self._send)
        try:
            entry.begin(*self._node.call_from_page(message.to, message.sdp, name, entry.send))
        except GatewayError as error:
            del self._calls[name]
            self._send(_ended_before_it_began(name, error))
        except Exception:
            # A bug of ours: the page must not wait for an answer that will not come.
            log.exception("a page's call could not be placed")
            del self._calls[name]
            self._send(_ended_before_it_began(name, GatewayError("The gateway broke on this call")))

    # ---- what the node says

    def _on_call_event(self, event: CallEvent) -> None:
        for entry in self._calls.values():
            entry.on_call_event(event)

    def _send(self, message: dict[str, Any]) -> None:
        if not self._is_lost:
            self.outbox.put(message)

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


def _ended_before_it_began(name: str, error: GatewayError) -> dict[str, Any]:
    return {
        "type": "ended",
        "call": name,
        "reason": reason_of_error(error).value,
        "status": error.status,
        "text": str(error),
        "fault": error.fault.value,
    }


def _hold_of(party: Party | None, call: Call) -> tuple[str, str] | None:
    """Who of a page's call is on hold, and by whom. None: nobody, or the page is in another."""
    if party is None:
        return None
    if party.is_on_hold:
        return "you", "gateway"
    others = [each for each in call.parties.values() if each.state is PartyState.UP]
    others.remove(party)
    if others and all(other.held is not None for other in others):
        return "you", "far-end"
    if others and all(other.is_on_hold for other in others):
        return "far-end", "gateway"
    return None


def _quality(quality: MediaQuality) -> dict[str, Any]:
    return {
        "codec": quality.codec,
        "rtt_ms": quality.round_trip_ms,
        "jitter_ms": quality.jitter_ms,
        "loss_percent": quality.loss_percent,
    }

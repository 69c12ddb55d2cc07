"""One open page: its calls and what it is still to be told, over all the sockets it has in turn.

Both sides count what they say of calls. The page's count makes a message that was repeated the
same message; ours lets a page that comes back over another socket hear what it missed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from gateway.api.call_watch import CallWatch
from gateway.api.messages import (
    Accept,
    Answer,
    Bye,
    Candidate,
    Decline,
    Digit,
    Leaving,
    Offer,
    PageMessage,
    Ping,
    Place,
    Resume,
)
from gateway.api.outbox import Outbox
from gateway.api.page_call import Message, PageCall
from gateway.call.call import Call
from gateway.call.events import CallEvent
from gateway.errors import GatewayError
from gateway.leg.browser import BrowserLeg
from gateway.leg.leg import reason_of_error

log = logging.getLogger(__name__)

MAX_CALLS_PER_PAGE = 4
"Calls at a time on one socket."

KEPT_MESSAGES = 256
"""Told to a page that comes back: a call says ten as it begins and two a minute later on, and the
time in which a page may come back is short."""

LEAVING_S = 5.0
"How long a call waits for a page that said it leaves: a reload takes one or two (behaviour F16)."

LOST_S = 30.0
"How long a call outlives its page's socket: its media may well be fine (behaviour F17)."

RELOADED_S = 30.0
"How long a page that was reloaded may take to offer: its person may be asked for the microphone."

HISTORY = frozenset({"ladder", "digit"})
"Of what was told before a reload: all else is in the snapshot of the call."

OVERTAKEN = frozenset({"offer"})
"Never said again: where a restart is still needed, it is offered anew."

Send = Callable[[Message], None]


class PageNode(Protocol):
    """What signalling asks of the node."""

    version: str

    @property
    def name(self) -> str:
        """Tokens begin with it, as all ids do."""

    def call_from_page(self, to: str, offer: str, name: str, send: Send) -> tuple[BrowserLeg, Call]:
        """Place a call for a page.

        Raises:
            GatewayError: no route, no common codec, no room; nothing was placed.
        """

    def observe(self, observer: Callable[[CallEvent], None]) -> Callable[[], None]: ...


class Page:
    """One page, from its first socket until it is given up."""

    def __init__(
        self, node: PageNode, watch: CallWatch, *, on_over: Callable[[Page], None]
    ) -> None:
        """
        Args:
            watch: brings the events of its calls.
            on_over: is called once the page is gone for good.
        """
        self.heard = 0
        "The page's count of the last message of it that was done."
        self._node = node
        self._watch = watch
        self._on_over = on_over
        self._loop = asyncio.get_running_loop()
        self._calls: dict[str, PageCall] = {}
        self._outbox: Outbox[Message] | None = None
        self._told: deque[Message] = deque(maxlen=KEPT_MESSAGES)
        self._told_count = 0
        self._grace: asyncio.TimerHandle | None = None

    @property
    def told(self) -> int:
        """Our count of the last message that it was told."""
        return self._told_count

    # ---- its sockets

    def attach(self, outbox: Outbox[Message]) -> None:
        """Be told things there from now on; a socket it had before is let go."""
        if self._outbox is not None:
            self._outbox.end(1000, "this page has another socket now")
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        self._outbox = outbox

    def detach(self, outbox: Outbox[Message]) -> None:
        """That socket has ended. If the page has no other, its calls wait for it a while."""
        if outbox is not self._outbox:
            return
        self._outbox = None
        for entry in self._calls.values():
            entry.away(LOST_S)
        waiting = [str(entry.call_id) for entry in self._calls.values() if not entry.is_ended]
        if waiting:
            log.info("a page is away: %s may go on for %d s", ", ".join(waiting), LOST_S)
        if any(not entry.is_settled for entry in self._calls.values()):
            self._grace = self._loop.call_later(LOST_S + 1, self.give_up)
        else:
            self.give_up()

    def give_up(self) -> None:
        """The page will not come back; nobody is told anything any more."""
        self._outbox = None
        for entry in self._calls.values():
            if not entry.is_ended:
                entry.leg.leave()
            self._watch.forget(entry)
        self._on_over(self)

    def missed(self, seen: int | None) -> list[Message]:
        """What a page that is back has to hear, in order.

        Args:
            seen: our count of the last message it has had; None: it was reloaded, and hears what
                was before without a count.
        """
        if seen is None:
            history = (message for message in self._told if message["type"] in HISTORY)
            return [{key: message[key] for key in message if key != "n"} for message in history]
        return [
            message
            for message in self._told
            if message["n"] > seen and message["type"] not in OVERTAKEN
        ]

    def welcome(self, *, is_reloaded: bool) -> None:
        """The page is back: its calls wait no more, or for what a reload takes."""
        if self._calls:
            log.info("a page is back%s", ", reloaded" if is_reloaded else "")
        if is_reloaded:
            self.heard = 0
        for entry in list(self._calls.values()):
            if entry.is_ended:
                continue
            if is_reloaded:
                entry.reloaded(RELOADED_S)
            else:
                entry.back()

    def snapshots(self) -> list[Message]:
        """How its calls stand."""
        return [entry.snapshot() for entry in self._calls.values() if not entry.is_ended]

    # ---- what the page says

    def take(self, message: PageMessage) -> None:
        """One message. What is wrong with it is told to the page; nothing is raised."""
        count = message.n
        if count is None or count > self.heard:
            self._take(message)
        if count is not None:
            self.heard = max(self.heard, count)
            self._say({"type": "ack", "n": count})

    def _take(self, message: PageMessage) -> None:
        name = getattr(message, "call", None)
        try:
            self._on_message(message)
        except GatewayError as error:
            self.refuse("refused", str(error), name)
        except Exception:
            # A bug of ours on one message: its page is told, and its other calls go on.
            log.exception("a page's message broke")
            self.refuse("gateway-error", "The gateway broke on this message", name)

    def _on_message(self, message: PageMessage) -> None:
        match message:
            case Place():
                self._place(message)
            case Ping():
                self._say({"type": "pong"})
            case Leaving():
                for entry in list(self._calls.values()):
                    entry.leaving(LEAVING_S)
            case (
                Accept() | Offer() | Answer() | Resume() | Decline() | Candidate() | Digit() | Bye()
            ):
                known = self._calls.get(message.call)
                if known is None or known.is_ended:
                    self.refuse("unknown-call", "There is no such call", message.call)
                elif isinstance(message, Accept | Offer | Resume):
                    known.take_offer(message.type, message.sdp)
                else:
                    known.was_left = isinstance(message, Bye | Decline)
                    _do(known.leg, message)
            case _:
                self.refuse("attach-late", "Say this first of all on a socket", None)

    def _place(self, message: Place) -> None:
        name = message.call
        known = self._calls.get(name)
        if known is not None and not known.is_ended:
            if known.offered == (message.type, message.sdp):
                known.take_offer(message.type, message.sdp)
            else:
                self.refuse("call-exists", "There is a call of this name already", name)
            return
        self._drop_ended()
        if len(self._calls) >= MAX_CALLS_PER_PAGE:
            self.refuse("too-many-calls", f"At most {MAX_CALLS_PER_PAGE} calls at a time", name)
            return
        entry = self._calls[name] = PageCall(name, message.to, tell=self.tell, report=self._say)
        entry.offered = (message.type, message.sdp)
        try:
            with self._watch.placing(entry):
                entry.begin(*self._node.call_from_page(message.to, message.sdp, name, entry.send))
        except GatewayError as error:
            del self._calls[name]
            self.tell(_ended_before_it_began(name, error))
        except Exception:
            # A bug of ours: the page must not wait for an answer that will not come.
            log.exception("a page's call could not be placed")
            del self._calls[name]
            self.tell(_ended_before_it_began(name, GatewayError("The gateway broke on this call")))

    def _drop_ended(self) -> None:
        """Calls that are over are shown until there is another."""
        for name, entry in list(self._calls.items()):
            if entry.is_ended:
                self._watch.forget(entry)
                del self._calls[name]

    # ---- who calls the page

    def ring(self, name: str, place: Callable[[Send], tuple[BrowserLeg, Call]]) -> None:
        """Let a call ring on this page.

        Args:
            name: of the call, unlike all others of this page.
            place: makes a leg that speaks through what it is given, and has it dialled.

        Raises:
            GatewayError: it could not be placed.
        """
        self._drop_ended()
        assert name not in self._calls
        entry = self._calls[name] = PageCall(
            name, "", tell=self.tell, report=self._say, is_incoming=True
        )
        try:
            with self._watch.placing(entry):
                entry.begin(*place(entry.send))
        except Exception:  # whatever it is, it is the caller's to tell: here it leaves no entry
            del self._calls[name]
            raise

    # ---- what the page is told

    def tell(self, message: Message) -> None:
        """What it must hear: counted, and kept for when it comes back."""
        self._told_count += 1
        counted = {**message, "n": self._told_count}
        self._told.append(counted)
        self._say(counted)

    def refuse(self, code: str, text: str, call: str | None) -> None:
        """A message could not be done."""
        self._say({"type": "error", "call": call, "code": code, "text": text})

    def _say(self, message: Message) -> None:
        if self._outbox is not None:
            self._outbox.put(message)


def _do(leg: BrowserLeg, message: Answer | Decline | Candidate | Digit | Bye) -> None:
    match message:
        case Bye():
            leg.hang_up()
        case Candidate():
            leg.add_candidate(message.candidate, message.ufrag)
        case Digit():
            leg.press(message.digit, message.duration_ms)
        case Decline():
            leg.decline()
        case Answer():
            leg.take_answer(message.sdp)


def _ended_before_it_began(name: str, error: GatewayError) -> dict[str, Any]:
    return {
        "type": "ended",
        "call": name,
        "reason": reason_of_error(error).value,
        "status": error.status,
        "text": str(error),
        "fault": error.fault.value,
    }

"""One call of a page, from its first word to its last, whatever becomes of the page meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.api.quality import mos_now
from gateway.call.call import Call, Party, PartyState
from gateway.call.events import CallEvent, CallId
from gateway.leg.browser import BrowserLeg
from gateway.leg.leg import MediaQuality, Role
from gateway.observe.ladder import Ladder

QUALITY_EVERY_S = 2.0

Message = dict[str, Any]


class PageCall:
    """One call of a page."""

    def __init__(
        self,
        name: str,
        to: str,
        *,
        tell: Callable[[Message], None],
        report: Callable[[Message], None],
        is_incoming: bool = False,
    ) -> None:
        """
        Args:
            name: the page's own, or ours where it is called.
            to: what the page called; empty where it is called.
            tell: takes what the page must be told, now or when it is back.
            report: takes what is told only while the page is there.
        """
        self.name = name
        self.to = to
        self.is_ended = False
        self.was_left = False
        "Whether the page itself has ended it."
        self.offered: tuple[str, str] | None = None
        "Kind and SDP of the last offer that was answered: said again, it is the same request."
        self._tell = tell
        self._report = report
        self._is_incoming = is_incoming
        self._loop = asyncio.get_running_loop()
        self._held: list[Message] | None = []
        "What the leg says before it is sure that there will be a call."
        self._early: list[CallEvent] = []
        self._leg: BrowserLeg | None = None
        self._call: Call | None = None
        self._ladder: Ladder | None = None
        self._hold: tuple[str, str] | None = None
        "What the page was told last: who is on hold, and by whom."
        self._answer: Message | None = None
        self._progress: Message = {"state": "incoming" if is_incoming else "connecting"}
        self._answered_at: float | None = None
        self._is_away = False
        self._quality: asyncio.TimerHandle | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the page has nothing more to hear of it that matters."""
        return self.is_ended and self.was_left

    @property
    def leg(self) -> BrowserLeg:
        assert self._leg is not None, "a call is known by its name once it was begun"
        return self._leg

    @property
    def call_id(self) -> CallId | None:
        """Which call it is; None: none yet."""
        return None if self._call is None else self._call.id

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

    def send(self, message: Message) -> None:
        """The leg has something to say to the page."""
        if self._held is not None:
            self._held.append(message)
            return
        self._note(message)
        self._tell({**message, "call": self.name})
        if message["type"] == "answered":
            self.report_quality()
        elif message["type"] == "ended":
            # The last rungs of the ladder may still come.
            self.is_ended = True
            _stop(self._quality)

    def _note(self, message: Message) -> None:
        """Keep what a page that was reloaded has to know."""
        match message["type"]:
            case "answer":
                self._answer = message
            case "progress" if self._answered_at is None:
                is_ringing = message["status"] == 180
                state = "ringing" if is_ringing else self._progress["state"]
                if message["early_media"]:
                    state = "early-media"
                told = {key: message[key] for key in ("status", "reason")}
                self._progress = {"state": state, **told}
            case "answered" if self._answered_at is None:
                self._answered_at = self._loop.time()
                self._progress = {"state": "in-call"}

    # ---- what the page says

    def take_offer(self, kind: str, sdp: str) -> None:
        """An offer within the call; one that was answered already is answered again.

        Args:
            kind: accept, a call that rings; offer, a change; resume, after a reload.

        Raises:
            GatewayError: it cannot be used, or not now. The call goes on as it was.
        """
        if self._repeats(kind, sdp):
            return
        match kind:
            case "accept":
                self._accept(sdp)
            case "offer":
                self._answer_with(self.leg.reoffer(sdp))
            case "resume":
                self._answer_with(self.leg.resume(sdp, self.send))
        self.offered = kind, sdp

    def _repeats(self, kind: str, sdp: str) -> bool:
        if self._answer is None or self.offered != (kind, sdp):
            return False
        self._tell({**self._answer, "call": self.name})
        return True

    def _accept(self, sdp: str) -> None:
        self.leg.accept(sdp)
        assert self._call is not None
        party = self._call.parties.get(self.leg.id)
        if party is not None and party.role is not Role.CALLER:
            # Who was called talks from now on; a caller that was rung first yet waits for others.
            self.leg.answer()

    def _answer_with(self, sdp: str) -> None:
        assert self._call is not None
        self.send({"type": "answer", "id": self._call.id, "sdp": sdp})

    # ---- where the page is

    def away(self, seconds: float) -> None:
        """The page's socket is gone: so long it may come back, and its media may well be fine.

        Of two such times the one that ends first counts.
        """
        self._is_away = True
        _stop(self._quality)
        self.leaving(seconds)

    def leaving(self, seconds: float) -> None:
        """The page says that it is left, or reloaded: so long it may come back."""
        if not self.is_ended:
            self.leg.await_return(seconds)

    def back(self) -> None:
        """The page is there, and has its peer connection."""
        self._is_away = False
        self.leg.rebind(self.send)
        self.report_quality()

    def reloaded(self, seconds: float) -> None:
        """The page is there without its peer connection: so long it may take to make another."""
        self.back()
        if self._answer is not None:  # a call that still rings needs none
            self.leaving(seconds)

    # ---- what the page is told

    def snapshot(self) -> Message:
        """How the call stands, for a page that was reloaded."""
        assert self._call is not None
        since = self._answered_at
        who, by = self._hold or (None, None)
        return {
            "call": self.name,
            "id": self._call.id,
            "to": self.to,
            "direction": "in" if self._is_incoming else "out",
            "answered_ms": None if since is None else round(1000 * (self._loop.time() - since)),
            "held": None if self._hold is None else {"who": who, "by": by},
            **self._progress,
        }

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
        _stop(self._quality)
        if self.is_ended or self._is_away or self._call is None:
            return
        self._quality = self._loop.call_later(QUALITY_EVERY_S, self.report_quality)
        legs = {
            "browser" if party.leg is self._leg else "peer": _quality(party.leg.quality())
            for party in self._call.heard_parties()
            if party.leg is self._leg or not party.is_guest
        }
        self._report({"type": "quality", "call": self.name, "legs": legs})


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


def _hold_of(party: Party | None, call: Call) -> tuple[str, str] | None:
    """Who of a page's call is on hold, and by whom. None: nobody, or the page is in another."""
    if party is None:
        return None
    if party.hears_music:
        return "you", "gateway"
    present = [each for each in call.parties.values() if each.state is PartyState.UP]
    others = [each for each in present if each is not party and each.is_open_to(party)]
    if others and all(other.held is not None for other in others):
        return "you", "far-end"
    if others and all(other.is_on_hold for other in others):
        return "far-end", "gateway"
    return None


def _quality(quality: MediaQuality) -> Message:
    return {
        "codec": quality.codec,
        "rtt_ms": quality.round_trip_ms,
        "jitter_ms": quality.jitter_ms,
        "loss_percent": quality.loss_percent,
        "mos": mos_now(quality),
        "alerts": [
            {"alert": each.alert.value, "direction": each.way.value} for each in quality.alerts
        ],
    }

"""BrowserLeg: a page as a party of a call. JSON for its signalling, WebRTC for its media.

The page offers and we answer, also where the call goes toward the page: `incoming` makes it
offer. Our answer is complete at once; the page may trickle its candidates.

While the call lasts either may offer again: the page when its network changes (`reoffer`), we when
its path is lost (`restart`). A page that was reloaded takes its call over (`resume`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gateway.agents.event import AgentEvent, ToolDone
from gateway.codec import Codec
from gateway.errors import RemoteProtocolError
from gateway.leg.absence import Absence
from gateway.leg.keys import Keys
from gateway.leg.leg import (
    Answered,
    Ended,
    EndReason,
    Gone,
    LegEvent,
    LegId,
    LegKind,
    MediaChanged,
    MediaQuality,
    Phase,
    Progressed,
    Signalled,
)
from gateway.leg.offers import PageOffers
from gateway.leg.path_state import PathState
from gateway.leg.stream import AudioStream
from gateway.media.frame import AudioFrame
from gateway.net.media import MediaTransport, TransportState
from gateway.sdp.description import Direction
from gateway.sdp.negotiation import Agreement
from gateway.sip.uri import Uri

Send = Callable[[dict[str, Any]], None]

LAST_WORD_S = 0.25
"""A page that hangs up says `bye` and closes its connection, which may be heard first, by UDP: so
long its word is waited for."""


class BrowserLeg:
    """One page in one call."""

    kind = LegKind.BROWSER
    can_refer = False
    dialog = None
    playout = None

    def __init__(
        self,
        leg_id: LegId,
        *,
        stream: AudioStream,
        codecs: Sequence[Codec],
        session_id: str,
        send: Send,
        new_transport: Callable[[], MediaTransport],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """
        Args:
            codecs: what it may speak, in our order.
            session_id: digits for the o= line of our descriptions.
            send: takes messages for the page; `call` is added there.
            new_transport: makes what carries the media of a page that was reloaded.
        """
        self.id = leg_id
        self.listener = stream
        self._stream = stream
        self._offers = PageOffers(codecs, session_id)
        self._send = send
        self._new_transport = new_transport
        self._loop = loop
        self._told: list[LegEvent] = []
        self._on_event: Callable[[LegEvent], None] | None = None
        self._has_ended = False
        self._is_dialled = False
        self._is_closed = False  # its media, by the page
        self._absence = Absence(loop, on_over=self.leave)
        self._path = PathState(loop, tell=self._tell, restart=self.restart)
        self._keys = Keys(stream, tell=self._tell, loop=loop)
        stream.transport.on_state = self._on_state
        stream.on_alert = self._tell

    @property
    def agreement(self) -> Agreement | None:
        """What offer and answer settled; None before the first."""
        return self._offers.agreement

    @property
    def on_event(self) -> Callable[[LegEvent], None]:
        """Where events go. What was told before anybody listened is told at once."""
        return self._tell if self._on_event is None else self._on_event

    @on_event.setter
    def on_event(self, listener: Callable[[LegEvent], None]) -> None:
        self._on_event = listener
        told, self._told = self._told, []
        for event in told:
            listener(event)

    @property
    def on_frame(self) -> Callable[[AudioFrame], None]:
        """Where what the person says goes."""
        return self._stream.on_frame

    @on_frame.setter
    def on_frame(self, push: Callable[[AudioFrame], None]) -> None:
        self._stream.on_frame = push

    # ---- what the page says

    def take_offer(self, offer: str) -> None:
        """Negotiate the page's first offer; `announce` then sends the answer.

        Raises:
            RemoteProtocolError: it is not SDP, or lacks ICE or DTLS.
            NegotiationError: no common codec.
        """
        self._answer(offer)

    def announce(self, call_id: str) -> None:
        """Send the answer to the page."""
        if not self._has_ended:
            self._send({"type": "answer", "id": call_id, "sdp": self._offers.described})

    def reoffer(self, offer: str) -> str:
        """Take a later offer of the same page: an ICE restart, or whatever else it changes.

        New ICE credentials begin a restart under the same DTLS and SRTP, at any time, also while
        it rings. The same offer again gets the same answer. An offer of ours that is still open
        is withdrawn: the page's counts.

        Returns:
            The answer, to be sent to the page.

        Raises:
            RemoteProtocolError: it is not SDP, or lacks ICE or DTLS, or comes before the first.
            NegotiationError: no common codec. The call goes on as it was.
        """
        if self.agreement is None or self._has_ended:
            raise RemoteProtocolError("there is no session that this offer could change")
        return self._answer(offer)

    def take_answer(self, answer: str) -> None:
        """Take the page's answer to an offer of ours; one that nothing waits for is ignored.

        Raises:
            RemoteProtocolError: it is not SDP.
            NegotiationError: it does not fit our offer. The call goes on as it was.
        """
        before = self.agreement
        if not self._has_ended and self._offers.take_answer(answer, self._stream.transport):
            self._configure(before)
            self._tell(Signalled(sent=False, text="answer"))

    def await_return(self, within_s: float) -> None:
        """The page is away, by its own word or without one: it has so long to come back.

        Meanwhile the call goes on, as does its media while there is a path; the others hear
        comfort noise when there is none. Unless `rebind` or `resume` comes first, the leg then
        ends as LEFT. Called again, the earlier moment counts.
        """
        if not self._has_ended:
            self._absence.begin(within_s)

    def rebind(self, send: Send) -> None:
        """The same page is back with another socket, its media untouched: `send` goes to it."""
        if self._has_ended:
            return
        self._send = send
        self._absence.end()
        if self._path.is_disturbed:
            self.restart()

    def resume(self, offer: str, send: Send) -> str:
        """A page that was reloaded takes the call over: new ICE and DTLS, everything else stays.

        The stream goes on over a new transport, with its SSRC and numbering on both sides of us;
        no other leg is told anything. From here on messages go to `send`.

        Returns:
            The answer, to be sent to the page. `Restored` is told when its media is there.

        Raises:
            RemoteProtocolError: it is not SDP, or lacks ICE or DTLS, or the leg has ended.
            NegotiationError: no common codec. Nothing has changed then.
        """
        if self.agreement is None or self._has_ended:
            raise RemoteProtocolError("there is no call to resume")
        transport, before = self._new_transport(), self.agreement
        answer = self._offers.answer_anew(offer, transport)
        self._send = send
        self._absence.end()
        self._path.stop()
        self._path.disturb()
        self._stream.attach(transport)
        self._is_closed = False
        transport.on_state = self._on_state
        self._told_offer(before)
        return answer

    def add_candidate(self, candidate: str, ufrag: str | None) -> None:
        """One trickled candidate of the page."""
        if candidate and not self._has_ended:
            self._stream.transport.add_candidate(candidate, ufrag)

    def accept(self, offer: str) -> None:
        """The page takes the call that it was offered."""
        if self.agreement is not None or not self._is_dialled or self._has_ended:
            raise RemoteProtocolError("this call is not waiting to be accepted")
        self.take_offer(offer)
        self.announce(self.id)
        self._tell(Answered())
        self._stream.begin()

    def decline(self) -> None:
        """The page turns the call down."""
        self._leave(EndReason.DECLINED, 603)

    def hang_up(self) -> None:
        """The person hangs up."""
        self._tell(Signalled(sent=False, text="bye"))
        self._leave(EndReason.HANGUP)

    def leave(self) -> None:
        """The page is gone, or will be."""
        self._leave(EndReason.LEFT)

    def press(self, digit: str, duration_ms: int) -> None:
        """A key press of a browser that cannot send telephone-event."""
        self._keys.on_info(digit, duration_ms, self._loop.time())

    # ---- commands

    def dial(self) -> None:
        """Ring the page."""
        self._is_dialled = True
        self._signal("incoming", {})
        self._loop.call_soon(self._tell, Progressed(180, "Ringing"))

    def progress(self, *, ringing: bool, early_media: bool) -> None:
        status, reason = (180, "Ringing") if ringing else (183, "Session Progress")
        told = {"status": status, "reason": reason, "early_media": early_media}
        self._signal("progress", told)

    def answer(self) -> None:
        self._stream.begin()
        self._signal("answered", {"codec": {"browser": self.quality().codec}})

    def digit(self, digit: str, phase: Phase, duration_ms: int = 0) -> None:
        self._keys.press(digit, phase, duration_ms)
        self._send({"type": "digit", "digit": digit, "phase": phase.value})

    def hold(self, direction: Direction) -> None:
        """The page hears by itself that it hears music."""

    def refer(self, target: Uri, replaces: str | None = None) -> None:
        """A page cannot be asked: see `can_refer`."""

    def transfer_progress(self, status: int) -> None:
        """A page asks for no transfers by itself."""

    def tool_done(self, done: ToolDone) -> None:
        """A page uses no tools of agents."""

    def inform(self, event: AgentEvent) -> None:
        """A page learns of its call by its own messages."""

    def restart(self) -> None:
        """Offer the page an ICE restart: `{"type": "offer", "sdp": …}`, answered by `take_answer`.

        An offer that is still open is sent again, as it is. None goes to a page that has closed
        its media: it can only `resume`.
        """
        if self.agreement is not None and not (self._has_ended or self._is_closed):
            offer = self._offers.offer_restart(self._stream.transport)
            self._signal("offer", {"sdp": offer})

    def stop_media(self) -> None:
        self._stream.stop_sending()

    def end(self, reason: EndReason, status: int = 0, text: str = "") -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._tell(Signalled(sent=True, text="ended"))
        self._close(reason, status, text)

    def quality(self) -> MediaQuality:
        return self._keys.report(self._stream.quality())

    # ---- inside

    def _answer(self, offer: str) -> str:
        before = self.agreement
        answer = self._offers.answer(offer, self._stream.transport)
        self._told_offer(before)
        return answer

    def _told_offer(self, before: Agreement | None) -> None:
        """An offer was taken and answered."""
        self._configure(before)
        self._tell(Signalled(sent=False, text="offer"))
        self._tell(Signalled(sent=True, text="answer"))

    def _configure(self, before: Agreement | None) -> None:
        """Speak as is agreed on now; the hub looks again where that has changed."""
        agreement = self.agreement
        assert agreement is not None
        if before == agreement:
            return
        self._stream.configure(agreement)
        if before is not None:
            self._tell(MediaChanged())

    def _leave(self, reason: EndReason, status: int = 0) -> None:
        """The page leaves by its own doing."""
        if self._has_ended:
            return
        self._has_ended = True
        self._pass_on(Ended(reason, status))
        self._close(reason, status, "")

    def _close(self, reason: EndReason, status: int, text: str) -> None:
        self._send(
            {
                "type": "ended",
                "reason": reason.value,
                "status": status or reason.status,
                "text": text,
                "fault": reason.fault.value,
            }
        )
        self._absence.end()
        self._path.stop()
        self._keys.close()
        self._stream.close()
        self._loop.call_soon(self._tell, Gone())

    def _signal(self, kind: str, told: dict[str, Any]) -> None:
        self._send({"type": kind, **told})
        self._tell(Signalled(sent=True, text=_rung(kind, told)))

    def _on_state(self, state: TransportState) -> None:
        self._stream.on_state(state)
        match state:
            case TransportState.CONNECTED:
                self._path.connect()
            case TransportState.DISCONNECTED:
                self._path.disturb()
                self._path.keep_restarting()
            case TransportState.FAILED if self._path.was_connected:
                self._leave(EndReason.ICE_CONSENT)
            case TransportState.FAILED:
                self._leave(EndReason.PATH_LOST)
            case TransportState.CLOSED:
                self._is_closed = True
                self._path.stop()
                self._loop.call_later(
                    LAST_WORD_S, self._leave_unless_awaited, self._stream.transport
                )

    def _leave_unless_awaited(self, closed: MediaTransport) -> None:
        """The page closed its media, and has had time for a last word."""
        if self._stream.transport is not closed:
            return  # it has come back already
        if self._absence.is_on:
            self._path.disturb()
        else:
            self.leave()

    def _tell(self, event: LegEvent) -> None:
        if not self._has_ended or isinstance(event, Gone | Signalled):
            self._pass_on(event)

    def _pass_on(self, event: LegEvent) -> None:
        if self._on_event is None:
            self._told.append(event)
        else:
            self._on_event(event)


def _rung(kind: str, told: dict[str, Any]) -> str:
    status = told.get("status")
    return kind if status is None else f"{kind} {status}"

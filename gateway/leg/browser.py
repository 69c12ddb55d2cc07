"""BrowserLeg: a page as a party of a call. JSON for its signalling, WebRTC for its media.

The page always offers and we always answer, also where the call goes toward the page: `incoming`
makes it offer. Our answer is complete at once; the page may trickle its candidates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gateway.codec import Codec
from gateway.errors import RemoteProtocolError
from gateway.leg.leg import (
    Answered,
    DigitPressed,
    Disturbed,
    Ended,
    EndReason,
    Established,
    Gone,
    LegEvent,
    LegId,
    LegKind,
    MediaQuality,
    Phase,
    Progressed,
    Restored,
    Signalled,
)
from gateway.leg.stream import AudioStream
from gateway.media.frame import AudioFrame
from gateway.net.media import TransportState
from gateway.sdp.choice import Preference
from gateway.sdp.description import Direction, Keying, MediaDescription, Origin, parse_sdp
from gateway.sdp.negotiation import Agreement, answer_offer, find_audio
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
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """
        Args:
            codecs: what it may speak, in our order.
            session_id: digits for the o= line of our answers.
            send: takes messages for the page; `call` is added there.
        """
        self.id = leg_id
        self.listener = stream
        self.agreement: Agreement | None = None
        self._stream = stream
        self._codecs = codecs
        self._session_id = session_id
        self._send = send
        self._loop = loop
        self._told: list[LegEvent] = []
        self._on_event: Callable[[LegEvent], None] | None = None
        self._answer = ""
        self._has_ended = False
        self._is_dialled = False
        self._was_connected = False
        stream.on_digit = self._tell
        stream.transport.on_state = self._on_state

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
        """Negotiate the page's offer; `announce` then sends the answer.

        Raises:
            RemoteProtocolError: it is not SDP, or lacks ICE or DTLS.
            NegotiationError: no common codec.
        """
        described = parse_sdp(offer)
        index = find_audio(described, codecs=self._codecs, keying=Keying.DTLS)
        transport = self._stream.transport
        transport.accept(described.media[index])
        answer, self.agreement = answer_offer(
            described,
            media=transport.describe(MediaDescription(rtcp_mux=True, rtcp_rsize=True)),
            codecs=self._codecs,
            origin=Origin(self._session_id, 1, "127.0.0.1"),
            prefer=Preference.OURS,
        )
        self._answer = str(answer)
        self._stream.configure(self.agreement)
        self._tell(Signalled(sent=False, text="offer"))
        self._tell(Signalled(sent=True, text="answer"))

    def announce(self, call_id: str) -> None:
        """Send the answer to the page."""
        if not self._has_ended:
            self._send({"type": "answer", "id": call_id, "sdp": self._answer})

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
        self._tell(DigitPressed(digit, Phase.START))
        self._loop.call_later(
            duration_ms / 1000, self._tell, DigitPressed(digit, Phase.END, duration_ms)
        )

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
        self._signal("answered", {"codec": {"browser": self.quality().codec}})

    def digit(self, digit: str, phase: Phase, duration_ms: int = 0) -> None:
        self._stream.digit(digit, phase, duration_ms)
        self._send({"type": "digit", "digit": digit, "phase": phase.value})

    def hold(self, direction: Direction) -> None:
        """The page hears by itself that it hears music."""

    def refer(self, target: Uri, replaces: str | None = None) -> None:
        """A page cannot be asked: see `can_refer`."""

    def transfer_progress(self, status: int) -> None:
        """A page asks for no transfers by itself."""

    def stop_media(self) -> None:
        self._stream.stop_sending()

    def end(self, reason: EndReason, status: int = 0, text: str = "") -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._tell(Signalled(sent=True, text="ended"))
        self._close(reason, status, text)

    def quality(self) -> MediaQuality:
        return self._stream.quality()

    # ---- inside

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
        self._stream.close()
        self._loop.call_soon(self._tell, Gone())

    def _signal(self, kind: str, told: dict[str, Any]) -> None:
        self._send({"type": kind, **told})
        self._tell(Signalled(sent=True, text=_rung(kind, told)))

    def _on_state(self, state: TransportState) -> None:
        self._stream.on_state(state)
        match state:
            case TransportState.CONNECTED:
                self._tell(Restored() if self._was_connected else Established())
                self._was_connected = True
            case TransportState.DISCONNECTED:
                self._tell(Disturbed())
            case TransportState.FAILED:
                self._leave(EndReason.PATH_LOST)
            case TransportState.CLOSED:
                self._loop.call_later(LAST_WORD_S, self._leave, EndReason.LEFT)

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

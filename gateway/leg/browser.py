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

from gateway.codec import Codec
from gateway.errors import GatewayError, RemoteProtocolError
from gateway.leg.keys import Keys
from gateway.leg.leg import (
    Answered,
    Disturbed,
    Ended,
    EndReason,
    Established,
    Gone,
    LegEvent,
    LegId,
    LegKind,
    MediaChanged,
    MediaQuality,
    Phase,
    Progressed,
    Restored,
    Signalled,
)
from gateway.leg.stream import AudioStream
from gateway.media.frame import AudioFrame
from gateway.net.media import MediaTransport, TransportState
from gateway.sdp.choice import Preference
from gateway.sdp.description import (
    Direction,
    Keying,
    MediaDescription,
    Origin,
    SessionDescription,
    parse_sdp,
)
from gateway.sdp.negotiation import (
    Agreement,
    accept_answer,
    answer_offer,
    build_offer,
    find_audio,
)
from gateway.sip.uri import Uri

Send = Callable[[dict[str, Any]], None]

LAST_WORD_S = 0.25
"""A page that hangs up says `bye` and closes its connection, which may be heard first, by UDP: so
long its word is waited for."""

RESTART_EVERY_S = 5.0
"""While its path is lost a page is offered an ICE restart this often, should one have got lost or
come before the browser had seen its new network."""


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
        self.agreement: Agreement | None = None
        self._stream = stream
        self._codecs = codecs
        self._session_id = session_id
        self._send = send
        self._new_transport = new_transport
        self._loop = loop
        self._told: list[LegEvent] = []
        self._on_event: Callable[[LegEvent], None] | None = None
        self._described: SessionDescription | None = None
        "What we sent last, offer or answer."
        self._offered: SessionDescription | None = None
        "Our offer that is not answered yet."
        self._has_ended = False
        self._is_dialled = False
        self._was_connected = False
        self._is_disturbed = False
        self._return: asyncio.TimerHandle | None = None
        "Runs while the page is away and may come back."
        self._return_by = 0.0
        self._restart: asyncio.TimerHandle | None = None
        self._keys = Keys(stream, tell=self._tell, loop=loop)
        stream.transport.on_state = self._on_state
        stream.on_alert = self._tell

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
        self._negotiate(offer, self._stream.transport)

    def announce(self, call_id: str) -> None:
        """Send the answer to the page."""
        if not self._has_ended:
            self._send({"type": "answer", "id": call_id, "sdp": str(self._described)})

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
        return self._negotiate(offer, self._stream.transport)

    def take_answer(self, answer: str) -> None:
        """Take the page's answer to an offer of ours; one that nothing waits for is ignored.

        Raises:
            RemoteProtocolError: it is not SDP.
            NegotiationError: it does not fit our offer. The call goes on as it was.
        """
        offered = self._offered
        if offered is None or self._has_ended:
            return
        described = parse_sdp(answer)
        agreement = accept_answer(offered, described)
        self._stream.transport.accept(described.media[agreement.index])
        self._offered = None
        self._agree(agreement)
        self._tell(Signalled(sent=False, text="answer"))

    def await_return(self, within_s: float) -> None:
        """The page is away, by its own word or without one: it has so long to come back.

        Meanwhile the call goes on, as does its media while there is a path; the others hear
        comfort noise when there is none. Unless `rebind` or `resume` comes first, the leg then
        ends as LEFT. Called again, the earlier moment counts.
        """
        ends_at = self._loop.time() + within_s
        if self._has_ended or (self._return is not None and self._return_by <= ends_at):
            return
        self._welcome()
        self._return_by = ends_at
        self._return = self._loop.call_at(ends_at, self.leave)

    def rebind(self, send: Send) -> None:
        """The same page is back with another socket, its media untouched: `send` goes to it."""
        if self._has_ended:
            return
        self._send = send
        self._welcome()
        if self._is_disturbed:
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
        transport = self._new_transport()
        before, self._described = self._described, None  # another peer connection, other sections
        try:
            answer = self._negotiate(offer, transport)
        except GatewayError:
            self._described = before
            transport.close()
            raise
        self._send = send
        self._welcome()
        self._stop_restarting()
        self._disturb()
        self._stream.attach(transport)
        transport.on_state = self._on_state
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

    def restart(self) -> None:
        """Offer the page an ICE restart: `{"type": "offer", "sdp": …}`, answered by `take_answer`.

        An offer that is still open is sent again, as it is.
        """
        if self._has_ended or self.agreement is None or self._described is None:
            return
        if self._offered is None:
            wanted = MediaDescription(rtcp_mux=True, rtcp_rsize=True)
            self._offered = self._described = build_offer(
                self._stream.transport.describe(wanted, restart=True),
                codecs=self.agreement.receive,
                origin=self._described.origin,
                previous=self._described,
            )
        self._signal("offer", {"sdp": str(self._offered)})

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

    def _negotiate(self, offer: str, transport: MediaTransport) -> str:
        """Answer an offer of the page with `transport` at our end."""
        described = parse_sdp(offer)
        index = find_audio(described, codecs=self._codecs, keying=Keying.DTLS)
        transport.accept(described.media[index])
        answer, agreement = answer_offer(
            described,
            media=transport.describe(MediaDescription(rtcp_mux=True, rtcp_rsize=True)),
            codecs=self._codecs,
            origin=Origin(self._session_id, 1, "127.0.0.1"),
            previous=self._described,
            prefer=Preference.OURS,
        )
        self._described, self._offered = answer, None
        self._agree(agreement)
        self._tell(Signalled(sent=False, text="offer"))
        self._tell(Signalled(sent=True, text="answer"))
        return str(answer)

    def _agree(self, agreement: Agreement) -> None:
        """Speak as was agreed on; the hub looks again where the codec has changed."""
        before, self.agreement = self.agreement, agreement
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
        self._welcome()
        self._stop_restarting()
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
                self._connect()
            case TransportState.DISCONNECTED:
                self._disturb()
                self._keep_restarting()
            case TransportState.FAILED if self._was_connected:
                self._leave(EndReason.ICE_CONSENT)
            case TransportState.FAILED:
                self._leave(EndReason.PATH_LOST)
            case TransportState.CLOSED:
                self._loop.call_later(
                    LAST_WORD_S, self._leave_unless_awaited, self._stream.transport
                )

    def _connect(self) -> None:
        self._stop_restarting()
        if not self._was_connected:
            self._was_connected = True
            self._tell(Established())
        elif self._is_disturbed:
            self._is_disturbed = False
            self._tell(Restored())

    def _disturb(self) -> None:
        if self._was_connected and not self._is_disturbed:
            self._is_disturbed = True
            self._tell(Disturbed())

    def _keep_restarting(self) -> None:
        """Offer restarts until the path is back."""
        if self._has_ended or self._stream.is_connected:
            return
        self._restart = self._loop.call_later(RESTART_EVERY_S, self._keep_restarting)
        self.restart()

    def _stop_restarting(self) -> None:
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None

    def _welcome(self) -> None:
        """The page is away no more."""
        if self._return is not None:
            self._return.cancel()
            self._return = None

    def _leave_unless_awaited(self, closed: MediaTransport) -> None:
        """The page closed its media, and has had time for a last word."""
        if self._stream.transport is not closed:
            return  # it has come back already
        if self._return is None:
            self.leave()
        else:
            self._disturb()

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

"""SipLeg: a carrier, a PBX or a phone as a party of a call. An INVITE session and its stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from gateway.codec import Codec
from gateway.errors import GatewayError
from gateway.leg.info import read_press
from gateway.leg.leg import (
    Answered,
    DigitPressed,
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
    Signalled,
    reason_of_error,
    reason_of_status,
)
from gateway.leg.stream import AudioStream
from gateway.media.frame import AudioFrame
from gateway.net.driver import Driver
from gateway.sdp.description import (
    Keying,
    MediaDescription,
    Origin,
    SessionDescription,
    parse_sdp,
)
from gateway.sdp.negotiation import accept_answer, answer_offer, build_offer, find_audio
from gateway.sdp.target import check_media_target
from gateway.sip import event as sip
from gateway.sip.dialog import DialogId
from gateway.sip.endpoint import Endpoint
from gateway.sip.flow import Output
from gateway.sip.invite import InviteRequest, Session
from gateway.sip.invite_client import InviteClient
from gateway.sip.invite_server import InviteServer
from gateway.sip.message import Request
from gateway.sip.reason import REASONS

log = logging.getLogger(__name__)

_REASON_OF_CAUSE = {
    sip.EndCause.BYE: EndReason.HANGUP,
    sip.EndCause.CANCELLED: EndReason.CANCELLED,
    sip.EndCause.TIMEOUT: EndReason.UNREACHABLE,
    sip.EndCause.TRANSPORT: EndReason.UNREACHABLE,
    sip.EndCause.NO_ACK: EndReason.NO_ACK,
    sip.EndCause.NO_ANSWER_SDP: EndReason.NO_COMMON_CODEC,
}


NO_MATTER_OF_THE_CALLER = frozenset({401, 407, 420, 421, 422, 423, 494})
"""What a trunk wants of us: our credentials, our extensions. A caller who is told so could do
nothing about it, and would have to be given a challenge with it (RFC 3261 §22, S17)."""

MAX_REASON_CHARACTERS = 256
"A line for a person; a reason phrase may be as long as the message."

MAX_METHOD_CHARACTERS = 16
"Longer than any that is registered."


class SipLegs:
    """The legs of one endpoint: hands each session's events to its leg."""

    def __init__(self, endpoint: Endpoint, *, loop: asyncio.AbstractEventLoop) -> None:
        self.endpoint = endpoint
        self.loop = loop
        self.driver: Driver[Output, sip.Event]
        "Set by who makes the driver, which needs `on_event` first."
        self.on_incoming: Callable[[sip.Incoming], None] = _refuse
        self.on_endpoint_event: Callable[[sip.EndpointEvent], None] = _ignore
        "Gets what belongs to no session: requests outside of dialogs, and news of hops."
        self._legs: dict[Session, SipLeg] = {}

    def __len__(self) -> int:
        return len(self._legs)

    def add(self, session: Session, leg: SipLeg) -> None:
        """Events of the session go to the leg from now on."""
        self._legs[session] = leg

    def on_event(self, event: sip.Event) -> None:
        """Take one event of the endpoint."""
        if isinstance(event, sip.Incoming):
            self.on_incoming(event)
            return
        if isinstance(event, sip.EndpointEvent):
            self.on_endpoint_event(event)
            return
        if isinstance(event, sip.Gone):
            leg = self._legs.pop(event.session, None)
        else:
            leg = self._legs.get(event.session)
        if leg is not None:
            leg.on_sip_event(event)


class SipLeg:
    """One SIP party in one call."""

    kind = LegKind.SIP
    playout = None

    def __init__(
        self,
        leg_id: LegId,
        *,
        legs: SipLegs,
        stream: AudioStream,
        codecs: Sequence[Codec],
        session_id: str,
        allow_local_media: bool,
        request: InviteRequest | None = None,
        session: InviteServer | None = None,
    ) -> None:
        """
        Args:
            codecs: what it may speak, in our order, telephone-event among them.
            session_id: digits for the o= lines of our SDP.
            allow_local_media: whether the peer may name loopback addresses for its media.
            request: what `dial` sends, its offer not yet made. Or:
            session: the INVITE that the peer sent.
        """
        self.id = leg_id
        self.listener = stream
        self.on_event: Callable[[LegEvent], None] = _nobody
        self._legs = legs
        self._stream = stream
        self._codecs = codecs
        self._allow_local_media = allow_local_media
        self._request = request
        self._session: InviteClient | InviteServer | None = session
        self._local: SessionDescription | None = None
        self._agreed: bytes | None = None
        self._early: dict[DialogId, bytes] = {}
        "What each callee of a forked INVITE answered before the 200; the stack limits them."
        self._session_id = session_id
        self._has_answered = False
        self._has_ended = False
        stream.on_digit = self._tell
        # Plain RTP knows no path: it goes out as soon as there is an address to send to.
        stream.transport.on_state = stream.on_state
        if session is not None:
            legs.add(session, self)

    @property
    def on_frame(self) -> Callable[[AudioFrame], None]:
        """Where what the party says goes."""
        return self._stream.on_frame

    @on_frame.setter
    def on_frame(self, push: Callable[[AudioFrame], None]) -> None:
        self._stream.on_frame = push

    # ---- the called party: dial and what comes of it

    def dial(self) -> None:
        """Send the INVITE."""
        assert self._request is not None
        offer = self._make_offer()
        request = replace(self._request, offer=str(offer).encode())
        legs = self._legs
        try:
            session = legs.endpoint.invite(request, legs.loop.time())
        except (GatewayError, ValueError) as error:
            refused = error if isinstance(error, GatewayError) else GatewayError(str(error))
            ended = Ended(reason_of_error(refused), refused.status, fault=refused.fault)
            legs.loop.call_soon(self._fail, ended)
            return
        self._session = session
        legs.add(session, self)
        legs.driver.flush()

    # ---- the calling party

    def take_offer(self) -> None:
        """Negotiate what the INVITE offers; without an offer, ours goes out in the 200.

        Raises:
            RemoteProtocolError: it is not SDP.
            NegotiationError: no common codec.
        """
        assert isinstance(self._session, InviteServer)
        offer = self._session.offer
        if offer is None:
            return
        described = parse_sdp(offer)
        index = find_audio(described, codecs=self._codecs, keying=Keying.NONE)
        self._accept_media(described.media[index])
        self._local, agreement = answer_offer(
            described,
            media=self._stream.transport.describe(MediaDescription()),
            codecs=self._codecs,
            origin=self._origin(),
        )
        self._stream.configure(agreement)

    def progress(self, *, ringing: bool, early_media: bool) -> None:
        if not isinstance(self._session, InviteServer) or self._has_ended:
            return
        body = str(self._local).encode() if early_media and self._local is not None else None
        self._session.progress(180 if ringing and not early_media else 183, body, self._now())
        self._legs.driver.flush()

    def answer(self) -> None:
        if not isinstance(self._session, InviteServer) or self._has_ended:
            return
        if self._local is None:
            self._make_offer()
        self._has_answered = True
        self._session.answer(str(self._local).encode(), self._now())
        self._legs.driver.flush()

    # ---- commands for either

    def digit(self, digit: str, phase: Phase, duration_ms: int = 0) -> None:
        if not self._has_ended:
            self._stream.digit(digit, phase, duration_ms)

    def end(self, reason: EndReason, status: int = 0, text: str = "") -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._stream.close()
        session = self._session
        if session is None:
            self._legs.loop.call_soon(self.on_event, Gone())
            return
        if isinstance(session, InviteServer) and not self._has_answered:
            session.reject(_rejection(reason, status), self._now())
        else:
            session.bye(self._now())
        self._legs.driver.flush()

    def quality(self) -> MediaQuality:
        return self._stream.quality()

    # ---- what the session tells

    def on_sip_event(self, event: sip.Event) -> None:
        """One event of this leg's session."""
        match event:
            case sip.Signalled():
                self.on_event(Signalled(event.sent, _rung(event)))
            case sip.Gone():
                self.on_event(Gone())
            case _ if self._has_ended:
                pass
            case sip.Progressed():
                self._on_progressed(event)
            case sip.Answered():
                self._on_answered(event)
            case sip.Acked():
                self._on_acked(event)
            case sip.Informed():
                self._on_informed(event)
            case sip.Ended():
                self._fail(_told(event))

    def _on_progressed(self, event: sip.Progressed) -> None:
        if event.status == 100:
            return
        early_media = event.body is not None and self._take_answer(event.body)
        if early_media and event.body is not None and event.dialog_id is not None:
            self._early[event.dialog_id] = event.body
        if not self._has_ended:
            self._tell(Progressed(event.status, _words(event.reason), early_media))

    def _on_answered(self, event: sip.Answered) -> None:
        # RFC 3261 §13.2.1: a 2xx may leave out the answer that an early response gave.
        body = event.body or self._early.get(event.dialog_id)
        self._early.clear()
        if body is None:
            self._give_up("the 200 brought no SDP")
        elif self._take_answer(body):
            self._tell(Answered())

    def _on_acked(self, event: sip.Acked) -> None:
        if event.body is None or self._take_answer(event.body):
            self._tell(Established())

    def _on_informed(self, event: sip.Informed) -> None:
        press = read_press(event.content_type, event.body)
        if press is not None:
            digit, duration_ms = press
            self._tell(DigitPressed(digit, Phase.START))
            released = DigitPressed(digit, Phase.END, duration_ms)
            self._legs.loop.call_later(duration_ms / 1000, self._tell, released)

    def _take_answer(self, body: bytes) -> bool:
        """Use the peer's answer; the same one again changes nothing. False: it ends the leg."""
        if body == self._agreed:
            return True
        assert self._local is not None
        try:
            answer = parse_sdp(body)
            agreement = accept_answer(self._local, answer)
            self._accept_media(answer.media[agreement.index])
        except GatewayError as error:
            self._give_up(str(error))
            return False
        self._agreed = body
        self._stream.configure(agreement)
        return True

    def _give_up(self, why: str) -> None:
        """There is no media to be had with the peer. What it said stays with us: addresses too."""
        session = self._session
        assert session is not None
        log.info("leg=%s is given up: %s", self.id, why)
        self._fail(Ended(EndReason.NO_COMMON_CODEC, 488, REASONS[488]))
        session.bye(self._now())
        self._legs.driver.flush()

    def _fail(self, ended: Ended) -> None:
        """The party is out of the call by its own doing, or the network's."""
        if self._has_ended:
            return
        self._has_ended = True
        self._stream.close()
        self.on_event(ended)
        if self._session is None:
            self.on_event(Gone())

    # ---- inside

    def _make_offer(self) -> SessionDescription:
        media = self._stream.transport.describe(MediaDescription(ptime_ms=20))
        self._local = build_offer(media, codecs=self._codecs, origin=self._origin())
        return self._local

    def _accept_media(self, media: MediaDescription) -> None:
        if not media.is_muted:
            check_media_target(media.address, media.port, allow_local=self._allow_local_media)
        self._stream.transport.accept(media)

    def _origin(self) -> Origin:
        address = self._stream.transport.describe(MediaDescription()).address
        return Origin(self._session_id, 1, address or "127.0.0.1")

    def _now(self) -> float:
        return self._legs.loop.time()

    def _tell(self, event: LegEvent) -> None:
        if not self._has_ended:
            self.on_event(event)


def _told(event: sip.Ended) -> Ended:
    reason = _REASON_OF_CAUSE.get(event.cause)
    status = event.status or 0
    if reason is None:
        reason = reason_of_status(status) if status >= 300 else EndReason.HANGUP
    elif event.cause is sip.EndCause.TIMEOUT:
        status = 408
    elif event.cause is sip.EndCause.TRANSPORT:
        status = 503
    return Ended(reason, status, _words(event.reason), event.retry_after_s)


def _words(text: str) -> str:
    """A peer's own words as people, and JSON, can take them: no control characters (A15, A30)."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:MAX_REASON_CHARACTERS])


def _rejection(reason: EndReason, status: int) -> int:
    """What a caller is told that a callee, or nobody, gave this status."""
    if status in NO_MATTER_OF_THE_CALLER:
        return 500
    # A redirection would need its Contact, which is not for the caller to know (A37).
    return status if status >= 400 else reason.status


def _rung(event: sip.Signalled) -> str:
    """A method or a status, in words of ours: the peer's may name people and numbers."""
    message = event.message
    if isinstance(message, Request):
        method = message.method
        is_word = method.isalpha() and len(method) <= MAX_METHOD_CHARACTERS
        return method if is_word else "unknown method"
    return f"{message.status} {REASONS.get(message.status, '')}".rstrip()


def _nobody(event: LegEvent) -> None:
    """The leg has no call yet."""


def _refuse(event: sip.Incoming) -> None:
    """Nobody takes calls yet."""


def _ignore(event: sip.EndpointEvent) -> None:
    """Nobody asked for it."""

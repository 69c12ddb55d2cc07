"""SipLeg: a carrier, a PBX or a phone as a party of a call. An INVITE session and its stream."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from gateway.agents.event import AgentEvent, ToolDone
from gateway.codec import Codec
from gateway.errors import CodecError, GatewayError
from gateway.leg.info import read_press, write_press
from gateway.leg.keys import Keys
from gateway.leg.leg import (
    Answered,
    Disturbed,
    Ended,
    EndReason,
    Established,
    Gone,
    Held,
    LegEvent,
    LegId,
    LegKind,
    MediaChanged,
    MediaQuality,
    Phase,
    Progressed,
    Restored,
    Resumed,
    Signalled,
    TransferAsked,
    TransferProgress,
    reason_of_error,
)
from gateway.leg.meaning import REASON_HEADERS, rejection, rung, told_end, words
from gateway.leg.negotiator import MediaRules, Negotiator
from gateway.leg.sessions import SipLegs
from gateway.leg.stream import AudioStream
from gateway.leg.watch import PartyWatch, WatchOptions
from gateway.leg.watch import Phase as WatchPhase
from gateway.media.frame import AudioFrame
from gateway.net.media import TransportState
from gateway.rtp.dtmf import DtmfMode
from gateway.sdp.choice import Preference
from gateway.sdp.description import Direction, Keying
from gateway.sip import event as sip
from gateway.sip.dialog import DialogId
from gateway.sip.info import DIGIT_TYPES
from gateway.sip.invite import InviteRequest
from gateway.sip.invite_client import InviteClient
from gateway.sip.invite_server import InviteServer
from gateway.sip.reason import REASONS
from gateway.sip.uri import Uri

__all__ = ["SipLeg", "SipLegOptions", "SipLegs"]

log = logging.getLogger(__name__)

GOODBYE_S = 0.25
"""A phone over WebRTC that hangs up sends BYE and closes its media, which may be heard first: so
long its BYE is waited for."""


RETURN_S = 5.0
"How long a phone that calls or rings may take to connect again: JsSIP tries after 2 s and 4 s."


@dataclass(frozen=True, slots=True)
class SipLegOptions:
    """What a SIP party may do, and how it is dealt with."""

    allow_transfer: bool = False
    "Whether it may have us call somebody: REFER."
    allow_redirect: bool = False
    "Whether it may point us elsewhere: 3xx."
    sends_refer: bool = False
    "Whether it takes REFER, so that it can be asked to call somebody by itself."
    signals_hold: bool = False
    "Whether it is told by re-INVITE that we hold it."
    plays_on_hold: bool = True
    """Whether what it sends while it holds others is music for them. A phone sends silence then,
    or what its microphone hears."""
    watch: WatchOptions = field(default_factory=WatchOptions)
    media: MediaRules = field(default_factory=MediaRules)
    dtmf: DtmfMode = DtmfMode.AUTO
    "How key presses are sent to it, and looked for in what it sends."
    refer_to: Callable[[str], Uri] | None = None
    "How a number is written to it in Refer-To; None: at its own domain."


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
        prefer: Preference = Preference.THEIRS,
        keying: Keying = Keying.NONE,
        options: SipLegOptions | None = None,
        request: InviteRequest | None = None,
        session: InviteServer | None = None,
    ) -> None:
        """
        Args:
            codecs: what it may speak, in our order, telephone-event among them.
            session_id: digits for the o= lines of our SDP.
            allow_local_media: whether the peer may name loopback addresses for its media.
            prefer: whose order of codecs decides where the peer offers.
            keying: how its media is protected, as the transport of `stream` does it.
            request: what `dial` sends, its offer not yet made. Or:
            session: the INVITE that the peer sent.
        """
        self.id = leg_id
        self.on_event: Callable[[LegEvent], None] = _nobody
        self._legs = legs
        self._stream = stream
        self._options = options or SipLegOptions()
        self._negotiator = Negotiator(
            stream,
            codecs=[codec for codec in codecs if self._options.dtmf.takes(codec)],
            session_id=session_id,
            prefer=prefer,
            keying=keying,
            allow_local_media=allow_local_media,
            rules=self._options.media,
            peer=self._peer_address,
        )
        self._keying = keying
        self._request = request
        self._session: InviteClient | InviteServer | None = session
        self._answer: bytes | None = None
        "Ours to the offer of the peer's INVITE."
        self._early: dict[DialogId, bytes] = {}
        "What each callee of a forked INVITE answered before the 200; the stack limits them."
        self.has_ended = False
        "Whether the party is out of the call."
        self._is_up = False
        self._held: Direction | None = None
        self._is_mute = False
        "Whether it holds us and says that it plays something, but does not."
        self._hold = Direction.SENDRECV
        "What we want the peer to be told; the negotiator knows what it was told last."
        self._is_reoffering = False
        self._refer = _Refer.NONE
        self._info_types = [*DIGIT_TYPES]
        "Of INFO with a key, the one that the peer uses first."
        self._was_connected = False
        self._watch = PartyWatch(
            stream,
            self._options.watch,
            loop=legs.loop,
            phase=self._phase,
            is_cut_off=self._is_cut_off,
            on_gone=self._on_silence,
            on_look=self._note_music,
        )
        self._keys = Keys(
            stream,
            tell=self._tell,
            loop=legs.loop,
            mode=self._options.dtmf,
            takes_info=self._takes_info,
            send_info=self._send_info,
        )
        self.listener = self._keys.listener
        stream.transport.on_state = self._on_state
        stream.on_alert = self._tell
        if session is not None:
            legs.add(session, self)

    @property
    def on_frame(self) -> Callable[[AudioFrame], None]:
        """Where what the party says goes."""
        return self._keys.on_frame

    @on_frame.setter
    def on_frame(self, push: Callable[[AudioFrame], None]) -> None:
        self._keys.on_frame = push

    # ---- the called party: dial and what comes of it

    def dial(self) -> None:
        """Send the INVITE."""
        assert self._request is not None
        request = replace(self._request, offer=self._negotiator.make_offer())
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
        if self._session.offer is not None:
            self._answer = self._negotiator.answer(self._session.offer)
            self._keys.settle()

    def progress(self, *, ringing: bool, early_media: bool) -> None:
        if not isinstance(self._session, InviteServer) or self.has_ended:
            return
        body = self._answer if early_media else None
        self._session.progress(180 if ringing and not early_media else 183, body, self._now())
        self._legs.driver.flush()

    def answer(self) -> None:
        if not isinstance(self._session, InviteServer) or self.has_ended:
            return
        self._is_up = True
        answer = self._answer
        self._session.answer(answer or self._negotiator.make_offer(), self._now())
        self._legs.driver.flush()
        self._note_hold()

    # ---- commands for either

    def digit(self, digit: str, phase: Phase, duration_ms: int = 0) -> None:
        if not self.has_ended:
            self._keys.press(digit, phase, duration_ms)

    def hold(self, direction: Direction) -> None:
        self._hold = direction
        if self._options.signals_hold:
            self._reoffer()

    @property
    def can_refer(self) -> bool:
        return self._options.sends_refer and self._is_up

    def refer(self, target: Uri, replaces: str | None = None) -> None:
        session = self._session
        if session is None or self.has_ended:
            return
        if not target.host:
            target = self._write_number(target.user or "")
        session.refer(target, self._now(), replaces=replaces)
        self._legs.driver.flush()

    @property
    def dialog(self) -> tuple[Uri, str] | None:
        session = self._session
        target = None if session is None else session.remote_target
        replaces = None if session is None else session.replaces_id
        return None if target is None or replaces is None else (target, replaces)

    def transfer_progress(self, status: int) -> None:
        session, refer = self._session, self._refer
        if session is None or refer is _Refer.NONE:
            return
        now = self._now()
        if refer is _Refer.ASKED and status >= 300:
            session.refuse_refer(status, now)
        elif refer is _Refer.ASKED:
            session.accept_refer(now)
        if status > 100 and not (refer is _Refer.ASKED and status >= 300):
            session.notify_refer(status, REASONS.get(status, ""), now)
        self._refer = _Refer.TAKEN if status < 200 else _Refer.NONE
        self._legs.driver.flush()

    def tool_done(self, done: ToolDone) -> None:
        """A phone uses no tools of agents."""

    def inform(self, event: AgentEvent) -> None:
        """A phone hears by itself what goes on."""

    def stop_media(self) -> None:
        self._stream.stop_sending()

    def end(self, reason: EndReason, status: int = 0, text: str = "") -> None:
        if self.has_ended:
            return
        self._close()
        session = self._session
        if session is None:
            self._legs.loop.call_soon(self.on_event, Gone())
            return
        if isinstance(session, InviteServer) and not self._is_up:
            session.reject(rejection(reason, status), self._now())
        else:
            session.bye(self._now(), REASON_HEADERS.get(reason))
        self._legs.driver.flush()

    def quality(self) -> MediaQuality:
        return self._keys.report(self._stream.quality())

    # ---- what the session tells

    def on_sip_event(self, event: sip.Event) -> None:
        """One event of this leg's session."""
        match event:
            case sip.Signalled():
                self.on_event(Signalled(event.sent, rung(event)))
            case _ if self.has_ended:
                pass
            case sip.Progressed():
                self._on_progressed(event)
            case sip.Answered():
                self._on_answered(event)
            case sip.Acked():
                self._on_acked(event)
            case sip.Informed():
                self._on_informed(event)
            case sip.InfoAnswered():
                self._keys.on_info_answered(event.status)
            case sip.Reoffered() | sip.ReofferAnswered() | sip.ReofferFailed():
                self._on_change(event)
            case sip.ReferAsked():
                self._on_refer_asked(event)
            case sip.ReferProgress() | sip.ReferDone():
                self._tell(TransferProgress(event.status))
            case sip.Ended():
                self._fail(told_end(event, may_redirect=self._options.allow_redirect))

    def on_settled(self) -> None:
        """The party is gone, and its session needs no leg any more."""
        self.on_event(Gone())

    def _on_progressed(self, event: sip.Progressed) -> None:
        if event.status == 100:
            return
        early_media = event.body is not None and self._take_answer(event.body)
        if early_media and event.body is not None and event.dialog_id is not None:
            self._early[event.dialog_id] = event.body
            self._watch.begin(is_up=self._is_up)
        if not self.has_ended:
            self._tell(Progressed(event.status, words(event.reason), early_media))

    def _on_answered(self, event: sip.Answered) -> None:
        # RFC 3261 §13.2.1: a 2xx may leave out the answer that an early response gave.
        body = event.body or self._early.get(event.dialog_id)
        self._early.clear()
        if body is None:
            self._give_up("the 200 brought no SDP")
        elif self._take_answer(body):
            self._is_up = True
            self._tell(Answered())
            self._watch.begin(is_up=self._is_up)
            self._note_hold()

    def _on_acked(self, event: sip.Acked) -> None:
        if event.body is None or self._take_answer(event.body):
            self._tell(Established())
            self._watch.begin(is_up=self._is_up)
            self._note_hold()

    def _on_informed(self, event: sip.Informed) -> None:
        press = read_press(event.content_type, event.body)
        if press is not None:
            self._keys.on_info(*press, self._now())
        self._info_types.sort(key=lambda name: name != event.content_type)

    def _takes_info(self) -> bool:
        return self._session is not None and self._session.takes_info

    def _send_info(self, digit: str, duration_ms: int) -> bool:
        """Send a press by INFO, as the peer does it, if it does."""
        session, bodies = self._session, write_press(digit, duration_ms)
        first, second = ((name, bodies[name]) for name in self._info_types)
        is_sent = session is not None and session.info(*first, self._now(), otherwise=second)
        self._legs.driver.flush()
        return is_sent

    def _take_answer(self, body: bytes) -> bool:
        """Use the peer's answer; the same one again changes nothing. False: it ends the leg."""
        codec = self._stream.codec
        try:
            self._negotiator.take_answer(body)
        except GatewayError as error:
            told = words(str(error)) if isinstance(error, CodecError) else REASONS[488]
            self._give_up(str(error), told)
            return False
        self._keys.settle()
        self._note_codec(codec)
        return True

    # ---- changes of a session that is up

    def _on_change(self, event: sip.Reoffered | sip.ReofferAnswered | sip.ReofferFailed) -> None:
        match event:
            case sip.Reoffered():
                self._on_reoffered(event)
            case sip.ReofferAnswered():
                self._on_reoffer_answered(event)
            case sip.ReofferFailed():
                self._on_reoffer_failed(event)

    def _on_reoffered(self, event: sip.Reoffered) -> None:
        session, now, codec = event.session, self._now(), self._stream.codec
        self._negotiator.direction = self._told_direction
        try:
            if event.sdp is None:
                sdp = self._negotiator.make_offer()
            else:
                sdp = self._negotiator.answer(event.sdp)
        except GatewayError as error:
            # S13: all goes on as it was. T.38 comes here too.
            log.info("leg=%s refused a new offer with %d", self.id, error.status)
            session.refuse_reoffer(error.status, now, dialog_id=event.dialog_id)
        else:
            session.accept_reoffer(sdp, now, dialog_id=event.dialog_id)
            self._keys.settle()
            self._note_codec(codec)
            self._note_hold()
        self._legs.driver.flush()

    def _on_reoffer_answered(self, event: sip.ReofferAnswered) -> None:
        self._is_reoffering = False
        if event.sdp is None:
            self._negotiator.withdraw()
        elif not self._take_answer(event.sdp):
            return
        self._note_hold()
        self._reoffer_if_changed()

    def _on_reoffer_failed(self, event: sip.ReofferFailed) -> None:
        log.info("leg=%s its peer refused a new offer with %d", self.id, event.status)
        self._is_reoffering = False
        self._negotiator.withdraw()

    def _reoffer(self) -> None:
        """Tell the peer whether we hold it; while that is under way, the next has to wait."""
        session = self._session
        if session is None or not self._is_up or self.has_ended or self._is_reoffering:
            return
        self._is_reoffering = True
        self._negotiator.direction = self._told_direction
        session.reoffer(self._negotiator.make_offer, self._now())
        self._legs.driver.flush()

    def _reoffer_if_changed(self) -> None:
        if self._negotiator.direction is not self._told_direction:
            self._reoffer()

    @property
    def _told_direction(self) -> Direction:
        return self._hold if self._options.signals_hold else Direction.SENDRECV

    def _note_hold(self) -> None:
        """Tell once that the peer holds us, or no longer. Early media that is one-way is none."""
        held = self._negotiator.held
        if held is None or not held.sends:
            self._is_mute = False
        elif self._options.plays_on_hold and not self._is_mute:
            if self._held is None or not self._held.sends:
                self._watch.mark()  # does it, and not only say so?
        else:
            held &= Direction.RECVONLY
        if self._is_up and held is not self._held:
            self._held = held
            self._tell(Resumed() if held is None else Held(held))

    def _note_music(self, is_quiet: bool) -> None:
        """One who holds others and sends nothing has no music for them, until it has."""
        held = self._negotiator.held
        if held is not None and held.sends and is_quiet is not self._is_mute:
            self._is_mute = is_quiet
            self._note_hold()

    def _note_codec(self, before: Codec | None) -> None:
        if self._is_up and self._stream.codec != before:
            self._tell(MediaChanged())

    def _on_refer_asked(self, event: sip.ReferAsked) -> None:
        if not self._options.allow_transfer:
            event.session.refuse_refer(403, self._now())
            self._legs.driver.flush()
            return
        self._refer = _Refer.ASKED
        self._tell(TransferAsked(event.target, event.replaces, event.referred_by))

    # ---- the media path

    def _on_state(self, state: TransportState) -> None:
        self._stream.on_state(state)
        if self._keying is not Keying.DTLS:
            # Plain RTP knows no path: it goes out as soon as there is an address to send to.
            return
        match state:
            case TransportState.CONNECTED:
                if self._was_connected:
                    self._tell(Restored())
                self._was_connected = True
            case TransportState.DISCONNECTED:
                self._tell(Disturbed())
            case TransportState.FAILED:
                lost = EndReason.ICE_CONSENT if self._was_connected else EndReason.PATH_LOST
                self._abandon(Ended(lost))
            case TransportState.CLOSED:
                left = Ended(EndReason.LEFT)
                self._legs.loop.call_later(GOODBYE_S, self._abandon, left)

    def _phase(self) -> WatchPhase:
        """What is to be expected of the party's media."""
        if not self._is_up and self._negotiator.peer_speaks:
            return WatchPhase.EARLY
        return WatchPhase.OPEN if self._negotiator.is_open else WatchPhase.HOLD

    def _is_cut_off(self) -> bool:
        return self._session is not None and self._session.is_cut_off

    def _on_silence(self, reason: EndReason) -> None:
        is_early = reason is EndReason.EARLY_MEDIA_TIMEOUT
        self._abandon(Ended(reason, 408, REASONS[408]) if is_early else Ended(reason))

    def on_connection_closed(self) -> None:
        """A connection is gone: before the answer nothing else would tell that its phone is."""
        if not self._is_up:
            self._legs.loop.call_later(RETURN_S, self._look_for_peer)

    def _look_for_peer(self) -> None:
        session = self._session
        if self._is_up or session is None or not session.is_cut_off:
            return
        if isinstance(session, InviteServer):
            self._abandon(Ended(EndReason.LEFT))
        else:
            self._abandon(Ended(EndReason.UNREACHABLE, 480, REASONS[480]))

    # ---- the end

    def _give_up(self, why: str, told: str = REASONS[488]) -> None:
        """There is no media to be had with the peer. What it said stays with us: addresses too."""
        log.info("leg=%s is given up: %s", self.id, why)
        self._abandon(Ended(EndReason.NO_COMMON_CODEC, 488, told))

    def _abandon(self, ended: Ended) -> None:
        """We let the peer go of our own accord."""
        if self.has_ended:
            return
        session = self._session
        self._fail(ended)
        if session is not None:
            session.bye(self._now())
            self._legs.driver.flush()

    def _fail(self, ended: Ended) -> None:
        """The party is out of the call by its own doing, or the network's."""
        if self.has_ended:
            return
        self._close()
        self.on_event(ended)
        if self._session is None:
            self.on_event(Gone())

    def _close(self) -> None:
        self.has_ended = True
        self._watch.close()
        self._keys.close()
        self._negotiator.close()
        self._stream.close()

    # ---- inside

    def _write_number(self, number: str) -> Uri:
        """A number as the peer is to dial it itself."""
        if self._options.refer_to is not None:
            return self._options.refer_to(number)
        if self._request is not None:
            return Uri("sip", number, host=self._request.target.host)
        assert isinstance(self._session, InviteServer)
        return Uri("sip", number, host=self._session.request.from_.uri.host)

    def _peer_address(self) -> str | None:
        """Where the peer's SIP comes from."""
        flow = None if self._session is None else self._session.flow
        return None if flow is None else flow.remote[0]

    def _now(self) -> float:
        return self._legs.loop.time()

    def _tell(self, event: LegEvent) -> None:
        if not self.has_ended:
            self.on_event(event)


class _Refer(Enum):
    """What became of a REFER of the peer."""

    NONE = "none"
    ASKED = "asked"
    TAKEN = "taken"


def _nobody(event: LegEvent) -> None:
    """The leg has no call yet."""

"""AudioStream: the RTP half of a leg, over whichever transport.

    transport ─▸ Incoming ─▸ on_frame        hear ─▸ Outgoing ─▸ transport

A packet in is a frame out in the same callback, and a frame heard is a packet sent in the same
call. The pacer's beat carries what must go on without packets: RTCP, digits, concealment.
"""

from __future__ import annotations

from asyncio import TimerHandle
from collections.abc import Callable
from math import inf

from gateway.codec import COMFORT_NOISE, Codec
from gateway.leg.incoming import Incoming
from gateway.leg.leg import DigitPressed, MediaQuality, Phase
from gateway.leg.meter import QualityMeter
from gateway.leg.outgoing import Outgoing
from gateway.leg.quality import QualityAlert
from gateway.media.coding import UNBURDENED
from gateway.media.effort import Workload
from gateway.media.frame import AudioFrame
from gateway.net.media import MediaTransport, TransportState
from gateway.net.pacer import Pacer
from gateway.rtp.session import RtpSession
from gateway.sdp.negotiation import Agreement


class AudioStream:
    """Audio of one party, both ways. A `Listener` of the hub, and a live speaker in it."""

    def __init__(
        self,
        transport: MediaTransport,
        session: RtpSession,
        *,
        pacer: Pacer,
        clock: Callable[[], float],
        may_relay: bool = True,
        workload: Workload = UNBURDENED,
    ) -> None:
        """
        Args:
            may_relay: whether payloads may be passed on to the party as they came.
            workload: says what encoding may cost.
        """
        self.transport = transport
        self.session = session
        self._clock = clock
        self._incoming = Incoming(session, on_other=self._look_at_timer, now=clock())
        self._outgoing = Outgoing(transport, session, may_relay=may_relay, workload=workload)
        self._meter = QualityMeter(session, self._incoming, self._outgoing)
        self.on_alert: Callable[[QualityAlert], None] = _no_alerts
        "What is told when something is wrong with the media, or no longer."
        self._is_connected = False
        self._timer_at = clock()
        self._pacer = pacer
        self._alarm: TimerHandle | None = None  # rings when a missing packet is given up
        self._alarm_at = inf
        transport.on_packet = self._incoming.receive
        self._stop_pacing = pacer.add(self._on_beat)
        self.hear: Callable[[AudioFrame], None] = self._outgoing.hear
        "Send one frame now: its payload if the party takes that codec, else encoded."

    @property
    def on_frame(self) -> Callable[[AudioFrame], None]:
        """What takes each piece that the party says; they follow one another without gaps."""
        return self._incoming.on_frame

    @on_frame.setter
    def on_frame(self, take: Callable[[AudioFrame], None]) -> None:
        self._incoming.on_frame = take

    @property
    def on_digit(self) -> Callable[[DigitPressed], None]:
        """What takes the party's key presses (RFC 4733)."""
        return self._incoming.on_digit

    @on_digit.setter
    def on_digit(self, take: Callable[[DigitPressed], None]) -> None:
        self._incoming.on_digit = take

    def configure(self, agreement: Agreement) -> None:
        """Take what an offer and its answer settled, at first or again; numbering goes on."""
        self.session.configure(
            receive=_with_noise(agreement.receive),
            send=agreement.send,
            send_digits=agreement.send_digits,
        )
        self._outgoing.configure(agreement)
        if not agreement.direction.receives:
            self._incoming.expect_nothing()
        self._meter.configure(agreement, self._clock())
        self.session.extend_reports(
            voice="voip-metrics" in agreement.rtcp_xr,
            round_trip=any(wish.startswith("rcvr-rtt=") for wish in agreement.rtcp_xr),
        )
        self._look_at_timer()

    def begin(self) -> None:
        """The call is up: who is not heard from now on is missed (`on_alert`)."""
        self._meter.begin(self._clock())

    @property
    def codec(self) -> Codec | None:
        """What the party is sent; None before it is negotiated."""
        return self._outgoing.codec

    @property
    def is_connected(self) -> bool:
        """Whether what the party is told goes out now: not while it wants to hear nothing."""
        return self._is_connected and self._outgoing.is_sending

    def on_state(self, state: TransportState) -> None:
        """The path changed; told by the leg, which hears the transport."""
        self._is_connected = state is TransportState.CONNECTED
        self._meter.set_connected(connected=self._is_connected, now=self._clock())

    def attach(self, transport: MediaTransport) -> None:
        """Go on over another transport, the old one closed: numbers and statistics stay."""
        old = self.transport
        old.on_packet = _nothing
        old.close()
        self.transport = self._outgoing.transport = transport
        self._outgoing.begin_anew()
        self._is_connected = False
        self._meter.set_connected(connected=False, now=self._clock())
        transport.on_packet = self._incoming.receive

    def stop_sending(self) -> None:
        """Send neither RTP nor RTCP any more, whatever is agreed upon; the party is still heard."""
        self._outgoing.stop()

    def close(self) -> None:
        """End it; nothing is sent or said any more."""
        goodbye = self.session.goodbye(self._clock())
        if goodbye and not self._outgoing.is_stopped:
            self.transport.send(goodbye)
        self._stop_pacing()
        self._set_alarm(inf)
        self._meter.close()
        self._incoming.close()
        self._outgoing.close()
        self.on_alert = _no_alerts
        self.transport.on_packet = _nothing
        self.transport.close()

    def digit(self, digit: str, phase: Phase, duration_ms: int = 0) -> bool:
        """Send one edge of a key press to the party (RFC 4733); at its end, how long it was.

        Returns:
            False where it does not go out: the party takes none, or too many wait.
        """
        now, is_taken = self._clock(), True
        if phase is Phase.START:
            is_taken = self._outgoing.is_sending and self.session.start_digit(digit, now)
        else:
            self.session.end_digit(digit, now, duration_ms)
        self._send_output()
        self._look_at_timer()
        return is_taken

    def quality(self) -> MediaQuality:
        """How the media of the party fares; after the end, how it fared."""
        return self._meter.quality()

    def _on_beat(self, now: float) -> None:
        if self._timer_at <= now:
            self._handle_timer(now)
        self._incoming.on_beat(now)

    def _handle_timer(self, now: float) -> None:
        self.session.handle_timer(now)
        self._send_output()
        for item in self.session.take_events():
            self._incoming.take(item, now)
        if self._meter.look_at <= now:
            for alert in self._meter.look(now):
                self.on_alert(alert)
            self._outgoing.adapt(self.session.remote)
        self._look_at_timer()

    def _look_at_timer(self) -> None:
        timer_at, look_at = self.session.next_timer(), self._meter.look_at
        self._timer_at = look_at if timer_at is None or look_at < timer_at else timer_at
        if self.session.waits_until != self._alarm_at:
            self._set_alarm(self.session.waits_until)

    def _set_alarm(self, at: float) -> None:
        """What waits for a missing packet leaves when it is given up, not on the next beat."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = None if at == inf else self._pacer.call_at(at, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm, self._alarm_at = None, inf
        self._handle_timer(self._clock())

    def _send_output(self) -> None:
        """Digits and reports that are due."""
        for packet in self.session.take_output():
            if not self._outgoing.is_stopped:
                self.transport.send(packet)


def _with_noise(codecs: tuple[Codec, ...]) -> tuple[Codec, ...]:
    """CN is understood from who was not asked, too: 13 never means anything else (RFC 3551 §6)."""
    taken = {codec.payload_type for codec in codecs}
    is_wanted = COMFORT_NOISE.payload_type not in taken and 8000 in {c.clock_rate for c in codecs}
    return (*codecs, COMFORT_NOISE) if is_wanted else codecs


def _no_alerts(alert: QualityAlert) -> None:
    """No leg listens yet, or any more."""


def _nothing(data: bytes, now: float) -> None:
    """The stream has ended."""

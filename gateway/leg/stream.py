"""AudioStream: the RTP half of a leg, over whichever transport.

    transport ─▸ RtpSession.receive ─▸ Voice (lazy decode) ─▸ on_frame
    hear ─▸ [relay the payload, or encode] ─▸ RtpSession.send ─▸ transport

A packet in is a frame out in the same callback, and a frame heard is a packet sent in the same
call. The pacer's beat carries what must go on without packets: RTCP, digits, concealment.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import numpy as np
from numpy.typing import NDArray

from gateway.codec import TICK_RATE, Codec
from gateway.leg.leg import DigitPressed, MediaQuality, Phase
from gateway.media.coding import Encoder, make_encoder
from gateway.media.frame import AudioFrame, Voice
from gateway.net.media import MediaTransport, TransportState
from gateway.net.pacer import Pacer
from gateway.rtp.dtmf import DigitEvent
from gateway.rtp.receiver import Hole, Packet
from gateway.rtp.session import RtpSession
from gateway.sdp.negotiation import Agreement

TICKS_PER_MS = TICK_RATE // 1000
BEAT_TICKS = 20 * TICKS_PER_MS
BEAT_S = BEAT_TICKS / TICK_RATE

PATIENCE_S = 0.04
"So long after the end of its last packet a party counts as silent, and is filled in for."

MAX_LATE_TICKS = 100 * TICKS_PER_MS
"""So much at most of what comes at the pace of speech is left out for what was filled in. Beyond it
nothing was late: the party's clock stood still meanwhile, or it is another source (F11)."""

MIN_GAP_TICKS = TICK_RATE // 400
"A shorter gap is the rounding of one clock to another."

MAX_ENCODER_RATE = 24_000
"Hz: voices need no more, and 48 kHz costs half as much again."

MAX_FILL_TICKS = 60 * TICKS_PER_MS
"A hole longer than this is not concealed when packets return: the timeline just goes on."


class AudioStream:
    """Audio of one party, both ways. A `Listener` of the hub, and a live speaker in it."""

    def __init__(
        self,
        transport: MediaTransport,
        session: RtpSession,
        *,
        pacer: Pacer,
        clock: Callable[[], float],
    ) -> None:
        self.transport = transport
        self.session = session
        self._receive = session.receive
        self.on_frame: Callable[[AudioFrame], None] = _nobody
        self.on_digit: Callable[[DigitPressed], None] = _no_keys
        self._clock = clock
        self._is_connected = False
        self._is_stopped = False
        self._voice = Voice()
        self._heard_at: float | None = None  # None: not yet, or not to be expected
        self._heard_ticks = BEAT_TICKS  # what the last packet held
        self._next_at = 0  # where the next packet is due: ticks of the party's own timeline
        self._ahead = 0  # ticks that were filled in before it was known what is missing
        self._beat_at = clock()
        self._codec: Codec | None = None
        self._send_codec: Codec | None = None  # None while nothing is to be sent
        self._send_scale = 1
        self._best_rate = 8000
        self._frame_ticks = self._frame_units = BEAT_TICKS
        self._relayed: Codec | None = None  # what is heard and passed on as it is
        self._encoded: Codec | None = None  # what is heard and suits the encoder as it is
        self._timer_at = clock()
        self._encoder: Encoder | None = None
        self._pending: NDArray[np.int16] | None = None
        transport.on_packet = self._on_packet
        self._stop_pacing = pacer.add(self._on_beat)

    def configure(self, agreement: Agreement) -> None:
        """Take what an offer and its answer settled, at first or again; numbering goes on."""
        self._drop_pending()
        self.session.configure(
            receive=agreement.receive, send=agreement.send, send_digits=agreement.send_digits
        )
        if self._encoder is not None and self._codec != agreement.send:
            self._encoder.close()
            self._encoder = None
        self._codec = agreement.send
        sends = agreement.direction.sends and not self._is_stopped
        self._send_codec = agreement.send if sends else None
        if not agreement.direction.receives:
            # One who is not to speak is not missing.
            self._heard_at, self._ahead = None, 0
        self._best_rate = min(agreement.send.sample_rate, MAX_ENCODER_RATE)
        self._send_scale = TICK_RATE // agreement.send.clock_rate
        self._frame_ticks = agreement.ptime_ms * TICKS_PER_MS
        self._frame_units = self._frame_ticks // self._send_scale
        self._relayed = self._encoded = None

    @property
    def codec(self) -> Codec | None:
        """What the party is sent; None before it is negotiated."""
        return self._codec

    @property
    def is_connected(self) -> bool:
        """Whether what the party is told goes out now: not while it wants to hear nothing."""
        return self._is_connected and self._send_codec is not None

    def on_state(self, state: TransportState) -> None:
        """The path changed; told by the leg, which hears the transport."""
        self._is_connected = state is TransportState.CONNECTED

    def stop_sending(self) -> None:
        """Send neither RTP nor RTCP any more, whatever is agreed upon; the party is still heard."""
        self._is_stopped = True
        self._send_codec = None

    def close(self) -> None:
        """End it; nothing is sent or said any more."""
        goodbye = self.session.goodbye(self._clock())
        if goodbye and not self._is_stopped:
            self.transport.send(goodbye)
        self._stop_pacing()
        self._voice.close()
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = self._codec = self._send_codec = self._heard_at = None
        self.on_frame = _nobody
        self.on_digit = _no_keys
        self.transport.on_packet = _nothing
        self.transport.close()

    def digit(self, digit: str, phase: Phase, duration_ms: int = 0) -> None:
        """Send one edge of a key press to the party (RFC 4733); at its end, how long it was."""
        now = self._clock()
        if phase is Phase.START:
            if self._send_codec is not None:
                self.session.start_digit(digit, now)
        else:
            self.session.end_digit(digit, now, duration_ms)
        self._send_output()
        self._look_at_timer()

    def quality(self) -> MediaQuality:
        """How the media of the party fares."""
        stats = self.session.stats
        return MediaQuality(
            codec=None if self._codec is None else self._codec.name,
            round_trip_ms=stats.rtt_ms,
            jitter_ms=stats.received.jitter_ms,
            loss_percent=100 * stats.received.fraction_lost,
        )

    # ---- what the party hears

    def hear(self, frame: AudioFrame) -> None:
        """Send one frame now: its payload if the party takes that codec, else encoded."""
        codec = self._send_codec
        if codec is None:
            self.session.skip(frame.duration // self._send_scale)
            return
        heard = frame.codec
        if heard is None or heard is not self._relayed:
            encoder = self._encoder
            if encoder is None or heard is None or heard is not self._encoded:
                if self._relays(frame, codec):
                    self._relay(frame)
                    return
                encoder = self._encoder_for(frame, codec)
            pcm = frame.pcm(encoder.sample_rate)
            if frame.duration != self._frame_ticks or self._pending is not None:
                self._send_reframed(encoder, pcm, frame.heard_at)
                return
            payload = encoder.encode(pcm)
            if payload:
                packet = self.session.send(payload, self._frame_units, frame.heard_at)
                if packet:
                    self.transport.send(packet)
            else:  # DTX: time passes unsent
                self.session.skip(self._frame_units)
        else:
            self._relay(frame)

    def _relays(self, frame: AudioFrame, codec: Codec) -> bool:
        """Whether frames like this one are passed on as they are."""
        heard = frame.codec
        relays = heard is not None and frame.payload is not None and heard.name == codec.name
        self._relayed = heard if relays else None
        return relays

    def _relay(self, frame: AudioFrame) -> None:
        if self._pending is not None:
            self._drop_pending()
        payload = frame.payload
        assert payload is not None
        packet = self.session.send(payload, frame.duration // self._send_scale, frame.heard_at)
        if packet:
            self.transport.send(packet)

    def _encoder_for(self, frame: AudioFrame, codec: Codec) -> Encoder:
        """The encoder for frames like this one."""
        encoder = self._encoder
        if encoder is None or (
            encoder.sample_rate < self._best_rate and encoder.sample_rate < frame.natural_rate
        ):
            encoder = self._open_encoder(codec, min(frame.natural_rate, self._best_rate))
        self._encoded = frame.codec
        return encoder

    def _open_encoder(self, codec: Codec, rate: int) -> Encoder:
        """One at the rate of what is to be heard; it is never lowered within a call."""
        self._drop_pending()
        if self._encoder is not None:
            self._encoder.close()
        self._encoder = make_encoder(codec, rate=rate)
        return self._encoder

    def _send_reframed(self, encoder: Encoder, pcm: NDArray[np.int16], now: float) -> None:
        """Cut a timeline of other frame lengths into the packets that the party wants."""
        size = self._frame_ticks * encoder.sample_rate // TICK_RATE
        if self._pending is not None:
            pcm = np.concatenate((self._pending, pcm))
        while len(pcm) >= size:
            payload = encoder.encode(pcm[:size])
            pcm = pcm[size:]
            if not payload:
                self.session.skip(self._frame_units)
            elif packet := self.session.send(payload, self._frame_units, now):
                self.transport.send(packet)
        self._pending = pcm if len(pcm) else None

    def _drop_pending(self) -> None:
        """What fills no packet is past once something else is sent: its time goes by unsent."""
        pending, self._pending = self._pending, None
        if pending is not None and self._encoder is not None:
            ticks = len(pending) * TICK_RATE // self._encoder.sample_rate
            self.session.skip(ticks // self._send_scale)

    # ---- what the party says

    def _on_packet(self, data: bytes, now: float) -> None:
        if len(data) > 1 and 192 <= data[1] <= 223:  # RTCP (RFC 5761 §4)
            self.session.receive_rtcp(data, now)
            return
        items = self._receive(data, now)
        if len(items) == 1:
            item = items[0]
            if type(item) is Packet:
                self._take_packet(item, now)
                return
        for item in items:
            self._take(item, now)
        # Only now can its timer have come nearer.
        self._look_at_timer()

    def _look_at_timer(self) -> None:
        timer_at = self.session.next_timer()
        self._timer_at = inf if timer_at is None else timer_at

    def _take(self, item: Packet | Hole | DigitEvent, now: float) -> None:
        if isinstance(item, Packet):
            self._take_packet(item, now)
        elif isinstance(item, Hole):
            scale = TICK_RATE // item.codec.clock_rate
            self._next_at = (item.timestamp + item.duration) * scale
            self._fill(item.duration * scale, now, item.following)
        else:
            self.on_digit(DigitPressed(item.digit, Phase(item.phase), item.duration_ms))

    def _take_packet(self, packet: Packet, now: float) -> None:
        codec = packet.codec
        scale = TICK_RATE // codec.clock_rate
        duration = packet.duration * scale
        if not duration:
            # Comfort noise (RFC 3389) says how a pause sounds, not how long it is: the beat
            # fills the pause.
            return
        position = packet.timestamp * scale
        gap = position - self._next_at
        self._next_at = position + duration
        if gap < MIN_GAP_TICKS and not self._ahead:
            self._heard_at, self._heard_ticks = now, duration
            self.on_frame(self._voice.frame(codec, packet.payload, duration, now))
            return
        if gap >= MIN_GAP_TICKS:
            self._fill(gap, now, None)
        is_late = self._ahead >= duration and self._is_late(duration, now)
        self._heard_at, self._heard_ticks = now, duration
        if is_late:
            # Its place was filled while it was missing. Playing it too would add its length to
            # the delay of the call, for good.
            self._ahead -= duration
            return
        self.on_frame(self._voice.frame(codec, packet.payload, duration, now))

    def _is_late(self, duration: int, now: float) -> bool:
        """Whether a packet is of the time that was filled in; else that is forgotten."""
        if self._ahead <= MAX_LATE_TICKS or self._heard_at is None:
            return True
        # Late packets come in a burst. The first after a pause could be either.
        spacing = (now - self._heard_at) * TICK_RATE
        if not 0.75 * duration <= spacing <= duration + PATIENCE_S * TICK_RATE:
            return True
        self._ahead = 0
        return False

    def _fill(self, ticks: int, now: float, following: bytes | None) -> None:
        """Conceal a hole, less what the beat has filled already."""
        filled = min(self._ahead, ticks)
        self._ahead -= filled
        ticks -= filled
        if 0 < ticks <= MAX_FILL_TICKS:
            self.on_frame(self._voice.conceal(ticks, now, following))

    def _on_beat(self, now: float) -> None:
        if self._timer_at <= now:
            self.session.handle_timer(now)
            self._send_output()
            for item in self.session.take_events():
                self._take(item, now)
            self._look_at_timer()
        stalled_s = now - self._beat_at - BEAT_S
        self._beat_at = now
        heard_at = self._heard_at
        if heard_at is None:
            return
        if stalled_s > BEAT_S:
            # We were away, not the party: what it said meanwhile has yet to be read.
            heard_at = self._heard_at = heard_at + stalled_s
        if now - heard_at > self._heard_ticks / TICK_RATE + PATIENCE_S:
            self._ahead += BEAT_TICKS
            self.on_frame(self._voice.conceal(BEAT_TICKS, now, None))

    def _send_output(self) -> None:
        """Digits and reports that are due."""
        for packet in self.session.take_output():
            if not self._is_stopped:
                self.transport.send(packet)


def _nobody(frame: AudioFrame) -> None:
    """No hub listens yet, or any more."""


def _no_keys(press: DigitPressed) -> None:
    """No leg listens yet."""


def _nothing(data: bytes, now: float) -> None:
    """The stream has ended."""

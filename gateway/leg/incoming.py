"""Incoming: what a party says, from packets to a timeline without gaps.

    transport ─▸ RtpSession.receive ─▸ Voice (lazy decode) ─▸ on_frame

A packet in is a frame out in the same callback. The pacer's beat fills what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from gateway.codec import TICK_RATE
from gateway.leg.leg import DigitPressed, Phase
from gateway.media.conceal import read_noise
from gateway.media.frame import AudioFrame, Voice
from gateway.rtp.dtmf import DigitEvent
from gateway.rtp.received import Hole, Late, Packet, Received
from gateway.rtp.session import RtpSession

TICKS_PER_MS = TICK_RATE // 1000
BEAT_TICKS = 20 * TICKS_PER_MS
BEAT_S = BEAT_TICKS / TICK_RATE

PATIENCE_S = 0.04
"So long after the end of its last packet a party counts as silent, and is filled in for."

MAX_PATIENCE_S = 0.1
"""Where packets come later than that, it is longer, up to about this: what was filled in is left
out when it comes, so that jitter would be heard. Whoever hears it has a jitter buffer anyway."""

PATIENCE_STEP_S = 0.01
"By how much more than one came late the next may."

REST_PATIENCE_S = 0.02
"In a pause that was told nothing is waited for, but that jitter must not cut the first word."

FORGET_S = 10.0
"After so long without a late packet a party is waited for no longer than another."

MAX_LATE_TICKS = 100 * TICKS_PER_MS
"""So much at most of what comes at the pace of speech is left out for what was filled in. Beyond it
nothing was late: the party's clock stood still meanwhile, or it is another source (F11)."""

MAX_BURST_TICKS = 100 * TICKS_PER_MS
"So much at most goes out at once after a stall (F14): five packets of 20 ms."

MIN_GAP_TICKS = TICK_RATE // 400
"A shorter gap is the rounding of one clock to another."

MAX_FILL_TICKS = 60 * TICKS_PER_MS
"A hole longer than this is not concealed when packets return: the timeline just goes on."


class Incoming:
    """The receiving half of a stream: a live speaker's voice, and what is filled in for it."""

    def __init__(self, session: RtpSession, *, on_other: Callable[[], None], now: float) -> None:
        """`on_other` is called after anything but a packet in order: timers may be nearer then."""
        self.on_frame: Callable[[AudioFrame], None] = _nobody
        self.on_digit: Callable[[DigitPressed], None] = _no_keys
        self._session = session
        self._receive = session.receive
        self._on_other = on_other
        self._voice = Voice()
        self._heard_at: float | None = None  # None: not yet, or not to be expected
        self._heard_ticks = BEAT_TICKS  # what the last packet held
        self._next_at = 0  # where the next packet is due: ticks of the party's own timeline
        self._ahead = 0  # ticks that were filled in before it was known what is missing
        self._hole = 0  # ticks that are missing, and will be filled when it is known what follows
        self._beat_at = now
        self._patience_s = PATIENCE_S
        self._jittered_at = now  # when a packet was late last
        self._is_resting = False  # in a pause that the party told (RFC 3389)
        self._noise_rms = 0.0

    @property
    def is_resting(self) -> bool:
        """Whether the party has told that it pauses (RFC 3389), and has not gone on yet."""
        return self._is_resting

    def recent(self) -> tuple[AudioFrame, ...]:
        """The last frames of the party, oldest first."""
        return self._voice.recent

    def expect_nothing(self) -> None:
        """The party is not to speak, and so is not missing."""
        self._heard_at, self._ahead, self._is_resting = None, 0, False

    def close(self) -> None:
        """Free the decoders; nothing is said any more."""
        self._voice.close()
        self._heard_at = None
        self.on_frame, self.on_digit, self._on_other = _nobody, _no_keys, _nothing_else

    def receive(self, data: bytes, now: float) -> None:
        """Take one packet, RTP or RTCP, in the clear."""
        if len(data) > 1 and 192 <= data[1] <= 223:  # RTCP (RFC 5761 §4)
            self._session.receive_rtcp(data, now)
            return
        items = self._receive(data, now)
        if len(items) == 1:
            item = items[0]
            if type(item) is Packet:
                self._take_packet(item, now)
                return
        for item in items:
            self.take(item, now)
        self._on_other()

    def take(self, item: Received, now: float) -> None:
        """Take what the session has put in order."""
        if isinstance(item, Hole):
            self._take_hole(item, now)
            return
        if self._hole:
            self._fill_hole(now, None)
        if isinstance(item, Packet):
            self._take_packet(item, now)
        elif isinstance(item, Late):
            self._shorten(item.seconds, now)
        else:
            self._take_digit(item)

    def on_beat(self, now: float) -> None:
        """20 ms have passed: go on for a party that is missing."""
        stalled_s = now - self._beat_at - BEAT_S
        self._beat_at = now
        heard_at = self._heard_at
        if heard_at is None:
            return
        if stalled_s > BEAT_S:
            # We were away, not the party: what it said meanwhile has yet to be read.
            heard_at = self._heard_at = heard_at + stalled_s
        patience_s = REST_PATIENCE_S if self._is_resting else self._patience_s
        if now - heard_at > self._heard_ticks / TICK_RATE + patience_s:
            self._fill_beat(now)

    def _fill_beat(self, now: float) -> None:
        if self._session.waits_until < inf:
            return  # it is there, behind one that is missing: what comes after tells more of that
        if now - self._jittered_at > FORGET_S:
            self._patience_s = PATIENCE_S
        self._ahead += BEAT_TICKS
        self.on_frame(self._absence(BEAT_TICKS, now))

    def _absence(self, ticks: int, now: float, following: bytes | None = None) -> AudioFrame:
        """What a party sounds like that is not there, or rests."""
        if self._is_resting:
            return self._voice.pause(ticks, now, self._noise_rms)
        return self._voice.conceal(ticks, now, following)

    def _take_hole(self, hole: Hole, now: float) -> None:
        """Fill it; a row of holes as one, so that all of it leads over to what follows."""
        ticks = hole.duration * (TICK_RATE // hole.codec.clock_rate)
        if self._hole and self._hole + ticks > MAX_FILL_TICKS:
            self._fill_hole(now, None)
        self._hole += ticks
        self._next_at = (hole.timestamp + hole.duration) * (TICK_RATE // hole.codec.clock_rate)
        # Opus repairs one packet, and conceals the others by itself.
        if hole.following is not None or hole.codec.name == "opus":
            self._fill_hole(now, hole.following)

    def _fill_hole(self, now: float, following: bytes | None) -> None:
        ticks, self._hole = self._hole, 0
        self._fill(ticks, now, following)

    def _take_digit(self, event: DigitEvent) -> None:
        self.on_digit(DigitPressed(event.digit, Phase(event.phase), event.duration_ms))

    def _take_packet(self, packet: Packet, now: float) -> None:
        codec = packet.codec
        scale = TICK_RATE // codec.clock_rate
        duration = packet.duration * scale
        if not duration:
            self._take_noise(packet.payload, now)
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
        if self._is_resting:
            self._is_resting = False
            if self._ahead > MAX_LATE_TICKS:
                self._ahead = 0  # its timestamps do not count the pause
        is_late = self._ahead >= duration and self._is_late(duration, now)
        pause_s = 0.0 if self._heard_at is None else now - self._heard_at
        self._heard_at, self._heard_ticks = now, duration
        if is_late:
            self._learn_jitter(pause_s - duration / TICK_RATE, now)
            # Its place was filled while it was missing. Playing it too would add its length to
            # the delay of the call, for good.
            self._ahead -= duration
            return
        self.on_frame(self._voice.frame(codec, packet.payload, duration, now))

    def _take_noise(self, payload: bytes, now: float) -> None:
        """The party rests. How that sounds is told, not for how long: the beat fills the pause."""
        self._noise_rms = read_noise(payload)
        if self._is_resting or self._heard_at is None:
            return
        self._is_resting = True
        self._heard_at, self._heard_ticks = now, BEAT_TICKS
        if not self._ahead:
            self._ahead = BEAT_TICKS
            self.on_frame(self._absence(BEAT_TICKS, now))

    def _shorten(self, late_s: float, now: float) -> None:
        """Let most of a burst be past: whoever hears it could not play it any more (F14).

        What the beat has filled in is left out anyway; this is for stalls of ours.
        """
        length = self._heard_ticks
        excess = late_s * TICK_RATE - self._ahead - MAX_BURST_TICKS
        if excess <= 0 or self._heard_at is None:
            return
        missed = -int(-excess // length) * length
        self._ahead += missed
        self._heard_at = now
        self.on_frame(self._voice.leave_out(missed, now))

    def _learn_jitter(self, late_s: float, now: float) -> None:
        """A packet came so late that its place was filled: wait longer for the next."""
        self._jittered_at = now
        if self._patience_s < late_s <= MAX_PATIENCE_S:
            self._patience_s = late_s + PATIENCE_STEP_S

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
            self.on_frame(self._absence(ticks, now, following))


def _nobody(frame: AudioFrame) -> None:
    """No hub listens yet, or any more."""


def _no_keys(press: DigitPressed) -> None:
    """No leg listens yet."""


def _nothing_else() -> None:
    """The stream has ended."""

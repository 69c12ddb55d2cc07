"""The meter of a stream: looks at it once a second, and tells what is wrong with its media.

It costs nothing for a packet: it reads counters, and measures sound on some of the last frames.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import NamedTuple, Protocol

from gateway.leg.leg import MediaQuality
from gateway.leg.quality import (
    Alert,
    QualityAlert,
    ReceivedQuality,
    SentQuality,
    Trouble,
    Way,
)
from gateway.leg.tap import EncoderTap, Tap, Tapped
from gateway.media.frame import AudioFrame
from gateway.media.g711 import LAWS
from gateway.media.level import LevelMeter
from gateway.rtp.emodel import rate
from gateway.rtp.packet import HEADER_BYTES
from gateway.rtp.quality import rate_received, way_ms
from gateway.rtp.session import RtpSession
from gateway.rtp.stats import Glance, RemoteStats, StreamStats
from gateway.sdp.negotiation import Agreement

LOOK_S = 1.0
"How often it is looked. A silence of `MISSING_S` is noticed so much later at most."

LISTEN_LOOKS = 8
"At every so many looks some frames are listened to: 160 ms of 8 s, which is one frame in 50."

MISSING_S = 3.0
"A party that is to be heard and of which nothing comes for so long is not heard."

PAUSE_S = 15.0
"The same for one that is known to send nothing while it is silent (RFC 3551 §4.1)."

UNHEARD_S = 1.5
"Of so much the reports of a party may not know: it was on the way, and reports are rare."

SETTLE_S = 2.0
"Reports that come sooner after the beginning tell of the time before."

WINDOW_LOOKS = 5
"Loss and clipping are wrong if they are so over the last seconds."

MIN_EXPECTED = 50
"Packets of that window: of fewer no share is taken."

HIGH_LOSS, LOW_LOSS = 0.05, 0.025
"A share of packets that is heard whatever hides it; below the lower one it is over."

MUCH_CLIPPED, LITTLE_CLIPPED = 0.01, 0.005
"Samples at the end of the scale: speech that was not clipped touches it a thousandth of the time."

SLACK_S = 0.001
"Timers may fire a fraction of a millisecond early."


class Speaker(Protocol):
    """What the party says."""

    @property
    def is_resting(self) -> bool:
        """Whether it has told that it pauses."""

    def recent(self) -> tuple[AudioFrame, ...]:
        """Its last frames, oldest first."""


class _Mark(NamedTuple):
    """Counters at one look; the window lies between two."""

    expected: int
    missing: int
    samples: int
    clipped: int


class QualityMeter:
    """What one leg's media is like, in both directions."""

    def __init__(self, session: RtpSession, incoming: Speaker, outgoing: Tapped) -> None:
        """It measures what the party says at `incoming`, and what it is told at `outgoing`."""
        self.look_at = inf
        "When `look` is due, in loop seconds."
        self._session = session
        self._incoming = incoming
        self._outgoing = outgoing
        self._tap: Tap | EncoderTap | None = None
        self._looks = 0
        self._said_until = -1  # the position after the last frame that was looked at
        self._heard, self._told = LevelMeter(), LevelMeter()
        self._jitter, self._remote_jitter = _Extremes(), _Extremes()
        self._marks: deque[_Mark] = deque([_Mark(0, 0, 0, 0)], maxlen=WINDOW_LOOKS + 1)
        self._codec = ""
        self._payload_type = -1
        self._ptime_ms = 20
        # Whether silence matters, and since when.
        self._receives = self._sends = self._is_connected = False
        self._began_at: float | None = None
        self._came_at = inf
        self._packets = self._missing = 0
        self._pauses = False
        self._remote: RemoteStats | None = None
        self._reported_at: float | None = None
        self._alerts: dict[tuple[Alert, Way], QualityAlert] = {}
        self._suffered_s: dict[tuple[Alert, Way], float] = {}

    def configure(self, agreement: Agreement, now: float) -> None:
        """Take what was agreed upon. One who holds us, or whom we hold, is not missed."""
        self._codec, self._payload_type = agreement.send.name, agreement.send.payload_type
        self._ptime_ms = agreement.ptime_ms
        direction = agreement.direction
        self._receives = direction.receives and direction.sends
        self._sends = direction.sends
        self._came_at = now
        if self.look_at == inf:
            self.look_at = now + LOOK_S

    def begin(self, now: float) -> None:
        """The call is up: from now on who is not heard is missed."""
        if self._began_at is None:
            self._began_at = self._came_at = now

    def set_connected(self, *, connected: bool, now: float) -> None:
        """The path is there, or it is not, and then its leg tells that."""
        self._is_connected = connected
        self._came_at = now

    def close(self) -> None:
        """Look no more; `quality` goes on telling what was, and what was wrong at the end."""
        self.look_at = inf
        self._take_sample()

    def look(self, now: float) -> list[QualityAlert]:
        """Look at the stream; returns what has gone wrong, or right again, since the last look."""
        self.look_at = now + LOOK_S
        self._looks += 1
        for key in self._alerts:
            self._suffered_s[key] += LOOK_S
        self._listen(self._looks % LISTEN_LOOKS)
        seen = self._session.glance()
        if seen.packets:
            self._jitter.take(seen.jitter_ms)
        told: list[QualityAlert] = []
        self._judge_receiving(seen, now, told)
        self._judge_window(seen, told)
        self._judge_reports(seen, told)
        return told

    def quality(self) -> MediaQuality:
        """How it fares now, and has since the beginning."""
        stats = self._session.stats
        return MediaQuality(
            codec=self._codec or None,
            round_trip_ms=stats.rtt_ms,
            jitter_ms=stats.received.jitter_ms,
            loss_percent=100 * stats.received.fraction_lost,
            received=self._received(stats),
            sent=self._sent(stats),
            alerts=tuple(self._alerts.values()),
            troubles=tuple(Trouble(*key, s) for key, s in self._suffered_s.items()),
        )

    # ---- looking

    def _listen(self, turn: int) -> None:
        """Measure some frames, those said or those heard: at each look but a part of it."""
        if turn == 1:
            frames = [
                frame for frame in self._incoming.recent() if frame.position >= self._said_until
            ]
            if frames:
                self._said_until = frames[-1].position + frames[-1].duration
                self._heard.look_at_frames(frames)
                self._session.signal_dbov = self._heard.level_dbov
        elif turn == 2:
            self._begin_sample()
        elif turn == 3:
            self._take_sample()

    def _begin_sample(self) -> None:
        """Keep some of what the party is sent: bytes of G.711, else what is to be coded."""
        encoder = self._outgoing.encoder
        if self._codec in LAWS:
            self._tap = Tap(self._outgoing)
        elif encoder is not None:
            self._tap = EncoderTap(self._outgoing, encoder)

    def _take_sample(self) -> None:
        tap, self._tap = self._tap, None
        if isinstance(tap, EncoderTap):
            self._told.look_at_pcm(tap.take())
        elif tap is not None:
            kind = self._payload_type
            payloads = [p[HEADER_BYTES:] for p in tap.take() if p[1] & 0x7F == kind]
            self._told.look_at_payload(self._codec, b"".join(payloads))

    def _judge_receiving(self, seen: Glance, now: float, told: list[QualityAlert]) -> None:
        """Whether anything comes from the party."""
        if seen.packets != self._packets:
            if self._packets and now - self._came_at > 2 * LOOK_S:
                self._learn_pauses(now - self._came_at - LOOK_S, seen.missing - self._missing)
            self._packets, self._missing, self._came_at = seen.packets, seen.missing, now
        is_expected = self._began_at is not None and self._receives and self._is_connected
        if not is_expected:
            self._came_at = now
        if self._incoming.is_resting:
            self._came_at = now
        patience_s = PAUSE_S if self._pauses else MISSING_S
        is_missing = is_expected and now - self._came_at >= patience_s - SLACK_S
        self._set(Alert.ONE_WAY_AUDIO, Way.RECEIVED, is_missing, told)

    def _learn_pauses(self, silent_s: float, missing: int) -> None:
        """One that comes back after a while, and has lost nothing meanwhile, was silent (DTX).

        Opus in DTX still sends every 400 ms (RFC 7587 §3.1.3).
        """
        received = self._session.stats.received
        if received.codec != "opus" and missing * received.packet_ms < silent_s * 1000 / 2:
            self._pauses = True

    def _judge_window(self, seen: Glance, told: list[QualityAlert]) -> None:
        """Whether much is lost, or too loud, of what comes."""
        heard = self._heard
        self._marks.append(_Mark(seen.expected, seen.missing, heard.samples, heard.clipped))
        first, last = self._marks[0], self._marks[-1]
        expected, samples = last.expected - first.expected, last.samples - first.samples
        if expected >= MIN_EXPECTED:
            share = (last.missing - first.missing) / expected
            self._judge(Alert.HIGH_LOSS, Way.RECEIVED, share, (LOW_LOSS, HIGH_LOSS), told)
        if samples:
            share = (last.clipped - first.clipped) / samples
            limits = LITTLE_CLIPPED, MUCH_CLIPPED
            self._judge(Alert.CLIPPING, Way.RECEIVED, share, limits, told)

    def _judge_reports(self, seen: Glance, told: list[QualityAlert]) -> None:
        """Whether the party's reports say that it hears us, and how well."""
        remote = seen.remote
        if remote is not None and remote is not self._remote:
            self._remote = remote
            self._remote_jitter.take(remote.jitter_ms)
            limits = LOW_LOSS, HIGH_LOSS
            self._judge(Alert.HIGH_LOSS, Way.SENT, remote.fraction_lost, limits, told)
        reported_at, began_at = seen.reported_at, self._began_at
        if not self._sends or not self._is_connected:
            self._set(Alert.ONE_WAY_AUDIO, Way.SENT, False, told)
        elif reported_at is not None and reported_at != self._reported_at:
            self._reported_at = reported_at
            if began_at is not None and reported_at >= began_at + SETTLE_S:
                unheard_ms = seen.unheard * self._ptime_ms - (seen.rtt_ms or 0.0)
                is_unheard = unheard_ms >= UNHEARD_S * 1000
                self._set(Alert.ONE_WAY_AUDIO, Way.SENT, is_unheard, told)

    def _judge(
        self,
        alert: Alert,
        way: Way,
        share: float,
        limits: tuple[float, float],
        told: list[QualityAlert],
    ) -> None:
        """Wrong from the upper limit on, right again below the lower one; between, as it was."""
        low, high = limits
        if share >= high or share < low:
            self._set(alert, way, share >= high, told)

    def _set(self, alert: Alert, way: Way, is_wrong: bool, told: list[QualityAlert]) -> None:
        key = alert, way
        if is_wrong == (key in self._alerts):
            return
        if is_wrong:
            self._alerts[key] = QualityAlert(alert, way)
            self._suffered_s.setdefault(key, 0.0)
            told.append(self._alerts[key])
        else:
            del self._alerts[key]
            told.append(QualityAlert(alert, way, is_over=True))

    # ---- telling

    def _received(self, stats: StreamStats) -> ReceivedQuality:
        received, heard, jitter = stats.received, self._heard, self._jitter
        rating = rate_received(received, stats.rtt_ms) if received.packets else None
        way = way_ms(stats.rtt_ms, received.packet_ms, received.jitter_ms)
        return ReceivedQuality(
            packets=received.packets,
            bytes=received.bytes,
            lost=received.lost,
            loss_percent=received.pattern.loss_percent,
            late=received.late,
            reordered=received.reordered,
            duplicates=received.duplicates,
            jitter_ms=received.jitter_ms if received.packets else None,
            jitter_max_ms=jitter.maximum,
            jitter_mean_ms=jitter.mean,
            burst_ratio=received.pattern.burst_ratio,
            r_factor=None if rating is None else rating.r,
            mos=None if rating is None else rating.mos,
            mos_now=self._mos_now(received.codec, way),
            level_dbov=heard.level_dbov,
            clipping_percent=heard.clipping_percent,
            silence_percent=heard.silence_percent,
        )

    def _mos_now(self, codec: str, way: float) -> float | None:
        """By the loss of the last seconds; None where nothing was to come."""
        first, last = self._marks[0], self._marks[-1]
        expected = last.expected - first.expected
        if not expected:
            return None
        percent = 100 * (last.missing - first.missing) / expected
        return rate(codec, loss_percent=percent, delay_ms=way).mos

    def _sent(self, stats: StreamStats) -> SentQuality:
        remote, told = stats.remote, self._told
        quality = SentQuality(
            packets=stats.sent.packets,
            bytes=stats.sent.bytes,
            jitter_max_ms=self._remote_jitter.maximum,
            jitter_mean_ms=self._remote_jitter.mean,
            level_dbov=told.level_dbov,
            clipping_percent=told.clipping_percent,
            silence_percent=told.silence_percent,
        )
        if remote is not None:
            quality.lost = max(0, remote.lost)
            quality.loss_percent = min(100.0, 100 * quality.lost / max(1, stats.sent.packets))
            quality.jitter_ms = remote.jitter_ms
            way = way_ms(stats.rtt_ms, self._ptime_ms, remote.jitter_ms)
            rating = rate(self._codec, loss_percent=quality.loss_percent, delay_ms=way)
            quality.r_factor, quality.mos = rating.r, rating.mos
            percent = 100 * remote.fraction_lost
            quality.mos_now = rate(self._codec, loss_percent=percent, delay_ms=way).mos
        voice = stats.voice
        if voice is not None and voice.mos is not None:
            quality.r_factor, quality.mos, quality.is_mos_told = voice.r, voice.mos, True
        return quality


class _Extremes:
    """The greatest and the mean of what was sampled."""

    __slots__ = ("_count", "_sum", "maximum")

    def __init__(self) -> None:
        self.maximum: float | None = None
        self._sum = 0.0
        self._count = 0

    @property
    def mean(self) -> float | None:
        return self._sum / self._count if self._count else None

    def take(self, value: float) -> None:
        self.maximum = value if self.maximum is None else max(self.maximum, value)
        self._sum += value
        self._count += 1

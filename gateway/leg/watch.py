"""Whether a party is still there, judged by its media (F10, S19)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from gateway.leg.leg import EndReason
from gateway.leg.stream import AudioStream
from gateway.net.udp_media import UdpMediaTransport
from gateway.rtp.stats import StreamStats

LOOK_S = 2.0
"""How often it is looked; so much later than it could be a silence is noticed. Who holds others and
sends them nothing from one look to the next has no music for them."""

MIN_TIMEOUT_S = 5.0
"Nobody is given up sooner after the answer: the first packet of some takes its time."

TIMER_SLACK_S = 0.001
"Timers may fire a fraction of a millisecond early."


class Phase(Enum):
    """What is to be expected of a party."""

    EARLY = "early"
    "It has yet to answer, and lets its callers hear something."
    OPEN = "open"
    HOLD = "hold"
    "One holds the other: many say nothing at all then."


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How long a party may be silent, RTP and RTCP both; 0: for ever."""

    media_timeout_s: float = 30.0
    "While it is to be heard."
    hold_timeout_s: float = 300.0
    "While one holds the other."
    early_media_timeout_s: float = 60.0
    "Before it answers, from when it said that it is to be heard."
    cut_off_timeout_s: float = 6.0
    """While it is to be heard, but the connection of its signalling is closed: a tab that was
    closed says no goodbye. A phone that has lost its network may be back by then."""


class MediaWatch:
    """Looks at a stream now and then, and knows when its party is gone."""

    def __init__(self, options: WatchOptions, now: float) -> None:
        """From `now` on it is to be heard."""
        self.is_quiet = False
        "Whether no RTP came between the last two looks."
        self._options = options
        self._heard_at = now
        self._packets = 0
        self._reported_at: float | None = None

    def begin(self, now: float) -> None:
        """It has answered: what was before counts no more."""
        self._heard_at = now

    def look(
        self, stats: StreamStats, now: float, phase: Phase, *, is_cut_off: bool = False
    ) -> EndReason | None:
        """Why the party is given up, nothing having come of it for too long; None: it is not."""
        packets = stats.received.packets
        reported_at = stats.reported_at
        self.is_quiet = packets == self._packets
        if not self.is_quiet or reported_at != self._reported_at:
            self._heard_at = now
            self._packets, self._reported_at = packets, reported_at
        limit_s, reason = self._limit(phase, is_cut_off=is_cut_off)
        silent_s = now - self._heard_at + TIMER_SLACK_S
        return reason if limit_s > 0 and silent_s >= max(limit_s, MIN_TIMEOUT_S) else None

    def _limit(self, phase: Phase, *, is_cut_off: bool) -> tuple[float, EndReason]:
        options = self._options
        if phase is Phase.EARLY:
            return options.early_media_timeout_s, EndReason.EARLY_MEDIA_TIMEOUT
        if phase is Phase.HOLD:
            return options.hold_timeout_s, EndReason.LEFT if is_cut_off else EndReason.HOLD_TIMEOUT
        if is_cut_off:
            return options.cut_off_timeout_s, EndReason.LEFT
        return options.media_timeout_s, EndReason.MEDIA_TIMEOUT


class PartyWatch:
    """Looks at the media of a party again and again, from when it is to be heard until it ends."""

    def __init__(
        self,
        stream: AudioStream,
        options: WatchOptions,
        *,
        loop: asyncio.AbstractEventLoop,
        phase: Callable[[], Phase],
        is_cut_off: Callable[[], bool],
        on_gone: Callable[[EndReason], None],
        on_look: Callable[[bool], None],
    ) -> None:
        """
        Args:
            phase: what is to be expected of the party now.
            is_cut_off: whether the connection of its signalling is closed.
            on_gone: told why it is given up, once.
            on_look: told, time and again, whether no RTP came since the look before.
        """
        self._stream = stream
        self._options = options
        self._loop = loop
        self._phase = phase
        self._is_cut_off = is_cut_off
        self._on_gone = on_gone
        self._on_look = on_look
        self._media: MediaWatch | None = None
        self._is_up = self._is_closed = False
        self._next: asyncio.TimerHandle | None = None

    def begin(self, *, is_up: bool) -> None:
        """The party is to be heard from now on; and once more when it is up, which counts anew."""
        if self._is_closed:
            return
        now = self._loop.time()
        if self._media is None:
            self._media = MediaWatch(self._options, now)
            self._wait()
        if is_up and not self._is_up:
            self._is_up = True
            self._media.begin(now)
            self._stream.begin()

    def mark(self) -> None:
        """Have the next look tell whether anything came from now on."""
        if self._media is not None and not self._is_closed:
            self._judge(self._media)
            self._wait()

    def close(self) -> None:
        """Look no more, and let go of who is told."""
        self._is_closed = True
        if self._next is not None:
            self._next.cancel()
        self._phase, self._is_cut_off = _open, _never
        self._on_gone = self._on_look = _nothing

    def _wait(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        media, transport = self._media, self._stream.transport
        assert media is not None
        reason = self._judge(media)
        if reason is not None:
            self._on_gone(reason)
            return
        self._wait()
        if media.is_quiet and isinstance(transport, UdpMediaTransport):
            transport.doubt()  # the network may know why
        self._on_look(media.is_quiet)

    def _judge(self, media: MediaWatch) -> EndReason | None:
        stats = self._stream.session.stats
        return media.look(stats, self._loop.time(), self._phase(), is_cut_off=self._is_cut_off())


def _open() -> Phase:
    return Phase.OPEN


def _never() -> bool:
    return False


def _nothing(told: object) -> None:
    """The party has ended."""

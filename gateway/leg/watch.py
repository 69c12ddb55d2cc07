"""Whether a party is still there, judged by its media (F10, S19)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.rtp.stats import StreamStats

LOOK_S = 2.0
"How often it is looked; so much later than it could be a silence is noticed."

MIN_TIMEOUT_S = 5.0
"Nobody is given up sooner after the answer: the first packet of some takes its time."

TIMER_SLACK_S = 0.001
"Timers may fire a fraction of a millisecond early."


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How long a party may be silent, RTP and RTCP both; 0: for ever."""

    media_timeout_s: float = 30.0
    "While it is to be heard."
    hold_timeout_s: float = 300.0
    "While one holds the other: many say nothing at all then."
    cut_off_timeout_s: float = 6.0
    """While it is to be heard, but the connection of its signalling is closed: a tab that was
    closed says no goodbye. A phone that has lost its network may be back by then."""


class MediaWatch:
    """Looks at a stream now and then, and knows when its party is gone."""

    def __init__(self, options: WatchOptions, now: float) -> None:
        """From `now` on it is to be heard."""
        self._options = options
        self._heard_at = now
        self._mark: tuple[int, float] | None = None

    def is_silent(
        self, stats: StreamStats, now: float, *, on_hold: bool, is_cut_off: bool = False
    ) -> bool:
        """Whether nothing has come for too long."""
        reported_at = 0.0 if stats.remote is None else stats.remote.reported_at
        mark = (stats.received.packets, reported_at)
        if mark != self._mark:
            if self._mark is not None:
                self._heard_at = now
            self._mark = mark
        options = self._options
        limit_s = options.hold_timeout_s if on_hold else options.media_timeout_s
        if is_cut_off and not on_hold:
            limit_s = options.cut_off_timeout_s
        silent_s = now - self._heard_at + TIMER_SLACK_S
        return limit_s > 0 and silent_s >= max(limit_s, MIN_TIMEOUT_S)

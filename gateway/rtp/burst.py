"""How losses lie together: bursts and gaps (RFC 3611 §4.7.2), and the burst ratio of G.107.

It is told of losses alone: where there are none, it costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

G_MIN = 16
"So many packets received in a row end a burst (RFC 3611 §4.7.2)."


@dataclass(frozen=True, slots=True)
class LossPattern:
    """How the packets of a stream were lost, or came too late to be played."""

    expected: int = 0
    "Packets up to the last one that was waited for."
    missing: int = 0
    runs: int = 0
    "Rows of missing packets, of one or more."
    bursts: int = 0
    "Stretches with two missing packets or more, and never `G_MIN` received ones between them."
    burst_packets: int = 0
    "Packets that were expected within those, and how many of them were missing:"
    burst_missing: int = 0
    gaps: int = 0
    "Stretches between bursts, before the first one and after the last."

    @property
    def loss_percent(self) -> float:
        """Missing of all that were expected."""
        return 100 * self.missing / self.expected if self.expected else 0.0

    @property
    def burst_ratio(self) -> float:
        """The mean row of losses, as a multiple of what it were by chance (G.107 §7.5)."""
        if not self.runs or self.missing >= self.expected:
            return 1.0
        by_chance = 1 / (1 - self.missing / self.expected)
        return self.missing / self.runs / by_chance

    @property
    def burst_density(self) -> float:
        """Missing within bursts, 0 to 1."""
        return self.burst_missing / self.burst_packets if self.burst_packets else 0.0

    @property
    def gap_density(self) -> float:
        """Missing outside of bursts, 0 to 1."""
        packets = self.expected - self.burst_packets
        return (self.missing - self.burst_missing) / packets if packets > 0 else 0.0

    def burst_ms(self, packet_ms: float) -> float:
        """How long a burst is on average; 0 where there was none."""
        return self.burst_packets * packet_ms / self.bursts if self.bursts else 0.0

    def gap_ms(self, packet_ms: float) -> float:
        """How long it is between bursts on average."""
        packets = self.expected - self.burst_packets
        return packets * packet_ms / self.gaps if self.gaps else 0.0


class LossGauge:
    """Is told of each loss, and tells the pattern."""

    __slots__ = (
        "_burst_missing",
        "_burst_packets",
        "_bursts",
        "_cluster_end",
        "_cluster_missing",
        "_cluster_start",
        "_runs",
        "_starts_lossy",
        "missing",
    )

    def __init__(self) -> None:
        self.missing = 0
        "Packets that were not there when their time came."
        self._runs = 0
        self._bursts = self._burst_packets = self._burst_missing = 0
        # The losses that may yet turn out to be one burst: packets from start to before end.
        self._cluster_start = self._cluster_end = -G_MIN
        self._cluster_missing = 0
        self._starts_lossy = False

    def lose(self, place: int, count: int) -> None:
        """So many packets from `place` on are missing; places count from 0 and only grow."""
        if count <= 0:
            return
        received = place - self._cluster_end
        self.missing += count
        if received > 0 or not self._runs:
            self._runs += 1
        if received >= G_MIN or not self._cluster_missing:
            self._close_cluster()
            self._cluster_start, self._cluster_missing = place, 0
        self._cluster_missing += count
        self._cluster_end = place + count

    def pattern(self, expected: int) -> LossPattern:
        """The pattern so far, of `expected` packets."""
        bursts, packets, missing = self._bursts, self._burst_packets, self._burst_missing
        starts_lossy = self._starts_lossy
        is_open = self._cluster_missing > 1
        if is_open:
            starts_lossy = starts_lossy or (not bursts and self._cluster_start == 0)
            bursts += 1
            packets += self._cluster_end - self._cluster_start
            missing += self._cluster_missing
        ends_lossy = is_open and self._cluster_end >= expected
        gaps = bursts + 1 - starts_lossy - ends_lossy
        return LossPattern(expected, self.missing, self._runs, bursts, packets, missing, gaps)

    def _close_cluster(self) -> None:
        if self._cluster_missing < 2:
            return
        self._starts_lossy = self._starts_lossy or self._cluster_start == 0
        self._bursts += 1
        self._burst_packets += self._cluster_end - self._cluster_start
        self._burst_missing += self._cluster_missing

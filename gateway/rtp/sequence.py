"""Which packets begin a new sequence, and which come late of an old one (RFC 3550 A.1)."""

from __future__ import annotations

from collections import deque

MAX_DROPOUT = 3000
"Packets that may be missing in a row; a longer jump is a new sequence (RFC 3550 A.1)."

MAX_MISORDER = 100
"Packets by which one may come late; an older one is a new sequence (RFC 3550 A.1)."

RESTART_PACKETS = 3
RESTART_S = 0.03
"""So many late packets in sequence, over so long, and nothing else: the sender started over.
Recordings that are played in a loop do (SIPp). A late burst comes faster than that."""


LEFT_SOURCE_S = 0.2
"An SSRC that was left is taken back only after such a silence: its last packets come late."

LEFT_SOURCES = 8
"SSRCs known as left. A peer that makes up more of them only disturbs its own call."


class RestartDetector:
    """Watches what does not fit, until enough of it fits together."""

    __slots__ = ("_due", "_late", "_late_due", "_late_place", "_late_since")

    def __init__(self) -> None:
        self._due = -1  # after a packet far off: what would confirm it
        self._late_due = -1  # after a late packet: what would go on with it
        self._late_place = -1
        self._late = 0
        self._late_since = 0.0

    def is_second_of_jump(self, sequence: int) -> bool:
        """Whether a packet far off directly follows another: the sender goes on from there."""
        is_second = sequence == self._due
        self._due = (sequence + 1) & 0xFFFF
        return is_second

    def is_start_over(self, sequence: int, expected: int, now: float) -> bool:
        """Whether a late packet goes on with a row of late ones that is a sequence of its own.

        Args:
            expected: the place expected instead; where it moves, the old sequence is alive.
        """
        if sequence != self._late_due or expected != self._late_place:
            self._late, self._late_place, self._late_since = 0, expected, now
        self._late += 1
        self._late_due = (sequence + 1) & 0xFFFF
        return self._late >= RESTART_PACKETS and now - self._late_since >= RESTART_S


class LeftSources:
    """SSRCs that were changed for another."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: deque[int] = deque(maxlen=LEFT_SOURCES)

    def add(self, ssrc: int) -> None:
        """It was left."""
        self._known.append(ssrc)

    def comes_late(self, ssrc: int, elapsed_s: float) -> bool:
        """Whether a packet, so long after the last of any, is one of the last of a left source."""
        return elapsed_s < LEFT_SOURCE_S and ssrc in self._known

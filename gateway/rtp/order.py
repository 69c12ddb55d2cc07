"""Packets that wait for one before them: how long, and what was given up (RFC 3550 A.1)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from gateway.rtp.packet import RtpPacket
from gateway.rtp.payload import Format
from gateway.rtp.sequence import MAX_MISORDER

MAX_WAITING = 64
"Packets held while an earlier one is missing: a burst of 10 ms packets after a stall of 0.6 s."

ORDERLY_PACKETS = 500
"After so many of which none came late or overtook another, a path is taken to keep the order."

ORDERLY_WAIT_S = 0.01
"""How long a missing packet is waited for on such a path: enough for what two queues of a network
card disturb. Those behind a lost one go on early then, and not in a burst."""


@dataclass(frozen=True, slots=True)
class ReceiverOptions:
    """How patient a receiver is."""

    reorder_ms: int = 40
    """How long a missing packet is waited for before it counts as lost, on a path that may disturb
    the order (see `Order`)."""


@dataclass(slots=True)
class Held:
    """A packet that waits for those before it, or is about to be delivered."""

    packet: RtpPacket
    format: Format | None
    "None for what takes a place in the sequence but none in the timeline: events and the unknown."
    duration: int
    arrived_at: float
    elapsed_s: float
    "Since the arrival before."


class Order:
    """What waits, by its place: its number in the sequence, counted from 0."""

    __slots__ = ("_disturbed_after", "_given_up", "_reorder_s", "_waiting", "deadline")

    def __init__(self, reorder_s: float) -> None:
        """`reorder_s` is waited for a missing packet where the path may disturb the order."""
        self.deadline = inf
        "When those that are missing are given up; infinity while nothing waits."
        self._reorder_s = reorder_s
        self._waiting: dict[int, Held] = {}
        self._given_up: set[int] = set()
        self._disturbed_after = 0  # so many packets

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first(self) -> int:
        """The lowest place that waits; there is one."""
        return min(self._waiting)

    @property
    def last(self) -> int:
        """The highest place that waits; there is one."""
        return max(self._waiting)

    def has(self, place: int) -> bool:
        """Whether a packet of that place waits."""
        return place in self._waiting

    def add(self, place: int, held: Held, packets: int) -> bool:
        """Let one wait, or pass.

        Args:
            packets: received so far, itself among them.

        Returns:
            Whether a later one is there before it.
        """
        waiting = self._waiting
        is_overtaken = bool(waiting) and place < max(waiting)
        if is_overtaken:
            self._disturbed_after = packets
        waiting[place] = held
        return is_overtaken

    def take(self, place: int) -> Held | None:
        """The packet of that place, which waits no more."""
        return self._waiting.pop(place, None)

    def set_deadline(self, packets: int) -> None:
        """Those that wait now do so until then."""
        self.deadline = inf
        if self._waiting:
            is_orderly = packets - self._disturbed_after >= ORDERLY_PACKETS
            wait_s = min(ORDERLY_WAIT_S, self._reorder_s) if is_orderly else self._reorder_s
            self.deadline = min(held.arrived_at for held in self._waiting.values()) + wait_s

    def give_up(self, place: int, until: int) -> None:
        """Nothing from `place` on and before `until` is waited for any more."""
        if len(self._given_up) > MAX_MISORDER:
            self._given_up = {old for old in self._given_up if old >= until - MAX_MISORDER}
        self._given_up.update(range(max(place, until - MAX_MISORDER), until))

    def is_late(self, place: int) -> bool:
        """Whether one that comes now was given up before; asked once for each."""
        if place not in self._given_up:
            return False
        self._given_up.discard(place)
        return True

    def disturb(self, packets: int) -> None:
        """One came late."""
        self._disturbed_after = packets

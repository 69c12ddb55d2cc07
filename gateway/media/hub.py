"""The media of one call: who hears whom, how loud."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from gateway.media.frame import AudioFrame
from gateway.media.playout import Playout

PartyId = str


class Listener(Protocol):
    """Hears one frame. Relays its payload if it takes that codec, else encodes; sends at once.

    Never blocks, waits or raises. Frames come one after the other without gaps: time on the wire
    goes on by `frame.duration`, whatever `frame.position` says (it is the speaker's clock).
    """

    @property
    def is_connected(self) -> bool:
        """Whether what it hears goes out now; a queued speaker waits for those who are not."""

    def hear(self, frame: AudioFrame) -> None: ...


class Hub:
    """Who hears whom. All methods are atomic: nothing is ever half routed."""

    faults: int
    "Frames lost on a listener that raised."

    def __init__(self, *, on_fault: Callable[[PartyId, Exception], None] | None = None) -> None:
        """`on_fault` is told when a listener raised; the others have heard their frame all the same."""
        raise NotImplementedError

    def join(
        self,
        party: PartyId,
        *,
        listener: Listener | None = None,
        playout: Playout | None = None,
        counts: bool = True,
    ) -> None:
        """Let a party in; it hears and is heard only as routed. Without a playout it speaks live.

        `counts=False` (a recorder) keeps it out of queued speakers' played-out clock.
        """
        raise NotImplementedError

    def leave(self, party: PartyId) -> None:
        """Forget a party and every route from and to it; unknown parties are ignored."""
        raise NotImplementedError

    def refresh(self, party: PartyId) -> None:
        """Its codec or rate changed: look at its listener again."""
        raise NotImplementedError

    def route(
        self,
        hears: Mapping[PartyId, Mapping[PartyId, float]],
        *,
        keep: Collection[PartyId] = (),
    ) -> None:
        """Replace all routes at once: listener → speaker → gain (1.0 is as it came).

        A listener named with no speakers hears silence; one not named hears nothing at all.
        A queued speaker whose audience changes is cleared, and told, unless it is in `keep`.
        Parties unknown to the hub are ignored.
        """
        raise NotImplementedError

    def push(self, speaker: PartyId, frame: AudioFrame) -> None:
        """A live speaker said this."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """20 ms have passed: feed who is not clocked by a live speaker. Called by the pacer."""
        raise NotImplementedError

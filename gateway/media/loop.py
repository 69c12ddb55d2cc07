"""A sound said over and over: music on hold, the ringing tone."""

from __future__ import annotations

from functools import cache

import numpy as np

from gateway.media.frame import Pcm
from gateway.media.playout import Playout
from gateway.media.tone import melody, ringback

TONE_RATE = 8000
"Hz of what we make ourselves: every party takes it, and nobody misses more of a tone."

AHEAD_MS = 20_000
"What is queued at least after `refill`: twice what passes until the next."

REFILL_S = 10.0
"How often `refill` is to be called."

PIECE_S = 5
"What is queued at once, so that the queue is never much longer than it has to be."


class Loop:
    """One sound without end, as the mouth of a queued speaker."""

    __slots__ = ("_at", "_pcm", "_rate", "playout")

    def __init__(self, pcm: Pcm, rate: int) -> None:
        """`pcm` is mono at a rate that a `Playout` takes, and is shared: nobody writes to it.

        Raises:
            ValueError: there is nothing in it.
        """
        if not len(pcm):
            raise ValueError("a loop of nothing")
        self.playout = Playout()
        self._pcm, self._rate = pcm, rate
        self._at = 0

    def refill(self) -> None:
        """Queue more, where less than `AHEAD_MS` is left."""
        while self.playout.queued_ms < AHEAD_MS:
            piece = self._pcm[self._at : self._at + PIECE_S * self._rate]
            self.playout.say_pcm(piece, self._rate)
            self._at = (self._at + len(piece)) % len(self._pcm)


@cache
def ringing_tone() -> Pcm:
    """The ringing tone at `TONE_RATE`."""
    return _shared(ringback(TONE_RATE))


@cache
def hold_music() -> Pcm:
    """Our own music on hold at `TONE_RATE`: a few soft notes, and a pause."""
    return _shared(melody(TONE_RATE))


def _shared(pcm: Pcm) -> Pcm:
    pcm = np.ascontiguousarray(pcm)
    pcm.setflags(write=False)
    return pcm

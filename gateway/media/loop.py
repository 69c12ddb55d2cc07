"""A sound said over and over: music on hold, the ringing tone."""

from __future__ import annotations

from functools import cache

from gateway.codec import TICK_RATE
from gateway.media.playout import Playout
from gateway.media.sound import Sound
from gateway.media.tone import melody, ringback

TONE_RATE = 8000
"Hz of what we make ourselves: every party takes it, and nobody misses more of a tone."

AHEAD_MS = 20_000
"What is queued at least after `refill`: twice what passes until the next."

REFILL_S = 10.0
"How often `refill` is to be called."

PIECE_TICKS = 5 * TICK_RATE
"What is queued at once, so that the queue is never much longer than it has to be."


class Loop:
    """One sound without end, as the mouth of a queued speaker."""

    __slots__ = ("_at", "_sound", "playout")

    def __init__(self, sound: Sound) -> None:
        self.playout = Playout()
        self._sound = sound
        self._at = 0

    def refill(self) -> None:
        """Queue more, where less than `AHEAD_MS` is left."""
        sound = self._sound
        while self.playout.queued_ms < AHEAD_MS:
            size = min(PIECE_TICKS, sound.duration - self._at)
            self.playout.say_sound(sound, self._at, size)
            self._at = (self._at + size) % sound.duration


@cache
def ringing_tone() -> Sound:
    """The ringing tone at `TONE_RATE`."""
    return Sound(ringback(TONE_RATE), TONE_RATE)


@cache
def hold_music() -> Sound:
    """Our own music on hold at `TONE_RATE`: a few soft notes, and a pause."""
    return Sound(melody(TONE_RATE), TONE_RATE)

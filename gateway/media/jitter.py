"""What a live speaker said, kept for a mix until the listener's tick comes for it."""

from __future__ import annotations

from collections import deque

from gateway.codec import TICK_RATE
from gateway.media.frame import AudioFrame
from gateway.media.mix import RAMP_TICKS, MixedFrame, Part

MAX_STORED = TICK_RATE * 120 // 1000
"Ticks. A burst longer than this loses its oldest frames: late speech is worse than less of it."

SPARE = TICK_RATE * 20 // 1000
"Ticks. As much left over at every pull of a while is delay for nothing: one such piece goes."

PULLS_TO_SKIP = 150
"That while: 3 s. Two clocks 100 ppm apart need one skip in 200 s."


class Store:
    """One live speaker on the way to one mixing listener.

    It has no fixed delay. Found empty at a tick, it grows by itself: what came too late for that
    tick stays as the cushion of all that follow, until it proves to be spare.
    """

    __slots__ = ("_depth", "_frames", "_lowest", "_offset", "_pulls", "dropped", "gain", "level")

    def __init__(self, gain: float, level: float = 0.0) -> None:
        """`level` is the gain it was heard at so far: where that differs, it is faded."""
        self.gain = gain
        "What the route says."
        self.dropped = 0
        "Ticks lost to bursts and to skips."
        self.level = level
        "The gain it was last heard at; 0.0 after a gap."
        self._frames: deque[AudioFrame] = deque()
        self._offset = 0
        self._depth = 0
        self._lowest = MAX_STORED
        self._pulls = 0

    def append(self, frame: AudioFrame) -> None:
        """The speaker's next frame."""
        self._frames.append(frame)
        self._depth += frame.duration
        if self._depth > MAX_STORED:
            while self._depth > MAX_STORED and len(self._frames) > 1:
                self._drop(self._frames[0].duration - self._offset)
            self.level = 0.0

    def pull(self, duration: int) -> list[Part]:
        """The next `duration` ticks, or nothing: while there is less, all of it waits."""
        if self._depth < duration:
            self.level = 0.0
            self._pulls = 0
            self._lowest = MAX_STORED
            return []
        parts = self._skip() if self._has_spare(duration) else []
        level, self.level = self.level, self.gain
        at = 0
        while at < duration:
            part = self._cut(duration - at, at)
            part.gain, part.from_gain = self.gain, level
            parts.append(part)
            at += part.duration
            level = self.gain
        return parts

    def take_rest(self) -> list[AudioFrame]:
        """All that waits, as frames."""
        rest = []
        while self._frames:
            frame = self._frames[0]
            part = self._cut(frame.duration, 0)
            if part.start:
                at = frame.position + part.start
                frame = MixedFrame(at, part.duration, frame.heard_at, [part])
            rest.append(frame)
        return rest

    def _has_spare(self, duration: int) -> bool:
        self._lowest = min(self._lowest, self._depth - duration)
        self._pulls += 1
        if self._pulls < PULLS_TO_SKIP:
            return False
        has_spare = self._lowest >= SPARE
        self._pulls = 0
        self._lowest = MAX_STORED
        return has_spare

    def _skip(self) -> list[Part]:
        """Leave out 20 ms: what they begin with fades, what follows them rises."""
        part = self._cut(RAMP_TICKS, 0)
        part.gain, part.from_gain = 0.0, self.level
        self.dropped += part.duration
        self._drop(SPARE - part.duration)
        self.level = 0.0
        return [part]

    def _drop(self, ticks: int) -> None:
        self.dropped += ticks
        while ticks > 0:
            ticks -= self._cut(ticks, 0).duration

    def _cut(self, most: int, at: int) -> Part:
        """Up to `most` ticks of the oldest frame."""
        frame = self._frames[0]
        start = self._offset
        size = min(most, frame.duration - start)
        self._depth -= size
        if start + size == frame.duration:
            self._frames.popleft()
            self._offset = 0
        else:
            self._offset = start + size
        return Part(frame, start=start, at=at, duration=size)

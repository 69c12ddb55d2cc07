"""One listener's place in what a queued speaker says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from gateway.codec import TICK_RATE, Codec
from gateway.media.frame import AudioFrame, Pcm, Voice
from gateway.media.mix import RAMP_TICKS, MixedFrame, Part
from gateway.media.sound import Sound

MAX_LAG = TICK_RATE // 4
"Ticks a reader may be behind the clock that does not wait for it, before it leaves out the rest."


class Connected(Protocol):
    """What a reader has to know of its listener."""

    @property
    def is_connected(self) -> bool: ...


class Queue(Protocol):
    """What a reader sees of its playout. Positions are ticks on the playout's clock."""

    said: int
    "Where what was said ends."
    is_paused: bool
    overhear: Callable[[Connected, AudioFrame], None] | None
    "Is shown what is pulled by those that the clock waits for."

    @property
    def is_flowing(self) -> bool:
        """Whether a reader may go on: not while the queue waits for somebody to come."""

    @property
    def settled(self) -> int:
        """What had been played when the hub last settled."""

    def item(self, number: int) -> Item | None:
        """An item by its number since birth; None where there is none yet."""

    def number_at(self, position: int) -> int:
        """The number of the item that is played at `position`."""


class Reader:
    """One listener's place in a playout, with the decoding state for it."""

    __slots__ = (
        "_entered",
        "_is_away",
        "_number",
        "_queue",
        "_tail",
        "_voice",
        "counts",
        "listener",
        "position",
    )

    def __init__(self, queue: Queue, listener: Connected, *, counts: bool, position: int) -> None:
        self.listener = listener
        self.counts = counts
        self.position = position
        "Ticks on the playout's clock: what it has pulled."
        self._queue = queue
        self._voice = Voice()
        self._number = queue.number_at(position)
        self._is_away = False
        self._entered: AudioFrame | None = None
        self._tail: AudioFrame | None = None

    @property
    def is_present(self) -> bool:
        """Whether the playout's clock waits for it."""
        return self.counts and self.listener.is_connected

    def pull(self, duration: int, heard_at: float) -> AudioFrame | None:
        """The next `duration` ticks, filled up with silence; None when there is nothing to say."""
        queue = self._queue
        if self.position >= queue.said and self._tail is None:
            # By far the most frequent case: who is beside a call says nothing most of the time.
            return None
        if not self.listener.is_connected:
            self._is_away = True
            return None
        if self._is_away or self.position < queue.settled - MAX_LAG:
            # Others went on meanwhile, or nobody was there and the queue drained.
            self.seek(max(self.position, queue.settled))
            self._is_away = False
        is_flowing = not queue.is_paused and (self.counts or queue.is_flowing)
        available = queue.said - self.position if is_flowing else 0
        tail, self._tail = self._tail, None
        if available <= 0 and tail is None:
            return None
        begin = self.position
        parts = self._take(min(available, duration), heard_at)
        if tail is not None:
            parts.append(Part(tail, gain=0.0, from_gain=1.0))
        is_whole = len(parts) == 1 and parts[0].start == 0 and parts[0].frame.duration == duration
        frame = parts[0].frame if is_whole else MixedFrame(begin, duration, heard_at, parts)
        if queue.overhear is not None and self.counts:
            queue.overhear(self.listener, frame)
        return frame

    def fade(self) -> None:
        """Keep the next 5 ms, to be faded out when it is pulled next."""
        size = min(RAMP_TICKS, self._queue.said - self.position)
        if size > 0 and self.listener.is_connected and self._queue.is_flowing:
            self._tail = MixedFrame(self.position, size, 0.0, self._take(size, 0.0))

    def seek(self, position: int) -> None:
        """Go on from `position`."""
        self.position = position
        self._number = self._queue.number_at(position)
        self._entered = None

    def close(self) -> None:
        """Free its decoders."""
        self._voice.close()

    def _take(self, count: int, heard_at: float) -> list[Part]:
        """Go on by `count` ticks; neighbouring PCM of one rate becomes one frame."""
        parts: list[Part] = []
        run: list[Pcm] = []
        run_rate = run_at = at = 0
        while at < count:
            item = self._queue.item(self._number)
            if item is None:
                break
            offset = self.position - item.start
            size = min(item.end - self.position, count - at)
            if run and item.rate != run_rate:
                parts.append(self._part_of(run, run_rate, run_at, heard_at))
                run = []
            if item.sound is not None:
                parts.append(Part(item.sound.frame(item.offset + offset, size, heard_at), at=at))
            elif item.pcm is None:
                parts.append(Part(self._enter(item, heard_at), start=offset, at=at, duration=size))
            else:
                if not run:
                    run_rate, run_at = item.rate, at
                run.append(item.slice(offset, size))
            self.position += size
            at += size
            if self.position == item.end:
                self._number += 1
                self._entered = None
        if run:
            parts.append(self._part_of(run, run_rate, run_at, heard_at))
        return parts

    def _enter(self, item: Item, heard_at: float) -> AudioFrame:
        """The frame of an item with a payload, made once for all pulls that share it."""
        if self._entered is None:
            assert item.codec is not None
            assert item.payload is not None
            duration = item.end - item.start
            self._entered = self._voice.frame(item.codec, item.payload, duration, heard_at)
        return self._entered

    def _part_of(self, run: list[Pcm], rate: int, at: int, heard_at: float) -> Part:
        pcm = run[0] if len(run) == 1 else np.concatenate(run)
        return Part(self._voice.frame_of_pcm(pcm, rate, heard_at), at=at)


class Item:
    """Something said: a payload, PCM at a rate, or a stretch of a sound."""

    __slots__ = ("codec", "end", "offset", "payload", "pcm", "rate", "sound", "start")

    def __init__(
        self,
        start: int,
        end: int,
        codec: Codec | None,
        payload: bytes | None,
        pcm: Pcm | None,
        rate: int,
        sound: Sound | None = None,
        offset: int = 0,
    ) -> None:
        self.start = start
        self.end = end
        self.codec = codec
        self.payload = payload
        self.pcm = pcm
        self.rate = rate
        self.sound = sound
        self.offset = offset
        "Ticks into the sound."

    def slice(self, offset: int, size: int) -> Pcm:
        """PCM from `offset`, `size` ticks of it: slices one after another lose no sample."""
        assert self.pcm is not None
        return self.pcm[offset * self.rate // TICK_RATE : (offset + size) * self.rate // TICK_RATE]

"""The mouth of a queued speaker (agent, prompt, music): what is to be said, and what was heard.

say ▸ items ▸ one Reader per listener, pulled as that listener's clock asks
              └ the played-out clock: the slowest of those that count and are connected
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gateway.codec import TICK_RATE, Codec
from gateway.media.frame import AudioFrame, BornFrame, Pcm
from gateway.media.opus import RATES
from gateway.media.reader import MAX_LAG, Connected, Item, Reader
from gateway.media.sound import Sound
from gateway.media.span import ItemPlayed, Spans

MAX_QUEUED_S = 60.0
"""Longest queue, as Vonage has it, where the speaker's protocol asks for no other: an agent that is
so much faster than speech has to wait."""

MAX_MARKS = 1000
"Marks that may be pending: one per 60 ms of the longest queue."

SHORT_TICKS = TICK_RATE // 50
"""20 ms: coded speech is queued in pieces of that, which can be relayed, and shorter pieces are
joined where nobody has begun to hear them, so that no chunk size makes a long queue of them."""

MAX_COPIED_RATE = 24_000
"Hz at which a frame without a payload is copied, at most: voices need no more."

MAX_UNHEARD_WAIT_S = 2.0
"How long a queue waits for somebody to listen before it drains unheard."

MAX_ITEMS = 24_000
"""Pieces that may wait: the longest queue in Opus of 2.5 ms. Speech whose format changes with each
sample cannot be joined, and would be half a million."""

TICKS_PER_BYTE = {"PCMU": 6, "PCMA": 6, "G722": 6}
"Of the codecs whose payload may be cut at any byte: 64 kbit/s."

_MAX_QUEUED = int(MAX_QUEUED_S * TICK_RATE)
_TICKS_PER_MS = TICK_RATE / 1000


@dataclass(frozen=True, slots=True)
class Cleared:
    """What became of a queue that was cleared."""

    played_ms: float
    "Where the playout's clock stands: all it ever played, to the slowest who listens."
    dropped_ms: float
    "What was said and will not be played."
    marks: tuple[str, ...]
    "Marks that will not be reached, in order."


@dataclass(frozen=True, slots=True)
class MarkReached:
    """Everything said before the mark has been handed to those who listen."""

    name: str
    played_ms: float
    "Where the mark stood on the playout's clock."
    heard: bool
    "False when it was reached with nobody there."


@dataclass(frozen=True, slots=True)
class Unheard:
    """Nobody was there for 2 s: from here on the queue drains unheard, until somebody is."""

    played_ms: float


PlayoutEvent = MarkReached | Cleared | Unheard | ItemPlayed


class Playout:
    """A queued speaker's mouth, bounded. One per party; the hub attaches and pulls the readers.

    Its clock counts what was played, in ms since its birth: a clear takes back what was dropped,
    so that what is said next begins at `said_ms` == `played_ms`.
    """

    __slots__ = (
        "_alone_since",
        "_is_draining",
        "_items",
        "_items_gone",
        "_marks",
        "_pending",
        "_played",
        "_readers",
        "_seen_at",
        "_spans",
        "is_paused",
        "max_queued",
        "on_event",
        "overhear",
        "said",
    )

    def __init__(self) -> None:
        self.on_event: Callable[[PlayoutEvent], None] | None = None
        """Told of marks reached, of a clear by a change of routes, and of draining unheard; never
        from inside a command, always after the audio was handed on."""
        self.overhear: Callable[[Connected, AudioFrame], None] | None = None
        "Is shown each frame that goes out, and to whom of those who listen: what may come back."
        self._items: deque[Item] = deque()
        self._items_gone = 0
        self._marks: deque[tuple[int, str]] = deque()
        self._spans = Spans()
        self._pending: deque[PlayoutEvent] = deque()
        self._readers: tuple[Reader, ...] = ()
        self.said = 0
        "Ticks: where the next thing said begins. To be read only."
        self.max_queued = _MAX_QUEUED
        "Ticks: the longest queue."
        self._played = 0
        self.is_paused = False
        "Whether `pause` holds it. To be read only."
        self._is_draining = False
        self._alone_since: float | None = None
        self._seen_at: float | None = None

    # ---- commands of the speaker

    def say(self, frame: AudioFrame) -> bool:
        """Queue a frame as it was heard; its payload can still be relayed.

        Returns:
            False, and nothing is queued, when more than `max_queued` would be.
        """
        if frame.payload is not None and frame.codec is not None:
            return self._add(frame.duration, frame.codec, frame.payload)
        if isinstance(frame, BornFrame):
            return self.say_pcm(frame.born, frame.rate)
        rate = min(frame.natural_rate, MAX_COPIED_RATE)
        return self.say_pcm(frame.pcm(rate), rate)

    def say_pcm(self, pcm: Pcm, rate: int, item: str = "") -> bool:
        """Queue mono PCM of any length; it is not copied: do not write to it any more.

        Args:
            item: what it belongs to: `ItemPlayed` tells how much of that was played.

        Returns:
            False, and nothing is queued, when more than `max_queued` would be.

        Raises:
            ValueError: `rate` is not 8, 12, 16, 24 or 48 kHz (use a Resampler).
        """
        if rate not in RATES:
            raise ValueError(f"a playout speaks at {RATES} Hz, not {rate}")
        duration = len(pcm) * (TICK_RATE // rate)
        if duration < SHORT_TICKS and self._top_up(duration, pcm, rate, item):
            return True
        return self._add(duration, pcm=pcm, rate=rate, item=item)

    def say_payload(self, codec: Codec, payload: bytes, duration: int, item: str = "") -> bool:
        """Queue coded speech of any length, which can be relayed as it is.

        Args:
            duration: ticks; G.711 and G.722 are as long as they have bytes, whatever is said here.

        Returns:
            False, and nothing is queued, when more than `max_queued` would be.
        """
        ticks = TICKS_PER_BYTE.get(codec.name)
        if ticks is None:
            return self._add(duration, codec, payload, item=item)
        pieces = len(payload) * ticks // SHORT_TICKS + 1
        if self.said + len(payload) * ticks - self._played > self.max_queued:
            return False
        if len(self._items) + pieces > MAX_ITEMS:
            return False
        start = self._fill_up(codec, payload, ticks, item)
        for at in range(start, len(payload), SHORT_TICKS // ticks):
            piece = payload[at : at + SHORT_TICKS // ticks]
            self._add(len(piece) * ticks, codec, piece, item=item)
        return True

    def say_sound(self, sound: Sound, start: int, duration: int) -> bool:
        """Queue a stretch of a sound, in ticks; it must be within it.

        Returns:
            False, and nothing is queued, when more than `max_queued` would be.
        """
        return self._add(duration, sound=sound, offset=start)

    def mark(self, name: str) -> bool:
        """Report when all that was said so far has been played; soon, if nothing is queued.

        Returns:
            False, and nothing is marked, when `MAX_MARKS` are pending.
        """
        if len(self._marks) >= MAX_MARKS:
            return False
        self._marks.append((self.said, name))
        return True

    def clear(self) -> Cleared:
        """Drop what has not been played, and its marks. Listeners hear it fade within 5 ms.

        How much of which item was played is told by `tell`, or with the next tick. A mark that is
        just here, and not told of yet, goes with those behind it: none overtakes another.
        """
        played = self._played = self._clock()
        marks = self._marks
        is_lost = bool(marks) and marks[-1][0] > played
        lost = tuple(name for at, name in marks if at >= played) if is_lost else ()
        cleared = Cleared(played / _TICKS_PER_MS, (self.said - played) / _TICKS_PER_MS, lost)
        for reader in self._readers:
            reader.fade()
        self._items_gone += len(self._items)
        self._items.clear()
        self._pending += self._spans.cut(played)
        self.said = played
        for _ in lost:
            marks.pop()
        for reader in self._readers:
            reader.seek(played)
        return cleared

    def pause(self) -> None:
        """Say nothing until `resume`; what is queued stays."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        self.is_paused = False

    @property
    def played_ms(self) -> float:
        """The played-out clock: what the slowest connected listener has been sent."""
        return self._clock() / _TICKS_PER_MS

    @property
    def said_ms(self) -> float:
        """Where on that clock the next thing said begins."""
        return self.said / _TICKS_PER_MS

    @property
    def queued_ms(self) -> float:
        """What is still to be played."""
        return (self.said - self._clock()) / _TICKS_PER_MS

    # ---- for the hub

    def attach(self, listener: Connected, *, counts: bool = True) -> Reader:
        """A new reader, from where the clock stands."""
        reader = Reader(self, listener, counts=counts, position=self._clock())
        self._readers = (*self._readers, reader)
        return reader

    def detach(self, reader: Reader) -> None:
        """The clock waits for this reader no more."""
        self._played = self._clock()
        self._readers = tuple(other for other in self._readers if other is not reader)
        reader.close()

    def revoke(self) -> None:
        """What is queued was said to others than would hear it: clear it, and tell the speaker."""
        if self.said > self._clock():
            self._pending.append(self.clear())

    def settle(self) -> None:
        """Report what has been reached, and let go of what everybody has passed."""
        played = self._played = self._clock()
        marks, pending = self._marks, self._pending
        while marks and marks[0][0] <= played:
            position, name = marks.popleft()
            at_ms = position / _TICKS_PER_MS
            pending.append(MarkReached(name, at_ms, heard=not self._is_draining))
        if self._spans.next_end <= played:
            pending += self._spans.finish(played)
        self._trim(played)
        if pending:
            self.tell()

    def tell(self) -> None:
        """Report what has happened."""
        pending = self._pending
        while pending:
            event = pending.popleft()
            if self.on_event is not None:
                self.on_event(event)

    def advance(self, now: float) -> None:
        """20 ms have passed: notice who is there; drain if nobody is."""
        elapsed_s = 0.0 if self._seen_at is None else now - self._seen_at
        self._seen_at = now
        is_idle = self.said == self._played and not self._marks
        if is_idle and not self._pending and self._spans.is_empty:
            self._alone_since = None
            return
        if any(reader.is_present for reader in self._readers):
            self._alone_since = None
            self._is_draining = False
        elif self._is_draining and not self.is_paused:
            self._played = min(self.said, self._played + round(elapsed_s * TICK_RATE))
        elif self.is_paused or self.said == self._played:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now - self._alone_since >= MAX_UNHEARD_WAIT_S:
            self._is_draining = True
            self._pending.append(Unheard(self._played / _TICKS_PER_MS))
        self.settle()

    # ----

    def _add(
        self,
        duration: int,
        codec: Codec | None = None,
        payload: bytes | None = None,
        *,
        pcm: Pcm | None = None,
        rate: int = 0,
        sound: Sound | None = None,
        offset: int = 0,
        item: str = "",
    ) -> bool:
        said = self.said
        end = said + duration
        if end - self._played > self.max_queued or len(self._items) >= MAX_ITEMS:
            return False
        if duration:
            self._items.append(Item(said, end, codec, payload, pcm, rate, sound, offset))
            self.said = end
            if item:
                self._spans.note(item, said, end)
        return True

    def _unread(self) -> Item | None:
        """The last item, where nobody has begun to hear it and it is short."""
        last = self._items[-1] if self._items else None
        if last is None or last.end - last.start >= SHORT_TICKS or last.end != self.said:
            return None
        is_unread = all(reader.position <= last.start for reader in self._readers)
        return last if is_unread and last.start >= self._played else None

    def _top_up(self, duration: int, pcm: Pcm, rate: int, item: str) -> bool:
        """Let short PCM go on in the last item."""
        last = self._unread()
        if last is None or last.pcm is None or last.rate != rate:
            return False
        if self.said + duration - self._played > self.max_queued:
            return False
        last.pcm = np.concatenate((last.pcm, pcm))
        self._extend(last, duration, item)
        return True

    def _fill_up(self, codec: Codec, payload: bytes, ticks: int, item: str) -> int:
        """Let coded speech fill the last item up to 20 ms; the bytes taken for that."""
        last = self._unread()
        if last is None or last.payload is None or last.codec is None:
            return 0
        if not last.codec.is_same_format(codec):
            return 0
        taken = payload[: (SHORT_TICKS - (last.end - last.start)) // ticks]
        last.payload += taken
        self._extend(last, len(taken) * ticks, item)
        return len(taken)

    def _extend(self, last: Item, duration: int, item: str) -> None:
        last.end += duration
        if item:
            self._spans.note(item, self.said, last.end)
        self.said = last.end

    def _clock(self) -> int:
        """Ticks; it never goes back, whoever comes late."""
        readers, played = self._readers, self._played
        if len(readers) == 1:  # as in nearly every call of an agent
            reader = readers[0]
            return max(played, reader.position) if reader.is_present else played
        positions = [reader.position for reader in readers if reader.is_present]
        return max(played, min(positions)) if positions else played

    def _trim(self, played: int) -> None:
        items = self._items
        if items and items[0].end <= played:
            # One that is further behind than this will not come back for it.
            low = max(min([played, *(r.position for r in self._readers)]), played - MAX_LAG)
            while items and items[0].end <= low:
                items.popleft()
                self._items_gone += 1

    # ---- for readers

    @property
    def is_flowing(self) -> bool:
        """Whether a reader may go on: not while the queue waits for somebody to come."""
        return not self.is_paused and (
            self._is_draining or any(reader.is_present for reader in self._readers)
        )

    def item(self, number: int) -> Item | None:
        """An item by its number since birth; None where there is none yet."""
        index = number - self._items_gone
        return self._items[index] if index < len(self._items) else None

    def number_at(self, position: int) -> int:
        """The number of the item that is played at `position`."""
        number = self._items_gone
        for item in self._items:
            if item.end > position:
                break
            number += 1
        return number

    @property
    def settled(self) -> int:
        """Ticks: what had been played when the hub last settled."""
        return self._played

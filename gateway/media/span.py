"""Where the named items of a queue are, and how much of each was played."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from gateway.codec import TICK_RATE

MAX_SPANS = 1000
"Named items that may be pending: what is said beyond them is said, and not told of."

NEVER = 1 << 62
"Ticks: later than any call lasts."

_TICKS_PER_MS = TICK_RATE / 1000


@dataclass(frozen=True, slots=True)
class ItemPlayed:
    """How much of one named item of speech was played when the queue was cleared, or ran dry."""

    item: str
    played_ms: float
    "To the slowest who listens; never more than was said."
    said_ms: float


class Spans:
    """The named items of one queue, by its clock: ticks."""

    __slots__ = ("_finished", "_spans", "next_end")

    def __init__(self) -> None:
        self.next_end = NEVER
        "When the first is played whole, as far as it was said. To be read only."
        self._spans: deque[_Span] = deque()
        self._finished: tuple[str, int] = ("", 0)
        "What was played whole last, and how long it was so far."

    @property
    def is_empty(self) -> bool:
        return not self._spans

    def note(self, item: str, start: int, end: int) -> None:
        """What was just queued belongs to it."""
        spans = self._spans
        if spans and spans[-1].item == item and spans[-1].end == start:
            spans[-1].end = end
        elif len(spans) < MAX_SPANS:
            name, so_far = self._finished
            before = so_far if name == item and not spans else 0
            spans.append(_Span(item, start, end, before))
        self.next_end = spans[0].end

    def finish(self, played: int) -> list[ItemPlayed]:
        """What was played whole by now, or as far as it was said."""
        told = []
        spans = self._spans
        while spans and spans[0].end <= played:
            span = spans.popleft()
            self._finished = (span.item, span.before + span.end - span.start)
            told.append(span.told(played))
        self.next_end = spans[0].end if spans else NEVER
        return told

    def cut(self, played: int) -> list[ItemPlayed]:
        """The queue is cleared: how much was played of each."""
        told = [span.told(played) for span in self._spans]
        self._spans.clear()
        self._finished = ("", 0)
        self.next_end = NEVER
        return told


class _Span:
    """Where a named item is."""

    __slots__ = ("before", "end", "item", "start")

    def __init__(self, item: str, start: int, end: int, before: int) -> None:
        """`before`: how long it was already when the queue ran dry."""
        self.item = item
        self.start = start
        self.end = end
        self.before = before

    def told(self, played: int) -> ItemPlayed:
        heard = min(max(played, self.start), self.end) - self.start
        return ItemPlayed(
            self.item,
            (self.before + heard) / _TICKS_PER_MS,
            (self.before + self.end - self.start) / _TICKS_PER_MS,
        )

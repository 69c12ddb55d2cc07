"""What a Realtime model has said, item by item: what came of each, and what was heard of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.agents.event import ItemPlayed

MAX_QUEUED_S = 240.0
"""Of speech that waits. A response comes as fast as it is made, be there room or not, and has
4096 tokens of 50 ms at most, 205 s. That is 12 MB of PCM; to leave it unread meanwhile would save
them, and hide that the caller speaks."""

MAX_ITEMS = 64
"Items that are remembered: a response has one or two."


@dataclass(frozen=True, slots=True)
class Truncation:
    """The model is to forget what comes after this: nobody has heard it."""

    item: str
    content_index: int
    heard_ms: int


class _Item:
    """One item of the model's speech."""

    __slots__ = ("content_index", "is_cut", "is_done", "is_dry", "received_ms")

    def __init__(self, content_index: int) -> None:
        self.content_index = content_index
        self.received_ms = 0.0
        self.is_done = False
        "Whether all of it has come."
        self.is_dry = False
        "Whether all that came was played."
        self.is_cut = False
        "Whether it was interrupted."


class Spoken:
    """The items that are not finished: not come to their end, or not played to it."""

    def __init__(self) -> None:
        self._items: dict[str, _Item] = {}

    @property
    def is_queued(self) -> bool:
        """Whether some of it is still to be played."""
        return any(not item.is_dry and not item.is_cut for item in self._items.values())

    def add(self, name: str, content_index: int, duration_ms: float) -> bool:
        """A piece of an item came; False: it was interrupted, and is not to be said."""
        item = self._items.get(name)
        if item is None:
            while len(self._items) >= MAX_ITEMS:
                del self._items[next(iter(self._items))]
            item = self._items[name] = _Item(content_index)
        elif item.is_cut:
            return False
        item.received_ms += duration_ms
        item.is_dry = False
        return True

    def finish(self, name: str) -> None:
        """No more of an item will come."""
        item = self._items.get(name)
        if item is not None:
            item.is_done = True
            if item.is_dry:
                del self._items[name]

    def cut(self) -> Iterable[Truncation]:
        """All are interrupted: of what is queued `played` tells more; the rest is said here."""
        return list(self._cut())

    def _cut(self) -> Iterator[Truncation]:
        for name, item in list(self._items.items()):
            item.is_cut = True
            if item.is_dry:  # more of it was to come, and nothing of it will be cleared
                yield self._truncate(name, item, item.received_ms)

    def is_cut_off(self, event: ItemPlayed) -> bool:
        """Whether this tells that something was cleared, and nobody has said so before."""
        item = self._items.get(event.item)
        return item is not None and not item.is_cut and event.played_ms < event.said_ms

    def played(self, event: ItemPlayed) -> Truncation | None:
        """How much of an item was played, when it was cleared or ran dry."""
        item = self._items.get(event.item)
        if item is None:
            return None
        is_whole = event.played_ms >= event.said_ms
        if item.is_cut and not (is_whole and item.is_done):
            return self._truncate(event.item, item, event.played_ms)
        item.is_dry = True
        if item.is_done:
            del self._items[event.item]
        return None

    def _truncate(self, name: str, item: _Item, heard_ms: float) -> Truncation:
        del self._items[name]
        # A server refuses to truncate behind what it has sent.
        return Truncation(name, item.content_index, int(min(heard_ms, item.received_ms)))

"""What only the garbage collector could free, which stalls every call while it looks for it."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Left:
    """What a span of a test left to the collector."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        "Objects of ours, by class; nothing as long as the span goes on."


@contextmanager
def left_to_the_collector() -> Iterator[Left]:
    """Run without the collector, and see at the end what reference counting has not freed."""
    left = Left()
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield left
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = (type(each) for each in gc.garbage)
        left.kinds = Counter(
            kind.__name__ for kind in kinds if kind.__module__.startswith("gateway.")
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        if was_enabled:
            gc.enable()


def tracked() -> int:
    """Objects that the collector looks through; without tuples of atoms, which it stops to."""
    gc.collect()
    return len(gc.get_objects())

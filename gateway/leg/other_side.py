"""What is said to those whom an agent hears: the other side of its call, for who asks for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gateway.leg.leg import LegEvent, OtherSideAsked
from gateway.media.frame import AudioFrame

Hear = Callable[[AudioFrame], None]


class OtherSide:
    """Ears of an agent on the other side, while there is anybody who listens. A `Listener`."""

    is_connected = True

    def __init__(self, tell: Callable[[LegEvent], None]) -> None:
        self._tell = tell
        self._ears: tuple[Hear, ...] = ()

    def add(self, hear: Hear) -> Callable[[], None]:
        """Hand every frame to `hear` as well; what is returned ends that."""
        if not self._ears:
            self._tell(OtherSideAsked(self))
        self._ears = (*self._ears, hear)
        return partial(self._remove, hear)

    def hear(self, frame: AudioFrame) -> None:
        for hear in self._ears:
            hear(frame)

    def _remove(self, hear: Hear) -> None:
        if hear in self._ears:
            at = self._ears.index(hear)
            self._ears = self._ears[:at] + self._ears[at + 1 :]
            if not self._ears:
                self._tell(OtherSideAsked(None))

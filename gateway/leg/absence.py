"""A page that is away, and by when it has to be back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Absence:
    """Waits for somebody to come back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, on_over: Callable[[], None]) -> None:
        """
        Args:
            on_over: is called when the time is up.
        """
        self._loop = loop
        self._on_over = on_over
        self._ends_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_on(self) -> bool:
        """Whether somebody is waited for."""
        return self._timer is not None

    def begin(self, within_s: float) -> None:
        """Wait so long, or until an earlier moment that was set before."""
        ends_at = self._loop.time() + within_s
        if self._timer is None or ends_at < self._ends_at:
            self.end()
            self._ends_at = ends_at
            self._timer = self._loop.call_at(ends_at, self._on_over)

    def end(self) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

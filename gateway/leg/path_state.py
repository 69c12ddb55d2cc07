"""Whether a page's media path is there, and the restarts that are offered while it is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.leg.leg import Disturbed, Established, LegEvent, Restored

RESTART_EVERY_S = 5.0
"""While its path is lost a page is offered an ICE restart this often, should one have got lost or
come before the browser had seen its new network."""


class PathState:
    """What a leg tells of its path: each loss once, and each return."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        tell: Callable[[LegEvent], None],
        restart: Callable[[], None],
    ) -> None:
        """
        Args:
            restart: offers an ICE restart, or does not where that is of no use.
        """
        self.was_connected = False
        self.is_disturbed = False
        self._loop = loop
        self._tell = tell
        self._restart = restart
        self._timer: asyncio.TimerHandle | None = None

    def connect(self) -> None:
        """The path is there, for the first time or again."""
        self.stop()
        if not self.was_connected:
            self.was_connected = True
            self._tell(Established())
        elif self.is_disturbed:
            self.is_disturbed = False
            self._tell(Restored())

    def disturb(self) -> None:
        """The path is not there, but may be again."""
        if self.was_connected and not self.is_disturbed:
            self.is_disturbed = True
            self._tell(Disturbed())

    def keep_restarting(self) -> None:
        """Offer restarts until it is there, or `stop`."""
        self._timer = self._loop.call_later(RESTART_EVERY_S, self.keep_restarting)
        self._restart()

    def stop(self) -> None:
        """Offer no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

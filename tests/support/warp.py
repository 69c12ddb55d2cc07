"""A loop with real sockets whose clock can be put forward: half a minute takes a second."""

from __future__ import annotations

import asyncio

STEP_S = 0.25
"Half of the shortest timer (T1): everything that is due in between has its turn."


class WarpLoop(asyncio.SelectorEventLoop):
    """An event loop; `warp` puts its clock forward."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        super().__init__()

    def time(self) -> float:
        """Loop seconds, those that were skipped among them."""
        return super().time() + self._ahead_s

    async def warp(self, seconds: float) -> None:
        """Let time pass: timers fire in their order, and what they send arrives."""
        end = self.time() + seconds
        while self.time() < end:
            self._ahead_s += STEP_S
            await asyncio.sleep(0)
            await asyncio.sleep(0.004)

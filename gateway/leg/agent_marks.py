"""Marks of an agent's leg among those of the agent: what is to be done when speech has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from gateway.media.playout import Cleared, Playout

OURS = "\0"
"Begins the names of marks that are not the agent's own."


class OwnMarks:
    """What waits for the end of speech in one playout."""

    def __init__(self, playout: Playout, loop: asyncio.AbstractEventLoop) -> None:
        self._playout = playout
        self._loop = loop
        self._count = 0
        self._reached: dict[str, Callable[[], None]] = {}
        "What is done when a mark is reached, or cleared."
        self._waits: dict[str, asyncio.TimerHandle] = {}
        "For how long it may still be waited, by the mark."

    def new_name(self) -> str:
        """One that no agent uses."""
        self._count += 1
        return f"{OURS}{self._count}"

    async def played(self) -> None:
        """Until everything said so far was played, or cleared."""
        reached: asyncio.Future[None] = self._loop.create_future()
        name = self.new_name()
        if not self._playout.mark(name):
            return
        self._reached[name] = partial(_resolve, reached)
        try:
            await reached
        finally:
            self._reached.pop(name, None)

    def after_speech(self, act: Callable[[], None], wait_s: float) -> None:
        """Do it once all said so far was played, or cleared, or after `wait_s`."""
        name = self.new_name()
        if self._playout.queued_ms <= 0 or not self._playout.mark(name):
            act()
            return

        def go() -> None:
            timer = self._waits.pop(name, None)
            self._reached.pop(name, None)
            if timer is not None:
                timer.cancel()
                act()

        self._reached[name] = go
        self._waits[name] = self._loop.call_later(wait_s, go)

    def reach(self, name: str) -> bool:
        """A mark was reached; False: it is the agent's."""
        if not name.startswith(OURS):
            return False
        reached = self._reached.pop(name, None)
        if reached is not None:
            reached()
        return True

    def take_out(self, cleared: Cleared) -> Cleared:
        """What the agent is told of a clear: of marks that it has set itself."""
        agents = tuple(name for name in cleared.marks if not self.reach(name))
        return cleared if len(agents) == len(cleared.marks) else replace(cleared, marks=agents)

    def close(self) -> None:
        """Nothing is waited for any more."""
        for timer in self._waits.values():
            timer.cancel()
        self._waits.clear()


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

"""What waits for an agent that asks for it in its own time: frames, and keys."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator

from gateway.media.frame import AudioFrame

MAX_HEARD_BEHIND = 100
"Frames kept for an agent that hears slowly: 2 s at 20 ms; then the oldest go."

MAX_DIGITS_WAITING = 64
"Keys kept for an agent that does not ask for them."


class AgentQueues:
    """The frames and keys of one agent in one call."""

    def __init__(self) -> None:
        self._ears: deque[AudioFrame] | None = None
        self._heard = asyncio.Event()
        self._digits: deque[str] = deque(maxlen=MAX_DIGITS_WAITING)
        self._digit_came = asyncio.Event()

    def hear(self, frame: AudioFrame) -> None:
        """Keep it, if somebody reads."""
        if self._ears is not None:
            self._ears.append(frame)
            self._heard.set()

    async def frames(self) -> AsyncGenerator[AudioFrame, None]:
        """What is heard from now on."""
        ears: deque[AudioFrame] = deque(maxlen=MAX_HEARD_BEHIND)
        self._ears = ears
        try:
            while True:
                while ears:
                    yield ears.popleft()
                self._heard.clear()
                await self._heard.wait()
        finally:
            if self._ears is ears:
                self._ears = None

    def press(self, digit: str) -> None:
        """A key was pressed."""
        self._digits.append(digit)
        self._digit_came.set()

    async def next_digit(self) -> str:
        """The next key, in order."""
        while not self._digits:
            await self.digit_waiting()
        digit = self._digits.popleft()
        if not self._digits:
            self._digit_came.clear()
        return digit

    async def digit_waiting(self) -> None:
        """Until there is one."""
        await self._digit_came.wait()

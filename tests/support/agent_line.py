"""Connections to agents in memory, for virtual time: who is called, when, what is on the line."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from gateway.agents.protocol import Opening
from gateway.net.agent_connection import ConnectError, Lost, Message


class Line:
    """One connection, seen from the agent's end."""

    def __init__(self) -> None:
        self.max_audio_waiting = 0
        self.dropped = 0
        self.sent: list[Message] = []
        self.heard: list[Message] = []
        "Audio alone."
        self.is_closed = False
        self._on_message: Callable[[Message], None] | None = None
        self._on_lost: Callable[[Lost], None] | None = None

    # ---- as the gateway sees it

    def start(self, on_message: Callable[[Message], None], on_lost: Callable[[Lost], None]) -> None:
        self._on_message, self._on_lost = on_message, on_lost

    def send(self, message: Message) -> None:
        assert not self.is_closed
        self.sent.append(message)

    def send_audio(self, message: Message) -> None:
        assert not self.is_closed
        self.heard.append(message)

    def close(self) -> None:
        self.is_closed = True
        self._on_message = self._on_lost = None

    # ---- as the agent does

    def says(self, message: Message) -> None:
        """Send a message; over a line that is closed nothing comes."""
        if self._on_message is not None:
            self._on_message(message)

    def tells(self, kind: str, /, **values: Any) -> None:
        """Send a message of our own protocol."""
        self.says(json.dumps({"type": kind, **values}))

    def drops(self, *, is_finished: bool = False) -> None:
        """The connection breaks, or is closed in good order."""
        if self._on_lost is not None:
            self._on_lost(Lost(is_finished, "the connection broke"))

    @property
    def told(self) -> list[dict[str, Any]]:
        """The text messages that were sent, read."""
        return [json.loads(message) for message in self.sent if isinstance(message, str)]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Those of a type."""
        return [message for message in self.told if message["type"] == kind]


class Exchange:
    """Connects the gateway's calls to lines, or does not."""

    def __init__(self, *, is_ready: bool = True) -> None:
        """`is_ready`: agents of our own protocol say so as soon as they are connected."""
        self.lines: list[Line] = []
        self.attempts: list[float] = []
        "Loop seconds."
        self.openings: list[Opening] = []
        self.outcomes: deque[ConnectError | None] = deque()
        "Of the next attempts; None is an attempt that nobody ever answers."
        self.refuses = False
        "Whether all attempts beyond these fail."
        self._is_ready = is_ready

    async def __call__(self, opening: Opening, *, is_stream: bool) -> Line:
        self.attempts.append(asyncio.get_running_loop().time())
        self.openings.append(opening)
        if self.outcomes:
            error = self.outcomes.popleft()
            if error is None:
                await asyncio.sleep(3600)
            else:
                raise error
        if self.refuses:
            raise ConnectError("the agent cannot be reached (refused)")
        line = Line()
        self.lines.append(line)
        if self._is_ready:
            asyncio.get_running_loop().call_soon(line.tells, "ready")
        return line

    @property
    def line(self) -> Line:
        """The newest."""
        return self.lines[-1]

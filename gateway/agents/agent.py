"""What an in-process agent is, and what it sees of its call.

An agent is any object with `async def on_call(self, call)`:

    class Parrot:
        async def on_call(self, call: AgentCall) -> None:
            async for frame in call.hear():
                await call.say_frame(frame)

`hear()`, `say()` and their like answer the call, unless the agent has answered it already. An agent
that calls somebody itself waits in `say()` until the far end can hear it. When
`on_call` returns, what was said is played to its end and the agent hangs up; when it raises, the
call ends with a reason and the process goes on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.media.frame import AudioFrame
from gateway.media.playout import Cleared


class AgentCall(Protocol):
    """One call as its agent sees it."""

    @property
    def id(self) -> str:
        """The call's id."""

    @property
    def caller(self) -> str:
        """Who calls: a number or a name; empty where unknown."""

    @property
    def called(self) -> str:
        """What was dialled."""

    @property
    def queued_ms(self) -> float:
        """How much of what was said is still to be sent."""

    async def ring(self) -> None:
        """Tell the caller that it rings (180)."""

    async def progress(self) -> None:
        """Open early media (183): the caller hears, and has not been answered."""

    async def answer(self) -> None:
        """Accept the call. Doing it twice is harmless."""

    def hear(self) -> AsyncGenerator[AudioFrame, None]:
        """Frames of whoever is routed to the agent, until the call ends.

        A reader that falls more than 2 s behind loses the oldest frames.
        """

    async def say(self, pcm: NDArray[np.int16], rate: int) -> None:
        """Queue speech: int16 PCM, mono, at `rate` Hz. Waits while over 30 s are queued."""

    async def say_frame(self, frame: AudioFrame) -> None:
        """Queue a frame as it was heard."""

    async def played(self) -> None:
        """Until everything said so far was sent to who listens, or was cleared."""

    def clear(self) -> Cleared:
        """Stop speaking at once: drop what has not been sent."""

    async def digit(self) -> str:
        """The next key the caller pressed, in order; none is lost between two calls of this."""

    async def digit_waiting(self) -> None:
        """Until a key press is there to be read by `digit`."""

    async def send_digits(self, digits: str) -> None:
        """Press keys: 0-9 * # A-D; `w` waits 0.5 s, `p` 1 s, `,` and `;` 2 s.

        Returns when the last was sent.
        """

    async def hold(self) -> None:
        """Put whom the agent talks with on hold: it hears music, and neither hears the other."""

    async def resume(self) -> None:
        """Take them off hold."""

    async def refer(self, to: str) -> int:
        """Bring whom the agent talks with to a number or name that the routes let the agent dial.

        They are asked to call it themselves (REFER) where their trunk or user is set so; else we
        call, and they hear it ring. Once it has answered the agent is let go.

        Returns:
            Only where it failed: the SIP status that says why. The call is as it was.
        """

    async def stop_media(self) -> None:
        """Let whom the agent talks with get no packet any more: a broken path, for tests."""

    async def hang_up(self) -> None:
        """Let everything said be played, then leave the call."""


class Agent(Protocol):
    """An AI or scripted party that lives in this process."""

    async def on_call(self, call: AgentCall) -> Any:
        """Attend one call, from its offer to its end. Cancelled when the other side ends it."""

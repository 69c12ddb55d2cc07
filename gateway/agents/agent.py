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

Besides what is awaited there is what returns at once, for agents that live on callbacks: `listen`
and `watch` bring the call to them, `say_now` and its like speak into it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.agents.event import AgentEvent, ToolDone
from gateway.agents.protocol import CallFacts
from gateway.agents.tool import Tool
from gateway.codec import Codec
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
    def facts(self) -> CallFacts:
        """All that is known of the call as it begins."""

    @property
    def is_answered(self) -> bool:
        """Whether the agent has taken the call."""

    @property
    def answered_at(self) -> float | None:
        """Loop seconds of that; None: it has not."""

    @property
    def queued_ms(self) -> float:
        """How much of what was said is still to be sent."""

    @property
    def is_paused(self) -> bool:
        """Whether `pause` holds what was said."""

    # ---- at once

    def listen(self, hear: Callable[[AudioFrame], None] | None) -> None:
        """Have every frame that the agent may hear handed over as it comes; None: no more.

        `hear` runs in the media path: it returns at once. This does not answer the call.
        """

    def overhear(self, hear: Callable[[AudioFrame], None]) -> Callable[[], None]:
        """Have what those hear whom the agent hears handed over too, apart from themselves.

        That is what is said to the caller: by the agent, and by who else speaks there.

        Returns:
            What ends it.
        """

    def watch(self, on_event: Callable[[AgentEvent], None] | None) -> None:
        """Have everything told that happens, never from inside a command; None: no more.

        What the agent clears itself it learns of by what `clear` returns, and `ItemPlayed` soon
        after that.
        """

    def ring_now(self) -> None:
        """As `ring`."""

    def accept_now(self) -> None:
        """As `answer`."""

    def say_now(self, pcm: NDArray[np.int16], rate: int, item: str = "") -> bool:
        """Queue speech: mono PCM at 8, 12, 16, 24 or 48 kHz; False where there is no room.

        It is not copied: do not write to it any more. This does not answer the call.

        Args:
            item: what it belongs to: `ItemPlayed` tells how much of that was played.
        """

    def say_payload(self, codec: Codec, payload: bytes, duration: int, item: str = "") -> bool:
        """Queue coded speech, which is relayed where it can be; as `say_now`.

        Args:
            duration: 48 kHz ticks; of G.711 and G.722 its bytes tell how long it is.
        """

    def allow_queue(self, seconds: float) -> None:
        """Let so much speech be queued at most: 60 s where nobody says so."""

    def mark(self, name: str) -> bool:
        """Tell (`MarkReached`) when all said so far was played; False where there are too many."""

    def clear(self) -> Cleared:
        """Stop speaking at once: drop what has not been sent."""

    def pause(self) -> None:
        """Say nothing until `resume`; what is queued stays."""

    def resume(self) -> None:
        """Go on where `pause`, or barge-in, stopped."""

    def judge_barge_in(self, *, is_real: bool) -> None:
        """Say of the speech that paused the agent whether it was meant for it."""

    def use(self, tool: Tool, id: str = "") -> None:
        """Have something done; `ToolDone` with this id tells what became of it."""

    def note(self, kind: str, /, **data: Any) -> None:
        """Show something to people who watch the call: `transcript`, `tool` …"""

    def fail(self, detail: str, *, is_lost: bool = False) -> None:
        """Leave the call as broken: `agent-failed`; `agent_lost` where its connection was lost.

        Args:
            detail: fixed words of ours, for people.
        """

    # ---- awaited

    async def do(self, tool: Tool) -> ToolDone:
        """Have something done, and wait for what becomes of it."""

    async def transfer(self, to: str, *, mode: str = "blind", brief: str = "") -> ToolDone:
        """Bring whom the agent talks with to a number or name; see `tool.Transfer`.

        Returns:
            What became of it, where the agent is still there: it failed, or was warm.
        """

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
        """Queue speech: int16 PCM, mono, at `rate` Hz. Waits while over 30 s are queued.

        Raises:
            TypeError: it is not int16, or not mono.
            ValueError: `rate` is not 8, 12, 16, 24 or 48 kHz (use gateway.media.resample).
        """

    async def say_frame(self, frame: AudioFrame) -> None:
        """Queue a frame as it was heard."""

    async def played(self) -> None:
        """Until everything said so far was sent to who listens, or was cleared."""

    async def digit(self) -> str:
        """The next key the caller pressed, in order; none is lost between two calls of this."""

    async def digit_waiting(self) -> None:
        """Until a key press is there to be read by `digit`."""

    async def send_digits(self, digits: str) -> None:
        """Press keys: 0-9 * # A-D; `w` waits 0.5 s, `p` 1 s, `,` and `;` 2 s.

        Returns when the last was sent.
        """

    async def hold(self, *, on: bool = True) -> None:
        """Put whom the agent talks with on hold: it hears music, and neither hears the other.

        Args:
            on: False takes them off hold.
        """

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

"""The mouth of a queued speaker (agent, prompt, music): what is to be said, and what was heard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.media.frame import AudioFrame, Pcm

MAX_QUEUED_S = 60.0
"Longest queue: as Vonage allows; an agent that sends faster than speech must wait or be refused."

MAX_MARKS = 1000
"Marks that may be pending: one per 60 ms of the longest queue."

MAX_UNHEARD_WAIT_S = 2.0
"How long a queue waits for somebody to listen before it drains unheard."


@dataclass(frozen=True, slots=True)
class Cleared:
    """What became of a queue that was cleared."""

    played_ms: float
    "Position of the playout's clock: all that was ever played, in ms, to the slowest listener."
    dropped_ms: float
    "What was said and will not be played."
    marks: tuple[str, ...]
    "Marks that will not be reached, in order."


@dataclass(frozen=True, slots=True)
class MarkReached:
    """Everything said before the mark has been handed to who listens."""

    name: str
    played_ms: float
    "Position of the mark on the playout's clock."
    heard: bool
    "False when it drained with nobody there."


@dataclass(frozen=True, slots=True)
class Unheard:
    """Nobody listened for 2 s: from here on the queue drains unheard, until somebody does."""

    played_ms: float


PlayoutEvent = MarkReached | Cleared | Unheard


class Playout:
    """A queued speaker's mouth, bounded. One per party; the hub attaches the readers."""

    on_event: Callable[[PlayoutEvent], None] | None
    "Told of marks reached, of a clear by a route change, and of draining unheard; may be set late."

    def say(self, frame: AudioFrame) -> bool:
        """Queue a frame as it was heard. False, and nothing queued, when the queue would overflow."""
        raise NotImplementedError

    def say_pcm(self, pcm: Pcm, rate: int) -> bool:
        """Queue mono PCM at 8, 12, 16, 24 or 48 kHz, of any length. False as for `say`."""
        raise NotImplementedError

    def mark(self, name: str) -> bool:
        """Report when everything said so far has been played: at once if nothing is queued.

        False when `MAX_MARKS` are pending.
        """
        raise NotImplementedError

    def clear(self) -> Cleared:
        """Drop what has not been played, with its marks. Not reported to `on_event`: it is returned."""
        raise NotImplementedError

    def pause(self) -> None:
        """Say nothing until `resume`; what is queued stays."""
        raise NotImplementedError

    def resume(self) -> None:
        """Go on where `pause` stopped."""
        raise NotImplementedError

    @property
    def played_ms(self) -> float:
        """The played-out clock: what the slowest connected listener has been sent."""
        raise NotImplementedError

    @property
    def said_ms(self) -> float:
        """Where the next thing said will begin on that clock."""
        raise NotImplementedError

    @property
    def queued_ms(self) -> float:
        """What is still to be played."""
        raise NotImplementedError

"""What a caller hears while its agent is not there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.agents.agent import AgentCall

WAIT_SOUND_AFTER_S = 1.0
"How long an outage may be silent (F18)."

WAIT_SOUND_PAUSE_S = 3.0
"Between two times that the waiting sound is heard."


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording."""

    pcm: NDArray[np.int16]
    "Mono."
    rate: int
    "8, 12, 16, 24 or 48 kHz."

    @property
    def seconds(self) -> float:
        return len(self.pcm) / self.rate


SILENT_CLIP = Clip(np.zeros(0, np.int16), 8000)


class Patience:
    """What a caller hears while nobody is there."""

    def __init__(self, call: AgentCall, sound: Clip) -> None:
        self._call = call
        self._sound = sound
        self._timer: asyncio.TimerHandle | None = None
        self._is_heard = False

    def begin(self) -> None:
        """From now on nobody is there; if that was so before, nothing changes."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(WAIT_SOUND_AFTER_S, self._play)

    def stop(self) -> None:
        """Somebody is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_heard:
            self._is_heard = False
            self._call.clear()

    def _play(self) -> None:
        loop = asyncio.get_running_loop()
        sound = self._sound
        if self._call.is_answered:
            if not self._is_heard:
                self._call.clear()  # of who is gone: it would only be heard the later
            self._is_heard = True
            self._call.say_now(sound.pcm, sound.rate)
        self._timer = loop.call_later(sound.seconds + WAIT_SOUND_PAUSE_S, self._play)

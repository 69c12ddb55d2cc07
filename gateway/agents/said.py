"""What an agent has said as it is heard: for an agent that wants to hear itself beside the caller.

say ▸ [kept] ▸ take: the piece that was played just now, by the playout's clock
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from gateway.agents.protocol import Player
from gateway.media.resample import Resampler

MAX_KEPT_S = 65
"As much as a playout queues, and a little: what comes on top was refused there too."

MAX_BEHIND_S = 0.1
"How far what is handed out may be behind the clock: then it goes on at the clock's place."


class SaidTrack:
    """One agent's speech at one rate, kept until it was played."""

    def __init__(self, rate: int, player: Player) -> None:
        self._rate = rate
        self._player = player
        self._resampler: Resampler | None = None
        self._odd = b""
        self._pieces: deque[NDArray[np.int16]] = deque()
        self._kept = 0
        "Samples in `_pieces`: said, and not handed out."

    def say(self, audio: bytes, rate: int) -> None:
        """It says this: signed 16-bit, little-endian; an odd byte waits for its other half."""
        audio = self._odd + audio
        whole = len(audio) & ~1
        self._odd = audio[whole:]
        pcm = np.frombuffer(audio[:whole], "<i2")
        if rate != self._rate:
            if self._resampler is None or self._resampler.from_rate != rate:
                self._resampler = Resampler(rate, self._rate)
            pcm = self._resampler.process(pcm)
        if len(pcm) and self._kept + len(pcm) <= MAX_KEPT_S * self._rate:
            self._pieces.append(pcm)
            self._kept += len(pcm)

    def take(self, samples: int) -> NDArray[np.int16]:
        """What was played in the time of so many samples, which has just gone by; else silence."""
        ahead = int(self._player.queued_ms * self._rate / 1000)
        played = max(0, self._kept - ahead)
        if played > samples + MAX_BEHIND_S * self._rate:
            self._skip(played - samples)
            played = samples
        count = min(samples, played)
        taken = np.zeros(samples, np.int16)
        at = 0
        while at < count:
            piece = self._pieces[0]
            part = piece[: count - at]
            taken[at : at + len(part)] = part
            at += len(part)
            self._skip(len(part))
        return taken

    def drop(self) -> None:
        """What was not played will not be."""
        self._pieces.clear()
        self._kept = 0

    def _skip(self, samples: int) -> None:
        self._kept -= samples
        while samples:
            piece = self._pieces[0]
            if len(piece) > samples:
                self._pieces[0] = piece[samples:]
                return
            samples -= len(piece)
            self._pieces.popleft()

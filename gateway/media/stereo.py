"""Two sides of a call as one stereo timeline: what a recorder or a page that listens is given.

    left.hear  ─▸ Channel ─┐
                           ├─▸ take ─▸ PCM, shape (samples, 2)
    right.hear ─▸ Channel ─┘

Each channel is an ordinary listener, clocked by whom it hears. Their clocks differ, and time in
which nobody was routed to one of them is missing there: each is kept to our own clock.
"""

from __future__ import annotations

from math import inf

import numpy as np
from numpy.typing import NDArray

from gateway.media.frame import AudioFrame, Pcm
from gateway.media.opus import RATES

LEAD_S = 0.06
"The timeline begins so long before the tap does: a packet of 60 ms was begun then."

WINDOW_S = 0.3
"How long is looked who came least late: that one tells where a channel is; the rest is jitter."

TOLERANCE_S = 0.01
"A channel that far off is put right: 300 ppm take half a minute for it."

PAUSE_S = 0.1
"Who was told nothing for so long is put right at once: no window tells anything of before."

SETTLED_S = 0.5
"What is older than this a channel has heard, or nobody spoke to it."

MAX_KEPT_S = 30.0
"Kept for who does not take it, in each channel; what comes after is silence."

RAMP_S = 0.005
"Where something is left out or put in, it fades: else it clicks."


class Channel:
    """One side. A `Listener` of the hub, to be joined with `counts=False`."""

    is_connected = True

    def __init__(self, rate: int, began_at: float) -> None:
        self.corrected_s = 0.0
        "How much was left out (less than 0) and put in, to keep it to our clock."
        self.dropped_s = 0.0
        "What nobody took in time."
        self._rate = rate
        self._began_at = began_at
        self._pieces: list[Pcm] = []
        self._written = 0
        self._taken = 0
        self._heard_at = -inf
        self._ahead = -inf
        self._ahead_until = 0.0

    def hear(self, frame: AudioFrame) -> None:
        """Keep it, where it belongs."""
        rate = self._rate
        pcm = frame.pcm(rate)
        heard_at = frame.heard_at
        ahead = self._written + len(pcm) - (heard_at - self._began_at) * rate
        if heard_at - self._heard_at > PAUSE_S:
            if ahead < 0:
                self._write(np.zeros(round(-ahead), np.int16))
            self._ahead, self._ahead_until = -inf, heard_at + WINDOW_S
        elif heard_at >= self._ahead_until:
            pcm = self._correct(round(max(ahead, self._ahead)), pcm)
            self._ahead, self._ahead_until = -inf, heard_at + WINDOW_S
        else:
            self._ahead = max(ahead, self._ahead)
        self._heard_at = heard_at
        self._write(pcm)

    @property
    def size(self) -> int:
        """Samples that can be taken."""
        return self._written - self._taken

    def fill(self, until: float) -> None:
        """Be silent for what nobody has said up to then (loop seconds)."""
        missing = round((until - self._began_at) * self._rate) - self._written
        if missing > 0:
            self._write(np.zeros(missing, np.int16))

    def take(self, size: int) -> Pcm:
        """The next samples; there must be as many."""
        pcm = np.concatenate([np.zeros(0, np.int16), *self._pieces])
        self._pieces = [pcm[size:]]
        self._taken += size
        return pcm[:size]

    def _correct(self, ahead: int, pcm: Pcm) -> Pcm:
        """Leave out or put in what makes the channel as long as the time; then `pcm`."""
        if abs(ahead) <= TOLERANCE_S * self._rate:
            return pcm
        ramp = np.linspace(0, 1, round(RAMP_S * self._rate), endpoint=False, dtype=np.float32)
        if self._pieces and len(self._pieces[-1]) >= len(ramp):
            tail = self._pieces[-1].copy()
            tail[-len(ramp) :] = (tail[-len(ramp) :] * (1 - ramp)).astype(np.int16)
            self._pieces[-1] = tail
        left_out = min(max(ahead, 0), len(pcm))
        if ahead < 0:
            self._write(np.zeros(-ahead, np.int16))
        self.corrected_s += (max(-ahead, 0) - left_out) / self._rate
        pcm = pcm[left_out:].copy()
        size = min(len(ramp), len(pcm))
        pcm[:size] = (pcm[:size] * ramp[:size]).astype(np.int16)
        return pcm

    def _write(self, pcm: Pcm) -> None:
        room = int(MAX_KEPT_S * self._rate) - self.size
        if len(pcm) > room:
            self.dropped_s += (len(pcm) - room) / self._rate
            pcm = pcm[:room]
        self._pieces.append(pcm)
        self._written += len(pcm)


class StereoTap:
    """Both sides of a call; who is on which is said by the routes."""

    def __init__(self, rate: int, now: float) -> None:
        """
        Raises:
            ValueError: `rate` is not 8, 12, 16, 24 or 48 kHz.
        """
        if rate not in RATES:
            raise ValueError(f"a tap hears at {RATES} Hz, not {rate}")
        self.rate = rate
        self.left = Channel(rate, now - LEAD_S)
        self.right = Channel(rate, now - LEAD_S)

    def take(self, now: float) -> NDArray[np.int16]:
        """What both have heard since the last time, shape (samples, 2), left first.

        It goes up to half a second before `now` at least; where one side heard nothing, it is
        silent. The two are aligned within 20 ms.
        """
        for side in (self.left, self.right):
            side.fill(now - SETTLED_S)
        size = min(self.left.size, self.right.size)
        return np.stack([self.left.take(size), self.right.take(size)], axis=1)

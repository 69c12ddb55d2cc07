"""A bad line between the caller and the gateway, and the echo of a caller's phone. Pure.

Seeded: the same chance, the same losses. Where packets come and go is `trial.carry`'s affair.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gateway.media.branch import Pcm
from gateway.trial.script import Line

OVERTAKEN_S = 0.03
"By how much a reordered packet is late: the next one, 20 ms after it, overtakes it."

NEXT_S = 1e-5
"So much later comes one that would overtake another: timers of one instant have no order."


class Impairment:
    """One direction of a bad path: which packets are lost, and when the others come out."""

    def __init__(self, line: Line, chance: Callable[[], float]) -> None:
        """`chance` draws a number from 0 to below 1."""
        self.sent = self.lost = 0
        self._chance = chance
        self._loss = line.loss
        self._leave_loss = 1 / line.burst
        self._enter_loss = min(line.loss / ((1 - line.loss) * line.burst), 1.0)
        self._is_losing = False
        self._jitter_s = line.jitter_ms / 1000
        self._reorder = line.reorder
        self._last_due = float("-inf")

    @property
    def is_perfect(self) -> bool:
        """Whether everything comes through, at once."""
        return not (self._loss or self._jitter_s or self._reorder)

    def pass_on(self, now: float) -> float | None:
        """One packet goes in now: when it comes out; None: it is lost."""
        self.sent += 1
        if self._loses():
            self.lost += 1
            return None
        due = now + self._chance() * self._jitter_s
        if self._chance() < self._reorder:
            return due + OVERTAKEN_S
        if self._jitter_s:
            # By jitter none overtakes another: queues delay, and keep the order.
            due = self._last_due = max(due, self._last_due + NEXT_S)
        return due

    def _loses(self) -> bool:
        """Gilbert's model: losses in a row of `burst` on average."""
        chance = self._leave_loss if self._is_losing else self._enter_loss
        if self._chance() < chance:
            self._is_losing = not self._is_losing
        return self._is_losing


class Phone:
    """What goes from the caller's room into the line: its voice, the agent's echo, noise."""

    def __init__(self, line: Line, rate: int, chance: Callable[[], float]) -> None:
        """`rate` in Hz of all PCM here."""
        self._gain = 0.0 if line.echo_db is None else 10 ** (line.echo_db / 20)
        self._rate = rate
        self._noise: NDArray[np.float32] | None = None
        if line.noise_dbfs is not None:
            self._noise = _noise(rate, line.noise_dbfs, chance)
        self._noise_at = 0
        self._heard: deque[Pcm] = deque()
        self._heard_samples = 0
        self._delay = round(line.echo_delay_ms * rate / 1000)
        self._max_waiting = self._delay + rate // 5
        if self._gain:
            self.hear(np.zeros(self._delay, np.int16))

    def hear(self, pcm: Pcm) -> None:
        """The agent comes out of the phone's loudspeaker."""
        if not self._gain or not len(pcm):
            return
        self._heard.append(pcm)
        self._heard_samples += len(pcm)
        while self._heard_samples > self._max_waiting + len(pcm):
            self._heard_samples -= len(self._heard.popleft())

    def says(self, voice: Pcm) -> Pcm:
        """What its microphone takes up while the caller says `voice`."""
        if not self._gain and self._noise is None:
            return voice
        sound = voice.astype(np.float32)
        if self._gain:
            sound += self._gain * self._echo(len(voice))
        if self._noise is not None:
            sound += self._take_noise(len(voice))
        return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)

    def _echo(self, wanted: int) -> NDArray[np.float32]:
        echo = np.zeros(wanted, np.float32)
        at = 0
        while at < wanted and self._heard:
            piece = self._heard.popleft()
            part = piece[: wanted - at]
            echo[at : at + len(part)] = part
            at += len(part)
            if len(part) < len(piece):
                self._heard.appendleft(piece[len(part) :])
        self._heard_samples -= at
        return echo

    def _take_noise(self, wanted: int) -> NDArray[np.float32]:
        assert self._noise is not None
        at = np.arange(self._noise_at, self._noise_at + wanted) % len(self._noise)
        self._noise_at = (self._noise_at + wanted) % len(self._noise)
        return self._noise[at]


def _noise(rate: int, level_dbfs: float, chance: Callable[[], float]) -> NDArray[np.float32]:
    """A second of white noise, to be repeated."""
    white = np.random.default_rng(int(chance() * 2**32)).standard_normal(rate)
    return np.asarray(white * 32768 / np.sqrt(2) * 10 ** (level_dbfs / 20), np.float32)

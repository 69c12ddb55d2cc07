"""What a caller hears of an agent: when it speaks, and whether words are whole. Pure."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.media.branch import Pcm

_Floats = NDArray[np.float32]

PIECE_MS = 10
"What is judged at once: times are told as finely as this."

LOUD_DBFS = -45.0
"What is louder is speech: 20 dB below a quiet voice, 20 above what a line makes by itself."

GAP_S = 0.3
"Pauses between words are shorter: what is longer ends what was being said."

CLICK_S = 0.03
"What is shorter, and alone, is no speech."

TAIL_S = 1.0
"So much of a goodbye must be found, at its end."

WINDOW_S = 0.2
"It is looked for in pieces of this, each within `SLACK_S` of where it should be."

SLACK_S = 0.06

LOOK_BACK_S = 15.0
"And in so much of the end of the call: what was said before is no goodbye."

ALIKE = 0.5
"Correlation from which on a piece is the one looked for: chance is below 0.3 where speech is."

MIN_WINDOW_DBFS = -50.0
"Pieces of a goodbye that are softer are pauses, which need not be found."


@dataclass(slots=True)
class Span:
    """A time in which somebody spoke, in loop seconds."""

    started_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.ended_at - self.started_at


class Ear:
    """Follows what is heard, frame by frame, and keeps it."""

    def __init__(self, rate: int) -> None:
        """`rate` in Hz of all that is pushed."""
        self.rate = rate
        self.spans: list[Span] = []
        "When the agent spoke; the last may go on."
        self._piece = rate * PIECE_MS // 1000
        self._threshold = (32768.0**2 / 2) * 10 ** (LOUD_DBFS / 10)
        self._heard = array("h")

    def push(self, pcm: Pcm, at: float) -> None:
        """Hear a frame whose first sample came at `at`, in loop seconds."""
        self._heard.frombytes(pcm.tobytes())
        for start in range(0, len(pcm), self._piece):
            piece = pcm[start : start + self._piece].astype(np.float32)
            if float(piece.dot(piece)) > self._threshold * len(piece):
                self._loud(at + start / self.rate, at + (start + len(piece)) / self.rate)

    def _loud(self, begin: float, end: float) -> None:
        last = self.spans[-1] if self.spans else None
        if last is not None and begin - last.ended_at < GAP_S:
            last.ended_at = max(last.ended_at, end)
            return
        if last is not None and last.seconds < CLICK_S:
            self.spans.pop()
        self.spans.append(Span(begin, end))

    @property
    def heard(self) -> Pcm:
        """All that was heard."""
        return np.array(self._heard, np.int16)

    def speaks_since(self, now: float) -> float | None:
        """When what the agent is saying now began; None: it is quiet."""
        if not self.spans:
            return None
        last = self.spans[-1]
        speaks = now - last.ended_at < GAP_S and last.seconds >= CLICK_S
        return last.started_at if speaks else None

    def quiet_s(self, now: float) -> float:
        """How long nothing was heard; infinity where nothing ever was."""
        return now - self.spans[-1].ended_at if self.spans else float("inf")

    def speech(self) -> list[Span]:
        """When the agent spoke, clicks left out."""
        return [span for span in self.spans if span.seconds >= CLICK_S]


def tail_share(heard: Pcm, words: Pcm, rate: int) -> float:
    """How much of the last second of `words` is at its place in what was `heard` last.

    Returns:
        0 to 1: 1 where they are whole; what is cut off at the end is missing.
    """
    tail = _trim(words, rate)[-round(TAIL_S * rate) :].astype(np.float32)
    sound = heard[-round(LOOK_BACK_S * rate) :].astype(np.float32)
    if not len(tail) or not tail.any():
        return 1.0
    # What was cut off may lie beyond the end of what was heard.
    sound = np.concatenate([sound, np.zeros(len(tail), np.float32)])
    at = _best_place(sound, tail)
    size, slack = round(WINDOW_S * rate), round(SLACK_S * rate)
    found = wanted = 0
    for start in range(0, len(tail) - size // 2, size):
        window = tail[start : start + size]
        if _dbfs(window) < MIN_WINDOW_DBFS:
            continue
        wanted += 1
        around = sound[max(0, at + start - slack) : at + start + size + slack]
        found += _likeness(around, window) >= ALIKE
    return found / wanted if wanted else 1.0


def _trim(words: Pcm, rate: int) -> Pcm:
    """Without the silence at the end."""
    piece = rate * PIECE_MS // 1000
    end = len(words)
    while end > piece and _dbfs(words[end - piece : end].astype(np.float32)) < MIN_WINDOW_DBFS:
        end -= piece
    return words[:end]


def _best_place(sound: _Floats, tail: _Floats) -> int:
    """Where `tail` begins in `sound`, as far as it is there."""
    if len(sound) < len(tail):
        return 0
    size = 1 << (len(sound) + len(tail) - 1).bit_length()
    product = np.fft.rfft(sound, size) * np.conj(np.fft.rfft(tail, size))
    return int(np.argmax(np.fft.irfft(product, size)[: len(sound) - len(tail) + 1]))


def _likeness(around: _Floats, window: _Floats) -> float:
    """The best normalized correlation of `window` with a piece of `around`."""
    if len(around) < len(window):
        return 0.0
    products = np.correlate(around, window, "valid")
    energies = np.convolve(around * around, np.ones(len(window), np.float32), "valid")
    scale = np.sqrt(np.maximum(energies, 1.0) * max(float(window.dot(window)), 1.0))
    return float(np.max(products / scale))


def _dbfs(samples: _Floats) -> float:
    power = float(np.mean(samples * samples)) if len(samples) else 0.0
    return float(10 * np.log10(max(power, 1e-3) * 2 / 32768.0**2))

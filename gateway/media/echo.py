"""Whether what is heard is an echo of what was said: by the sound itself, not by its loudness.

A line's echo is what was said, late by up to half a second, and filtered: a hybrid smears it over
some milliseconds, a room over many. So the best filter of that length is looked for that makes one
of the other; what it explains is echo, the rest is somebody's. Two people at once are told from an
echo however loud it is, which a threshold alone cannot do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gateway.codec import TICK_RATE
from gateway.media.frame import AudioFrame, Pcm
from gateway.media.g711 import LAWS
from gateway.media.resample import resample

RATE = 8000
"Hz: an echo is compared at it."

WINDOW_MS = 160
"What is heard that is looked at: longer would see less of a word that has just begun."

MAX_DELAY_MS = 600
"How late an echo is taken for one: half a second of line, and jitter buffers."

TAPS = 64
"Samples of the filter: 8 ms, what a hybrid smears an echo over."

LEAD = 8
"Taps before the strongest path."

SLACK_MS = 40
"By how much a frame may seem to be heard before it was said: they come on different clocks."

SURE_SHARE, LIKELY_SHARE = 0.55, 0.3
"""Of what is heard. With more than the first of it an echo nobody speaks. Between them it is one if
it is as late as the last that was found: two voices may be alike for a moment, but not again so."""

SAME_DELAY = 480
"Samples, 60 ms, by which echoes of one line may seem to differ: in a room they wander."

MAX_GAIN = 0.4
"No echo comes back louder than this, -4 dB: it is a voice that is like another."

THRESHOLD = 0.15
"""What is less than this part of a known echo's loudest is not looked at, so as to spare the work.
It is no more than that: a caller who is softer than the echo is still heard in it."""

IN_A_ROW_S = 0.12
"What goes out so soon after another frame follows it: a hub makes up for 0.1 s at most."

MAX_KEPT = 80
"Frames remembered of each side: 0.8 s of the shortest ones."

WINDOW = WINDOW_MS * RATE // 1000
SLACK = SLACK_MS * RATE // 1000
REACH = WINDOW + MAX_DELAY_MS * RATE // 1000 + SLACK
"Samples of what was said that are needed for a look."

_QUIET = np.zeros(160, np.int16)


@dataclass(frozen=True, slots=True)
class Likeness:
    """What of a sound is an echo."""

    share: float
    "Of its energy, 0 to 1. An echo over a hybrid has 0.9, somebody else's words 0.2."
    gain: float
    "Power of the echo by that of what it echoes, as it was said."
    delay: int
    "How many samples ago that was said, and more: its strongest path."


def find_echo(
    heard: NDArray[np.float32], said: NDArray[np.float32], near: int | None = None
) -> Likeness:
    """Compare the last `WINDOW` samples that were heard with the last `REACH` that were said.

    What was said ends `SLACK` later, in silence. 0.4 ms of CPU: to be asked when it matters.

    Args:
        near: look for an echo of about this delay alone; None: of any.
    """
    energy = float(heard @ heard)
    if energy <= 0:
        return Likeness(0.0, 0.0, 0)
    size = 1 << (REACH + WINDOW).bit_length()
    matched = np.fft.irfft(np.fft.rfft(said, size) * np.conj(np.fft.rfft(heard, size)), size)
    crossed = matched[: REACH - WINDOW + 1]
    sums = np.concatenate(([0.0], np.cumsum(said.astype(np.float64) ** 2)))
    energies = sums[WINDOW:] - sums[:-WINDOW]
    # What was too soft to come back so loud is left out, and where nothing was said.
    least = max(energy * LIKELY_SHARE / MAX_GAIN, 100.0 * WINDOW)
    if near is not None:
        energies[: max(0, REACH - WINDOW - near - SAME_DELAY)] = 0.0
        energies[max(0, REACH - WINDOW - near + SAME_DELAY) :] = 0.0
    at = int(np.argmax(np.where(energies >= least, crossed**2 / (energies + least), 0.0)))
    if energies[at] < least:
        return Likeness(0.0, 0.0, 0)
    # In `said` an echo of more delay begins earlier: later taps of the filter lie before the first.
    first = min(max(0, at - (TAPS - LEAD)), REACH - WINDOW - TAPS + 1)
    stretch = said[first : first + WINDOW + TAPS - 1].astype(np.float64)
    wanted = crossed[first : first + TAPS]
    matrix = _covariance(stretch)
    # As much again, so that the periods of two voices are not made of each other.
    matrix[np.diag_indices(TAPS)] += 1e-3 * np.trace(matrix) / TAPS + WINDOW
    weights = np.linalg.solve(matrix, wanted)
    explained = float(weights @ wanted)
    share = min(1.0, max(0.0, explained / energy))
    return Likeness(share, share * energy / max(float(energies[at]), 1.0), REACH - WINDOW - at)


def _covariance(stretch: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the stretch with itself at each two of the taps: row by row, each from the one above."""
    matrix = np.empty((TAPS, TAPS))
    matrix[0] = np.correlate(stretch, stretch[:WINDOW], "valid")
    coming, going = stretch[WINDOW:], stretch[: TAPS - 1]
    change = np.outer(coming, coming) - np.outer(going, going)
    for row in range(1, TAPS):
        matrix[row, 1:] = matrix[row - 1, :-1] + change[row - 1]
        matrix[row, 0] = matrix[0, row]
    return matrix


class EchoWatch:
    """Both sides of the last moments of a call, and how loud its echo was when it was last found.

    Nothing is looked at as it goes by: of each frame only a reference is kept.
    """

    __slots__ = (
        "_delay",
        "_gain",
        "_heard",
        "_is_found",
        "_listener",
        "_loudest",
        "_rate",
        "_said",
    )

    def __init__(self, rate: int = RATE) -> None:
        """`rate` in Hz is that of what is heard."""
        self._rate = rate
        self._heard: deque[Pcm] = deque(maxlen=MAX_KEPT)
        self._said: deque[AudioFrame] = deque(maxlen=MAX_KEPT)
        self._listener: object = None
        "To whom that was said."
        self._gain = 0.0
        self._delay = -SAME_DELAY - 1
        self._is_found = False
        self._loudest: deque[tuple[float, float]] = deque(maxlen=MAX_KEPT)
        "When what was said, and its power; kept on lines with an echo only."

    def say(self, listener: object, frame: AudioFrame) -> None:
        """This goes out to one who listens; to others it is the same, and is passed over."""
        if listener is not self._listener:
            if self._said and frame.heard_at - self._said[-1].heard_at < IN_A_ROW_S:
                return
            self._listener = listener
        self._said.append(frame)

    def hear(self, pcm: Pcm) -> None:
        """This is heard."""
        self._heard.append(pcm)

    def hear_nothing(self) -> None:
        """Silence of a frame's length is heard."""
        self._heard.append(self._heard[-1] * 0 if self._heard else _QUIET)

    def threshold(self, now: float) -> float:
        """Power below which it is an echo of what was said lately; 0 where none was found."""
        if not self._gain or not self._is_recent(now):
            return 0.0
        loudest = self._loudest
        known_until = loudest[-1][0] if loudest else 0.0
        new = [frame for frame in self._said if frame.heard_at > known_until]
        loudest.extend((frame.heard_at, _power(_sent(frame))) for frame in new)
        while loudest and now - loudest[0][0] > MAX_DELAY_MS / 1000:
            loudest.popleft()
        return THRESHOLD * self._gain * max((power for _, power in loudest), default=0.0)

    def is_heard(self, now: float) -> bool:
        """Whether most of what was heard up to now is an echo."""
        if not self._is_recent(now):
            return False
        heard = self.heard()
        window = np.zeros(WINDOW, np.float32)
        window[WINDOW - len(heard) :] = heard
        said = self._reference(now)
        found = find_echo(window, said)
        if self._is_found and found.share < SURE_SHARE:
            # Words may be more like others than like themselves that come back.
            found = max(found, find_echo(window, said, self._delay), key=self._trust)
        if self._trust(found) >= 1:
            self._gain = max(found.gain, 0.9 * self._gain)
            self._delay, self._is_found = found.delay, True
            return True
        self._gain /= 2
        if self._is_found or found.share < LIKELY_SHARE:
            return False
        # Nothing is known of this line yet: the next look will show, 60 ms later.
        is_first = self._delay < 0
        self._delay = found.delay
        return is_first

    def _trust(self, found: Likeness) -> float:
        is_known = abs(found.delay - self._delay) <= SAME_DELAY
        return found.share / (LIKELY_SHARE if is_known else SURE_SHARE)

    def heard(self) -> NDArray[np.float32]:
        """What was heard last, at 8 kHz: `WINDOW` samples at most."""
        pieces: list[NDArray[np.float32]] = []
        wanted = WINDOW
        for pcm in reversed(self._heard):
            pieces.append(at_8_khz(pcm, self._rate))
            wanted -= len(pieces[-1])
            if wanted <= 0:
                break
        return np.concatenate(pieces[::-1])[-WINDOW:] if pieces else np.zeros(0, np.float32)

    def _is_recent(self, now: float) -> bool:
        return bool(self._said) and now - self._said[-1].heard_at <= MAX_DELAY_MS / 1000

    def _reference(self, now: float) -> NDArray[np.float32]:
        """What was said up to now, where it was said."""
        said = np.zeros(REACH, np.float32)
        end = -REACH
        for frame in self._said:
            pcm = _sent(frame)
            at = REACH - SLACK - round((now - frame.heard_at) * RATE)
            # Frames in a row are in a row, also where a stall let them go late, and at once.
            if abs(at - end) < IN_A_ROW_S * RATE:
                at = end
            end = at + len(pcm)
            first, last = max(at, 0), min(end, REACH)
            if first < last:
                said[first:last] = pcm[first - at : last - at]
        return said


def _sent(frame: AudioFrame) -> NDArray[np.float32]:
    """What a frame that was sent sounds like, at 8 kHz; silence where that takes a decoder.

    It was encoded from PCM, or relayed as it is: then G.711 is quickly looked up.
    """
    pcm = frame.rendered
    if pcm is None:
        law = None if frame.codec is None else LAWS.get(frame.codec.name)
        if law is None or frame.payload is None:
            return np.zeros(frame.samples(RATE), np.float32)
        return law.decode(frame.payload).astype(np.float32)
    return at_8_khz(pcm, round(len(pcm) * TICK_RATE / max(frame.duration, 1)))


def at_8_khz(pcm: Pcm, rate: int) -> NDArray[np.float32]:
    """Audio of another rate, roughly: good enough to be compared."""
    step, odd = divmod(rate, RATE)
    if odd:
        return resample(pcm, rate, RATE).astype(np.float32)
    if step == 1:
        return pcm.astype(np.float32)
    whole = pcm[: len(pcm) // step * step].astype(np.float32)
    mean: NDArray[np.float32] = whole.reshape(-1, step).mean(axis=1)
    return mean


def _power(samples: NDArray[np.float32]) -> float:
    return float(samples @ samples) / (len(samples) or 1)

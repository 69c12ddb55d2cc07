"""Whether what is heard is an echo of what was said: by the sound itself, not by its loudness.

A line's echo is what was said, late by up to half a second, and filtered: a hybrid smears it over
some milliseconds, a room over many. So the best filter of that length is looked for that makes one
of the other; what it explains is echo, the rest is somebody's. Two people at once are told from an
echo however loud it is, which a threshold alone cannot do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

WINDOW = WINDOW_MS * RATE // 1000
REACH = WINDOW + MAX_DELAY_MS * RATE // 1000
"Samples of what was said that are needed for a look."


@dataclass(frozen=True, slots=True)
class Likeness:
    """What of a sound is an echo."""

    share: float
    "Of its energy, 0 to 1. An echo over a hybrid has 0.9, somebody else's words 0.2."
    gain: float
    "Power of the echo by that of what it echoes, as it was said."


def find_echo(heard: NDArray[np.float32], said: NDArray[np.float32]) -> Likeness:
    """Compare the last `WINDOW` samples that were heard with the last `REACH` that were said.

    Both end now. 0.4 ms of CPU: to be asked when it matters.
    """
    energy = float(heard @ heard)
    if energy <= 0:
        return Likeness(0.0, 0.0)
    size = 1 << (REACH + WINDOW).bit_length()
    matched = np.fft.irfft(np.fft.rfft(said, size) * np.conj(np.fft.rfft(heard, size)), size)
    crossed = matched[: REACH - WINDOW + 1]
    sums = np.concatenate(([0.0], np.cumsum(said.astype(np.float64) ** 2)))
    energies = sums[WINDOW:] - sums[:-WINDOW]
    # White noise of 10 LSB is added to what was said: where it said nothing, nothing is like it.
    at = int(np.argmax(crossed**2 / (energies + 100.0 * WINDOW)))
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
    return Likeness(share, share * energy / max(float(energies[at]), 1.0))


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

"""Which packet in a packet out carries, told from the sound itself. Pure, on numpy.

A transcoded packet carries no stamp, and a system may hold back, drop or re-frame what it was
given. So each end says a loop of speech whose every position sounds different, and what is heard
is laid over that loop by cross-correlation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FRAME_SAMPLES = 160
"20 ms at the 8 kHz at which sound is compared."

MIN_LIKENESS = 0.4
"Below this normalised correlation what was heard is not the loop. G.711 gives 0.99, SILK 0.9."

SNAP_FRAMES = 0.2
"""A frame out this near to a frame in is that frame. Decoders' own filters shift the sound by up to
3 ms; where packets are relayed one for one the shift says nothing about delay."""


@dataclass(frozen=True, slots=True)
class Match:
    """Where in the loop something heard begins."""

    position: float
    "Frames from the loop's start, fractional, the codec's own delay taken off; 0 ≤ it < loop."
    likeness: float
    "Normalised correlation, 0 to 1."


def find_in_loop(heard: Floats, loop: Floats, codec_delay: int = 0) -> Match | None:
    """Find where in the cyclic `loop` the sound `heard` begins.

    Args:
        heard: PCM at 8 kHz, at most as long as the loop; lost frames as zeros.
        loop: PCM at 8 kHz, a whole number of frames.
        codec_delay: by how many samples the codec's own look-ahead shifts sound to later.

    Returns:
        None when what was heard is not in the loop.
    """
    offset, likeness = best_offset(heard, loop)
    if likeness < MIN_LIKENESS:
        return None
    position = (offset + codec_delay) / FRAME_SAMPLES
    if abs(position - round(position)) < SNAP_FRAMES:
        position = float(round(position))
    return Match(position % (len(loop) // FRAME_SAMPLES), likeness)


def best_offset(heard: Floats, loop: Floats) -> tuple[int, float]:
    """The sample of the cyclic `loop` at which `heard` fits best, and how well (0 to 1)."""
    size = len(loop)
    assert len(heard) <= size
    assert size % FRAME_SAMPLES == 0
    energy = _energy(heard)
    if energy == 0.0:
        return 0, 0.0
    spectrum = np.conj(np.fft.rfft(heard, size)) * np.fft.rfft(loop)
    correlation = np.fft.irfft(spectrum, size)
    best = int(correlation.argmax())
    under = np.take(loop, range(best, best + len(heard)), mode="wrap")
    scale = (energy * _energy(under)) ** 0.5
    return best, float(correlation[best]) / scale if scale else 0.0


def frames_carried(
    match: Match, numbers: NDArray[np.int64], newest: NDArray[np.int64], loop_frames: int
) -> Floats:
    """Which frames in are carried by packets out with the given `numbers` (0: where `match` is).

    Args:
        match: where the packet out with number 0 begins.
        numbers: packets out, counted by their RTP timestamps.
        newest: for each of them the number of the last frame that had gone in when it came out.
        loop_frames: length of the loop; frame n carries the loop's frame n modulo this.

    Returns:
        For each packet out the number of the frame in, fractional. Of the candidates a loop apart
        the newest that had gone in is taken, for no system here delays by a whole loop; by the
        median, for a system that conceals a late frame is ahead of it for once.
    """
    first = int(match.position)
    ahead = float(np.median(newest - numbers)) - first
    loops = int(ahead // loop_frames) * loop_frames
    return numbers.astype(np.float64) + (match.position + loops)


def _energy(sound: Floats) -> float:
    # Not np.dot: BLAS would start a thread for each core, all of them on the one we are pinned to.
    return float((sound * sound).sum())

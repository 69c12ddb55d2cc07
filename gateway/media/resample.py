"""Change of sample rate: a polyphase FIR on numpy, stateful, with a fixed short delay.

soxr, measured in 20 ms blocks, holds back 40 to 118 ms at any quality that filters at all; this
filter is 2 ms late at 8 kHz (1 ms at 16), and costs as little.

    in_block samples ▸ [window of history and block] × matrix ▸ out_block samples
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd

import numpy as np
from numpy.typing import NDArray

HALF_LENGTH = 16
"Half the filter, in samples of the lower rate: its delay, and the width of its transition."

ATTENUATION_DB = 68.0
"Of aliases and images. Tones up to 0.425 of the lower rate pass whole: 3.4 kHz at 8 kHz."

MAX_SAMPLES = 4_000_000
"Longest piece resampled at once: 83 s at 48 kHz."

_BLOCK = 16
"Samples of the lower rate computed by one row of the matrix product: the quickest of 4 to 80."


class Resampler:
    """One stream of mono int16 from one rate to another.

    Output is as long as input * to / from, exactly, wherever that is whole after each call; else
    what is missing comes with the next. The audio is `delay_ms` late.
    """

    __slots__ = (
        "_carry",
        "_grain",
        "_history",
        "_plans",
        "_taken",
        "delay_ms",
        "from_rate",
        "to_rate",
    )

    def __init__(self, from_rate: int, to_rate: int) -> None:
        """
        Raises:
            ValueError: a rate below 1 Hz, or a ratio no sound card knows (over 1000 phases).
        """
        if min(from_rate, to_rate) < 1:
            raise ValueError(f"cannot resample {from_rate} Hz to {to_rate} Hz")
        common = gcd(from_rate, to_rate)
        if max(from_rate, to_rate) // common > 1000:
            raise ValueError(f"cannot resample {from_rate} Hz to {to_rate} Hz: no simple ratio")
        self.from_rate = from_rate
        self.to_rate = to_rate
        self.delay_ms = HALF_LENGTH * 1000 / min(from_rate, to_rate)
        self._grain = from_rate // common
        self._history = np.zeros(_history_length(from_rate, to_rate), np.float32)
        self._carry: NDArray[np.int16] | None = None
        self._taken = 0
        "Output of the carry that `drain` has handed out."
        self._plans: dict[int, _Plan] = {}

    def process(self, pcm: NDArray[np.int16]) -> NDArray[np.int16]:
        """The next piece of the stream: any length up to `MAX_SAMPLES`, 6 µs for 20 ms."""
        if self._carry is not None:
            pcm = np.concatenate((self._carry, pcm))
            self._carry = None
        size = len(pcm)
        rest = size % self._grain
        if rest:
            size -= rest
            self._carry = pcm[size:].copy()
            pcm = pcm[:size]
        if not size:
            return np.zeros(0, np.int16)
        plan = self._plans.get(size)
        if plan is None:
            plan = self._plan(size)
        out = plan.run(pcm, self._history)
        if self._taken:
            out, self._taken = out[self._taken :], 0
        return out

    def drain(self) -> NDArray[np.int16]:
        """What is missing of the output so far; what is processed next goes on behind it.

        At ratios like 11.025 to 12 kHz up to 13 ms wait to be whole, which somebody who speaks on
        completes at once, and the last word of a sentence never. No sample comes out another.
        """
        carry = self._carry
        if carry is None:
            return np.zeros(0, np.int16)
        padded = np.zeros(self._grain, np.int16)
        padded[: len(carry)] = carry
        plan = self._plans.get(self._grain) or self._plan(self._grain)
        start, self._taken = self._taken, -(-len(carry) * self.to_rate // self.from_rate)
        # The filter looks back only: none of these is made of what is not there yet.
        return plan.run(padded, self._history.copy())[start : self._taken]

    def _plan(self, size: int) -> _Plan:
        if size > MAX_SAMPLES:
            raise ValueError(f"{size} samples at once, {MAX_SAMPLES} are allowed")
        if len(self._plans) >= 4:
            # A speaker has one or two frame sizes; one that varies them forever must not hoard.
            self._plans.clear()
        plan = self._plans[size] = _Plan(self.from_rate, self.to_rate, size)
        return plan


class _Plan:
    """The buffers for one input size, laid out once."""

    __slots__ = ("_buffer", "_input", "_matrix", "_out", "_tail", "_windows")

    def __init__(self, from_rate: int, to_rate: int, size: int) -> None:
        grain = from_rate // gcd(from_rate, to_rate)
        block = _block_of(grain, size, from_rate, to_rate)
        history = _history_length(from_rate, to_rate)
        self._matrix = _matrix(from_rate, to_rate, block)
        self._buffer = np.zeros(history + size, np.float32)
        self._input = self._buffer[history:]
        self._tail = self._buffer[size:]
        self._windows = np.lib.stride_tricks.sliding_window_view(self._buffer, history + block)[
            ::block
        ]
        self._out = np.zeros((size // block, self._matrix.shape[1]), np.float32)

    def run(self, pcm: NDArray[np.int16], history: NDArray[np.float32]) -> NDArray[np.int16]:
        out = self._out
        self._buffer[: len(history)] = history
        self._input[:] = pcm
        # Not matmul: BLAS takes no windows that overlap, and only dot lays them out for it.
        np.dot(self._windows, self._matrix, out=out)
        history[:] = self._tail
        np.rint(out, out=out)
        np.minimum(out, 32767.0, out=out)
        np.maximum(out, -32768.0, out=out)
        return out.astype(np.int16).reshape(-1)


def resample(pcm: NDArray[np.int16], from_rate: int, to_rate: int) -> NDArray[np.int16]:
    """A whole clip at another rate, without delay: ceil(len * to / from) samples.

    Raises:
        ValueError: as `Resampler`.
    """
    if from_rate == to_rate:
        return pcm
    resampler = Resampler(from_rate, to_rate)
    delay = HALF_LENGTH * to_rate // min(from_rate, to_rate)
    wanted = ceil(len(pcm) * to_rate / from_rate)
    grain = from_rate // gcd(from_rate, to_rate)
    silence = np.zeros(ceil((delay + 1) * from_rate / to_rate) + 2 * grain, np.int16)
    seconds = (pcm[start : start + from_rate] for start in range(0, len(pcm), from_rate))
    chunks = [resampler.process(second) for second in seconds]
    return np.concatenate([*chunks, resampler.process(silence)])[delay : delay + wanted]


def _block_of(grain: int, size: int, from_rate: int, to_rate: int) -> int:
    """Input samples per row: the largest divisor of `size` in grains near the best block."""
    grains = size // grain
    best = max(1, _BLOCK * from_rate // (min(from_rate, to_rate) * grain))
    return grain * next(count for count in range(min(best, grains), 0, -1) if grains % count == 0)


def _history_length(from_rate: int, to_rate: int) -> int:
    """Input samples before the block that reach into it: the whole filter."""
    return 2 * ceil(HALF_LENGTH * from_rate / min(from_rate, to_rate))


@lru_cache(maxsize=64)
def _matrix(from_rate: int, to_rate: int, block: int) -> NDArray[np.float32]:
    """What each sample of history and block adds to each output of the block.

    Output k is due at k / to_rate; it is made of inputs i at i / from_rate, each weighted by the
    filter at the distance between them, `delay` later.
    """
    lower = min(from_rate, to_rate)
    history = _history_length(from_rate, to_rate)
    count = block * to_rate // from_rate
    output_at = np.arange(count)[None, :] * (lower / to_rate)
    input_at = np.arange(-history, block)[:, None] * (lower / from_rate)
    distance = output_at - HALF_LENGTH - input_at
    window = np.kaiser(2 * 4096 + 1, _beta(ATTENUATION_DB))
    shape = np.interp(np.abs(distance) / HALF_LENGTH, np.linspace(0, 1, 4097), window[4096:])
    weights = np.sinc(distance) * np.where(np.abs(distance) <= HALF_LENGTH, shape, 0.0)
    # Every phase passes steady tones alike: without this, phases hum at the block rate.
    return np.ascontiguousarray(weights / weights.sum(axis=0), np.float32)


def _beta(attenuation_db: float) -> float:
    """Kaiser's window for that much attenuation (above 50 dB)."""
    return 0.1102 * (attenuation_db - 8.7)

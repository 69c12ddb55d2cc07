"""When frames came: late and missing ones, and the delay that a system added. Pure, on numpy.

The arrays are one stream's: arrival in Unix nanoseconds as the kernel stamped it, and the RTP
timestamp of the same packet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]

FRAME_NS = 20_000_000
"Every stream here has 20 ms packets."

LATE_MS = 20.0
"A frame that comes more than one frame after the earliest of its stream is late."

ROLLING_FRAMES = 500
"The earliest of the last 10 s is what lateness is measured from, so that clocks may drift."


@dataclass(frozen=True, slots=True)
class Punctuality:
    """How many frames of a stream were due in a window, and how many of them did not come well."""

    expected: int
    late: int
    missing: int

    @property
    def bad_percent(self) -> float:
        """Late or missing, percent of those due; 100 for a stream that never came."""
        if not self.expected:
            return 100.0
        return 100.0 * (self.late + self.missing) / self.expected

    def __add__(self, other: Punctuality) -> Punctuality:
        return Punctuality(
            self.expected + other.expected, self.late + other.late, self.missing + other.missing
        )


def unwrap(stamps: NDArray[np.uint32]) -> Int64s:
    """RTP timestamps without the wrap at 2^32, starting from the first as it is."""
    if not len(stamps):
        return np.zeros(0, np.int64)
    steps = np.diff(stamps).astype(np.int32)  # modulo 2^32, then taken as signed
    first = np.array([stamps[0]], np.int64)
    return np.concatenate((first, first + np.cumsum(steps, dtype=np.int64)))


def lateness_ms(arrived_ns: Int64s, stamps: Int64s, clock_rate: int) -> Floats:
    """How much later each frame came than the earliest one lately, milliseconds ≥ 0.

    (arrival − first arrival) − (timestamp − first timestamp) / clock, minus its rolling minimum.
    """
    if not len(arrived_ns):
        return np.zeros(0)
    due_ms = (stamps - stamps[0]) * (1000.0 / clock_rate)
    offset = (arrived_ns - arrived_ns[0]) / 1e6 - due_ms
    late: Floats = offset - _rolling_minimum(offset, ROLLING_FRAMES)
    return late


def punctuality(
    arrived_ns: Int64s, stamps: Int64s, clock_rate: int, *, window_s: float
) -> Punctuality:
    """Count the late and the missing frames of one stream over a window of `window_s`.

    A frame twice counts once. The stream may begin anywhere within a frame, so that one frame
    fewer than the window holds is complete.
    """
    step = clock_rate * FRAME_NS // 1_000_000_000
    expected = round(window_s * 1e9 / FRAME_NS)
    if not len(stamps):
        return Punctuality(expected, 0, expected)
    numbers, first = np.unique((stamps - stamps.min()) // step, return_index=True)
    expected = max(expected - 1, int(numbers[-1]) + 1)
    late = int(np.count_nonzero(lateness_ms(arrived_ns, stamps, clock_rate)[first] > LATE_MS))
    return Punctuality(expected, late, expected - len(numbers))


def added_delay_ms(arrived_ns: Int64s, frames: Floats, sent_ns: Int64s) -> Floats:
    """The delay between a frame's going in and its content's coming out, for each one out.

    Args:
        arrived_ns: when each packet came out.
        frames: which frame that went in each one carries; 7.25 begins a quarter into frame 7.
            Negative or beyond what was sent: not counted.
        sent_ns: when each frame went in, by its number.

    Returns:
        Milliseconds. A frame out that begins within a frame in counts from the moment at which a
        system without delay could have had it: that share of 20 ms after the frame's going in.
    """
    whole = np.floor(frames).astype(np.int64)
    known = (whole >= 0) & (whole < len(sent_ns))
    since = sent_ns[whole[known]] + (frames[known] - whole[known]) * FRAME_NS
    delay: Floats = (arrived_ns[known] - since) / 1e6
    return delay


def _rolling_minimum(values: Floats, width: int) -> Floats:
    """The smallest of each value and the `width` − 1 before it."""
    if len(values) <= width:
        smallest: Floats = np.minimum.accumulate(values)
        return smallest
    padded = np.concatenate((np.full(width - 1, np.inf), values))
    views = np.lib.stride_tricks.sliding_window_view(padded, width)
    rolling: Floats = views.min(axis=1)
    return rolling

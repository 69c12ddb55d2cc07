"""G.711 by table: μ-law and A-law (ITU-T G.711 tables 1a to 2b; RFC 3551 §4.5.14).

Linear samples are 16 bits, left-aligned: the standard's 14-bit (μ-law) and 13-bit (A-law) values
times 4 and 8. A sample on a decision value belongs to the interval beyond it, on both sides of zero
in μ-law; A-law mirrors negative samples as one's complement, as the reference code does (G.191).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BIAS = 33 << 2
"μ-law segments begin at powers of two once 33 (of 14 bits) is added (G.711 table 2a, note 4)."


class Law:
    """One of the two laws, as tables. Both directions take any length and never fail."""

    __slots__ = ("_code_of", "_linear_of", "name")

    def __init__(self, name: str, linear_of: NDArray[np.int16], code_of: NDArray[np.uint8]) -> None:
        """
        Args:
            linear_of: 256 values, by code.
            code_of: 65536 codes, by the sample's bits read as unsigned.
        """
        self.name = name
        self._linear_of = linear_of
        self._code_of = code_of

    def decode(self, payload: bytes) -> NDArray[np.int16]:
        """One sample per byte, full scale ±32124 (μ-law) or ±32256 (A-law)."""
        # `wrap` spares the bounds check: a byte cannot leave the table. 0.7 µs for 160.
        return self._linear_of.take(np.frombuffer(payload, np.uint8), mode="wrap")

    def encode(self, pcm: NDArray[np.int16]) -> bytes:
        """One byte per sample."""
        return self._code_of.take(pcm.view(np.uint16), mode="wrap").tobytes()


def _mu_law() -> Law:
    codes = ~np.arange(256, dtype=np.int32)
    segment, step = (codes >> 4) & 7, codes & 15
    magnitude = (((step << 3) + BIAS) << segment) - BIAS
    linear = np.where(codes & 0x80, -magnitude, magnitude).astype(np.int16)

    samples = np.arange(-32768, 32768)
    biased = np.minimum(np.abs(samples), 32635) + BIAS
    segment = np.log2(biased).astype(np.int32) - 7
    step = (biased >> (segment + 3)) & 15
    code = ~(np.where(samples < 0, 0x80, 0) | segment << 4 | step) & 0xFF
    return Law("PCMU", linear, _by_bits(code))


def _a_law() -> Law:
    codes = np.arange(256, dtype=np.int32) ^ 0x55
    segment, step = (codes >> 4) & 7, codes & 15
    magnitude = np.where(
        segment == 0, (step << 4) + 8, ((step << 4) + 0x108) << np.maximum(segment - 1, 0)
    )
    linear = np.where(codes & 0x80, magnitude, -magnitude).astype(np.int16)

    samples = np.arange(-32768, 32768)
    # One's complement (G.191): -1 is the first negative sample, and mirrors 0.
    magnitude = np.where(samples < 0, ~samples, samples)
    segment = np.maximum(np.log2(np.maximum(magnitude, 1)).astype(np.int32) - 7, 0)
    step = (magnitude >> np.maximum(segment + 3, 4)) & 15
    code = (np.where(samples < 0, 0, 0x80) | segment << 4 | step) ^ 0x55
    return Law("PCMA", linear, _by_bits(code))


def _by_bits(code_of_sample: NDArray[np.int64]) -> NDArray[np.uint8]:
    """From the order -32768 … 32767 to that of the samples' bits."""
    return np.roll(code_of_sample.astype(np.uint8), 32768)


MU_LAW = _mu_law()
A_LAW = _a_law()
LAWS = {law.name: law for law in (MU_LAW, A_LAW)}
"By encoding name."

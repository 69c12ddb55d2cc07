"""G.711 against the formulas of the standard, written another way than the tables are made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from gateway.media.g711 import A_LAW, LAWS, MU_LAW, Law
from tests.media.sound import sine_fit, tone

EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)


# ITU-T G.711 tables 1a and 2a, column 3: segments as (intervals, spacing), spacings doubling.
MU_LAW_SPACINGS = [1] + [2] * 15 + [2 << segment for segment in range(1, 8) for _ in range(16)]
A_LAW_SPACINGS = [2] * 32 + [2 << segment for segment in range(1, 7) for _ in range(16)]


def decisions_of(spacings: list[int]) -> NDArray[np.int64]:
    """Decision values x1, x2, … (the last, that of overload, included)."""
    return np.cumsum(spacings)


def outputs_of(spacings: list[int]) -> NDArray[np.int64]:
    """Column 8: half way between decision values; μ-law's first is zero."""
    ends = decisions_of(spacings)
    halves = ends + np.concatenate([[0], ends[:-1]])
    return np.where(ends == 1, 0, halves) // 2


def mu_law_code(number: int, *, negative: bool) -> int:
    """Column 6: all ones for zero, counting down; the first bit is the sign."""
    return (0x7F if negative else 0xFF) - number


def a_law_code(number: int, *, negative: bool) -> int:
    """Even bits inverted (note 2 of table 1a)."""
    return ((0x00 if negative else 0x80) | number) ^ 0x55


MU = (MU_LAW, MU_LAW_SPACINGS, 4, mu_law_code)
A = (A_LAW, A_LAW_SPACINGS, 8, a_law_code)
TABLES = pytest.mark.parametrize(("law", "spacings", "scale", "code_of"), [MU, A], ids=LAWS)


@pytest.mark.rfc(3551, "4.5.14")
@TABLES
def test_every_code_has_the_output_of_the_standard(
    law: Law, spacings: list[int], scale: int, code_of: Callable[..., int]
) -> None:
    outputs = outputs_of(spacings) * scale

    for number, output in enumerate(outputs):
        codes = bytes([code_of(number, negative=False), code_of(number, negative=True)])
        assert law.decode(codes).tolist() == [output, -output]
    assert len(outputs) == 128


@pytest.mark.rfc(3551, "4.5.14")
@TABLES
def test_every_sample_has_the_code_of_its_interval(
    law: Law, spacings: list[int], scale: int, code_of: Callable[..., int]
) -> None:
    samples = EVERY_SAMPLE.astype(np.int64)
    mirrored = np.where(samples < 0, -samples if law is MU_LAW else ~samples, samples)
    decisions = decisions_of(spacings)[:-1] * scale
    numbers = np.searchsorted(decisions, mirrored, side="right")

    expected = bytes(
        code_of(int(number), negative=bool(sample < 0))
        for number, sample in zip(numbers, samples, strict=True)
    )

    assert law.encode(EVERY_SAMPLE) == expected


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_code_survives_decoding_and_encoding(law: Law) -> None:
    again = law.encode(law.decode(EVERY_CODE))

    # μ-law knows two zeros; the negative one comes back as the positive.
    assert [a for a, b in zip(EVERY_CODE, again, strict=True) if a != b] == (
        [0x7F] if law is MU_LAW else []
    )


@pytest.mark.parametrize(
    ("law", "sample", "code"),
    [
        (MU_LAW, 0, 0xFF),
        (MU_LAW, 32767, 0x80),
        (MU_LAW, -32768, 0x00),
        (A_LAW, 0, 0xD5),
        (A_LAW, -1, 0x55),
        (A_LAW, 32767, 0xAA),
        (A_LAW, -32768, 0x2A),
    ],
)
def test_landmarks(law: Law, sample: int, code: int) -> None:
    assert law.encode(np.array([sample], np.int16)) == bytes([code])


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("level", [-3.0, -20.0, -40.0])
def test_noise_stays_35_db_below_a_tone_at_any_level(law: Law, level: float) -> None:
    sent = tone(1020, 1.0, 8000, level)

    heard_level, below = sine_fit(law.decode(law.encode(sent)), 1020, 8000)

    assert heard_level == pytest.approx(level, abs=0.2)
    assert below > (35 if level > -35 else 28)


def test_strided_pcm_is_encoded_as_it_reads() -> None:
    stereo = np.stack([EVERY_SAMPLE, EVERY_SAMPLE[::-1]], axis=1)

    assert MU_LAW.encode(stereo[:, 0]) == MU_LAW.encode(EVERY_SAMPLE)

"""Ratings by the E-model, against values worked out by hand from the formulas of G.107."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rtp.emodel import delay_impairment, mos_of, rate


def test_a_perfect_path_is_rated_as_the_default_of_g107() -> None:
    # G.107 table 2, note 1: with all parameters at their default values R is 93.2.
    rating = rate("PCMU", loss_percent=0)

    assert rating.r == pytest.approx(93.2, abs=0.05)
    assert rating.mos == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(
    ("loss", "burst", "r"),
    [
        # R = 93.21 - 95 P / (P / BurstR + 25.1)
        (1, 1.0, 89.57),
        (5, 1.0, 77.43),
        (10, 1.0, 66.14),
        (5, 2.0, 76.00),
        (10, 4.0, 58.78),
    ],
)
def test_loss_costs_what_g107_says(loss: float, burst: float, r: float) -> None:
    assert rate("PCMA", loss_percent=loss, burst_ratio=burst).r == pytest.approx(r, abs=0.01)


@pytest.mark.parametrize(
    ("r", "mos"),
    # G.107 annex B, table B.1: R 90, 80, 70, 60, 50 are MOS 4.34, 4.03, 3.60, 3.10, 2.58.
    [(100, 4.5), (90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58), (0, 1.0), (-5, 1.0)],
)
def test_ratings_become_opinions_as_in_annex_b(r: float, mos: float) -> None:
    assert mos_of(r) == pytest.approx(mos, abs=0.01)


@pytest.mark.parametrize(
    ("delay", "impairment"),
    [
        # Idte alone up to 100 ms. At 200 ms x = 1: Idd = 25 (2^(1/6) - 3 (1 + 3^-6)^(1/6) + 2).
        (0, 0.15),
        (100, 2.69),
        (200, 7.55),
        (400, 31.11),
    ],
)
def test_delay_costs_what_g107_says(delay: float, impairment: float) -> None:
    assert delay_impairment(delay) == pytest.approx(impairment, abs=0.02)


@given(
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.floats(allow_nan=False),
    st.sampled_from(["PCMU", "opus", "G722", "anything"]),
)
def test_whatever_was_measured_is_rated(loss: float, burst: float, delay: float, c: str) -> None:
    rating = rate(c, loss_percent=loss, burst_ratio=burst, delay_ms=delay)

    assert 0 <= rating.r <= 100
    assert 1 <= rating.mos <= 4.5


def test_more_loss_is_never_better() -> None:
    ratings = [rate("opus", loss_percent=loss).r for loss in range(101)]

    assert ratings == sorted(ratings, reverse=True)

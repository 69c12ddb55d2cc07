"""How losses lie together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rtp.burst import G_MIN, LossGauge, LossPattern


def pattern_of(packets: str) -> LossPattern:
    """Of packets that came (1), were lost (0) or too late (X)."""
    gauge = LossGauge()
    for place, packet in enumerate(packets):
        if packet != "1":
            gauge.lose(place, 1)
    return gauge.pattern(len(packets))


@pytest.mark.rfc(3611, "4.7.2")
def test_the_example_of_the_rfc() -> None:
    pattern = pattern_of("11110111111111111111111X111X1011110111111111111111111X111111111")

    assert (pattern.bursts, pattern.gaps) == (1, 2)
    assert pattern.burst_ms(10) == 120
    assert pattern.burst_density == pytest.approx(0.33, abs=0.005)
    assert pattern.gap_density == pytest.approx(0.04, abs=0.002)
    assert int(pattern.gap_density * 256) == 10


@pytest.mark.rfc(3611, "4.7.2")
def test_losses_far_apart_are_no_burst() -> None:
    lonely = pattern_of("1" * 20 + "0" + "1" * G_MIN + "0" + "1" * 20)
    close = pattern_of("1" * 20 + "0" + "1" * (G_MIN - 1) + "0" + "1" * 20)

    assert (lonely.bursts, lonely.gaps, lonely.burst_ms(20)) == (0, 1, 0)
    assert (close.bursts, close.burst_packets, close.burst_missing) == (1, G_MIN + 1, 2)


@pytest.mark.rfc(3611, "4.7.2")
def test_a_stream_that_begins_and_ends_in_a_burst_has_one_gap_between() -> None:
    pattern = pattern_of("00" + "1" * 30 + "00")

    assert (pattern.bursts, pattern.gaps, pattern.gap_ms(20)) == (2, 1, 600)


def test_losses_by_chance_have_a_burst_ratio_of_one() -> None:
    # Every other place of four, in all 16 ways: 32 of 64, in rows as chance makes them.
    by_chance = "".join(f"{number:04b}" for number in range(16))
    in_one_row = "1" * 32 + "0" * 32

    assert pattern_of(by_chance).burst_ratio == pytest.approx(1, abs=0.1)
    assert pattern_of(in_one_row).burst_ratio == 16


@given(st.text("10", max_size=200))
def test_nothing_is_counted_twice_or_forgotten(packets: str) -> None:
    pattern = pattern_of(packets)

    assert pattern.missing == packets.count("0")
    assert pattern.runs == len([run for run in packets.split("1") if run])
    assert pattern.burst_missing <= pattern.burst_packets <= len(packets)
    assert 0 <= pattern.gap_density <= 1 / (G_MIN + 1) or pattern.missing <= 1
    assert 0 <= pattern.burst_density <= 1
    assert pattern.gap_ms(20) * pattern.gaps + pattern.burst_ms(20) * pattern.bursts == (
        pytest.approx(20 * len(packets)) if pattern.gaps or pattern.bursts else 0
    )


def test_a_row_told_at_once_is_the_same_as_one_by_one() -> None:
    at_once, one_by_one = LossGauge(), LossGauge()

    at_once.lose(10, 5)
    for place in range(10, 15):
        one_by_one.lose(place, 1)

    assert at_once.pattern(40) == one_by_one.pattern(40)

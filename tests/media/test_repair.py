"""When a listener is sent FEC, by what it reports."""

from __future__ import annotations

from gateway.media.repair import CODED_FOR_PERCENT, Repair


def after(*reports: float) -> int:
    repair = Repair()
    for fraction_lost in reports:
        repair.take(fraction_lost)
    return repair.loss_percent


def test_lasting_loss_asks_for_repair_and_one_lost_packet_does_not() -> None:
    assert after(0.0, 0.02, 0.0, 0.02, 0.0) == 0
    assert after(0.02, 0.02, 0.02, 0.02, 0.02, 0.03) == CODED_FOR_PERCENT
    assert after(0.05) == CODED_FOR_PERCENT


def test_repair_ends_some_reports_after_the_loss() -> None:
    assert after(0.05, 0.05, 0.0) == CODED_FOR_PERCENT
    assert after(0.05, 0.05, 0.0, 0.0, 0.0, 0.0) == 0


def test_repair_does_not_flutter_between() -> None:
    assert after(0.05, *[0.01] * 50) == CODED_FOR_PERCENT
    assert after(*[0.01] * 50) == 0

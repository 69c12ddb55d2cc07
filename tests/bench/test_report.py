"""What is reported of the rounds."""

from __future__ import annotations

import json
from dataclasses import fields, replace

from bench.report import Round, summarize, table


def measured(**changes: float | str) -> Round:
    """A round as it should be, but for `changes`."""
    values = {
        field.name: "opus" if field.name.endswith("_mode") else 1.0 for field in fields(Round)
    }
    good = Round(**values)  # type: ignore[arg-type]
    return replace(good, calls=200, **{"frames_fallen": 0, **changes})  # type: ignore[arg-type]


def test_the_median_and_the_range_of_the_rounds_are_given() -> None:
    rounds = [measured(core_percent=value) for value in (71.0, 69.0, 75.0)]

    summary = summarize("gateway", rounds)

    assert summary["core_percent"] == 71.0
    assert summary["range"]["core_percent"] == [69.0, 75.0]
    assert summary["rounds"] == 3


def test_every_promised_figure_is_there_and_is_json() -> None:
    summary = json.loads(json.dumps(summarize("gateway", [measured()])))

    promised = {
        "system",
        "calls",
        "core_percent",
        "cpu_ms_per_call_second",
        "late_percent",
        "delay_ms_p50",
        "delay_ms_p99",
        "rss_mb_per_call",
    }
    assert promised <= summary.keys()


def test_a_round_with_steal_does_not_count() -> None:
    rounds = [measured(core_percent=70.0), measured(core_percent=20.0, steal_percent=2.5)]

    summary = summarize("gateway", rounds)

    assert summary["core_percent"] == 70.0
    assert summary["discarded"] == ["steal 2.5 %"]


def test_a_round_with_a_busy_generator_does_not_count() -> None:
    assert measured(generator_core_percent=86.0).discard_reason == "generator core 86 %"


def test_a_round_in_which_the_generator_was_held_up_does_not_count() -> None:
    assert measured(frames_fallen=4).discard_reason == "the generator was held up for 80 ms"


def test_when_no_round_counts_that_is_said() -> None:
    summary = summarize("gateway", [measured(core_percent=50.0, steal_percent=9.0)])

    assert summary["rounds"] == 0
    assert summary["core_percent"] == 50.0
    assert "no round counts" in summary["warning"]


def test_no_round_at_all_is_an_error() -> None:
    assert "error" in summarize("gateway", [])


def test_the_table_has_a_line_and_a_range_for_each_system() -> None:
    text = table([summarize("gateway", [measured()]), {"system": "aiortc", "error": "broke"}])

    lines = text.splitlines()
    assert lines[0].startswith("system")
    assert lines[1].startswith("gateway")
    assert "1–1" in lines[2]
    assert lines[3].split() == ["aiortc", "broke"]

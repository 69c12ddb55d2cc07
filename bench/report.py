"""What a run says: the rounds of each system as one JSON object, or as a table for people."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, fields
from importlib import metadata
from typing import Any

MAX_STEAL_PERCENT = 2.0
MAX_GENERATOR_PERCENT = 85.0
"Beyond either the round says more about the machine than about the system; it is discarded."


@dataclass(frozen=True, slots=True)
class Round:
    """One window of one system."""

    calls: int
    core_percent: float
    "CPU time of the system's whole process tree over the window."
    cpu_ms_per_call_second: float
    late_percent: float
    "Late or missing frames, the worse of the two directions."
    late_percent_up: float
    late_percent_down: float
    delay_ms_p50: float
    "The worse of the two directions, as the next."
    delay_ms_p99: float
    delay_ms_p50_up: float
    delay_ms_p99_up: float
    delay_ms_p50_down: float
    delay_ms_p99_down: float
    rss_mb_per_call: float
    generator_core_percent: float
    "How busy the generator's core was, with whatever else ran there."
    generator_cpu_percent: float
    "The generator alone."
    generator_late_ms_p99: float
    "By how much its packets went later than due."
    steal_percent: float
    "Of the worse of the two cores."
    foreign_percent: float
    "Other work on the system's core, the kernel's own included."
    calls_lost: int
    "Ended by the system before the window was over."
    calls_unmatched: int
    "Directions of calls in which the speech was not recognised at the other end."
    calls_shifted: int
    "Directions of calls in which frames were dropped or held within the window."
    setup_failures: int
    "Calls that did not come about, and were made up for by others."
    frames_fallen: int
    "Times 20 ms that the generator itself left out for all calls."
    up_mode: str
    down_mode: str

    @property
    def discard_reason(self) -> str | None:
        """Why the round does not count; None when it does."""
        if self.steal_percent > MAX_STEAL_PERCENT:
            return f"steal {self.steal_percent:.1f} %"
        if self.generator_core_percent > MAX_GENERATOR_PERCENT:
            return f"generator core {self.generator_core_percent:.0f} %"
        if self.frames_fallen:
            return f"the generator was held up for {self.frames_fallen * 20} ms"
        return None


HEADLINE = (
    "core_percent",
    "cpu_ms_per_call_second",
    "late_percent",
    "delay_ms_p50",
    "delay_ms_p99",
    "rss_mb_per_call",
)

COLUMNS = (
    ("calls", "calls"),
    ("core %", "core_percent"),
    ("CPU-ms/call-s", "cpu_ms_per_call_second"),
    ("late %", "late_percent"),
    ("delay p50 ms", "delay_ms_p50"),
    ("p99 ms", "delay_ms_p99"),
    ("MB/call", "rss_mb_per_call"),
)


def summarize(system: str, rounds: list[Round]) -> dict[str, Any]:
    """The median and the range of each figure over the rounds that count.

    When none counts, over all of them, with a warning: the figures are then of a busy machine.
    """
    counting = [entry for entry in rounds if entry.discard_reason is None]
    shown = counting or rounds
    summary: dict[str, Any] = {"system": system}
    if not shown:
        return {**summary, "error": "no round was measured"}
    if not counting:
        summary["warning"] = "no round counts: something else keeps the machine busy"
    detail: dict[str, float] = {}
    spread: dict[str, list[float]] = {}
    for field in fields(Round):
        values = [getattr(entry, field.name) for entry in shown]
        if isinstance(values[0], str):
            continue
        detail[field.name] = _rounded(statistics.median(values))
        spread[field.name] = [_rounded(min(values)), _rounded(max(values))]
    summary["calls"] = shown[0].calls
    summary |= {name: detail.pop(name) for name in HEADLINE}
    summary |= {
        "rounds": len(counting),
        "discarded": [entry.discard_reason for entry in rounds if entry.discard_reason],
        "range": {name: spread[name] for name in HEADLINE},
        "detail": {name: value for name, value in detail.items() if name != "calls"},
        "detail_range": {name: spread[name] for name in detail if name != "calls"},
        "up_mode": shown[-1].up_mode,
        "down_mode": shown[-1].down_mode,
    }
    return summary


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """The installed versions of packages; those that are not installed are left out."""
    found: dict[str, str] = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def table(summaries: list[dict[str, Any]]) -> str:
    """The summaries for a person to read: median, and the range below it."""
    rows = [["system", *(title for title, _ in COLUMNS)]]
    for summary in summaries:
        if "error" in summary:
            rows.append([summary["system"], summary["error"]])
            continue
        rows.append([summary["system"], *(_cell(summary[name]) for _, name in COLUMNS)])
        spread = summary["range"]
        rows.append(["", *(_range(spread.get(name)) for _, name in COLUMNS)])
    full = [row for row in rows if len(row) == len(COLUMNS) + 1]
    widths = [max(len(row[n]) for row in full) for n in range(len(COLUMNS) + 1)]
    lines = [
        "  ".join(cell.rjust(width) if n else cell.ljust(width) for n, (cell, width) in pairs)
        for pairs in (list(enumerate(zip(row, widths, strict=False))) for row in rows)
    ]
    notes = [
        f"{summary['system']}: up {summary['up_mode']}, down {summary['down_mode']}, "
        f"{summary['rounds']} rounds, discarded {len(summary['discarded'])}, "
        f"foreign load {summary['detail']['foreign_percent']} %, "
        f"generator core {summary['detail']['generator_core_percent']} %"
        for summary in summaries
        if "error" not in summary
    ]
    return "\n".join([*lines, "", *notes])


def _cell(value: float) -> str:
    return f"{value:g}"


def _range(pair: list[float] | None) -> str:
    return f"{pair[0]:g}–{pair[1]:g}" if pair else ""


def _rounded(value: float) -> float:
    """Three digits or three decimals, whichever is more."""
    return round(float(value), 3)

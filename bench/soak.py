"""`python -m bench soak`: many calls for a long time, some of them always new; nothing may grow."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.evaluate import evaluate
from bench.measure import Usage
from bench.system import SYSTEMS
from bench.under_test import UnderTest, circumstances, under_test

WINDOW_S = 8.0
PAUSE_S = 2.0
CHURN = 0.1
"Of the calls are ended and placed anew between windows."

SETTLED = 0.25
"What the first part of the run does to memory is warming up."

MAX_GROWTH_MB = 8.0
MAX_LATE_PERCENT = 1.0


@dataclass(frozen=True, slots=True)
class SoakOptions:
    """What the command line asks for."""

    calls: int
    minutes: float
    as_json: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """What one window showed."""

    at_s: float
    rss_mb: float
    files: int
    core_percent: float
    late_percent: float
    delay_ms_p99: float


async def soak(options: SoakOptions) -> int:
    """Run it and print what came out; returns 1 if something grew or was late."""
    system = SYSTEMS["gateway"]
    samples: list[Sample] = []
    async with under_test(system) as at:
        started = time.monotonic()
        while time.monotonic() - started < 60 * options.minutes:
            await at.set_calls(round(options.calls * (1 - CHURN)))
            await at.set_calls(options.calls)
            await asyncio.sleep(PAUSE_S)
            samples.append(await _sample(at, started))
            _say(samples[-1])
        await at.set_calls(0)
        await asyncio.sleep(PAUSE_S)
        files_after = _open_files(at.running.pid)
    summary = _summarize(options, samples, files_after) | circumstances(system)
    print(json.dumps(summary) if options.as_json else _line(summary))
    return 0 if summary["passed"] else 1


async def _sample(at: UnderTest, started: float) -> Sample:
    before = Usage.of(at.running.pid)
    recording = await at.generator.record(WINDOW_S)
    after = Usage.of(at.running.pid)
    files = _open_files(at.running.pid)
    found = evaluate(recording)
    late = max(found.up.punctuality.bad_percent, found.down.punctuality.bad_percent)
    delay = np.concatenate((found.up.delay_ms, found.down.delay_ms))
    return Sample(
        round(time.monotonic() - started, 1),
        round(after.rss_bytes / 2**20, 1),
        files,
        round(100 * (after.cpu_s - before.cpu_s) / recording.window_s, 1),
        round(late, 3),
        round(float(np.percentile(delay, 99)), 2) if len(delay) else float("nan"),
    )


def _summarize(options: SoakOptions, samples: list[Sample], files_after: int) -> dict[str, Any]:
    settled = samples[int(len(samples) * SETTLED) :]
    growth = settled[-1].rss_mb - settled[0].rss_mb
    late = float(np.median([each.late_percent for each in settled]))
    return {
        "system": "gateway",
        "calls": options.calls,
        "minutes": options.minutes,
        "grown_mb": round(growth, 1),
        "late_percent_median": late,
        "files_after": files_after,
        "passed": growth <= MAX_GROWTH_MB and late < MAX_LATE_PERCENT,
        "samples": [asdict(each) for each in samples],
    }


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _say(sample: Sample) -> None:
    print(
        f"[{sample.at_s:6.0f} s] {sample.rss_mb:.0f} MB, {sample.files} files, "
        f"{sample.core_percent:.0f} % of a core, late {sample.late_percent:.2f} %, "
        f"delay p99 {sample.delay_ms_p99:.2f} ms",
        file=sys.stderr,
        flush=True,
    )


def _line(summary: dict[str, Any]) -> str:
    return (
        f"{summary['calls']} calls for {summary['minutes']} min: {summary['grown_mb']} MB more, "
        f"late {summary['late_percent_median']} %, {summary['files_after']} files after the last; "
        + ("passed" if summary["passed"] else "NOT AS IT SHOULD BE")
    )

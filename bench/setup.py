"""`python -m bench setup`: how long a page waits for its answer while others talk."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.measure import Usage
from bench.page import Page
from bench.signalling import CallFailedError, CallSocket
from bench.system import SYSTEMS
from bench.under_test import UnderTest, circumstances, under_test

WARM_UP_S = 3.0
FIRST_NUMBER = 9_000_000
"Numbers of these calls; those of the background begin at 1."


@dataclass(frozen=True, slots=True)
class SetupOptions:
    """What the command line asks for."""

    calls: int
    "That talk meanwhile."
    rate: float
    "Calls placed a second."
    seconds: float
    as_json: bool


@dataclass(frozen=True, slots=True)
class _Placed:
    """One call that was set up and ended."""

    answer_s: float
    "From the offer to its answer."
    media_s: float
    "From the offer until ICE and DTLS were through, and the far end had answered."


async def setup(options: SetupOptions) -> int:
    """Run it and print what came out; returns 1 if a call failed."""
    system = SYSTEMS["gateway"]
    async with under_test(system) as at:
        await at.set_calls(options.calls)
        await asyncio.sleep(WARM_UP_S)
        before = await _idle_cost(at, options.seconds / 2)
        started, used = time.monotonic(), Usage.of(at.running.pid).cpu_s
        placed, failed = await _place_evenly(at, options)
        window_s = time.monotonic() - started
        used = Usage.of(at.running.pid).cpu_s - used
    summary = _summarize(options, placed, failed, used - before * window_s)
    summary |= circumstances(system)
    print(json.dumps(summary) if options.as_json else _line(summary))
    return 1 if failed else 0


async def _idle_cost(at: UnderTest, seconds: float) -> float:
    """CPU seconds a second while nobody calls."""
    used = Usage.of(at.running.pid).cpu_s
    await asyncio.sleep(seconds)
    return (Usage.of(at.running.pid).cpu_s - used) / seconds


async def _place_evenly(at: UnderTest, options: SetupOptions) -> tuple[list[_Placed], int]:
    placed: list[_Placed] = []
    failures: list[BaseException] = []
    tasks: set[asyncio.Task[None]] = set()
    count = round(options.rate * options.seconds)

    async def place(order: int) -> None:
        try:
            placed.append(await _place(at, order))
        except (CallFailedError, OSError) as error:
            failures.append(error)

    started = time.monotonic()
    for order in range(count):
        task = asyncio.ensure_future(place(order))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        due = started + (order + 1) / options.rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
    await asyncio.gather(*tasks)
    return placed, len(failures)


async def _place(at: UnderTest, order: int) -> _Placed:
    number = f"+1555{FIRST_NUMBER + order}"
    socket = await CallSocket.open(f"s{order}", at.running.port)
    page = Page(at.generator.intake)
    try:
        offer = page.offer()
        began = time.monotonic()
        answer = await socket.place(number, offer, {})
        answer_s = time.monotonic() - began
        await page.connect(answer["sdp"])
        await socket.answered()
        return _Placed(answer_s, time.monotonic() - began)
    finally:
        await socket.close()
        await page.close()
        at.generator.forget(number)


def _summarize(
    options: SetupOptions, placed: list[_Placed], failed: int, cpu_s: float
) -> dict[str, Any]:
    answers = np.array([each.answer_s for each in placed]) * 1000
    media = np.array([each.media_s for each in placed]) * 1000
    cpu_ms = 1000 * cpu_s / max(1, len(placed))
    return {
        "system": "gateway",
        "calls": options.calls,
        "setups": len(placed),
        "setups_per_second": options.rate,
        "failed": failed,
        "answer_ms_p50": round(float(np.percentile(answers, 50)), 1),
        "answer_ms_p99": round(float(np.percentile(answers, 99)), 1),
        "media_ms_p50": round(float(np.percentile(media, 50)), 1),
        "media_ms_p99": round(float(np.percentile(media, 99)), 1),
        "cpu_ms_per_setup": round(cpu_ms, 2),
        "setups_per_second_of_a_core": round(1000 / cpu_ms, 1) if cpu_ms > 0 else None,
    }


def _line(summary: dict[str, Any]) -> str:
    return (
        f"{summary['setups']} set-ups beside {summary['calls']} calls: answer after "
        f"{summary['answer_ms_p50']} ms (p99 {summary['answer_ms_p99']}), media after "
        f"{summary['media_ms_p50']} ms (p99 {summary['media_ms_p99']}), "
        f"{summary['cpu_ms_per_setup']} CPU-ms each, {summary['failed']} failed"
    )

"""`python -m bench ice-restart`: what a call loses when its page restarts ICE, or moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.generator import BenchCall
from bench.page import Page
from bench.signalling import CallSocket
from bench.stream import Heard
from bench.system import SYSTEMS
from bench.under_test import UnderTest, circumstances, under_test

WARM_UP_S = 3.0
BEFORE_S = 0.4
"Of the recording, when the restart begins: it shows how even packets come otherwise."
AFTER_S = 1.6
FRAME_MS = 20.0


@dataclass(frozen=True, slots=True)
class RestartOptions:
    """What the command line asks for."""

    calls: int
    as_json: bool


async def restart(options: RestartOptions) -> int:
    """Run it and print what came out."""
    system = SYSTEMS["gateway"]
    async with under_test(system) as at:
        await at.set_calls(options.calls)
        await asyncio.sleep(WARM_UP_S)
        same = [await _gaps(at, call, _restart) for call in at.generator.calls]
        moved = [await _gaps(at, call, _move) for call in at.generator.calls]
        lost = sum(not call.is_talking for call in at.generator.calls)
    summary: dict[str, Any] = {"system": "gateway", "calls": options.calls, "calls_lost": lost}
    for name, gaps in (("unchanged_path", same), ("moved", moved)):
        up, down = (np.array(column) for column in zip(*gaps, strict=True))
        summary[name] = {
            "gap_ms_up_p50": round(float(np.median(up)), 1),
            "gap_ms_up_max": round(float(up.max()), 1),
            "gap_ms_down_p50": round(float(np.median(down)), 1),
            "gap_ms_down_max": round(float(down.max()), 1),
        }
    summary |= circumstances(system)
    print(json.dumps(summary) if options.as_json else _lines(summary))
    return 1 if lost else 0


async def _gaps(
    at: UnderTest, call: BenchCall, change: Callable[[BenchCall], Awaitable[None]]
) -> tuple[float, float]:
    """What is missing beyond one packet, up and down, ms."""
    for heard in (call.phone.heard, call.page.heard):
        heard.record()
    await asyncio.sleep(BEFORE_S)
    await change(call)
    await asyncio.sleep(AFTER_S)
    for heard in (call.phone.heard, call.page.heard):
        heard.is_recording = False
    return _gap(call.phone.heard), _gap(call.page.heard)


def _gap(heard: Heard) -> float:
    arrived = np.diff(np.array(heard.arrived_ns, np.float64)) / 1e6
    return max(0.0, float(arrived.max()) - FRAME_MS) if len(arrived) else float("inf")


async def _restart(call: BenchCall) -> None:
    """As `restartIce()` on a network that has not changed."""
    assert isinstance(call.page, Page)
    assert isinstance(call.socket, CallSocket)
    answer = await call.socket.reoffer(call.page.restart())
    await call.page.reconnect(answer["sdp"])


async def _move(call: BenchCall) -> None:
    """The network of the page is gone; it has another address, and says so."""
    assert isinstance(call.page, Page)
    assert isinstance(call.socket, CallSocket)
    call.page.move()
    answer = await call.socket.reoffer(call.page.restart())
    await call.page.reconnect(answer["sdp"])


def _lines(summary: dict[str, Any]) -> str:
    lines = []
    for name, title in (("unchanged_path", "same path"), ("moved", "new address")):
        gaps = summary[name]
        lines.append(
            f"{title}: gap up {gaps['gap_ms_up_p50']} ms (worst {gaps['gap_ms_up_max']}), "
            f"down {gaps['gap_ms_down_p50']} ms (worst {gaps['gap_ms_down_max']})"
        )
    return "\n".join([f"{summary['calls']} calls, {summary['calls_lost']} lost", *lines])

"""`python -m bench flood`: INVITEs of strangers, thousands a second, while calls with media go on.

A process of its own sends them, from addresses that the gateway knows nothing of
(`python -m bench.flood PORT RATE`). The calls may not come later for it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.evaluate import OPUS_CLOCK_RATE, PCMU_CLOCK_RATE
from bench.generator import Recording
from bench.measure import CoreLoad, CoreTimes, Usage
from bench.report import MAX_STEAL_PERCENT
from bench.system import GATEWAY, GATEWAY_CONFIG, ROOT, System, free_port
from bench.timing import lateness_ms, unwrap
from bench.under_test import UnderTest, circumstances, under_test

MAX_ADDED_MS = 5.0
"What a flood may add to the lateness of media, at the 99th percentile."

WARM_UP_S = 3.0
SOURCES = 64
"Addresses that the INVITEs come from, each with a port of its own."
TURN_S = 0.005


@dataclass(frozen=True, slots=True)
class FloodOptions:
    """What the command line asks for."""

    calls: int
    rate: int
    "INVITEs a second."
    seconds: float
    "Length of a window; there is one without and one with the flood."
    as_json: bool


@dataclass(frozen=True, slots=True)
class _Window:
    """What a window showed."""

    lateness_ms_p50: float
    "Of all packets of the worse direction: how much later than the earliest lately."
    lateness_ms_p99: float
    core_percent: float
    generator_late_ms_p99: float
    steal_percent: float
    calls_lost: int


async def flood(options: FloodOptions) -> int:
    """Run it and print what came out; returns 1 if media came later than it may."""
    sip_port = free_port()
    system = System("gateway", options.calls, _command(sip_port), uses_sip=True, packages=GATEWAY)
    async with under_test(system) as at:
        await at.set_calls(options.calls)
        await asyncio.sleep(WARM_UP_S)
        before = await _watch(at, options)
        async with _flooding(sip_port, options.rate):
            await asyncio.sleep(1.0)
            during = await _watch(at, options)
    summary = _summarize(options, before, during, system)
    print(json.dumps(summary) if options.as_json else _line(summary))
    return 0 if summary["passed"] else 1


async def _watch(at: UnderTest, options: FloodOptions) -> _Window:
    pid, cores = at.running.pid, at.cores
    used, times = Usage.of(pid).cpu_s, [CoreTimes.of(core) for core in cores]
    recording = await at.generator.record(options.seconds)
    used = Usage.of(pid).cpu_s - used
    loads = [
        CoreLoad.between(before, CoreTimes.of(core))
        for before, core in zip(times, cores, strict=True)
    ]
    up = _lateness(recording, up=True)
    down = _lateness(recording, up=False)
    p50, p99 = np.maximum(np.percentile(up, (50, 99)), np.percentile(down, (50, 99)))
    late_ns = np.array(recording.lateness_ns, np.float64)
    return _Window(
        float(p50),
        float(p99),
        100.0 * used / recording.window_s,
        float(np.percentile(late_ns, 99)) / 1e6,
        max(load.steal_percent for load in loads),
        sum(not call.is_talking for call in recording.calls),
    )


def _lateness(recording: Recording, *, up: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of every packet that the phones (`up`) or the pages heard."""
    rate = PCMU_CLOCK_RATE if up else OPUS_CLOCK_RATE
    heard = [call.phone.heard if up else call.page.heard for call in recording.calls]
    return np.concatenate(
        [
            lateness_ms(
                np.array(each.arrived_ns, np.int64),
                unwrap(np.array(each.stamps, np.uint32)),
                rate,
            )
            for each in heard
        ]
    )


def _summarize(
    options: FloodOptions, before: _Window, during: _Window, system: System
) -> dict[str, Any]:
    added = during.lateness_ms_p99 - before.lateness_ms_p99
    summary: dict[str, Any] = {
        "system": "gateway",
        "calls": options.calls,
        "invites_per_second": options.rate,
        "seconds": options.seconds,
        "added_ms_p99": round(added, 3),
        "passed": added <= MAX_ADDED_MS and not during.calls_lost,
    }
    for name, window in (("before", before), ("during", during)):
        summary[name] = {
            field: round(getattr(window, field), 3) for field in _Window.__dataclass_fields__
        }
    if max(before.steal_percent, during.steal_percent) > MAX_STEAL_PERCENT:
        summary["warning"] = "something else keeps the machine busy"
    return summary | circumstances(system)


def _line(summary: dict[str, Any]) -> str:
    before, during = summary["before"], summary["during"]
    return (
        f"{summary['calls']} calls, {summary['invites_per_second']} INVITEs a second of strangers: "
        f"p99 {during['lateness_ms_p99']:.2f} ms late, {before['lateness_ms_p99']:.2f} without; "
        f"{during['core_percent']:.0f} % of a core, {before['core_percent']:.0f} without; "
        + ("passed" if summary["passed"] else "TOO LATE")
    )


@asynccontextmanager
async def _flooding(port: int, rate: int) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.flood", str(port), str(rate)),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
        if process.returncode is not None:
            raise OSError("the flood has dried up")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _command(sip_port: int) -> Any:
    def command(directory: Path, port: int, carrier: int) -> list[str]:
        config = directory / "bench.toml"
        config.write_text(
            GATEWAY_CONFIG.format(http=port, webrtc=free_port(), sip=sip_port, carrier=carrier)
        )
        return [sys.executable, "-m", "gateway", "serve", "--config", str(config)]

    return command


def pour(port: int, rate: int) -> None:
    """Send INVITEs without end, each of a call of its own."""
    sources = []
    for number in range(SOURCES):
        source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        source.setblocking(False)
        source.bind((f"127.66.{number}.1", 0))
        sources.append(source)
    turn = itertools.cycle(sources)
    sent, began_at = 0, time.monotonic()
    while True:
        for _ in range(int((time.monotonic() - began_at) * rate) - sent):
            source = next(turn)
            sent += 1
            try:
                source.sendto(stranger_invite(source.getsockname(), port), ("127.0.0.1", port))
            except BlockingIOError:
                continue
        time.sleep(TURN_S)


def stranger_invite(source: tuple[str, int], port: int) -> bytes:
    """An INVITE as scanners send them."""
    token, (host, own_port) = secrets.token_hex(8), source
    return (
        f"INVITE sip:00441234567890@127.0.0.1:{port} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {host}:{own_port};branch=z9hG4bK{token};rport\r\n"
        f"From: <sip:100@{host}>;tag={token}\r\n"
        f"To: <sip:00441234567890@127.0.0.1>\r\n"
        f"Call-ID: {token}@{host}\r\n"
        "CSeq: 1 INVITE\r\n"
        f"Contact: <sip:100@{host}:{own_port}>\r\n"
        "Max-Forwards: 70\r\nUser-Agent: stranger\r\nContent-Length: 0\r\n\r\n"
    ).encode()


if __name__ == "__main__":
    pour(int(sys.argv[1]), int(sys.argv[2]))

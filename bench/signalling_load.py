"""`python -m bench signalling`: calls a second through a B2BUA, the gateway's and Sippy's in turn.

Each round starts a system afresh on a core of its own, with SIPp as its caller and its callee on
another. A few users that call again and again fill the core: that gives the calls a second. Then
half as many a second are placed, evenly: that gives the delay that the system adds to set-up.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from bench.measure import CoreLoad, CoreTimes, Usage
from bench.report import MAX_GENERATOR_PERCENT, MAX_STEAL_PERCENT, versions
from bench.rival import VERSION, sippy_executable
from bench.sipp import EXECUTABLE, Caller, Load, Sipp
from bench.system import Running, StartError, System, free_port, is_bound
from bench.under_test import NotEnoughCoresError

USERS = 16
"Calls at a time that keep the core full: enough that it never waits for SIPp."
WARM_UP_S = 2.0
FLOOR_RATE = 100
FLOOR_S = 3.0
MAX_RATE = 2000

GATEWAY_CONFIG = """
[node]
max_cpu = 0
name = "bench"

[http]
listen = "127.0.0.1:{http}"

[webrtc]
listen = ""

[sip]
listen = ["udp:127.0.0.1:{sip}"]

# Each pair of ports rests for 30 s after its call. No other loopback address has them in use.
[rtp]
address = "127.0.0.5"
ports = "10000-65534"

[[trunk]]
name = "caller"
uri = "sip:127.0.0.1:{caller}"
codecs = ["PCMU"]
probe_s = 0

[[trunk]]
name = "callee"
uri = "sip:127.0.0.1:{callee}"
codecs = ["PCMU"]
probe_s = 0

[[route]]
from = "trunk:caller"
match = "+*"
to = ["trunk:callee"]
"""


@dataclass(frozen=True, slots=True)
class SignallingOptions:
    """What the command line asks for."""

    systems: tuple[str, ...]
    seconds: float
    "Length of a window; each round has two."
    rounds: int
    as_json: bool


@dataclass(frozen=True, slots=True)
class SignallingRound:
    """What a round of one system showed."""

    calls_per_second: float
    "With the core full."
    cpu_ms_per_call: float
    "Likewise: CPU time of the whole process tree."
    setup_ms_p50: float
    "From the INVITE to its 200, at half as many calls a second, less what SIPp itself takes."
    setup_ms_p99: float
    late: int
    "Calls whose INVITE had to be sent again."
    failed: int
    calls: int
    core_percent: float
    "Of the system, with the core full."
    half_rate: float
    half_core_percent: float
    half_cpu_ms_per_call: float
    rss_mb: float
    "Grown over the round."
    generator_core_percent: float
    steal_percent: float
    foreign_percent: float
    "Other work on the system's core."

    @property
    def discard_reason(self) -> str | None:
        """Why the round does not count; None when it does."""
        if self.steal_percent > MAX_STEAL_PERCENT:
            return f"steal {self.steal_percent:.1f} %"
        if self.generator_core_percent > MAX_GENERATOR_PERCENT:
            return f"generator core {self.generator_core_percent:.0f} %"
        return None


HEADLINE = (
    "calls_per_second",
    "cpu_ms_per_call",
    "setup_ms_p50",
    "setup_ms_p99",
    "late",
    "failed",
)


async def signalling(options: SignallingOptions) -> int:
    """Run it and print what came out; returns the exit status."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise NotEnoughCoresError("the system under test and SIPp need a core each")
    os.sched_setaffinity(0, {cores[-1]})
    bench = _Bench(options, system_core=cores[0], generator_core=cores[-1])
    summaries = await bench.run()
    for summary in summaries:
        print(json.dumps(summary) if options.as_json else line_of(summary), flush=True)
    return 1 if any("error" in summary or "warning" in summary for summary in summaries) else 0


def summarize(system: str, rounds: Sequence[SignallingRound]) -> dict[str, Any]:
    """The median and the range of each figure over the rounds that count, or over all of them."""
    counting = [entry for entry in rounds if entry.discard_reason is None]
    shown = counting or list(rounds)
    summary: dict[str, Any] = {"system": system}
    if not shown:
        return {**summary, "error": "no round was measured"}
    if not counting:
        summary["warning"] = "no round counts: something else keeps the machine busy"
    median: dict[str, float] = {}
    spread: dict[str, list[float]] = {}
    for each in fields(SignallingRound):
        values = [float(getattr(entry, each.name)) for entry in shown]
        median[each.name] = round(statistics.median(values), 3)
        spread[each.name] = [round(min(values), 3), round(max(values), 3)]
    return summary | {
        **{name: median.pop(name) for name in HEADLINE},
        "rounds": len(counting),
        "discarded": [entry.discard_reason for entry in rounds if entry.discard_reason],
        "range": {name: spread[name] for name in HEADLINE},
        "detail": median,
        "detail_range": {name: spread[name] for name in median},
    }


def line_of(summary: dict[str, Any]) -> str:
    """A summary for people."""
    if "error" in summary:
        return f"{summary['system']}: {summary['error']}"
    return (
        "{system}: {calls_per_second:.0f} calls/s, {cpu_ms_per_call:.2f} CPU-ms a call, "
        "set-up + {setup_ms_p50:.2f} ms (p99 {setup_ms_p99:.2f}), "
        "late {late:.0f}, failed {failed:.0f}, rounds {rounds}"
    ).format(**summary)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of them do not exceed; NaN of none."""
    ordered = sorted(values)
    return (
        ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
        if ordered
        else float("nan")
    )


class _Bench:
    """One run over all systems."""

    def __init__(
        self, options: SignallingOptions, *, system_core: int, generator_core: int
    ) -> None:
        self._options = options
        self._cores = (system_core, generator_core)
        self._started = time.monotonic()

    async def run(self) -> list[dict[str, Any]]:
        """The floor, then the rounds in turn (A B A B …)."""
        errors: dict[str, str] = {}
        rounds: dict[str, list[SignallingRound]] = {name: [] for name in self._options.systems}
        floor = await self._floor()
        for turn in range(2 * self._options.rounds):
            for name, done in rounds.items():
                counted = [entry for entry in done if not entry.discard_reason]
                if name in errors or len(counted) >= self._options.rounds:
                    continue
                try:
                    entry = await self._round(name, floor)
                except (StartError, OSError, ValueError) as error:
                    errors[name] = str(error)
                    self._say(f"{name}: {error}")
                else:
                    done.append(entry)
                    self._say(f"{turn + 1}. {line_of(summarize(name, [entry]))}")
        return [
            self._describe(name, done, errors.get(name), floor) for name, done in rounds.items()
        ]

    async def _floor(self) -> dict[str, float]:
        """The set-up delay of SIPp calling SIPp, with nothing between them."""
        with tempfile.TemporaryDirectory(prefix="bench-sipp-") as place:
            callee = Sipp(Path(place) / "callee", "answers", free_port())
            try:
                await callee.wait_until_bound()
                load = await self._place(
                    Path(place) / "caller", free_port(), callee.port, FLOOR_RATE, FLOOR_S
                )
            finally:
                callee.stop()
        setups = load.setups_ms(0, float("inf"))
        return {
            "setup_ms_p50": round(percentile(setups, 50), 3),
            "setup_ms_p99": round(percentile(setups, 99), 3),
        }

    async def _round(self, name: str, floor: dict[str, float]) -> SignallingRound:
        async with self._system(name) as (running, place, ports):
            before = Usage.of(running.pid)
            full = await self._fill(running, place / "full", ports)
            rate = min(MAX_RATE, max(1.0, full.calls_per_second / 2))
            half = await self._half(running, place / "half", ports, rate)
            rss_mb = (Usage.of(running.pid).rss_bytes - before.rss_bytes) / (1 << 20)
        return replace(
            full,
            setup_ms_p50=half.setup_ms_p50 - floor["setup_ms_p50"],
            setup_ms_p99=half.setup_ms_p99 - floor["setup_ms_p50"],
            late=full.late + half.late,
            failed=full.failed + half.failed,
            calls=full.calls + half.calls,
            half_rate=rate,
            half_core_percent=half.core_percent,
            half_cpu_ms_per_call=half.cpu_ms_per_call,
            rss_mb=rss_mb,
        )

    @asynccontextmanager
    async def _system(self, name: str) -> AsyncIterator[tuple[Running, Path, tuple[int, int]]]:
        """A system under test with its callee; the ports are the caller's and the system's."""
        caller_port, callee_port = free_port(), free_port()
        running = Running(_SYSTEMS[name](caller_port), callee_port, self._cores[0])
        with tempfile.TemporaryDirectory(prefix="bench-sipp-") as text:
            place = Path(text)
            callee = Sipp(place / "callee", "answers", callee_port)
            try:
                await running.wait_until_ready()
                await callee.wait_until_bound()
                yield running, place, (caller_port, running.port)
            except BaseException:
                self._say(f"{name} wrote last:\n{running.log_tail()}")
                raise
            finally:
                running.stop()
                callee.stop()

    async def _fill(
        self, running: Running, directory: Path, ports: tuple[int, int]
    ) -> SignallingRound:
        """Users that call again and again: what the core can bear."""
        caller = Caller(directory, *ports, ("-users", str(USERS)))
        try:
            await asyncio.sleep(WARM_UP_S)
            window = await self._watch(running)
        finally:
            await caller.finish()
        return window.round_of(caller.load())

    async def _half(
        self, running: Running, directory: Path, ports: tuple[int, int], rate: float
    ) -> SignallingRound:
        """Calls at an even rate."""
        caller = Caller(directory, *ports, _even(rate))
        try:
            window = await self._watch(running)
        finally:
            await caller.finish()
        return window.round_of(caller.load())

    async def _place(
        self, directory: Path, port: int, target: int, rate: float, seconds: float
    ) -> Load:
        caller = Caller(directory, port, target, _even(rate))
        try:
            await asyncio.sleep(seconds)
        finally:
            await caller.finish()
        return caller.load()

    async def _watch(self, running: Running) -> _Window:
        """Let a window pass, and see what it cost."""
        began_at, usage = time.time(), Usage.of(running.pid)
        cores = [CoreTimes.of(core) for core in self._cores]
        await asyncio.sleep(self._options.seconds)
        ended_at, used = time.time(), Usage.of(running.pid).cpu_s - usage.cpu_s
        loads = [
            CoreLoad.between(before, CoreTimes.of(core))
            for before, core in zip(cores, self._cores, strict=True)
        ]
        return _Window(began_at, ended_at, used, *loads)

    def _describe(
        self,
        name: str,
        rounds: list[SignallingRound],
        error: str | None,
        floor: dict[str, float],
    ) -> dict[str, Any]:
        summary = summarize(name, rounds)
        if error is not None:
            summary = {"system": name, "error": error}
        found = {"sippy": VERSION} if name == "sippy" else versions(("voice-gateway", "uvloop"))
        return summary | {
            "seconds": self._options.seconds,
            "users": USERS,
            "generator_floor": floor,
            "versions": {"python": platform.python_version(), "sipp": _sipp_version(), **found},
            "machine": {"kernel": platform.release(), "cores": os.cpu_count()},
            "command": "python -m bench " + " ".join(sys.argv[1:]),
        }

    def _say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        print(f"[{minutes:02}:{seconds:02}] {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class _Window:
    """A span of a round, in Unix seconds, and what was used in it."""

    began_at: float
    ended_at: float
    cpu_s: float
    system: CoreLoad
    generator: CoreLoad

    def round_of(self, load: Load) -> SignallingRound:
        """The figures of this window."""
        seconds = self.ended_at - self.began_at
        ended = load.ended_between(self.began_at, self.ended_at)
        if not ended:
            raise ValueError(f"none of {len(load.calls)} calls came to its end")
        setups = load.setups_ms(self.began_at, self.ended_at)
        core_percent = 100.0 * self.cpu_s / seconds
        return SignallingRound(
            calls_per_second=ended / seconds,
            cpu_ms_per_call=1000.0 * self.cpu_s / ended,
            setup_ms_p50=percentile(setups, 50),
            setup_ms_p99=percentile(setups, 99),
            late=load.late,
            failed=load.failed,
            calls=len(load.calls),
            core_percent=core_percent,
            half_rate=0.0,
            half_core_percent=0.0,
            half_cpu_ms_per_call=0.0,
            rss_mb=0.0,
            generator_core_percent=self.generator.busy_percent,
            steal_percent=max(self.system.steal_percent, self.generator.steal_percent),
            foreign_percent=max(0.0, self.system.busy_percent - core_percent),
        )


def _even(rate: float) -> tuple[str, ...]:
    """SIPp's options for calls at an even rate, however many there are at a time."""
    return ("-r", str(round(rate)), "-l", "10000")


def _gateway(caller_port: int) -> System:
    def command(directory: Path, port: int, callee_port: int) -> list[str]:
        config = directory / "bench.toml"
        config.write_text(
            GATEWAY_CONFIG.format(
                http=free_port(), sip=port, caller=caller_port, callee=callee_port
            )
        )
        return [sys.executable, "-m", "gateway", "serve", "--config", str(config)]

    return System("gateway", 0, command, is_ready=is_bound)


def _sippy(_caller_port: int) -> System:
    executable = sippy_executable()

    def command(_directory: Path, port: int, callee_port: int) -> list[str]:
        listen = ("-l", "127.0.0.1", "-p", str(port))
        return [str(executable), "-f", *listen, "-n", f"127.0.0.1:{callee_port}"]

    return System("sippy", 0, command, environment={"SIPLOG_BEND": "none"}, is_ready=is_bound)


_SYSTEMS = {"gateway": _gateway, "sippy": _sippy}
SYSTEM_NAMES = tuple(_SYSTEMS)


def _sipp_version() -> str:
    # It exits with 99 when asked.
    said = subprocess.run([EXECUTABLE, "-v"], capture_output=True, text=True, check=False).stdout
    return next((word for word in said.split() if word.startswith("v3")), "?").rstrip(".")

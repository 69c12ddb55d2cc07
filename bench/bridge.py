"""`python -m bench bridge`: systems that join WebRTC and SIP, each at the same load of one core."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.agent_calls import AgentGenerator, agent_system
from bench.agent_peer import AgentServer
from bench.evaluate import Direction, evaluate
from bench.generator import Generator, Recording
from bench.measure import CoreLoad, CoreTimes, Usage
from bench.page import ConnectError
from bench.report import Round, summarize, table
from bench.results import save
from bench.search import Trial, best_calls, next_calls
from bench.signalling import CallFailedError
from bench.system import SYSTEMS, Running, StartError, System
from bench.under_test import NotEnoughCoresError, circumstances, raise_file_limit

WARM_UP_S = 5.0
TRIAL_WARM_UP_S = 3.0
TRIAL_S = 5.0
MAX_TRIALS = 4
MAX_CALLS = 1000
FLOOR_S = 5.0
ROUND_OVERHEAD_S = 120.0
"Starting, setting up at 20 calls a second, and ending; a round that takes longer is given up."

AGENT_PATH = "opus-agent24k"
"To an agent over a WebSocket, which speaks PCM at 24 kHz."

PATHS = {"opus-pcmu": "opus", "pcmu-pcmu": "PCMU", AGENT_PATH: "opus"}
"What a page speaks, by the path's name; phones speak PCMU."

DELAY_METHOD = (
    "packets matched by their sound (cross-correlation), codec look-ahead taken off; kernel "
    "receive time-stamps against the send call"
)

MB = 1024 * 1024
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BridgeOptions:
    """What the command line asks for."""

    systems: tuple[str, ...]
    path: str
    "What each side speaks, of `PATHS`."
    load: float
    "Percent of a core that the system under test is to use."
    calls: int | None
    "This many calls instead, for every system."
    seconds: float
    "Length of a window."
    rounds: int
    as_json: bool
    name: str = ""
    "Under which the results are kept; none: they are not."


async def bridge(options: BridgeOptions) -> int:
    """Run it and print what came out; returns the exit status."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise NotEnoughCoresError("the system under test and the generator need a core each")
    bench = _Bench(options, system_core=cores[0], generator_core=cores[-1])
    os.sched_setaffinity(0, {bench.generator_core})
    raise_file_limit()
    summaries = await bench.run()
    if options.name:
        told = save(options.name, summaries)
        print(f"written to {told}", file=sys.stderr)
    if options.as_json:
        for summary in summaries:
            print(json.dumps(summary), flush=True)
    else:
        print(table(summaries))
    bad = any("error" in summary or "warning" in summary for summary in summaries)
    return 1 if bad else 0


class _Bench:
    """One run over all systems."""

    def __init__(self, options: BridgeOptions, *, system_core: int, generator_core: int) -> None:
        self.options = options
        self.system_core = system_core
        self.generator_core = generator_core
        self._started = time.monotonic()

    async def run(self) -> list[dict[str, Any]]:
        """Search, then the rounds in turn (A B A B …), then the floor of the generator."""
        systems = [SYSTEMS[name] for name in self.options.systems]
        errors: dict[str, str] = {}
        calls: dict[str, int] = {}
        rounds: dict[str, list[Round]] = {system.name: [] for system in systems}
        for system in systems:
            await self._guard(system, errors, self._choose(system, calls))
        for turn in range(2 * self.options.rounds):
            for system in systems:
                counted = [entry for entry in rounds[system.name] if not entry.discard_reason]
                if system.name in errors or len(counted) >= self.options.rounds:
                    continue
                self._say(f"{system.name}: round {turn + 1}, {calls[system.name]} calls")
                work = self._round(system, calls[system.name], rounds[system.name])
                await self._guard(system, errors, work)
        floor = await self._floor(max(calls.values(), default=0))
        return [
            self._describe(system, rounds[system.name], errors.get(system.name), floor)
            for system in systems
        ]

    async def _guard(self, system: System, errors: dict[str, str], work: Any) -> None:
        """One system that breaks does not end the others."""
        limit = ROUND_OVERHEAD_S + MAX_TRIALS * 60 + self.options.seconds
        try:
            async with asyncio.timeout(limit):
                await work
        except TimeoutError:
            errors[system.name] = f"not done in {limit:.0f} s"
        except (StartError, CallFailedError, ConnectError, OSError) as error:
            errors[system.name] = str(error)
        except ExceptionGroup as group:
            errors[system.name] = "; ".join(sorted({str(error) for error in group.exceptions}))
        if system.name in errors:
            self._say(f"{system.name}: {errors[system.name]}")

    async def _choose(self, system: System, calls: dict[str, int]) -> None:
        """Find how many calls the rounds of this system are to have."""
        if self.options.calls is not None:
            calls[system.name] = self.options.calls
        elif system.is_plain:
            calls[system.name] = system.first_calls
        else:
            calls[system.name] = await self._search(system)

    async def _search(self, system: System) -> int:
        trials: list[Trial] = []
        wanted: int | None = system.first_calls
        try:
            async with _Session(self, system) as session:
                while wanted is not None and len(trials) < MAX_TRIALS:
                    trials.append(await session.try_calls(min(wanted, MAX_CALLS)))
                    wanted = next_calls(trials, self.options.load)
        except ExceptionGroup:
            # Too many, or too much else going on; what it bore before is known.
            if not trials:
                raise
            wanted = None
        return best_calls(trials, self.options.load) if wanted is None else min(wanted, MAX_CALLS)

    async def _round(self, system: System, calls: int, rounds: list[Round]) -> None:
        async with _Session(self, system) as session:
            entry = await session.measure(calls, self.options.seconds, WARM_UP_S)
        rounds.append(entry)
        fate = f"discarded: {entry.discard_reason}" if entry.discard_reason else "counts"
        self._say(
            f"{system.name}: {entry.core_percent:.1f} % of a core, "
            f"{entry.cpu_ms_per_call_second:.2f} CPU-ms/call-s, late {entry.late_percent:.2f} %, "
            f"delay {entry.delay_ms_p50:.2f} / {entry.delay_ms_p99:.2f} ms; "
            f"generator {entry.generator_cpu_percent:.0f} %, foreign {entry.foreign_percent:.0f} % "
            f"({fate})"
        )

    async def _floor(self, calls: int) -> dict[str, Any] | None:
        """What the generator shows against a reflector that does nothing, with as many calls."""
        if not calls or self.options.systems == ("reflector",):
            return None
        self._say(f"floor: {calls} calls through a reflector")
        try:
            async with (
                asyncio.timeout(ROUND_OVERHEAD_S),
                _Session(self, SYSTEMS["reflector"]) as session,
            ):
                entry = await session.measure(calls, FLOOR_S, TRIAL_WARM_UP_S)
        except (TimeoutError, StartError, CallFailedError, OSError, ExceptionGroup) as error:
            return {"error": str(error)}
        names = ("late_percent", "delay_ms_p50", "delay_ms_p99", "generator_late_ms_p99")
        floor: dict[str, Any] = {name: round(getattr(entry, name), 3) for name in names}
        return {"calls": calls, **floor, "core_percent": round(entry.generator_core_percent, 1)}

    def _describe(
        self, system: System, rounds: list[Round], error: str | None, floor: dict[str, Any] | None
    ) -> dict[str, Any]:
        summary = summarize(system.name, rounds)
        if error is not None:
            summary = {"system": system.name, "error": error}
        target = (
            {"calls": self.options.calls} if self.options.calls else {"load": self.options.load}
        )
        return (
            summary
            | {
                "path": self.options.path,
                "target": target,
                "seconds": self.options.seconds,
                "warm_up_s": WARM_UP_S,
                "generator_floor": floor,
                "delay_method": DELAY_METHOD,
            }
            | circumstances(system)
        )

    def _say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        print(f"[{minutes:02}:{seconds:02}] {text}", file=sys.stderr, flush=True)


class _Session:
    """A system under test and its generator, from start to end."""

    def __init__(self, bench: _Bench, system: System) -> None:
        self._bench = bench
        self._system = system

    async def __aenter__(self) -> _Session:
        self._server: AgentServer | None = None
        if self._bench.options.path == AGENT_PATH and not self._system.is_plain:
            await self._prepare_agent()
        else:
            self.generator = Generator(self._system, PATHS[self._bench.options.path])
        self.running = Running(self._system, self.generator.carrier_port, self._bench.system_core)
        try:
            await self.running.wait_until_ready()
        except BaseException:
            await self._close()
            raise
        return self

    async def _prepare_agent(self) -> None:
        """An agent in the place of the phones: only the gateway has any."""
        if self._system.name != "gateway":
            raise StartError(f"{self._system.name} has no agents")
        self._server = AgentServer("gateway")
        await self._server.open()
        self._system, sip_port = agent_system("gateway")
        self.generator = AgentGenerator(self._system, sip_port, self._server, "webrtc")

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Exception):
            self._bench._say(f"{self._system.name} wrote last:\n{self.running.log_tail()}")
        await self._close()

    async def try_calls(self, calls: int) -> Trial:
        """Bring the number of calls to this and see what it costs."""
        await self.generator.set_calls(calls, self.running.port)
        await asyncio.sleep(TRIAL_WARM_UP_S)
        before, started = Usage.of(self.running.pid), time.monotonic()
        await asyncio.sleep(TRIAL_S)
        used = Usage.of(self.running.pid).cpu_s - before.cpu_s
        percent = 100.0 * used / (time.monotonic() - started)
        self._bench._say(f"{self._system.name}: {calls} calls use {percent:.1f} % of a core")
        return Trial(calls, percent)

    async def measure(self, calls: int, window_s: float, warm_up_s: float) -> Round:
        """Set up the calls, warm up, and measure one window; the calls are ended after it."""
        empty = Usage.of(self.running.pid)
        await self.generator.set_calls(calls, self.running.port)
        await asyncio.sleep(warm_up_s)
        cores = (self._bench.system_core, self._bench.generator_core)
        cores_before = [CoreTimes.of(core) for core in cores]
        own_before, before = time.process_time(), Usage.of(self.running.pid)
        recording = await self.generator.record(window_s)
        own, after = time.process_time() - own_before, Usage.of(self.running.pid)
        loads = [
            CoreLoad.between(then, CoreTimes.of(core))
            for then, core in zip(cores_before, cores, strict=True)
        ]
        lost = sum(not call.is_talking for call in recording.calls)
        await self.generator.set_calls(0, self.running.port)
        used = after.cpu_s - before.cpu_s
        return _round_of(
            recording,
            system_percent=100.0 * used / recording.window_s,
            generator_percent=100.0 * own / recording.window_s,
            rss_mb=(after.rss_bytes - empty.rss_bytes) / MB,
            loads=loads,
            lost=lost,
            failures=len(self.generator.failures),
        )

    async def _close(self) -> None:
        try:
            await self.generator.close()
        finally:
            self.running.stop()
            if self._server is not None:
                await self._server.close()


def _round_of(
    recording: Recording,
    *,
    system_percent: float,
    generator_percent: float,
    rss_mb: float,
    loads: list[CoreLoad],
    lost: int,
    failures: int,
) -> Round:
    calls = len(recording.calls)
    result = evaluate(recording)
    up_p50, up_p99 = _percentiles(result.up)
    down_p50, down_p99 = _percentiles(result.down)
    system_load, generator_load = loads
    late_up = result.up.punctuality.bad_percent
    late_down = result.down.punctuality.bad_percent
    return Round(
        calls=calls,
        core_percent=system_percent,
        cpu_ms_per_call_second=10.0 * system_percent / calls,
        late_percent=max(late_up, late_down),
        late_percent_up=late_up,
        late_percent_down=late_down,
        delay_ms_p50=max(up_p50, down_p50),
        delay_ms_p99=max(up_p99, down_p99),
        delay_ms_p50_up=up_p50,
        delay_ms_p99_up=up_p99,
        delay_ms_p50_down=down_p50,
        delay_ms_p99_down=down_p99,
        rss_mb_per_call=rss_mb / calls,
        # The kernel counts short turns by its ticks, and so may miss most of ours.
        generator_core_percent=max(generator_load.busy_percent, generator_percent),
        generator_cpu_percent=generator_percent,
        generator_late_ms_p99=_generator_late_ms(recording),
        steal_percent=max(load.steal_percent for load in loads),
        foreign_percent=max(0.0, system_load.busy_percent - system_percent),
        calls_lost=lost,
        calls_unmatched=result.up.unmatched + result.down.unmatched,
        calls_shifted=result.up.shifted + result.down.shifted,
        setup_failures=failures,
        frames_fallen=recording.frames_fallen,
        up_mode=result.up_mode,
        down_mode=result.down_mode,
    )


def _percentiles(direction: Direction) -> tuple[float, float]:
    """Median and 99th percentile of the delay, ms; NaN when nothing was recognised."""
    if not len(direction.delay_ms):
        return float("nan"), float("nan")
    p50, p99 = np.percentile(direction.delay_ms, (50, 99))
    return float(p50), float(p99)


def _generator_late_ms(recording: Recording) -> float:
    lateness = np.array(recording.lateness_ns, np.float64)
    return float(np.percentile(lateness, 99)) / 1e6 if len(lateness) else 0.0

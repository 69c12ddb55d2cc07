"""`python -m bench agent`: calls with agents: what they cost, and how soon agents are heard.

First everybody talks, which tells the cost. Then each agent says 5 s in a burst of 50 ms, often,
and is interrupted: how soon the first packet came, how evenly the rest, how soon it is quiet.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.agent_calls import AgentCall, AgentGenerator, agent_system
from bench.agent_peer import FRAMES_A_DELTA, AgentEnd, AgentServer, tone_of
from bench.clip import decode_opus, decode_pcmu
from bench.generator import GOLDEN
from bench.measure import CoreLoad, CoreTimes, Usage
from bench.page import ConnectError, Page
from bench.report import MAX_GENERATOR_PERCENT, MAX_STEAL_PERCENT
from bench.results import save
from bench.signalling import CallFailedError
from bench.stream import payload_of
from bench.system import Running, StartError
from bench.timing import lateness_ms, unwrap
from bench.under_test import NotEnoughCoresError, circumstances, raise_file_limit

WARM_UP_S = 3.0
DRAIN_S = 1.5
"After everybody has talked: until all that was said is played."

BURST_S = 5.0
BURST_MS = 50
INTERRUPTED_AFTER_S = 2.0
QUIET_S = 0.6
"Between the interruption and the next burst."

LOUD_DBFS = -30.0
"Of a packet: the tone is at -11."

MIN_HEARD_PERCENT = 95.0
"Of the messages due to the agents; less, and the row tells nothing."

MAX_FOREIGN_PERCENT = 15.0
"Of the system's core, had by others: while they run, nothing of it does, for up to a second."

CLOCK_RATES = {"webrtc": 48_000, "g711": 8000}
MB = 1024 * 1024
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What the command line asks for."""

    protocols: tuple[str, ...]
    callers: tuple[str, ...]
    calls: tuple[int, ...]
    seconds: float
    "Length of the window in which everybody talks."
    bursts: int
    "That each agent says and is interrupted in, at 50 calls or more; more at fewer calls."
    as_json: bool
    name: str = ""
    "Under which the results are kept; none: they are not."


@dataclass(slots=True)
class Said:
    """What one agent did, in Unix nanoseconds."""

    bursts: list[tuple[int, int]] = field(default_factory=list)
    "When the first piece of each went out, and when it was interrupted."
    whole: int = 0
    "When the burst began that was not interrupted."


@dataclass(frozen=True, slots=True)
class Heard:
    """What that came to at the caller's end."""

    first_audio_ms: list[float]
    clear_ms: list[float]
    late_ms: Floats
    unheard: int
    "Bursts of which nothing came."
    played_percent: float
    "Of the packets of the burst that was not interrupted."


async def agent(options: AgentOptions) -> int:
    """Run it and print what came out; returns the exit status."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise NotEnoughCoresError("the system under test and the generator need a core each")
    os.sched_setaffinity(0, {cores[-1]})
    raise_file_limit()
    rows = []
    for protocol in options.protocols:
        for caller in options.callers:
            found = await _Session(options, protocol, caller, (cores[0], cores[-1])).run()
            for row in found:  # at once: all of it takes long, and may be stopped
                print(json.dumps(row) if options.as_json else _line(row), flush=True)
            rows += found
    if options.name:
        print(f"written to {save(options.name, rows)}", file=sys.stderr)
    return 1 if any("error" in row or "warning" in row for row in rows) else 0


class _Session:
    """One gateway with one protocol and one kind of caller, at each number of calls."""

    def __init__(
        self, options: AgentOptions, protocol: str, caller: str, cores: tuple[int, int]
    ) -> None:
        self._options = options
        self._kind = {"protocol": protocol, "caller": caller}
        self._cores = cores
        self._clock_rate = CLOCK_RATES[caller]

    async def run(self) -> list[dict[str, Any]]:
        """A row for each number of calls."""
        protocol, caller = self._kind["protocol"], self._kind["caller"]
        system, sip_port = agent_system(protocol)
        server = AgentServer(protocol)
        await server.open()
        generator = AgentGenerator(system, sip_port, server, caller)
        running = Running(system, generator.carrier_port, self._cores[0])
        rows = []
        try:
            await running.wait_until_ready()
            for calls in self._options.calls:
                row = await self._row(generator, running, calls)
                rows.append(self._kind | {"calls": calls} | row | circumstances(system))
        except (StartError, CallFailedError, ConnectError, OSError) as error:
            rows.append(self._kind | {"error": f"{error}; {running.log_tail()}"})
        except ExceptionGroup as group:
            told = "; ".join(sorted({str(error) for error in group.exceptions}))
            rows.append(self._kind | {"error": f"{told}; {running.log_tail()}"})
        finally:
            await generator.close()
            running.stop()
            await server.close()
        return rows

    async def _row(self, generator: AgentGenerator, running: Running, calls: int) -> dict[str, Any]:
        print(f"{self._kind}: {calls} calls", file=sys.stderr, flush=True)
        empty = Usage.of(running.pid)
        await generator.set_calls(calls, running.port)
        placed = [generator.agent_calls[call.number] for call in generator.calls]
        await asyncio.sleep(WARM_UP_S)
        cost = await self._cost(generator, running, placed, empty)
        for call in placed:
            call.agent.is_talking = False
        await asyncio.sleep(DRAIN_S)
        rounds = max(1, round(self._options.bursts * 50 / max(calls, 5)))
        core, used, begun = CoreTimes.of(self._cores[0]), Usage.of(running.pid), time.monotonic()
        said = await _bursts(placed, rounds)
        own = 100 * (Usage.of(running.pid).cpu_s - used.cpu_s) / (time.monotonic() - begun)
        busy = CoreLoad.between(core, CoreTimes.of(self._cores[0])).busy_percent
        cost["detail"]["burst_foreign_percent"] = round(max(0.0, busy - own), 1)
        heard = [self._heard(*each) for each in zip(placed, said, strict=True)]
        lost = sum(not call.is_talking for call in placed)
        await generator.set_calls(0, running.port)
        found = _summary(heard)
        warning = _warning(cost, lost, found["bursts_unheard"])
        return cost | found | {"calls_lost": lost} | warning

    async def _cost(
        self,
        generator: AgentGenerator,
        running: Running,
        calls: list[AgentCall],
        empty: Usage,
    ) -> dict[str, Any]:
        """Both sides of every call talk."""
        cores = [CoreTimes.of(core) for core in self._cores]
        own, before = time.process_time(), Usage.of(running.pid)
        counts = [call.agent.messages for call in calls]
        recording = await generator.record(self._options.seconds)
        window_s = recording.window_s
        own, after = time.process_time() - own, Usage.of(running.pid)
        system, generators = (
            CoreLoad.between(then, CoreTimes.of(core))
            for then, core in zip(cores, self._cores, strict=True)
        )
        percent = 100 * (after.cpu_s - before.cpu_s) / window_s
        came = sum(c.agent.messages - n for c, n in zip(calls, counts, strict=True))
        return {
            "core_percent": round(percent, 2),
            "cpu_ms_per_call_second": round(10 * percent / len(calls), 3),
            "rss_mb_per_call": round((after.rss_bytes - empty.rss_bytes) / MB / len(calls), 3),
            "heard_percent": round(100 * came / (50 * window_s * len(calls)), 1),
            "detail": {
                "seconds": round(window_s, 2),
                "generator_cpu_percent": round(100 * own / window_s, 1),
                "generator_core_percent": round(generators.busy_percent, 1),
                "steal_percent": round(max(system.steal_percent, generators.steal_percent), 2),
                "foreign_percent": round(max(0.0, system.busy_percent - percent), 1),
                "audio": calls[0].agent.audio,
            },
        }

    def _heard(self, call: AgentCall, said: Said) -> Heard:
        """What came of one call's bursts at its caller."""
        heard = call.page.heard
        arrived = np.array(heard.arrived_ns, np.int64)
        stamps = unwrap(np.array(heard.stamps, np.uint32))
        loud = arrived[_loud(call)]
        first_ms, clear_ms, late = [], [], []
        for begun, cleared in said.bursts:
            end = cleared + int(QUIET_S * 1e9)
            own = loud[(loud >= begun) & (loud < end)]
            if not len(own):
                continue
            first_ms.append((own[0] - begun) / 1e6)
            clear_ms.append(max(0.0, (own[-1] - cleared) / 1e6))
            within = (arrived >= own[0]) & (arrived <= cleared)
            late.append(lateness_ms(arrived[within], stamps[within], self._clock_rate))
        played = np.count_nonzero(loud >= said.whole)
        return Heard(
            first_ms,
            clear_ms,
            np.concatenate(late) if late else np.zeros(0),
            len(said.bursts) - len(first_ms),
            100 * played / (50 * BURST_S),
        )


async def _bursts(calls: list[AgentCall], rounds: int) -> list[Said]:
    """Every agent says its bursts, all of them spread over a second; what callers hear is kept."""
    for call in calls:
        call.page.heard.record()
        call.page.heard.capture(sys.maxsize)
    said = await asyncio.gather(
        *(_burst_often(call.agent, n * GOLDEN % 1.0, rounds) for n, call in enumerate(calls))
    )
    for call in calls:
        call.page.heard.is_recording = False
    return said


async def _burst_often(end: AgentEnd, phase_s: float, rounds: int) -> Said:
    said = Said()
    await asyncio.sleep(phase_s)
    for _ in range(rounds):
        begun = await _burst(end)
        await asyncio.sleep(INTERRUPTED_AFTER_S)
        said.bursts.append((begun, end.clear()))
        await asyncio.sleep(QUIET_S)
    said.whole = await _burst(end)
    await asyncio.sleep(BURST_S + QUIET_S)
    return said


async def _burst(end: AgentEnd) -> int:
    """Say 5 s within 50 ms; when the first piece went out, in Unix nanoseconds."""
    end.begin()
    pieces = round(BURST_S * 50 / FRAMES_A_DELTA)
    tone = tone_of(end.audio, FRAMES_A_DELTA)
    begun = end.say(tone)
    for _ in range(pieces - 1):
        await asyncio.sleep(BURST_MS / 1000 / pieces)
        end.say(tone)
    return begun


def _loud(call: AgentCall) -> NDArray[np.bool_]:
    """Which of the packets that were kept carry the tone."""
    heard = call.page.heard
    payloads = [payload_of(call.page.unprotect(packet)) for _, packet in heard.captured]
    if isinstance(call.page, Page):
        sound = decode_opus(payloads).reshape(-1, 160)
        power = (sound * sound).mean(axis=1)
    else:
        power = np.array([np.mean(decode_pcmu(each) ** 2) if each else 0.0 for each in payloads])
    threshold = 32768.0**2 / 2 * 10 ** (LOUD_DBFS / 10)
    loud = np.zeros(len(heard.arrived_ns), np.bool_)
    loud[[index for index, _ in heard.captured]] = power > threshold
    return loud


def _summary(heard: list[Heard]) -> dict[str, Any]:
    first = [value for each in heard for value in each.first_audio_ms]
    clear = [value for each in heard for value in each.clear_ms]
    late = np.concatenate([each.late_ms for each in heard])
    return {
        "first_audio_ms_p50": _percentile(first, 50),
        "first_audio_ms_p99": _percentile(first, 99),
        "clear_ms_p50": _percentile(clear, 50),
        "clear_ms_p99": _percentile(clear, 99),
        "jitter_ms_p99": _percentile(late, 99),
        "played_percent": round(min(each.played_percent for each in heard), 1),
        "bursts": len(first),
        "bursts_unheard": sum(each.unheard for each in heard),
    }


def _percentile(values: list[float] | Floats, percent: int) -> float | None:
    return round(float(np.percentile(values, percent)), 2) if len(values) else None


def _warning(cost: dict[str, Any], lost: int, unheard: int) -> dict[str, str]:
    """Why a row does not count; as a rule it says more about the machine than about the gateway."""
    detail, heard = cost["detail"], cost["heard_percent"]
    foreign = max(detail["foreign_percent"], detail["burst_foreign_percent"])
    steal, generator = detail["steal_percent"], detail["generator_core_percent"]
    reasons = (
        (lost, f"{lost} calls were ended by the gateway"),
        (steal > MAX_STEAL_PERCENT, f"steal {steal} %"),
        (foreign > MAX_FOREIGN_PERCENT, f"others had {foreign} % of the system's core"),
        (generator > MAX_GENERATOR_PERCENT, f"the generator's core was {generator} % busy"),
        (heard < MIN_HEARD_PERCENT, f"agents heard {heard} % of their callers"),
        (unheard, f"nothing was heard of {unheard} bursts"),
    )
    why = next((why for is_so, why in reasons if is_so), "")
    return {"warning": why} if why else {}


def _line(row: dict[str, Any]) -> str:
    kind = f"{row['protocol']:<8} {row['caller']:<7}"
    if "error" in row:
        return f"{kind} {row['error']}"
    return (
        f"{kind} {row['calls']:>4} calls  {row['cpu_ms_per_call_second']:.2f} CPU-ms/call-s"
        f"  first audio {row['first_audio_ms_p50']} / {row['first_audio_ms_p99']} ms"
        f"  quiet {row['clear_ms_p50']} / {row['clear_ms_p99']} ms"
        f"  jitter {row['jitter_ms_p99']} ms  played {row['played_percent']} %"
        f"{'  ' + row['warning'] if 'warning' in row else ''}"
    )

"""CPU time, memory and the state of the cores, from /proc (Linux)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its children have used so far."""

    cpu_s: float
    "User and system time, all threads."
    rss_bytes: int
    "Resident memory now."

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Read it; a process that has just ended counts nothing."""
        cpu_ticks = rss_kib = 0
        for member in process_tree(pid):
            try:
                stat = Path(f"/proc/{member}/stat").read_text()
                status = Path(f"/proc/{member}/status").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            cpu_ticks += cpu_ticks_of(stat)
            rss_kib += rss_kib_of(status)
        return cls(cpu_ticks / TICKS_PER_S, rss_kib * 1024)


@dataclass(frozen=True, slots=True)
class CoreTimes:
    """Ticks of one core since boot."""

    total: int
    idle: int
    steal: int

    @classmethod
    def of(cls, core: int) -> CoreTimes:
        """Read them for core number `core`."""
        return core_times_of(Path("/proc/stat").read_text(), core)


@dataclass(frozen=True, slots=True)
class CoreLoad:
    """What a core did between two readings, percent of the time."""

    busy_percent: float
    steal_percent: float

    @classmethod
    def between(cls, before: CoreTimes, after: CoreTimes) -> CoreLoad:
        """From the readings at the start and the end of a window."""
        total = max(1, after.total - before.total)
        idle = after.idle - before.idle
        steal = after.steal - before.steal
        return cls(100.0 * (total - idle) / total, 100.0 * steal / total)


def cpu_ticks_of(stat: str) -> int:
    """User and system ticks from the text of /proc/PID/stat (proc(5): fields 14 and 15)."""
    fields = stat.rpartition(")")[2].split()  # the name in brackets may hold anything
    return int(fields[11]) + int(fields[12])


def rss_kib_of(status: str) -> int:
    """VmRSS from the text of /proc/PID/status, KiB; 0 for a process that has none any more."""
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def core_times_of(stat: str, core: int) -> CoreTimes:
    """One core's line of /proc/stat: user nice system idle iowait irq softirq steal …"""
    for line in stat.splitlines():
        name, _, rest = line.partition(" ")
        if name == f"cpu{core}":
            ticks = [int(field) for field in rest.split()[:8]]
            return CoreTimes(sum(ticks), ticks[3] + ticks[4], ticks[7])
    raise ValueError(f"/proc/stat has no core {core}")


def process_tree(pid: int) -> list[int]:
    """The process and all that descend from it."""
    tree = [pid]
    for parent in tree:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                tree += [int(child) for child in children.read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return tree

"""A system on its core with calls talking through it: where every measurement begins."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.generator import Generator
from bench.report import versions
from bench.system import Running, System


class NotEnoughCoresError(Exception):
    """The system under test and the generator need a core each."""


@dataclass(frozen=True, slots=True)
class UnderTest:
    """It, and what calls it."""

    running: Running
    generator: Generator
    cores: tuple[int, int]
    "Its core, and the generator's."

    async def set_calls(self, count: int) -> None:
        """Place or end calls until there are `count`."""
        await self.generator.set_calls(count, self.running.port)


@asynccontextmanager
async def under_test(system: System) -> AsyncIterator[UnderTest]:
    """Start it on the first core, with this process on the last; end both.

    Raises:
        NotEnoughCoresError: there is one core only.
        StartError: it did not start.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise NotEnoughCoresError("the system under test and the generator need a core each")
    raise_file_limit()
    os.sched_setaffinity(0, {cores[-1]})
    generator = Generator(system)
    running = Running(system, generator.carrier_port, cores[0])
    try:
        await running.wait_until_ready()
        yield UnderTest(running, generator, (cores[0], cores[-1]))
    finally:
        try:
            await generator.close()
        finally:
            running.stop()
            os.sched_setaffinity(0, cores)


def raise_file_limit() -> None:
    """Three sockets a call for us, and what the system under test needs, which inherits it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def circumstances(system: System) -> dict[str, Any]:
    """What belongs to every report: versions, machine, command."""
    told = versions(system.packages)
    if system.version is not None:
        told[system.name] = system.version()
    return {
        "versions": {"python": platform.python_version(), **told},
        "machine": {"kernel": platform.release(), "cores": os.cpu_count()},
        "command": "python -m bench " + " ".join(sys.argv[1:]),
    }

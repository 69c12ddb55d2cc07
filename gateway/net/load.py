"""How busy this process is: whether it can take one more call (F24, F26; RFC 6357 §4).

A call that is refused at once is tried elsewhere; one that is taken by a process that has no time
spoils those that go on. Before any is refused, and before a frame is late, encoders spend less.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gateway.media.effort import Effort, Workload

log = logging.getLogger(__name__)

LOOK_S = 0.25
"How often it is looked."

BUSY_LOOKS = 8
"CPU time is judged over 2 s."

LAG_LOOKS = 40
"Lateness is judged over 10 s, the very worst left out: one stall is none of the load."

DESCRIPTOR_LOOKS = 8
"Open files are counted every 2 s: it takes some microseconds for each."

MAX_LAG_S = 0.05
MAX_DESCRIPTORS = 0.9
"Of those that the system allows us: live calls may still need one."

STRAIN = {Effort.LEAN: (0.8, 0.008), Effort.FRUGAL: (0.92, 0.015)}
"""From when on encoders spend no more than that: a share of the CPU time at which calls are
refused, and seconds that the loop comes late. A frame is late when the next is due: 20 ms."""

CALM = 0.9
"More is spent again where the load is below this share of what made it less,"

CALM_LOOKS = 40
"for 10 s; one step at a time."

_OWN_DESCRIPTORS = ("/proc/self/fd", "/dev/fd")


@dataclass(frozen=True, slots=True)
class Figures:
    """What was seen last."""

    cpu: float = 0.0
    "Of one core, over the last 2 s."
    lag_s: float = 0.0
    "By how much the loop came late, over the last 10 s, the worst time left out."
    descriptors: float = 0.0
    "Open files, of those allowed."


class LoadWatch:
    """Looks at the process now and then."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        max_cpu: float,
        cpu_time: Callable[[], float] = time.process_time,
        count_descriptors: Callable[[], float] | None = None,
        workload: Workload | None = None,
    ) -> None:
        """Begin to look.

        Args:
            max_cpu: of one core; above it, for 2 s, no new calls are taken. 0: whatever it is.
            workload: the encoders that are to spend less under load, and more again after it.
            count_descriptors: how many of the allowed files are open, 0.0 to 1.0.
        """
        self.figures = Figures()
        self.workload = workload or Workload()
        self.lowered = 0
        "How often encoders were told to spend less."
        self._calm_looks = 0
        self._loop = loop
        self._max_cpu = max_cpu
        self._cpu_time = cpu_time
        self._count_descriptors = count_descriptors or open_descriptors
        self._spent: deque[tuple[float, float]] = deque(maxlen=BUSY_LOOKS + 1)
        self._lags: deque[float] = deque(maxlen=LAG_LOOKS)
        self._looks = 0
        self._due = loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    @property
    def trouble(self) -> str | None:
        """Why no new call should be taken, in words; None: one more is welcome."""
        figures = self.figures
        if figures.descriptors > MAX_DESCRIPTORS:
            return f"{figures.descriptors:.0%} of the files allowed are open; raise `ulimit -n`"
        if not self._max_cpu:
            return None
        if figures.cpu > self._max_cpu:
            return f"{figures.cpu:.0%} of a core are used"
        if figures.lag_s > MAX_LAG_S:
            return f"the loop comes {1000 * figures.lag_s:.0f} ms late"
        return None

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        now = self._loop.time()
        self._lags.append(now - self._due)
        self._spent.append((now, self._cpu_time()))
        (then, before), (_, spent) = self._spent[0], self._spent[-1]
        # The first two seconds of a process are its start: they say nothing.
        is_known = len(self._spent) > BUSY_LOOKS and now > then
        descriptors = self.figures.descriptors
        if self._looks % DESCRIPTOR_LOOKS == 0:
            descriptors = self._count_descriptors()
        self._looks += 1
        self.figures = Figures(
            cpu=(spent - before) / (now - then) if is_known else 0.0,
            lag_s=sorted(self._lags)[-2] if len(self._lags) > BUSY_LOOKS else 0.0,
            descriptors=descriptors,
        )
        self._spend()
        self._due = now + LOOK_S
        self._timer = self._loop.call_at(self._due, self._look)

    def _spend(self) -> None:
        """Have encoders spend less at once, more again step by step."""
        spent = self.workload.effort
        wanted = self._bearable(1.0)
        if wanted > spent:
            self._calm_looks = 0
            self.lowered += 1
            self._change(wanted)
        elif self._bearable(CALM) >= spent:
            self._calm_looks = 0
        else:
            self._calm_looks += 1
            if self._calm_looks >= CALM_LOOKS:
                self._calm_looks = 0
                self._change(Effort(spent - 1))

    def _bearable(self, share: float) -> Effort:
        """What the figures allow, were the limits that share of what they are."""
        figures, bearable = self.figures, Effort.FULL
        if self._max_cpu:
            for effort, (cpu, lag_s) in STRAIN.items():
                if figures.cpu > share * cpu * self._max_cpu or figures.lag_s > share * lag_s:
                    bearable = effort
        return bearable

    def _change(self, effort: Effort) -> None:
        figures, before = self.figures, self.workload.effort
        self.workload.change(effort)
        log.log(
            logging.WARNING if effort > before else logging.INFO,
            "encoders: %s effort from now on, after %s; %.0f %% of a core are used, the loop comes"
            " %.0f ms late",
            effort.name.lower(),
            before.name.lower(),
            100 * figures.cpu,
            1000 * figures.lag_s,
        )


def open_descriptors() -> float:
    """How many of the files that the system allows this process are open, 0.0 to 1.0."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for folder in _OWN_DESCRIPTORS:
        if Path(folder).is_dir():
            return len(os.listdir(folder)) / allowed
    return 0.0

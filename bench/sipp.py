"""SIPp on both sides of a system under test: its processes, and what its log says of the calls."""

from __future__ import annotations

import asyncio
import csv
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.reflector import HOST
from bench.system import StartError, is_bound

EXECUTABLE = "sipp"
SCENARIOS = Path(__file__).with_name("sipp")

START_TIMEOUT_S = 5.0
FINISH_TIMEOUT_S = 12.0
"Calls under way may end; some are resent their BYE until then."

LATE_S = 0.5
"A set-up this long has had its INVITE sent again (T1, RFC 3261 §17.1.1.1)."


@dataclass(slots=True)
class CallTimes:
    """One call as its caller saw it, in Unix seconds."""

    invited_at: float
    answered_at: float | None = None
    ended_at: float | None = None
    "When its BYE was answered."

    @property
    def setup_s(self) -> float | None:
        """From the first INVITE to the 200."""
        return None if self.answered_at is None else self.answered_at - self.invited_at


@dataclass(frozen=True, slots=True)
class Load:
    """What a caller's calls came to."""

    calls: list[CallTimes]
    failed: int
    "As SIPp counts them."

    def ended_between(self, start: float, end: float) -> int:
        """Calls that were over within a span."""
        return sum(
            call.ended_at is not None and start <= call.ended_at < end for call in self.calls
        )

    def setups_ms(self, start: float, end: float) -> list[float]:
        """How long the set-ups took that began within a span; those never answered are left out."""
        return [
            1000.0 * call.setup_s
            for call in self.calls
            if start <= call.invited_at < end and call.setup_s is not None
        ]

    @property
    def late(self) -> int:
        """Calls whose INVITE had to be sent again."""
        return sum(call.setup_s is None or call.setup_s >= LATE_S for call in self.calls)


class Sipp:
    """A running SIPp."""

    def __init__(
        self, directory: Path, scenario: str, port: int, options: Sequence[str] = ()
    ) -> None:
        directory.mkdir()
        self._directory = directory
        self.port = port
        with (directory / "screen").open("wb") as screen:
            self._process = subprocess.Popen(
                [
                    EXECUTABLE,
                    *("-sf", str(SCENARIOS / f"{scenario}.xml"), "-i", HOST, "-p", str(port)),
                    *("-mi", HOST, "-nostdin", "-aa", "-timer_resol", "1", "-f", "60"),
                    *options,
                ],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
            )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    async def wait_until_bound(self) -> None:
        """Until it listens.

        Raises:
            StartError: it does not.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not is_bound(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                text = (self._directory / "screen").read_text(errors="replace")
                raise StartError(f"SIPp did not start:\n{text[-500:]}")
            await asyncio.sleep(0.05)

    async def finish(self) -> None:
        """Let it make no new calls, and wait for those there are."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, FINISH_TIMEOUT_S)
        self.stop()

    def stop(self) -> None:
        """End it; safe to call twice."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


class Caller(Sipp):
    """A SIPp that calls."""

    def __init__(self, directory: Path, port: int, target: int, options: Sequence[str]) -> None:
        self._log = directory / "messages.csv"
        self._statistics = directory / "statistics.csv"
        super().__init__(
            directory,
            "calls",
            port,
            (
                f"{HOST}:{target}",
                *("-trace_shortmsg", "-shortmessage_file", str(self._log)),
                *("-trace_stat", "-stf", str(self._statistics), "-fd", "1"),
                *options,
            ),
        )

    def load(self) -> Load:
        """What came of its calls, after it has finished."""
        with self._log.open(errors="replace") as lines:
            calls = read_calls(lines)
        return Load(calls, read_failed(self._statistics.read_text(errors="replace")))


def read_calls(lines: Iterable[str]) -> list[CallTimes]:
    """The calls in SIPp's short message log, in the order of their INVITEs.

    A line is: date, time, Unix seconds, S or R, Call-ID, CSeq, first line; with tabs between them.
    """
    calls: dict[str, CallTimes] = {}
    for line in lines:
        fields = line.rstrip("\r\n").split("\t")
        if len(fields) < 7:
            continue
        _, _, seconds, direction, call_id, cseq, first = fields[:7]
        at = float(seconds)
        call = calls.get(call_id)
        if direction == "S" and first.startswith("INVITE "):
            calls.setdefault(call_id, CallTimes(at))
        elif direction == "R" and first.startswith("SIP/2.0 200") and call is not None:
            if cseq.endswith("INVITE"):
                call.answered_at = call.answered_at or at
            else:
                call.ended_at = call.ended_at or at
    return list(calls.values())


def read_failed(statistics: str) -> int:
    """The failed calls that SIPp's statistics end with."""
    rows = list(csv.DictReader(statistics.splitlines(), delimiter=";"))
    return int(rows[-1]["FailedCall(C)"]) if rows else 0

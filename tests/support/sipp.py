"""SIPp, a peer of another make: a process that plays one scenario and keeps every message."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.gateway import free_port

EXECUTABLE = "/usr/bin/sipp"
SCENARIOS = Path(__file__).parents[1] / "real/sipp"

LONGEST_S = 25
"A scenario that takes longer has hung, and fails."

POLL_S = 0.02

_DIVIDER = re.compile(r"^-{20,} \d{4}-\d\d-\d\d (\d\d):(\d\d):(\d\d\.\d+)\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class SippMessage:
    """One message that went over SIPp's wire."""

    at: float
    "Seconds of the local day."
    sent: bool
    "True from SIPp to us."
    text: str

    @property
    def label(self) -> str:
        """What it is: `INVITE`, or `200 INVITE` for a response to one."""
        first = self.text.split(maxsplit=2)
        if not first[0].startswith("SIP/"):
            return first[0]
        return f"{first[1]} {self.header('CSeq').split()[1]}"

    @property
    def body(self) -> str:
        return self.text.partition("\r\n\r\n")[2]

    @property
    def is_whole(self) -> bool:
        """Whether SIPp has written all of it."""
        length = self.header("Content-Length")
        return length.isdigit() and len(self.body) >= int(length)

    def header(self, name: str) -> str:
        """The first header of a name; empty when there is none."""
        found = re.search(rf"^{name}\s*:\s*(.*?)\r?$", self.text, re.MULTILINE | re.IGNORECASE)
        return found[1] if found else ""

    @property
    def media_address(self) -> tuple[str, int]:
        """Where its SDP wants audio."""
        host = re.search(r"^c=IN IP4 (\S+)", self.body, re.MULTILINE)
        port = re.search(r"^m=audio (\d+)", self.body, re.MULTILINE)
        assert host is not None, self.text
        assert port is not None, self.text
        return host[1], int(port[1])


class Sipp:
    """A running SIPp."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path, port: int) -> None:
        self.process = process
        self.port = port
        self._directory = directory

    def messages(self) -> list[SippMessage]:
        """What went over the wire so far, retransmissions too."""
        try:
            text = (self._directory / "messages.log").read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return []
        _, *parts = _DIVIDER.split(text)
        found = []
        for hours, minutes, seconds, part in zip(*[iter(parts)] * 4, strict=True):
            head, _, message = part.partition("\n\n")
            at = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
            found.append(SippMessage(at, " sent " in head, message))
        return [each for each in found if each.is_whole]

    def sent(self, label: str) -> list[SippMessage]:
        """What SIPp sent of a kind."""
        return [each for each in self.messages() if each.sent and each.label == label]

    def received(self, label: str) -> list[SippMessage]:
        """What SIPp received of a kind."""
        return [each for each in self.messages() if not each.sent and each.label == label]

    @property
    def ladder(self) -> list[str]:
        """Each message once, without retransmissions and 100s: `> INVITE` was sent by SIPp."""
        seen: set[tuple[bool, str]] = set()
        lines = []
        for each in self.messages():
            key = (each.sent, each.text.rstrip())
            if key not in seen and each.label != "100 INVITE":
                seen.add(key)
                lines.append(f"{'>' if each.sent else '<'} {each.label}")
        return lines

    async def next_received(self, label: str, count: int = 1) -> SippMessage:
        """Until SIPp has received so many of a kind; the last of them."""
        async with asyncio.timeout(LONGEST_S):
            while len(found := self.received(label)) < count:
                await asyncio.sleep(POLL_S)
        return found[count - 1]

    async def next_sent(self, label: str) -> SippMessage:
        """Until SIPp has sent one of a kind."""
        async with asyncio.timeout(LONGEST_S):
            while not (found := self.sent(label)):
                await asyncio.sleep(POLL_S)
        return found[0]

    async def finish(self) -> Self:
        """Until the scenario is played to its end, as it was written."""
        async with asyncio.timeout(LONGEST_S + 5):
            status = await self.process.wait()
        assert status == 0, f"SIPp ended with {status}:\n{self._explain()}"
        return self

    def _explain(self) -> str:
        errors = self._directory / "errors.log"
        text = errors.read_text(errors="replace") if errors.exists() else ""
        return "\n".join([*self.ladder, text])


@asynccontextmanager
async def running_sipp(
    directory: Path,
    scenario: str,
    *,
    port: int | None = None,
    target: int | None = None,
    values: Mapping[str, str | int] | None = None,
    options: Sequence[str] = (),
) -> AsyncIterator[Sipp]:
    """Start SIPp with one scenario of tests/real/sipp; it is listening when this returns.

    Args:
        directory: of this peer alone.
        scenario: name of the file, without `.xml`.
        port: of loopback, where it takes SIP; None is a free one.
        target: port of loopback that a caller calls; None for a callee.
        values: what stands for each `@name@` in the scenario.
        options: more of SIPp's command line.
    """
    _write_scenario(directory, scenario, values or {})
    port = port or free_port()
    with (directory / "screen.txt").open("wb") as screen:
        process = await asyncio.create_subprocess_exec(
            EXECUTABLE,
            *([] if target is None else [f"127.0.0.1:{target}"]),
            *("-sf", "scenario.xml", "-i", "127.0.0.1", "-p", str(port), "-mi", "127.0.0.1"),
            *("-m", "1", "-nostdin", "-nd", "-timeout", str(LONGEST_S), "-timeout_error"),
            *("-trace_msg", "-message_file", "messages.log"),
            *("-trace_err", "-error_file", "errors.log"),
            *options,
            cwd=directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=screen,
            stderr=screen,
        )
    sipp = Sipp(process, directory, port)
    try:
        await _wait_until_bound(process, port, directory)
        yield sipp
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _write_scenario(directory: Path, scenario: str, values: Mapping[str, str | int]) -> None:
    directory.mkdir()
    text = (SCENARIOS / f"{scenario}.xml").read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    missing = re.search(r"@[a-z_]+@", text)
    assert missing is None, f"{scenario} wants a value for {missing and missing[0]}"
    (directory / "scenario.xml").write_text(text)


async def _wait_until_bound(
    process: asyncio.subprocess.Process, port: int, directory: Path
) -> None:
    """An INVITE that comes before SIPp listens would be sent again, and counted."""
    async with asyncio.timeout(10):
        while not _is_bound(port):
            if process.returncode is not None:
                screen = (directory / "screen.txt").read_bytes()
                # A caller with little to say may be done by now.
                assert process.returncode == 0, screen.decode(errors="replace")
                return
            await asyncio.sleep(POLL_S)


def _is_bound(port: int) -> bool:
    """Whether somebody has this UDP port of 127.0.0.1; to try it would be to take it."""
    return f"0100007F:{port:04X}" in Path("/proc/net/udp").read_text()

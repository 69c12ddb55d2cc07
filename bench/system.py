"""The systems under test: how each is started on its core, and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench import rtpengine
from bench.measure import process_tree

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 8.0
ROOT = Path(__file__).resolve().parent.parent

GATEWAY_CONFIG = """
[node]
max_cpu = 0
name = "bench"

[http]
listen = "127.0.0.1:{http}"

[webrtc]
listen = "127.0.0.1:{webrtc}"

[sip]
listen = ["udp:127.0.0.1:{sip}"]

[rtp]
ports = "20000-29999"

[[trunk]]
name = "bench"
uri = "sip:127.0.0.1:{carrier}"
probe_s = 0
codecs = ["PCMU"]

[[route]]
from = "browser"
match = "+*"
to = ["trunk:bench"]
"""


class StartError(Exception):
    """The system under test did not come up."""


@dataclass(frozen=True, slots=True)
class System:
    """One row of the comparison."""

    name: str
    first_calls: int
    "What the search for the number of calls begins with."
    command: Callable[[Path, int, int], list[str]]
    "Makes the command line from a directory of its own, its HTTP port and the carrier's SIP port."
    uses_sip: bool = False
    "Whether it calls the carrier; else it is told the phone's RTP address with the call."
    is_plain: bool = False
    "Whether pages speak plain RTP to it, and it hands packets on as they are."
    packages: tuple[str, ...] = ()
    "Whose versions belong in its report."
    version: Callable[[], str] | None = None
    "Tells that of a program that is no Python package."
    environment: Mapping[str, str] = field(default_factory=dict)
    "Set for it, beside what is set already."
    is_ready: Callable[[int], bool] = lambda port: _is_healthy(port)
    "Whether it takes calls at its port."


def _gateway(directory: Path, port: int, carrier: int) -> list[str]:
    config = directory / "bench.toml"
    text = GATEWAY_CONFIG.format(http=port, webrtc=free_port(), sip=free_port(), carrier=carrier)
    config.write_text(text)
    return [sys.executable, "-m", "gateway", "serve", "--config", str(config)]


def _own(module: str, *more: str) -> Callable[[Path, int, int], list[str]]:
    def command(_directory: Path, port: int, _carrier: int) -> list[str]:
        return [sys.executable, "-m", module, str(port), *more]

    return command


PACKAGES = ("aiortc", "aioice", "pylibsrtp", "av")

GATEWAY = ("voice-gateway", *PACKAGES, "uvloop")

SYSTEMS = {
    system.name: system
    for system in (
        System("gateway", 100, _gateway, uses_sip=True, packages=GATEWAY),
        System("aiortc", 10, _own("bench.baseline"), packages=PACKAGES),
        System("rtpengine", 30, _own("bench.rtpengine"), version=rtpengine.version),
        System(
            "rtpengine-48k",
            30,
            _own("bench.rtpengine", "48000"),
            version=rtpengine.version,
        ),
        System("reflector", 200, _own("bench.reflector"), is_plain=True, packages=("uvloop",)),
    )
}


class Running:
    """A system under test while it runs."""

    def __init__(self, system: System, carrier_port: int, core: int) -> None:
        self.system = system
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix=f"bench-{system.name}-")
        directory = Path(self._directory.name)
        self._log_path = directory / "log"
        command = system.command(directory, self.port, carrier_port)
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **system.environment},
                # Before exec, so that every thread of it is born on that core.
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )

    @property
    def pid(self) -> int:
        """Its process, the root of its tree."""
        return self._process.pid

    async def wait_until_ready(self) -> None:
        """Wait until it takes calls.

        Raises:
            StartError: it ended, or took longer than 30 s; the end of its log is told.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if await asyncio.to_thread(self.system.is_ready, self.port):
                return
            await asyncio.sleep(0.1)
        raise StartError(f"{self.system.name} did not start:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last lines that it wrote."""
        lines = self._log_path.read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:])

    def stop(self) -> None:
        """End it and everything it started, kindly first; safe to call twice."""
        tree = process_tree(self.pid)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for child in tree[1:]:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._directory.cleanup()


def free_port() -> int:
    """A port that is free now, for TCP and UDP alike."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def is_bound(port: int) -> bool:
    """Whether somebody has this UDP port of 127.0.0.1; to try it would be to take it."""
    return f" 0100007F:{port:04X} " in Path("/proc/net/udp").read_text()


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False

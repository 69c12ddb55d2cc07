"""dnsmasq, a nameserver of another make, on a port of its own with the zone of one test."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.gateway import free_port

EXECUTABLE = "/usr/sbin/dnsmasq"


class Dnsmasq:
    """A running nameserver."""

    def __init__(self, directory: Path, records: Sequence[str], ttl_s: int) -> None:
        self.port = free_port()
        self._hosts = directory / "hosts"
        self._hosts.write_text("")
        self._log = directory / "dnsmasq.log"
        self._options = [
            *("--keep-in-foreground", "--no-daemon", "--conf-file=/dev/null", "--pid-file="),
            *("--user=root", "--no-resolv", "--no-hosts", "--bind-interfaces"),
            *("--listen-address=127.0.0.1", f"--port={self.port}", f"--local-ttl={ttl_s}"),
            # Nobody else is asked: what is not here does not exist.
            *("--local=/#/", "--log-queries", "--log-facility=-"),
            *(f"--addn-hosts={self._hosts}", *(f"--{record}" for record in records)),
        ]
        self._process: asyncio.subprocess.Process | None = None

    @property
    def server(self) -> tuple[str, int]:
        """Whom a resolver is to ask."""
        return "127.0.0.1", self.port

    async def start(self) -> None:
        """Start it, until it listens."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                EXECUTABLE, *self._options, stdout=log, stderr=log
            )
        async with asyncio.timeout(10):
            while not self._listens():
                assert self._process.returncode is None, self._log.read_text()
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End it: from now on nobody answers."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def set_hosts(self, *lines: str) -> None:
        """Replace the addresses that change, as a hosts file has them."""
        assert self._process is not None
        reads = self.log.count("read /")
        self._hosts.write_text("".join(f"{line}\n" for line in lines))
        self._process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(5):
            while self.log.count("read /") == reads:
                await asyncio.sleep(0.02)

    @property
    def log(self) -> str:
        """Everything that it was asked, and answered."""
        return self._log.read_text(errors="replace")

    def questions(self, name: str) -> int:
        """How often it was asked about a name."""
        return sum("query[" in line and f" {name} from " in line for line in self.log.splitlines())

    def _listens(self) -> bool:
        return f"0100007F:{self.port:04X}" in Path("/proc/net/udp").read_text()


@asynccontextmanager
async def running_dnsmasq(
    directory: Path, records: Sequence[str] = (), *, ttl_s: int = 300
) -> AsyncIterator[Dnsmasq]:
    """Start a nameserver.

    Args:
        records: dnsmasq's own options, such as `srv-host=…`, `naptr-record=…`, `host-record=…`.
        ttl_s: of every record.
    """
    nameserver = Dnsmasq(directory, records, ttl_s)
    try:
        await nameserver.start()
        yield nameserver
    finally:
        await nameserver.stop()

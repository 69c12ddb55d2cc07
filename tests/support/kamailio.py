"""Kamailio, the proxy that carriers run: in front of the gateway, over TLS, TCP, UDP, WebSocket."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.certificates import Pair

EXECUTABLE = "/usr/sbin/kamailio"
MODULES = next(Path("/usr/lib").glob("*/kamailio/modules"), Path("/usr/lib/kamailio/modules"))
TEMPLATE = Path(__file__).with_name("kamailio.cfg")

# It takes nobody for the gateway who has no certificate of the same authority, and calls nobody
# who has none.
TLS = """
[server:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
private_key = {key}
certificate = {certificate}
ca_list = {ca}

[client:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
private_key = {key}
certificate = {certificate}
ca_list = {ca}
"""

OTHER_TLS = """
[server:127.0.0.1:{port}]
method = TLSv1.2+
verify_certificate = no
private_key = {key}
certificate = {certificate}
"""


_SCRIPT = re.compile("<script>: .*")


@dataclass(frozen=True, slots=True)
class KamailioOptions:
    """Where it listens, whom it relays to, and by what it is known."""

    udp: int
    "Port of loopback, for TCP too."
    tls: int
    websocket: int
    gateway: str
    "URI that calls from the peer, and from softphones, go to."
    peer: str
    "URI that calls from the gateway go to."
    pair: Pair
    ca: Path
    gateway_speaks: tuple[str, ...] = ("tls",)
    "The transports that the gateway, and nobody else, calls it over: tls, udp or tcp."
    password: str = "secret"
    "Of everybody who registers."
    others: Mapping[int, Pair] = field(default_factory=dict)
    "More ports for TLS, each with a certificate of its own."


class Kamailio:
    """Kamailio, running or not."""

    def __init__(self, directory: Path, options: KamailioOptions) -> None:
        """`directory`: of this one alone."""
        self.options = options
        self._directory = directory
        self._config = _configure(directory, options)
        self._log = directory / "log.txt"
        self._log.touch()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        """What it said so far, in all its lives."""
        return self._log.read_text(errors="replace")

    def said(self, text: str) -> int:
        """How often it has said something."""
        return self.log.count(f"<script>: {text}\n")

    async def wait_for(self, text: str, count: int = 1) -> None:
        """Until it has said something so many times."""
        try:
            async with asyncio.timeout(10):
                while self.said(text) < count:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"Kamailio never said {text!r}:\n{self.log}") from None

    @asynccontextmanager
    async def says(self, text: str) -> AsyncIterator[None]:
        """It has to say something once meanwhile, and no more than once."""
        before = self.said(text)
        yield
        assert self.said(text) == before + 1, "\n".join(_SCRIPT.findall(self.log))

    async def start(self) -> None:
        """Start it; it takes SIP when this returns, and remembers nothing."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                EXECUTABLE,
                *("-f", str(self._config), "-DD", "-E", "-m", "32", "-M", "8"),
                *("-P", str(self._directory / "pid"), "-Y", str(self._directory)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        async with asyncio.timeout(15):
            while not await self._listens():
                assert self._process.returncode is None, "Kamailio did not start:\n" + self.log
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """End it; its connections end with it."""
        if self._process is None:
            return
        # Asked to end it takes ten seconds at times; it is a family of its own.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.options.tls)
        except OSError:
            return False
        writer.close()
        return True


@asynccontextmanager
async def running_kamailio(directory: Path, options: KamailioOptions) -> AsyncIterator[Kamailio]:
    """Start one; see `Kamailio`."""
    kamailio = Kamailio(directory, options)
    try:
        await kamailio.start()
        yield kamailio
    finally:
        await kamailio.stop()


def _configure(directory: Path, options: KamailioOptions) -> Path:
    directory.mkdir()
    from_gateway = " || ".join(f"proto == {name.upper()}" for name in options.gateway_speaks)
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in (
        ("UDP", options.udp),
        ("TLS", options.tls),
        ("WS", options.websocket),
        ("OTHERS", "".join(f"listen=tls:127.0.0.1:{port}\n" for port in options.others)),
        ("MODULES", MODULES),
        ("DIRECTORY", directory),
        ("GATEWAY", options.gateway),
        ("PEER", options.peer),
        ("FROM_GATEWAY", from_gateway),
        ("PASSWORD", options.password),
    ):
        text = text.replace(f"@{name}@", str(value))
    tls = TLS.format(certificate=options.pair.certificate, key=options.pair.key, ca=options.ca)
    for port, pair in options.others.items():
        tls += OTHER_TLS.format(port=port, certificate=pair.certificate, key=pair.key)
    (directory / "tls.cfg").write_text(tls)
    config = directory / "kamailio.cfg"
    config.write_text(text)
    return config

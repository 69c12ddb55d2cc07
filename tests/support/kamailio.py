"""Kamailio, the proxy that carriers run: in front of the gateway, over TLS, UDP and WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

EXECUTABLE = "/usr/sbin/kamailio"
TEMPLATE = Path(__file__).with_name("kamailio.cfg")

TLS = """
[server:default]
method = TLSv1.2+
verify_certificate = no
require_certificate = no
private_key = {key}
certificate = {certificate}

[client:default]
method = TLSv1.2+
verify_certificate = yes
require_certificate = yes
private_key = {key}
certificate = {certificate}
ca_list = {ca}
"""


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
    certificate: Path
    key: Path
    ca: Path
    gateway_speaks: str = "tls"
    "The transport that the gateway, and nobody else, calls it over: tls, udp or tcp."


class Kamailio:
    """A running Kamailio."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """What it said so far."""
        return self._log.read_text(errors="replace")

    def relayed(self, method: str, transport: str) -> int:
        """How many requests of a method came over a transport and were passed on."""
        return self.log.count(f"relay {method} from {transport}\n")


@asynccontextmanager
async def running_kamailio(directory: Path, options: KamailioOptions) -> AsyncIterator[Kamailio]:
    """Start it; it takes SIP when this returns.

    Args:
        directory: of this one alone.
    """
    config = _configure(directory, options)
    log = directory / "log.txt"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            EXECUTABLE,
            *("-f", str(config), "-DD", "-E", "-m", "32", "-M", "8"),
            *("-P", str(directory / "pid"), "-Y", str(directory)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    kamailio = Kamailio(process, log)
    try:
        await _wait_until_listening(kamailio, options.tls)
        yield kamailio
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


def _configure(directory: Path, options: KamailioOptions) -> Path:
    directory.mkdir()
    protocol = options.gateway_speaks.upper()
    text = TEMPLATE.read_text(encoding="utf-8")
    for name, value in (
        ("UDP", options.udp),
        ("TLS", options.tls),
        ("WS", options.websocket),
        ("DIRECTORY", directory),
        ("GATEWAY", options.gateway),
        ("PEER", options.peer),
        ("FROM_GATEWAY", f"proto == {protocol}"),
    ):
        text = text.replace(f"@{name}@", str(value))
    (directory / "tls.cfg").write_text(
        TLS.format(certificate=options.certificate, key=options.key, ca=options.ca)
    )
    config = directory / "kamailio.cfg"
    config.write_text(text)
    return config


async def _wait_until_listening(kamailio: Kamailio, port: int) -> None:
    async with asyncio.timeout(15):
        while True:
            if kamailio.process.returncode is not None:
                raise AssertionError("Kamailio did not start:\n" + kamailio.log)
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return

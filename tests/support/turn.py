"""Debian's coturn, configured by the example that the project ships."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.net.interface import listening_addresses
from gateway.webrtc.turn import TurnCredentials
from tests.support.gateway import ROOT, free_port

EXAMPLE = ROOT / "examples/coturn/turnserver.conf"
START_TIMEOUT_S = 10.0
ASK_TIMEOUT_S = 10.0

VERDICTS = (b"success: 0x", b"(Forbidden IP)", b"Cannot complete")
"What the client says once it knows: a channel is bound, the peer is denied, it may not log in."


def own_address() -> str:
    """An address of this machine that is not loopback: coturn relays to no other."""
    return listening_addresses("0.0.0.0", loopback=False)[0]


@dataclass(frozen=True, slots=True)
class TurnServer:
    """A running coturn."""

    host: str
    port: int

    def url(self, transport: str) -> str:
        """As a browser is told it: udp or tcp."""
        return f"turn:{self.host}:{self.port}?transport={transport}"

    async def ask(self, peer: str, credentials: TurnCredentials) -> str:
        """What coturn's own client says that comes of relaying to a peer."""
        client = await asyncio.create_subprocess_exec(
            "turnutils_uclient",
            "-v",
            *("-u", credentials.username, "-w", credentials.credential),
            *("-e", peer, "-r", "9", "-n", "1", "-m", "1", "-c", "-p", str(self.port), self.host),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert client.stdout is not None
        said = b""
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                while not any(word in said for word in VERDICTS):
                    line = await client.stdout.readline()
                    if not line:
                        break
                    said += line
        finally:
            if client.returncode is None:
                client.kill()
            await client.wait()
        return said.decode(errors="replace")


@asynccontextmanager
async def running_turn(directory: Path, secret: str) -> AsyncIterator[TurnServer]:
    """Start it; this machine's own address is the only one that it relays to."""
    host, port = own_address(), free_port()
    lines = [line.partition("#")[0].rstrip() for line in EXAMPLE.read_text("utf-8").splitlines()]
    text = "\n".join(line for line in lines if line)
    for shipped, ours in (
        ("listening-port=3478", f"listening-port={port}"),
        ("static-auth-secret=CHANGE-ME", f"static-auth-secret={secret}"),
        ("allowed-peer-ip=203.0.113.7", f"allowed-peer-ip={host}"),
    ):
        assert shipped in text
        text = text.replace(shipped, ours)
    config = directory / "turnserver.conf"
    config.write_text(text + "\n")
    log = (directory / "turnserver.log").open("wb")
    server = await asyncio.create_subprocess_exec(
        *("turnserver", "-c", str(config), "-L", host, "-E", host, "--log-file", "stdout"),
        *("--userdb", str(directory / "turndb"), "--pidfile", str(directory / "turn.pid")),
        stdout=log,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        await _wait_until_alive(server, host, port)
        yield TurnServer(host, port)
    finally:
        if server.returncode is None:
            server.kill()
        await server.wait()
        log.close()


async def _wait_until_alive(server: asyncio.subprocess.Process, host: str, port: int) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            assert server.returncode is None, "coturn did not start"
            with socket.socket() as probe:
                probe.setblocking(False)
                try:
                    await asyncio.get_running_loop().sock_connect(probe, (host, port))
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    return

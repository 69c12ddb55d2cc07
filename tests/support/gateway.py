"""The gateway as people run it: a process of its own, on free ports, with the lab in it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import secrets
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 20.0

CONFIG = """
[node]
name = "test"
drain_s = 0
max_cpu = 0

[http]
listen = "127.0.0.1:{http}"

[webrtc]
listen = "0.0.0.0:{webrtc}"
include_loopback = true

[sip]
listen = ["udp:127.0.0.1:{sip}"]
allow = ["127.0.0.0/8"]

[rtp]
ports = "{rtp_first}-{rtp_last}"

[lab]
listen = ["udp:127.0.0.1:{lab}"]

[[trunk]]
name = "lab"
uri = "sip:127.0.0.1:{lab}"
allow_transfer = true
{lab_trunk}

[[agent]]
name = "echo"
protocol = "echo"

[[agent]]
name = "receptionist"
protocol = "script"
script = "{receptionist}"

{more}

[[route]]
from = ["browser", "sip", "api"]
match = "+*"
to = ["trunk:lab"]

[[route]]
from = "trunk:lab"
match = "+15550100"
to = ["trunk:lab"]

[[route]]
from = "trunk:lab"
match = "test"
to = ["agent:echo"]

[[route]]
from = ["browser", "sip", "api"]
match = "echo"
to = ["agent:echo"]

[[route]]
from = ["browser", "sip", "api"]
match = "receptionist"
to = ["agent:receptionist"]
"""


FREE_PORTS = range(10_100, 20_000)
"Below those that the kernel gives to sockets that ask for none: what is free here stays so."

# In steps: whoever is given a port may take the next one or two as well.
_next_port = itertools.count(secrets.randbelow(len(FREE_PORTS)), 37)


def free_port(kind: int = socket.SOCK_DGRAM) -> int:
    """A port of loopback that nobody has now."""
    for _ in FREE_PORTS:
        port = FREE_PORTS[next(_next_port) % len(FREE_PORTS)]
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                # As servers do: a connection that was closed lately does not keep the port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise AssertionError("no port of loopback is free")


def config_text(more: str = "", lab_trunk: str = "") -> tuple[str, dict[str, int]]:
    """The embedded default on free ports, as TOML, and the ports.

    Args:
        more: further sections.
        lab_trunk: further keys of the trunk to the lab.
    """
    rtp_first = free_port() // 2 * 2 + len(FREE_PORTS)
    ports = {name: free_port() for name in ("webrtc", "sip", "lab")}
    ports["http"] = free_port(socket.SOCK_STREAM)
    text = CONFIG.format(
        **ports,
        rtp_first=rtp_first,
        rtp_last=rtp_first + 999,
        receptionist=ROOT / "gateway/agents/receptionist/receptionist.toml",
        more=more,
        lab_trunk=lab_trunk,
    )
    return text, ports


class Gateway:
    """A running gateway."""

    def __init__(self, process: asyncio.subprocess.Process, ports: dict[str, int]) -> None:
        self.process = process
        self.ports = ports
        self.log: list[str] = []
        self.url = f"http://localhost:{ports['http']}"

    @property
    def sip_port(self) -> int:
        return self.ports["sip"]

    @property
    def pid(self) -> int:
        return self.process.pid

    async def get(self, path: str) -> Any:
        """The JSON at a path."""
        return json.loads(await asyncio.to_thread(self._fetch, "GET", path, None))

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON (None where there is none) of any request."""
        try:
            text = await asyncio.to_thread(self._fetch, method, path, body)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")
        return 200, json.loads(text) if text else None

    async def wait_for_calls(self, count: int, timeout_s: float = 10.0) -> None:
        """Until the gateway has so many calls."""
        async with asyncio.timeout(timeout_s):
            while len((await self.get("/v1/calls"))["calls"]) != count:
                await asyncio.sleep(0.05)

    def _fetch(self, method: str, path: str, body: Any) -> str:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as response:
            return str(response.read().decode())


@contextlib.asynccontextmanager
async def running_gateway(
    directory: Path,
    more: str = "",
    *,
    lab_trunk: str = "",
    edit: Callable[[str], str] = str,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Gateway]:
    """Start a gateway, and end it by SIGTERM; its log must hold no traceback.

    Args:
        more: further sections.
        lab_trunk: further keys of the trunk to the lab.
        edit: makes of the configuration the one that is used.
        environment: further variables of it.
    """
    text, ports = config_text(more, lab_trunk)
    config = directory / "gateway.toml"
    config.write_text(edit(text))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        "serve",
        "--config",
        str(config),
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    gateway = Gateway(process, ports)
    reader = asyncio.ensure_future(_read_log(gateway))
    try:
        await _wait_until_alive(gateway)
        yield gateway
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                process.kill()
                await process.wait()
        await reader
    text = "\n".join(gateway.log)
    assert "Traceback" not in text, text
    assert process.returncode == 0, text


async def _read_log(gateway: Gateway) -> None:
    assert gateway.process.stdout is not None
    async for line in gateway.process.stdout:
        gateway.log.append(line.decode(errors="replace").rstrip())


async def _wait_until_alive(gateway: Gateway) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            if gateway.process.returncode is not None:
                raise AssertionError("the gateway did not start:\n" + "\n".join(gateway.log))
            try:
                await gateway.get("/healthz")
            except OSError:
                await asyncio.sleep(0.05)
            else:
                return

"""HTTPS with the development certificates, and the notice where there is none."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import BrowserOptions, open_browser
from tests.support.gateway import ROOT, free_port

pytestmark = [pytest.mark.real, pytest.mark.beside]

CONFIG = """
[node]
drain_s = 0
max_cpu = 0

[http]
listen = "{host}:{port}"
token_env = "TEST_TOKEN"
{tls}

[webrtc]
listen = "127.0.0.1:{webrtc}"

[sip]
listen = ["udp:127.0.0.1:{sip}"]

[[agent]]
name = "echo"
protocol = "echo"

[[route]]
from = "browser"
match = "echo"
to = ["agent:echo"]
"""


@asynccontextmanager
async def serving(
    directory: Path, host: str, tls: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    port = free_port(socket.SOCK_STREAM)
    config = directory / "gateway.toml"
    config.write_text(
        CONFIG.format(host=host, port=port, tls=tls, webrtc=free_port(), sip=free_port())
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", "--config", str(config)),
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TEST_TOKEN": "s3cret"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def fetch(url: str, context: ssl.SSLContext | None) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": "Bearer s3cret"})
    with urllib.request.urlopen(request, timeout=5, context=context) as response:
        return json.loads(response.read())


async def fetch_when_up(url: str, context: ssl.SSLContext | None) -> Any:
    async with asyncio.timeout(20):
        while True:
            try:
                return await asyncio.to_thread(fetch, url, context)
            except ConnectionError:
                await asyncio.sleep(0.05)
            except urllib.error.URLError as error:
                if not isinstance(error.reason, ConnectionError):
                    raise
                await asyncio.sleep(0.05)


async def stop(process: asyncio.subprocess.Process) -> str:
    process.terminate()
    output, _ = await asyncio.wait_for(process.communicate(), 15)
    return output.decode()


async def test_made_certificate_serves_https_and_a_call(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "certs"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    making = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env=environment)
    assert await making.wait() == 0
    tls = 'certificate = "certs/server.pem"\nkey = "certs/server.key"'
    context = ssl.create_default_context(cafile=str(tmp_path / "certs/ca.pem"))

    async with serving(tmp_path, "0.0.0.0", tls) as (process, port):
        destinations = await fetch_when_up(f"https://localhost:{port}/v1/destinations", context)
        assert destinations["notice"] is None

        async with open_browser(BrowserOptions(hosts=(("gw.test", "127.0.0.1"),))) as browser:
            page = await (await browser.new_context(ignore_https_errors=True)).new_page()
            await page.goto(f"https://127.0.0.1:{port}/?to=echo#token=s3cret")
            await page.get_by_role("button", name="Call", exact=True).click()
            await page.wait_for_function("() => window.phone.state === 'in-call'", timeout=15_000)

        assert "https://" in await stop(process)
        assert process.returncode == 0
        assert (tmp_path / "certs/server.key").stat().st_mode & 0o077 == 0


async def test_page_beyond_localhost_without_https_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path, "0.0.0.0", "") as (process, port):
        destinations = await fetch_when_up(f"http://127.0.0.1:{port}/v1/destinations", None)

        assert "HTTPS" in destinations["notice"]
        assert "HTTPS" in await stop(process)

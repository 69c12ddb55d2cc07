"""SIGTERM while people, agents and programs are connected: the gateway goes, and says nothing."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, running_gateway

pytestmark = [pytest.mark.real, pytest.mark.beside]

MORE = """
[[user]]
name = "ann"
password_env = "PASSWORD"

[[agent]]
name = "helper"
protocol = "gateway"
token_env = "TOKEN"

[[route]]
from = "api"
match = "helper"
to = ["agent:helper"]
"""
SECRETS = {"PASSWORD": "a-password-of-a-phone", "TOKEN": "a-token-of-an-agent"}

UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{more}\r\n"
)
HALVES = {
    "nothing": b"",
    "half a head": b"GET /v1/calls HT",
    "half a body": b"POST /v1/calls HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
}
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(gateway: Gateway, said: bytes) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.ports["http"])
    writer.write(said)
    return reader, writer


async def upgraded(gateway: Gateway, path: str, more: str = "") -> Connection:
    """A WebSocket of somebody who will answer nothing, not even that it is closed."""
    key = base64.b64encode(bytes(16)).decode()
    head = UPGRADE.format(path=path, port=gateway.ports["http"], key=key, more=more)
    reader, writer = await connect(gateway, head.encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 101"), path
    return reader, writer


async def kept_alive(gateway: Gateway) -> Connection:
    """A connection that has been answered, and waits for the next request."""
    said = b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    reader, writer = await connect(gateway, said)
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    return reader, writer


async def sockets_of_all(gateway: Gateway) -> list[Connection]:
    """A WebSocket of every kind."""
    status, told = await gateway.request("POST", "/v1/expected-calls", {"to": "echo"})
    assert status == 200, told
    return [
        await upgraded(gateway, "/v1/events"),
        await upgraded(gateway, "/v1/signal"),
        await upgraded(gateway, "/v1/sip", "Sec-WebSocket-Protocol: sip\r\n"),
        await upgraded(
            gateway, "/v1/agents/helper", f"Authorization: Bearer {SECRETS['TOKEN']}\r\n"
        ),
        await upgraded(gateway, f"/media/{told['id']}"),
    ]


async def test_stop_closes_what_is_open_without_a_traceback(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, MORE, environment=SECRETS) as gateway:
        connections = await sockets_of_all(gateway)
        connections += [await connect(gateway, said) for said in HALVES.values()]
        connections.append(await kept_alive(gateway))
        await gateway.get("/healthz")

    for _, writer in connections:
        writer.close()

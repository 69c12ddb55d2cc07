"""SIGTERM: no new calls, those that go on may end by themselves (F20)."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support.gateway import Gateway, running_gateway
from tests.support.wire import SipSocket

pytestmark = [pytest.mark.real, pytest.mark.beside]

OPTIONS = (
    "OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bK{n}\r\n"
    "From: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: {n}\r\nCSeq: 1 OPTIONS\r\n"
    "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


async def ask(asker: SipSocket, gateway: Gateway, number: int) -> str:
    """The status that an OPTIONS gets."""
    asker.send(OPTIONS.format(port=asker.port, n=number), ("127.0.0.1", gateway.sip_port))
    return (await asker.receive_any()).label


async def until_unready(gateway: Gateway) -> str:
    """Why it takes no calls any more."""
    async with asyncio.timeout(5):
        while True:
            status, said = await gateway.request("GET", "/readyz")
            if status == 503:
                return str(said["text"])
            await asyncio.sleep(0.02)


def patient(config: str) -> str:
    """A gateway that waits for its calls."""
    return config.replace("drain_s = 0", "drain_s = 20")


async def test_f20_drain_takes_no_new_calls_and_lets_the_old_ones_end(tmp_path: Path) -> None:
    with SipSocket() as asker:
        async with running_gateway(tmp_path, edit=patient) as gateway:
            before = (await ask(asker, gateway, 1), await gateway.get("/readyz"))
            _, call = await gateway.request(
                "POST", "/v1/calls", {"from": "agent:echo", "to": "+15550100"}
            )
            await gateway.wait_for_calls(1)
            gateway.process.send_signal(signal.SIGTERM)
            why = await until_unready(gateway)
            alive = (await gateway.get("/healthz"))["status"]
            during = await ask(asker, gateway, 2)
            refused, _ = await gateway.request(
                "POST", "/v1/calls", {"from": "agent:echo", "to": "+15550100"}
            )
            goes_on = len((await gateway.get("/v1/calls"))["calls"])
            await gateway.request("DELETE", f"/v1/calls/{call['id']}")
            status = await asyncio.wait_for(gateway.process.wait(), 10)

    assert (before[0], before[1]["status"]) == ("200", "ready")
    assert (why, alive, during, refused) == ("the gateway stops", "ok", "503", 503)
    assert goes_on == 1
    assert status == 0

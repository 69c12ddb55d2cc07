"""A browser that reaches the gateway through coturn alone, by credentials of the gateway's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from gateway.private import Secret
from gateway.webrtc.turn import TurnCredentials, TurnOptions, make_credentials
from tests.support.audio import record_page
from tests.support.browser import open_page
from tests.support.gateway import Gateway, running_gateway
from tests.support.turn import TurnServer, own_address, running_turn

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

SECRET = "a-secret-of-gateway-and-coturn"

SELECTED = """async () => {
  const report = await phone.pc.getStats();
  const all = [...report.values()];
  const pair = report.get(all.find((each) => each.type === "transport").selectedCandidatePairId);
  const [local, remote] = [pair.localCandidateId, pair.remoteCandidateId];
  const { candidateType, relayProtocol } = report.get(local);
  return [candidateType, relayProtocol, report.get(remote).address];
}"""

ONLY = """
  const Connection = RTCPeerConnection;
  window.RTCPeerConnection = function (options) {
    for (const server of options.iceServers) {
      server.urls = server.urls.filter((url) => url.endsWith("=TRANSPORT"));
    }
    return new Connection(options);
  };
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def turn(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TurnServer]:
    async with running_turn(tmp_path_factory.mktemp("turn"), SECRET) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gateway(
    turn: TurnServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    urls = f'["{turn.url("udp")}", "{turn.url("tcp")}"]'
    more = f'[webrtc]\nturn = {urls}\nturn_secret_env = "TURN_SECRET"'
    async with running_gateway(
        tmp_path_factory.mktemp("gateway"),
        edit=lambda text: text.replace("[webrtc]", more),
        environment={"TURN_SECRET": SECRET},
    ) as running:
        yield running


async def credentials_of(gateway: Gateway) -> TurnCredentials:
    told = await gateway.get("/v1/ice-servers")
    (server,) = told["ice_servers"]
    assert told["ttl_s"] == 3600
    return TurnCredentials(server["username"], server["credential"])


@pytest.mark.parametrize(
    "peer", ["127.0.0.1", "0.0.0.0", "169.254.169.254", "10.0.0.1", "192.168.1.1", "198.51.100.1"]
)
async def test_a6_nothing_but_the_gateway_is_reached_through_coturn(
    turn: TurnServer, gateway: Gateway, peer: str
) -> None:
    said = await turn.ask(peer, await credentials_of(gateway))

    assert "403" in said, said


async def test_a6_gateway_is_reached_through_coturn(turn: TurnServer, gateway: Gateway) -> None:
    said = await turn.ask(own_address(), await credentials_of(gateway))

    assert "success: 0x" in said


async def test_a6_credentials_run_out(turn: TurnServer) -> None:
    options = TurnOptions((turn.url("udp"),), Secret(SECRET))
    old = make_credentials(options, "somebody", time.time() - 3601)

    said = await turn.ask(own_address(), old)

    assert "Cannot complete Allocation" in said
    assert "relay addr" not in said


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_page_calls_through_coturn_alone(
    gateway: Gateway, browser: Browser, transport: str
) -> None:
    url = f"{gateway.url}/?to=%2B15550100&processing=off&relay=on"

    async with open_page(browser, "about:blank") as page:
        await page.add_init_script(ONLY.replace("TRANSPORT", transport))
        await page.goto(url)
        await page.get_by_role("button", name="Call", exact=True).click()
        await page.wait_for_function(
            "() => phone.state === 'in-call' && phone.pc.connectionState === 'connected'"
        )
        selected = await page.evaluate(SELECTED)
        _, heard = await record_page(page, 2)
        await page.get_by_role("button", name="Hang up").click()

    assert selected == ["relay", transport, own_address()]
    assert heard.part(1, 2).peak_hz == pytest.approx(440, rel=0.01)
    await gateway.wait_for_calls(0)

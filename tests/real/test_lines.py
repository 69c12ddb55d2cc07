"""PBXs that hand us calls, and agents that dial us, over real sockets of a gateway as it is run."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from gateway.agents.protocol import call_token
from gateway.media.tone import dtmf_of, tone_level_dbfs
from tests.media.sound import Pcm, tone
from tests.support.gateway import Gateway, free_port, running_gateway
from tests.support.pbx import audiosocket_call, websocket_call

pytestmark = [
    pytest.mark.real,
    pytest.mark.calm,
    pytest.mark.asyncio(loop_scope="module"),
]

PASSWORD = "Basic " + base64.b64encode(b"pbx:secret").decode()

MORE = """
[audiosocket]
listen = ["127.0.0.1:{audiosocket}"]
to = "echo"

[asterisk]
calls = {{ help = "echo", keys = "keys", nowhere = "nowhere" }}
username = "pbx"
password_env = "PBX"

[[agent]]
name = "keys"
protocol = "script"
step = [{{ answer = true }}, {{ echo_digits = inf }}]

[[agent]]
name = "helper"
protocol = "gateway"
token_env = "HELPER"

[[agent]]
name = "app"
protocol = "asterisk"

[[route]]
from = ["audiosocket", "asterisk", "api"]
match = "echo"
to = ["agent:echo"]

[[route]]
from = ["audiosocket", "asterisk", "api"]
match = "keys"
to = ["agent:keys"]

[[route]]
from = ["audiosocket", "asterisk", "api"]
match = "helper"
to = ["agent:helper"]

[[route]]
from = ["audiosocket", "asterisk", "api"]
match = "app"
to = ["agent:app"]

[[route]]
from = ["audiosocket", "asterisk"]
match = "+*"
to = ["trunk:lab"]

[[route]]
from = "agent:helper"
match = "echo"
to = ["agent:echo"]
"""


class Site:
    """A gateway, and where PBXs and agents find it."""

    def __init__(self, gateway: Gateway, audiosocket: int) -> None:
        self.gateway = gateway
        self.audiosocket = audiosocket
        self.ws = f"ws://127.0.0.1:{gateway.ports['http']}"

    async def expect(self, to: str, **more: Any) -> str:
        """Tell of a call; its UUID."""
        status, told = await self.gateway.request("POST", "/v1/expected-calls", {"to": to, **more})
        assert status == 200, told
        return str(told["id"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    port = free_port(socket.SOCK_STREAM)
    async with running_gateway(
        tmp_path_factory.mktemp("lines"),
        MORE.format(audiosocket=port),
        environment={"PBX": "secret", "HELPER": "token"},
    ) as gateway:
        yield Site(gateway, port)


def level(pcm: Pcm, rate: int, hz: float) -> float:
    """Of the last half second."""
    return tone_level_dbfs(pcm[-rate // 2 :], rate, hz)


def is_loud(pcm: Pcm) -> bool:
    return bool(np.any(np.abs(pcm.astype(np.int32)) > 1000))


# ---- AudioSocket


@pytest.mark.parametrize("rate", [8000, 16_000])
async def test_call_over_audiosocket_is_heard_both_ways(site: Site, rate: int) -> None:
    async with audiosocket_call(site.audiosocket, rate=rate) as channel:
        await channel.speak(tone(1000, 1.1, rate))

        assert level(channel.heard, rate, 1000) == pytest.approx(-10, abs=2)
        assert await site.gateway.get("/v1/calls") != {"calls": []}
        await channel.hang_up()
    await site.gateway.wait_for_calls(0)


async def test_call_that_was_told_of_goes_over_a_trunk_and_is_hung_up_by_us(site: Site) -> None:
    id_ = await site.expect("+15550100", **{"from": "+15550199"})

    async with audiosocket_call(site.audiosocket, id_) as channel:
        await channel.speak(tone(1000, 1.1, 8000))
        heard = channel.heard
        (call,) = (await site.gateway.get("/v1/calls"))["calls"]
        await site.gateway.request("DELETE", f"/v1/calls/{call['id']}")
        await asyncio.wait_for(channel.ended.wait(), 5)

    assert channel.told == ["hang-up"]
    assert (call["from"], call["to"]) == ("+15550199", "+15550100")
    assert level(heard, 8000, 1000) == pytest.approx(-10, abs=2)
    await site.gateway.wait_for_calls(0)


async def test_line_hears_that_it_rings(site: Site) -> None:
    id_ = await site.expect("+15550109")  # rings for ever

    async with audiosocket_call(site.audiosocket, id_) as channel:
        await channel.until(lambda: is_loud(channel.heard))
        await channel.speak(np.zeros(4800, np.int16))

        assert level(channel.heard, 8000, 425) == pytest.approx(-18, abs=2)
        await channel.hang_up()
    await site.gateway.wait_for_calls(0)


async def test_keys_over_audiosocket_come_back_as_sound(site: Site) -> None:
    id_ = await site.expect("keys")

    async with audiosocket_call(site.audiosocket, id_) as channel:
        await channel.speak(np.zeros(4000, np.int16))
        channel.forget()
        await channel.press("7")
        await channel.until(lambda: is_loud(channel.heard))
        await channel.speak(np.zeros(1600, np.int16))
        heard = channel.heard
        await channel.hang_up()

    start = int(np.flatnonzero(np.abs(heard.astype(np.int32)) > 500)[0])
    assert dtmf_of(heard[start + 80 : start + 640], 8000) == "7"
    await site.gateway.wait_for_calls(0)


async def test_call_that_leads_nowhere_is_hung_up(site: Site) -> None:
    id_ = await site.expect("nobody")

    async with audiosocket_call(site.audiosocket, id_) as channel:
        await asyncio.wait_for(channel.ended.wait(), 5)

    assert channel.told == ["hang-up"]


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"to": ""},
        {"to": "x" * 129},
        {"to": "echo", "id": "7"},
        {"to": "echo", "from": "a b"},
        {"to": "echo", "expires_s": 601},
        {"to": "echo", "attributes": {"a": "1\r\nX-Evil: 1"}},
        {"to": "echo", "attributes": {"X-Evil: 1\u2028": "1"}},
        {"to": "echo", "attributes": {str(n): "1" for n in range(33)}},
        {"to": "echo", "other": 1},
    ],
)
async def test_a15_expected_call_has_nothing_in_it_that_breaks_a_line(
    site: Site, wish: dict[str, Any]
) -> None:
    status, told = await site.gateway.request("POST", "/v1/expected-calls", wish)

    assert (status, told["code"]) == (400, "bad-request")


async def test_expected_call_comes_once(site: Site) -> None:
    id_ = await site.expect("nobody")
    for wanted in (["hang-up"], []):
        async with audiosocket_call(site.audiosocket, id_) as channel:
            await channel.speak(tone(1000, 0.2, 8000))

            assert channel.told == wanted  # the second is as one that nobody told of: an echo
    await site.gateway.wait_for_calls(0)


async def test_line_on_hold_hears_music(site: Site) -> None:
    async with audiosocket_call(site.audiosocket) as channel:
        await channel.speak(np.zeros(1600, np.int16))
        (call,) = (await site.gateway.get("/v1/calls"))["calls"]
        channel.forget()
        await site.gateway.request("POST", f"/v1/calls/{call['id']}/hold", {})

        await channel.until(lambda: is_loud(channel.heard))

        await channel.hang_up()
    assert call["legs"][0]["kind"] == "line"
    await site.gateway.wait_for_calls(0)


async def test_connection_that_drops_ends_the_call(site: Site) -> None:
    async with audiosocket_call(site.audiosocket) as channel:
        await channel.speak(np.zeros(1600, np.int16))
        await site.gateway.wait_for_calls(1)

        channel.drop()

        await site.gateway.wait_for_calls(0, timeout_s=2)


async def test_a_browser_at_the_port_is_let_go(site: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", site.audiosocket)
    writer.write(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n" + bytes(20_000))

    answer = await asyncio.wait_for(reader.read(), 7)
    writer.close()

    assert answer in (b"\x00\x00\x00", b"")


# ---- chan_websocket: an Asterisk hands us a call


@pytest.mark.parametrize(("codec", "is_json"), [("ulaw", False), ("slin16", True)])
async def test_call_over_chan_websocket_is_answered_and_heard_both_ways(
    site: Site, codec: str, is_json: bool
) -> None:
    async with websocket_call(
        f"{site.ws}/media/help?from=+15550111", codec=codec, is_json=is_json, authorization=PASSWORD
    ) as channel:
        await asyncio.wait_for(channel.is_answered.wait(), 5)
        await channel.speak(tone(1000, 1.1, channel.rate))

        assert level(channel.heard, channel.rate, 1000) == pytest.approx(-10, abs=2)
        await channel.hang_up()
    await site.gateway.wait_for_calls(0)


async def test_expected_call_comes_over_chan_websocket_too(site: Site) -> None:
    id_ = await site.expect("keys")

    async with websocket_call(f"{site.ws}/media/{id_}", authorization=PASSWORD) as channel:
        await asyncio.wait_for(channel.is_answered.wait(), 5)
        await channel.press("#")
        await channel.until(lambda: is_loud(channel.heard))
        await channel.hang_up()
    await site.gateway.wait_for_calls(0)


async def test_call_over_chan_websocket_that_leads_nowhere_is_hung_up(site: Site) -> None:
    async with websocket_call(f"{site.ws}/media/nowhere", authorization=PASSWORD) as channel:
        await asyncio.wait_for(channel.ended.wait(), 5)

    assert channel.told == ["HANGUP"]


@pytest.mark.parametrize(
    ("id_", "authorization", "status"),
    [
        ("help", None, 401),
        ("help", "Basic " + base64.b64encode(b"pbx:wrong").decode(), 401),
        ("help", "Basic ***", 401),
        ("unknown", PASSWORD, 404),
        ("unknown", None, 401),
    ],
)
async def test_a19_nobody_brings_calls_without_the_password(
    site: Site, id_: str, authorization: str | None, status: int
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}

    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{site.ws}/media/{id_}", additional_headers=headers)

    assert refused.value.response.status_code == status


@pytest.mark.parametrize("path", ["/media/help", "/v1/agents/helper"])
async def test_a19_no_page_of_another_site_opens_a_door(site: Site, path: str) -> None:
    headers = {"Authorization": PASSWORD, "Origin": "https://evil.example"}

    with pytest.raises(InvalidStatus) as refused:
        await connect(site.ws + path, additional_headers=headers)

    assert refused.value.response.status_code == 403


# ---- our own protocol: an agent dials us


class Helper:
    """An agent that has dialled us: says what it hears."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []
        self.started = asyncio.Event()
        self._heard: list[bytes] = []

    @property
    def heard(self) -> Pcm:
        return np.frombuffer(b"".join(self._heard), "<i2").astype(np.int16)

    @property
    def start(self) -> dict[str, Any]:
        return next(told for told in self.told if told["type"] == "start")

    async def run(self) -> None:
        async for message in self.socket:
            if isinstance(message, bytes):
                self._heard.append(message)
                await self.socket.send(message)
                continue
            self.told.append(json.loads(message))
            if self.told[-1]["type"] == "start":
                await self.socket.send('{"type":"ready"}')
                self.started.set()


@asynccontextmanager
async def helper(site: Site) -> AsyncIterator[Helper]:
    async with connect(
        f"{site.ws}/v1/agents/helper",
        subprotocols=[Subprotocol("gateway-agent.v1")],
        additional_headers={"Authorization": "Bearer token"},
    ) as opened:
        made = Helper(opened)
        running = asyncio.ensure_future(made.run())
        try:
            yield made
        finally:
            await opened.close()
            await asyncio.gather(running, return_exceptions=True)


async def test_agent_that_dials_us_gets_the_calls_that_come(site: Site) -> None:
    async with helper(site) as agent:
        id_ = await site.expect("helper", **{"from": "+15550123"}, attributes={"ticket": "7"})
        async with audiosocket_call(site.audiosocket, id_) as channel:
            await channel.speak(tone(1000, 1.1, 8000))
            heard = channel.heard
            await channel.hang_up()
        await asyncio.wait_for(agent.socket.wait_closed(), 5)

    call = agent.start["call"]
    assert (call["caller"], call["called"], call["direction"]) == ("+15550123", "helper", "inbound")
    assert call["attributes"] == {"ticket": "7", "id": uuid.UUID(id_).hex}
    assert level(agent.heard, 16_000, 1000) == pytest.approx(-10, abs=2)
    assert level(heard, 8000, 1000) == pytest.approx(-10, abs=2)
    await site.gateway.wait_for_calls(0)


async def test_connections_of_an_agent_share_its_calls(site: Site) -> None:
    async with helper(site) as first, helper(site) as second:
        one, two = await site.expect("helper"), await site.expect("helper")
        async with audiosocket_call(site.audiosocket, one):
            await asyncio.wait_for(first.started.wait(), 5)
            assert not second.started.is_set()
            async with audiosocket_call(site.audiosocket, two):
                await asyncio.wait_for(second.started.wait(), 5)

    assert first.start["call"]["id"] != second.start["call"]["id"]
    await site.gateway.wait_for_calls(0)


async def test_f18_call_goes_on_with_another_connection_of_an_agent_that_is_lost(
    site: Site,
) -> None:
    async with helper(site) as first, helper(site) as second:
        id_ = await site.expect("helper")
        async with audiosocket_call(site.audiosocket, id_) as channel:
            await asyncio.wait_for(first.started.wait(), 5)
            first.socket.transport.abort()
            await channel.until(second.started.is_set)
            await channel.hang_up()

    assert second.start["call"]["id"] == first.start["call"]["id"]
    assert (first.start["stream"], second.start["stream"]) == (0, 1)
    await site.gateway.wait_for_calls(0)


async def test_call_waits_for_an_agent_that_comes_soon(site: Site) -> None:
    id_ = await site.expect("helper")
    async with audiosocket_call(site.audiosocket, id_) as channel:
        await channel.speak(np.zeros(4000, np.int16))
        async with helper(site) as agent:
            await asyncio.wait_for(agent.started.wait(), 5)
            await channel.hang_up()
    await site.gateway.wait_for_calls(0)


async def test_agent_that_dials_us_hands_us_a_call(site: Site) -> None:
    async with helper(site) as agent:
        await agent.socket.send('{"type":"call","to":"nobody"}')
        await agent.socket.send('{"type":"call","to":"+15550100"}')
        await agent.socket.send('{"type":"call","to":"echo"}')
        await asyncio.wait_for(agent.started.wait(), 5)
        await agent.socket.send(tone(700, 1.0, 16_000).astype("<i2").tobytes())
        async with asyncio.timeout(5):
            while len(agent.heard) < 16_000:
                await asyncio.sleep(0.05)

    assert [told.get("status") for told in agent.told if told["type"] == "refused"] == [404, 404]
    assert agent.start["call"]["direction"] == "outbound"
    assert agent.start["call"]["called"] == "echo"
    loud = agent.heard[np.abs(agent.heard.astype(np.int32)) > 500]
    assert len(loud) > 4000
    await site.gateway.wait_for_calls(0)


@pytest.mark.parametrize(
    ("name", "authorization"),
    [("helper", None), ("helper", "Bearer wrong"), ("nobody", "Bearer token"), ("app", "Bearer ")],
)
async def test_a20_nobody_attends_calls_without_the_agents_token(
    site: Site, name: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}

    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{site.ws}/v1/agents/{name}", additional_headers=headers)

    assert refused.value.response.status_code == 401


async def test_agent_that_floods_while_it_waits_is_let_go(site: Site) -> None:
    async with helper(site) as agent:
        for _ in range(101):
            await agent.socket.send("{}")

        await asyncio.wait_for(agent.socket.wait_closed(), 5)

    assert agent.socket.close_code == 1002


# ---- chan_websocket: an agent dials in at the connection id of a call


async def test_agent_of_an_asterisk_attends_a_call_at_its_connection_id(site: Site) -> None:
    id_ = await site.expect("app")
    async with (
        connect(f"{site.ws}/v1/events") as events,
        audiosocket_call(site.audiosocket, id_) as channel,
    ):
        connection_id = await _connection_id(events)
        async with connect(
            f"{site.ws}/media/{connection_id}", subprotocols=[Subprotocol("media")]
        ) as app:
            start = await asyncio.wait_for(app.recv(), 5)
            assert isinstance(start, str)
            assert start.startswith(f"MEDIA_START connection_id:{connection_id} ")
            (call,) = (await site.gateway.get("/v1/calls"))["calls"]
            # Many are told the call's id: where its agent may come must not follow from it.
            assert connection_id.replace("-", "") != call_token(call["id"])
            echoing = asyncio.ensure_future(_echo(app))
            await channel.speak(tone(1000, 1.1, 8000))
            heard = channel.heard
            await app.send("HANGUP")
            await channel.until(channel.ended.is_set)
            echoing.cancel()

    assert level(heard, 8000, 1000) == pytest.approx(-10, abs=2)
    await site.gateway.wait_for_calls(0)


async def _connection_id(events: ClientConnection) -> str:
    async with asyncio.timeout(5):
        async for message in events:
            event = json.loads(message)
            if event.get("type") == "leg.noted" and event["kind"] == "waiting":
                return str(event["data"]["connection_id"])
    raise AssertionError("nobody waits")


async def _echo(app: ClientConnection) -> None:
    async for message in app:
        if isinstance(message, bytes):
            await app.send(message)


async def test_gateway_that_stops_ends_lines_and_lets_waiting_agents_go(
    tmp_path: Path,
) -> None:
    port = free_port(socket.SOCK_STREAM)
    environment = {"PBX": "secret", "HELPER": "token"}
    async with running_gateway(
        tmp_path, MORE.format(audiosocket=port), environment=environment
    ) as gateway:
        site = Site(gateway, port)
        async with helper(site) as agent, audiosocket_call(port) as channel:
            await channel.speak(np.zeros(800, np.int16))
            gateway.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(agent.socket.wait_closed(), 10)
            await asyncio.wait_for(channel.ended.wait(), 10)
            await gateway.process.wait()

    assert agent.socket.close_code == 1001
    assert channel.told == ["hang-up"]

"""Kamailio in front of the gateway, as carriers have it: over TLS and TCP, with recorded routes.

What is behind it, and before us, are telephones; who is heard is told by the tone they say.
"""

from __future__ import annotations

import asyncio
import datetime
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from gateway.net.certificates import make_development_certificates
from tests.real.test_baresip import assert_tone
from tests.support.baresip import NUMBER, Baresip, free_sip_port, running_baresip
from tests.support.certificates import Authority, Pair
from tests.support.dnsmasq import running_dnsmasq
from tests.support.gateway import Gateway, free_port, running_gateway
from tests.support.kamailio import Kamailio, KamailioOptions, running_kamailio
from tests.support.softphone import Says, open_softphone

# One gateway behind one Kamailio for the whole file.
pytestmark = [pytest.mark.real, pytest.mark.calm, pytest.mark.asyncio(loop_scope="session")]

DOMAIN = "edge.test"
"Whose certificate Kamailio has; its port is in the DNS alone."

TRUNKS = """
[[trunk]]
name = "tls"
uri = "sip:edge.test;transport=tls"
username = "gateway"
password_env = "TRUNK_PASSWORD"
register = true

[[trunk]]
name = "sips"
uri = "sips:edge.test"

[[trunk]]
name = "tcp"
uri = "sip:127.0.0.1:{udp};transport=tcp"

[[trunk]]
name = "other"
uri = "sip:edge.test:{other};transport=tls"

[[trunk]]
name = "selfsigned"
uri = "sip:edge.test:{self_signed};transport=tls"

[[route]]
from = "trunk:tls"
match = "gateway"
to = ["agent:echo"]
""" + "".join(
    f"""
[[route]]
from = ["sip", "api"]
match = "{match}"
to = ["trunk:{trunk}"]
"""
    for match, trunk in (
        ("+1201*", "tls"),
        ("+1202*", "sips"),
        ("+1203*", "tcp"),
        ("+1301*", "other"),
        ("+1302*", "selfsigned"),
    )
)

NUMBERS = {"tls": "+12015550100", "sips": "+12025550100", "tcp": "+12035550100"}
"What is reached by way of each trunk."


@dataclass
class Ports:
    """Who listens where, on loopback."""

    udp: int
    "Kamailio's, for TCP too."
    tls: int
    websocket: int
    other: int
    "Kamailio's, with a certificate for another domain."
    self_signed: int
    peer: int
    "Whom Kamailio sends the gateway's calls to."
    gateway: int
    "For UDP and TCP."
    gateway_tls: int


@dataclass
class Site:
    """The gateway, Kamailio, and room for telephones."""

    directory: Path
    gateway: Gateway
    kamailio: Kamailio
    ports: Ports
    telephones: int = 0

    @asynccontextmanager
    async def telephone(
        self, says_hz: float, *, port: int | None = None, number: str = NUMBER
    ) -> AsyncIterator[Baresip]:
        self.telephones += 1
        directory = self.directory / f"telephone{self.telephones}"
        async with running_baresip(
            directory, port=port, says_hz=says_hz, number=number
        ) as telephone:
            yield telephone

    @asynccontextmanager
    async def call_out(self, trunk: str) -> AsyncIterator[tuple[Baresip, Baresip]]:
        """A call between telephones, of which one is behind Kamailio: who calls, who is called."""
        async with (
            self.telephone(440) as caller,
            self.telephone(700, port=self.ports.peer, number=NUMBERS[trunk]) as callee,
        ):
            await caller.press("dial", f"sip:{NUMBERS[trunk]}@127.0.0.1:{self.ports.gateway}")
            await asyncio.gather(*(each.wait_for_log("established") for each in (caller, callee)))
            yield caller, callee

    @asynccontextmanager
    async def reached_over(self, transport: str, directory: Path) -> AsyncIterator[Kamailio]:
        """A Kamailio that passes calls on to the gateway over a transport."""
        if transport == "tls":
            yield self.kamailio
            return
        options = replace(
            self.kamailio.options,
            udp=free_sip_port(),
            tls=free_port(socket.SOCK_STREAM),
            websocket=free_port(socket.SOCK_STREAM),
            gateway=f"sip:127.0.0.1:{self.ports.gateway};transport={transport}",
            gateway_speaks=(transport,),
            others={},
        )
        async with running_kamailio(directory / "kamailio", options) as kamailio:
            yield kamailio

    async def hang_up(self) -> None:
        """Have the gateway end the only call."""
        (call,) = (await self.gateway.get("/v1/calls"))["calls"]
        assert (await self.gateway.request("DELETE", f"/v1/calls/{call['id']}"))[0] == 200

    async def outcome_of_call(
        self, number: str, *, pause_s: float = 0.0, hang_up: bool = False
    ) -> str:
        """Have the echo call a number: why that ended, and a pause after it."""
        body = {"from": "echo", "to": number}
        status, call = await self.gateway.request("POST", "/v1/calls", body)
        assert status == 200, call
        async with asyncio.timeout(10):
            while (told := await self.gateway.get(f"/v1/calls/{call['id']}"))["outcome"] is None:
                if hang_up and told["state"] == "up":
                    await self.hang_up()
                await asyncio.sleep(0.02)
        await asyncio.sleep(pause_s)
        return str(told["outcome"]["reason"])

    async def over(self, *telephones: Baresip) -> None:
        """Until nobody is in a call."""
        for each in telephones:
            await each.wait_for_log("audio: destroyed")
        await self.gateway.wait_for_calls(0)

    async def trunk(self, name: str) -> dict[str, Any]:
        """How a trunk is, as the API tells it."""
        trunks = (await self.gateway.get("/v1/trunks"))["trunks"]
        (found,) = (trunk for trunk in trunks if trunk["name"] == name)
        return dict(found)

    async def wait_for_trunk(self, name: str, state: str) -> dict[str, Any]:
        async with asyncio.timeout(15):
            while (trunk := await self.trunk(name))["state"] != state:
                await asyncio.sleep(0.05)
        return trunk


def free_ports() -> Ports:
    tcp = [free_port(socket.SOCK_STREAM) for _ in range(5)]
    udp, peer, gateway = (free_sip_port() for _ in range(3))
    return Ports(udp, tcp[0], tcp[1], tcp[2], tcp[3], peer, gateway, tcp[4])


def issue(directory: Path, names: Sequence[str]) -> tuple[Pair, Path]:
    """A certificate of the development CA, and the CA."""
    now = datetime.datetime.now(datetime.UTC)
    ca, certificate, key = make_development_certificates(directory, names, now)
    pair = Pair(directory / f"{names[0]}.pem", directory / f"{names[0]}.key")
    certificate.rename(pair.certificate)
    key.rename(pair.key)
    return pair, ca


def environment(pair: Pair, ca: Path, ports: Ports, nameserver: tuple[str, int]) -> dict[str, str]:
    """What the gateway's configuration says otherwise."""
    secure = f"tls:127.0.0.1:{ports.gateway_tls}"
    plain = f"127.0.0.1:{ports.gateway}"
    return {
        "TRUNK_PASSWORD": "secret",
        "GATEWAY_SIP_LISTEN": f"udp:{plain},tcp:{plain},{secure}",
        "GATEWAY_SIP_VERIFY_CLIENT": secure,
        "GATEWAY_SIP_CERTIFICATE": str(pair.certificate),
        "GATEWAY_SIP_KEY": str(pair.key),
        "GATEWAY_SIP_CA": str(ca),
        "GATEWAY_SIP_NAMESERVERS": "{}:{}".format(*nameserver),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    directory, ports = tmp_path_factory.mktemp("site"), free_ports()
    ours, _ = issue(directory / "ca", ["gateway.test"])
    theirs, ca = issue(directory / "ca", [DOMAIN, "127.0.0.1"])
    options = KamailioOptions(
        udp=ports.udp,
        tls=ports.tls,
        websocket=ports.websocket,
        gateway=f"sip:127.0.0.1:{ports.gateway_tls};transport=tls",
        peer=f"sip:127.0.0.1:{ports.peer}",
        pair=theirs,
        ca=ca,
        gateway_speaks=("tls", "tcp"),
        others={
            ports.other: issue(directory / "ca", ["other.test"])[0],
            ports.self_signed: Authority(directory).issue(DOMAIN, is_self_signed=True),
        },
    )
    zone = [
        f"srv-host=_sips._tcp.{DOMAIN},host.{DOMAIN},{ports.tls},1,1",
        f"host-record=host.{DOMAIN},127.0.0.1",
        f"host-record={DOMAIN},127.0.0.1",
    ]
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        nameserver = await enter(running_dnsmasq(directory, zone))
        kamailio = await enter(running_kamailio(directory / "kamailio", options))
        more = TRUNKS.format(udp=ports.udp, other=ports.other, self_signed=ports.self_signed)
        told = environment(ours, ca, ports, nameserver.server)
        gateway = await enter(running_gateway(directory, more, environment=told))
        yield Site(directory, gateway, kamailio, ports)


# ---- calls, either way


@pytest.mark.parametrize(
    ("trunk", "who", "way"),
    [
        ("tls", "callee", "BYE from udp"),
        ("tls", "caller", "BYE from tls"),
        ("sips", "caller", "BYE from tls"),
        ("tcp", "callee", "BYE from udp"),
        ("tcp", "caller", "BYE from tcp"),
    ],
)
async def test_call_through_kamailio_is_heard_and_ended_at_both_ends(
    site: Site, trunk: str, who: str, way: str
) -> None:
    async with site.kamailio.says(f"follow {way}"), site.call_out(trunk) as (caller, callee):
        await asyncio.sleep(0.3)
        heard = await asyncio.gather(callee.listen(0.5), caller.listen(0.5))
        await (caller if who == "caller" else callee).press("hangup")
        await site.over(caller, callee)

    assert_tone(heard[0], 440, -12, within_db=3)
    assert_tone(heard[1], 700, -12, within_db=3)


@pytest.mark.parametrize("who", ["caller", "callee"])
@pytest.mark.parametrize("transport", ["tls", "tcp"])
async def test_call_from_behind_kamailio_hears_the_echo(
    site: Site, tmp_path: Path, transport: str, who: str
) -> None:
    way = "BYE from udp" if who == "caller" else f"BYE from {transport}"
    async with (
        site.reached_over(transport, tmp_path) as kamailio,
        kamailio.says(f"follow {way}"),
        site.telephone(620) as telephone,
    ):
        await telephone.press("dial", f"sip:echo@127.0.0.1:{kamailio.options.udp}")
        await telephone.wait_for_log("established")
        await asyncio.sleep(0.5)
        heard = await telephone.listen(0.5)
        if who == "caller":
            await telephone.press("hangup")
        else:
            await site.hang_up()
        await site.over(telephone)

    assert_tone(heard, 620, -12, within_db=3)


# ---- Kamailio comes and goes


async def test_trunk_goes_down_and_comes_up_with_kamailio(site: Site) -> None:
    assert (await site.wait_for_trunk("tls", "up"))["registrations"][0]["registered"]
    number = NUMBERS["tls"]
    registered = site.kamailio.said("register gateway from tls")

    await site.kamailio.stop()
    outcomes = [await site.outcome_of_call(number, pause_s=1.05) for _ in range(3)]
    down = await site.trunk("tls")
    await site.kamailio.start()
    async with site.telephone(700, port=site.ports.peer, number=number):
        outcomes += [await site.outcome_of_call(number, hang_up=True) for _ in range(2)]
    up = await site.trunk("tls")
    await site.kamailio.wait_for("register gateway from tls", registered + 1)
    async with site.telephone(620) as telephone:
        await telephone.press("dial", f"sip:gateway@127.0.0.1:{site.ports.udp}")
        await telephone.wait_for_log("established")
        await telephone.press("hangup")
        await site.over(telephone)

    assert outcomes == ["unreachable"] * 3 + ["hangup"] * 2
    assert (down["state"], down["reason"]) == ("down", "unreachable")
    assert up["state"] == "up"


@pytest.mark.parametrize(
    ("trunk", "who", "way"),
    [
        ("tls", "gateway", "BYE from tls"),
        ("tls", "callee", "BYE from udp"),
        ("tcp", "gateway", "BYE from tcp"),
    ],
)
async def test_call_outlives_kamailio(site: Site, trunk: str, who: str, way: str) -> None:
    async with site.kamailio.says(f"follow {way}"), site.call_out(trunk) as (caller, callee):
        await site.kamailio.stop()
        await site.kamailio.start()
        heard = await callee.listen(0.5)
        if who == "callee":
            await callee.press("hangup")
        else:
            await site.hang_up()
        await site.over(caller, callee)

    assert_tone(heard, 440, -12, within_db=3)


# ---- softphones in browsers, of which only Kamailio knows


@pytest.mark.parametrize(("transport", "who"), [("tls", "phone"), ("udp", "gateway")])
async def test_softphone_behind_kamailio_hears_the_echo(
    site: Site, browser: Browser, tmp_path: Path, transport: str, who: str
) -> None:
    way = "BYE from ws" if who == "phone" else f"BYE from {transport}"
    async with (
        site.reached_over(transport, tmp_path) as kamailio,
        kamailio.says(f"follow {way}"),
        open_softphone(browser, site.gateway, "jssip") as phone,
    ):
        await phone.renew(Says(620))
        await phone.connect(f"ws://127.0.0.1:{kamailio.options.websocket}")
        await phone.dial("echo")
        await phone.wait_for("up")
        heard, security = await phone.hear(), await phone.security()
        if who == "phone":
            await phone.do("hangUp")
        else:
            await site.hang_up()
        await phone.wait_for("ended")
        await site.gateway.wait_for_calls(0)

    assert heard.peak_hz == pytest.approx(620, rel=0.01)
    assert heard.level_dbfs > -20
    assert security["state"] == "connected"


# ---- who it is not


@pytest.mark.parametrize(
    ("trunk", "number", "why"),
    [
        ("other", "+13015550100", "certificate is for other.test, not for edge.test"),
        ("selfsigned", "+13025550100", "certificate refused: self-signed certificate"),
    ],
)
async def test_a35_wrong_certificate_is_not_called(
    site: Site, trunk: str, number: str, why: str
) -> None:
    invites = site.kamailio.said("relay INVITE from tls")

    outcome = await site.outcome_of_call(number)

    found = await site.wait_for_trunk(trunk, "down")
    assert outcome == "unreachable"
    assert found["reason"] == "unreachable"
    assert site.kamailio.said("relay INVITE from tls") == invites
    said = f"no connection to {DOMAIN} over tls: {why}"
    assert any(said in line for line in site.gateway.log), "\n".join(site.gateway.log)

"""Telephones of users, registered over TLS and TCP: they hold, resume and transfer.

Who is heard is told by the tone that each says.
"""

from __future__ import annotations

import asyncio
import datetime
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.net.certificates import make_development_certificates
from tests.real.test_baresip import assert_tone
from tests.support.audio import Recording
from tests.support.baresip import Baresip, Registration, free_sip_port, running_baresip
from tests.support.gateway import Gateway, free_port, running_gateway
from tests.support.linphone import Linphone, running_linphone

pytestmark = [pytest.mark.real, pytest.mark.calm, pytest.mark.asyncio(loop_scope="module")]

SETTLE_S = 0.4
"What is heard first after a change is not measured."

USERS = """
[[user]]
name = "alice"
password_env = "PHONES"
allow_md5 = true
allow_transfer = true

[[user]]
name = "bob"
password_env = "PHONES"
allow_md5 = true

[[route]]
from = ["user", "api"]
match = "alice"
to = ["user:alice"]

[[route]]
from = "user"
match = "bob"
to = ["user:bob"]

[[route]]
from = "user"
match = "echo"
to = ["agent:echo"]
"""

FAR = """
[[trunk]]
name = "bob"
uri = "sip:127.0.0.1:{bob}"

[[trunk]]
name = "carl"
uri = "sip:127.0.0.1:{carl}"

[[route]]
from = "user"
match = "+1201*"
to = ["trunk:bob"]

[[route]]
from = "user"
match = "+1202*"
to = ["trunk:carl"]
"""

BOB, CARL = "+12015550100", "+12025550100"


@dataclass
class Office:
    """The gateway, and where its telephones register."""

    directory: Path
    gateway: Gateway
    ca: Path
    plain: int
    "Port of loopback for UDP and TCP."
    secure: int
    "For TLS."
    telephones: int = 0

    @asynccontextmanager
    async def telephone(
        self, user: str, says_hz: float, transport: str = "tls"
    ) -> AsyncIterator[Baresip]:
        """A telephone of a user, registered."""
        port = self.secure if transport == "tls" else self.plain
        registration = Registration(user, "secret", f"127.0.0.1:{port}", transport, self.ca)
        self.telephones += 1
        directory = self.directory / f"telephone{self.telephones}"
        async with running_baresip(
            directory, says_hz=says_hz, registration=registration
        ) as telephone:
            yield telephone

    @asynccontextmanager
    async def two_in_a_call(self) -> AsyncIterator[tuple[Baresip, Baresip]]:
        """Alice, over TLS, has called Bob, who is there over TCP."""
        async with (
            self.telephone("alice", 440) as alice,
            self.telephone("bob", 700, "tcp") as bob,
        ):
            await alice.press("dial", self.uri("bob"))
            await asyncio.gather(*(each.wait_for_log("established") for each in (alice, bob)))
            yield alice, bob
            await asyncio.gather(alice.quit(), bob.quit())
            await self.gateway.wait_for_calls(0)

    def uri(self, user: str) -> str:
        """How a telephone over TLS dials somebody; it adds the transport itself."""
        return f"sip:{user}@127.0.0.1:{self.secure}"

    async def users(self) -> dict[str, Any]:
        """Who is there, by name."""
        users = (await self.gateway.get("/v1/users"))["users"]
        return {user["name"]: user for user in users}

    async def legs(self) -> dict[str, dict[str, Any]]:
        """The legs of the only call that are up, by their target."""
        (call,) = (await self.gateway.get("/v1/calls"))["calls"]
        return {leg["target"]: leg for leg in call["legs"] if leg["state"] == "up"}

    async def wait_for_legs(self, *targets: str) -> None:
        """Until these, and no others, are in the only call."""
        async with asyncio.timeout(10):
            while sorted(await self.legs()) != sorted(targets):
                await asyncio.sleep(0.05)

    async def wait_until_held(self, target: str, *, by_itself: bool) -> None:
        """Until a party holds the call, or holds it no more."""
        async with asyncio.timeout(10):
            while (await self.legs())[target]["holds"] != by_itself:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def open_office(directory: Path, more: str, **told: str) -> AsyncIterator[Office]:
    """A gateway with TLS.

    Args:
        told: more of its environment.
    """
    now = datetime.datetime.now(datetime.UTC)
    names = ["localhost", "127.0.0.1"]
    ca, certificate, key = make_development_certificates(directory / "certs", names, now)
    plain, secure = free_sip_port(), free_port(socket.SOCK_STREAM)
    environment = {
        "PHONES": "secret",
        "GATEWAY_SIP_LISTEN": ",".join(
            (f"udp:127.0.0.1:{plain}", f"tcp:127.0.0.1:{plain}", f"tls:127.0.0.1:{secure}")
        ),
        "GATEWAY_SIP_CERTIFICATE": str(certificate),
        "GATEWAY_SIP_KEY": str(key),
        # Nobody may call for being on this machine; that a trunk is on it makes no phone one.
        "GATEWAY_SIP_ALLOW": "",
        **told,
    }
    async with running_gateway(directory, more, environment=environment) as gateway:
        yield Office(directory, gateway, ca, plain, secure)


async def heard_by(phone: Baresip | Linphone) -> Recording:
    """What it hears now, after a change."""
    await asyncio.sleep(SETTLE_S)
    return await phone.listen(0.5)


# ---- baresip, which knows MD5 alone and gives up when it is offered anything else


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    directory = tmp_path_factory.mktemp("office")
    async with open_office(directory, USERS, GATEWAY_SIP_DIGEST="MD5") as opened:
        yield opened


async def test_telephone_over_tls_calls_an_agent_and_is_called(office: Office) -> None:
    async with office.telephone("alice", 440) as alice:
        transports = (await office.users())["alice"]["transports"]
        await alice.press("dial", office.uri("echo"))
        await alice.wait_for_log("established")
        calling = await heard_by(alice)
        await alice.press("hangup")
        await office.gateway.wait_for_calls(0)

        status, _ = await office.gateway.request(
            "POST", "/v1/calls", {"from": "alice", "to": "echo"}
        )
        await alice.wait_for_log("established", 2)
        called = await heard_by(alice)

    assert transports == ["tls"]
    assert_tone(calling, 440, -12, within_db=3)
    assert status == 200
    assert_tone(called, 440, -12, within_db=3)
    assert (await office.users())["alice"]["contacts"] == 0


@pytest.mark.parametrize("holder", ["alice", "bob"])
async def test_held_party_hears_nobody_until_the_call_is_resumed(
    office: Office, holder: str
) -> None:
    async with office.two_in_a_call() as (alice, bob):
        one, other = (alice, bob) if holder == "alice" else (bob, alice)
        before = await heard_by(other)
        await one.press("hold")
        await office.wait_until_held(f"user:{holder}", by_itself=True)
        meanwhile = await heard_by(other)
        await one.press("resume")
        await office.wait_until_held(f"user:{holder}", by_itself=False)
        after = await heard_by(other)

    hz = 440 if holder == "alice" else 700
    assert_tone(before, hz, -12, within_db=3)
    assert meanwhile.level_at_dbfs(hz) < -50
    assert_tone(after, hz, -12, within_db=3)


async def test_blind_transfer_leaves_the_other_with_whom_was_named(office: Office) -> None:
    async with office.two_in_a_call() as (alice, bob):
        before = await heard_by(bob)
        await alice.press("transfer", office.uri("echo"))
        await alice.wait_for_log("audio: destroyed")
        await office.wait_for_legs("user:bob", "agent:echo")
        after = await heard_by(bob)

    assert_tone(before, 440, -12, within_db=3)
    assert_tone(after, 700, -12, within_db=3)


async def test_f28_certificates_change_under_a_call_that_goes_on(office: Office) -> None:
    certificates = office.directory / "certs"
    async with office.telephone("alice", 440) as alice:
        await alice.press("dial", office.uri("echo"))
        await alice.wait_for_log("established")
        serials = [await shown(office)]
        make_development_certificates(
            certificates, ["localhost", "127.0.0.1"], datetime.datetime.now(datetime.UTC)
        )
        await hang_up_terminal(office, "certificates are read anew")
        serials.append(await shown(office))
        (certificates / "server.pem").write_text("not a certificate")
        await hang_up_terminal(office, "certificates stay as they were")
        serials.append(await shown(office))
        heard = await heard_by(alice)
        await alice.press("hangup")
        await office.gateway.wait_for_calls(0)
        users = await office.users()

    assert serials[0] != serials[1]
    assert serials[1] == serials[2]
    assert_tone(heard, 440, -12, within_db=3)
    assert (users["alice"]["contacts"], alice.log.count("[1 binding]")) == (1, 1)


async def shown(office: Office) -> str:
    """The serial number of the certificate that whoever connects now is shown."""
    context = ssl.create_default_context(cafile=office.ca)
    _, writer = await asyncio.open_connection(
        "127.0.0.1", office.secure, ssl=context, server_hostname="localhost"
    )
    try:
        return str(writer.get_extra_info("peercert")["serialNumber"])
    finally:
        writer.close()


async def hang_up_terminal(office: Office, said: str) -> None:
    """SIGHUP, and wait for what is said of it."""
    office.gateway.process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(5):
        while not any(said in line for line in office.gateway.log):
            await asyncio.sleep(0.02)


# ---- linphone, which knows SHA-256, and asks the registrar's certificate for its name


BOB_AT, CARL_AT = free_sip_port(), free_sip_port()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def strict_office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    directory = tmp_path_factory.mktemp("strict")
    users = USERS.replace("allow_md5 = true\n", "")
    async with open_office(directory, users + FAR.format(bob=BOB_AT, carl=CARL_AT)) as opened:
        yield opened


@dataclass
class Desk:
    """Alice with linphone, over TLS; Bob and Carl behind trunks, and Alice has called Bob."""

    office: Office
    alice: Linphone
    bob: Baresip
    carl: Baresip

    async def call(self, number: str) -> None:
        await self.alice.say(f"call sip:{number}@localhost:{self.office.secure};transport=tls")

    async def hold(self) -> None:
        await self.alice.say("pause")
        await self.alice.wait_for_log("is now paused")


@pytest_asyncio.fixture(loop_scope="module")
async def desk(strict_office: Office, tmp_path: Path) -> AsyncIterator[Desk]:
    office = strict_office
    registrar = f"localhost:{office.secure}"
    registration = Registration("alice", "secret", registrar, "tls", office.ca)
    async with (
        running_baresip(tmp_path / "bob", port=BOB_AT, number=BOB, says_hz=700) as bob,
        running_baresip(tmp_path / "carl", port=CARL_AT, number=CARL, says_hz=900) as carl,
        running_linphone(tmp_path / "alice", registration=registration, says_hz=440) as alice,
    ):
        async with asyncio.timeout(10):
            while not (await office.users())["alice"]["contacts"]:
                await asyncio.sleep(0.05)
        desk = Desk(office, alice, bob, carl)
        await desk.call(BOB)
        await asyncio.gather(
            bob.wait_for_log("established"), alice.wait_for_log("Media streams established")
        )
        yield desk
        await bob.quit()
        await office.gateway.wait_for_calls(0)


async def test_holder_hears_the_call_again_and_the_held_our_music_meanwhile(desk: Desk) -> None:
    before = await asyncio.gather(heard_by(desk.alice), heard_by(desk.bob))
    await desk.hold()
    meanwhile = await heard_by(desk.bob)
    holds = (await desk.office.legs())["user:alice"]["holds"]
    await desk.alice.say("resume")
    await desk.alice.wait_for_log("Media streams established", 2)
    after = await asyncio.gather(heard_by(desk.alice), heard_by(desk.bob))

    for alice, bob in (before, after):
        assert_tone(alice, 700, -12, within_db=3)
        assert_tone(bob, 440, -12, within_db=3)
    assert holds
    assert meanwhile.level_at_dbfs(440) < -50
    assert -50 < meanwhile.level_dbfs < -30


async def test_attended_transfer_brings_two_together_and_lets_go_of_the_third(desk: Desk) -> None:
    await desk.hold()
    await desk.call(CARL)
    await desk.carl.wait_for_log("established")
    asked = await asyncio.gather(heard_by(desk.carl), heard_by(desk.alice))
    await desk.alice.say("transfer 1 --to-call 2")
    await desk.office.wait_for_legs("trunk:bob", "trunk:carl")
    heard = await asyncio.gather(heard_by(desk.bob), heard_by(desk.carl))

    assert_tone(asked[0], 440, -12, within_db=3)
    assert_tone(asked[1], 900, -12, within_db=3)
    assert_tone(heard[0], 900, -12, within_db=3)
    assert_tone(heard[1], 700, -12, within_db=3)
    assert desk.alice.log.count("ended (No error)") == 2

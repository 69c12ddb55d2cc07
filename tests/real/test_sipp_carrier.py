"""SIPp as a carrier: what the gateway, calling out, puts on the wire, and what it makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.real.test_page_call import wait_for_state
from tests.support.audio import record_page
from tests.support.browser import open_page
from tests.support.events import call_events
from tests.support.gateway import Gateway, free_port, running_gateway
from tests.support.rtp import rtp_peer
from tests.support.sipp import Sipp, running_sipp
from tests.support.wire import SipSocket

# One gateway for the whole file: each test has a trunk of its own in it.
pytestmark = [pytest.mark.real, pytest.mark.calm, pytest.mark.asyncio(loop_scope="session")]

TRUNKS = 40
USERNAME, PASSWORD = "gateway", "s3cret"

UNHEARD_PORT = 29_998
"Where callees want their audio that nobody listens to."

SPARE_NUMBER = "+19990900"
"Led to the first trunk, and to the echo where that fails."

AGENTS = """
[[agent]]
name = "leaver"
protocol = "script"
step = [{ answer = true }, { wait = 0.5 }, { hang_up = true }]

[[route]]
from = "api"
match = "leaver"
to = ["agent:leaver"]

[[route]]
from = "api"
match = "+19990900"
to = ["trunk:carrier0", "agent:echo"]
"""

TRUNK = """
[[trunk]]
name = "carrier{n}"
uri = "sip:127.0.0.1:{port}"
probe_s = 0
username = "gateway"
password_env = "CARRIER_PASSWORD"

[[route]]
from = ["browser", "sip", "api"]
match = "+1999{n:04}"
to = ["trunk:carrier{n}"]
"""


class Place:
    """A trunk without a carrier: a number that leads to a port, where nobody listens yet."""

    def __init__(self, number: int) -> None:
        self.number = f"+1999{number:04}"
        # Held until the carrier starts, or something else might be given the port.
        self._held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._held.bind(("127.0.0.1", 0))
        self.port = int(self._held.getsockname()[1])

    def free(self) -> None:
        self._held.close()


class Places:
    """The trunks of the gateway under test."""

    def __init__(self, gateway: Gateway, places: list[Place]) -> None:
        self.gateway = gateway
        self.all = places
        self.unused = places[1:]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def places(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Places]:
    """A gateway with many trunks, none of which anybody answers."""
    made = [Place(n) for n in range(TRUNKS)]
    more = AGENTS + "".join(TRUNK.format(n=n, port=p.port) for n, p in enumerate(made))
    with contextlib.ExitStack() as stack:
        for place in made:
            stack.callback(place.free)
        stack.enter_context(pytest.MonkeyPatch.context()).setenv("CARRIER_PASSWORD", PASSWORD)
        async with running_gateway(tmp_path_factory.mktemp("gateway"), more) as gateway:
            yield Places(gateway, made)


@dataclass
class Office:
    """What a test needs: the gateway, one trunk of it, and a directory."""

    gateway: Gateway
    place: Place
    directory: Path

    def carrier(
        self,
        scenario: str,
        *,
        pause_ms: int = 0,
        values: Mapping[str, str | int] | None = None,
        options: tuple[str, ...] = (),
    ) -> AbstractAsyncContextManager[Sipp]:
        """Start SIPp at the trunk."""
        self.place.free()
        return running_sipp(
            self.directory / "carrier",
            scenario,
            port=self.place.port,
            values={"rtp_port": UNHEARD_PORT, **(values or {})},
            options=("-d", str(pause_ms), *options),
        )

    async def call(self, from_: str = "echo", to: str | None = None) -> str:
        """Have an agent call the trunk; the call's id."""
        status, call = await self.gateway.request(
            "POST", "/v1/calls", {"from": from_, "to": to or self.place.number}
        )
        assert status == 200, call  # of any 2xx
        return str(call["id"])

    async def hang_up(self, call: str) -> None:
        status, _ = await self.gateway.request("DELETE", f"/v1/calls/{call}")
        assert status == 200  # of any 2xx

    async def outcome(self, call: str) -> dict[str, Any]:
        """How the call ended; nothing of it goes on."""
        await self.gateway.wait_for_calls(0)
        outcome: dict[str, Any] = (await self.gateway.get(f"/v1/calls/{call}"))["outcome"]
        return outcome

    async def wait_for_state(self, call: str, state: str) -> None:
        async with asyncio.timeout(15):
            while (await self.gateway.get(f"/v1/calls/{call}"))["state"] != state:
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture(loop_scope="session")
async def office(places: Places, tmp_path: Path) -> AsyncIterator[Office]:
    """A trunk that no other test has."""
    gateway = places.gateway
    yield Office(gateway, places.unused.pop(), tmp_path)
    try:
        await gateway.wait_for_calls(0)
    finally:
        for call in (await gateway.get("/v1/calls"))["calls"]:
            await gateway.request("DELETE", f"/v1/calls/{call['id']}")
    assert not [line for line in gateway.log if "Traceback" in line]


def ended(outcome: dict[str, Any]) -> tuple[str, str, int, bool]:
    """An outcome in the order reason, fault, status, answered."""
    return outcome["reason"], outcome["fault"], outcome["status"], outcome["answered"]


# ---- refusals


@pytest.mark.parametrize(
    ("status_line", "reason", "fault"),
    [
        ("486 Busy Here", "busy", "callee"),
        ("503 Service Unavailable", "unreachable", "network"),
        ("603 Decline", "declined", "callee"),
        ("404 Not Found", "not-found", "caller"),
    ],
)
async def test_refusal_is_acked_and_told(
    office: Office, status_line: str, reason: str, fault: str
) -> None:
    status = int(status_line[:3])

    async with office.carrier("refuses", pause_ms=200, values={"status": status_line}) as carrier:
        call = await office.call()
        await carrier.finish()
        outcome = await office.outcome(call)

    assert carrier.ladder == ["< INVITE", "> 180 INVITE", f"> {status} INVITE", "< ACK"]
    assert ended(outcome) == (reason, fault, status, False)
    assert outcome["text"] == status_line[4:]


async def test_target_that_fails_is_followed_by_the_next(places: Places, tmp_path: Path) -> None:
    office = Office(places.gateway, places.all[0], tmp_path)

    async with (
        office.carrier("refuses", values={"status": "503 Service Unavailable"}) as carrier,
        call_events(office.gateway) as events,
    ):
        call = await office.call("leaver", SPARE_NUMBER)
        await carrier.finish()
        await events.next("call.answered")
        outcome = await office.outcome(call)

    assert ended(outcome) == ("hangup", "caller", 0, True)


async def test_carrier_that_is_not_there_is_given_up_when_the_caller_leaves(office: Office) -> None:
    call = await office.call("leaver")

    outcome = await office.outcome(call)

    assert ended(outcome) == ("cancelled", "caller", 487, False)


# ---- early media


async def test_early_media_is_heard_both_ways_before_and_after_the_answer(office: Office) -> None:
    async with (
        rtp_peer() as phone,
        office.carrier("early_media", pause_ms=2500, values={"rtp_port": phone.port}) as carrier,
        call_events(office.gateway) as events,
    ):
        call = await office.call("echo")
        phone.say_tone(700, (await carrier.next_received("INVITE")).media_address)
        await events.next("call.answered")
        before = len(phone.heard)
        await phone.wait_for_packets(50, after=before)
        await office.hang_up(call)
        await carrier.finish()
        outcome = await office.outcome(call)

    early = phone.recording().part(0.2, before * 0.02)
    assert before > 50
    assert early.part(0, 1).peak_hz == pytest.approx(700, rel=0.01)
    assert early.part(0, 1).level_dbfs == pytest.approx(-12, abs=1)
    assert phone.recording(before).peak_hz == pytest.approx(700, rel=0.01)
    assert carrier.ladder[:4] == ["< INVITE", "> 183 INVITE", "> 200 INVITE", "< ACK"]
    assert ended(outcome)[0] == "hangup"


async def test_page_hears_early_media_and_its_hang_up_cancels(
    office: Office, browser: Browser
) -> None:
    url = f"{office.gateway.url}/?to={office.place.number.replace('+', '%2B')}&processing=off"

    async with (
        rtp_peer() as phone,
        office.carrier("early_media_for_ever", values={"rtp_port": phone.port}) as carrier,
        call_events(office.gateway) as events,
        open_page(browser, url) as page,
    ):
        await page.get_by_role("button", name="Call", exact=True).click()
        phone.say_tone(600, (await carrier.next_received("INVITE")).media_address)
        progress = await events.next("call.progressed")
        await phone.wait_for_packets(25)  # the page's path is up
        _, heard = await record_page(page, 2)
        await page.get_by_role("button", name="Hang up").click()
        await wait_for_state(page, "ended")
        await carrier.finish()
        call = await events.next("call.ended")
        outcome = await office.outcome(call["call"])

    assert progress["early_media"]
    assert heard.part(1, 2).peak_hz == pytest.approx(600, rel=0.01)
    assert heard.part(1, 2).level_dbfs == pytest.approx(-12, abs=3)
    assert carrier.ladder == [
        *("< INVITE", "> 183 INVITE", "< CANCEL", "> 200 CANCEL", "> 487 INVITE", "< ACK")
    ]
    assert ended(outcome) == ("cancelled", "caller", 487, False)


async def test_sipp_returns_what_the_page_says(office: Office, browser: Browser) -> None:
    url = f"{office.gateway.url}/?to={office.place.number.replace('+', '%2B')}&processing=off"
    port = free_port()

    async with (
        office.carrier(
            "answers", values={"rtp_port": port}, options=("-rtp_echo", "-mp", str(port))
        ) as carrier,
        open_page(browser, url) as page,
    ):
        await page.get_by_role("button", name="Call", exact=True).click()
        await wait_for_state(page, "in-call")
        said, heard = await record_page(page, 3)
        await page.get_by_role("button", name="Hang up").click()
        await carrier.finish()

    assert heard.part(2, 3).peak_hz == pytest.approx(440, rel=0.01)
    assert heard.part(2, 3).level_dbfs == pytest.approx(said.part(2, 3).level_dbfs, abs=3)


# ---- answers


async def test_each_200_that_is_repeated_gets_its_ack(office: Office) -> None:
    async with office.carrier("repeats_200", options=("-nr",)) as carrier:
        call = await office.call()
        await carrier.next_received("ACK", 3)
        await office.hang_up(call)
        await carrier.finish()
        outcome = await office.outcome(call)

    acks = [each.text for each in carrier.received("ACK")]
    assert acks == [acks[0]] * 3
    assert len(carrier.received("BYE")) == 1
    assert ended(outcome) == ("hangup", "callee", 0, True)


async def test_callee_that_is_slow_to_speak_and_to_answer_is_waited_for(office: Office) -> None:
    async with office.carrier("answers_slowly", pause_ms=2000) as carrier:
        call = await office.call()
        await carrier.next_received("ACK")
        await office.hang_up(call)
        await carrier.finish()
        outcome = await office.outcome(call)

    invites = carrier.received("INVITE")
    assert len({each.text for each in invites}) == 1
    assert [round(each.at - invites[0].at, 1) for each in invites] == pytest.approx(
        [0, 0.5, 1.5], abs=0.3
    )
    assert ended(outcome)[3]


async def test_second_callee_that_answers_is_acked_and_let_go(office: Office) -> None:
    async with office.carrier("answers_twice") as carrier:
        call = await office.call()
        first_bye = await carrier.next_received("BYE")
        await office.wait_for_state(call, "up")
        await office.hang_up(call)
        await carrier.finish()
        outcome = await office.outcome(call)

    byes = carrier.received("BYE")
    assert first_bye.header("To").endswith("tag=second")
    assert byes[-1].header("To").endswith("tag=first")
    assert {each.header("To")[-6:] for each in carrier.received("ACK")} == {"=first", "second"}
    assert ended(outcome)[3]


# ---- hang-ups


async def test_call_ended_while_it_rings_is_cancelled(office: Office) -> None:
    async with office.carrier("rings_until_cancel") as carrier:
        call = await office.call()
        await carrier.next_sent("180 INVITE")
        await office.hang_up(call)
        await carrier.finish()
        outcome = await office.outcome(call)

    assert carrier.ladder == [
        *("< INVITE", "> 180 INVITE", "< CANCEL", "> 200 CANCEL", "> 487 INVITE", "< ACK")
    ]
    assert outcome["reason"] == "hangup"
    assert not outcome["answered"]


async def test_caller_that_leaves_while_it_rings_is_cancelled_for(office: Office) -> None:
    async with office.carrier("rings_until_cancel") as carrier:
        call = await office.call("leaver")
        await carrier.finish()
        outcome = await office.outcome(call)

    invite, cancel = carrier.received("INVITE")[0], carrier.received("CANCEL")[0]
    assert cancel.header("Via") == invite.header("Via")
    assert cancel.header("CSeq").split()[0] == invite.header("CSeq").split()[0]
    assert ended(outcome) == ("cancelled", "caller", 487, False)


async def test_cancel_waits_for_the_first_provisional_response(office: Office) -> None:
    async with office.carrier("silent_until_cancel", pause_ms=1200) as carrier:
        call = await office.call()
        await carrier.next_received("INVITE")
        await office.hang_up(call)
        await carrier.finish()
        await office.outcome(call)

    (trying,) = carrier.sent("100 INVITE")
    assert carrier.received("CANCEL")[0].at >= trying.at


async def test_200_that_crosses_the_cancel_gets_ack_and_bye(office: Office) -> None:
    async with office.carrier("answers_cancel_with_200") as carrier:
        call = await office.call("leaver")
        await carrier.finish()
        outcome = await office.outcome(call)

    assert carrier.ladder[2:] == [
        *("< CANCEL", "> 200 CANCEL", "> 200 INVITE", "< ACK", "< BYE", "> 200 BYE")
    ]
    assert ended(outcome) == ("cancelled", "caller", 487, False)


async def test_callee_hangs_up(office: Office) -> None:
    async with office.carrier("hangs_up", pause_ms=300) as carrier:
        call = await office.call()
        await carrier.finish()
        outcome = await office.outcome(call)

    assert carrier.ladder[-3:] == ["< ACK", "> BYE", "< 200 BYE"]
    assert ended(outcome) == ("hangup", "callee", 0, True)


async def test_callee_hangs_up_the_moment_it_has_answered(office: Office) -> None:
    async with office.carrier("hangs_up") as carrier:
        call = await office.call()
        await carrier.finish()
        outcome = await office.outcome(call)

    assert ended(outcome) == ("hangup", "callee", 0, True)


async def test_caller_hangs_up(office: Office) -> None:
    async with office.carrier("answers") as carrier:
        call = await office.call("leaver")
        await carrier.finish()
        outcome = await office.outcome(call)

    assert carrier.ladder[-3:] == ["< ACK", "< BYE", "> 200 BYE"]
    assert ended(outcome) == ("hangup", "caller", 0, True)


async def test_caller_hangs_up_the_moment_it_is_answered(office: Office) -> None:
    async with office.carrier("answers") as carrier, call_events(office.gateway) as events:
        call = await office.call()
        await events.next("call.answered")
        await office.hang_up(call)
        await carrier.finish()
        outcome = await office.outcome(call)

    assert carrier.ladder[-3:] == ["< ACK", "< BYE", "> 200 BYE"]
    assert ended(outcome)[3]


# ---- passwords


async def test_challenge_is_answered(office: Office) -> None:
    async with office.carrier("challenges", values={"password": PASSWORD}) as carrier:
        call = await office.call()
        await carrier.next_received("ACK", 2)
        await office.wait_for_state(call, "up")
        await office.hang_up(call)
        await carrier.finish()
        outcome = await office.outcome(call)

    first, second = {each.text: each for each in carrier.received("INVITE")}.values()
    assert not first.header("Authorization")
    assert second.header("CSeq") == "2 INVITE"
    assert second.header("Call-ID") == first.header("Call-ID")
    assert second.header("Via") != first.header("Via")
    assert ended(outcome) == ("hangup", "callee", 0, True)


async def test_password_that_the_carrier_does_not_know_ends_the_call(office: Office) -> None:
    async with office.carrier("challenges", values={"password": "another"}) as carrier:
        call = await office.call()
        await carrier.finish()
        outcome = await office.outcome(call)

    assert carrier.ladder[-2:] == ["> 403 INVITE", "< ACK"]
    assert ended(outcome) == ("forbidden", "caller", 403, False)


@pytest.mark.parametrize(
    ("status_line", "offered", "chosen"),
    [
        ("401 Unauthorized", ("MD5", "SHA-256"), "SHA-256"),
        ("407 Proxy Authentication Required", ("MD5",), "MD5"),
    ],
)
async def test_digest_is_that_of_the_best_algorithm_offered(
    office: Office, status_line: str, offered: tuple[str, ...], chosen: str
) -> None:
    """SIPp checks MD5 after a 401 alone: here the carrier is a socket."""
    is_proxy = status_line.startswith("407")
    asked = "Proxy-Authenticate" if is_proxy else "WWW-Authenticate"
    answer = "Proxy-Authorization" if is_proxy else "Authorization"
    challenges = "".join(
        f'{asked}: Digest realm="carrier", nonce="8a1f", qop="auth", algorithm={name}\r\n'
        for name in offered
    )
    office.place.free()

    with SipSocket(port=office.place.port) as carrier:
        call = await office.call()
        carrier.respond(await carrier.receive("INVITE"), status_line, challenges)
        invite = await carrier.receive("INVITE", lambda text: f"\r\n{answer}: " in text)
        carrier.respond(invite, "486 Busy Here")
        await carrier.receive("ACK", lambda text: "CSeq: 2 ACK" in text)
        outcome = await office.outcome(call)

    credentials = _credentials(invite.text, answer)
    assert credentials["algorithm"] == chosen
    assert credentials["response"] == _digest(credentials)
    assert ended(outcome) == ("busy", "callee", 486, False)


def _credentials(invite: str, header: str) -> dict[str, str]:
    line = re.search(rf"^{header}: Digest (.*)\r$", invite, re.MULTILINE)
    assert line is not None, invite
    found = re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', line[1])
    return {name: quoted or plain for name, quoted, plain in found}


def _digest(said: Mapping[str, str]) -> str:
    """What the response has to be (RFC 7616 §3.4.1), by Python's own hashes."""

    def hashed(text: str) -> str:
        return hashlib.new(said["algorithm"].replace("-", ""), text.encode()).hexdigest()

    secret = hashed(f"{USERNAME}:carrier:{PASSWORD}")
    what = hashed(f"INVITE:{said['uri']}")
    return hashed(":".join([secret, "8a1f", said["nc"], said["cnonce"], "auth", what]))

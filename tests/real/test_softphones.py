"""JsSIP and SIP.js in Chromium as phones of users: SIP over WebSocket, media over WebRTC.

Who is heard is told by the tone that each phone says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.real.test_page_call import wait_for_state
from tests.support.audio import Recording, record_page, report
from tests.support.baresip import running_baresip
from tests.support.browser import open_page
from tests.support.events import CallEvents, call_events
from tests.support.gateway import Gateway, running_gateway
from tests.support.softphone import MAKES, Says, Softphone, open_softphone

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

PASSWORDS = {"ann": "an apple", "bob": "b$n\"n'a", "carl": "cherries"}

MORE = """
[[user]]
name = "ann"
password_env = "PASSWORD_OF_ANN"
allow_md5 = true
allow_transfer = true
signal_hold = true

[[user]]
name = "bob"
password_env = "PASSWORD_OF_BOB"
allow_md5 = true
signal_hold = true

[[user]]
name = "carl"
password_env = "PASSWORD_OF_CARL"

[[route]]
from = "*"
match = "ann"
to = ["user:ann"]

[[route]]
from = "*"
match = "bob"
to = ["user:bob"]

[[route]]
from = "*"
match = "team"
to = [["user:ann", "user:bob"]]

[[route]]
from = "user"
match = "echo"
to = ["agent:echo"]

[[route]]
from = "user:ann"
match = "+1*"
to = ["trunk:lab"]
"""

ANN_HZ, BOB_HZ, PAGE_HZ = 600, 900, 440
SAID_DBFS = -12

each_make = pytest.mark.parametrize("make", MAKES)
each_pair = pytest.mark.parametrize(("make", "other"), [MAKES, MAKES[::-1]])


class Site:
    """A gateway with three users, and a browser."""

    def __init__(self, gateway: Gateway, browser: Browser, pages: AsyncExitStack) -> None:
        self.gateway, self.browser = gateway, browser
        self._pages = pages
        self._idle: dict[str, list[Softphone]] = {make: [] for make in MAKES}

    @asynccontextmanager
    async def phone(
        self, make: str, user: str, *, in_bursts: bool = False
    ) -> AsyncIterator[Softphone]:
        """A softphone that has registered, and says the tone of its user; in a page used before."""
        if self._idle[make]:
            phone = self._idle[make].pop()
        else:
            opened = open_softphone(self.browser, self.gateway, make)
            phone = await self._pages.enter_async_context(opened)
        try:
            await phone.renew(Says(ANN_HZ if user == "ann" else BOB_HZ, in_bursts))
            await phone.register(self.gateway, user, PASSWORDS[user])
            yield phone
            if not phone.page.is_closed():
                await phone.do("stop")
                self._idle[make].append(phone)
        except BaseException:
            await phone.page.close()
            raise

    @asynccontextmanager
    async def phones(self, make: str, other: str) -> AsyncIterator[tuple[Softphone, Softphone]]:
        """Ann with one make, Bob with the other."""
        async with self.phone(make, "ann") as ann, self.phone(other, "bob") as bob:
            yield ann, bob

    async def connect(self, caller: Softphone, called: Softphone, to: str) -> None:
        """One calls the other, who answers."""
        await caller.dial(to)
        await called.wait_for("ringing")
        await called.do("answer")
        await caller.until_up()
        await called.until_up()

    async def place(self, from_: str, to: str) -> str:
        """The id of a call that the API placed."""
        status, call = await self.gateway.request("POST", "/v1/calls", {"from": from_, "to": to})
        assert status == 200
        return str(call["id"])

    async def targets(self) -> list[str]:
        """Who is in the one call that there is."""
        (call,) = (await self.gateway.get("/v1/calls"))["calls"]
        return [leg["target"] for leg in call["legs"] if leg["state"] != "ended"]

    async def user(self, name: str) -> dict[str, Any]:
        """What the API tells of a user."""
        users = (await self.gateway.get("/v1/users"))["users"]
        return next(dict(user) for user in users if user["name"] == name)

    async def until_gone(self, *names: str) -> None:
        """Until these users have no phone any more."""
        async with asyncio.timeout(5):
            while any([(await self.user(name))["contacts"] for name in names]):
                await asyncio.sleep(0.01)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(
    tmp_path_factory: pytest.TempPathFactory, browser: Browser
) -> AsyncIterator[Site]:
    """One gateway and one browser for all tests; its microphone says what the page says."""
    directory = tmp_path_factory.mktemp("gateway")
    with pytest.MonkeyPatch.context() as environment:
        for name, password in PASSWORDS.items():
            environment.setenv(f"PASSWORD_OF_{name.upper()}", password)
        async with (
            running_gateway(directory, MORE) as gateway,
            AsyncExitStack() as pages,
        ):
            yield Site(gateway, browser, pages)


@pytest_asyncio.fixture(loop_scope="session")
async def site(running: Site) -> AsyncIterator[Site]:
    """No test leaves a call or a phone behind."""
    yield running
    await running.gateway.wait_for_calls(0)
    await running.until_gone(*PASSWORDS)


def assert_tone(heard: Recording, hz: float, level_dbfs: float = SAID_DBFS) -> None:
    """A tone as loud as it was said, but for what a busy machine leaves out of it."""
    assert heard.level_at_dbfs(hz) == pytest.approx(level_dbfs, abs=6)


async def outcome(events: CallEvents) -> tuple[str, str, bool]:
    """Reason, fault and whether it was answered."""
    ended = await events.next("call.ended")
    return ended["reason"], ended["fault"], ended["answered"]


# ---- registering


@each_make
async def test_phone_registers_and_unregisters(site: Site, make: str) -> None:
    async with site.phone(make, "ann") as ann, site.phone(make, "bob") as bob:
        registered = await site.user("ann")
        await ann.do("stop")
        await site.until_gone("ann")
        await bob.dial("ann")
        await bob.wait_for("ended")

        assert (registered["contacts"], registered["transports"]) == (1, ["ws"])
        assert await bob.read("phone.failures") == [480]


@each_make
async def test_phone_with_a_wrong_password_or_no_right_to_md5_is_refused(
    site: Site, make: str
) -> None:
    # Each refusal counts, and the fifth is a ban: these phones do not say goodbye.
    async with open_softphone(site.browser, site.gateway, make) as phone:
        await phone.register(site.gateway, "ann", "wrong", expect="refused")
        await phone.renew(Says(ANN_HZ))
        await phone.register(site.gateway, "carl", PASSWORDS["carl"], expect="refused")

        assert (await site.user("ann"))["contacts"] == (await site.user("carl"))["contacts"] == 0


@each_make
async def test_phone_of_a_closed_tab_is_gone_at_once(
    site: Site, make: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = asyncio.get_running_loop()
    async with site.phone(make, "bob") as bob:
        async with site.phone(make, "ann") as ann:
            closed_at = loop.time()
            await ann.page.close()
            await site.until_gone("ann")
            report(
                capsys, f"closed tab: {1000 * (loop.time() - closed_at):.0f} ms until it is gone"
            )
        await bob.dial("ann")
        await bob.wait_for("ended")

        assert await bob.read("phone.failures") == [480]


async def test_call_of_a_page_that_is_left_ends(site: Site) -> None:
    async with call_events(site.gateway) as events, site.phones(*MAKES) as (ann, bob):
        await site.connect(ann, bob, "bob")
        await ann.page.goto("about:blank")
        await bob.wait_for("ended")
        await ann.page.close()

        assert await outcome(events) == ("left", "caller", True)


async def test_call_of_a_closed_tab_ends_before_media_is_missed(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = asyncio.get_running_loop()
    async with call_events(site.gateway) as events, site.phones(*MAKES) as (ann, bob):
        await site.connect(ann, bob, "bob")
        closed_at = loop.time()
        await ann.page.close()
        await bob.wait_for("ended")
        report(capsys, f"closed tab: {loop.time() - closed_at:.1f} s until the other is told")

        assert await outcome(events) == ("left", "caller", True)


async def test_phone_that_connects_anew_is_reached_in_its_call(site: Site) -> None:
    async with site.phones(*MAKES) as (ann, bob):
        await site.connect(ann, bob, "bob")
        await ann.read("phone.agent.transport.socket._ws.close()")
        await site.until_gone("ann")
        await ann.wait_until("phone.agent.isRegistered()")
        async with asyncio.timeout(8):
            while not (await site.user("ann"))["contacts"]:
                await asyncio.sleep(0.02)
        await bob.do("hangUp")
        await ann.wait_for("ended")

        assert await ann.read("phone.failures") == ["Terminated"]


# ---- calling


@each_make
async def test_phone_hears_itself_over_the_trunk(
    site: Site, make: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = asyncio.get_running_loop()
    async with call_events(site.gateway) as events, site.phone(make, "ann") as ann:
        began_at = loop.time()
        await ann.dial("+15550100")
        await ann.wait_for("up")
        report(capsys, f"{make} → trunk: {1000 * (loop.time() - began_at):.0f} ms to the answer")
        await ann.until_up()
        heard = await ann.hear()
        targets = await site.targets()
        await ann.do("hangUp")
        await ann.wait_for("ended")

        assert_tone(heard, ANN_HZ)
        assert targets == ["user:ann", "trunk:lab"]
        assert await outcome(events) == ("hangup", "caller", True)


@each_make
async def test_early_media_is_heard_before_the_answer(site: Site, make: str) -> None:
    async with site.phone(make, "ann") as ann:
        await ann.dial("+15550102")
        await ann.wait_for("progress")
        await ann.wait_until("phone.pc.connectionState === 'connected'")
        early = await ann.hear()
        state = await ann.read("phone.state")
        await ann.do("hangUp")
        await ann.wait_for("ended")

    assert state == "progress"
    assert_tone(early, 425, level_dbfs=-15)


async def test_round_trip_over_the_trunk_is_short(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    async with site.phone("jssip", "ann", in_bursts=True) as ann:
        await ann.dial("+15550100")
        await ann.until_up()
        said, heard = await record_page(ann.page, 3.2)
        await ann.do("hangUp")

    delays = [
        later[0] - onset
        for onset in said.onsets_s()
        if (later := [each for each in heard.onsets_s() if each > onset])
    ]
    assert len(delays) >= 2
    typical = sorted(delays)[len(delays) // 2]
    report(capsys, f"softphone → trunk → echo → softphone: {1000 * typical:.0f} ms round trip")
    assert typical < 0.5, "a second of bursts would be mistaken for the next one"


@each_make
async def test_keys_reach_the_other_side(site: Site, make: str) -> None:
    async with call_events(site.gateway) as events, site.phone(make, "ann") as ann:
        await ann.dial("+15550104")
        await ann.until_up()
        await ann.press("17#")
        await until_digits(events, 3 + 3)
        if make == "jssip":
            await ann.press("5", "pressByInfo")
            await until_digits(events, 4 + 4)
        await ann.do("hangUp")

    pressed = digits(events)
    # The lab sends back what it hears.
    expected = list("17#5" if make == "jssip" else "17#")
    assert list(pressed.values()) == [expected, expected]


# ---- being called


@each_make
async def test_phone_is_called_by_the_api(site: Site, make: str) -> None:
    async with site.phone(make, "ann") as ann:
        await site.place("user:ann", "echo")
        await ann.wait_for("ringing")
        await ann.do("answer")
        await ann.until_up()
        heard = await ann.hear()
        targets = await site.targets()
        await ann.do("hangUp")

    assert_tone(heard, ANN_HZ)
    assert targets == ["user:ann", "agent:echo"]


async def test_page_and_phone_hear_each_other(site: Site) -> None:
    url = f"{site.gateway.url}/?to=ann&processing=off"
    async with site.phone("sipjs", "ann") as ann, open_page(site.browser, url) as page:
        await page.get_by_role("button", name="Call", exact=True).click()
        await ann.wait_for("ringing")
        await ann.do("answer")
        await wait_for_state(page, "in-call")
        ann_heard, (_, page_heard) = await asyncio.gather(ann.hear(), record_page(page, 1.2))
        await ann.do("hangUp")
        await wait_for_state(page, "ended")

    assert_tone(ann_heard, PAGE_HZ)
    assert_tone(page_heard.part(0.6, 1.2), ANN_HZ)


async def test_baresip_and_phone_hear_each_other(site: Site, tmp_path: Path) -> None:
    number = f"sip:ann@127.0.0.1:{site.gateway.sip_port}"
    async with (
        site.phone("jssip", "ann") as ann,
        running_baresip(tmp_path / "baresip", says_hz=700, dials=number) as baresip,
    ):
        await ann.wait_for("ringing")
        await ann.do("answer")
        await ann.until_up()
        heard = await ann.hear()
        await baresip.wait_for_audio(1)
        await ann.do("hangUp")
        await baresip.wait_for_log("terminated")

    assert_tone(heard, 700)
    assert_tone(baresip.heard.part(0.5, 1), ANN_HZ)


@each_make
async def test_caller_that_gives_up_stops_the_ringing(site: Site, make: str) -> None:
    async with call_events(site.gateway) as events, site.phones(make, make) as (ann, bob):
        await ann.dial("bob")
        await bob.wait_for("ringing")
        await ann.wait_for("progress")
        await ann.do("hangUp")
        await bob.wait_for("ended")
        await ann.wait_for("ended")

        assert await outcome(events) == ("cancelled", "caller", False)


@each_make
async def test_phone_that_declines_is_told_to_the_caller(site: Site, make: str) -> None:
    async with site.phones(make, make) as (ann, bob):
        await ann.dial("bob")
        await bob.wait_for("ringing")
        await bob.do("hangUp")
        await ann.wait_for("ended")

        assert await ann.read("phone.failures") == [480]


@each_pair
async def test_phones_of_one_user_ring_together_and_the_loser_stops(
    site: Site, make: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = asyncio.get_running_loop()
    async with site.phone(make, "ann") as winner, site.phone(other, "ann") as loser:
        contacts = (await site.user("ann"))["contacts"]
        await site.place("echo", "ann")
        await winner.wait_for("ringing")
        await loser.wait_for("ringing")
        answered_at = loop.time()
        await winner.do("answer")
        await loser.wait_for("ended")
        stopped_s = loop.time() - answered_at
        await winner.until_up()
        heard = await winner.hear()
        await winner.do("hangUp")

        reason = await loser.read("phone.reason")

    report(capsys, f"{make} answers, {other} stops ringing after {1000 * stopped_s:.0f} ms")
    assert contacts == 2
    assert_tone(heard, ANN_HZ)
    assert reason == 'SIP;cause=200;text="Call completed elsewhere"'


async def test_users_of_a_group_ring_together(site: Site) -> None:
    async with site.phones(*MAKES) as (ann, bob):
        await site.place("echo", "team")
        await ann.wait_for("ringing")
        await bob.wait_for("ringing")
        await bob.do("answer")
        await bob.until_up()
        await ann.wait_for("ended")
        await bob.do("hangUp")


# ---- softphone to softphone


async def test_phone_calls_phone_and_opus_is_relayed(site: Site) -> None:
    async with call_events(site.gateway) as events, site.phones(*MAKES) as (ann, bob):
        await site.connect(ann, bob, "bob")
        ann_heard, bob_heard = await asyncio.gather(ann.hear(), bob.hear())
        await ann.limit(8_000)
        await asyncio.sleep(0.3)
        sent, received = await ann.counts(), await bob.counts()
        await asyncio.sleep(0.5)
        sent, received = await ann.counts() - sent, await bob.counts() - received
        await bob.do("hangUp")
        await ann.wait_for("ended")

        assert_tone(ann_heard, BOB_HZ)
        assert_tone(bob_heard, ANN_HZ)
        # Few bytes in, few bytes out: what we code ourselves has 120 in a packet.
        assert sent.mean_sent < 30
        assert received.mean_received == pytest.approx(sent.mean_sent, rel=0.2)
        assert await outcome(events) == ("hangup", "callee", True)


@each_pair
async def test_hold_and_resume_of_either_side(
    site: Site, make: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = asyncio.get_running_loop()
    async with site.phones(make, other) as (ann, bob):
        await site.connect(ann, bob, "bob")
        security = [await ann.security(), await bob.security()]
        for holder, held, hz in ((ann, bob, ANN_HZ), (bob, ann, BOB_HZ)):
            began_at = loop.time()
            await holder.do("hold")
            took_s = loop.time() - began_at
            directions = await holder.direction(), await held.direction()
            music, silence = await asyncio.gather(held.hear(1.0), holder.hear(0.3))
            await holder.do("resume")
            heard_again = await asyncio.gather(held.hear(0.3), holder.hear(0.3))

            report(capsys, f"hold of {make}/{other}: {1000 * took_s:.0f} ms")
            assert directions == ("sendonly", "sendrecv")
            assert music.level_dbfs > -45
            assert music.level_at_dbfs(hz) < music.level_dbfs - 10
            assert silence.level_dbfs < -60
            assert_tone(heard_again[0], hz)
            assert_tone(heard_again[1], ANN_HZ + BOB_HZ - hz)
        assert [await ann.security(), await bob.security()] == security
        await ann.do("hangUp")
        await bob.wait_for("ended")


@each_make
async def test_our_hold_is_told_to_the_phone(site: Site, make: str) -> None:
    async with site.phone(make, "ann") as ann:
        call = await site.place("user:ann", "echo")
        await ann.wait_for("ringing")
        await ann.do("answer")
        await ann.until_up()
        security = await ann.security()

        await site.gateway.request("POST", f"/v1/calls/{call}/hold", {})
        await ann.wait_until(f"{DIRECTION} === 'recvonly'")
        music = await ann.hear(1.0)
        await site.gateway.request("POST", f"/v1/calls/{call}/resume", {})
        await ann.wait_until(f"{DIRECTION} === 'sendrecv'")
        heard = await ann.hear()

        assert music.level_dbfs > -45
        assert music.level_at_dbfs(ANN_HZ) < music.level_dbfs - 10
        assert_tone(heard, ANN_HZ)
        assert await ann.security() == security
        await ann.do("hangUp")


@each_make
async def test_phone_transfers_its_call(site: Site, make: str) -> None:
    async with site.phones(make, make) as (ann, bob):
        await site.connect(ann, bob, "bob")
        await ann.transfer("+15550100")
        await ann.wait_for("ended")
        heard = await bob.hear()
        targets = await site.targets()
        await bob.do("hangUp")

    assert_tone(heard, BOB_HZ)
    assert targets == ["user:bob", "trunk:lab"]


DIRECTION = "phone.pc.getTransceivers()[0].currentDirection"


def digits(events: CallEvents) -> dict[str, list[str]]:
    """The keys that each leg of our call pressed, in order."""
    pressed: dict[str, list[str]] = {}
    for event in events.all:
        if event["type"] == "call.digit" and event["phase"] == "end":
            pressed.setdefault(event["leg"], []).append(event["digit"])
    return pressed


async def until_digits(events: CallEvents, count: int) -> None:
    """Until so many keys were pressed by all."""
    async with asyncio.timeout(8):
        while sum(map(len, digits(events).values())) < count:
            await asyncio.sleep(0.02)

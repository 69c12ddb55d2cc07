"""SIPp on both sides of a gateway: failover, PRACK, timers, hold, transfer, redirection, health.

Every call has a trunk of its own; what takes long goes on beside everything else, with a gateway
of its own, and is looked at in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.real.test_sipp_carrier import Place, ended
from tests.support.dnsmasq import running_dnsmasq
from tests.support.events import CallEvents, call_events
from tests.support.gateway import Gateway, running_gateway
from tests.support.rtp import HeardPacket, RtpPeer, rtp_peer
from tests.support.sipp import Sipp, running_sipp
from tests.support.wire import SipSocket

pytestmark = [pytest.mark.real, pytest.mark.calm, pytest.mark.asyncio(loop_scope="module")]

Values = Mapping[str, str | int]

UNHEARD_PORT = 29_998
"Where SIPp wants audio that nobody listens to."

AT_ONCE_S = 0.1
"F1 asks for 50 ms; SIPp writes down what comes some milliseconds late."

PASSWORD = "s3cret"

TRUNKS: Mapping[str, str] = {
    "first": "",
    "second": "",
    "third": "",
    "reliable": "",
    "timed": "session_expires_s = 90",
    "held": "signal_hold = true",
    "pbx": "allow_transfer = true",
    "carrier": "",
    "moved": "allow_redirect = true",
    "unmoved": "",
    "fire": "",
}
"Trunks of one address, and what is set for each beside."

NAMED: Mapping[str, str] = {
    "hosts-a": "",
    "hosts-b": "",
    "hosts-c": "",
    "hosts-d": "",
    "hosts-e": "no_response_timeout_s = 1",
}
"Trunks of two addresses, that the DNS tells."

TRUNK = """
[[trunk]]
name = "{name}"
uri = "sip:{host}"
probe_s = 0
{more}

[[route]]
from = ["api", "sip"]
match = "{name}"
to = ["trunk:{name}"]
"""

ROUTES = """
[[agent]]
name = "rings"
protocol = "script"
step = [{ ring = 0.9 }, { answer = true }, { wait = 20 }]

[[route]]
from = "*"
match = "rings"
to = ["agent:rings"]

[[route]]
from = "api"
match = "one-after-the-other"
to = ["trunk:first", "trunk:second"]

[[route]]
from = "api"
match = "two-more"
to = ["trunk:second", "trunk:third"]

[[route]]
from = ["trunk:pbx", "trunk:carrier", "trunk:held"]
match = "echo"
to = ["agent:echo"]

[[route]]
from = "trunk:pbx"
match = "+1*"
to = ["trunk:carrier"]

[[route]]
from = ["api", "sip"]
match = "+1600"
to = ["trunk:moved"]

[[route]]
from = ["api", "sip"]
match = "+1700*"
to = ["trunk:carrier"]

[[route]]
from = "sip"
match = "112"
to = ["trunk:fire"]

[[route]]
from = "sip"
match = "*"
to = ["agent:echo"]
"""


def media(rtp_port: int, *lines: str, host: str = "127.0.0.1") -> str:
    """The SDP of a phone."""
    head = f"v=0\no=sipp 53655765 2353687638 IN IP4 127.0.0.1\ns=-\nc=IN IP4 {host}\nt=0 0"
    return "\n".join([head, f"m=audio {rtp_port} RTP/AVP 0", "a=rtpmap:0 PCMU/8000", *lines])


def time_of_day(at: float | None = None) -> float:
    """Unix time, or now, in seconds of the local day: as SIPp writes it down."""
    at = time.time() if at is None else at
    local = time.localtime(at)
    return local.tm_hour * 3600 + local.tm_min * 60 + local.tm_sec + at % 1


@dataclass
class Site:
    """A gateway, its trunks, and what it tells."""

    gateway: Gateway
    places: dict[str, Place]
    directory: Path
    events: CallEvents
    started: int = 0

    def peer(
        self,
        trunk: str,
        scenario: str,
        *,
        to: str | None = None,
        pause_ms: int = 0,
        values: Values | None = None,
    ) -> AbstractAsyncContextManager[Sipp]:
        """Start SIPp at the address of a trunk; with `to` it calls."""
        self.places[trunk].free()
        self.started += 1
        return running_sipp(
            self.directory / f"{trunk}-{self.started}",
            scenario,
            port=self.places[trunk].port,
            target=None if to is None else self.gateway.sip_port,
            values={"rtp_port": UNHEARD_PORT, "to": to or "", "more": "", **(values or {})},
            options=("-d", str(pause_ms)),
        )

    def stranger(
        self,
        scenario: str,
        to: str,
        *,
        pause_ms: int = 0,
        values: Values | None = None,
        options: tuple[str, ...] = (),
    ) -> AbstractAsyncContextManager[Sipp]:
        """Start SIPp, which calls and is no trunk."""
        self.started += 1
        return running_sipp(
            self.directory / f"stranger-{self.started}",
            scenario,
            target=self.gateway.sip_port,
            values={"rtp_port": UNHEARD_PORT, "to": to, **(values or {})},
            options=("-d", str(pause_ms), *options),
        )

    async def call(self, to: str, from_: str = "echo") -> str:
        """Have an agent call; the call's id."""
        status, call = await self.gateway.request("POST", "/v1/calls", {"from": from_, "to": to})
        assert status == 200, call  # of any 2xx
        return str(call["id"])

    async def only_call(self) -> str:
        """The call that goes on."""
        await self.gateway.wait_for_calls(1)
        (call,) = (await self.gateway.get("/v1/calls"))["calls"]
        return str(call["id"])

    async def hang_up(self, call: str) -> None:
        status, _ = await self.gateway.request("DELETE", f"/v1/calls/{call}")
        assert status == 200  # of any 2xx

    async def outcome(self, call: str) -> dict[str, Any]:
        """How a call ended; nothing of it goes on."""
        await self.gateway.wait_for_calls(0)
        outcome: dict[str, Any] = (await self.gateway.get(f"/v1/calls/{call}"))["outcome"]
        return outcome

    async def status_of(self, trunk: str) -> dict[str, Any]:
        """A trunk, as `/v1/trunks` tells it."""
        trunks = (await self.gateway.get("/v1/trunks"))["trunks"]
        status: dict[str, Any] = next(each for each in trunks if each["name"] == trunk)
        return status


@contextlib.asynccontextmanager
async def running_site(directory: Path) -> AsyncIterator[Site]:
    names = [*TRUNKS, *(f"{name}-{number}" for name in NAMED for number in (1, 2))]
    places = {name: Place(number) for number, name in enumerate(names)}
    zone = [
        f"srv-host=_sip._udp.{name}.test,host.test,{places[f'{name}-{number}'].port},{number},0"
        for name in NAMED
        for number in (1, 2)
    ]
    more = "".join(
        TRUNK.format(name=name, host=f"127.0.0.1:{places[name].port}", more=text)
        for name, text in TRUNKS.items()
    )
    more += "".join(
        TRUNK.format(name=name, host=f"{name}.test", more=text) for name, text in NAMED.items()
    )
    with contextlib.ExitStack() as stack:
        for place in places.values():
            stack.callback(place.free)
        environment = stack.enter_context(pytest.MonkeyPatch.context())
        async with running_dnsmasq(directory, [*zone, "host-record=host.test,127.0.0.1"]) as dns:
            environment.setenv("GATEWAY_SIP_NAMESERVERS", f"127.0.0.1:{dns.port}")
            async with (
                running_gateway(directory, more + ROUTES) as gateway,
                call_events(gateway) as events,
            ):
                yield Site(gateway, places, directory, events)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with running_site(tmp_path_factory.mktemp("gateway")) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> AsyncIterator[Site]:
    """The gateway, without calls before and after."""
    running.events.all.clear()
    yield running
    gateway = running.gateway
    try:
        await gateway.wait_for_calls(0)
    finally:
        for call in (await gateway.get("/v1/calls"))["calls"]:
            await gateway.request("DELETE", f"/v1/calls/{call['id']}")
    assert not [line for line in gateway.log if "Traceback" in line]


# ---- failover


@pytest.mark.rfc(3263, "4.3")
async def test_f1_host_that_is_unavailable_is_followed_by_the_next_at_once(site: Site) -> None:
    refusal: Values = {"status": "503 Service Unavailable"}

    async with (
        site.peer("hosts-a-1", "refuses_at_once", values=refusal) as one,
        site.peer("hosts-a-2", "answers") as two,
    ):
        call = await site.call("hosts-a")
        await two.next_received("ACK")
        await site.hang_up(call)
        await one.finish()
        await two.finish()
        outcome = await site.outcome(call)

    (first,), (second,) = one.received("INVITE"), two.received("INVITE")
    assert second.at - one.sent("503 INVITE")[0].at < AT_ONCE_S
    assert one.ladder == ["< INVITE", "> 503 INVITE", "< ACK"]
    assert second.header("Via") != first.header("Via")
    for same in ("Call-ID", "From", "To", "CSeq"):
        assert second.header(same) == first.header(same)
    assert ended(outcome) == ("hangup", "callee", 0, True)


async def test_f2_host_that_is_silent_for_4_s_is_followed_by_the_next(site: Site) -> None:
    site.places["hosts-b-1"].free()
    started_at = time_of_day()

    with SipSocket(port=site.places["hosts-b-1"].port) as silent:
        async with site.peer("hosts-b-2", "answers") as two:
            call = await site.call("hosts-b")
            invite = await silent.receive("INVITE")
            await two.next_received("ACK")
            silent.respond(invite, "200 OK", f"Contact: <sip:127.0.0.1:{silent.port}>\r\n")
            ack, bye = await silent.receive("ACK"), await silent.receive("BYE")
            silent.respond(bye, "200 OK")
            await site.hang_up(call)
            await two.finish()
            outcome = await site.outcome(call)

    assert two.received("INVITE")[0].at - started_at == pytest.approx(4, abs=0.3)
    assert "tag=socket" in ack.text
    assert "tag=socket" in bye.text
    assert len(two.received("BYE")) == 1
    assert ended(outcome) == ("hangup", "callee", 0, True)


async def test_f3_host_whose_port_is_closed_is_followed_by_the_next_in_200_ms(site: Site) -> None:
    site.places["hosts-c-1"].free()

    async with site.peer("hosts-c-2", "answers") as two:
        started_at = time_of_day()
        call = await site.call("hosts-c")
        await two.next_received("ACK")
        await site.hang_up(call)
        await two.finish()
        outcome = await site.outcome(call)

    assert two.received("INVITE")[0].at - started_at < 0.2
    assert ended(outcome)[3]


async def test_f3_trunk_all_of_whose_ports_are_closed_is_503_in_1_s(site: Site) -> None:
    for number in (1, 2):
        site.places[f"hosts-d-{number}"].free()
    values: Values = {"status": 503, "sdp": media(UNHEARD_PORT)}

    async with site.stranger("is_refused", "hosts-d", values=values) as caller:
        await caller.finish()

    assert caller.received("503 INVITE")[0].at - caller.sent("INVITE")[0].at < 1


async def test_s20_caller_that_gives_up_amid_the_search_ends_it(site: Site) -> None:
    for number in (1, 2):
        site.places[f"hosts-e-{number}"].free()

    with (
        SipSocket(port=site.places["hosts-e-1"].port) as silent,
        SipSocket(port=site.places["hosts-e-2"].port) as next_one,
    ):
        call = await site.call("hosts-e")
        await silent.receive("INVITE")
        await site.hang_up(call)
        outcome = await site.outcome(call)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                pytest.fail((await next_one.receive_any()).text)

    assert not outcome["answered"]


async def test_f1_trunk_that_asks_to_be_left_alone_is_passed_over(site: Site) -> None:
    refusal: Values = {"status": "503 Service Unavailable", "more": "\nRetry-After: 30"}

    async with (
        site.peer("first", "refuses_at_once", values=refusal) as one,
        site.peer("second", "answers") as two,
    ):
        call = await site.call("one-after-the-other")
        await two.next_received("ACK")
        await site.hang_up(call)
        await one.finish()
        await two.finish()
        first = await site.outcome(call)
    status = await site.status_of("first")
    async with site.peer("first", "answers") as one, site.peer("second", "answers") as two:
        call = await site.call("one-after-the-other")
        await two.next_received("ACK")
        await site.hang_up(call)
        await two.finish()

    assert ended(first) == ("hangup", "callee", 0, True)
    assert 25 < status["wait_s"] <= 30
    assert one.messages() == []


@pytest.mark.parametrize("status", ["500 Server Internal Error", "480 Temporarily Unavailable"])
async def test_f4_target_that_fails_is_followed_and_one_that_refuses_is_not(
    site: Site, status: str
) -> None:
    is_failure = status.startswith("500")

    async with (
        site.peer("second", "refuses_at_once", values={"status": status}) as one,
        site.peer("third", "answers") as two,
    ):
        call = await site.call("two-more")
        if is_failure:
            await two.next_received("ACK")
            await site.hang_up(call)
            await two.finish()
        await one.finish()
        outcome = await site.outcome(call)

    assert bool(two.messages()) == is_failure
    assert outcome["answered"] == is_failure
    assert outcome["status"] == (0 if is_failure else 480)


# ---- reliable provisional responses


@pytest.mark.rfc(3262, "4")
async def test_s16_callee_that_is_heard_reliably_gets_its_prack(site: Site) -> None:
    async with (
        rtp_peer() as phone,
        site.peer(
            "reliable", "rings_reliably", pause_ms=600, values={"rtp_port": phone.port}
        ) as carrier,
    ):
        call = await site.call("reliable")
        phone.say_tone(700, (await carrier.next_received("INVITE")).media_address)
        await carrier.next_received("ACK")
        await phone.wait_for_packets(25, after=len(phone.heard))
        await site.hang_up(call)
        await carrier.finish()
        outcome = await site.outcome(call)

    (prack,) = carrier.received("PRACK")
    assert prack.header("RAck") == "4711 1 INVITE"
    assert "100rel" in carrier.received("INVITE")[0].header("Supported")
    assert phone.recording().part(0.2, 0.5).peak_hz == pytest.approx(700, rel=0.01)
    assert ended(outcome)[3]


@pytest.mark.rfc(3262, "3")
async def test_s16_caller_who_insists_is_told_reliably_until_it_says_so(site: Site) -> None:
    async with site.stranger("insists_on_100rel", "rings", options=("-nr",)) as caller:
        await caller.finish()

    rung = caller.received("180 INVITE")
    assert len(rung) == 2  # the PRACK to the first did not come
    assert {each.text for each in rung} == {rung[0].text}
    assert rung[0].header("Require") == "100rel"
    assert caller.received("200 INVITE")[0].at >= caller.sent("PRACK")[0].at


# ---- session timers; what takes as long as they do is at the end


@pytest.mark.rfc(4028, "7.3")
async def test_f9_callee_that_wants_a_longer_session_timer_gets_it(site: Site) -> None:
    async with site.peer("timed", "wants_a_longer_timer") as carrier:
        call = await site.call("timed")
        await carrier.next_received("ACK", 2)
        await site.hang_up(call)
        await carrier.finish()

    first, second = carrier.received("INVITE")
    assert first.header("Session-Expires") == "90"
    assert (second.header("Session-Expires"), second.header("Min-SE")) == ("120", "120")
    assert second.header("CSeq") == "2 INVITE"
    assert second.header("Call-ID") == first.header("Call-ID")


# ---- hold

HOLDS: Mapping[str, tuple[Callable[[int], str], str, bool]] = {
    "sendonly": (lambda port: media(port, "a=sendonly"), "a=recvonly", False),
    "inactive": (lambda port: media(port, "a=inactive"), "a=inactive", False),
    "recvonly": (lambda port: media(port, "a=recvonly"), "a=sendonly", True),
    "null address": (lambda port: media(port, host="0.0.0.0"), "", False),
    "port 0": (lambda port: media(0), "m=audio 0 ", False),
}
"How a caller holds: its SDP, what the answer says, and whether it still wants to hear us."


@pytest.mark.rfc(3264, "8.4")
@pytest.mark.parametrize("spelling", HOLDS)
async def test_s19_hold_is_kept_to_until_it_ends(site: Site, spelling: str) -> None:
    write, answer, is_heard = HOLDS[spelling]

    async with (
        rtp_peer() as phone,
        rtp_peer() as far,
        site.peer("carrier", "answers", values={"rtp_port": far.port}) as carrier,
        site.peer(
            "pbx",
            "offers_again",
            to="+15550123",
            pause_ms=600,
            values={"rtp_port": phone.port, "held": write(phone.port)},
        ) as caller,
    ):
        far.say_tone(700, (await carrier.next_received("INVITE")).media_address)
        held = await caller.next_received("200 INVITE", 2)
        resumed = await caller.next_received("200 INVITE", 3)
        again = len(phone.heard) + 10
        await phone.wait_for_packets(25, after=again)
        await site.hang_up(await site.only_call())
        await caller.finish()
        await carrier.finish()

    here, there = (between(held.at + 0.1, resumed.at, each) for each in (phone, far))
    assert answer in held.body
    assert not any(f"a={way}" in resumed.body for way in ("sendonly", "recvonly", "inactive"))
    assert (len(here) > 10) == is_heard
    assert here == [] or is_heard
    assert len(there) > 10  # whom it holds is told nothing, and hears us
    assert not carrier.received("INVITE")[1:]
    assert phone.recording(again).part(0.1, 0.4).peak_hz == pytest.approx(700, rel=0.01)


def between(start: float, end: float, phone: RtpPeer) -> list[HeardPacket]:
    """What a phone heard from one time of the day to another."""
    return [packet for packet in phone.heard if start < time_of_day(packet.at) < end]


# ---- glare


@pytest.mark.rfc(3261, "14.1")
@pytest.mark.parametrize(("who", "earliest", "latest"), [("caller", 0, 2), ("callee", 2.1, 4)])
async def test_s11_re_invites_that_meet_are_refused_and_ours_is_sent_again(
    site: Site, who: str, earliest: float, latest: float
) -> None:
    """The wait is longer for who made the Call-ID: that is us where SIPp is the callee."""
    is_caller = who == "caller"

    async with site.peer("held", f"collides_as_{who}", to="echo" if is_caller else None) as peer:
        if not is_caller:
            await site.call("held")
        answered = "ACK" if not is_caller else "200 INVITE"
        await peer.next_received(answered)
        call = await site.only_call()
        info = await site.gateway.get(f"/v1/calls/{call}")
        leg = next(each["id"] for each in info["legs"] if each["kind"] == "sip")
        await site.gateway.request("POST", f"/v1/calls/{call}/hold", {"leg": leg})
        ours = await peer.next_received("INVITE", 2 if is_caller else 3)
        await peer.next_received("ACK", 2 if is_caller else 3)
        await site.hang_up(call)
        await peer.finish()

    refused_at = peer.sent("491 INVITE")[0].at
    assert "a=sendonly" in ours.body
    assert earliest - 0.1 <= ours.at - refused_at <= latest + 0.3
    assert len(peer.received("491 INVITE")) == 1


# ---- transfer


@pytest.mark.rfc(3515, "2.4")
async def test_blind_transfer_by_a_trunk_that_may(site: Site) -> None:
    async with (
        rtp_peer() as phone,
        site.peer("carrier", "answers", pause_ms=200, values={"rtp_port": phone.port}) as carrier,
        site.peer(
            "pbx", "refers", to="echo", pause_ms=200, values={"refer_to": "+15550123"}
        ) as pbx,
    ):
        phone.say_tone(700, (await carrier.next_received("INVITE")).media_address)
        await pbx.finish()
        await phone.wait_for_packets(50)
        call = await site.only_call()
        await site.hang_up(call)
        await carrier.finish()

    notified = [each.body.split("\n")[0].strip() for each in pbx.received("NOTIFY")]
    assert notified[0] == "SIP/2.0 100 Trying"
    assert notified[-1] == "SIP/2.0 200 OK"
    assert pbx.received("NOTIFY")[-1].header("Subscription-State").startswith("terminated")
    assert carrier.received("INVITE")[0].text.startswith("INVITE sip:+15550123@")
    assert phone.recording().part(0.3, 0.8).peak_hz == pytest.approx(700, rel=0.01)


@pytest.mark.parametrize(
    ("trunk", "refer_to", "status"),
    [("carrier", "+15550123", 403), ("pbx", "+900123", 404)],
    ids=["trunk that may not", "number that no route allows"],
)
async def test_a37_transfer_is_refused(site: Site, trunk: str, refer_to: str, status: int) -> None:
    values: Values = {"refer_to": refer_to, "status": status}

    async with site.peer(trunk, "refers_in_vain", to="echo", pause_ms=300, values=values) as peer:
        await peer.finish()

    assert peer.ladder[-4:] == ["> REFER", f"< {status} REFER", "> BYE", "< 200 BYE"]


# ---- redirection


async def test_a37_redirection_is_no_way_by_default(site: Site) -> None:
    moved: Values = {"status": "302 Moved Temporarily", "more": "\nContact: <sip:+17005@127.0.0.1>"}

    async with (
        site.peer("unmoved", "refuses_at_once", values=moved) as one,
        site.peer("carrier", "answers") as two,
    ):
        call = await site.call("unmoved")
        await one.finish()
        outcome = await site.outcome(call)

    assert two.messages() == []
    assert not outcome["answered"]


async def test_redirection_is_followed_where_it_may_be(site: Site) -> None:
    moved: Values = {"status": "302 Moved Temporarily", "more": "\nContact: <sip:+17005@127.0.0.1>"}

    async with (
        site.peer("moved", "refuses_at_once", values=moved) as one,
        site.peer("carrier", "answers") as two,
        site.stranger("calls", "+1600", pause_ms=200) as caller,
    ):
        await caller.finish()
        await one.finish()
        await two.finish()

    assert two.received("INVITE")[0].text.startswith("INVITE sip:+17005@")


async def test_s20_redirection_to_where_it_came_from_is_a_loop(site: Site) -> None:
    moved: Values = {"status": "302 Moved Temporarily", "more": "\nContact: <sip:+1600@127.0.0.1>"}
    values: Values = {"status": 482, "sdp": media(UNHEARD_PORT)}

    async with (
        site.peer("moved", "refuses_at_once", values=moved) as one,
        site.stranger("is_refused", "+1600", values=values) as caller,
    ):
        await one.finish()
        await caller.finish()

    assert len(one.received("INVITE")) == 1
    assert caller.ladder[-2:] == ["< 482 INVITE", "> ACK"]


# ---- emergency numbers


async def test_emergency_number_without_a_route_of_its_own_is_refused_in_words(site: Site) -> None:
    values: Values = {"status": 403, "sdp": media(UNHEARD_PORT)}

    async with site.stranger("is_refused", "911", values=values) as caller:
        await caller.finish()

    assert "Emergency number 911" in caller.received("403 INVITE")[0].text


async def test_emergency_number_goes_by_the_route_that_names_it(site: Site) -> None:
    async with (
        site.peer("fire", "answers") as fire,
        site.stranger("calls", "112", pause_ms=200) as caller,
    ):
        await caller.finish()
        await fire.finish()

    assert fire.received("INVITE")[0].text.startswith("INVITE sip:112@")


# ---- registration


@pytest.mark.rfc(3261, "10.2")
async def test_f8_trunk_is_registered_with_as_it_wants_and_left_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registrar asks for a password (401), finds 600 s too brief (423), and is satisfied."""
    monkeypatch.setenv("CARRIER_PASSWORD", PASSWORD)
    directory = tmp_path / "registrar"

    async with running_sipp(directory, "registrar", values={"password": PASSWORD}) as registrar:
        trunk = REGISTERING.format(port=registrar.port)
        async with running_gateway(tmp_path, trunk) as gateway:
            await registrar.next_sent("200 REGISTER")
            status = await registered(gateway)
        await registrar.finish()

    first, second, third, last = registrar.received("REGISTER")
    assert registrar.ladder[1::2] == [f"> {status} REGISTER" for status in (401, 423, 200, 200)]
    assert not first.header("Authorization")
    assert 'username="gateway"' in second.header("Authorization")
    assert (first.header("Expires"), third.header("Expires")) == ("600", "900")
    assert last.header("Expires") == "0"
    assert len({each.header("Call-ID") for each in (first, second, third, last)}) == 1
    assert status["registered"]
    assert 880 < status["expires_in_s"] <= 900


REGISTERING = """
[[trunk]]
name = "registrar"
uri = "sip:127.0.0.1:{port}"
probe_s = 0
username = "gateway"
password_env = "CARRIER_PASSWORD"
register = true
"""


async def registered(gateway: Gateway) -> dict[str, Any]:
    """The registration with a trunk, once it stands."""
    async with asyncio.timeout(5):
        while True:
            (status,) = (await gateway.get("/v1/trunks/registrar"))["registrations"]
            if status["registered"]:
                return dict(status)
            await asyncio.sleep(0.05)


# ---- what takes long


@dataclass
class Slow:
    """A gateway whose calls last, and what goes on with it."""

    gateway: Gateway
    places: dict[str, Place]
    directory: Path
    events: CallEvents
    tasks: dict[str, asyncio.Task[Any]] = field(default_factory=dict)

    def peer(
        self, trunk: str, scenario: str, to: str | None = None
    ) -> AbstractAsyncContextManager[Sipp]:
        """Start SIPp at a trunk, which has its time."""
        self.places[trunk].free()
        return running_sipp(
            self.directory / f"slow-{trunk}",
            scenario,
            port=self.places[trunk].port,
            target=None if to is None else self.gateway.sip_port,
            values={"rtp_port": UNHEARD_PORT, "to": to or ""},
            options=("-timeout", "100", "-m", "2" if scenario == "answers_options" else "1"),
        )


SLOW_TRUNKS: Mapping[str, str] = {
    "watched": "probe_s = 5",
    "refreshed": "probe_s = 0\nsession_expires_s = 90\nmedia_timeout_s = 0",
    "forgetful": "probe_s = 0\nmedia_timeout_s = 0",
}

SLOW_TRUNK = """
[[trunk]]
name = "{name}"
uri = "sip:127.0.0.1:{port}"
{more}

[[route]]
from = ["api"]
match = "{name}"
to = ["trunk:{name}"]

[[route]]
from = ["trunk:{name}"]
match = "echo"
to = ["agent:echo"]
"""


async def watch(slow: Slow) -> tuple[int, list[dict[str, Any]], Sipp]:
    """A trunk that answers one OPTIONS, then none, then two.

    Returns:
        How many it let go by, the states that `/v1/trunks` told, and the SIPp that answered.
    """
    states = []

    async def look() -> None:
        states.append(await slow.gateway.get("/v1/trunks/watched"))

    slow.places["watched"].free()
    with SipSocket(port=slow.places["watched"].port) as socket:
        socket.respond(await socket.receive("OPTIONS"), "200 OK")
        await slow.events.next("trunk.up")
        await look()
        let_go: set[str] = set()
        reader = asyncio.ensure_future(collect(socket, let_go))
        await slow.events.next("trunk.down", timeout_s=30)
        await look()
        reader.cancel()
        await asyncio.wait([reader])
    slow.events.all.clear()
    async with slow.peer("watched", "answers_options") as sipp:
        await slow.events.next("trunk.up", timeout_s=30)
        await look()
        await sipp.finish()
    return len(let_go), states, sipp


async def collect(socket: SipSocket, seen: set[str]) -> None:
    """Note what is asked, and say nothing."""
    while True:
        datagram = await socket.receive_any()
        seen.add(next(line for line in datagram.text.split("\r\n") if line.startswith("Call-ID")))


async def refresh(slow: Slow) -> Sipp:
    """A call whose session is kept up by an UPDATE."""
    async with slow.peer("refreshed", "is_refreshed") as sipp:
        await slow.gateway.request("POST", "/v1/calls", {"from": "echo", "to": "refreshed"})
        return await finish(sipp)


async def forget(slow: Slow) -> Sipp:
    """A call whose session its caller forgets."""
    async with slow.peer("forgetful", "forgets_the_time", "echo") as sipp:
        return await finish(sipp)


async def finish(sipp: Sipp) -> Sipp:
    async with asyncio.timeout(100):
        await sipp.process.wait()
    return await sipp.finish()


STORIES: tuple[Callable[[Slow], Awaitable[Any]], ...] = (watch, refresh, forget)


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def slow(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Slow]:
    """Begin with what takes long before all else."""
    directory = tmp_path_factory.mktemp("slow")
    places = {name: Place(number) for number, name in enumerate(SLOW_TRUNKS)}
    more = "".join(
        SLOW_TRUNK.format(name=name, port=places[name].port, more=text)
        for name, text in SLOW_TRUNKS.items()
    )
    with contextlib.ExitStack() as stack:
        for place in places.values():
            stack.callback(place.free)
        async with (
            running_gateway(directory, more) as gateway,
            call_events(gateway) as events,
        ):
            slow = Slow(gateway, places, directory, events)
            slow.tasks = {each.__name__: asyncio.ensure_future(each(slow)) for each in STORIES}
            yield slow
            for task in slow.tasks.values():
                task.cancel()
            await asyncio.wait(slow.tasks.values())


async def test_f7_trunk_is_down_after_3_misses_and_up_after_2_answers(slow: Slow) -> None:
    let_go, states, sipp = await slow.tasks["watch"]

    assert [each["state"] for each in states] == ["up", "down", "up"]
    assert [each["reason"] for each in states] == [None, "no-answer", None]
    assert let_go == 3
    assert len(sipp.received("OPTIONS")) == 2


@pytest.mark.rfc(4028, "7.2")
async def test_f9_session_that_we_keep_up_is_refreshed_at_half_of_its_time(slow: Slow) -> None:
    carrier = await slow.tasks["refresh"]

    (answered,), (update,) = carrier.sent("200 INVITE"), carrier.received("UPDATE")
    assert update.at - answered.at == pytest.approx(45, abs=1)
    assert update.header("Session-Expires") == "90;refresher=uac"
    assert update.body.strip() == ""


@pytest.mark.rfc(4028, "10")
async def test_f9_session_that_nobody_refreshes_is_ended_before_it_expires(slow: Slow) -> None:
    caller = await slow.tasks["forget"]

    answered, bye = caller.received("200 INVITE")[0], caller.received("BYE")[0]
    assert answered.header("Session-Expires") == "90;refresher=uac"
    assert bye.at - answered.at == pytest.approx(90 - 30, abs=1)

"""SIPp, and bare sockets, as callers: what the gateway answers, to the polite and to the rude."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.audio import tone
from tests.support.events import CallEvents, call_events
from tests.support.gateway import Gateway, free_port, running_gateway
from tests.support.rtp import encode_pcmu, rtp_peer
from tests.support.sipp import Sipp, running_sipp
from tests.support.wire import SipSocket

# One gateway for the whole file.
pytestmark = [pytest.mark.real, pytest.mark.calm, pytest.mark.asyncio(loop_scope="module")]

VECTORS = sorted((Path(__file__).parents[1] / "vectors/rfc4475").glob("*.dat"))

UNHEARD_PORT = 29_998
"Where callers want their audio that nobody listens to."

PCMU = "m=audio 29998 RTP/AVP 0\na=rtpmap:0 PCMU/8000"
G729 = "m=audio 29998 RTP/AVP 18\na=rtpmap:18 G729/8000"

MORE = """
[[trunk]]
name = "carrier"
uri = "sip:127.0.0.1:{port}"
probe_s = 0

[[agent]]
name = "brief"
protocol = "script"
step = [{{ answer = true }}, {{ wait = 0.3 }}, {{ hang_up = true }}]

[[agent]]
name = "rings"
protocol = "script"
step = [{{ ring = inf }}]

[[route]]
from = "sip"
match = "brief"
to = ["agent:brief"]

[[route]]
from = "sip"
match = "rings"
to = ["agent:rings"]

[[route]]
from = "sip"
match = "+1999*"
to = ["trunk:carrier"]
"""


@dataclass
class Booth:
    """What a test needs: the gateway, what it tells of its calls, and a directory."""

    gateway: Gateway
    events: CallEvents
    carrier_port: int
    directory: Path

    def caller(
        self,
        scenario: str,
        to: str = "echo",
        *,
        pause_ms: int = 0,
        values: Mapping[str, str | int] | None = None,
        options: tuple[str, ...] = (),
    ) -> AbstractAsyncContextManager[Sipp]:
        """Start SIPp, which calls."""
        return running_sipp(
            self.directory / "caller",
            scenario,
            target=self.gateway.sip_port,
            values={"to": to, "rtp_port": UNHEARD_PORT, **(values or {})},
            options=("-d", str(pause_ms), *options),
        )

    def carrier(self, scenario: str, **values: str | int) -> AbstractAsyncContextManager[Sipp]:
        """Start SIPp as the carrier that +1999… leads to."""
        return running_sipp(
            self.directory / "carrier",
            scenario,
            port=self.carrier_port,
            values={"rtp_port": UNHEARD_PORT, **values},
        )

    async def hang_up(self) -> None:
        call = (await self.events.next("call.started"))["call"]
        status, _ = await self.gateway.request("DELETE", f"/v1/calls/{call}")
        assert status == 200  # of any 2xx

    async def outcome(self) -> tuple[str, str, int, bool]:
        """How the call ended, as reason, fault, status, answered; nothing of it goes on."""
        call = (await self.events.next("call.ended"))["call"]
        await self.gateway.wait_for_calls(0)
        told: dict[str, Any] = (await self.gateway.get(f"/v1/calls/{call}"))["outcome"]
        return told["reason"], told["fault"], told["status"], told["answered"]


@dataclass
class Open:
    """The gateway under test."""

    gateway: Gateway
    carrier_port: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Open]:
    """A gateway with an echo, agents that ring or hang up, a trunk, and its lab."""
    port = free_port()
    directory = tmp_path_factory.mktemp("gateway")
    async with running_gateway(directory, MORE.format(port=port)) as gateway:
        yield Open(gateway, port)


@pytest_asyncio.fixture(loop_scope="module")
async def booth(running: Open, tmp_path: Path) -> AsyncIterator[Booth]:
    gateway = running.gateway
    async with call_events(gateway) as events:
        yield Booth(gateway, events, running.carrier_port, tmp_path)
    try:
        await gateway.wait_for_calls(0)
    finally:
        for call in (await gateway.get("/v1/calls"))["calls"]:
            await gateway.request("DELETE", f"/v1/calls/{call['id']}")
    assert not [line for line in gateway.log if "Traceback" in line]


# ---- audio


async def test_caller_hears_its_own_tone_from_the_echo(booth: Booth) -> None:
    async with (
        rtp_peer() as phone,
        booth.caller("calls_and_waits", values={"rtp_port": phone.port}) as caller,
    ):
        phone.say_tone(440, (await caller.next_received("200 INVITE")).media_address)
        await phone.wait_for_packets(75)
        await booth.hang_up()
        await caller.finish()

    heard = phone.recording().part(0.3, 1.3)
    assert heard.peak_hz == pytest.approx(440, rel=0.01)
    assert heard.level_dbfs == pytest.approx(-12, abs=1)
    assert caller.ladder == [
        *("> INVITE", "< 200 INVITE", "> ACK", "< BYE", "> 200 BYE"),
    ]
    assert (await booth.outcome())[3]


async def test_caller_that_leaves_the_offer_to_us_is_heard_too(booth: Booth) -> None:
    async with (
        rtp_peer() as phone,
        booth.caller("offers_late", values={"rtp_port": phone.port}) as caller,
    ):
        phone.say_tone(700, (await caller.next_received("200 INVITE")).media_address)
        await phone.wait_for_packets(75)
        await booth.hang_up()
        await caller.finish()

    assert phone.recording().part(0.3, 1.3).peak_hz == pytest.approx(700, rel=0.01)
    assert "RTP/AVP 0 8 101" in caller.received("200 INVITE")[0].body
    assert (await booth.outcome())[3]


async def test_two_sipps_talk_through_the_gateway(booth: Booth) -> None:
    async with (
        rtp_peer() as here,
        rtp_peer() as there,
        booth.carrier("answers", rtp_port=there.port) as carrier,
        booth.caller("calls_and_waits", "+19990001", values={"rtp_port": here.port}) as caller,
    ):
        here.say_tone(440, (await caller.next_received("200 INVITE")).media_address)
        there.say_tone(700, (await carrier.next_received("INVITE")).media_address)
        await here.wait_for_packets(75)
        await there.wait_for_packets(75)
        await booth.hang_up()
        await caller.finish()
        await carrier.finish()

    assert here.recording().part(0.3, 1.3).peak_hz == pytest.approx(700, rel=0.01)
    assert there.recording().part(0.3, 1.3).peak_hz == pytest.approx(440, rel=0.01)


async def test_what_sipp_itself_sends_reaches_the_carrier(booth: Booth) -> None:
    file = booth.directory / "says.pcmu"
    file.write_bytes(encode_pcmu(tone(520, 1, rate=8000)))
    options = ("-mp", str(free_port() // 2 * 2))

    async with (
        rtp_peer() as there,
        booth.carrier("answers", rtp_port=there.port) as carrier,
        booth.caller("speaks", "+19990001", values={"file": str(file)}, options=options) as caller,
    ):
        await there.wait_for_packets(75)
        await booth.hang_up()
        await caller.finish()
        await carrier.finish()

    heard = there.recording().part(0.3, 1.3)
    assert heard.peak_hz == pytest.approx(520, rel=0.01)
    assert heard.level_dbfs == pytest.approx(-12, abs=1)
    assert {packet.payload_type for packet in there.heard} == {0}


# ---- answers


async def test_200_is_sent_again_until_its_ack_comes(booth: Booth) -> None:
    async with booth.caller("acks_slowly", pause_ms=1500, options=("-nr",)) as caller:
        await caller.finish()

    answers = caller.received("200 INVITE")
    assert len({each.text for each in answers}) == 1
    assert [each.at - answers[0].at for each in answers] == pytest.approx([0, 0.5, 1.5], abs=0.3)
    assert await booth.outcome() == ("hangup", "caller", 0, True)


@pytest.mark.parametrize(
    ("to", "media", "status"),
    [
        ("echo", G729, 488),
        ("echo", PCMU.replace("29998", "22"), 488),
        ("nobody", PCMU, 404),
        ("receptionist%40elsewhere", PCMU, 404),
        ("+15550486", PCMU, 486),
        ("+15550603", PCMU, 603),
    ],
    ids=["no-common-codec", "media-to-a-system-port", "no-route", "odd-name", "busy", "declined"],
)
async def test_call_that_cannot_be_is_refused(
    booth: Booth, to: str, media: str, status: int
) -> None:
    offer = f"v=0\no=sipp 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n{media}"

    async with booth.caller("is_refused", to, values={"status": status, "sdp": offer}) as caller:
        await caller.finish()

    assert caller.ladder[-2:] == [f"< {status} INVITE", "> ACK"]


async def test_refusal_of_the_carrier_reaches_the_caller(booth: Booth) -> None:
    offer = f"v=0\no=sipp 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n{PCMU}"
    values: dict[str, str | int] = {"status": 486, "sdp": offer}

    async with (
        booth.carrier("refuses", status="486 Busy Here") as carrier,
        booth.caller("is_refused", "+19990001", values=values) as caller,
    ):
        await carrier.finish()
        await caller.finish()

    assert caller.ladder == ["> INVITE", "< 180 INVITE", "< 486 INVITE", "> ACK"]
    assert await booth.outcome() == ("busy", "callee", 486, False)


# ---- hang-ups


async def test_caller_hangs_up(booth: Booth) -> None:
    async with booth.caller("calls", pause_ms=300) as caller:
        await caller.finish()

    assert caller.ladder == ["> INVITE", "< 200 INVITE", "> ACK", "> BYE", "< 200 BYE"]
    assert await booth.outcome() == ("hangup", "caller", 0, True)


async def test_caller_hangs_up_with_its_ack(booth: Booth) -> None:
    async with (
        booth.carrier("answers") as carrier,
        booth.caller("calls", "+19990001") as caller,
    ):
        await caller.finish()
        await carrier.finish()

    assert carrier.ladder[-3:] == ["< ACK", "< BYE", "> 200 BYE"]
    assert await booth.outcome() == ("hangup", "caller", 0, True)


async def test_callee_hangs_up(booth: Booth) -> None:
    async with booth.caller("calls_and_waits", "brief") as caller:
        await caller.finish()

    assert caller.ladder[-2:] == ["< BYE", "> 200 BYE"]
    assert await booth.outcome() == ("hangup", "callee", 0, True)


@pytest.mark.parametrize("to", ["rings", "+15550109"], ids=["agent", "over-the-trunk"])
async def test_cancel_while_it_rings(booth: Booth, to: str) -> None:
    async with booth.caller("cancels", to, pause_ms=200) as caller:
        await caller.finish()

    assert caller.ladder == [
        *("> INVITE", "< 180 INVITE", "> CANCEL", "< 200 CANCEL", "< 487 INVITE", "> ACK")
    ]
    assert await booth.outcome() == ("cancelled", "caller", 487, False)


async def test_cancel_reaches_the_carrier(booth: Booth) -> None:
    async with (
        booth.carrier("rings_until_cancel") as carrier,
        booth.caller("cancels", "+19990001", pause_ms=200) as caller,
    ):
        await caller.finish()
        await carrier.finish()

    assert carrier.ladder[2:] == ["< CANCEL", "> 200 CANCEL", "> 487 INVITE", "< ACK"]
    assert await booth.outcome() == ("cancelled", "caller", 487, False)


async def test_cancel_after_the_answer_does_nothing(booth: Booth) -> None:
    async with booth.caller("cancels_too_late", pause_ms=300) as caller:
        await caller.finish()

    assert "< 487 INVITE" not in caller.ladder
    assert caller.ladder[-4:] == ["< 200 CANCEL", "> ACK", "> BYE", "< 200 BYE"]
    assert await booth.outcome() == ("hangup", "caller", 0, True)


async def test_bye_before_the_answer_ends_the_call(booth: Booth) -> None:
    async with booth.caller("says_bye_early", "rings") as caller:
        await caller.finish()

    assert caller.ladder[-4:] == ["> BYE", "< 200 BYE", "< 487 INVITE", "> ACK"]
    reason, fault, _, answered = await booth.outcome()
    assert (reason, fault, answered) == ("cancelled", "caller", False)


# ---- what is no call


async def test_options_tells_that_we_live(booth: Booth) -> None:
    async with booth.caller("asks_options") as caller:
        await caller.finish()

    answer = caller.received("200 OPTIONS")[0]
    assert "INVITE" in answer.header("Allow")
    assert answer.header("Accept") == "application/sdp"


OPTIONS = (
    "OPTIONS sip:echo@127.0.0.1 SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bK{branch}\r\n"
    "From: <sip:socket@127.0.0.1>;tag=1\r\nTo: <sip:echo@127.0.0.1>\r\n"
    "Call-ID: {branch}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n{more}Content-Length: 0\r\n\r\n"
)


@dataclass
class Asker:
    """A socket that asks whether the gateway lives, after whatever it was made to read."""

    socket: SipSocket
    gateway: Gateway
    asked: int = 0

    @property
    def target(self) -> tuple[str, int]:
        return ("127.0.0.1", self.gateway.sip_port)

    async def answers(self, more: str = "") -> list[str]:
        """Statuses of all answers until that to an OPTIONS sent now, which is the last."""
        self.asked += 1
        name = f"alive{self.asked}"
        self.socket.send(OPTIONS.format(port=self.socket.port, branch=name, more=more), self.target)
        statuses = []
        async with asyncio.timeout(10):
            while True:
                answer = await self.socket.receive_any()
                statuses.append(answer.label)
                if f"Call-ID: {name}\r\n" in answer.text:
                    return statuses


@pytest.fixture
def asker(booth: Booth) -> Any:
    with SipSocket() as socket:
        yield Asker(socket, booth.gateway)


def _broken(change: str, replacement: str) -> str:
    return OPTIONS.replace(change, replacement)


RUBBISH = {
    "empty": b"",
    "keep-alive": b"\r\n\r\n",
    "zeros": bytes(1000),
    "no SIP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "half a line": b"INVITE sip:echo@127.0.0.1 SIP",
    "nobody to answer": b"OPTIONS sip:echo@127.0.0.1 SIP/2.0\r\nContent-Length: 0\r\n\r\n",
    "no From to answer with": _broken("From: <sip:socket@127.0.0.1>;tag=1\r\n", "").encode(),
    "65 KB of one letter": b"A" * 65_000,
    "stray response": b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "bytes of no charset": bytes(range(128, 256)) * 40,
}


@pytest.mark.parametrize("name", RUBBISH)
async def test_rubbish_gets_no_answer(asker: Asker, name: str) -> None:
    asker.socket.send(RUBBISH[name], asker.target)

    assert await asker.answers() == ["200"]


@pytest.mark.parametrize(
    ("text", "statuses"),
    [
        (_broken("Content-Length: 0", "Content-Length: 9"), {"400"}),
        (_broken("Content-Length: 0", "Content-Length: -1"), {"400"}),
        (_broken("CSeq: 1 OPTIONS", "CSeq: 99999999999999999999 OPTIONS"), {"400"}),
        (_broken("CSeq: 1 OPTIONS", "CSeq: 1 INVITE"), {"400"}),
        (_broken("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), {"505"}),
        (_broken("sip:echo@127.0.0.1 SIP", "mailto:echo@127.0.0.1 SIP"), {"416"}),
        (_broken("Max-Forwards: 70", "Max-Forwards: 0"), {"483"}),
        (_broken("Max-Forwards: 70", "Require: teleport"), {"420"}),
        (_broken("Max-Forwards: 70", "X-Long: " + "a" * 20_000), {"400", "413", "513"}),
        (_broken("Max-Forwards: 70", "\r\n".join(["X-Many: 1"] * 3000)), {"400", "413", "513"}),
        (_broken("Max-Forwards: 70", "X: " + "(" * 60_000), {"400", "413", "513"}),
    ],
    ids=[
        *("short-body", "negative-length", "huge-cseq", "other-method", "version"),
        *("scheme", "hops", "extension", "long-line", "many-headers", "datagram-of-60-kb"),
    ],
)
async def test_wrong_request_is_told_what_is_wrong(
    asker: Asker, text: str, statuses: set[str]
) -> None:
    wrong = text.format(port=asker.socket.port, branch="wrong", more="")
    asker.socket.send(wrong, asker.target)

    first, *rest = await asker.answers()

    assert first in statuses
    assert rest == ["200"]


async def test_torture_messages_end_no_gateway(asker: Asker, booth: Booth) -> None:
    """What each is to be answered is shown in virtual time; here all of them go over the wire."""
    assert len(VECTORS) > 40

    for path in VECTORS:
        asker.socket.send(path.read_bytes(), asker.target)
        await asker.answers()

    for call in (await booth.gateway.get("/v1/calls"))["calls"]:
        await booth.gateway.request("DELETE", f"/v1/calls/{call['id']}")


async def test_source_that_is_not_allowed_gets_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_SIP_ALLOW", "127.0.0.1/32")

    async with running_gateway(tmp_path) as gateway:
        with SipSocket(host="127.0.0.2") as stranger, SipSocket() as known:
            target = ("127.0.0.1", gateway.sip_port)
            for method in ("OPTIONS", "INVITE", "REGISTER"):
                text = OPTIONS.replace("OPTIONS", method)
                stranger.send(text.format(port=stranger.port, branch="a", more=""), target)
            # Read in their order: when this one is answered, the others have been passed over.
            alive = await Asker(known, gateway).answers()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    pytest.fail(f"answered: {(await stranger.receive_any()).text}")
            calls = (await gateway.get("/v1/calls"))["calls"]

    assert alive == ["200"]
    assert calls == []

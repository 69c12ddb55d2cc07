"""A node over bare SIP sockets: whom it names to a trunk, and what a refusal gives back."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.agents.agent import AgentCall
from gateway.api.calls import describe_call
from gateway.call.hunt import Errand
from gateway.config import parse_config
from gateway.errors import CapacityError, ConfigError
from gateway.net.pacer import Pacer
from gateway.node import Node
from gateway.private import Private
from gateway.sip.event import HopFailed, HopTrouble
from gateway.sip.flow import Flow, Hop
from gateway.sip.uri import parse_uri
from gateway.trunk.identity import CallerIdentity
from gateway.users.contacts import Contact
from gateway.webrtc.certificate import generate_certificate
from tests.support.gateway import free_port
from tests.support.wire import Datagram, SipSocket

pytestmark = [pytest.mark.real, pytest.mark.beside]

CONFIG = """
[http]
listen = ""

[webrtc]
listen = ""

[sip]
allow = ["127.0.0.0/8"]
{sip}

[[trunk]]
name = "carrier"
uri = "sip:{host}:{port}"
probe_s = 0
max_calls = 2

[[agent]]
name = "echo"
protocol = "echo"

[[route]]
from = "sip"
match = "moved"
to = ["reject:302"]

[[route]]
from = "sip"
match = "login"
to = ["reject:401"]

[[route]]
from = ["sip", "api", "trunk:carrier"]
match = "echo"
to = ["agent:echo"]

[[route]]
from = ["sip", "api"]
match = "+*"
to = ["trunk:carrier"]
"""

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 29998 RTP/AVP 0\r\n"
)

INVITE = (
    "INVITE sip:{to}@127.0.0.1 SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bK{to}\r\n"
    'From: "Ann" <sip:{caller}@127.0.0.1>;tag=1\r\nTo: <sip:{to}@127.0.0.1>\r\n'
    "Call-ID: {to}\r\nCSeq: 1 INVITE\r\nContact: <sip:127.0.0.1:{port}>\r\n"
    "Max-Forwards: {hops}\r\nContent-Type: application/sdp\r\n"
    f"Content-Length: {len(SDP)}\r\n\r\n{SDP}"
)


LISTEN = 'listen = ["udp:127.0.0.1:0"]'

USER = """
[[user]]
name = "ann"
password_env = "ANN"
"""


@asynccontextmanager
async def running_node(
    carrier_port: int, host: str = "127.0.0.1", *, sip: str = LISTEN, more: str = ""
) -> AsyncIterator[Node]:
    loop = asyncio.get_running_loop()
    text = CONFIG.format(port=carrier_port, host=host, sip=sip) + more
    config = parse_config(tomllib.loads(text), Path("node.toml"), {"ANN": "secret"})
    node = Node(config, version="1", loop=loop, pacer=Pacer(loop), certificate=None)
    try:
        yield node
    finally:
        await node.close()


def ring(caller: SipSocket, node: Node, to: str, *, who: str = "ann", hops: int = 70) -> None:
    text = INVITE.format(to=to, port=caller.port, caller=who, hops=hops)
    caller.send(text, node.sip_addresses[0][1])


async def final(caller: SipSocket) -> Datagram:
    while (answer := await caller.receive_any()).label < "200":
        pass
    return answer


FAR = """
[[agent]]
name = "far"
protocol = "sip"
uri = "sip:model@127.0.0.1:{port}"

[[route]]
from = "sip"
match = "far"
to = ["agent:far"]
"""


async def test_agent_at_a_sip_uri_is_listed_among_the_trunks_with_its_calls() -> None:
    with SipSocket() as caller, SipSocket() as far:
        async with running_node(9, more=FAR.format(port=far.port)) as node:
            before = [(trunk.name, trunk.calls_out) for trunk in node.trunks()]
            ring(caller, node, "far")
            invite = await far.receive("INVITE")
            agent = node.trunk("agent:far")
            far.respond(invite, "486 Busy Here")

    assert before == [("carrier", 0), ("agent:far", 0)]
    assert invite.text.startswith("INVITE sip:model@127.0.0.1")
    assert agent is not None
    assert agent.calls_out == 1


async def test_hops_are_counted_on_to_the_trunk() -> None:
    with SipSocket() as caller, SipSocket() as carrier:
        async with running_node(carrier.port) as node:
            ring(caller, node, "+15550100", hops=7)
            invite = await carrier.receive("INVITE")
            carrier.respond(invite, "486 Busy Here")

    assert "\r\nMax-Forwards: 6\r\n" in invite.text


@pytest.mark.parametrize(
    ("who", "shown"),
    [("+15550001", "+15550001"), ("%ff%0d%0aX", "anonymous"), ("a" * 65, "anonymous")],
    ids=["a-number", "escaped-line-break", "too-long"],
)
async def test_caller_is_shown_to_the_trunk_only_if_it_could_be_dialled(
    who: str, shown: str
) -> None:
    with SipSocket() as caller, SipSocket() as carrier:
        async with running_node(carrier.port) as node:
            ring(caller, node, "+15550100", who=who)
            invite = await carrier.receive("INVITE")
            listed = [describe_call(call).model_dump_json(by_alias=True) for call in node.calls()]
            carrier.respond(invite, "486 Busy Here")

    assert f"From: <sip:{shown}@127.0.0.1>;" in invite.text
    assert json.loads(listed[0])["from"] == shown.removeprefix("anonymous")


@pytest.mark.parametrize(("to", "status"), [("moved", "302"), ("login", "401")])
async def test_route_that_rejects_does_so_by_its_very_status(to: str, status: str) -> None:
    with SipSocket() as caller:
        async with running_node(free_port()) as node:
            ring(caller, node, to)

            assert (await final(caller)).label == status


async def test_node_that_drains_asks_to_come_back_and_keeps_nothing() -> None:
    with SipSocket() as caller:
        async with running_node(free_port()) as node:
            node.registry.drain()
            ring(caller, node, "echo")

            answer = await final(caller)

            assert answer.label == "503"
            assert "\r\nRetry-After: 5\r\n" in answer.text
            assert (node.rtp_ports_in_use, node.pacer.count) == (0, 0)


async def test_caller_of_the_api_that_is_not_placed_gives_its_ports_back() -> None:
    async with running_node(free_port()) as node:
        node.registry.drain()

        with pytest.raises(CapacityError):
            node.originate("+15550100", "echo")

        assert (node.rtp_ports_in_use, node.pacer.count) == (0, 0)


async def test_bug_while_an_invite_is_taken_is_answered_and_leaks_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with SipSocket() as caller:
        async with running_node(free_port()) as node:
            monkeypatch.setattr(node, "_place", None)
            ring(caller, node, "echo")

            assert (await final(caller)).label == "500"
            assert (node.rtp_ports_in_use, node.pacer.count) == (0, 0)
    assert "an INVITE broke" in caplog.text


@pytest.mark.parametrize(
    ("offer", "status"),
    [("v=1\r\n", "400"), (SDP.replace("RTP/AVP 0", "UDP/TLS/RTP/SAVPF 0"), "488")],
    ids=["no-sdp", "webrtc-where-there-is-none"],
)
async def test_invite_whose_offer_is_of_no_use_takes_no_call_of_its_trunk(
    offer: str, status: str
) -> None:
    with SipSocket() as carrier:
        async with running_node(carrier.port) as node:
            for number in range(3):
                text = INVITE.format(to="echo", port=carrier.port, caller="ann", hops=70)
                text = text.replace("z9hG4bKecho", f"z9hG4bK{number}")
                text = text.replace("Call-ID: echo", f"Call-ID: {number}")
                text = text.replace(SDP, offer).replace(str(len(SDP)), str(len(offer)))
                carrier.send(text, node.sip_addresses[0][1])

                assert (await final(carrier)).label == status

            trunk = node.trunk("carrier")
            assert trunk is not None
            assert (trunk.calls_in, node.rtp_ports_in_use, node.pacer.count) == (0, 0, 0)


async def test_a18_browser_at_the_address_of_a_trunk_is_not_that_trunk() -> None:
    """It may sit behind a proxy on this machine, as all browsers then do."""
    said: list[bytes] = []

    def take(data: bytes) -> bool:
        said.append(data)
        return True

    with SipSocket() as carrier:
        async with running_node(carrier.port, more=USER) as node:
            socket = node.telephony.transports.adopt_websocket(
                local=("127.0.0.1", 8080),
                remote=("127.0.0.1", carrier.port),
                is_secure=True,
                send=take,
                close=lambda why: None,
            )
            text = INVITE.format(to="echo", port=carrier.port, caller="ann", hops=70)

            socket.receive(text.encode())

            assert [data[:11] for data in said] == [b"SIP/2.0 401"]
            socket.lost()


async def test_phone_may_log_in_at_any_address_that_is_listened_on() -> None:
    listen, rtp = 'listen = ["udp:0.0.0.0:0"]', '[rtp]\naddress = "127.0.0.1"\n'
    with SipSocket() as phone:
        async with running_node(free_port(), sip=listen, more=rtp + USER) as node:
            port = node.sip_addresses[0][1][1]
            text = INVITE.format(to="ann", port=phone.port, caller="ann", hops=70)
            text = text.replace("INVITE sip:ann@", "REGISTER sip:").replace("INVITE", "REGISTER")
            phone.send(text, ("127.0.0.1", port))

            assert (await final(phone)).label == "401"


async def test_phone_is_shown_neither_name_nor_number_that_is_withheld() -> None:
    async with running_node(free_port(), more=USER) as node:
        flow = Flow("udp", node.sip_addresses[0][1], ("127.0.0.1", 5060))
        uri = parse_uri("sip:ann@127.0.0.1")
        contact = Contact(1, uri, flow, flow, expires_at=60, refreshed_at=0, call_id="c", cseq=1)
        errand = Errand("gw-1", (Private(""), Private("ann")), max_forwards=70)
        caller = CallerIdentity(Private("+15550001"), Private("Eva Lang"), is_withheld=True)

        request = node.telephony.request_to_contact(node.config.users[0], contact, errand, caller)

        assert str(request.from_) == "<sip:anonymous@127.0.0.1>"


async def test_options_says_once_what_we_can_do() -> None:
    with SipSocket() as asker:
        async with running_node(free_port(), more=USER) as node:
            text = INVITE.format(to="echo", port=asker.port, caller="ann", hops=70)
            asker.send(text.replace("INVITE", "OPTIONS"), node.sip_addresses[0][1])

            answer = await final(asker)

            assert answer.label == "200"
            for name in ("Allow", "Accept", "Supported"):
                assert answer.text.count(f"\r\n{name}: ") == 1


async def test_agent_called_by_the_api_knows_its_call_and_whom_it_will_talk_with() -> None:
    known: asyncio.Future[AgentCall] = asyncio.get_running_loop().create_future()

    class Knowing:
        async def on_call(self, call: AgentCall) -> None:
            known.set_result(call)

    async with running_node(free_port()) as node:
        node.parties.agents["echo"] = Knowing()
        placed = node.originate("agent:echo", "+15550100,,42#")
        call = await known

        assert call.id == placed.id
        assert (call.facts.caller, call.facts.called) == ("", "+15550100")
        assert call.facts.is_outbound


async def test_bye_at_the_end_of_a_drain_is_sent_again_when_it_was_lost() -> None:
    with SipSocket() as caller:
        async with running_node(free_port()) as node:
            ring(caller, node, "echo")
            answer = await final(caller)
            tag = next(line for line in answer.text.split("\r\n") if line.startswith("To:"))
            ack = INVITE.format(to="echo", port=caller.port, caller="ann", hops=70)
            ack = ack.replace("INVITE", "ACK").replace("To: <sip:echo@127.0.0.1>", tag)
            caller.send(
                ack.replace("branch=z9hG4bK", "branch=z9hG4bKack"), node.sip_addresses[0][1]
            )
            await node.drain(0)
            await node.close()

        first, again = await caller.receive("BYE"), await caller.receive("BYE")

    assert first.text == again.text


async def test_node_that_closes_waits_for_no_nameserver() -> None:
    with SipSocket() as nameserver:
        sip = f'{LISTEN}\nnameservers = ["127.0.0.1:{nameserver.port}"]'
        async with running_node(5060, host="carrier.example", sip=sip) as node:
            await nameserver.receive_any()
            assert node.telephony.resolver.look_ups

        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_f30_trunk_is_offered_media_of_the_family_that_it_answers_in() -> None:
    with SipSocket() as caller, SipSocket() as carrier:
        sip = 'listen = ["udp:127.0.0.1:0", "udp:[::1]:0"]'
        async with running_node(carrier.port, host="localhost", sip=sip) as node:
            watch, now = node.telephony.watch, asyncio.get_running_loop().time()
            destination = node.config.trunks[0].destination
            deaf = Hop("udp", "::1", carrier.port)
            while not node.trunks()[0].hops:
                await asyncio.sleep(0)
            for seconds in range(3):
                event = HopFailed(destination, deaf, HopTrouble.UNREACHABLE)
                watch.hop_was_tried(event, now + 2 * seconds)

            ring(caller, node, "+15550100")
            invite = await carrier.receive("INVITE")
            carrier.respond(invite, "486 Busy Here")

    assert "\r\nc=IN IP4 127.0.0.1\r\n" in invite.text
    assert "From: <sip:ann@127.0.0.1>;" in invite.text


async def test_trunk_of_a_family_that_is_not_listened_on_is_no_bug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with SipSocket() as caller:
        async with running_node(free_port(), host="[2001:db8::1]") as node:
            ring(caller, node, "+15550100")

            assert (await final(caller)).label == "503"
    assert "broke" not in caplog.text


async def test_rtp_address_that_is_not_ours_stops_the_start() -> None:
    loop = asyncio.get_running_loop()
    config = parse_config(
        tomllib.loads(CONFIG.format(port=5070, host="127.0.0.1", sip=LISTEN)), Path("node.toml"), {}
    )
    wrong = replace(config, rtp=replace(config.rtp, address="192.0.2.1"))

    with pytest.raises(ConfigError, match=r"node\.toml: \[rtp\] address = '192\.0\.2\.1'"):
        Node(wrong, version="1", loop=loop, pacer=Pacer(loop), certificate=None)


async def test_node_that_cannot_be_opened_leaves_nothing_running() -> None:
    loop = asyncio.get_running_loop()
    with SipSocket() as other:
        text = CONFIG.format(port=5070, host="127.0.0.1", sip=LISTEN)
        text = text.replace('[webrtc]\nlisten = ""', f'[webrtc]\nlisten = "127.0.0.1:{other.port}"')
        config = parse_config(tomllib.loads(text), Path("node.toml"), {})
        certificate = generate_certificate(datetime.now(UTC))

        with pytest.raises(ConfigError, match=r"node\.toml: \[webrtc\]"):
            Node(config, version="1", loop=loop, pacer=Pacer(loop), certificate=certificate)

        async with asyncio.timeout(5):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0)


async def test_address_in_use_names_the_file_and_opens_nothing() -> None:
    loop = asyncio.get_running_loop()
    with SipSocket() as other:
        text = CONFIG.format(port=5070, host="127.0.0.1", sip=LISTEN).replace(
            '["udp:127.0.0.1:0"]', f'["udp:127.0.0.1:0", "udp:127.0.0.1:{other.port}"]'
        )
        config = parse_config(tomllib.loads(text), Path("node.toml"), {})

        with pytest.raises(ConfigError, match=r"node\.toml: \[sip\] listen = 'udp:127"):
            Node(config, version="1", loop=loop, pacer=Pacer(loop), certificate=None)

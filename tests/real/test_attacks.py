"""Attacks on a whole node over sockets. A test's name begins with the row that it shows."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config import parse_config
from gateway.net.pacer import Pacer
from gateway.node import Node
from gateway.sip.flow import Flow
from tests.support.gateway import free_port
from tests.support.warp import WarpLoop
from tests.support.wire import Datagram, SipSocket

pytestmark = [pytest.mark.real, pytest.mark.beside]

CONFIG = """
[http]
listen = ""

[webrtc]
listen = ""

[sip]
listen = ["udp:127.0.0.1:{port}", "tcp:127.0.0.1:0"]
{sip}

[rtp]
ports = "24000-24999"

[[trunk]]
name = "carrier"
uri = "sip:127.0.0.1:{carrier}"
allow = ["127.0.0.7/32"]
probe_s = 0
username = "gateway"
password_env = "PASSWORD"
{carrier_more}

[[trunk]]
name = "other"
uri = "sip:127.0.0.8:{other}"
probe_s = 0
pai = "caller"

[[agent]]
name = "echo"
protocol = "echo"

[[agent]]
name = "mute"
protocol = "script"
step = [{{ answer = true }}, {{ wait = 600 }}]

[[route]]
from = ["trunk:carrier", "trunk:other", "api"]
match = "echo"
to = ["agent:echo"]

[[route]]
from = "trunk:carrier"
match = "mute"
to = ["agent:mute"]

[[route]]
from = "trunk:carrier"
match = "+1*"
to = ["trunk:other"]

{more}
"""

USER = """
[[user]]
name = "ann"
password_env = "PASSWORD"
"""

STRANGER = "127.0.0.66"
"An address that nobody knows."

QUIET_S = 0.3
"What has not come by then does not come."


def media(*lines: str, port: int = 29_998, host: str = "127.0.0.1") -> str:
    """An SDP whose audio is PCMU."""
    head = f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    return f"{head}m=audio {port} RTP/AVP 0\r\n" + "".join(f"{line}\r\n" for line in lines)


def request(
    socket: SipSocket,
    method: str = "INVITE",
    to: str = "echo",
    *lines: str,
    sdp: str = "",
    host: str = "127.0.0.1",
    call: str = "call",
    cseq: int = 1,
    from_tag: str = "ours",
    to_tag: str = "",
    branch: str = "",
    transport: str = "UDP",
    hops: int = 70,
) -> str:
    """A request as it goes over the wire."""
    content = ("Content-Type: application/sdp",) if sdp else ()
    head = [
        f"{method} sip:{to}@{host} SIP/2.0",
        f"Via: SIP/2.0/{transport} {socket.host}:{socket.port};rport"
        f";branch=z9hG4bK{branch or f'{call}{method}{cseq}'}",
        f"From: <sip:+15550001@{host}>;tag={from_tag}",
        f"To: <sip:{to}@{host}>" + (f";tag={to_tag}" if to_tag else ""),
        f"Call-ID: {call}",
        f"CSeq: {cseq} {method}",
        f"Contact: <sip:{socket.host}:{socket.port}>",
        f"Max-Forwards: {hops}",
        *content,
        *lines,
    ]
    if not any(line.startswith("Content-Length") for line in lines):
        head.append(f"Content-Length: {len(sdp)}")
    return "\r\n".join(head) + f"\r\n\r\n{sdp}"


def tag_of(answer: Datagram) -> str:
    """The tag that the gateway has in a dialog."""
    found = re.search(r"^To:.*;tag=(\S+)\r$", answer.text, re.MULTILINE)
    assert found is not None, answer.text
    return found[1]


class Fort:
    """A node under attack, and its trunk."""

    def __init__(self, node: Node, carrier: SipSocket, other: SipSocket) -> None:
        self.node, self.carrier, self.other = node, carrier, other

    @property
    def udp(self) -> tuple[str, int]:
        return dict(self.node.sip_addresses)["udp"]

    @property
    def tcp(self) -> tuple[str, int]:
        return dict(self.node.sip_addresses)["tcp"]

    async def final(self, socket: SipSocket) -> Datagram:
        """The next final response."""
        while not "200" <= (answer := await socket.receive_any()).label < "700":
            pass
        return answer

    async def connect(self, socket: SipSocket | None = None, call: str = "up") -> str:
        """Call the echo from the trunk; the node's tag of the dialog that is up."""
        socket = socket or self.carrier
        socket.send(request(socket, sdp=media(), call=call), self.udp)
        tag = tag_of(await self.final(socket))
        ack = request(socket, "ACK", call=call, to_tag=tag, branch=f"{call}ack")
        socket.send(ack, self.udp)
        return tag

    async def is_alive(self) -> bool:
        """Whether the trunk's OPTIONS is answered within half a second."""
        name = f"alive{asyncio.get_running_loop().time()}"
        with SipSocket(host="127.0.0.7") as socket:
            async with asyncio.timeout(0.5):
                socket.send(request(socket, "OPTIONS", call=name), self.udp)
                return (await socket.receive_any()).label == "200"


async def silence(socket: SipSocket) -> bool:
    """Whether nothing comes."""
    try:
        async with asyncio.timeout(QUIET_S):
            await socket.receive_any()
    except TimeoutError:
        return True
    return False


@asynccontextmanager
async def fort(
    *, sip: str = "", carrier_more: str = "", more: str = "", port: int = 0
) -> AsyncIterator[Fort]:
    """Start a node."""
    loop = asyncio.get_running_loop()
    with (
        SipSocket() as carrier,
        SipSocket(host="127.0.0.8") as other,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("gateway.node.GOODBYE_S", 0.0)  # nobody here answers the last BYE
        text = CONFIG.format(
            port=port,
            carrier=carrier.port,
            other=other.port,
            sip=sip,
            carrier_more=carrier_more,
            more=more,
        )
        environment = {"PASSWORD": "a long secret"}
        config = parse_config(tomllib.loads(text), Path("node.toml"), environment)
        node = Node(config, version="1", loop=loop, pacer=Pacer(loop), certificate=None)
        try:
            yield Fort(node, carrier, other)
        finally:
            await node.close()


# ---- A9: our password is for who we called with it, and nobody else


@pytest.mark.parametrize("realm", ["carrier", "another"])
async def test_a9_caller_that_challenges_our_bye_learns_nothing(realm: str) -> None:
    async with fort() as at:
        await at.connect()
        at.node.hang_up(at.node.calls()[0].id)
        challenge = f'Proxy-Authenticate: Digest realm="{realm}", nonce="1", algorithm=MD5\r\n'
        bye = await at.carrier.receive("BYE")
        at.carrier.respond(bye, "407 Proxy Authentication Required", challenge)

        assert await silence(at.carrier)
        assert at.node.calls() == []


# ---- A11: floods


@pytest.mark.parametrize("method", ["INVITE", "REGISTER", "OPTIONS", "BYE", "MESSAGE"])
async def test_a11_flood_of_a_stranger_is_neither_answered_nor_kept(method: str) -> None:
    async with fort() as at:
        with SipSocket(host=STRANGER) as stranger:
            for number in range(1000):
                data = request(stranger, method, call=f"flood{number}", sdp=media())
                stranger.send(data, at.udp)
                if number % 100 == 0:
                    await asyncio.sleep(0)

            assert await at.is_alive()
            assert await silence(stranger)
        assert at.node.telephony.legs.endpoint.is_idle
        assert at.node.rtp_ports_in_use == 0


@pytest.mark.parametrize("method", ["INVITE", "REGISTER"])
async def test_a11_where_there_are_users_a_stranger_is_asked_16_times(method: str) -> None:
    async with fort(more=USER) as at:
        with SipSocket(host=STRANGER) as stranger:
            answers: Counter[str] = Counter()
            for number in range(200):
                stranger.send(request(stranger, method, call=f"flood{number}"), at.udp)
            while not await at.is_alive():
                pass
            try:
                async with asyncio.timeout(QUIET_S):
                    while True:
                        answers[(await stranger.receive_any()).label] += 1
            except TimeoutError:
                pass

        assert answers == {"401": 16}
        assert at.node.telephony.legs.endpoint.is_idle


async def test_a11_trunk_that_calls_too_often_is_asked_to_wait() -> None:
    async with fort(carrier_more="max_cps = 5") as at:
        answers = []
        for number in range(12):
            data = request(at.carrier, sdp=media(), call=f"fast{number}")
            at.carrier.send(data, at.udp)
            answers.append(await at.final(at.carrier))

        labels = [answer.label for answer in answers]
        assert labels == ["200"] * 5 + ["503"] * 7
        assert "\r\nRetry-After: " in answers[-1].text
        assert at.node.rtp_ports_in_use == 5


# ---- A12: half-open calls


HALF_OPEN = 30
"Calls; each costs the loop its media."


def in_warped_time(test: Any) -> Any:
    """Run a test on a loop whose clock it can put forward."""

    def run() -> None:
        with asyncio.Runner(loop_factory=WarpLoop) as runner:
            runner.run(test(runner.get_loop()))

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


@in_warped_time
async def test_a12_answers_that_nobody_acknowledges_are_taken_back_after_32_s(
    loop: WarpLoop,
) -> None:
    async with fort() as at:
        seen: set[tuple[str, str]] = set()
        reader = asyncio.ensure_future(note(at.carrier, seen))
        for number in range(HALF_OPEN):
            data = request(at.carrier, to="mute", sdp=media(), call=f"half{number}")
            at.carrier.send(data, at.udp)
        async with asyncio.timeout(10):
            while at.node.rtp_ports_in_use < HALF_OPEN:
                await asyncio.sleep(0.01)
        await loop.warp(20)
        still_up = len(at.node.calls())
        await loop.warp(20)
        reader.cancel()

        assert still_up == HALF_OPEN
        assert len([call for kind, call in seen if kind == "BYE"]) == HALF_OPEN
        assert at.node.calls() == []
        assert at.node.rtp_ports_in_use == 0
        await loop.warp(33)
        assert at.node.telephony.legs.endpoint.is_idle


async def note(socket: SipSocket, seen: set[tuple[str, str]]) -> None:
    """Answer each BYE, and remember what came."""
    while True:
        datagram = await socket.receive_any()
        call = next(line for line in datagram.text.split("\r\n") if line.startswith("Call-ID"))
        seen.add((datagram.label, call))
        if datagram.label == "BYE":
            socket.respond(datagram, "200 OK")


@pytest.mark.parametrize("to", ["nobody", "%00", "1%40evil.example"])
async def test_a12_call_that_leads_nowhere_takes_no_port(to: str) -> None:
    async with fort() as at:
        at.carrier.send(request(at.carrier, to=to, sdp=media()), at.udp)

        answer = await at.final(at.carrier)

        assert answer.label == "404"
        assert at.node.rtp_ports_in_use == 0
        assert at.node.calls() == []


# ---- A17: what an untrusted peer asserts


@pytest.mark.parametrize(
    "header",
    [
        "P-Asserted-Identity: <sip:+15559999@127.0.0.1>",
        "P-Asserted-Identity: <tel:+15559999>",
        "Remote-Party-ID: <sip:+15559999@127.0.0.1>;party=calling",
        "Diversion: <sip:+15559999@127.0.0.1>",
        "History-Info: <sip:+15559999@127.0.0.1>;index=1",
        "Identity: +15559999",
        "P-Preferred-Identity: <sip:+15559999@127.0.0.1>",
    ],
)
async def test_a17_identity_that_a_peer_asserts_goes_no_further(header: str) -> None:
    async with fort() as at:
        at.carrier.send(request(at.carrier, "INVITE", "+15550123", header, sdp=media()), at.udp)
        invite = await at.other.receive("INVITE")
        at.other.respond(invite, "486 Busy Here")
        await at.final(at.carrier)

    assert "5559999" not in invite.text
    assert "P-Asserted-Identity: <sip:+15550001@" in invite.text


# ---- A18: who passes for a trunk, or for a party of a call


@pytest.mark.parametrize("method", ["BYE", "INVITE", "UPDATE", "REFER", "INFO", "CANCEL", "ACK"])
async def test_a18_stranger_who_knows_a_dialog_is_not_heard(method: str) -> None:
    async with fort() as at:
        tag = await at.connect()
        with SipSocket(host=STRANGER) as stranger:
            data = request(stranger, method, call="up", cseq=9, to_tag=tag, sdp=media())
            stranger.send(data, at.udp)

            assert await silence(stranger)
        assert len(at.node.calls()) == 1


@pytest.mark.parametrize(
    "wrong", [{"to_tag": "guess"}, {"from_tag": "guess"}, {"call": "guess"}, {"to_tag": ""}]
)
@pytest.mark.parametrize("method", ["BYE", "UPDATE", "REFER", "INFO", "CANCEL"])
async def test_a18_other_trunk_that_guesses_a_dialog_gets_481(
    method: str, wrong: dict[str, str]
) -> None:
    async with fort() as at:
        tag = await at.connect()
        known: dict[str, Any] = {"call": "up", "to_tag": tag, **wrong}
        data = request(at.other, method, cseq=9, branch="guessed", **known)
        at.other.send(data, at.udp)

        answer = await at.final(at.other)

        assert answer.label == "481"
        assert len(at.node.calls()) == 1


async def test_a18_ack_with_guessed_tags_is_not_answered_and_changes_nothing() -> None:
    async with fort() as at:
        at.carrier.send(request(at.carrier, sdp=media(), call="up"), at.udp)
        await at.final(at.carrier)
        at.other.send(request(at.other, "ACK", call="up", to_tag="guess"), at.udp)

        assert await silence(at.other)
        assert (await at.carrier.receive("200")).label == "200"  # still without an ACK


async def test_a18_tags_are_of_64_bits_and_no_two_alike() -> None:
    async with fort() as at:
        tags = {await at.connect(call=f"up{number}") for number in range(20)}

        assert len(tags) == 20
        assert min(map(len, tags)) * 4 >= 64


# ---- A25: lies about the length, on a stream

HIDDEN = "INVITE sip:echo@127.0.0.1 SIP/2.0"


@pytest.mark.parametrize(
    "length",
    ["+5", "-1", "0x5", "5, 9", "5 5", "", "٥", "99999999999999999999", "1e2"],
)
async def test_a25_request_hidden_in_a_body_is_never_read(length: str) -> None:
    async with fort() as at:
        with SipSocket(host="127.0.0.7") as socket:
            hidden = request(socket, sdp=media(), call="hidden", transport="TCP")
            outer = request(
                socket, "OPTIONS", "echo", f"Content-Length: {length}", sdp="", transport="TCP"
            )
            answers = await converse(at, f"{outer}{hidden}{hidden}")

        assert [answer[:12] for answer in answers] == ["SIP/2.0 400 "]
        assert at.node.calls() == []
        assert await at.is_alive()


@pytest.mark.parametrize(
    "lines", [["Content-Length: 0", "Content-Length: 0"], ["Content-Length: 0", "l: 0"]]
)
async def test_a25_two_lengths_are_one_too_many(lines: list[str]) -> None:
    async with fort() as at:
        with SipSocket(host="127.0.0.7") as socket:
            outer = request(socket, "OPTIONS", "echo", *lines, transport="TCP")
            answers = await converse(at, outer + request(socket, transport="TCP", sdp=media()))

        assert [answer[:12] for answer in answers] == ["SIP/2.0 400 "]
        assert at.node.calls() == []


async def converse(at: Fort, text: str) -> list[str]:
    """What is answered on a connection of the trunk's until it is closed."""
    reader, writer = await asyncio.open_connection(*at.tcp, local_addr=("127.0.0.7", 0))
    writer.write(text.encode())
    async with asyncio.timeout(5):
        answer = (await reader.read()).decode()
    writer.close()
    return re.split(r"^(?=SIP/2\.0 )", answer, flags=re.MULTILINE)[1:]


# ---- A26: what is packed


@pytest.mark.parametrize("coding", ["gzip", "deflate", "x-bomb", "identity, gzip"])
async def test_a26_packed_body_is_refused_unread(coding: str) -> None:
    async with fort() as at:
        line = f"Content-Encoding: {coding}"
        at.carrier.send(request(at.carrier, "INVITE", "echo", line, sdp="\x1f\x08" * 99), at.udp)

        answer = await at.final(at.carrier)

        assert answer.label == "415"
        assert "\r\nAccept-Encoding: identity\r\n" in answer.text


async def test_a26_sigcomp_is_no_sip() -> None:
    async with fort() as at:
        at.carrier.send(b"\xf8\x01" + bytes(range(256)), at.udp)

        assert await silence(at.carrier)
        assert await at.is_alive()


# ---- A28: bombs in SDP

BOMBS = {
    "payload type 200": (media().replace("AVP 0", "AVP 200"), "488"),
    "port 492170": (media(port=492170), "400"),
    "port -1": (media(port=-1), "400"),
    "ptime 0": (media("a=ptime:0"), "200"),
    "ptime 1e9": (media("a=ptime:1000000000"), "200"),
    "ptime of 5000 digits": (media("a=ptime:" + "9" * 5000), "200"),
    "clock of 1 MHz": (
        media("a=rtpmap:96 PCMU/1000000").replace("AVP 0", "AVP 96"),
        "488",
    ),
    "clock 0": (media("a=rtpmap:96 PCMU/0").replace("AVP 0", "AVP 96"), "488"),
    "rtpmap without end": (media("a=rtpmap:0 " + "PCMU/" * 1000), "200"),
    "1000 rtpmaps": (media(*["a=rtpmap:0 PCMU/8000"] * 1000), "200"),
    "fmtp without end": (media("a=fmtp:0 " + ";" * 7000), "200"),
    "fmtp of nothing": (media("a=fmtp:", "a=rtpmap:", "a=fmtp:0", "a=rtpmap:0"), "200"),
    "mid given twice": (
        media("a=mid:x", "m=audio 4002 RTP/AVP 0", "a=mid:x"),
        "400",
    ),
    "crypto given twice": (media(*["a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x"] * 2), "200"),
    "17 sections": (media(*["m=audio 4002 RTP/AVP 0"] * 16), "400"),
    "129 formats": (media().replace("AVP 0", "AVP" + " 0" * 129), "400"),
    "6000 attributes": (media(*["a=x"] * 6000), "200"),
    "10000 attributes": (media(*["a=x"] * 10_000), "413"),
    "60 kB in one line": (media("a=" + "x" * 30_000), "200"),
    "candidates for all": (media(*["a=candidate:1 1 udp 1 10.0.0.1 80 typ host"] * 500), "200"),
    "media at the metadata service": (media(host="169.254.169.254"), "488"),
    "media to many": (media(host="224.0.0.1/127"), "488"),
    "digits of another script": (media().replace("29998", "٢٩٩٩٨"), "400"),
    "overlong UTF-8": (media("a=x:\udcc0\udc80"), "200"),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
async def test_a28_bomb_in_an_offer_does_no_harm(bomb: str) -> None:
    sdp, status = BOMBS[bomb]
    data = sdp.encode("utf-8", "surrogateescape").decode("latin-1")

    async with fort() as at:
        text = request(at.carrier, sdp=data).encode("latin-1")
        async with asyncio.timeout(0.5):
            at.carrier.send(text, at.udp)
            answer = await at.final(at.carrier)

        assert answer.label == status
        assert await at.is_alive()
        assert at.node.rtp_ports_in_use == (1 if status == "200" else 0)


# ---- A34: media that should be protected, and is not


@pytest.mark.parametrize(
    ("sdp", "status"),
    [
        (media("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x").replace("AVP", "SAVP"), "488"),
        (media().replace("AVP", "SAVP"), "488"),
        (media().replace("RTP/AVP", "UDP/TLS/RTP/SAVPF"), "488"),
        (media().replace("RTP/AVP", "UDP/TLS/RTP/SAVP"), "488"),
        (media("a=crypto:1 NULL_HMAC_SHA1_80 inline:x"), "200"),
    ],
    ids=["SDES over UDP", "SAVP without keys", "DTLS without keys", "SAVP by DTLS", "optimistic"],
)
async def test_a34_srtp_that_cannot_be_had_is_refused_and_never_made_plain(
    sdp: str, status: str
) -> None:
    async with fort() as at:
        at.carrier.send(request(at.carrier, sdp=sdp), at.udp)

        answer = await at.final(at.carrier)

        assert answer.label == status
        assert "crypto" not in answer.text


# ---- A37: methods that nobody here has


@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE", "PUBLISH"])
async def test_a37_method_that_we_do_not_have_gets_405(method: str) -> None:
    async with fort() as at:
        at.carrier.send(request(at.carrier, method), at.udp)

        answer = await at.final(at.carrier)

        assert answer.label == "405"
        assert method not in answer.text.partition("\r\nAllow: ")[2].partition("\r\n")[0]


@pytest.mark.parametrize("method", ["INFO", "REFER", "NOTIFY", "UPDATE", "PRACK", "BYE"])
async def test_a37_request_that_belongs_to_no_call_gets_481(method: str) -> None:
    async with fort() as at:
        line = "Refer-To: <sip:+19005550100@127.0.0.1>"
        at.carrier.send(request(at.carrier, method, "echo", line), at.udp)

        assert (await at.final(at.carrier)).label == "481"
        assert at.node.calls() == []


async def test_a37_replaces_of_another_trunks_dialog_is_refused() -> None:
    async with fort() as at:
        tag = await at.connect()
        line = f"Replaces: up;to-tag={tag};from-tag=ours"
        at.other.send(request(at.other, "INVITE", "echo", line, sdp=media(), call="taken"), at.udp)

        answer = await at.final(at.other)

        assert answer.label in ("403", "481")
        assert len(at.node.calls()) == 1


# ---- A38: a trunk that routes our calls back to us

MIRROR = """
[[trunk]]
name = "mirror"
uri = "sip:127.0.0.1:{port}"
probe_s = 0

[[route]]
from = ["trunk:carrier", "trunk:mirror"]
match = "+2*"
to = ["trunk:mirror"]
"""


@pytest.mark.rfc(7332, "4")
async def test_a38_call_in_a_circle_ends_within_ten_hops_and_70_messages() -> None:
    port = free_port()
    seen: Counter[str] = Counter()

    async with fort(port=port, more=MIRROR.format(port=port)) as at:
        endpoint = at.node.telephony.legs.endpoint
        receive = endpoint.receive

        def count(data: bytes, flow: Flow, now: float) -> None:
            seen[data.split(maxsplit=1)[0].decode()] += 1
            receive(data, flow, now)

        endpoint.receive = count  # type: ignore[method-assign]
        at.carrier.send(request(at.carrier, to="+25550100", sdp=media()), at.udp)

        answer = await at.final(at.carrier)

        assert answer.label == "482"
        assert seen["INVITE"] <= 10
        assert sum(seen.values()) <= 70
        assert at.node.rtp_ports_in_use == 0


async def test_a38_last_hop_goes_no_further() -> None:
    async with fort() as at:
        for hops, status in ((0, "483"), (1, "483")):
            data = request(at.carrier, to="+15550123", sdp=media(), hops=hops, call=f"c{hops}")
            at.carrier.send(data, at.udp)
            invite = None
            if hops:
                invite = await at.other.receive("INVITE")
                at.other.respond(invite, "483 Too Many Hops")

            assert (await at.final(at.carrier)).label == status
        assert invite is not None
        assert "\r\nMax-Forwards: 0\r\n" in invite.text

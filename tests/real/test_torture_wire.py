"""RFC 4475 and RFC 5118 over sockets, against a node that goes on answering after each.

The sender is a trunk; the node has no users and no routes, so that what is well formed ends in
404, 405 or 481. What each message means to the parser is in tests/sip/test_torture.py.
"""

from __future__ import annotations

import asyncio
import re
import time
import tomllib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.config import parse_config
from gateway.net.pacer import Pacer
from gateway.node import Node
from tests.support.wire import Datagram, SipSocket

pytestmark = [pytest.mark.real, pytest.mark.beside, pytest.mark.asyncio(loop_scope="module")]

VECTORS = Path(__file__).parents[1] / "vectors"

WITHIN_S = 0.5
"An OPTIONS is answered, whatever came before it."

CONFIG = """
[http]
listen = ""

[webrtc]
listen = ""

[sip]
listen = ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"]

[[trunk]]
name = "carrier"
uri = "sip:127.0.0.1:9"
allow = ["127.0.0.0/8"]
probe_s = 0
"""

OPTIONS = (
    "OPTIONS sip:echo@127.0.0.1 SIP/2.0\r\n"
    "Via: SIP/2.0/{transport} 127.0.0.1:9;rport;branch=z9hG4bK{name}\r\n"
    "From: <sip:socket@127.0.0.1>;tag=1\r\nTo: <sip:echo@127.0.0.1>\r\n"
    "Call-ID: {name}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)

NOTHING: tuple[str, ...] = ()

VERDICTS: dict[str, tuple[str, ...]] = {
    # RFC 4475 §3.1.1: valid
    "wsinv": ("481",),  # it has a To tag
    "longreq": ("404",),
    "esc01": ("404",),
    "escnull": ("405",),
    "esc02": ("501",),
    "intmeth": ("501",),
    "semiuri": ("200",),
    "lwsdisp": ("200",),
    "transports": ("200",),
    "dblreq": ("405",),  # of the first request; the other is no datagram
    "mpart01": ("405",),
    "unreason": NOTHING,
    "noreason": NOTHING,
    # §3.1.2: invalid
    "badinv01": ("400",),
    "clerr": ("400",),
    "ncl": ("400",),
    "scalar02": ("400",),
    "scalarlg": NOTHING,
    "quotbal": ("400",),
    "ltgtruri": ("400",),
    "lwsruri": ("400",),
    "lwsstart": ("400",),
    "trws": ("400",),
    "escruri": ("400",),
    "baddate": ("404",),  # nobody here reads a Date
    "regbadct": ("400",),
    "badaspec": ("400",),
    "baddn": ("400",),
    "badvers": ("505",),
    "mismatch01": ("400",),
    "mismatch02": ("400",),
    "bigcode": NOTHING,
    # §3.2: for the transaction
    "badbranch": ("200",),
    # §3.3: for the application
    "insuf": NOTHING,  # without From, To, Call-ID nobody can be answered
    "unkscm": ("416",),
    "novelsc": ("416",),
    "unksm2": ("405",),
    "bext01": ("420",),
    "invut": ("415",),
    "regaut01": ("405",),
    "multi01": ("400",),
    "mcl01": ("400",),
    "bcast": NOTHING,
    "zeromf": ("483",),
    "cparam01": ("405",),
    "cparam02": ("405",),
    "regescrt": ("405",),
    "sdp01": ("406",),
    # §3.4: from before RFC 3261
    "inv2543": ("404",),
    "test": NOTHING,  # in the archive of the RFC, not in its text
    # RFC 5118 §4
    "ipv6-good": ("405",),
    "ipv6-bad": ("400",),
    "port-ambiguous": ("405",),
    "port-unambiguous": ("405",),
    "via-received-param-with-delim": ("481",),
    "via-received-param-no-delim": ("200",),
    "ipv6-in-sdp": ("404",),
    "mult-ip-in-header": ("481",),
    "mult-ip-in-sdp": ("404",),
    "ipv4-mapped-ipv6": ("404",),
    "ipv6-bug-abnf-3-colons": ("200",),
    "ipv6-correct-abnf-2-colons": ("200",),
}

ON_A_STREAM: dict[str, tuple[str, ...]] = {
    "clerr": NOTHING,  # the rest of its body may still come
    "dblreq": ("405", "404"),  # two requests, whose lengths are told
    "inv2543": ("400",),  # no Content-Length (RFC 3261 §20.14)
}
"Where a stream has another verdict than datagrams."

ENDS_THE_STREAM = {
    "ncl",
    "mcl01",
    "inv2543",
    "baddn",  # its head has no end
    "test",
    "dblreq",  # the length of the second is not that of its body
}

SAID = {
    "bext01": "Unsupported: nothingSupportsThis, nothingSupportsThisEither",
    "invut": "Accept: application/sdp",
    "sdp01": "Accept: application/sdp",
    "esc02": "Allow: INVITE",
    "intmeth": "Allow: INVITE",
    "mpart01": "Allow: INVITE",
    "transports": "Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en",
    "longreq": "Via: SIP/2.0/TCP host.example.com;received=192.0.2.5;branch=verylonglonglong",
}
"What stands in an answer: what would be taken; the last of many hops that the request came by."

PATHS = {path.stem: path for path in sorted(VECTORS.glob("rfc*/*.dat"))}


@dataclass
class Sender:
    """A trunk of a node that runs."""

    node: Node
    numbers: count[int]

    @property
    def udp(self) -> tuple[str, int]:
        return dict(self.node.sip_addresses)["udp"]

    @property
    def tcp(self) -> tuple[str, int]:
        return dict(self.node.sip_addresses)["tcp"]

    def options(self, transport: str) -> tuple[bytes, str]:
        """One that was not sent before, and its Call-ID."""
        name = f"alive{next(self.numbers)}"
        return OPTIONS.format(transport=transport, name=name).encode(), name

    async def is_alive(self) -> bool:
        """Whether an OPTIONS is answered in time."""
        with SipSocket() as other:
            options, _ = self.options("UDP")
            started_at = time.monotonic()
            other.send(options, self.udp)
            answer = await other.receive_any()
            return answer.label == "200" and time.monotonic() - started_at < WITHIN_S

    async def send_datagram(self, data: bytes) -> list[Datagram]:
        """What is answered before the answer to an OPTIONS that follows at once."""
        answers = []
        options, name = self.options("UDP")
        with SipSocket() as socket:
            socket.send(data, self.udp)
            socket.send(options, self.udp)
            while f"Call-ID: {name}\r\n" not in (answer := await socket.receive_any()).text:
                answers.append(answer)
        assert answer.label == "200"
        return answers

    async def send_on_stream(self, data: bytes) -> tuple[str, bool]:
        """What is answered before the answer to an OPTIONS that follows, and whether one came."""
        options, name = self.options("TCP")
        reader, writer = await asyncio.open_connection(*self.tcp)
        text = b""
        try:
            writer.write(data + options)
            async with asyncio.timeout(WITHIN_S):
                while name.encode() not in text and (more := await reader.read(65_536)):
                    text += more
        except TimeoutError:
            pass
        finally:
            writer.close()
        answers = re.split(r"^(?=SIP/2\.0 )", text.decode(errors="replace"), flags=re.MULTILINE)
        others = [answer for answer in answers if f"Call-ID: {name}\r\n" not in answer]
        return "".join(others), others != answers


async def run_node() -> AsyncIterator[Sender]:
    loop = asyncio.get_running_loop()
    config = parse_config(tomllib.loads(CONFIG), Path("node.toml"), {})
    node = Node(config, version="1", loop=loop, pacer=Pacer(loop), certificate=None)
    try:
        yield Sender(node, count())
    finally:
        await node.close()


# One of each, or a message would be taken for one that was sent over the other transport.
over_datagrams = pytest_asyncio.fixture(scope="module", loop_scope="module")(run_node)
over_streams = pytest_asyncio.fixture(scope="module", loop_scope="module")(run_node)


def statuses(text: str) -> tuple[str, ...]:
    """Those of the final responses in a text."""
    found = re.findall(r"^SIP/2\.0 ([2-6]\d\d) ", text, re.MULTILINE)
    return tuple(found)


async def test_no_message_is_left_out() -> None:
    assert set(PATHS) == set(VERDICTS)
    assert set(ON_A_STREAM) | ENDS_THE_STREAM < set(VERDICTS)
    assert len(PATHS) == 50 + 12


@pytest.mark.rfc(4475, "3")
@pytest.mark.rfc(5118, "4")
@pytest.mark.parametrize("name", VERDICTS)
async def test_verdict_over_datagrams(over_datagrams: Sender, name: str) -> None:
    answers = await over_datagrams.send_datagram(PATHS[name].read_bytes())

    text = "\n".join(answer.text for answer in answers)
    assert statuses(text) == VERDICTS[name]
    assert SAID.get(name, "") in text
    assert await over_datagrams.is_alive()


@pytest.mark.rfc(4475, "3")
@pytest.mark.rfc(5118, "4")
@pytest.mark.parametrize("name", VERDICTS)
async def test_verdict_on_a_stream(over_streams: Sender, name: str) -> None:
    answers, goes_on = await over_streams.send_on_stream(PATHS[name].read_bytes())

    assert statuses(answers) == ON_A_STREAM.get(name, VERDICTS[name])
    assert goes_on == (name not in ENDS_THE_STREAM and name != "clerr")
    assert await over_streams.is_alive()


@pytest.mark.rfc(3261, "18.3")
async def test_a25_request_in_the_rest_of_a_datagram_is_not_read(over_datagrams: Sender) -> None:
    hidden, _ = over_datagrams.options("UDP")

    answers = await over_datagrams.send_datagram(PATHS["semiuri"].read_bytes() + hidden)

    assert [answer.label for answer in answers] == ["200"]


async def test_all_at_once_leave_the_node_alive_and_empty(over_datagrams: Sender) -> None:
    with SipSocket() as socket:
        for path in PATHS.values():
            socket.send(path.read_bytes(), over_datagrams.udp)

        assert await over_datagrams.is_alive()
    assert over_datagrams.node.calls() == []
    assert over_datagrams.node.rtp_ports_in_use == 0

"""Our INVITEs as a parser of another make reads them: Kamailio says where it would send each (A14).

Words come from pages, agents and callers; whatever they are, the call goes to the trunk alone.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.errors import RoutingError
from gateway.private import Private
from gateway.sip.message import Request
from gateway.trunk.identity import CallerIdentity
from tests.support.gateway import free_port
from tests.support.kamailio import EXECUTABLE
from tests.support.wire import SipSocket
from tests.trunk.test_invite import TALKATIVE
from tests.trunk.wire import HOST, LOCAL, send_invite

pytestmark = [pytest.mark.real, pytest.mark.beside]

MODULES = next(Path("/usr/lib").glob("*/kamailio/modules"), Path("/usr/lib/kamailio/modules"))

CONFIG = """#!KAMAILIO
debug=0
log_stderror=yes
children=1
auto_aliases=no
dns=no
rev_dns=no
listen=udp:127.0.0.1:{port}
mpath="{modules}/"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "sanity.so"

request_route {{
  if (!sanity_check("1511", "7")) exit;
  $var(route) = 0;
  if (is_present_hf("Route")) $var(route) = 1;
  append_to_reply("X-Read: ruri=$rd to=$td from=$fd port=$rp route=$var(route)\\r\\n");
  sl_send_reply("488", "Read");
}}
"""

WORDS = (
    "+15550100",
    "ann",
    "1000@evil.example",
    "1000@evil.example;x=",
    "x?Route=%3Csip:evil.example%3E",
    "a;phone-context=evil.example",
    "sip:evil.example",
    "tel:+1",
    "<sip:evil.example>",
    '" <sip:evil.example>',
    "\\",
    '"',
    "a, <sip:evil.example>",
    "a\r\nRoute: <sip:evil.example>",
    "%0d%0aRoute:%20<sip:evil.example>",
    "a\tb",
    "\0",
    "\u2028",
    "é",
    "٣",
)


@asynccontextmanager
async def reader(directory: Path) -> AsyncIterator[tuple[str, int]]:
    """A Kamailio that says of each request where it would go."""
    port = free_port()
    config = directory / "kamailio.cfg"
    config.write_text(CONFIG.format(port=port, modules=MODULES))
    process = await asyncio.create_subprocess_exec(
        EXECUTABLE,
        *("-f", str(config), "-DD", "-E", "-m", "16", "-M", "4"),
        *("-P", str(directory / "pid"), "-Y", str(directory)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(15):
            while not is_bound(port):
                assert process.returncode is None, "Kamailio did not start"
                await asyncio.sleep(0.02)
        yield "127.0.0.1", port
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it is a family of its own
        await process.wait()


def is_bound(port: int) -> bool:
    """Whether somebody has this UDP port of loopback."""
    return f"0100007F:{port:04X}" in Path("/proc/net/udp").read_text()


def written() -> list[Request]:
    """Every INVITE that is made of such words; of some there is none."""
    found = []
    for called in WORDS:
        for number, name in ((called, "Ann"), ("+15550100", called)):
            caller = CallerIdentity(Private(number), Private(name))
            for goal in {called, "+15550100"}:
                try:
                    found.append(send_invite(TALKATIVE, goal, caller, attributes={"X-A": called}))
                except RoutingError:
                    continue
    return found


async def test_a14_kamailio_sends_every_invite_of_ours_to_the_trunk_alone(tmp_path: Path) -> None:
    invites = written()

    async with reader(tmp_path) as address:
        with SipSocket() as socket:
            for invite in invites:
                socket.send(bytes(invite), address)
                answer = await socket.receive_any()

                assert answer.label == "488", answer.text + str(bytes(invite))
                assert (
                    f"X-Read: ruri={HOST} to={HOST} from={LOCAL} port=5060 route=0\r\n"
                    in answer.text
                )
    assert len(invites) >= 20

"""Hundreds of calls one after another: what they took is given back."""

from __future__ import annotations

import asyncio
import gc
import os
import sys

import pytest
import uvloop

from gateway.call.registry import KEPT_ENDED_CALLS
from gateway.sip import header, uri
from gateway.sip.transaction import T1
from tests.support.caller import Caller, PlacedCall, node_and_caller

pytestmark = pytest.mark.real

CALLS = 300
WARM_UP_CALLS = KEPT_ENDED_CALLS + 10
"The registry's memory of ended calls is full by then."

SETTLE_S = 45.0
"64·T1 of the longest SIP transaction (RFC 3261 §17, RFC 6026 §7.2), and some: of SIP's own time."

RESTED_S = 60.0
"By then every port has rested."

STEP_S = T1 / 2
"SIP's time goes on by so much at once, so that nothing is due twice within a step."

MAX_BLOCKS_PER_CALL = 5
"Allocated blocks a call may leave: entries of small caches, and no object of its own."


async def talked(caller: Caller) -> None:
    """Answered, heard, hung up by the person."""
    call = caller.place("+15550100")
    await call.until("answered")
    await call.until_connected()
    await asyncio.sleep(0.02)
    call.leg.hang_up()
    await finished(call)


async def talked_to_an_agent(caller: Caller) -> None:
    call = caller.place("echo")
    await call.until("answered")
    await call.until_connected()
    call.leg.hang_up()
    await finished(call)


async def cancelled(caller: Caller) -> None:
    """Given up while it rings."""
    call = caller.place("+15550109")
    await call.until("progress")
    call.leg.hang_up()
    await finished(call)


async def refused(caller: Caller) -> None:
    call = caller.place("+15550486")
    ended = await call.until("ended")
    assert ended["status"] == 486
    await call.close()


async def dropped(caller: Caller) -> None:
    """The browser goes without a word in signalling."""
    call = caller.place("+15550100")
    await call.until("answered")
    await call.until_connected()
    await call.close()
    ended = await call.until("ended")
    assert ended["reason"] == "left"


async def finished(call: PlacedCall) -> None:
    await call.until("ended")
    await call.close()


KINDS = (talked, cancelled, refused, dropped, talked_to_an_agent)


async def settled(caller: Caller) -> None:
    """Until no call is left, nor anything that one still owes the wire.

    What SIP and the ports wait for is not waited for: they are told that the time has come.
    """
    nodes = (caller.node, caller.lab)
    now = asyncio.get_running_loop().time()
    for step in range(int(SETTLE_S / STEP_S)):
        for node in nodes:
            endpoint = node.telephony.legs.endpoint
            node.telephony.driver.change(endpoint.handle_timer, now + step * STEP_S)
        await asyncio.sleep(0.002)  # what is sent arrives
    assert all(node.telephony.legs.endpoint.is_idle for node in nodes)
    async with asyncio.timeout(5):
        while any(node.registry.calls() or node.registry.lingering for node in nodes):
            await asyncio.sleep(0.01)
    for node in nodes:
        ports = node.parties.ports
        ports.release(ports.allocate(now + RESTED_S), now)
    await asyncio.sleep(0.5)  # whose last task ends now


def snapshot(caller: Caller) -> dict[str, int]:
    # What was read lately is remembered, up to a limit that so few calls do not reach.
    header._remembered_addresses.cache_clear()
    uri._remembered.cache_clear()
    gc.collect()
    return {
        "tasks": len(asyncio.all_tasks()),
        "files": len(os.listdir("/proc/self/fd")),
        "ports": caller.node.rtp_ports_in_use + caller.lab.rtp_ports_in_use,
        "pacer": caller.node.pacer.count,
        "blocks": sys.getallocatedblocks(),
    }


def test_three_hundred_calls_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    # Who goes without a word says none later: it would be waited for 82 times.
    monkeypatch.setattr("gateway.leg.browser.LAST_WORD_S", 0.0)

    async def scenario() -> None:
        async with node_and_caller() as caller:
            for number in range(WARM_UP_CALLS):
                await KINDS[number % len(KINDS)](caller)
            await settled(caller)
            before = snapshot(caller)

            for number in range(CALLS):
                await KINDS[number % len(KINDS)](caller)
            assert not caller.calls()
            await settled(caller)
            after = snapshot(caller)

            left_blocks = after.pop("blocks") - before.pop("blocks")
            assert after == before
            assert left_blocks / CALLS < MAX_BLOCKS_PER_CALL

    uvloop.run(scenario())

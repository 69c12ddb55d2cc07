"""Hundreds of calls one after another: what they took is given back."""

from __future__ import annotations

import asyncio
import gc
import os
import sys

import pytest
import uvloop

from gateway.call.registry import KEPT_ENDED_CALLS
from gateway.node import Node
from gateway.sip import header, uri
from tests.support.caller import Caller, PlacedCall, node_and_caller

pytestmark = pytest.mark.real

CALLS = 300
WARM_UP_CALLS = KEPT_ENDED_CALLS + 10
"The registry's memory of ended calls is full by then."

SETTLE_S = 45.0
"64·T1 of the longest SIP transaction (RFC 3261 §17, RFC 6026 §7.2), and some."

MAX_BLOCKS_PER_CALL = 5
"Allocated blocks a call may leave: its ports, which still rest, and no object of its own."


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
    """Until no call is left, nor anything that one still owes the wire."""
    async with asyncio.timeout(SETTLE_S):
        while not all(map(is_settled, (caller.node, caller.lab))):
            await asyncio.sleep(0.2)
    await asyncio.sleep(1)


def is_settled(node: Node) -> bool:
    registry = node.registry
    is_idle = node.telephony.legs.endpoint.is_idle
    return is_idle and not registry.calls() and not registry.lingering


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


def test_three_hundred_calls_leave_nothing_behind() -> None:
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

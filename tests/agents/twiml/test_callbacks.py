"""Callbacks to web servers that are slow: what they may hold up, and what not."""

from __future__ import annotations

import asyncio

from gateway.agents.twiml.callbacks import MAX_TELLING, Callbacks
from gateway.agents.twiml.verbs import Action
from gateway.net.webhook import MAX_RUNNING
from tests.support.loop import VirtualLoop, elapse, in_virtual_time
from tests.support.site import Site


@in_virtual_time
async def test_a23_servers_that_do_not_answer_leave_room_for_others(loop: VirtualLoop) -> None:
    site = Site({"/status": ""}, delay_s=10)
    callbacks = Callbacks(site)

    for number in range(2 * MAX_RUNNING):
        callbacks.post(f"call-{number}", Action("https://site.test/status"), {}, "")
    await elapse(15)
    told_first = len(site.visits)
    await elapse(30)

    assert told_first == MAX_TELLING < MAX_RUNNING
    assert len(site.visits) == 2 * MAX_RUNNING
    await callbacks.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}

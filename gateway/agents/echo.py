"""The echo: says back what it hears. The first thing to call when a path is in doubt."""

from __future__ import annotations

import numpy as np

from gateway.agents.agent import AgentCall

CUSHION_MS = 20
"Silence said first: a frame that comes a little late then still finds its tick."


MAX_BEHIND_MS = 200
"More that waits is of a time when nobody heard the echo, on hold as a rule: it is left out."


class Echo:
    """Answers, and returns every frame as it came."""

    async def on_call(self, call: AgentCall) -> None:
        await call.answer()
        await call.say(np.zeros(8 * CUSHION_MS, np.int16), 8000)
        await say_back(call)


async def say_back(call: AgentCall) -> None:
    """Return every frame as it came, for as long as any come."""
    async for frame in call.hear():
        if call.queued_ms > MAX_BEHIND_MS:
            call.clear()
            await call.say(np.zeros(8 * CUSHION_MS, np.int16), 8000)
        await call.say_frame(frame)

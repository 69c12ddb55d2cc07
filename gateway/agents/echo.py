"""The echo: says back what it hears. The first thing to call when a path is in doubt."""

from __future__ import annotations

import numpy as np

from gateway.agents.agent import AgentCall

CUSHION_MS = 20
"Silence said first: a frame that comes a little late then still finds its tick."


class Echo:
    """Answers, and returns every frame as it came."""

    async def on_call(self, call: AgentCall) -> None:
        await call.answer()
        await call.say(np.zeros(8 * CUSHION_MS, np.int16), 8000)
        async for frame in call.hear():
            await call.say_frame(frame)

"""An agent in Python: says back what it hears, a little later."""

import numpy as np

from gateway.agents.agent import AgentCall

RATE = 16_000


class Echo:
    """One for all calls; what belongs to a call lives in `on_call`."""

    def __init__(self, *, delay_ms: int = 200) -> None:
        """`[agent.settings]` of the configuration become these arguments."""
        self.delay_ms = delay_ms

    async def on_call(self, call: AgentCall) -> None:
        """Attend one call; it is cancelled when the caller hangs up."""
        await call.say(np.zeros(RATE * self.delay_ms // 1000, np.int16), RATE)
        async for frame in call.hear():  # 20 ms each, at whatever rate you ask for
            await call.say(frame.pcm(RATE), RATE)

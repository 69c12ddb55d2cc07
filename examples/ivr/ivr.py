"""A menu: plays recordings, reads keys, transfers. Keys interrupt what is being played."""

import asyncio
from pathlib import Path

from gateway.agents.agent import AgentCall
from gateway.media.file import read_wav

PROMPTS = Path(__file__).parent / "prompts"


class Menu:
    """Opening hours by 1, a person by 2."""

    def __init__(self, *, operator: str, patience_s: float = 6.0) -> None:
        self.operator = operator
        self.patience_s = patience_s
        self.sounds = {path.stem: read_wav(path) for path in PROMPTS.glob("*.wav")}

    async def on_call(self, call: AgentCall) -> None:
        for _ in range(3):
            key = await self.ask(call, "menu")
            if key == "1":
                await self.play(call, "hours")
            elif key == "2":
                await self.play(call, "moment")
                outcome = await call.transfer(self.operator)
                if outcome.is_done:
                    return
                await self.play(call, "nobody")
            else:
                break
        await self.play(call, "goodbye")

    async def play(self, call: AgentCall, name: str) -> None:
        """Say a recording to its end."""
        await call.say(*self.sounds[name])
        await call.played()

    async def ask(self, call: AgentCall, name: str) -> str:
        """Say a recording until a key is pressed, then the key; "" where none is in time."""
        await call.say(*self.sounds[name])
        try:
            async with asyncio.timeout(call.queued_ms / 1000 + self.patience_s):
                return await call.digit()
        except TimeoutError:
            return ""
        finally:
            call.clear()

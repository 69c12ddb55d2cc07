"""What TwiML says and asks for: <Say>, <Play>, and the keys of <Gather>."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from gateway.agents.agent import AgentCall
from gateway.agents.twiml.program import join_url
from gateway.agents.twiml.sound import (
    FILE,
    Engine,
    FindSound,
    Sound,
    SoundError,
    fetch_sound,
    found_sound,
)
from gateway.agents.twiml.verbs import Gather, Pause, Play, Say
from gateway.errors import GatewayError
from gateway.net.webhook import Web

MAX_KEYS = 128
"Collected by one <Gather> that wants no number of them."


class Prompter:
    """Speaks to whom a call is with, and listens for keys."""

    def __init__(
        self,
        call: AgentCall,
        web: Web,
        engine: Engine | None,
        find_sound: FindSound,
        secret: str,
        warn: Callable[[str], None],
    ) -> None:
        """
        Args:
            engine: speaks; None: <Say> is skipped.
            secret: signs what web servers are asked for.
            warn: told what is skipped.
        """
        self._call = call
        self._web = web
        self._engine = engine
        self._find_sound = find_sound
        self._secret = secret
        self._warn = warn
        self._keys: asyncio.Queue[str] | None = None

    def press(self, digit: str) -> None:
        """A key was pressed; kept only while somebody asks for it."""
        if self._keys is not None and self._keys.qsize() < MAX_KEYS:
            self._keys.put_nowait(digit)

    async def gather(self, verb: Gather, base: str) -> Mapping[str, str] | None:
        """The keys as an action URL is told them; None: there were none."""
        keys = self._keys = asyncio.Queue[str]()
        try:
            digits, finished_on = await self._collect(verb, base, keys)
        finally:
            self._keys = None
        if not digits:
            return None
        return {"Digits": digits, "FinishedOnKey": finished_on}

    async def _collect(self, verb: Gather, base: str, keys: asyncio.Queue[str]) -> tuple[str, str]:
        """The keys, and the one that ended them."""
        key = await self._prompt(verb, base, keys)
        digits = ""
        while key is not None:
            if key == verb.finish_on_key:
                return digits, key
            digits += key
            if len(digits) >= (verb.num_digits or MAX_KEYS):
                break
            key = await _next(keys, verb.timeout_s)
        return digits, ""

    async def _prompt(self, verb: Gather, base: str, keys: asyncio.Queue[str]) -> str | None:
        """Say what is in a <Gather> until a key is pressed; the key, or None in its time."""
        if not verb.hears_keys:
            keys = asyncio.Queue()
        first = asyncio.ensure_future(keys.get())
        prompts = asyncio.ensure_future(self._say_all(verb, base))
        try:
            await asyncio.wait({first, prompts}, return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                prompts.result()
                await asyncio.wait({first}, timeout=verb.timeout_s)
            elif not prompts.done():
                self._call.clear()
            return first.result() if first.done() else None
        finally:
            first.cancel()
            prompts.cancel()
            await asyncio.gather(first, prompts, return_exceptions=True)

    async def _say_all(self, verb: Gather, base: str) -> None:
        for prompt in verb.prompts:
            if isinstance(prompt, Pause):
                await asyncio.sleep(prompt.length_s)
            else:
                await self.say(prompt, base)

    async def say(self, verb: Say | Play, base: str) -> None:
        """Until it is played to its end; what cannot be said is skipped.

        Args:
            base: the document's URL: that of a recording is relative to it.
        """
        if isinstance(verb, Play) and verb.digits:
            await self._send(verb.digits)
            return
        try:
            pcm, rate = await self._sound_of(verb, base)
        except GatewayError as error:
            self._warn(f"<{type(verb).__name__}> is skipped: {error}")
            return
        if len(pcm):
            await self._repeat(pcm, rate, verb.loop)
        await self._call.played()

    async def _repeat(self, pcm: NDArray[np.int16], rate: int, times: int) -> None:
        """Say it so often; 0: for ever. What is very short is said many times at once."""
        at_once = max(1, rate // len(pcm))
        left: float = times or math.inf
        while left > 0:
            count = int(min(left, at_once))
            await self._call.say(np.tile(pcm, count), rate)
            left -= count

    async def _sound_of(self, verb: Say | Play, base: str) -> Sound:
        """
        Raises:
            GatewayError: there is none.
        """
        if isinstance(verb, Play) and verb.url.startswith(FILE):
            return found_sound(self._find_sound, verb.url)
        if isinstance(verb, Play):
            url = join_url(base, verb.url)
            return await fetch_sound(self._web, url, self._secret)
        if self._engine is None:
            raise SoundError("no engine is configured: set say_command of the agent's settings")
        return await self._engine.speak(verb.text, verb.language)

    async def _send(self, digits: str) -> None:
        try:
            await self._call.send_digits(digits)
        except ValueError:
            self._warn("digits of <Play> are no dial string: 0-9 * # w")


async def _next(keys: asyncio.Queue[str], timeout_s: float) -> str | None:
    try:
        async with asyncio.timeout(timeout_s):
            return await keys.get()
    except TimeoutError:
        return None

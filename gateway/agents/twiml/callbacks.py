"""Tells web servers what becomes of calls: each call's callbacks in order, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping

from gateway.agents.twiml.verbs import Action
from gateway.errors import GatewayError
from gateway.net.webhook import Web, form_request

log = logging.getLogger(__name__)

MAX_WAITING = 64
"Callbacks of one call that wait for a slow server; the oldest go."

MAX_CALLS = 10_000
"Calls with callbacks under way; those of more are dropped, and told of once a call."

MAX_TELLING = 32
"""Told at a time: half of what `Web` asks at once. Servers that do not answer what they are told
leave those room that say what is to be done."""

RETRY_S = 2.0
"After a first try that failed there is one more."


class Callbacks:
    """What is to be told, by call. Nobody waits for it."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._places = asyncio.Semaphore(MAX_TELLING)
        self._waiting: dict[str, deque[tuple[Action, Mapping[str, str], str]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def post(self, call: str, action: Action, fields: Mapping[str, str], token: str) -> None:
        """Tell it after what was to be told of that call before.

        Args:
            token: signs it; empty: it is not signed.
        """
        waiting = self._waiting.get(call)
        if waiting is not None:
            waiting.append((action, fields, token))
            return
        if len(self._waiting) >= MAX_CALLS:
            log.warning("call=%s callbacks of %d calls are under way: dropped", call, MAX_CALLS)
            return
        self._waiting[call] = deque([(action, fields, token)], maxlen=MAX_WAITING)
        task = asyncio.get_running_loop().create_task(self._tell(call))
        self._tasks[call] = task

    async def close(self) -> None:
        """Give up what is not told yet."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, call: str) -> None:
        waiting = self._waiting[call]
        try:
            while waiting:
                await self._tell_one(call, *waiting.popleft())
        except Exception:
            log.exception("call=%s its status callbacks broke", call)
        finally:
            del self._waiting[call], self._tasks[call]

    async def _tell_one(
        self, call: str, action: Action, fields: Mapping[str, str], token: str
    ) -> None:
        request = form_request(
            action.url, list(fields.items()), secret=token, method=action.method.value
        )
        for is_last in (False, True):
            try:
                async with self._places:
                    answer = await self._web.ask(request)
            except GatewayError as error:
                why = str(error)
            else:
                if answer.status < 500:
                    return
                why = f"it says {answer.status}"
            if is_last:
                log.warning("call=%s a status callback is lost: %s", call, why)
            else:
                await asyncio.sleep(RETRY_S)

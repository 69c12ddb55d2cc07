"""What the gateway tells the subscribers of its API about calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import connect

from tests.support.gateway import Gateway


class CallEvents:
    """Every event since the subscription."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self._changed = asyncio.Event()

    def take(self, event: dict[str, Any]) -> None:
        self.all.append(event)
        self._changed.set()

    async def next(self, kind: str, timeout_s: float = 20.0) -> dict[str, Any]:
        """The first event of a kind, past or to come: `call.started`, `call.answered`."""
        async with asyncio.timeout(timeout_s):
            while True:
                for event in self.all:
                    if event["type"] == kind:
                        return event
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def call_events(gateway: Gateway) -> AsyncIterator[CallEvents]:
    """Subscribe to `/v1/events`."""
    events = CallEvents()

    async def read() -> None:
        async for text in socket:
            events.take(json.loads(text))

    async with connect(gateway.url.replace("http", "ws") + "/v1/events") as socket:
        reader = asyncio.ensure_future(read())
        try:
            yield events
        finally:
            reader.cancel()
            await asyncio.wait([reader])

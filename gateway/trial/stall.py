"""Ends a trial whose agent keeps everything waiting: in one process nothing else can."""

from __future__ import annotations

import asyncio
import faulthandler
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

STALLED_S = 20.0
"An agent's code that has not let anything else run for so long never will."

RENEWED_S = 1.0


@asynccontextmanager
async def ending_where_it_stalls() -> AsyncIterator[None]:
    """Inside, a standstill of `STALLED_S` ends the process with status 1, and names the line."""
    renewing = asyncio.get_running_loop().create_task(_renew())
    try:
        yield
    finally:
        renewing.cancel()
        faulthandler.cancel_dump_traceback_later()


async def _renew() -> None:
    while True:
        # Of a thread of its own: Python's signals too wait for what holds everything up.
        faulthandler.dump_traceback_later(STALLED_S, exit=True, file=sys.__stderr__ or sys.stderr)
        await asyncio.sleep(RENEWED_S)

"""Connections that a stop of the gateway breaks off: hypercorn cancels their tasks, and asyncio's
streams write a traceback about each that was (Python 3.11), as if something had gone wrong.

Whoever sends half a request, or does not answer that its WebSocket is closed, keeps its connection
until then. The name that is replaced here is not hypercorn's to keep: a test over real sockets
tells when it no longer works.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypercorn.asyncio import run, tcp_server

_worker: Any = run


def end_quietly() -> None:
    """Have connections of this process end without a word once they are cancelled."""
    _worker.TCPServer = HttpConnection


class HttpConnection(tcp_server.TCPServer):
    """A connection of hypercorn's that may be cancelled."""

    async def run(self) -> None:
        """Serve it until it ends."""
        with contextlib.suppress(asyncio.CancelledError):  # then nobody waits for its outcome
            await super().run()

    async def _close(self) -> None:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # What its peer does not read would be waited for.
            self.writer.transport.abort()
        await super()._close()

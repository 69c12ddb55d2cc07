"""The agent's side of a wire protocol, for tests: each protocol has one in `peer_NAME.py`.

`def peer() -> Peer` makes it. It listens on loopback, speaks its protocol as the documentation of
that says, and shares no code with ours but the tables of codecs.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import tests.agents.wire as here


class Peer(Protocol):
    """One agent that speaks one protocol."""

    @property
    def name(self) -> str:
        """The protocol's, as the configuration has it."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What `[agent.settings]` is to say."""

    @property
    def can(self) -> frozenset[str]:
        """What the protocol has words for: of digits, marks, clear, hang_up."""

    @property
    def rate(self) -> int:
        """Hz of what it hears and says."""

    @property
    def garbage_kinds(self) -> int:
        """How many kinds of garbage it knows."""

    digits: list[str]
    marks: list[tuple[str, str]]
    "Name, and `played` or `cleared`."

    def running(self) -> AbstractAsyncContextManager[str]:
        """Listen; gives the URL."""

    async def connected(self) -> None:
        """Until the gateway has come, or has come again, and the session has begun."""

    def heard(self) -> NDArray[np.int16]:
        """All that it has heard so far."""

    async def say(self, pcm: NDArray[np.int16], chunk_bytes: int | None = None) -> None:
        """Say something at `rate`, in messages with so many bytes of audio each."""

    async def mark(self, name: str) -> None: ...

    async def clear(self) -> None: ...

    async def garbage(self, kind: int) -> None:
        """Send what is not in the protocol; `kind` is below `garbage_kinds`."""

    async def hang_up(self) -> None: ...

    def drop(self) -> None:
        """Abort the TCP connection."""

    def stop_reading(self) -> None: ...


def peers() -> dict[str, Callable[[], Peer]]:
    """What makes the peer of each protocol that has one."""
    found: dict[str, Callable[[], Peer]] = {}
    for module in pkgutil.iter_modules(here.__path__):
        if module.name.startswith("peer_"):
            made = importlib.import_module(f"{here.__name__}.{module.name}")
            found[module.name.removeprefix("peer_")] = made.peer
    return found

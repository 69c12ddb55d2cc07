"""The protocols that agents are spoken to in, by the name that the configuration uses."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from gateway.agents import wire
from gateway.agents.protocol import WireModule

IN_PROCESS = ("echo", "script", "python", "twiml", "sip", "realtime-webhook")
"Those that need no wire protocol of ours."


@cache
def wire_names() -> tuple[str, ...]:
    """The protocols over a wire: the files of `wire/`."""
    return tuple(sorted(found.name for found in pkgutil.iter_modules(wire.__path__)))


def find_wire(name: str) -> WireModule | None:
    """The file of a protocol; None: there is none of that name."""
    if name not in wire_names():
        return None
    module: Any = importlib.import_module(f"{wire.__name__}.{name}")
    found: WireModule = module
    return found

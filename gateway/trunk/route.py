"""Routes: from a dialled number or name to what to ring. Deny by default.

Addresses are written the same everywhere: `agent:NAME`, `trunk:NAME`, `user:NAME`,
`reject:STATUS`, `ignore:`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from gateway.errors import RoutingError

MAX_DIALLED_CHARACTERS = 64
"Longer than any number, name or extension that is dialled."

_DIALLED = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._~+-*#")
"ASCII alone: a digit of another script, an escape, a space or a separator is never dialled."


class TargetKind(Enum):
    """What a target is."""

    AGENT = "agent"
    TRUNK = "trunk"
    USER = "user"
    REJECT = "reject"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to ring, or a refusal."""

    kind: TargetKind
    name: str = ""
    "Of the agent, trunk or user."
    status: int = 0
    "Of a refusal: 300 to 699."

    def __str__(self) -> str:
        rest = str(self.status) if self.kind is TargetKind.REJECT else self.name
        return f"{self.kind.value}:{rest}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Groups of targets, tried in order; within a group all ring together."""

    groups: tuple[tuple[Target, ...], ...]


@dataclass(frozen=True, slots=True)
class Route:
    """What one kind of caller may reach under one pattern."""

    sources: tuple[str, ...]
    "`browser`, `sip`, `api` or `trunk:NAME`; `*` is every one of them."
    match: str
    "A number or name; a `*` at the end stands for any rest, `?` for one character."
    groups: tuple[tuple[Target, ...], ...]

    def matches(self, source: str, dialled: str) -> bool:
        """Whether a call from `source` to `dialled` takes this route."""
        if source not in self.sources and "*" not in self.sources:
            return False
        pattern, is_open = self.match, self.match.endswith("*")
        if is_open:
            pattern = pattern[:-1]
        if len(dialled) < len(pattern) or (not is_open and len(dialled) > len(pattern)):
            return False
        return all(p in ("?", d) for p, d in zip(pattern, dialled, strict=False))


class Router:
    """The routes in the order of the configuration: the first that matches decides."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = tuple(routes)

    def plan(self, source: str, dialled: str) -> Plan:
        """Where a call goes.

        Raises:
            RoutingError: 404 where no route names it, 400 for what cannot be dialled.
        """
        check_dialled(dialled)
        for route in self._routes:
            if route.matches(source, dialled):
                return Plan(route.groups)
        raise RoutingError(f"no route leads from {source} to this destination")


def check_dialled(dialled: str) -> None:
    """Refuse what is no number and no name, before any pattern sees it.

    Raises:
        RoutingError: 400.
    """
    if not 0 < len(dialled) <= MAX_DIALLED_CHARACTERS or not _DIALLED.issuperset(dialled):
        raise RoutingError(
            f"a destination has 1 to {MAX_DIALLED_CHARACTERS} letters, digits or ._~+-*#",
            status=400,
        )


def parse_target(text: str) -> Target:
    """Read one address.

    Raises:
        ValueError: it is none; the message says what would be.
    """
    scheme, colon, rest = text.partition(":")
    try:
        kind = TargetKind(scheme)
    except ValueError:
        kind = None
    if kind is None or not colon:
        raise ValueError("wants agent:NAME, trunk:NAME, user:NAME, reject:STATUS or ignore:")
    if kind is TargetKind.REJECT:
        if not (rest.isascii() and rest.isdigit() and 300 <= int(rest[:4]) <= 699):
            raise ValueError("wants reject:STATUS with a status from 300 to 699")
        return Target(kind, status=int(rest))
    if kind is TargetKind.IGNORE:
        if rest:
            raise ValueError("wants ignore: with nothing behind it")
        return Target(kind)
    if not rest:
        raise ValueError(f"wants {scheme}:NAME")
    return Target(kind, rest)

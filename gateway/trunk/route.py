"""Routes: from a dialled number or name to what to ring. Deny by default.

Addresses are written the same everywhere: `agent:NAME`, `trunk:NAME`, `user:NAME`,
`reject:STATUS`, `ignore:`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from gateway.errors import RoutingError
from gateway.media.answering import AnsweringPolicy
from gateway.trunk.codecs import ANY, CodecRules
from gateway.trunk.emergency import NO_MORE, EmergencyNumbers, EmergencyRefused

MAX_DIALLED_CHARACTERS = 64
"Longer than any number, name or extension that is dialled."

MAX_NUMBER_DIGITS = 20
"15 of E.164, and a prefix such as 011 before them."

FAILOVER_STATUSES = frozenset({408, 500, 502, 503, 504})
"Answers of a network, not of a person: another way may still lead there."

_DIGITS = frozenset("0123456789")
_WILDCARDS_TO_DIGITS = str.maketrans("*?", "00")
_DIALLED = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._~+-")
"ASCII alone: a digit of another script, an escape, a space or a separator is never dialled (A14)."


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
    contact: str = ""
    "Which of a user's devices; empty: all that are registered when it is called."

    def __str__(self) -> str:
        rest = str(self.status) if self.kind is TargetKind.REJECT else self.name
        return f"{self.kind.value}:{rest}"


@dataclass(frozen=True, slots=True)
class Guest:
    """Who is let into the calls of a route as soon as they are answered, as their guest."""

    target: Target
    preset: str = "listen"
    "How it takes part, as the API has it: listen, whisper, speak …"
    side: str | None = None
    "Whom a preset is about that wants somebody: caller, callee …"
    role: str = "ai"
    gain_db: float | None = None


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """How the calls of one route are made and ended."""

    ringing_timeout_s: float = 60.0
    "How long one group may ring before the next is tried, or the caller is told 480."
    max_call_duration_s: float | None = None
    "When an answered call is ended; None: when somebody hangs up."
    failover_on: frozenset[int] = FAILOVER_STATUSES
    "What a target says that lets the next be tried. Silence always does."
    failover_after_progress: bool = False
    "Whether the next is tried even when the caller has heard this one ring or speak already."
    codecs: CodecRules = ANY
    "Which codecs its calls prefer, and when payloads are transcoded."
    answering_machine: AnsweringPolicy | None = None
    "What is done if a machine answers whom an agent calls; None: as the agent has it."
    guests: tuple[Guest, ...] = ()
    "Who joins its calls when they are answered."


@dataclass(frozen=True, slots=True)
class Plan:
    """Groups of targets, tried in order; within a group all ring together."""

    groups: tuple[tuple[Target, ...], ...]
    options: RouteOptions = RouteOptions()
    called: str | None = None
    "An emergency number, rid of what was dialled before it; None: the number is as it was dialled."
    digits: str = ""
    "A dial string that is pressed toward who answers."


@dataclass(frozen=True, slots=True)
class Route:
    """What one kind of caller may reach under one pattern."""

    sources: tuple[str, ...]
    "`browser`, `sip`, `api`, `user`, `user:NAME` or `trunk:NAME`; `*` is every one of them."
    match: str
    """A number or a name; a `*` at the end stands for any rest, `?` for one character. In a pattern
    of a number (`+1*`, `5???`) both stand for digits alone."""
    groups: tuple[tuple[Target, ...], ...]
    options: RouteOptions = RouteOptions()

    def is_for(self, source: str) -> bool:
        """Whether calls from `source` look at this route."""
        return (
            source in self.sources
            or "*" in self.sources
            or ("user" in self.sources and source.startswith("user:"))
        )

    def matches(self, dialled: str) -> bool:
        """Whether the pattern is one for `dialled`, which `check_dialled` has passed."""
        return matches(self.match, dialled)

    @property
    def is_of_numbers(self) -> bool:
        """Whether it is a pattern of numbers, which no name matches."""
        return _is_of_numbers(self.match)


class Judgement(Enum):
    """What one route has to do with a call; the value says it to people."""

    MATCHES = "matches"
    OTHER_SOURCE = "is for other callers"
    OTHER_NUMBER = "names another number or name"
    NUMBERS_ONLY = "is for telephone numbers, and this is none"
    NO_EMERGENCY = "does not name this emergency number digit by digit"


class Router:
    """The routes in the order of the configuration: the first that matches decides."""

    def __init__(self, routes: Sequence[Route], emergency: EmergencyNumbers = NO_MORE) -> None:
        self.routes = tuple(routes)
        self.emergency = emergency

    def plan(self, source: str, dialled: str) -> Plan:
        """Where a call goes.

        Args:
            source: who calls: `browser`, `sip`, `api`, `user:NAME` or `trunk:NAME`.
            dialled: a number, a name, or `agent:NAME` or `user:NAME`, which leads there where a
                route from `source` does.

        Raises:
            EmergencyRefused: an emergency number that no route names.
            RoutingError: no route leads there, or it is nothing that can be dialled.
        """
        party = _parse_party(dialled) if ":" in dialled else None
        if party is None:
            check_dialled(dialled)
        called = self.emergency.find(dialled)
        for route in self.routes:
            if self._judge(route, source, dialled, called) is Judgement.MATCHES:
                groups = route.groups if called is None else _without_agents(route.groups)
                # Nobody listens in to who dials 112, whatever else the route says.
                options = route.options if called is None else replace(route.options, guests=())
                return Plan(groups if party is None else ((party,),), options, called)
        if called is not None:
            raise EmergencyRefused(called)
        raise RoutingError(f"no route leads from {source} to this destination")

    def judge(self, route: Route, source: str, dialled: str) -> Judgement:
        """What a route has to do with a call to something that can be dialled."""
        return self._judge(route, source, dialled, self.emergency.find(dialled))

    @property
    def unserved(self) -> tuple[str, ...]:
        """Emergency numbers that no route names: whoever dials one is refused."""
        find = self.emergency.find
        named = {find(route.match) for route in self.routes if _without_agents(route.groups)}
        return tuple(number for number in self.emergency.numbers if number not in named)

    def _judge(self, route: Route, source: str, dialled: str, called: str | None) -> Judgement:
        if not route.is_for(source):
            return Judgement.OTHER_SOURCE
        if called is not None:
            is_named = self.emergency.find(route.match) == called and _without_agents(route.groups)
            return Judgement.MATCHES if is_named else Judgement.NO_EMERGENCY
        if ":" in dialled:
            is_matched = any(_parse_party(dialled) in group for group in route.groups)
        else:
            is_matched = route.matches(dialled)
        if is_matched:
            return Judgement.MATCHES
        if not is_number(dialled) and route.is_of_numbers:
            return Judgement.NUMBERS_ONLY
        return Judgement.OTHER_NUMBER


def is_number(text: str) -> bool:
    """Whether the text is a telephone number: ASCII digits, perhaps a `+` before them."""
    digits = text.removeprefix("+")
    return 0 < len(digits) <= MAX_NUMBER_DIGITS and _DIGITS.issuperset(digits)


def is_dialable(text: str) -> bool:
    """Whether the text is a number or a name that could be dialled; one shown as caller is too."""
    return 0 < len(text) <= MAX_DIALLED_CHARACTERS and _DIALLED.issuperset(text)


def check_dialled(dialled: str) -> None:
    """Refuse what is no number and no name, before any pattern sees it (A13, A14).

    Raises:
        RoutingError: nothing can be routed by it.
    """
    if not is_dialable(dialled):
        raise RoutingError(
            f"a destination has 1 to {MAX_DIALLED_CHARACTERS} letters, digits or ._~+-"
        )


def matches(pattern: str, dialled: str) -> bool:
    """Whether a pattern, as in a route's `match`, is one for a number or name."""
    fixed = pattern.removesuffix("*")
    is_open = fixed != pattern
    if len(dialled) < len(fixed) or (not is_open and len(dialled) > len(fixed)):
        return False
    if not all(p in ("?", d) for p, d in zip(fixed, dialled, strict=False)):
        return False
    return is_number(dialled) or not _is_of_numbers(pattern)


def check_pattern(match: str) -> None:
    """Refuse a pattern that could never match.

    Raises:
        ValueError: the message says what would.
    """
    fixed = match.removesuffix("*").replace("?", "")
    if not match or len(match) > MAX_DIALLED_CHARACTERS or not _DIALLED.issuperset(fixed):
        raise ValueError("write a number or name; * may stand at its end, ? anywhere: +1*, 5???")


def parse_target(text: str) -> Target:
    """Read one address.

    Raises:
        ValueError: it is none; the message says what would be.
    """
    scheme, colon, rest = text.partition(":")
    kind = next((kind for kind in TargetKind if kind.value == scheme), None)
    if kind is None or not colon:
        raise ValueError("write agent:NAME, trunk:NAME, user:NAME, reject:STATUS or ignore:")
    if kind is TargetKind.REJECT:
        if len(rest) != 3 or not _DIGITS.issuperset(rest) or not 300 <= int(rest) <= 699:
            raise ValueError("write reject:STATUS with a status from 300 to 699")
        return Target(kind, status=int(rest))
    if (kind is TargetKind.IGNORE) == bool(rest):
        raise ValueError("write ignore: with nothing behind it" if rest else f"write {scheme}:NAME")
    return Target(kind, rest)


def _is_of_numbers(pattern: str) -> bool:
    return is_number(pattern.translate(_WILDCARDS_TO_DIGITS)) and bool(pattern.strip("*?"))


def _without_agents(groups: tuple[tuple[Target, ...], ...]) -> tuple[tuple[Target, ...], ...]:
    """Where an emergency call may go: no agent is told of a fire."""
    people = (tuple(t for t in group if t.kind is not TargetKind.AGENT) for group in groups)
    return tuple(group for group in people if group)


def _parse_party(text: str) -> Target | None:
    """An agent or user called by its address. A trunk is none: it has no number by itself."""
    try:
        target = parse_target(text)
    except ValueError:
        return None
    return target if target.kind in (TargetKind.AGENT, TargetKind.USER) else None

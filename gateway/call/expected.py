"""Calls that are told of beforehand: a PBX is to hand them to us, by an id that both sides know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.errors import CapacityError

MAX_EXPECTED = 1000
"At a time, as many as a node takes calls: who tells of more is told to wait."

EXPIRES_S = 60.0
"How long one is waited for, where nothing else is said."


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    """What is done with a call once it comes."""

    id: str
    "A UUID, as 32 lowercase hexadecimal digits."
    to: str
    "What it dials."
    caller: str = ""
    "The number or name that others are shown; empty: none."
    attributes: Mapping[str, str] = field(default_factory=dict)


class ExpectedCalls:
    """Those that have not come yet."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[float, ExpectedCall]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def tell(self, call: ExpectedCall, now: float, expires_s: float = EXPIRES_S) -> None:
        """Expect it; one told before by this id is forgotten.

        Raises:
            CapacityError: `MAX_EXPECTED` are.
        """
        if len(self._calls) >= MAX_EXPECTED:
            self._calls = {id_: each for id_, each in self._calls.items() if each[0] > now}
        if call.id not in self._calls and len(self._calls) >= MAX_EXPECTED:
            raise CapacityError("as many calls are expected as may be; some have to come first")
        self._calls[call.id] = (now + expires_s, call)

    def is_known(self, id_: str, now: float) -> bool:
        """Whether a call of this id is expected."""
        known = self._calls.get(id_)
        return known is not None and known[0] > now

    def take(self, id_: str, now: float) -> ExpectedCall | None:
        """It has come; a second of its id is none. None: nobody told of it, or too long ago."""
        until, call = self._calls.pop(id_, (now, None))
        return call if until > now else None

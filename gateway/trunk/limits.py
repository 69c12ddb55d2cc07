"""How many calls a trunk takes at a time and in a second, and how many a node begins in one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from gateway.errors import CapacityError
from gateway.trunk.trunk import Trunk

FULL_RETRY_AFTER_S = 5.0
"""Seconds that a caller is asked to wait where as many calls go on as may: one that ends makes
room, and nobody knows when that is."""


class Direction(Enum):
    """Which way a call goes, seen from us."""

    IN = "in"
    OUT = "out"


class LimitError(CapacityError):
    """A trunk, or the node, takes no further call now."""

    def __init__(self, message: str, wait_s: float) -> None:
        """
        Args:
            wait_s: until there may be room again.
        """
        super().__init__(message)
        self.retry_after_s = max(1, math.ceil(wait_s))
        "Whole seconds after which to try again: for a Retry-After."


class TokenBucket:
    """So many a second on average, and a second's worth of them at once."""

    def __init__(self, rate: float, now: float) -> None:
        """
        Args:
            rate: a second, above 0; below 1 it means one in 1/rate seconds.
        """
        self._rate = rate
        self._most = max(1.0, rate)
        self._tokens = self._most
        self._at = now

    def wait_s(self, now: float) -> float:
        """How long until there is one; 0: there is."""
        self._refill(now)
        # A token that is there but for the rounding of floats is there.
        return 0.0 if self._tokens > 1 - 1e-9 else (1 - self._tokens) / self._rate

    def take(self, now: float) -> None:
        """Take the one that `wait_s` has seen."""
        self._refill(now)
        self._tokens -= 1

    def _refill(self, now: float) -> None:
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
        self._at = now


@dataclass(slots=True)
class _TrunkLoad:
    """The calls of one trunk."""

    trunk: Trunk
    bucket: TokenBucket | None
    calls_in: int = 0
    calls_out: int = 0


class CallLimits:
    """The calls of a node by trunk, and whether there may be one more (A11).

    A call is counted by the id of its leg from `enter` to `leave`; who enters and never leaves is
    counted for ever, so whatever ends a leg must `leave`.
    """

    def __init__(self, trunks: Sequence[Trunk], *, max_cps: float | None, now: float) -> None:
        """
        Args:
            max_cps: calls that come in over SIP in a second, from trunks and all others; None: as
                many as may come.
        """
        self._loads = {
            trunk.name: _TrunkLoad(
                trunk, None if trunk.max_cps is None else TokenBucket(trunk.max_cps, now)
            )
            for trunk in trunks
        }
        self._bucket = None if max_cps is None else TokenBucket(max_cps, now)
        self._legs: dict[str, tuple[_TrunkLoad, Direction]] = {}

    def begin(self, now: float) -> None:
        """Count a call that comes in over SIP, whoever it is from, before anything is done for it.

        Raises:
            LimitError: too many did in this second.
        """
        if self._bucket is not None:
            wait_s = self._bucket.wait_s(now)
            if wait_s:
                raise LimitError("this node begins no more calls in this second", wait_s)
            self._bucket.take(now)

    def enter(self, trunk: str, leg: str, direction: Direction, now: float) -> None:
        """Count a call of a trunk from now on.

        Raises:
            LimitError: it is one too many. It is not counted.
        """
        load = self._loads[trunk]
        most = load.trunk.max_calls
        if most is not None and load.calls_in + load.calls_out >= most:
            raise LimitError(f"trunk {trunk} takes no more calls now", FULL_RETRY_AFTER_S)
        wait_s = 0.0 if load.bucket is None else load.bucket.wait_s(now)
        if wait_s:
            raise LimitError(f"trunk {trunk} takes no more calls in this second", wait_s)
        if load.bucket is not None:
            load.bucket.take(now)
        assert leg not in self._legs, "a leg enters once"
        self._legs[leg] = load, direction
        self._count(load, direction, 1)

    def leave(self, leg: str) -> None:
        """Count it no more; a leg of no trunk, or one that has left, is nothing to us."""
        entry = self._legs.pop(leg, None)
        if entry is not None:
            self._count(*entry, -1)

    def calls(self, trunk: str, direction: Direction) -> int:
        """How many calls of a trunk go on now."""
        load = self._loads[trunk]
        return load.calls_in if direction is Direction.IN else load.calls_out

    def _count(self, load: _TrunkLoad, direction: Direction, by: int) -> None:
        if direction is Direction.IN:
            load.calls_in += by
        else:
            load.calls_out += by

"""Chance, for those who are given it: machines draw nothing by themselves."""

from __future__ import annotations

import secrets

TOKEN_CHARACTERS = 20
"80 bits, in hex: of a tag or a branch nobody can guess the next."

_STEPS = 1 << 20
_POOL_BYTES = 4096


def spread() -> float:
    """0 ≤ x < 1, uniformly, by the system's own randomness."""
    return secrets.randbelow(_STEPS) / _STEPS


class Tokens:
    """Tokens of the system's randomness, of which much is fetched at a time: a call takes a dozen.

    Called, it gives one; none is given twice.
    """

    __slots__ = ("_next", "_pool")

    def __init__(self) -> None:
        self._pool = ""
        self._next = 0

    def __call__(self) -> str:
        """`TOKEN_CHARACTERS` hexadecimal digits."""
        begin = self._next
        end = begin + TOKEN_CHARACTERS
        if end > len(self._pool):
            self._pool = secrets.token_hex(_POOL_BYTES)
            begin, end = 0, TOKEN_CHARACTERS
        self._next = end
        return self._pool[begin:end]

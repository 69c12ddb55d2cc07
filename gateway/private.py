"""Values that must not reach a log by accident: people's numbers, names and secrets."""

from __future__ import annotations


class Private:
    """A person's number, name or URI. Prints masked; `.value` is the only way to the whole.

    >>> print(Private("+15551234567"))
    …67
    """

    __slots__ = ("value",)

    def __init__(self, value: str) -> None:
        self.value = value

    def __str__(self) -> str:
        return "…" + self.value[-2:] if len(self.value) > 4 else "…"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Private) and other.value == self.value

    def __hash__(self) -> int:
        return hash(self.value)


class Secret(Private):
    """A password, key or token: shows nothing of itself at all."""

    __slots__ = ()

    def __str__(self) -> str:
        return "***"

    __repr__ = __str__

"""Emergency numbers: they reach no agent, and a trunk only by a route that names them.

Whoever dials one has no time to find out that nobody listens: without a route of its own it is
refused at once, in words. A pattern such as `9*` or `*` never decides where it goes.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway.errors import RoutingError

EMERGENCY_NUMBERS = ("911", "112", "999", "933")
"North America; most of the world; Britain and others; the test number of North America."

MAX_EMERGENCY_DIGITS = 6
"Longer than any; what is longer is somebody's number."

_INTERNATIONAL = ("+", "00", "011")
"Put before an emergency number by phones that make every number international."

_SEPARATORS = str.maketrans("", "", "-.")
_DIGITS = frozenset("0123456789")


class EmergencyRefused(RoutingError):
    """An emergency number that no route names.

    403: the request is understood and not served. 404 would deny that there is such a number, 503
    would mark the gateway as broken for every other call too (RFC 3261 §21.4.4, §21.5.4).
    """

    def __init__(self, number: str) -> None:
        super().__init__(
            f"Emergency number {number} cannot be reached from here: use another phone", status=403
        )


class EmergencyNumbers:
    """Tells an emergency number, however it was dialled."""

    def __init__(
        self,
        more: Iterable[str] = (),
        *,
        prefixes: Iterable[str] = (),
        country_codes: Iterable[str] = (),
    ) -> None:
        """
        Args:
            more: numbers beside `EMERGENCY_NUMBERS`, which cannot be taken away.
            prefixes: what trunks take for the way to an outside line, or abroad.
            country_codes: of trunks, without a plus.
        """
        self.numbers = tuple(dict.fromkeys((*EMERGENCY_NUMBERS, *more)))
        abroad = (*_INTERNATIONAL, *prefixes)
        ways = {*abroad, *(f"{way}{code}" for way in abroad for code in country_codes)}
        self._numbers = {f"{way}{number}": number for way in ways for number in self.numbers}
        self._numbers.update((number, number) for number in self.numbers)

    def find(self, dialled: str) -> str | None:
        """The emergency number that was meant, as it is to be sent; None: it is none."""
        return self._numbers.get(dialled) or self._numbers.get(dialled.translate(_SEPARATORS))


NO_MORE = EmergencyNumbers()
"Those that everybody has."


def check_emergency_number(text: str) -> None:
    """Refuse what cannot be an emergency number.

    Raises:
        ValueError: the message says what can.
    """
    if not 2 <= len(text) <= MAX_EMERGENCY_DIGITS or not _DIGITS.issuperset(text):
        raise ValueError(f'write 2 to {MAX_EMERGENCY_DIGITS} digits, as "110"')

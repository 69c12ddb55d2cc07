"""Strings of keys with pauses, as people write them behind a number: 1w2#, or +15550100,,123#."""

from __future__ import annotations

from gateway.rtp.dtmf import DIGITS

PAUSES_S = {"w": 0.5, "p": 1.0, ",": 2.0, ";": 2.0}
"""What each pause waits. `w` is Asterisk's and Twilio's, `p` that of RFC 2806 §2.2, the comma that
of modems and telephones; `;`, at which a telephone asks its owner, has nobody to ask here."""

MAX_KEYS = 64
"Keys and pauses in one string: a card number with all that is asked around it."


def parse_dial_string(text: str) -> tuple[str | float, ...]:
    """Keys, and pauses in seconds, in order.

    Raises:
        ValueError: there is no such key, or too many.
    """
    if len(text) > MAX_KEYS:
        raise ValueError(f"{len(text)} keys and pauses are too many: {MAX_KEYS} at most")
    for character in text:
        if character not in PAUSES_S and character not in DIGITS:
            raise ValueError(
                f"there is no key {character!r}; there are 0-9 * # A-D, and w p , ; to wait"
            )
    return tuple(PAUSES_S.get(character, character) for character in text)


def split_dialled(text: str) -> tuple[str, str]:
    """What is to be called, and the dial string behind it: empty where there is none.

    It begins with the first comma or semicolon; behind a telephone number also with a `w` or `p`,
    which may stand in a name.
    """
    marks = [at for at in map(text.find, ",;") if at >= 0]
    number = text[: min(marks, default=len(text))]
    pauses = [at for at in map(number.find, "wp") if at > 0]
    end = min(pauses, default=len(number))
    if number[:end].removeprefix("+").isdecimal() and number[:end].isascii():
        number = number[:end]
    return number, text[len(number) :]

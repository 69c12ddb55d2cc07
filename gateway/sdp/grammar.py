"""Lexical rules of session descriptions (RFC 8866 §9). Everything here is one pass in C."""

from __future__ import annotations

from gateway.errors import RemoteProtocolError

MAX_SDP_BYTES = 32 * 1024
"Largest description: the longest offer of a browser, with video and data, has 8 KiB."

MAX_DIGITS = 20
"Digits of the longest number: 64 bits. A longer run never reaches int()."

MAX_NUMBER = 2**64 - 1
"Largest number in an o= or t= line."

_ALPHANUM = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = _ALPHANUM + b"!#$%&'*+-.^_`{|}~"
_ADDRESS = _ALPHANUM + b".:-_"
_VISIBLE = bytes(range(0x21, 0x7F))

Line = tuple[str, str]
"The letter of a line and what follows its equals sign."

Attribute = tuple[str, str | None]
"Name and value of an a= line; None for a flag."


def decode(data: bytes | str) -> str:
    """Text in which bytes that are no UTF-8 survive as surrogates.

    Raises:
        RemoteProtocolError: too long, or text that no bytes stand for.
    """
    try:
        raw = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
    except UnicodeEncodeError:
        raise RemoteProtocolError("SDP with a lone surrogate") from None
    if len(raw) > MAX_SDP_BYTES:
        raise RemoteProtocolError(f"SDP of {len(raw)} bytes")
    return raw.decode("utf-8", "surrogateescape")


def split_sections(text: str) -> list[list[Line]]:
    """The lines of the session level, then those of each m= section.

    Raises:
        RemoteProtocolError: a line that is none.
    """
    sections: list[list[Line]] = [[]]
    for raw in text.split("\n"):
        line = raw.removesuffix("\r")
        if not line:
            continue
        if line[1:2] != "=" or "\r" in line or "\0" in line:
            raise RemoteProtocolError(f"not a line of SDP: {line[:40]!r}")
        if line[0] == "m":
            sections.append([])
        sections[-1].append((line[0], line[2:].strip(" \t")))
    return sections


def split_attributes(lines: list[Line]) -> list[Attribute]:
    """The a= lines among some."""
    found: list[Attribute] = []
    for letter, text in lines:
        if letter == "a":
            name, colon, value = text.partition(":")
            found.append((name, value.strip(" \t") if colon else None))
    return found


def first(lines: list[Line], letter: str) -> str | None:
    """The first line of a letter."""
    return next((value for found, value in lines if found == letter), None)


def split_words(text: str) -> list[str]:
    """What spaces separate."""
    return [word for word in text.split(" ") if word]


def parse_number(text: str, maximum: int) -> int | None:
    """A number in ASCII digits, at most `maximum`; None for anything else."""
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_DIGITS:
        return None
    number = int(text)
    return number if number <= maximum else None


def is_token(text: str) -> bool:
    """Whether the text is a token."""
    return _consists_of(text, _TOKEN)


def is_address(text: str) -> bool:
    """Whether the text could be an address or a host name."""
    return _consists_of(text, _ADDRESS)


def is_word(text: str) -> bool:
    """Whether the text is visible ASCII without a space, of at most 256 characters."""
    return len(text) <= 256 and _consists_of(text, _VISIBLE)


def check_line(text: str) -> str:
    """Return a line that may be written.

    Raises:
        ValueError: a value would end its line and begin another. It is refused, never repaired.
    """
    if "\r" in text or "\n" in text or "\0" in text:
        raise ValueError(f"line break or NUL in SDP: {text[:40]!r}")
    return text


def _consists_of(text: str, allowed: bytes) -> bool:
    return bool(text) and text.isascii() and not text.encode().translate(None, allowed)

"""Lexical rules of SIP that every header shares (RFC 3261 §25.1).

Everything here reads in linear time: one pass in C (`translate`, `find`), or a regular expression
whose every repetition is possessive and which is only ever tried at the place where it must match.
"""

from __future__ import annotations

import re

from gateway.errors import RemoteProtocolError

DIGIT = b"0123456789"
ALPHANUM = DIGIT + b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
TOKEN = ALPHANUM + b"-.!%*_+`'~"

MAX_NUMBER = 2**32 - 1
"Largest number any header here carries; a longer run of digits never reaches int() (A27)."

TOKEN_CHAR = r"[A-Za-z0-9\-.!%*_+`'~]"
QUOTED_STRING = r'"((?:[^"\\]++|\\.)*+)"'
"One group: the text between the quotes, still escaped."

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_LINE_BREAKERS = (b"\r", b"\n", b"\0", b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xc2\x85")
_UNWRITABLE = dict.fromkeys(map(ord, "\r\n\0\u2028\u2029\x85"), "\ufffd")


class Quoted(str):
    """A parameter value that was, or must be, written between quotes (`text="OK"`)."""

    __slots__ = ()


def is_token(text: str) -> bool:
    """Whether the text is a token: not empty, token characters only."""
    return bool(text) and text.isascii() and not text.encode().translate(None, TOKEN)


def parse_number(text: str, maximum: int = MAX_NUMBER) -> int:
    """Read 1*DIGIT.

    Raises:
        RemoteProtocolError: not ASCII digits only (no sign, no space), or above the maximum.
    """
    if not (text.isascii() and text.isdigit()):
        raise RemoteProtocolError(f"not a number: {text[:20]!r}")
    digits = text.lstrip("0")
    if len(digits) > 10 or (number := int(digits or "0")) > maximum:
        raise RemoteProtocolError(f"number above {maximum}: {text[:20]!r}")
    return number


def quote(text: str) -> str:
    """Write a quoted-string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unescape(inner: str) -> str:
    """The text meant by what stands between two quotes."""
    return _ESCAPED.sub(r"\1", inner) if "\\" in inner else inner


def clean(text: str) -> str:
    """A peer's text as our own code may write it: what `check_text` refuses becomes U+FFFD.

    A quoted-string may hold NUL (RFC 4475 §3.1.1.2), and it must not stop us from naming the
    peer in a request of ours.
    """
    if text.isascii() and "\0" not in text:
        return text
    return decode(encode(text)).translate(_UNWRITABLE)


def encode(text: str) -> bytes:
    """Text to wire bytes; bytes that were no UTF-8 when read come out as they came in.

    Raises:
        ValueError: a lone surrogate that no byte stands for.
    """
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """Wire bytes to text; bytes that are no UTF-8 survive as surrogates."""
    return data.decode("utf-8", "surrogateescape")


def check_text(text: str) -> str:
    """Return the text if it may be written into a header or start line.

    Raises:
        ValueError: it holds CR, LF, NUL or a Unicode line break, with which a value could end its
            line here or at the next reader. It is refused, never repaired.
    """
    if text.isascii() and text.isprintable():
        return text
    data = encode(text)
    for breaker in _LINE_BREAKERS:
        if breaker in data:
            raise ValueError(f"line break or NUL in {text[:40]!r}")
    return text

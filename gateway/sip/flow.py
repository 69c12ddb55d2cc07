"""Where SIP bytes come from and go to (RFC 3261 §18, RFC 5626 §2 for the word)."""

from __future__ import annotations

from dataclasses import dataclass

RELIABLE_TRANSPORTS = frozenset({"tcp", "tls", "ws", "wss"})
"Transports that resend by themselves: the transactions above them do not."


@dataclass(frozen=True, slots=True)
class Flow:
    """One way to a peer: a datagram socket of ours and an address of theirs, or a connection."""

    transport: str
    "Lower case, as in the transport parameter of a SIP URI: udp."
    local: tuple[str, int]
    "Our address and port."
    remote: tuple[str, int]
    "The peer's address, without IPv6 brackets, and port."

    @property
    def is_reliable(self) -> bool:
        """Whether the transport resends what is lost."""
        return self.transport in RELIABLE_TRANSPORTS


@dataclass(frozen=True, slots=True)
class Send:
    """Output: put these bytes on this flow, at once and in order."""

    data: bytes
    flow: Flow

"""Where SIP bytes come from and go to (RFC 3261 §18, RFC 3263, RFC 5626 §2 for the word)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.uri import Uri

RELIABLE_TRANSPORTS = frozenset({"tcp", "tls", "ws", "wss"})
"Transports that resend by themselves: the transactions above them do not."

SECURE_TRANSPORTS = frozenset({"tls", "wss"})

WEBSOCKET_TRANSPORTS = frozenset({"ws", "wss"})


@dataclass(frozen=True, slots=True)
class Flow:
    """One way to a peer: a datagram socket of ours and an address of theirs, or a connection."""

    transport: str
    "Lower case, as in the transport parameter of a SIP URI: udp, tcp, tls, ws, wss."
    local: tuple[str, int]
    "Our address and port."
    remote: tuple[str, int]
    "The peer's address, without IPv6 brackets, and port."
    connection: int = 0
    "Which connection, unlike any other of this process; 0 for datagrams."

    @property
    def is_reliable(self) -> bool:
        """Whether the transport resends what is lost."""
        return self.transport in RELIABLE_TRANSPORTS

    @property
    def is_secure(self) -> bool:
        """Whether nobody on the way can read it."""
        return self.transport in SECURE_TRANSPORTS

    @property
    def is_websocket(self) -> bool:
        """Whether a browser may be at its end, and proxies before it: no trunk is."""
        return self.transport in WEBSOCKET_TRANSPORTS


@dataclass(frozen=True, slots=True)
class Destination:
    """What a request is for, before it is known where that is (RFC 3263 §4)."""

    host: str
    "A name or an address, without IPv6 brackets."
    port: int | None = None
    transport: str | None = None
    "Lower case; None: whatever the DNS says, else UDP (TLS if `secure`)."
    secure: bool = False
    "Of a sips URI: TLS and nothing else."

    @classmethod
    def of(cls, uri: Uri) -> Destination:
        """Where a URI leads: a Request-URI or the topmost Route; its `maddr` beats its host."""
        transport = uri.parameters.get("transport")
        return cls(
            uri.parameters.get("maddr") or uri.host,
            uri.port,
            None if transport is None else transport.lower(),
            uri.scheme == "sips",
        )

    @property
    def is_over_tls(self) -> bool:
        """Whether it is asked over TLS for sure, whatever the DNS says."""
        return self.secure or self.transport == "tls"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        transport = "" if self.transport is None else f";transport={self.transport}"
        return f"{'sips' if self.secure else 'sip'}:{host}{port}{transport}"


@dataclass(frozen=True, slots=True)
class Hop:
    """One place to try for a destination."""

    transport: str
    "udp, tcp or tls."
    host: str
    "An IP address, without IPv6 brackets."
    port: int
    server_name: str = ""
    "The domain that a TLS peer has to prove to be (RFC 5922 §7.1)."


@dataclass(frozen=True, slots=True)
class Send:
    """Output: put these bytes on this flow, at once and in order."""

    data: bytes
    flow: Flow


@dataclass(frozen=True, slots=True)
class Resolve:
    """Output: find the hops to a destination, and tell `Endpoint.resolved`."""

    destination: Destination


@dataclass(frozen=True, slots=True)
class Connect:
    """Output: open a flow to a hop, or take one that is; tell `flow_opened` or `hop_failed`."""

    hop: Hop


Output = Send | Resolve | Connect
"""What an endpoint asks of its driver."""

"""The exception tree. An error knows whose fault it is and what to answer.

GatewayError
├── RemoteProtocolError    a peer's bytes break a standard      400
├── NegotiationError       no common codec or keying            488
│   └── CodecError         no common codec                      488
├── RoutingError           no route names the destination       404
├── CapacityError          a limit of ours is reached           503
└── ConfigError            the configuration cannot be used
"""

from __future__ import annotations

from enum import Enum


class Fault(Enum):
    """Who ended or broke it."""

    CALLER = "caller"
    CALLEE = "callee"
    AGENT = "agent"
    GATEWAY = "gateway"
    NETWORK = "network"


class GatewayError(Exception):
    """Anything this product raises on purpose."""

    status = 500
    "The SIP or HTTP status that answers it."
    fault = Fault.GATEWAY


class RemoteProtocolError(GatewayError):
    """A peer sent what no standard allows. Its bytes get one line, one counter, one answer."""

    status, fault = 400, Fault.NETWORK

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class NegotiationError(GatewayError):
    """No common codec or keying (RFC 3264 §6)."""

    status, fault = 488, Fault.CALLER


class CodecError(NegotiationError):
    """No common codec. The message names codecs alone: anybody may be told it."""


class RoutingError(GatewayError):
    """No route names the destination."""

    status, fault = 404, Fault.CALLER

    def __init__(self, message: str, *, status: int = 404) -> None:
        super().__init__(message)
        self.status = status


class CapacityError(GatewayError):
    """A limit of ours is reached; the caller may try again later."""

    status = 503


class ConfigError(GatewayError):
    """The configuration cannot be used; the message names file, key, value and remedy."""

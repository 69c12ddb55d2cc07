"""Why a leg or a call ended, whose doing that is, and what SIP says of it."""

from __future__ import annotations

from enum import Enum

from gateway.errors import CapacityError, Fault, GatewayError


class EndReason(Enum):
    """Why a leg or a call ended: the closed list that records, metrics and pages use."""

    HANGUP = "hangup"
    CANCELLED = "cancelled"
    BUSY = "busy"
    DECLINED = "declined"
    NO_ANSWER = "no-answer"
    UNAVAILABLE = "unavailable"
    NOT_FOUND = "not-found"
    FORBIDDEN = "forbidden"
    NO_COMMON_CODEC = "no-common-codec"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"
    OVERLOADED = "overloaded"
    NO_ACK = "no-ack"
    MEDIA_TIMEOUT = "media-timeout"
    HOLD_TIMEOUT = "hold-timeout"
    EARLY_MEDIA_TIMEOUT = "early-media-timeout"
    PATH_LOST = "path-lost"
    ICE_CONSENT = "ice-consent"
    LEFT = "left"
    ANSWERED_ELSEWHERE = "answered-elsewhere"
    TRANSFERRED = "transferred"
    TIME_LIMIT = "time-limit"
    SESSION_EXPIRED = "session-expired"
    AGENT_FAILED = "agent-failed"
    AGENT_LOST = "agent_lost"
    SHUTDOWN = "shutdown"
    GATEWAY_ERROR = "gateway-error"

    @property
    def status(self) -> int:
        """The SIP status that tells a caller whose call was not answered."""
        return _STATUS.get(self, 480)

    @property
    def fault(self) -> Fault:
        """Who ended or broke it, where the leg that ended does not say otherwise."""
        return _FAULT.get(self, Fault.CALLEE)


_STATUS = {
    EndReason.CANCELLED: 487,
    EndReason.BUSY: 486,
    EndReason.DECLINED: 603,
    EndReason.NO_ANSWER: 408,
    EndReason.EARLY_MEDIA_TIMEOUT: 408,
    EndReason.NOT_FOUND: 404,
    EndReason.FORBIDDEN: 403,
    EndReason.NO_COMMON_CODEC: 488,
    EndReason.UNREACHABLE: 503,
    EndReason.OVERLOADED: 503,
    EndReason.AGENT_FAILED: 500,
    EndReason.AGENT_LOST: 503,
    EndReason.SHUTDOWN: 503,
    EndReason.GATEWAY_ERROR: 500,
}

_FAULT = {
    EndReason.CANCELLED: Fault.CALLER,
    EndReason.NOT_FOUND: Fault.CALLER,
    EndReason.FORBIDDEN: Fault.CALLER,
    EndReason.NO_COMMON_CODEC: Fault.CALLER,
    EndReason.UNREACHABLE: Fault.NETWORK,
    EndReason.NO_ACK: Fault.NETWORK,
    EndReason.MEDIA_TIMEOUT: Fault.NETWORK,
    EndReason.HOLD_TIMEOUT: Fault.NETWORK,
    EndReason.EARLY_MEDIA_TIMEOUT: Fault.NETWORK,
    EndReason.PATH_LOST: Fault.NETWORK,
    EndReason.ICE_CONSENT: Fault.NETWORK,
    EndReason.SESSION_EXPIRED: Fault.NETWORK,
    EndReason.TIME_LIMIT: Fault.GATEWAY,
    EndReason.OVERLOADED: Fault.GATEWAY,
    EndReason.SHUTDOWN: Fault.GATEWAY,
    EndReason.GATEWAY_ERROR: Fault.GATEWAY,
    EndReason.AGENT_FAILED: Fault.AGENT,
    EndReason.AGENT_LOST: Fault.AGENT,
}

_REASON_OF_STATUS = {
    403: EndReason.FORBIDDEN,
    404: EndReason.NOT_FOUND,
    408: EndReason.NO_ANSWER,
    410: EndReason.NOT_FOUND,
    480: EndReason.UNAVAILABLE,
    484: EndReason.NOT_FOUND,
    486: EndReason.BUSY,
    487: EndReason.CANCELLED,
    488: EndReason.NO_COMMON_CODEC,
    600: EndReason.BUSY,
    603: EndReason.DECLINED,
    604: EndReason.NOT_FOUND,
    606: EndReason.NO_COMMON_CODEC,
}


def reason_of_status(status: int) -> EndReason:
    """What a final SIP response other than 2xx means for a person (RFC 3261 §21)."""
    if status in _REASON_OF_STATUS:
        return _REASON_OF_STATUS[status]
    return EndReason.UNREACHABLE if 500 <= status < 600 else EndReason.REJECTED


def reason_of_error(error: GatewayError) -> EndReason:
    """What it means for a person that a call, or a leg of it, was refused by us."""
    if isinstance(error, CapacityError):
        return EndReason.OVERLOADED
    return EndReason.GATEWAY_ERROR if error.status == 500 else reason_of_status(error.status)

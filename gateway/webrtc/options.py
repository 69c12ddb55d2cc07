"""What can be configured of the WebRTC side; knows no library, so that configuration is cheap."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class DtlsRole(Enum):
    """Which end sends the ClientHello, as `a=setup` says it (RFC 8842 §5)."""

    ACTIVE = "active"
    PASSIVE = "passive"


@dataclass(frozen=True, slots=True)
class WebRtcOptions:
    """The WebRTC side of a node."""

    listen: str = "0.0.0.0:10000"
    "Address and UDP port for all browsers. 0.0.0.0: every IPv4 interface address; port 0: any."
    advertise: tuple[str, ...] = ()
    "Addresses to tell browsers instead of those listened on, e.g. the public one of a 1:1 NAT."
    include_loopback: bool = False
    "Offer 127.0.0.1 too, and accept browsers there. Listening on loopback implies it."
    ice_deny: tuple[str, ...] = ()
    "Networks in which no candidate is contacted, beyond the built-in list."
    controlling: bool = True
    "Take the controlling ICE role although browsers offer: paths then change in 0.2 s, not 6."
    dtls_role: DtlsRole = DtlsRole.PASSIVE
    "Our role when the browser leaves the choice to us."
    ice_timeout_s: float = 12.0
    "How long a pair may take to be nominated."
    dtls_timeout_s: float = 12.0
    "How long the handshake may take after that."

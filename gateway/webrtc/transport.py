"""The WebRTC media transport: ICE, DTLS and SRTP of one stream, over one UDP port for all."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gateway.net.media import TransportState
    from gateway.sdp.description import MediaDescription
    from gateway.webrtc.certificate import Certificate


class DtlsRole(Enum):
    """Which end sends the ClientHello (RFC 8842 §5): what our answers say in `a=setup`."""

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
    deny: tuple[str, ...] = ()
    "Networks in which no candidate is contacted, beyond the built-in list."
    controlling: bool = True
    "Take the controlling ICE role although browsers offer: paths then change in 0.2 s, not 6."
    dtls_role: DtlsRole = DtlsRole.PASSIVE
    "Our role when the browser leaves the choice to us."
    ice_timeout_s: float = 12.0
    "How long a pair may take to be nominated."
    dtls_timeout_s: float = 12.0
    "How long the handshake may take after that."


class WebRtcPort:
    """The one UDP port through which all browsers' media goes."""

    @classmethod
    def open(
        cls,
        options: WebRtcOptions,
        certificate: Certificate,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> WebRtcPort:
        """Bind the port and start reading.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        raise NotImplementedError

    @property
    def port(self) -> int:
        """The UDP port number."""
        raise NotImplementedError

    def new_transport(self) -> WebRtcTransport:
        """A transport for one more stream; it ends by `close`, its own or the port's."""
        raise NotImplementedError

    async def close(self) -> None:
        """End every transport, wait for their tasks, and give the port back."""
        raise NotImplementedError


class WebRtcTransport:
    """A `MediaTransport` (`net/media.py`) over ICE and DTLS-SRTP."""

    on_packet: Callable[[bytes, float], None]
    "Takes decrypted RTP and RTCP, with its arrival in loop seconds, inside the reader's callback."
    on_state: Callable[[TransportState], None]

    def describe(self, media: MediaDescription, *, restart: bool = False) -> MediaDescription:
        """`media` with our address, port, ICE and DTLS parts filled in."""
        raise NotImplementedError

    def accept(self, remote: MediaDescription) -> None:
        """Take the peer's side of an offer or answer; a new ufrag and pwd is a restart.

        Raises:
            RemoteProtocolError: it lacks ICE credentials or a usable fingerprint.
        """
        raise NotImplementedError

    def add_candidate(self, candidate: str, ufrag: str | None) -> None:
        """Take one trickled candidate; of an unknown generation or kind it is dropped."""
        raise NotImplementedError

    def send(self, packet: bytes) -> None:
        """Protect and send RTP or RTCP now; dropped and counted while there is no path."""
        raise NotImplementedError

    def close(self) -> None:
        """Say goodbye (DTLS close_notify) and forget everything. No callback follows."""
        raise NotImplementedError

"""Two ends of a WebRTC stream in virtual time: a gateway's and one that plays the browser."""

from __future__ import annotations

import datetime
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.net.media import TransportState
from gateway.sdp.description import MediaDescription
from gateway.webrtc.certificate import generate_certificate
from gateway.webrtc.options import WebRtcOptions
from gateway.webrtc.port import WebRtcPort
from tests.support.loop import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.webrtc.certificate import Certificate
    from gateway.webrtc.transport import WebRtcTransport
    from tests.support.loop import VirtualLoop

GATEWAY = "192.0.2.1"
BROWSER = "192.0.2.2"
ATTACKER = ("203.0.113.9", 6666)

CERTIFICATE = generate_certificate(datetime.datetime(2026, 8, 1, tzinfo=datetime.UTC))
BROWSER_CERTIFICATE = generate_certificate(datetime.datetime(2026, 8, 1, tzinfo=datetime.UTC))


def rtp(sequence: int, payload: bytes = b"\xd5" * 80) -> bytes:
    """An RTP packet."""
    return struct.pack("!BBHII", 0x80, 111, sequence, sequence * 960, 0x1234) + payload


@dataclass
class End:
    """One transport, and all it said."""

    port: WebRtcPort
    transport: WebRtcTransport
    packets: list[bytes] = field(default_factory=list)
    states: list[TransportState] = field(default_factory=list)

    @property
    def state(self) -> TransportState:
        """Where it is now."""
        return self.transport.state

    def offer(self, *, restart: bool = False) -> MediaDescription:
        """What it would write into an offer or, having accepted one, into the answer."""
        return self.transport.describe(MediaDescription(), restart=restart)


def new_end(port: WebRtcPort) -> End:
    """A transport on `port` that keeps what comes."""
    transport = port.new_transport()
    end = End(port, transport)
    transport.on_packet = lambda packet, _now: end.packets.append(packet)
    transport.on_state = end.states.append
    return end


def open_gateway(
    loop: VirtualLoop, options: WebRtcOptions | None = None, hosts: Sequence[str] = ()
) -> WebRtcPort:
    """The gateway's port on the virtual network; `hosts` are what a wildcard means."""
    options = options or WebRtcOptions(listen=f"{GATEWAY}:10000")
    return _open(loop, options, CERTIFICATE, hosts)


def open_browser(
    loop: VirtualLoop, options: WebRtcOptions | None = None, hosts: Sequence[str] = ()
) -> WebRtcPort:
    """A port that plays a browser: ICE-controlled, as one is that met our tie-breaker."""
    options = options or WebRtcOptions(listen=f"{BROWSER}:0", controlling=False)
    return _open(loop, options, BROWSER_CERTIFICATE, hosts)


def _open(
    loop: VirtualLoop, options: WebRtcOptions, certificate: Certificate, hosts: Sequence[str]
) -> WebRtcPort:
    def addresses(host: str, *, loopback: bool) -> Sequence[str]:
        return hosts or (host,)

    return WebRtcPort.open(
        options,
        certificate,
        loop=loop,
        open_socket=loop.network.open_socket,
        addresses=addresses,
    )


async def connect(loop: VirtualLoop, options: WebRtcOptions | None = None) -> tuple[End, End]:
    """A gateway's end and a browser's, connected."""
    gateway, browser = new_end(open_gateway(loop, options)), new_end(open_browser(loop))
    negotiate(browser, gateway)
    await until_connected(gateway, browser)
    return gateway, browser


async def until_connected(*ends: End) -> float:
    """Wait until all are; the seconds that took."""
    return await until(
        lambda: all(end.state is TransportState.CONNECTED for end in ends), within=2.0
    )


async def hang_up(*ends: End) -> None:
    """Close everything that these belong to."""
    for end in ends:
        await end.port.close()


def negotiate(browser: End, gateway: End, *, restart: bool = False) -> None:
    """The browser offers, the gateway answers."""
    gateway.transport.accept(browser.offer(restart=restart))
    browser.transport.accept(gateway.offer())

"""What one packet costs on the WebRTC path: from the socket to `on_packet`, and back out.

    python -m bench.webrtc_path

Two ports on loopback, connected by ICE and DTLS; packets of 20 ms Opus (80 bytes of payload). The
reader is called as the loop would call it, with 64 datagrams waiting. Best of several rounds, µs.
"""

from __future__ import annotations

import asyncio
import datetime
import struct
import time

import uvloop

from gateway.net.media import TransportState
from gateway.sdp.description import MediaDescription
from gateway.webrtc.certificate import generate_certificate
from gateway.webrtc.mux import MAX_READS
from gateway.webrtc.options import WebRtcOptions
from gateway.webrtc.port import WebRtcPort
from gateway.webrtc.transport import WebRtcTransport

ROUNDS = 300


def rtp(sequence: int) -> bytes:
    """An RTP packet with 80 bytes of payload."""
    return struct.pack("!BBHII", 0x80, 111, sequence & 0xFFFF, sequence * 960, 7) + bytes(80)


async def connect() -> tuple[WebRtcTransport, WebRtcTransport]:
    """A gateway's transport and a browser's, connected over loopback."""
    now = datetime.datetime.now(datetime.UTC)
    ends = [
        WebRtcPort.open(
            WebRtcOptions(listen="127.0.0.1:0", controlling=controlling),
            generate_certificate(now),
        ).new_transport()
        for controlling in (True, False)
    ]
    gateway, browser = ends
    gateway.accept(browser.describe(MediaDescription()))
    browser.accept(gateway.describe(MediaDescription()))
    loop = asyncio.get_running_loop()
    connected = loop.create_future()
    gateway.on_state = connected.set_result
    assert await connected is TransportState.CONNECTED
    await asyncio.sleep(0.1)  # the other end follows within milliseconds
    return gateway, browser


async def measure() -> None:
    """Print what both directions cost."""
    gateway, browser = await connect()
    read = gateway._port.mux.sockets[0]._read
    drain = browser._port.mux.sockets[0]._read
    receive_us, send_us, sequence = [], [], 0
    for _ in range(ROUNDS):
        packets = [rtp(sequence + n) for n in range(MAX_READS)]
        sequence += MAX_READS
        for packet in packets:
            browser.send(packet)
        began_at = time.perf_counter()
        read()
        receive_us.append((time.perf_counter() - began_at) / MAX_READS * 1e6)
        send = gateway.send
        began_at = time.perf_counter()
        for packet in packets:
            send(packet)
        send_us.append((time.perf_counter() - began_at) / MAX_READS * 1e6)
        drain()
    print(f"receive: min {min(receive_us):.2f}  median {sorted(receive_us)[ROUNDS // 2]:.2f}")
    print(f"send:    min {min(send_us):.2f}  median {sorted(send_us)[ROUNDS // 2]:.2f}")
    assert gateway._liveness.media_at > 0
    await gateway._port.close()
    await browser._port.close()


if __name__ == "__main__":
    uvloop.run(measure())

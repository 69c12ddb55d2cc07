"""What the HTTP server's connections have of the socket that listens for them."""

from __future__ import annotations

import socket
import sys

import pytest

from gateway.app import HttpSettings
from gateway.net.tcp import KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES


@pytest.mark.skipif(sys.platform != "linux", reason="options are named otherwise elsewhere")
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_f18_kernel_looks_after_every_connection(host: str) -> None:
    settings = HttpSettings()
    settings.bind = [f"{host}:0"]
    (listening,) = settings.create_sockets().insecure_sockets
    with listening:
        listening.setblocking(True)
        listening.listen()
        with socket.create_connection(listening.getsockname()[:2]):
            connected, _ = listening.accept()

            with connected:
                tcp = socket.IPPROTO_TCP
                found = (
                    connected.getsockopt(tcp, socket.TCP_KEEPIDLE),
                    connected.getsockopt(tcp, socket.TCP_KEEPINTVL),
                    connected.getsockopt(tcp, socket.TCP_KEEPCNT),
                )
                assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1

    assert found == (KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES)

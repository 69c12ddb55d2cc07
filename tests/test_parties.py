"""How the parties of a node are made: what protects their media."""

from __future__ import annotations

import pytest

from gateway.errors import NegotiationError
from gateway.parties import keying_of
from gateway.sdp.description import Keying
from gateway.sip.flow import Flow

SDP = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 {} 0\r\n"
)


def flow(transport: str) -> Flow:
    return Flow(transport, ("192.0.2.1", 5060), ("192.0.2.9", 5060), 1)


@pytest.mark.parametrize(
    ("protocol", "keying"),
    [
        ("RTP/AVP", Keying.NONE),
        ("RTP/SAVP", Keying.NONE),
        ("UDP/TLS/RTP/SAVPF", Keying.DTLS),
        (None, Keying.NONE),
    ],
)
def test_media_of_a_caller_is_what_it_offers(protocol: str | None, keying: Keying) -> None:
    offer = None if protocol is None else SDP.format(protocol).encode()

    assert keying_of(offer, flow("tls")) is keying


@pytest.mark.parametrize("protocol", ["RTP/AVP", "RTP/SAVP", "UDP/TLS/RTP/SAVPF", None])
def test_a34_media_of_who_comes_by_websocket_is_never_plain(protocol: str | None) -> None:
    offer = None if protocol is None else SDP.format(protocol).encode()

    assert keying_of(offer, flow("wss")) is Keying.DTLS


def test_offer_without_audio_is_of_no_use() -> None:
    with pytest.raises(NegotiationError, match="no audio"):
        keying_of(SDP.replace("audio", "video").format("RTP/SAVP").encode(), flow("udp"))

"""What our transports and the peers' would say, for tests of negotiation."""

from __future__ import annotations

from pathlib import Path

from gateway.codec import OPUS, PCMA, PCMU, TELEPHONE_EVENT, TELEPHONE_EVENT_48K
from gateway.sdp.description import (
    Fingerprint,
    MediaDescription,
    Origin,
    SessionDescription,
    parse_sdp,
)

VECTORS = Path(__file__).parent.parent / "vectors" / "sdp"

ORIGIN = Origin("1234567890", 1, "192.0.2.1")
BROWSER_CODECS = (OPUS, PCMU, PCMA, TELEPHONE_EVENT_48K, TELEPHONE_EVENT)
TRUNK_CODECS = (PCMU, PCMA, TELEPHONE_EVENT)


def load(name: str) -> SessionDescription:
    """A recorded offer."""
    return parse_sdp((VECTORS / f"{name}.sdp").read_bytes())


def udp_media() -> MediaDescription:
    """What a plain RTP socket of ours says."""
    return MediaDescription(port=20000, address="192.0.2.1")


def webrtc_media() -> MediaDescription:
    """What our WebRTC transport says."""
    return MediaDescription(
        port=10000,
        protocol="UDP/TLS/RTP/SAVPF",
        address="192.0.2.1",
        rtcp_mux=True,
        rtcp_rsize=True,
        ice_ufrag="gwuf",
        ice_pwd="gatewaygatewaygatewaygat",
        ice_options=("ice2",),
        candidates=("candidate:1 1 udp 2130706431 192.0.2.1 10000 typ host",),
        end_of_candidates=True,
        fingerprints=(Fingerprint("sha-256", ":".join(["AB"] * 32)),),
        setup="passive",
    )

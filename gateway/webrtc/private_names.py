"""What is used of aiortc and aioice beyond their public API, in one place.

The names date from 2018 to 2021 and the versions are pinned; `tests/webrtc/test_private_names.py`
holds each name and its parameters against what is installed, so that an upgrade which moves one
fails there and not in a call.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

METHODS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "aioice.ice.Connection": {
            # Called.
            "_add_remote_candidate": ("remote_candidate", "network_host"),
            "build_request": ("pair", "nominate"),
            "switch_role": ("ice_controlling",),
            # Overridden: each is a point where aioice's idea of a socket of its own ends.
            "check_complete": ("pair",),
            "check_incoming": ("message", "addr", "protocol"),
            "check_start": ("pair",),
            "data_received": ("data", "component"),
            "query_consent": (),
            "request_received": ("message", "addr", "protocol"),
        },
        "aioice.ice.StunProtocol": {
            "datagram_received": ("data", "addr"),
            "close": (),
            "request": ("request", "addr", "integrity_key", "retransmissions"),
            "send_stun": ("message", "addr"),
        },
        "aiortc.rtcdtlstransport.RTCCertificate": {
            "__init__": ("key", "cert"),
            "_create_ssl_context": ("srtp_profiles",),
        },
        "aiortc.rtcdtlstransport.RTCDtlsTransport": {
            "_recv_next": (),
            "_set_role": ("role",),
            "start": ("remoteParameters",),
            "stop": (),
        },
    }
)
"Class to method to its parameters after `self`."

ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "aioice.ice.Connection": (
            "_check_list",
            "_early_checks",
            "_local_candidates",
            "_local_candidates_end",
            "_local_candidates_start",
            "_nominated",
            "_protocols",
            "_remote_candidates",
            "_tie_breaker",
            "remote_is_lite",
        ),
        "aioice.ice.CandidatePair": ("protocol", "remote_addr", "state"),
        "aiortc.rtcdtlstransport.RTCDtlsTransport": (
            "_rx_srtp",
            "_ssl",
            "_task",
            "_transport",
            "_tx_srtp",
        ),
    }
)
"Class to attributes of its instances that are read or set."

LINK = ("role", "_recv", "_send")
"All that RTCDtlsTransport asks of the ICE transport below it."

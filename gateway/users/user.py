"""Users: people who register their phones and softphones with us."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.codec import PCMA, PCMU, Codec
from gateway.private import Secret
from gateway.rtp.dtmf import DtmfMode
from gateway.sdp.crypto import SrtpPolicy

MAX_CONTACTS = 10
"Devices of one user that ring together: a call dials them all."


@dataclass(frozen=True, slots=True)
class User:
    """One user; `user:NAME` in routes."""

    name: str
    "The user of its address, sip:NAME@DOMAIN, and the username of its digest answers."
    password: Secret
    allow_md5: bool = False
    "Whether a phone that knows no SHA-256 may log in with MD5."
    display_name: str = ""
    "Shown to whom the user calls; empty: the name alone."
    caller_id: str | None = None
    "Number shown to whom the user calls, whatever its phone says; None: the name."
    dtmf: DtmfMode = DtmfMode.AUTO
    "How keys are pressed toward its phones, and looked for in what they send."
    codecs: tuple[Codec, ...] = (PCMU, PCMA)
    "What its phones are offered and may use, in this order."
    max_contacts: int = MAX_CONTACTS
    "Devices kept; one more puts out the one heard of longest ago."
    symmetric_rtp: bool = True
    "Send media to where the phone's comes from (RFC 7362): behind NAT its SDP cannot know."
    allow_transfer: bool = False
    "Whether it may transfer: its REFER goes through the routes like a number it dials (A37)."
    allow_redirect: bool = False
    "Whether its 3xx are followed, through the routes of who calls it."
    takes_refer: bool = False
    "Whether it is asked by REFER to call who a party of its is transferred to; else we call."
    signals_hold: bool = False
    "Whether it is told by re-INVITE that we hold it."
    srtp: SrtpPolicy = SrtpPolicy.OFF
    "Whether its media is protected by keys in the SDP (RFC 4568)."
    srtp_without_tls: bool = False
    "Whether these keys may be sent where everybody on the way can read them."
    rtcp_mux: bool = False
    "Whether it is offered RTP and RTCP on one port (RFC 5761)."
    media_timeout_s: float = 30.0
    "How long it may send neither RTP nor RTCP in a call; 0: for ever."

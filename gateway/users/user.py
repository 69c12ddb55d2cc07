"""Users: people who register their phones and softphones with us."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.codec import PCMA, PCMU, Codec
from gateway.private import Secret

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
    codecs: tuple[Codec, ...] = (PCMU, PCMA)
    "What its phones are offered and may use, in this order."
    max_contacts: int = MAX_CONTACTS
    "Devices kept; one more puts out the one heard of longest ago."
    symmetric_rtp: bool = True
    "Send media to where the phone's comes from (RFC 7362): behind NAT its SDP cannot know."

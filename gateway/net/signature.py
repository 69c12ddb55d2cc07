"""How web servers and agents know that a request is ours (A22): two signatures, without a socket.

Twilio's is HMAC-SHA1 over URL and form, that of Standard Webhooks, which OpenAI uses too,
HMAC-SHA256 over id, time and body.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence


def twilio_signature(token: str, url: str, fields: Sequence[tuple[str, str]] = ()) -> str:
    """X-Twilio-Signature: HMAC-SHA1 over the URL and each field, by name, without separators."""
    text = url + "".join(name + value for name, value in sorted(set(fields)))
    digest = hmac.digest(token.encode(), text.encode(), hashlib.sha1)
    return base64.b64encode(digest).decode()


def standard_signature(key: bytes, message_id: str, at: int, body: bytes) -> str:
    """webhook-signature of Standard Webhooks, `v1,…`: receivers refuse what is 5 min old (A22).

    Args:
        at: Unix seconds, as the header webhook-timestamp tells them.
    """
    signed = f"{message_id}.{at}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()

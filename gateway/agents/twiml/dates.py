"""Dates as Twilio writes them (RFC 2822, UTC)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime


def rfc_2822(at: float) -> str:
    """Unix seconds as `Tue, 31 Aug 2010 20:36:28 +0000`."""
    return format_datetime(datetime.fromtimestamp(at, UTC))

"""The calling end of an INVITE session (RFC 3261 §13.2)."""

from __future__ import annotations

from gateway.sip.flow import Flow
from gateway.sip.invite import InviteRequest


class InviteClient:
    """Our INVITE with its early dialogs, and the session that comes of it.

    Commands return at once; what comes of them arrives as events.
    """

    id: str
    "Names the session: its Call-ID."
    request: InviteRequest
    flow: Flow

    def cancel(self, now: float, reason: str | None = None) -> None:
        """End it: CANCEL as soon as allowed (after a 1xx), BYE if it is up already.

        Args:
            reason: the value of a Reason header (RFC 3326), as 'Q.850;cause=16'.
        """
        raise NotImplementedError

    def ack(self, answer: bytes | None, now: float) -> None:
        """Answer the offer of the peer's 2xx. Only with a late offer; else the ACK goes by itself."""
        raise NotImplementedError

    def bye(self, now: float, reason: str | None = None) -> None:
        """End it: BYE if it is up, else as `cancel`."""
        raise NotImplementedError

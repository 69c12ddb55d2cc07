"""The called end of an INVITE session (RFC 3261 §13.3)."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.sip.flow import Flow
from gateway.sip.message import Request


class InviteServer:
    """A peer's INVITE and the session that comes of it."""

    id: str
    "Names the session: its Call-ID, and its local tag where that alone would not do."
    request: Request
    flow: Flow
    offer: bytes | None
    "SDP of the INVITE; None: we make the offer in our 2xx."

    def progress(self, status: int, body: bytes | None, now: float) -> None:
        """Send a provisional response, 100 to 199; with a body, early media."""
        raise NotImplementedError

    def answer(self, body: bytes | None, now: float) -> None:
        """Send 200, until it is acknowledged. None: the body of the last progress."""
        raise NotImplementedError

    def reject(
        self,
        status: int,
        now: float,
        reason: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send a final response, 300 to 699. `reason` is its phrase."""
        raise NotImplementedError

    def bye(self, now: float, reason: str | None = None) -> None:
        """End it: BYE when the ACK is there or will not come; before an answer, reject with 480.

        Args:
            reason: the value of a Reason header (RFC 3326).
        """
        raise NotImplementedError

    def drop(self, now: float) -> None:
        """Forget it silently: not even a 100 is sent; retransmissions are absorbed."""
        raise NotImplementedError

"""The ladder of a call's signalling: a fold over call events, one rung for each message.

Two lanes: between us and the party that looks (a page), and between us and everybody else. A
rung names a method or a status, never a header, a number or a body.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.call.events import CallEvent, CallStarted, LegSignalled
from gateway.leg.leg import LegId


@dataclass(frozen=True, slots=True)
class Rung:
    """One arrow of the ladder."""

    at_ms: int
    "Since the call started."
    lane: str
    "`browser` for the party that looks, `peer` for the others."
    sent: bool
    "True from us to that party."
    text: str


class Ladder:
    """Folds the events of one call."""

    def __init__(self, viewer: LegId) -> None:
        """`viewer` is the leg of the party that looks, whether it called or was called."""
        self._viewer = viewer
        self._started_at: float | None = None

    def fold(self, event: CallEvent) -> Rung | None:
        """The rung that this event adds, if it adds one."""
        if isinstance(event, CallStarted):
            self._started_at = event.at
        if not isinstance(event, LegSignalled) or self._started_at is None:
            return None
        lane = "browser" if event.leg == self._viewer else "peer"
        return Rung(round((event.at - self._started_at) * 1000), lane, event.sent, event.text)

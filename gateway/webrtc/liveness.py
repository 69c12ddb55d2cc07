"""When a path counts as lost: from what was last heard, and when (RFC 7675)."""

from __future__ import annotations

from enum import Enum

NEVER = float("-inf")

SILENT_AFTER_MEDIA_S = 2.0
"Nothing at all for this long where media flowed: the path is gone."

SILENT_AFTER_STUN_S = 12.0
"The same where only STUN keeps the path: two rounds of checks lost, and a bit."

CONSENT_S = 30.0
"Without an answer to our checks for this long we may send no more (RFC 7675 §5.1)."

MEDIA_PAUSE_S = 0.5
"Media is never silent for longer without reason: even DTX sends every 400 ms (RFC 6716 §2.1.9)."

MEDIA_STOPPED_S = 1.0
"STUN heard this long after the last media says: the sender is quiet, the path is well."

CHECK_INTERVAL_S = 5.0
"Between consent checks while all is well, give or take a fifth (RFC 7675 §5.1)."

DOUBTFUL_S = 6.5
"No answer for longer than one round of checks takes: then they come faster."

DOUBTFUL_INTERVAL_S = 1.0
"Between checks on a path in doubt, so that its return is noticed within a second."


class Path(Enum):
    """How the path to the peer is."""

    ALIVE = "alive"
    SILENT = "silent"
    EXPIRED = "expired"


class Liveness:
    """The clocks of one stream's path. Times are loop seconds."""

    __slots__ = ("_checked_at", "_regular_s", "consented_at", "media_at", "stun_at")

    def __init__(self) -> None:
        self._checked_at = NEVER
        self._regular_s = CHECK_INTERVAL_S
        self.media_at = NEVER
        "The last authentic media packet."
        self.stun_at = NEVER
        "The last authentic STUN message, request or response."
        self.consented_at = NEVER
        "The last valid response to a check of ours."

    def consent(self, now: float) -> None:
        """The peer answered a check."""
        self.consented_at = self.stun_at = now

    def checked(self, now: float, chance: float) -> None:
        """A check was sent; `chance`, 0 to 1, spreads the next over 4 to 6 s from now."""
        self._checked_at = now
        self._regular_s = CHECK_INTERVAL_S * (0.8 + 0.4 * chance)

    @property
    def heard_at(self) -> float:
        """The last sign of life of either kind."""
        return max(self.media_at, self.stun_at)

    def path(self, now: float) -> Path:
        """What the clocks say. Meaningful once there was a first response."""
        if now - self.consented_at > CONSENT_S:
            return Path.EXPIRED
        limit = SILENT_AFTER_MEDIA_S if self._media_flowed else SILENT_AFTER_STUN_S
        return Path.SILENT if now - self.heard_at > limit else Path.ALIVE

    def is_check_due(self, now: float) -> bool:
        """Whether to ask for consent now: regularly, and sooner when in doubt."""
        if self._media_flowed and now - self.heard_at > MEDIA_PAUSE_S:
            interval = MEDIA_PAUSE_S
        elif now - self.consented_at > DOUBTFUL_S:
            interval = DOUBTFUL_INTERVAL_S
        else:
            interval = self._regular_s
        return now - self._checked_at >= interval

    @property
    def _media_flowed(self) -> bool:
        """Whether media was what kept the path alive lately."""
        return self.media_at + MEDIA_STOPPED_S >= self.stun_at

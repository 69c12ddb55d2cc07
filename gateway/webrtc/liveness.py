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


SUSPECT_S = 0.1
"Media that flowed steadily and is silent for so long may have lost its path."

SEARCH_S = 0.2
"Silent for so long, and without an answer: then every known address is asked."

BREAKING_S = 0.05
"Media that flowed and is silent for so long is watched more closely than every sweep does."

STEADY_SWEEPS = 3
"Sweeps in a row that each saw media make a steady flow; DTX, with a packet in 400 ms, never does."

FLOWING_S = 0.5
"Media heard within this time flows."


class Path(Enum):
    """How the path to the peer is."""

    ALIVE = "alive"
    SILENT = "silent"
    EXPIRED = "expired"


class Liveness:
    """The clocks of one stream's path. Times are loop seconds."""

    __slots__ = (
        "_checked_at",
        "_noted_at",
        "_regular_s",
        "_run",
        "_steady_at",
        "consented_at",
        "media_at",
        "stun_at",
    )

    def __init__(self) -> None:
        self._checked_at = NEVER
        self._regular_s = CHECK_INTERVAL_S
        self._noted_at = NEVER
        self._run = 0  # sweeps in a row that saw media
        self._steady_at = float("inf")  # the last media of a steady flow; inf: there was none
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

    def note(self, now: float) -> None:
        """A sweep comes by: see whether there was media since the last."""
        if self.media_at <= self._noted_at:
            self._run = 0
        else:
            self._run += 1
            if self._run >= STEADY_SWEEPS:
                self._steady_at = self.media_at
        self._noted_at = now

    def is_steady(self, now: float) -> bool:
        """Whether media goes on as it did at the last sweep, and no check is due; then it is noted.

        What nearly every sweep finds: nothing else has to be looked at.
        """
        media_at = self.media_at
        if (
            media_at <= self._noted_at
            or self._run < STEADY_SWEEPS
            or now - self._checked_at >= self._regular_s
            or now - self.consented_at > DOUBTFUL_S
        ):
            return False
        self._noted_at, self._steady_at = now, media_at
        return True

    def is_flowing(self, now: float) -> bool:
        """Whether media comes, steadily or not."""
        return now - self.media_at < FLOWING_S

    def is_breaking(self, now: float) -> bool:
        """Whether steady media has just stopped, which may mean nothing yet."""
        return self._steady_at == self.media_at and now - self.media_at > BREAKING_S

    def is_broken(self, now: float) -> bool:
        """Whether steady media has been silent for longer than chance makes it."""
        # Timers of uvloop may come half a millisecond early.
        return self._steady_at == self.media_at and now - self.media_at > SUSPECT_S - 0.001

    def is_doubtful(self, now: float) -> bool:
        """Whether checks go unanswered."""
        return now - self.consented_at > DOUBTFUL_S

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
        elif self.is_doubtful(now):
            interval = DOUBTFUL_INTERVAL_S
        else:
            interval = self._regular_s
        return now - self._checked_at >= interval

    @property
    def _media_flowed(self) -> bool:
        """Whether media was what kept the path alive lately."""
        return self.media_at + MEDIA_STOPPED_S >= self.stun_at

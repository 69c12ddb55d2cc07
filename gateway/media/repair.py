"""Whether a listener is sent what repairs loss: in-band FEC of Opus (RFC 7587 §3.3). Pure."""

from __future__ import annotations

FROM_LOSS = 0.02
"A share of packets, smoothed, from which FEC is worth its bits and its time."

TO_LOSS = 0.005
"Below it FEC ends. Clean reports halve what was lost before: four of them after 5 %."

CODED_FOR_PERCENT = 10
"What libopus is told: PESQ at 1 to 10 % of loss is the same as with the very number."

_SHARE_OF_LAST = 0.5


class Repair:
    """Follows what one listener's reports say."""

    __slots__ = ("_loss", "loss_percent")

    def __init__(self) -> None:
        self.loss_percent = 0
        "What to encode for; 0 where nothing is to be repaired."
        self._loss = 0.0

    def take(self, fraction_lost: float) -> None:
        """One more report: what was lost since the one before, 0 to 1."""
        self._loss += (fraction_lost - self._loss) * _SHARE_OF_LAST
        if self._loss >= FROM_LOSS:
            self.loss_percent = CODED_FOR_PERCENT
        elif self._loss < TO_LOSS:
            self.loss_percent = 0

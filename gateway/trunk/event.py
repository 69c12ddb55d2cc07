"""What happens to trunks, as values: for logs, metrics and the subscribers of `/v1/events`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrunkUp:
    """A trunk answers: for the first time, or again."""

    trunk: str
    at: float
    "Loop seconds."


@dataclass(frozen=True, slots=True)
class TrunkDown:
    """A trunk does not answer; calls go elsewhere while there is an elsewhere."""

    trunk: str
    at: float
    reason: str
    "Slug of `gateway.trunk.health.DownReason`."


@dataclass(frozen=True, slots=True)
class TrunkRegistered:
    """A registrar knows where we are: for the first time, or after it had not."""

    trunk: str
    at: float
    registration: str
    "Which of the trunk's: the user that it is for."
    expires_s: int
    "What the registrar granted."


@dataclass(frozen=True, slots=True)
class TrunkRegistrationFailed:
    """A registration was refused or not answered; it will be tried again."""

    trunk: str
    at: float
    registration: str
    status: int | None
    "Of the registrar's refusal; None: nothing came."
    reason: str
    "The registrar's words, or in ours why nothing came."
    retry_s: float
    "When it will be tried again."


TrunkEvent = TrunkUp | TrunkDown | TrunkRegistered | TrunkRegistrationFailed

"""What happens to trunks, as values: for logs, metrics and the subscribers of `/v1/events`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gateway.private import Private

log = logging.getLogger(__name__)


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
    registration: Private
    "Which of the trunk's: the user that it is for, who may be a telephone number."
    expires_s: int
    "What the registrar granted."


@dataclass(frozen=True, slots=True)
class TrunkRegistrationFailed:
    """A registration was refused or not answered; it will be tried again."""

    trunk: str
    at: float
    registration: Private
    status: int | None
    "Of the registrar's refusal; None: nothing came."
    reason: str
    "The registrar's words, or in ours why nothing came."
    retry_s: float
    "When it will be tried again."


TrunkEvent = TrunkUp | TrunkDown | TrunkRegistered | TrunkRegistrationFailed


class TrunkObservers:
    """Who hears of trunks: the log always, and whoever asks."""

    def __init__(self) -> None:
        self._observers: list[Callable[[TrunkEvent], None]] = []

    def observe(self, observer: Callable[[TrunkEvent], None]) -> Callable[[], None]:
        """Hear every event of every trunk; the returned function ends that."""
        self._observers.append(observer)
        return partial(self._observers.remove, observer)

    def publish(self, event: TrunkEvent) -> None:
        """Tell everybody; one that breaks keeps it from nobody else."""
        _log(event)
        for observer in tuple(self._observers):
            try:
                observer(event)
            except Exception:
                log.exception("an observer of trunk events broke on %s", type(event).__name__)


def _log(event: TrunkEvent) -> None:
    match event:
        case TrunkUp():
            log.info("trunk=%s is up", event.trunk)
        case TrunkDown():
            log.warning("trunk=%s is down reason=%s", event.trunk, event.reason)
        case TrunkRegistered():
            log.info("trunk=%s registered expires_s=%d", event.trunk, event.expires_s)
        case TrunkRegistrationFailed():
            log.warning(
                "trunk=%s registration failed (%s) retry_s=%.0f",
                event.trunk,
                # The registrar's own words may name people, or hold what a terminal obeys.
                event.reason if event.status is None else event.status,
                event.retry_s,
            )
